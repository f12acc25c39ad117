"""Random histories hold what must always hold.

`Simulation.check` looks at the invariants after every event; here hypothesis invents the events.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from histories import EXITS, MACHINES, examples, one_step, plans
from simulation import Simulation
from supervisor.engine.engine import Engine
from supervisor.engine.gates import blocked_by
from supervisor.engine.modes import ONE_RUN
from supervisor.model.component import Component, Mode, Respawn
from supervisor.model.effects import End
from supervisor.model.events import EngineEvent, Hurry, Shutdown
from supervisor.model.state import Phase


@settings(max_examples=examples(150))
@given(plan=plans(), data=st.data(), length=st.integers(5, 50))
def test_any_history_keeps_the_invariants_and_ends_when_asked(
    plan: list[Component], data: st.DataObject, length: int
) -> None:
    sim = Simulation(plan, **data.draw(MACHINES)).boot()
    for _ in range(length):
        one_step(sim, data)
        if sim.has_ended():
            return
    sim.post(Shutdown("me"))
    begun = sim.now
    for _ in range(200):
        sim.settle()
        if sim.has_ended():
            break
        sim.wake()
    assert sim.ended == 0
    assert not sim.children
    assert not sim.starting
    assert sim.now - begun <= 2 * 5.0 + 2.0 + 5.0
    commands = {key for key in sim.spawned if "#" in key and not key.rpartition("#")[2].isdigit()}
    assert commands <= sim.over.keys()


@settings(max_examples=examples(100))
@given(plan=plans(), data=st.data(), length=st.integers(5, 40))
def test_after_stop_all_everything_is_stopped_or_finished(
    plan: list[Component], data: st.DataObject, length: int
) -> None:
    sim = Simulation(plan, **data.draw(MACHINES)).boot()
    for _ in range(length):
        one_step(sim, data)
    sim.settle()
    sim.order("stop", *sim.engine.world.states)
    for _ in range(60):
        sim.settle()
        if not sim.engine.world.live:
            break
        sim.wake()
    phases = {state.phase for state in sim.engine.world.states.values()}
    assert phases <= {Phase.STOPPED, Phase.FINISHED}
    assert not sim.children


@settings(max_examples=examples(60))
@given(plan=plans(), data=st.data(), length=st.integers(5, 40))
def test_after_start_all_everything_that_can_run_does_and_the_rest_says_why(
    plan: list[Component], data: st.DataObject, length: int
) -> None:
    plan = [replace(component, respawn=Respawn(max=1000)) for component in plan]
    sim = Simulation(plan, **data.draw(MACHINES)).boot()
    for _ in range(length):
        one_step(sim, data)
    sim.order("start", *sim.engine.world.states)
    for _ in range(50):
        sim.settle()
        for child in [
            c
            for c in sim.children
            if sim.engine.world.specs[c[0]].mode in ONE_RUN - {Mode.SHUTDOWN}
        ]:
            sim.exit(child, EXITS[0])
        if any(state.deadline is not None for state in sim.engine.world.states.values()):
            sim.wake()
    up = {Phase.RUNNING, Phase.LISTENING, Phase.FINISHED}
    excuses = {"max-instances", "disabled", "prerequisite"}
    if sim.engine.world.runlevel:
        # A single user who leaves takes the machine to another runlevel.
        excuses |= {"boot", "runlevel", "mode"}
    for key, state in sim.engine.world.states.items():
        if sim.engine.world.specs[key].mode is not Mode.SHUTDOWN and state.phase not in up:
            block = blocked_by(sim.engine.world, key)
            assert block is not None, f"{key} is {state.phase} and does not say why"
            assert block.type in excuses, f"{key} is {state.phase}: {block.message}"


@settings(max_examples=examples(60))
@given(plan=plans(), data=st.data(), length=st.integers(5, 50))
def test_the_same_log_of_events_gives_the_same_states(
    plan: list[Component], data: st.DataObject, length: int
) -> None:
    sim = Simulation(plan, **data.draw(MACHINES)).boot()
    times: list[tuple[EngineEvent, float]] = []
    post = sim.post

    def timed(event: EngineEvent) -> None:
        times.append((event, sim.now))
        post(event)

    sim.post = timed  # type: ignore[method-assign]  # to note the time of each event
    first = list(sim.log)
    for _ in range(length):
        one_step(sim, data)
    again = Engine(shutdown_timeout=5.0, init=sim.engine.world.init)
    for event in first:
        again.handle(event, 1000.0)
    ends = 0
    for event, now in times:
        effects = again.handle(event, now)
        ends += sum(isinstance(effect, End) for effect in effects)
    assert again.world.states == sim.engine.world.states
    assert again.revision == sim.engine.revision


@settings(max_examples=examples(40))
@given(plan=plans(), data=st.data())
def test_a_hurried_shutdown_kills_everything_at_once(
    plan: list[Component], data: st.DataObject
) -> None:
    sim = Simulation(plan, **data.draw(MACHINES)).boot()
    for _ in range(20):
        one_step(sim, data)
    if sim.has_ended():
        return
    sim.settle()
    sim.deaf = set(sim.engine.world.states)
    begun = sim.now
    sim.post(Shutdown("me"))
    sim.post(Hurry())
    sim.settle()
    sim.post(Hurry())
    for _ in range(10):
        sim.settle()
        if sim.has_ended():
            break
        sim.wake()
    assert sim.has_ended()
    assert sim.now - begun <= 10.0
