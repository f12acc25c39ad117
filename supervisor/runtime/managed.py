"""Keep the system's own supervisor informed about piesd, where there is one."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from supervisor.engine.describe import summary
from supervisor.model.component import Key
from supervisor.model.effects import Note
from supervisor.model.state import Stage
from supervisor.runtime.runner import Runner
from supervisor.system.notify import Notifier

STATUS_EVERY = 1.0
"""Seconds between two lines of status for the service manager."""


async def feed_watchdog(notifier: Notifier, runner: Runner) -> None:
    """Feed the service manager's watchdog, but only while the runner moves."""
    interval = notifier.watchdog_interval()
    while interval is not None:
        await runner.turned()
        notifier.watchdog()
        await trio.sleep(interval)


async def tell_status(notifier: Notifier, runner: Runner) -> None:
    """Tell the service manager what runs, after changes and at most once a second."""
    if not notifier.active:
        return
    changed = trio.Event()

    def note(_revision: int, _changed: frozenset[Key], _notes: Sequence[Note]) -> None:
        changed.set()

    runner.observe(note)
    while True:
        await changed.wait()
        await trio.sleep(STATUS_EVERY)
        changed = trio.Event()
        if runner.engine.stage is Stage.NORMAL:
            notifier.status(summary(runner.engine.world))
