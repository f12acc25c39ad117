"""Wake the event loop for sure, also while the kernel has no memory for a byte in a socket.

What a thread or a handler of a signal has for trio's loop waits in a queue, and a byte in a socket
wakes the loop. Where that byte cannot be sent, trio raises: in a thread its result is late by as
long as nothing else wakes the loop, and in a handler of a signal it is the end of the loop.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import cache
from typing import Final

import trio

AGAIN: Final = 0.05
"""Seconds until it is tried again to wake the loop as trio does."""


class SureSocket:
    """Sends to a socket; where that fails it is noted in an eventfd, which needs no memory."""

    def __init__(self, inner: socket.socket, missed: int) -> None:
        self.inner, self._missed = inner, missed

    def send(self, data: bytes) -> int:
        """Send *data*, or note that it has failed."""
        try:
            return self.inner.send(data)
        except BlockingIOError:
            raise  # It is full of bytes that wake.
        except OSError:
            os.eventfd_write(self._missed, 1)
            return 0

    def fileno(self) -> int:
        return self.inner.fileno()

    def close(self) -> None:
        self.inner.close()


@cache
def _missed() -> int:
    """Return the one eventfd: it is never closed, as a thread may be about to write to it."""
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


async def wake_for_sure() -> None:
    """Have nothing that wakes this loop fail from now on, and make up for it; for ever."""
    missed = _missed()
    try:
        # There is no other way to it.
        wakeup = trio.lowlevel.current_trio_token()._reentry_queue.wakeup  # noqa: SLF001
        if not isinstance(wakeup.write_sock, SureSocket):
            wakeup.write_sock = SureSocket(wakeup.write_sock, missed)  # type: ignore[assignment]  # all that trio needs of it
    except AttributeError:
        await trio.sleep_forever()  # Another trio than we know: it is as it is.
    while True:
        await trio.lowlevel.wait_readable(missed)
        with suppress(BlockingIOError):
            os.eventfd_read(missed)
        await trio.sleep(AGAIN)
        wakeup.wakeup_thread_and_signal_safe()
