"""A wall clock that is set, and a machine that is suspended: what is scheduled does not move."""

from __future__ import annotations

import time

import pytest
import trio
import trio.testing

from running import house
from simulation import Simulation
from supervisor.engine.describe import describe
from supervisor.model.component import Component, Respawn
from supervisor.model.state import Exit, Phase
from supervisor.runtime.ledger import Head, Ledger, read
from supervisor.system.ledgerfile import LedgerFile

YEAR = 365 * 86400.0
WEB = Component(tag="web", argv=("web",), respawn=Respawn(max=2, window=60, sleep=100))


@pytest.mark.parametrize("jump", [YEAR, -YEAR, 3600.0, -3600.0])
async def test_a_wall_clock_that_is_set_moves_no_deadline_and_no_window(
    jump: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with house([WEB]) as home:
        await trio.sleep(10)
        home.system.epoch += jump
        home.system.exit("web", 1)
        await home.rest()
        last = home.state("web").last_exit
        assert last is not None
        assert last.lasted == 10
        assert home.phase("web") is Phase.RUNNING
        home.system.exit("web", 1)
        await home.rest()
        assert home.phase("web") is Phase.SLEEPING
        home.system.epoch -= 2 * jump
        await trio.sleep(99)
        assert home.phase("web") is Phase.SLEEPING
        await trio.sleep(1.1)
        assert home.phase("web") is Phase.RUNNING
        await trio.sleep(5)
        now = trio.current_time()
        row = describe(home.runner.engine.world, "web", now, home.system.wall())
        assert row.uptime is not None
        assert abs(row.uptime - 5.1) < 0.2


def test_a_suspended_machine_gives_nobody_less_time_and_its_ledger_the_right_bounds() -> None:
    class File(LedgerFile):
        def __init__(self) -> None:
            super().__init__("/run/x.ledger")
            self.records: list[bytes] = []

        def begin(self, records: object) -> None:
            self.records = list(records)  # type: ignore[call-overload]

        def append(self, record: bytes) -> None:
            self.records.append(record)

    sim, file = Simulation([WEB]), File()
    suspended = 0.0
    head = Head(version="1", life="life", system="here", shift=0.0)
    ledger = Ledger(file, sim.engine, head, lambda: sim.now + suspended)
    ledger.begin()
    sim.after = lambda: ledger.observe(sim.engine.changed)
    sim.boot().settle()
    suspended = 8 * 3600.0  # The engine's clock stands still meanwhile; that of the boot does not.
    sim.exit(sim.child("web"), Exit(code=1, message="exited with 1"))
    sim.settle()
    kept = read(file.records, "here")
    assert kept is not None
    assert kept.born["web"] == (sim.now + suspended, sim.now + suspended)
    sim.exit(sim.child("web"), Exit(code=1, message="exited with 1"))
    assert sim.phase("web") is Phase.SLEEPING
    assert sim.engine.next_deadline() == sim.now + 100


def test_the_clock_that_decides_stands_still_while_the_machine_is_suspended() -> None:
    # It is the one of trio, which is Python's; CLOCK_BOOTTIME would go on.
    found = time.get_clock_info("perf_counter").implementation
    assert found == "clock_gettime(CLOCK_MONOTONIC)"
