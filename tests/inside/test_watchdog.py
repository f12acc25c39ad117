"""A component's own watchdog, on a simulated system under a virtual clock."""

from __future__ import annotations

from signal import SIGABRT, SIGCONT
from typing import Any

import trio
import trio.testing

from fake_system import Script
from running import House, house
from simulation import Simulation
from supervisor.engine.describe import describe
from supervisor.model.component import Check, Component, Mode, Respawn
from supervisor.model.events import Happened, Hung
from supervisor.model.state import Phase

NOTIFY = Check(kind="notify")


def web(**more: Any) -> Component:
    return Component(tag="web", argv=("web",), **{"watchdog": 10.0, **more})


def environment(home: House) -> dict[str, str]:
    return dict(home.system.launches[-1].environ)


def say(home: House, *lines: str) -> None:
    home.system.notify(environment(home)["NOTIFY_SOCKET"], "\n".join(lines).encode())


def reason(home: House) -> tuple[str | None, str] | None:
    last = home.state("web").last_exit
    return None if last is None else (last.stage, last.message)


async def test_it_is_told_as_systemd_tells_it(autojump_clock: trio.testing.MockClock) -> None:
    async with house([web(watchdog=2.5)]) as home:
        assert environment(home)["WATCHDOG_USEC"] == "2500000"
        assert "NOTIFY_SOCKET" in environment(home)
        assert home.system.launches[-1].own_pid == ("WATCHDOG_PID",)
        assert home.state("web").ready


async def test_without_a_watchdog_nothing_is_said(autojump_clock: trio.testing.MockClock) -> None:
    async with house([web(watchdog=0.0, ready=NOTIFY)]) as home:
        assert environment(home).keys() == {"NOTIFY_SOCKET"}
        assert home.system.launches[-1].own_pid is None


async def test_who_says_it_in_time_is_left_alone(autojump_clock: trio.testing.MockClock) -> None:
    async with house([web()]) as home:
        for _ in range(10):
            await trio.sleep(9)
            say(home, "WATCHDOG=1")
        await trio.sleep(9.5)
        assert home.state("web").generation == 1


