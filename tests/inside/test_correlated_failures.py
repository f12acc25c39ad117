"""What fails because its prerequisite has failed is not at fault, whoever is noticed first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import examples
from simulation import Simulation
from supervisor.engine.machine import CORRELATED
from supervisor.model.component import Component, Mode, Respawn
from supervisor.model.effects import Effect, Spawn
from supervisor.model.events import Exited, Happened, Spawned
from supervisor.model.state import Exit, Phase

FAILED = Exit(code=1, message="exited with 1")
TOUCHY = Respawn(max=2, window=60, sleep=300)


def component(tag: str, *needs: str, **more: Any) -> Component:
    return Component(tag=tag, argv=(tag,), prerequisites=needs, **{"respawn": TOUCHY, **more})


def running(*components: Component) -> Simulation:
    return Simulation(components).boot().settle()


def fail(sim: Simulation, tag: str) -> None:
    sim.exit(sim.child(tag), FAILED)


def counters(sim: Simulation, tag: str) -> tuple[object, ...]:
    state = sim.engine.world.states[tag]
    return state.failures, len(state.starts) - state.live


def test_a_dependent_that_is_noticed_first_has_not_failed() -> None:
    sim = running(component("db"), component("web", "db", respawn=Respawn(max=1, sleep=300)))
    fail(sim, "web")
    assert sim.phase("web") is Phase.SLEEPING
    sim.now += 0.2
    fail(sim, "db")
    assert sim.phase("web") is Phase.WAITING
    assert counters(sim, "web") == (0, 0)
    told = [note.text for note in sim.notes if note.kind == "excused"]
    assert told == ["the end of 'web' does not count: what it needs went down with it"]
    sim.settle()
    assert sim.phase("web") is Phase.RUNNING


def test_a_dependent_that_fails_again_and_again_meanwhile_has_not_failed_either() -> None:
    sim = running(component("db"), component("web", "db"))
    for _ in range(2):
        sim.now += 0.1
        fail(sim, "web")
        while sim.starting:
            sim.spawn_one()
    assert sim.phase("web") is Phase.SLEEPING
    fail(sim, "db")
    assert sim.phase("web") is Phase.WAITING
    assert counters(sim, "web") == (0, 0)


def test_one_that_was_started_again_meanwhile_counts_no_failure() -> None:
    sim = running(component("db"), component("web", "db"))
    fail(sim, "web")
    sim.spawn_one()
    assert counters(sim, "web") == (1, 1)
    fail(sim, "db")
    assert counters(sim, "web") == (0, 0)


def test_what_failed_long_before_has_failed() -> None:
    sim = running(component("db"), component("web", "db", respawn=Respawn(max=1, sleep=300)))
    fail(sim, "web")
    sim.now += CORRELATED + 0.1
    fail(sim, "db")
    assert sim.phase("web") is Phase.SLEEPING


def test_a_prerequisite_that_somebody_stops_excuses_nothing() -> None:
    sim = running(component("db"), component("web", "db", respawn=Respawn(max=1, sleep=300)))
    fail(sim, "web")
    sim.order("stop", "db")
    assert sim.phase("web") is Phase.SLEEPING


def test_one_that_ends_while_its_own_dependents_go_down_first_has_not_failed() -> None:
    sim = running(
        component("db"),
        component("web", "db", respawn=Respawn(max=1, sleep=300)),
        component("proxy", "web"),
    )
    fail(sim, "db")
    assert sim.phase("web") is Phase.RUNNING
    fail(sim, "web")
    assert counters(sim, "web") == (0, 0)
    assert sim.phase("web") is Phase.WAITING


def test_what_runs_once_and_is_done_is_not_done_again() -> None:
    sim = running(component("db"), component("job", "db", mode=Mode.ONCE))
    sim.end("job")
    fail(sim, "db")
    sim.settle()
    assert sim.phase("job") is Phase.FINISHED
    assert sim.spawned.count("job") == 1


@pytest.mark.parametrize("times", [5, 20])
def test_going_down_and_up_with_a_prerequisite_uses_up_no_start(times: int) -> None:
    patient = Respawn(max=1000)
    sim = running(component("db", respawn=patient), component("web", "db"))
    for _ in range(times):
        sim.now += 0.1
        fail(sim, "db")
        sim.settle()
    assert sim.phase("web") is Phase.RUNNING
    assert counters(sim, "web") == (0, 0)
    fail(sim, "web")
    assert sim.phase("web") is Phase.STARTING


@given(data=st.data())
@settings(max_examples=examples(300), deadline=None)
def test_in_whatever_order_they_are_noticed_nobody_but_the_first_cause_has_failed(
    data: st.DataObject,
) -> None:
    count = data.draw(st.integers(1, 6), "dependents")
    tags = [f"d{number}" for number in range(count)]
    plan = [component("root", respawn=Respawn(max=1, sleep=30))]
    for index, tag in enumerate(tags):
        above = data.draw(st.sampled_from(["root", *tags[:index]]), f"needed by {tag}")
        delay = data.draw(st.sampled_from([0.0, 4.0]), "delay")
        policy = Respawn(max=2, window=60, sleep=300, delay=delay, delay_max=30)
        plan.append(component(tag, above, respawn=policy))
    sim = running(*data.draw(st.permutations(plan)))
    steps = data.draw(st.lists(st.sampled_from([*tags, "spawn"]), max_size=12), "before")
    after = data.draw(st.lists(st.sampled_from(tags), max_size=6), "after")
    for step in [*steps, "root", *after]:
        sim.now += CORRELATED / 20
        if step == "spawn" and sim.starting:
            sim.spawn_one()
        elif any(key == step for key, _ in sim.children):
            fail(sim, step)
    sim.settle()
    for tag in tags:
        assert sim.phase(tag) is Phase.WAITING, tag
        assert counters(sim, tag) == (0, 0), tag
    sim.wake()
    sim.settle()
    assert all(sim.phase(tag) is Phase.RUNNING for tag in ["root", *tags])


def test_a_thousand_dependents_are_all_started_by_the_one_event_of_its_return() -> None:
    tags = [f"d{number}" for number in range(1000)]
    sim = running(component("root"), *(component(tag, "root") for tag in tags))
    fail(sim, "root")
    effects: list[Effect] = []
    for tag in tags:
        child = sim.child(tag)
        del sim.children[child]
        effects = sim.engine.handle(Happened(tag, Exited(child[1], FAILED)), sim.now)
    [spawn] = [effect for effect in effects if isinstance(effect, Spawn)]
    assert spawn.key == "root"
    effects = sim.engine.handle(Happened("root", Spawned(spawn.generation, 5)), sim.now)
    assert [effect.key for effect in effects if isinstance(effect, Spawn)] == tags
