"""Whether somebody has come to a listener that another process serves, asked afterwards.

A connection may have come and gone between two looks, and the kernel counts none. What it does is
to complete a request to poll: one for each look, and nothing wakes up for it. Such a request
completes by what woke it up, even if the server was quicker than we; epoll would look again, and
find nobody.

Source: io_submit(2), IOCB_CMD_POLL in <linux/aio_abi.h>.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import select
import struct
from typing import Any, Final, NamedTuple

_SETUP, _DESTROY, _GETEVENTS, _SUBMIT, _CANCEL = range(5)
_X86_64: Final = (206, 207, 208, 209, 210)
_GENERIC: Final = (0, 1, 4, 2, 3)
_NUMBERS: Final = {"x86_64": _X86_64, "aarch64": _GENERIC, "riscv64": _GENERIC}
"""The numbers of the calls; the C library has no functions for them."""

_POLL: Final = 5
_REQUEST: Final = struct.Struct("=QIiHhIQQqQII")
_EVENT: Final = struct.Struct("=QQqq")
_AT_ONCE: Final = 64
_MOMENT: Final = 5_000_000
"""Nanoseconds for which the kernel may take to give a request up."""
_MOST: Final = 1024
"""Listeners looked after at a time."""


class _Asked(NamedTuple):
    fd: int
    request: Any
    """The kernel knows it by its address."""


class Arrivals:
    """Requests to tell that a descriptor has become readable, looked at when we want to know."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._context = ctypes.c_ulong(0)
        self._asked: dict[int, _Asked] = {}
        self._numbers: dict[int, int] = {}
        self._count = 0

    def ask(self, fd: int) -> None:
        """From now on remember whether somebody comes.

        Raises:
            OSError: the kernel does not do that.
        """
        self.forget(fd)
        if not self._context.value:
            self._call(_SETUP, _MOST, ctypes.byref(self._context))
        self._count += 1
        fields = (self._count, 0, 0, _POLL, 0, fd, select.POLLIN, 0, 0, 0, 0, 0)
        request = ctypes.create_string_buffer(_REQUEST.pack(*fields), _REQUEST.size)
        requests = (ctypes.c_void_p * 1)(ctypes.addressof(request))
        self._call(_SUBMIT, self._context, 1, requests)
        self._asked[self._count] = _Asked(fd, request)
        self._numbers[fd] = self._count

    def came(self, fd: int) -> bool:
        """Return whether somebody has come since `ask`."""
        self._collect()
        return fd in self._numbers and self._numbers[fd] not in self._asked

    def forget(self, fd: int) -> None:
        """Ask no more; otherwise the request would keep a closed listener open."""
        number = self._numbers.pop(fd, None)
        if number is None:
            return
        self._collect()
        asked = self._asked.get(number)
        if asked is not None:
            event = ctypes.create_string_buffer(_EVENT.size)
            try:
                self._call(_CANCEL, self._context, asked.request, event)
            except OSError as error:
                # That it is under way is how success looks; it may also just have completed.
                if error.errno not in (errno.EINPROGRESS, errno.EINVAL, errno.EAGAIN):
                    raise
            self._collect(least=1, moment=_MOMENT)

    def dispose(self) -> None:
        """Free everything."""
        if self._context.value:
            self._call(_DESTROY, self._context)
            self._context = ctypes.c_ulong(0)

    def _collect(self, least: int = 0, moment: int = 0) -> None:
        """Take out of the kernel which requests are complete, after a *moment* at the latest."""
        events = ctypes.create_string_buffer(_EVENT.size * _AT_ONCE)
        patience = ctypes.create_string_buffer(struct.pack("=qq", 0, moment), 16)
        count = _AT_ONCE
        while self._context.value and count == _AT_ONCE:
            count = self._call(_GETEVENTS, self._context, least, _AT_ONCE, events, patience)
            for number in range(count):
                self._asked.pop(_EVENT.unpack_from(events, number * _EVENT.size)[0], None)

    def _call(self, which: int, *arguments: Any) -> int:
        numbers = _NUMBERS.get(platform.machine())
        if numbers is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
        result: int = self._libc.syscall(ctypes.c_long(numbers[which]), *words)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
