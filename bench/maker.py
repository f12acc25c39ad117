"""Makes orphans: it runs by its path, with nothing but the standard library.

    maker.py COUNT FIFO FILE COMMAND…

A child of it starts COMMAND so often, with the FIFO as its standard input, and ends: all of them
are then children of whoever takes in orphans here. FILE then has their numbers. The rest is to
wait for a signal.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def make(count: int, fifo: str, file: Path, command: list[str]) -> None:
    """Make *count* orphans, and say in *file* who they are."""
    fd = os.open(fifo, os.O_RDONLY)
    child = os.fork()
    if not child:
        actions = [(os.POSIX_SPAWN_DUP2, fd, 0)]
        pids = [
            os.posix_spawn(command[0], command, os.environ, file_actions=actions)
            for _ in range(count)
        ]
        draft = file.with_suffix(".new")
        draft.write_text(" ".join(map(str, pids)))
        draft.rename(file)
        os._exit(0)
    os.close(fd)
    os.waitpid(child, 0)


if __name__ == "__main__":
    make(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    signal.pause()
