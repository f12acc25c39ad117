"""Give a child a descriptor under a number that it expects, from 3 on.

A forked child has our descriptors under our numbers. So a descriptor that is meant to be its
number 3 has to be ours for the moment of the fork. These low numbers are kept free for that:
nothing that somebody else uses meanwhile (a signal's wake-up, the event loop) must sit there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from supervisor.system.null import open_null

FIRST, LAST = 3, 34


def reserve() -> None:
    """Put /dev/null on every free number from 3 to `LAST`, for good; children do not get it.

    Raises:
        OSError: there are no descriptors left.
    """
    null = open_null()
    try:
        for number in range(FIRST, LAST + 1):
            try:
                os.fstat(number)
            except OSError:
                os.dup2(null, number, inheritable=False)
    finally:
        if null > LAST:
            os.close(null)


@contextlib.contextmanager
def taken(extra: tuple[tuple[int, int], ...]) -> Iterator[None]:
    """Have the descriptors of *extra* under their numbers, to be inherited, for a while.

    Args:
        extra: pairs of a number from 3 to `LAST` and a descriptor above.

    Raises:
        OSError: there are no descriptors left.
    """
    kept: list[tuple[int, int, bool]] = []
    try:
        for number, fd in extra:
            kept.append((number, *_keep(number)))
            os.dup2(fd, number, inheritable=True)
        yield
    finally:
        for number, copy, inheritable in reversed(kept):
            if copy < 0:
                with contextlib.suppress(OSError):
                    os.close(number)
            else:
                os.dup2(copy, number, inheritable=inheritable)
                os.close(copy)


def _keep(number: int) -> tuple[int, bool]:
    """Return a copy of what has this number, -1 for nothing, and whether children inherit it."""
    try:
        inheritable = os.get_inheritable(number)
    except OSError:
        return -1, False
    return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, LAST + 1), inheritable
