"""Tell a program its own PID by its environment, with no code of ours between fork and exec.

The variables are put where we know the addresses: into arrays of our own that are the C library's
`environ` for the moment of the fork. The child has a copy of them at the same addresses, and it is
held back before its program (see `supervisor.system.gate`); so the number can be written into its
memory.

Source: environ(7), proc_pid_mem(5), sd_listen_fds(3) for what it is good for.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

_DIGITS = 20
"""More than a PID can have."""


class Slot:
    """The place in a child's memory where its PID is to stand."""

    def __init__(self, address: int) -> None:
        self._address = address

    def fill(self, pid: int) -> None:
        """Write the number of the child *pid*, which is held back, into its environment.

        Raises:
            OSError: the memory of that child is not for us.
        """
        memory = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        try:
            os.pwrite(memory, b"%d\0" % pid, self._address)
        finally:
            os.close(memory)


@contextlib.contextmanager
def handed_down(env: list[bytes], name: str | None) -> Iterator[Slot | None]:
    """Have the variables *env* and one called *name* as the C library's own, for a while.

    Who forks meanwhile and executes without naming an environment takes these. Without a *name*
    nothing is done.
    """
    if name is None:
        yield None
        return
    begin = os.fsencode(name) + b"="
    place = ctypes.create_string_buffer(begin + b"0" * _DIGITS)
    others = [each for each in env if not each.startswith(begin)]
    array = (ctypes.c_char_p * (len(others) + 2))(*others)
    array[len(others)] = ctypes.addressof(place)  # type: ignore[call-overload]  # as c_void_p
    environ = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ")
    before = environ.value
    environ.value = ctypes.addressof(array)
    try:
        yield Slot(ctypes.addressof(place) + len(begin))
    finally:
        environ.value = before
