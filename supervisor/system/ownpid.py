"""Tell a program its own PID by its environment, with no code of ours between fork and exec.

The variables are put where we know the addresses: into arrays of our own that are the C library's
`environ` for the moment of the fork. The child has these at the same addresses, and it is held back
before its program (see `supervisor.system.gate`). The variables that are to have the number lie
in memory that both share; so it is written here, and needs no right over the child, which may have
become somebody else.

Source: environ(7), mmap(2) on MAP_SHARED, sd_listen_fds(3) for what it is good for.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Iterator, Sequence

_DIGITS = 20
"""More than a PID can have."""


class Slot:
    """The places, shared with a child, where its PID is to stand."""

    def __init__(self, begins: Sequence[bytes]) -> None:
        size = max(map(len, begins)) + _DIGITS
        self._memory = mmap.mmap(-1, size * len(begins))
        first = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._numbers: list[int] = []
        self.addresses = range(first, first + size * len(begins), size)
        """Where the variables begin."""
        for place, begin in zip(range(0, len(self._memory), size), begins, strict=True):
            self._memory[place : place + len(begin)] = begin
            self._numbers.append(place + len(begin))

    def fill(self, pid: int) -> None:
        """Let the child, which is held back, find its number *pid*."""
        said = b"%d\0" % pid
        for number in self._numbers:
            self._memory[number : number + len(said)] = said


@contextlib.contextmanager
def handed_down(env: list[bytes], names: Sequence[str] | None) -> Iterator[Slot | None]:
    """Have the variables *env* and those called *names* as the C library's own, for a while.

    Who forks meanwhile and executes without naming an environment takes these. Without *names*
    nothing is done.

    Raises:
        OSError: there is no memory to share.
    """
    if names is None:
        yield None
        return
    begins = tuple(os.fsencode(name) + b"=" for name in names)
    slot = Slot(begins)
    others = [each for each in env if not each.startswith(begins)]
    array = (ctypes.c_char_p * (len(others) + len(begins) + 1))(*others)
    for index, address in enumerate(slot.addresses, len(others)):
        array[index] = address  # type: ignore[call-overload]  # as c_void_p
    environ = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ")
    before = environ.value
    environ.value = ctypes.addressof(array)
    try:
        yield slot
    finally:
        environ.value = before