async def test_who_does_not_is_aborted_and_restarted_with_the_reason(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with house([web()]) as home:
        await trio.sleep(5)
        say(home, "WATCHDOG=1")
        await trio.sleep(9.9)
        assert home.state("web").generation == 1
        await trio.sleep(0.2)
        await home.rest()
        assert [sent.signum for sent in home.system.signals] == [SIGABRT, SIGCONT]
        assert reason(home) == ("watchdog", "it did not say WATCHDOG=1 for 10 s")
        assert home.state("web").generation == 2
        assert home.texts("hung") == ["restarting 'web': it did not say WATCHDOG=1 for 10 s"]


async def test_what_holds_out_against_that_is_killed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def deaf(home: House) -> None:
        home.system.scripts["web"] = Script(ignores=frozenset({SIGABRT}))

    async with house([web(stop_timeout=3)], deaf) as home:
        await trio.sleep(12)
        assert home.phase("web") is Phase.STOPPING
        await trio.sleep(2)
        await home.rest()
        assert reason(home) == ("watchdog", "it did not say WATCHDOG=1 for 10 s")
        assert home.state("web").generation == 2


async def test_the_time_runs_from_when_it_is_ready(autojump_clock: trio.testing.MockClock) -> None:
    async with house([web(ready=NOTIFY)]) as home:
        await trio.sleep(30)
        assert home.state("web").generation == 1
        say(home, "READY=1")
        await trio.sleep(9.9)
        assert home.state("web").generation == 1
        await trio.sleep(0.2)
        assert reason(home) == ("watchdog", "it did not say WATCHDOG=1 for 10 s")


async def test_its_socket_is_there_beside_another_way_to_be_ready(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with house([web(ready=Check(kind="fd", fd=3))]) as home:
        await trio.sleep(30)
        home.system.hand("web", 3, b"\n")
        await trio.sleep(9)
        say(home, "WATCHDOG=1")
        await trio.sleep(9.9)
        assert home.state("web").ready
        await trio.sleep(0.2)
        assert reason(home) == ("watchdog", "it did not say WATCHDOG=1 for 10 s")
        await home.order("stop", "web")
        assert not home.system.notify_paths


async def test_it_may_say_by_itself_that_it_hangs(autojump_clock: trio.testing.MockClock) -> None:
    async with house([web(ready=NOTIFY)]) as home:
        say(home, "WATCHDOG=trigger")
        await home.rest()
        assert reason(home) == ("watchdog", "it said WATCHDOG=trigger")
        assert home.state("web").generation == 2


async def test_it_may_say_so_before_we_know_that_it_runs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def slow(home: House) -> None:
        home.system.scripts["web"] = Script(delayed=True)

    async with house([web()], slow) as home:
        say(home, "WATCHDOG=trigger", "WATCHDOG_USEC=7000000")
        await home.rest()
        assert home.phase("web") is Phase.STARTING
        home.system.decide("web")
        await home.rest()
        assert reason(home) == ("watchdog", "it said WATCHDOG=trigger")


async def test_it_may_ask_for_another_time(autojump_clock: trio.testing.MockClock) -> None:
    async with house([web()]) as home:
        await trio.sleep(5)
        say(home, "WATCHDOG_USEC=60000000")
        await trio.sleep(59)
        assert home.state("web").generation == 1
        say(home, "WATCHDOG_USEC=3000000")
        await trio.sleep(3.1)
        assert reason(home) == ("watchdog", "it did not say WATCHDOG=1 for 3 s")
        # The next child knows nothing of that, and is held to what it was told.
        await trio.sleep(9)
        assert home.state("web").generation == 2
        assert home.state("web").watchdog is None


async def test_it_may_ask_for_none_and_who_had_none_for_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with house([web(), Component(tag="db", argv=("db",), ready=NOTIFY)]) as home:
        sockets = [dict(each.environ)["NOTIFY_SOCKET"] for each in home.system.launches]
        home.system.notify(sockets[0], b"WATCHDOG_USEC=0")
        home.system.notify(sockets[1], b"READY=1\nWATCHDOG_USEC=5000000")
        await trio.sleep(4)
        assert home.state("db").watchdog == 5
        await trio.sleep(1.1)
        assert home.state("db").generation == 2
        await trio.sleep(50)
        assert home.state("web").generation == 1


async def test_who_is_stopping_is_not_watched(autojump_clock: trio.testing.MockClock) -> None:
    async with house([web()]) as home:
        say(home, "STOPPING=1")
        await trio.sleep(100)
        assert home.state("web").generation == 1


async def test_what_was_said_while_we_did_not_look_counts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with house([web()]) as home:
        await trio.sleep(5)
        environ = environment(home)
        # Both are there at once, as when piesd itself was held up: the time, and what was said.
        fd = next(fd for fd, path in home.system.notify_paths.items())
        home.system._datagrams[fd].append(b"WATCHDOG=1")
        assert environ["NOTIFY_SOCKET"] == home.system.notify_paths[fd]
        autojump_clock.jump(5.5)
        await home.rest()
        assert home.state("web").generation == 1


async def test_who_did_not_look_in_time_gives_all_of_it_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with house([web()]) as home:
        await trio.sleep(5)
        autojump_clock.jump(500)
        await home.rest()
        assert home.state("web").generation == 1
        await trio.sleep(10.1)
        assert home.state("web").generation == 2


# --- what it means


def test_its_reason_is_shown_and_it_counts_as_a_failure() -> None:
    spec = web(respawn=Respawn(max=1, window=60, sleep=100))
    sim = Simulation([spec]).boot().settle()
    sim.post(Happened("web", Hung(1, "it did not say WATCHDOG=1 for 10 s")))
    sim.settle()
    assert sim.phase("web") is Phase.SLEEPING
    row = describe(sim.engine.world, "web", sim.now, 0.0)
    assert row.blocked_by is not None
    assert row.blocked_by.message.endswith(
        "; it last was brought down: it did not say WATCHDOG=1 for 10 s"
    )
    assert row.last_exit is not None
    assert row.last_exit.stage == "watchdog"


def test_what_runs_once_has_failed_by_it() -> None:
    sim = Simulation([web(mode=Mode.ONCE)]).boot().settle()
    sim.post(Happened("web", Hung(1, "it did not say WATCHDOG=1 for 10 s")))
    sim.settle()
    assert sim.phase("web") is Phase.FINISHED
    assert not sim.engine.world.up("web")


def test_of_an_older_child_it_says_nothing() -> None:
    sim = Simulation([web()]).boot().settle()
    sim.post(Happened("web", Hung(0, "late")))
    assert sim.phase("web") is Phase.RUNNING
