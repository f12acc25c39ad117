"""Turns: however much there is to do for clients, everything else comes first."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EACH: Final = 0.001
"""Seconds that belong to each turn, which needs a small part of them."""

AHEAD: Final = 16
"""Turns that may be taken without a rest after there were none."""


class Turns:
    """One at a time, in the order in which they ask, and so that the loop is idle in between.

    A loop that is always busy is bad even if no turn takes long: starting a child is the work of
    another thread, and that gets hold of the interpreter only every few milliseconds then.
    """

    def __init__(self) -> None:
        self._lock = trio.Lock()
        self._taken_until = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, which lasts as long as this context."""
        async with self._lock:
            await trio.sleep_until(self._taken_until - AHEAD * EACH)
            self._taken_until = max(self._taken_until, trio.current_time()) + EACH
            yield
