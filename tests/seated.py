"""Execute a Python with something on each descriptor that a child of a test may be given.

A worker of pytest-xdist hears its controller through two pipes, on the lowest numbers that are
free. For the moment of a start these numbers belong to what a child is to have (see
`supervisor.system.seats`), and the thread of the worker that listens would read from that instead.
So the numbers are taken before the worker makes its pipes.
"""

from __future__ import annotations

import os
import sys

FIRST, LAST = 3, 34  # Those of `supervisor.system.seats`, without what importing it costs.


def main() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    for number in range(FIRST, LAST + 1):
        if number != null:
            os.dup2(null, number)
    os.set_inheritable(null, True)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


if __name__ == "__main__":
    main()
