"""The floor: the least that a Python program has to do to keep children alive, or to answer.

It runs by its path, with nothing but the standard library, so that its start and its memory are
those of a bare interpreter.

    floor.py keep COUNT COMMAND…   keep that many children alive; SIGTERM ends them and it
    floor.py answer SOCKET FILE    send FILE whenever a request arrives
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

_WAITED = {signal.SIGCHLD, signal.SIGTERM}


def keep(count: int, command: list[str]) -> None:
    """Keep *count* children alive until SIGTERM, then end them."""

    def spawn() -> int:
        return os.posix_spawn(command[0], command, os.environ, setsid=True, setsigmask=[])

    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    children = {spawn() for _ in range(count)}
    while signal.sigwait(_WAITED) == signal.SIGCHLD:
        for pid in _ended():
            children.discard(pid)
            children.add(spawn())
    for pid in children:
        os.kill(pid, signal.SIGTERM)
    while children:
        children.difference_update(_ended())
        if children:
            signal.sigwait({signal.SIGCHLD})


def _ended() -> list[int]:
    """Reap everything that has ended."""
    pids: list[int] = []
    while True:
        try:
            pid, _, _ = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return pids
        if pid == 0:
            return pids
        pids.append(pid)


def answer(path: str, file: str) -> None:
    """Send the content of *file* for every request on one connection after another."""
    content = Path(file).read_bytes()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    while True:
        connection, _ = listening.accept()
        with connection:
            request = b""
            while some := connection.recv(65536):
                request += some
                if request.endswith(b"\r\n\r\n"):
                    request = b""
                    connection.sendall(content)


if __name__ == "__main__":
    if sys.argv[1] == "keep":
        keep(int(sys.argv[2]), sys.argv[3:])
    else:
        answer(sys.argv[2], sys.argv[3])
