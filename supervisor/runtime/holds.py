"""Measures who holds the event loop, and for how long: nothing may keep it from its children."""

from __future__ import annotations

import trio
from msgspec import Struct


class Hold(Struct, frozen=True):
    """The longest time, in seconds, for which one task did not give the loop back."""

    seconds: float = 0.0
    task: str = ""


class HoldMeter(trio.abc.Instrument):
    """Notes the longest step of any task since `reset`.

    Two looks at the clock for each step are all it costs, so it always runs.
    """

    def __init__(self) -> None:
        self.longest = Hold()
        self._began = 0.0
        self._time = trio.current_time

    def before_run(self) -> None:
        """Find the clock once: the way to it takes longer than the look."""
        self._time = trio.lowlevel.current_clock().current_time

    def reset(self) -> None:
        """Begin anew."""
        self.longest = Hold()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note when a step begins."""
        del task
        self._began = self._time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Keep the step if it was the longest."""
        seconds = self._time() - self._began
        if seconds > self.longest.seconds:
            self.longest = Hold(seconds, task.name)
