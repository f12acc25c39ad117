"""Writing to a descriptor that others share and that may be stuck, such as piesd's own stdout."""

from __future__ import annotations

import os
import select
import socket
import stat
from typing import Final

_SAFE: Final = select.PIPE_BUF
"""A pipe that is ready for writing takes this much without blocking."""
_NAP: Final = 0.25
"""Seconds that a write waits for room before it returns with what went."""


class DescriptorTarget:
    """A target that never blocks for long, without changing the descriptor for those who share it.

    O_NONBLOCK belongs to the open file, which the shell that started us shares: set there, it
    would break the shell. So a pipe or a terminal is opened a second time through `/proc`, and a
    socket is written to with a flag. Where that is refused, small writes after a poll must do.
    """

    def __init__(self, fd: int) -> None:
        mode = os.fstat(fd).st_mode
        self._regular = stat.S_ISREG(mode)
        self._socket: socket.socket | None = None
        self._most = _SAFE
        self._fd = -1
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(fd))
            self._fd = self._socket.fileno()
            self._most = 64 * 1024
            return
        if not self._regular:
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            try:
                self._fd = os.open(f"/proc/self/fd/{fd}", flags)
                self._most = 64 * 1024
            except OSError:
                # No /proc, no permission, or nobody reads; small writes after a poll must do.
                self._fd = -1
        if self._fd < 0:
            self._fd = os.dup(fd)

    def write(self, blocks: list[bytes]) -> int:
        """Write until everything went or nothing goes for a moment; return the bytes that went.

        Raises:
            OSError: nothing went.
        """
        view = memoryview(b"".join(blocks))
        done = 0
        try:
            while done < len(view) and self._ready() and (some := self._some(view[done:])):
                done += some
        except OSError:
            if not done:
                raise
        return done

    def _ready(self) -> bool:
        if self._regular:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(_NAP * 1000))

    def _some(self, view: memoryview) -> int:
        try:
            if self._socket is not None:
                flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
                return self._socket.send(view[: self._most], flags)
            return os.write(self._fd, view if self._regular else view[: self._most])
        except BlockingIOError:
            return 0

    def reopen(self) -> None:
        """Do nothing: an inherited descriptor has no path that could be opened anew."""

    def close(self) -> None:
        """Close our copy."""
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self._fd)
