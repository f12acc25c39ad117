"""Clients that are not served: told why, and waited for until they have read it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from supervisor.system.port import System

PATIENCE: Final = 2.0
"""Seconds for a client to read why it is not served, and to go."""

MOST: Final = 256
"""Clients that are waited for at a time; of more, the connection is closed at once."""


class Farewells:
    """Says good-bye without ever waiting for anybody.

    A socket that is closed while it holds something unread resets the connection, and what was
    said to the client is lost on the way. So the client's end is read until it goes.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._leaving: dict[int, float] = {}

    def say(self, fd: int, message: str) -> None:
        """Tell the client at *fd* that this is all, and close the connection when it has gone."""
        text = message.encode("utf-8", "surrogateescape")
        if not self._system.farewell(fd, text) or len(self._leaving) >= MOST:
            self._system.close(fd)
            return
        self._leaving[fd] = trio.current_time() + PATIENCE
        try:
            self._system.watch(fd, partial(self._hear, fd))
        except OSError:
            self._close(fd)

    def deadline(self) -> float:
        """Return when the first of them has had its time, infinity for never."""
        # They are in the order in which they came, and all have the same time.
        return next(iter(self._leaving.values()), float("inf"))

    def close_late(self) -> None:
        """Close the connections of those who have had their time."""
        now = trio.current_time()
        for fd, until in list(self._leaving.items()):
            if until > now:
                return
            self._close(fd)

    def _hear(self, fd: int) -> None:
        try:
            heard = self._system.read(fd, 65536)
        except OSError:
            heard = b""
        if heard == b"":
            self._close(fd)

    def _close(self, fd: int) -> None:
        del self._leaving[fd]
        self._system.close(fd)
