"""What nobody needs is stopped: silent connections, and servers to which nobody comes."""

from __future__ import annotations

from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from fake_system import Script
from running import House, house
from simulation import Simulation
from supervisor.engine.describe import describe
from supervisor.model.component import Component, ExitAction, InetAddress, Mode
from supervisor.model.events import Apply, Happened, Idle
from supervisor.model.state import Phase

PORT = InetAddress(host="127.0.0.1", port=7)
ECHO = Component(tag="echo", argv=("cat",), mode=Mode.INETD, sockets=(PORT,), idle_timeout=300)
SERVER = Component(
    tag="server",
    argv=("serve",),
    mode=Mode.ACCEPT,
    sockets=(PORT,),
    on_demand=True,
    idle_stop=60,
)


def signals(home: House, key: str) -> list[int]:
    return [each.signum for each in home.system.signals if each.key == key]


# --- what is decided


def test_what_nobody_needs_is_stopped_like_by_an_order_and_says_why() -> None:
    action = ExitAction(signals=(SIGTERM,), notify=("root",))
    sim = Simulation([replace(ECHO, exit_actions=(action,))]).boot().settle()
    sim.connect("echo")
    sim.settle()
    sim.post(Happened("echo#1", Idle(1, "idle for 300 s")))
    state = sim.engine.world.states["echo#1"]
    assert (state.phase, state.wanted) == (Phase.STOPPING, False)
    row = describe(sim.engine.world, "echo#1", sim.now, 0.0)
    assert row.last_exit is not None
    assert (row.last_exit.stage, row.last_exit.message) == ("idle", "idle for 300 s")
    sim.settle()
    assert "echo#1" not in sim.engine.world.states
    assert sim.phase("echo") is Phase.LISTENING
    assert sim.why_not() == []  # It is no failure,
    assert sim.mails == []  # and nobody is told as of an end that nobody wanted.
    assert [note.text for note in sim.notes if note.kind == "idle"] == [
        "'echo#1' is stopping: idle for 300 s"
    ]


def test_a_server_that_was_stopped_as_idle_says_so_at_its_listener() -> None:
    sim = Simulation([SERVER]).boot().settle()
    sim.connect("server")
    sim.settle()
    sim.idle(("server#1", 1))
    sim.settle()
    row = describe(sim.engine.world, "server", sim.now, 0.0)
    assert row.status == "listener"
    assert row.last_exit is not None
    assert row.last_exit.message == "idle for 60 s; the next connection starts it"


def test_idleness_that_is_found_out_too_late_changes_nothing_and_lets_go_on_who_is_held() -> None:
    sim = Simulation([SERVER]).boot().settle()
    sim.connect("server")
    sim.settle()
    sim.deaf.add("server#1")
    sim.order("stop", "server#1")
    before, sent = sim.engine.world.states["server#1"], len(sim.history)
    sim.idle(("server#1", 1))
    assert sim.engine.world.states["server#1"] == before
    assert len(sim.history) == sent  # No second stop signal: SIGCONT alone, which is not noted.


def test_what_does_not_mind_being_told_that_it_is_idle_is_killed() -> None:
    sim = Simulation([SERVER]).boot().settle()
    sim.connect("server")
    sim.settle()
    sim.deaf.add("server#1")
    sim.idle(("server#1", 1))
    sim.settle()
    assert sim.phase("server#1") is Phase.STOPPING
    sim.wake()
    assert sim.history[-1] == f"signal server#1 {SIGKILL.value}"


# --- what is found out


async def test_a_connection_is_ended_when_it_was_silent_for_so_long_and_not_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(5000):
        async with house([ECHO]) as home:
            fd = home.system.connect(PORT)
            await home.rest()
            await trio.sleep(200)
            home.system.last_byte[fd] = trio.current_time()
            await trio.sleep(299)
            assert signals(home, "echo#1") == []
            await trio.sleep(1.1)
            await home.rest()
            assert signals(home, "echo#1")[:2] == [SIGTERM, SIGCONT]
            assert home.texts("idle") == ["'echo#1' is stopping: idle for 300 s"]
            assert "echo#1" not in home.runner.engine.world.states


async def test_a_child_whose_connection_is_gone_already_is_left_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(5000):
        async with house([ECHO]) as home:
            fd = home.system.connect(PORT)
            await home.rest()
            del home.system.last_byte[fd]
            await trio.sleep(1000)
            assert home.phase("echo#1") is Phase.RUNNING


