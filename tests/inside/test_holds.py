"""The longest hold of the event loop is measured, and its task is named."""

from __future__ import annotations

import time

import trio

from supervisor.runtime.holds import HoldMeter


def test_the_task_that_holds_the_loop_longest_is_named() -> None:
    meter = HoldMeter()

    async def greedy() -> None:
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            pass

    async def modest() -> None:
        await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(modest, name="modest")
            nursery.start_soon(greedy, name="greedy")

    trio.run(main, instruments=[meter])
    assert meter.longest.task == "greedy"
    assert meter.longest.seconds >= 0.02
    meter.reset()
    assert meter.longest.seconds == 0.0
