"""Call back when descriptors become readable: one epoll of ours inside trio's."""

from __future__ import annotations

import contextlib
import logging
import select
from collections.abc import Callable

import trio

log = logging.getLogger(__name__)

_BATCH = 64
"""Callbacks in one turn of the event loop; the kernel hands out ready descriptors in turns."""


class Readiness:
    """Watches descriptors without a task for each: a thousand components cost one wait."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, ready: Callable[[], None]) -> None:
        """Call *ready* whenever *fd* is readable or at its end, until it is unwatched.

        Raises:
            OSError: it cannot be watched (EPERM: a regular file).
        """
        # Somebody may have closed the number without unwatching it: then the kernel has forgotten
        # it while we have not, and the other way round for a number that was duplicated.
        try:
            self._epoll.register(fd, select.EPOLLIN)
        except FileExistsError:
            self._epoll.modify(fd, select.EPOLLIN)
        self._callbacks[fd] = ready

    def unwatch(self, fd: int) -> None:
        """Stop watching; nothing happens if it is not watched."""
        if self._callbacks.pop(fd, None) is not None:
            # Closed before it was unwatched: then the kernel has done it already.
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(fd)

    async def serve(self) -> None:
        """Dispatch for ever. A callback that raises loses its watch and disturbs nobody else."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            self.dispatch()

    def dispatch(self) -> int:
        """Call what is ready now, at most one batch; return how many callbacks that were."""
        events = self._epoll.poll(0, _BATCH)
        for fd, _ in events:
            callback = self._callbacks.get(fd)
            if callback is None:
                continue  # An earlier callback of this batch has unwatched it.
            try:
                callback()
            except Exception:
                log.exception("the reader of descriptor %d failed and is given up", fd)
                if self._callbacks.get(fd) is callback:
                    self.unwatch(fd)
        return len(events)

    def dispose(self) -> None:
        """Free the descriptor; nothing is called any more."""
        self._callbacks.clear()
        self._epoll.close()
