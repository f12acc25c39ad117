"""What an engine that goes on for another is told: the facts that it would have heard itself."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from simulation import Simulation
from supervisor.engine import returning
from supervisor.engine.engine import Engine
from supervisor.engine.memory import Memo
from supervisor.model.component import Component, Mode, Respawn
from supervisor.model.events import (
    Apply,
    ComponentEvent,
    EngineEvent,
    Exited,
    Happened,
    ListenerClosed,
    Listening,
    Spawned,
    SpawnFailed,
    Stop,
    TreeChanged,
)
from supervisor.model.state import Phase, State

NEEDS = Component(tag="db", argv=("db",), respawn=Respawn(max=100))
WEB = Component(tag="web", argv=("web",), prerequisites=("db",))


def told(
    state: State, pid: int | None, lost: tuple[int, ...] = ()
) -> tuple[State, ComponentEvent | None]:
    return returning.child(state, pid, lost, now=50.0, at=7.0, chance=0.5)


def goes_on(sim: Simulation, found: dict[str, tuple[int | None, tuple[int, ...]]]) -> Engine:
    """Return an engine that goes on where *sim* is, of whose children only *found* is there."""
    memory, memos = sim.engine.memory(), []
    facts: list[EngineEvent] = []
    for each in memory.memos:
        if returning.has_processes(each):
            state, event = told(each.state, *found.get(each.key, (None, ())))
            memos.append(replace(each, state=state))
            facts += [] if event is None else [Happened(each.key, event)]
        else:
            memos.append(each)
    engine = Engine()
    engine.recall(replace(memory, memos=tuple(memos)), sim.now)
    plan = tuple(memo.spec for memo in memos if memo.link is None)
    for fact in (Apply(plan, 5.0), *facts):
        engine.handle(fact, sim.now)
    return engine


def test_who_lives_is_no_news() -> None:
    running = State(phase=Phase.RUNNING, wanted=True, generation=3, pid=7)
    assert told(running, 7) == (running, None)


def test_who_is_gone_has_ended_and_nobody_knows_how() -> None:
    running = State(phase=Phase.RUNNING, wanted=True, generation=3, pid=7)
    state, event = told(running, None, (8, 9))
    assert state == running
    assert isinstance(event, Exited)
    assert (event.generation, event.exit.stage, event.lost) == (3, "unobserved", (8, 9))


def test_a_start_that_came_to_something_did_and_one_that_did_not_begins_anew() -> None:
    starting = State(phase=Phase.STARTING, wanted=True, generation=3, starts=(1.0, 2.0))
    assert told(starting, 7) == (starting, Spawned(3, 7, 7.0))
    state, event = told(starting, None)
    assert event is None
    assert (state.phase, state.wanted, state.failures) == (Phase.WAITING, True, 0)
    assert state.starts == (1.0,)  # The throttle does not count it.
    assert told(replace(starting, wanted=False), None)[0].phase is Phase.STOPPED


def test_what_was_to_stop_before_it_was_there() -> None:
    stopping = State(phase=Phase.STOPPING, generation=3)
    assert told(stopping, 7)[1] == Spawned(3, 7, 7.0)
    assert isinstance(told(stopping, None)[1], SpawnFailed)


def test_what_has_outlived_its_leader_is_counted_again() -> None:
    stopping = State(phase=Phase.STOPPING, generation=3, lost=(8, 9))
    assert told(stopping, None, (9,))[1] == TreeChanged(3, (9,), 0.5)


@pytest.mark.parametrize(
    ("phase", "news"),
    [
        (Phase.LISTENING, None),
        (Phase.STARTING, Listening(3, 7.0)),
        (Phase.STOPPING, ListenerClosed(3)),
    ],
)
def test_a_listener_that_is_open_again(phase: Phase, news: object) -> None:
    assert returning.listener(State(phase=phase, generation=3, listener=True), 7.0) == news


def test_listeners_and_built_in_services_have_no_processes() -> None:
    live = State(phase=Phase.RUNNING, generation=1)
    spec = Component(tag="a", argv=("a",), mode=Mode.INETD)
    assert returning.has_processes(Memo(key="a#1", spec=spec, state=live))
    assert not returning.has_processes(Memo(key="a", spec=spec, state=replace(live, listener=True)))
    internal = replace(spec, internal=True)
    assert not returning.has_processes(Memo(key="a#1", spec=internal, state=live))


def test_the_end_of_what_others_need_brings_these_down_as_ever() -> None:
    sim = Simulation((NEEDS, WEB)).boot().settle()
    web = sim.engine.world.states["web"].pid
    engine = goes_on(sim, {"web": (web, ())})
    db, dependent = engine.world.states["db"], engine.world.states["web"]
    assert (db.phase, db.restarts) == (Phase.WAITING, 1)
    assert dependent.phase is Phase.STOPPING


def test_what_was_stopped_stays_down() -> None:
    sim = Simulation((NEEDS, WEB)).boot().settle()
    sim.post(Happened("web", Stop("me")))
    sim.settle()
    engine = goes_on(sim, {"db": (sim.engine.world.states["db"].pid, ())})
    assert engine.world.states["web"].phase is Phase.STOPPED
    assert engine.world.states["db"].phase is Phase.RUNNING
