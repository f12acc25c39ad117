"""The watchdog of the service manager is fed only by a runner that moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from fake_system import FakeSystem
from supervisor.engine.engine import Engine
from supervisor.model.component import Component
from supervisor.model.events import Apply, Boot, TimePassed
from supervisor.runtime.managed import feed_watchdog
from supervisor.runtime.output import Outputs
from supervisor.runtime.runner import Runner
from supervisor.system.notify import Notifier


class Fed(Notifier):
    """Counts how often the watchdog was fed; it wants that every 10 s."""

    def __init__(self) -> None:
        super().__init__(None, None)
        self.times = 0

    def watchdog_interval(self) -> float:
        return 10.0

    def watchdog(self) -> bool:
        self.times += 1
        return True


@asynccontextmanager
async def fed() -> AsyncIterator[tuple[Runner, trio.CancelScope, Fed]]:
    """A runner of one component, whose work the scope ends, and its watchdog."""
    scope, notifier = trio.CancelScope(), Fed()
    async with trio.open_nursery() as nursery:
        system = FakeSystem()
        outputs = Outputs(system, nursery, lambda *_: None)
        runner = Runner(Engine(shutdown_timeout=5), system, outputs)

        async def run() -> None:
            with scope:
                await runner.run()

        nursery.start_soon(system.serve)
        nursery.start_soon(run)
        nursery.start_soon(feed_watchdog, notifier, runner)
        runner.post(Apply((Component(tag="web", argv=("web",)),), 5.0))
        runner.post(Boot(0.0))
        yield runner, scope, notifier
        nursery.cancel_scope.cancel()


async def test_it_is_fed_while_there_is_nothing_to_do(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with fed() as (_, _, notifier):
        await trio.sleep(95)
        assert notifier.times == 10


async def test_it_is_not_fed_when_nobody_works_off_the_inbox(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with fed() as (runner, scope, notifier):
        await trio.sleep(15)
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        runner.post(TimePassed())
        before = notifier.times
        await trio.sleep(100)
        assert notifier.times == before


async def test_it_is_not_fed_when_nobody_would_look_at_the_clock(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with fed() as (_, scope, notifier):
        await trio.sleep(15)
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        before = notifier.times
        await trio.sleep(100)
        assert notifier.times == before
