"""Tasks that hurt nobody: each may fail alone, and its neighbours go on."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

log = logging.getLogger(__name__)


class Tasks:
    """Starts tasks in the nursery of whoever serves; those that come before are started then."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None
        self._early: list[tuple[str, Callable[[], Awaitable[None]]]] = []

    def start(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        """Start *job*; a failure of it is a line in the log and nothing worse."""
        if self._nursery is None:
            self._early.append((name, job))
        else:
            self._nursery.start_soon(_guarded, name, job, name=name)

    async def serve(self) -> None:
        """Run what was started and what will be, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            early, self._early = self._early, []
            for name, job in early:
                self.start(name, job)
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None


async def _guarded(name: str, job: Callable[[], Awaitable[None]]) -> None:
    try:
        await job()
    except Exception:
        log.exception("cannot go on with %s: this is a bug in piesd", name)