async def test_a_kernel_that_tells_nothing_is_complained_about_once_and_ends_nobody(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(5000):
        async with house([ECHO]) as home:
            home.system.tight_lipped = True
            home.system.connect(PORT)
            home.system.connect(PORT)
            await trio.sleep(1000)
            assert home.phase("echo#1") is home.phase("echo#2") is Phase.RUNNING
            assert [record.getMessage() for record in caplog.records] == [
                "cannot ask the kernel about connections, so idle-timeout and idle-stop do "
                "nothing: Operation not permitted"
            ]


async def test_a_server_to_which_nobody_comes_is_stopped_and_the_next_client_starts_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(5000):
        async with house([SERVER]) as home:
            home.system.connect(PORT)
            await home.rest()
            taken = home.system.accept(next(iter(home.system.listeners)))
            assert taken is not None
            home.system.visitors[PORT] = 1
            await trio.sleep(1000)  # Somebody is there for a long time,
            home.system.visitors[PORT] = 0
            await trio.sleep(59)  # and has gone only just now.
            assert signals(home, "server#1") == []
            await trio.sleep(61)
            await home.rest()
            assert signals(home, "server#1")[:3] == [SIGSTOP, SIGTERM, SIGCONT]
            assert home.phase("server") is Phase.LISTENING
            home.system.connect(PORT)
            await home.rest()
            assert home.phase("server#2") is Phase.RUNNING


async def test_short_visits_between_two_looks_keep_a_server(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(5000):
        async with house([SERVER]) as home:
            home.system.connect(PORT)
            await home.rest()
            assert home.system.accept(next(iter(home.system.listeners))) is not None
            for _ in range(20):
                await trio.sleep(50)
                home.system.visit(PORT)
            assert signals(home, "server#1") == []


async def test_who_comes_at_the_last_moment_is_served(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(5000):
        async with house([SERVER]) as home:
            home.system.connect(PORT)
            await home.rest()
            assert home.system.accept(next(iter(home.system.listeners))) is not None
            is_stopped = home.system.is_stopped
            held = False

            def come(key: str, generation: int) -> bool:
                nonlocal held
                held = True
                home.system.visit(PORT)
                return is_stopped(key, generation)

            home.system.is_stopped = come  # type: ignore[method-assign]  # this moment alone
            await trio.sleep(500)
            assert held
            assert set(signals(home, "server#1")) == {SIGSTOP, SIGCONT}
            assert signals(home, "server#1")[-1] == SIGCONT
            assert home.phase("server#1") is Phase.RUNNING


async def test_a_server_of_datagrams_is_not_idle_while_it_has_a_process_at_work(
    autojump_clock: trio.testing.MockClock,
) -> None:
    port = InetAddress(host="127.0.0.1", port=69, protocol="udp")
    server = replace(SERVER, mode=Mode.INETD, wait=True, sockets=(port,))
    with trio.fail_after(5000):
        async with house([server]) as home:
            home.system.connect(port)
            await home.rest()
            assert home.system.accept(next(iter(home.system.listeners))) is not None
            child = home.system.child("server#1")
            child.lost.append(4711)  # Not the leader: whatever it has begun.
            await trio.sleep(1000)
            assert signals(home, "server#1") == []
            child.lost.clear()
            await trio.sleep(121)
            await home.rest()
            assert "server#1" not in home.runner.engine.world.states


async def test_a_reload_says_anew_how_long_a_server_may_be_idle(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(50000):
        async with house([replace(SERVER, idle_stop=0)]) as home:
            home.system.connect(PORT)
            await home.rest()
            assert home.system.accept(next(iter(home.system.listeners))) is not None
            await trio.sleep(10000)
            assert home.phase("server#1") is Phase.RUNNING
            home.runner.post(Apply((SERVER,), 5.0))
            await trio.sleep(121)
            await home.rest()
            assert "server#1" not in home.runner.engine.world.states


async def test_nothing_is_expected_any_more_at_a_listener_whose_server_has_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(500):
        async with house([SERVER], _stubborn) as home:
            home.system.connect(PORT)
            await home.rest()
            assert home.system.expected
            await home.order("stop", "server")  # The listener is closed first.
            assert not home.system.expected
            home.system.exit("server#1", 0)
            await home.rest()
            assert home.phase("server") is Phase.STOPPED


def _stubborn(home: House) -> None:
    home.system.scripts["server"] = Script(ignores=frozenset({SIGTERM}))
