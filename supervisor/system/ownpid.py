"""Tell a program its own PID by its environment, with no code of ours between fork and exec.

The variables are put where we know the addresses: into arrays of our own that are the C library's
`environ` for the moment of the fork. The child has these at the same addresses, and it is held back
before its program (see `supervisor.system.gate`). The variable that is to have the number lies in
memory that both share; so it is written here, and needs no right over the child, which may have
become somebody else.

Source: environ(7), mmap(2) on MAP_SHARED, sd_listen_fds(3) for what it is good for.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Iterator

_DIGITS = 20
"""More than a PID can have."""


class Slot:
    """The place, shared with a child, where its PID is to stand."""

    def __init__(self, begin: bytes) -> None:
        self._memory = mmap.mmap(-1, len(begin) + _DIGITS)
        self._memory.write(begin)

    @property
    def address(self) -> int:
        """Where the variable begins."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self._memory))

    def fill(self, pid: int) -> None:
        """Let the child, which is held back, find its number *pid*."""
        self._memory.write(b"%d\0" % pid)


@contextlib.contextmanager
def handed_down(env: list[bytes], name: str | None) -> Iterator[Slot | None]:
    """Have the variables *env* and one called *name* as the C library's own, for a while.

    Who forks meanwhile and executes without naming an environment takes these. Without a *name*
    nothing is done.

    Raises:
        OSError: there is no memory to share.
    """
    if name is None:
        yield None
        return
    begin = os.fsencode(name) + b"="
    slot = Slot(begin)
    others = [each for each in env if not each.startswith(begin)]
    array = (ctypes.c_char_p * (len(others) + 2))(*others)
    array[len(others)] = slot.address  # type: ignore[call-overload]  # as c_void_p
    environ = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ")
    before = environ.value
    environ.value = ctypes.addressof(array)
    try:
        yield slot
    finally:
        environ.value = before
