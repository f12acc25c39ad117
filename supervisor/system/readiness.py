"""Call back when descriptors become readable: one epoll of ours inside trio's."""

from __future__ import annotations

import contextlib
import errno
import logging
import select
from collections.abc import Callable
from typing import Final

import trio

log = logging.getLogger(__name__)

_BATCH = 64
"""Callbacks in one turn of the event loop; the kernel hands out ready descriptors in turns."""

_NO_MEMORY: Final = (errno.ENOMEM, errno.ENOSPC)
"""What epoll_ctl(2) says where the kernel has no room for one more watch."""

AGAIN: Final = 0.25
"""Seconds until what could not be watched is tried again."""


class Readiness:
    """Watches descriptors without a task for each: a thousand components cost one wait."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._late: dict[int, None] = {}
        """What is to be watched as soon as the kernel has room for that."""
        self._lack = trio.Event()

    def watch(self, fd: int, ready: Callable[[], None]) -> None:
        """Call *ready* whenever *fd* is readable or at its end, until it is unwatched.

        Where the kernel has no room for another watch, it is watched a bit later.

        Raises:
            OSError: it cannot be watched (EPERM: a regular file).
        """
        # Somebody may have closed the number without unwatching it: then the kernel has forgotten
        # it while we have not, and the other way round for a number that was duplicated.
        try:
            self._epoll.register(fd, select.EPOLLIN)
        except FileExistsError:
            self._epoll.modify(fd, select.EPOLLIN)
        except OSError as error:
            if error.errno not in _NO_MEMORY:
                raise
            if not self._late:
                log.error("cannot watch what happens, trying again: %s", error.strerror)
            self._late[fd] = None
            self._lack.set()
        self._callbacks[fd] = ready

    def unwatch(self, fd: int) -> None:
        """Stop watching; nothing happens if it is not watched."""
        self._late.pop(fd, None)
        if self._callbacks.pop(fd, None) is not None:
            # Closed before it was unwatched: then the kernel has done it already.
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(fd)

    async def serve(self) -> None:
        """Dispatch for ever. A callback that raises loses its watch and disturbs nobody else."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_late)
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                self.dispatch()

    async def _watch_late(self) -> None:
        while True:
            await self._lack.wait()
            await trio.sleep(AGAIN)
            for fd in tuple(self._late):
                try:
                    self._epoll.register(fd, select.EPOLLIN)
                except OSError as error:
                    if error.errno in _NO_MEMORY:
                        break
                    # It was closed meanwhile.
                del self._late[fd]
            else:
                self._lack = trio.Event()

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
        self._late.clear()
        self._epoll.close()
