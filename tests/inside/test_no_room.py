"""A system that has no room for another process is nobody's failure."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest
import trio
import trio.testing

from fake_system import Script
from running import House, house
from simulation import Simulation
from supervisor.engine.gates import blocked_by
from supervisor.engine.room import LONGEST_PAUSE
from supervisor.model.component import Component, ExitAction, InetAddress, Mode, Respawn
from supervisor.model.events import Happened, SpawnFailed
from supervisor.model.events import Tested as Answered
from supervisor.model.state import Exit, Phase, Stage

TOUCHY = Respawn(max=1, window=60, sleep=300)


def component(tag: str, **more: Any) -> Component:
    return Component(tag=tag, argv=(tag,), **{"respawn": TOUCHY, **more})


def lack(number: int = errno.EAGAIN, stage: str = "fork") -> Exit:
    return Exit(stage=stage, errno=number, message=f"{stage}: {os.strerror(number)}")


def refuse(sim: Simulation, tag: str, why: Exit | None = None) -> None:
    generation = sim.engine.world.states[tag].generation
    del sim.starting[tag, generation]
    sim.post(Happened(tag, SpawnFailed(generation, why or lack(), 0.5)))


def test_a_failure_of_its_own_after_that_is_told_and_takes_the_room_as_there() -> None:
    sim = Simulation([component("web")]).boot()
    refuse(sim, "web")
    sim.wake()
    missing = Exit(stage="exec", errno=errno.ENOENT, message="exec web: No such file or directory")
    refuse(sim, "web", missing)
    assert [note.kind for note in sim.notes][-2:] == ["start-failed", "room-again"]
    assert not sim.engine.world.crowded


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM])
def test_it_is_tried_again_and_is_no_failure(number: int) -> None:
    sim = Simulation([component("web")]).boot()
    pauses = []
    for _ in range(12):
        begun = sim.now
        refuse(sim, "web", lack(number))
        state = sim.engine.world.states["web"]
        assert (state.phase, state.starts, state.failures) == (Phase.WAITING, (), 0)
        assert state.last_exit is None
        block = blocked_by(sim.engine.world, "web")
        assert block is not None
        assert block.type == "no-room"
        assert block.message == (
            f"the system has no room for another process: fork: {os.strerror(number)}"
        )
        assert block.until == state.deadline
        sim.wake()
        pauses.append(sim.now - begun)
    assert pauses == sorted(pauses)
    assert pauses[0] < 1 < pauses[-1] <= LONGEST_PAUSE
    sim.spawn_one()
    assert sim.phase("web") is Phase.RUNNING
    assert sim.engine.world.states["web"].room is None


def test_it_is_told_once_and_when_it_is_over() -> None:
    sim = Simulation([component(tag) for tag in "abc"]).boot()
    for tag in "abc":
        refuse(sim, tag)
    sim.wake()
    refuse(sim, "a")
    told = [note for note in sim.notes if note.level == "error"]
    assert [(note.kind, note.key) for note in told] == [("no-room", None)]
    for _ in range(3):
        sim.wake()
    sim.settle()
    assert [note.kind for note in sim.notes if "room" in note.kind] == ["no-room", "room-again"]


def test_a_prerequisite_for_which_there_is_no_room_is_waited_for() -> None:
    sim = Simulation([component("db"), component("web", prerequisites=("db",))]).boot()
    refuse(sim, "db")
    sim.wake()
    sim.settle()
    assert sim.phase("web") is Phase.RUNNING


def test_what_runs_once_has_not_run_and_is_waited_for() -> None:
    sim = Simulation([component("first", mode=Mode.STARTUP), component("web")]).boot()
    refuse(sim, "first")
    assert sim.engine.stage is Stage.STARTUP
    sim.wake()
    sim.settle()
    sim.end("first")
    sim.settle()
    assert sim.phase("web") is Phase.RUNNING


def test_no_room_for_its_start_condition_is_no_refusal() -> None:
    sim = Simulation([component("web", start_condition=("test",))]).boot()
    del sim.probing["web", 1]
    sim.post(Happened("web", Answered(1, lack(errno.ENOMEM, "start-condition"))))
    assert sim.phase("web") is Phase.WAITING
    sim.wake()
    sim.settle()
    assert sim.phase("web") is Phase.RUNNING


def test_whoever_asks_for_it_has_it_tried_at_once() -> None:
    sim = Simulation([component("web")]).boot()
    refuse(sim, "web")
    sim.order("start", "web").settle()
    assert sim.phase("web") is Phase.RUNNING


def test_one_that_is_stopped_meanwhile_is_not_tried_again() -> None:
    sim = Simulation([component("web")]).boot()
    refuse(sim, "web")
    sim.order("stop", "web")
    assert sim.phase("web") is Phase.STOPPED
    assert sim.engine.next_deadline() is None


def test_its_own_limits_are_its_own_failure_and_set_off_what_that_does() -> None:
    disable = ExitAction(codes=(127,), action="disable")
    sim = Simulation(
        [
            component("a", limits={"nproc": 1}, exit_actions=(disable,)),
            component("b", exit_actions=(disable,)),
        ]
    ).boot()
    refuse(sim, "a", lack(errno.EAGAIN, "exec"))
    refuse(sim, "b", lack(errno.EAGAIN, "exec"))
    assert sim.phase("a") is Phase.STOPPED
    assert sim.phase("b") is Phase.WAITING


def test_a_client_is_not_kept_waiting() -> None:
    inetd = component("echo", mode=Mode.INETD, sockets=(InetAddress(host="::1", port=7),))
    sim = Simulation([inetd]).boot().settle()
    sim.connect("echo")
    refuse(sim, "echo#1")
    assert "echo#1" not in sim.engine.world.states


async def test_no_memory_for_a_fork_of_one_disturbs_no_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def full(home: House) -> None:
        home.system.scripts["web"] = Script(
            fails=("fork", errno.ENOMEM, "fork: Cannot allocate memory")
        )

    async with house([component("web"), component("db")], full) as home:
        assert home.phase("db") is Phase.RUNNING
        await trio.sleep(100)
        assert home.phase("web") is Phase.WAITING
        assert len(home.texts("no-room")) == 1
        assert 6 < len(home.system.launches) < 16
        del home.system.scripts["web"]
        await trio.sleep(LONGEST_PAUSE)
        assert home.phase("web") is Phase.RUNNING
        assert len(home.texts("room-again")) == 1
