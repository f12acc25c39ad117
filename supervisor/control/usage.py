"""Processor and memory use of whole process trees, on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import psutil
import trio
from msgspec import Struct

if TYPE_CHECKING:
    from supervisor.model.component import Key
    from supervisor.model.groups import GroupFigures
    from supervisor.runtime.runner import Runner


class Processor(Struct, frozen=True):
    """`seconds` are those of the processes that live now.

    `percent` is the share of one processor since the last question; None at the first.
    """

    seconds: float
    percent: float | None


class Memory(Struct, frozen=True):
    """Bytes: `rss` resident, counting shared pages once for each process, `vms` of addresses."""

    rss: int
    vms: int


class Usage(Struct, frozen=True):
    """What the processes of one child use."""

    cpu: Processor
    memory: Memory
    processes: int
    group: GroupFigures | None = None
    """What the kernel counts for its control group, if it has one."""


_Sample = tuple[float, float]
"""Processor seconds, and the monotonic time at which they were read."""


class Meter:
    """Measures trees of processes. Remembers the last sample of each, for the percentage."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._samples: dict[tuple[Key, int], _Sample] = {}

    async def measure(self, keys: Sequence[Key]) -> dict[Key, Usage]:
        """Return the use of those of *keys* that have processes."""
        states = self._runner.engine.world.states
        trees: dict[tuple[Key, int], tuple[int, ...]] = {}
        for key in keys:
            state = states.get(key)
            if state is not None and (state.pid is not None or state.lost):
                pids = self._runner.system.processes(key, state.generation)
                trees[key, state.generation] = pids
                # It looks at the process table: a thousand such looks must not hold up anybody.
                await trio.lowlevel.checkpoint()
        # Reading /proc for many processes takes a while, so a thread does it.
        figures = self._runner.system.figures
        read, groups = await self._runner.system.blocking(_read, trees, figures)
        now = trio.current_time()
        return {
            child[0]: self._usage(child, found, groups[child], now) for child, found in read.items()
        }

    def forget(self, live: Mapping[Key, object]) -> None:
        """Drop the samples of what is not there any more."""
        self._samples = {
            child: sample for child, sample in self._samples.items() if child[0] in live
        }

    def _usage(
        self,
        child: tuple[Key, int],
        found: tuple[float, int, int, int],
        group: GroupFigures | None,
        now: float,
    ) -> Usage:
        seconds, rss, vms, count = found
        before = self._samples.get(child)
        self._samples[child] = seconds, now
        percent = None
        if before is not None and now > before[1]:
            percent = round(max(seconds - before[0], 0.0) / (now - before[1]) * 100, 1)
        return Usage(Processor(round(seconds, 2), percent), Memory(rss, vms), count, group)


def _read(
    trees: Mapping[tuple[Key, int], Sequence[int]], figures: Callable[[Key], GroupFigures | None]
) -> tuple[
    dict[tuple[Key, int], tuple[float, int, int, int]], dict[tuple[Key, int], GroupFigures | None]
]:
    processes = {child: _read_tree(pids) for child, pids in trees.items()}
    return processes, {child: figures(child[0]) for child in trees}


def _read_tree(pids: Sequence[int]) -> tuple[float, int, int, int]:
    seconds, rss, vms, count = 0.0, 0, 0, 0
    for pid in pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
        except psutil.Error:
            # Gone since the list was made: it uses nothing any more.
            continue
        seconds += times.user + times.system
        rss += memory.rss
        vms += memory.vms
        count += 1
    return seconds, rss, vms, count
