"""No more components are on their way up at once than may be, and each has its turn."""

from __future__ import annotations

import time
from typing import Any

from msgspec.structs import replace

from simulation import Simulation
from supervisor.engine.engine import Engine
from supervisor.engine.gates import blocked_by
from supervisor.engine.machine import SLOT_HELD
from supervisor.model.component import Check, Component, Respawn
from supervisor.model.effects import Spawn
from supervisor.model.events import Apply, Boot, Happened, Spawned
from supervisor.model.state import Exit, Phase

NOTIFY = Check(kind="notify")
FAILED = Exit(code=1, message="exited with 1")


def component(tag: str, *needs: str, **more: Any) -> Component:
    return Component(tag=tag, argv=(tag,), prerequisites=needs, **more)


def reload(sim: Simulation, components: list[Component], most: int) -> None:
    sim.post(Apply(tuple(components), 5.0, max_starting=most))


def test_the_rest_wait_with_the_reason_and_come_in_the_order_of_the_configuration() -> None:
    sim = Simulation([component(tag) for tag in "abcd"], max_starting=2).boot()
    assert sim.spawned == ["a", "b"]
    block = blocked_by(sim.engine.world, "c")
    assert block is not None
    assert (block.type, block.tags) == ("max-starting", ("a", "b"))
    assert block.message == "at most 2 may be starting at once: a, b"
    sim.spawn_one()
    assert sim.spawned == ["a", "b", "c"]
    sim.settle()
    assert sim.spawned == ["a", "b", "c", "d"]


def test_what_is_not_ready_is_on_its_way_and_what_is_up_is_not() -> None:
    sim = Simulation([component("a", ready=NOTIFY), component("b")], max_starting=1).boot()
    sim.spawn_one()
    assert sim.spawned == ["a"]
    sim.become_ready(sim.child("a"))
    assert sim.spawned == ["a", "b"]


def test_what_does_not_come_up_lets_others_start_after_a_while() -> None:
    slow = component("a", ready=replace(NOTIFY, timeout=1000))
    sim = Simulation([slow, component("b"), component("c")], max_starting=1).boot()
    sim.spawn_one()
    sim.wake()
    assert sim.now == 1000 + SLOT_HELD
    assert sim.spawned == ["a", "b"]
    sim.wake()  # The start of b hangs as well.
    assert sim.spawned == ["a", "b", "c"]


def test_a_prerequisite_and_its_dependents_do_not_wait_for_each_other() -> None:
    plan = [component("web", "db"), component("db", "disk"), component("disk")]
    sim = Simulation(plan, max_starting=1).boot().settle()
    assert sim.spawned == ["disk", "db", "web"]


def test_one_that_fails_at_once_keeps_nobody_from_starting() -> None:
    plan = [component("a", precious=True, respawn=Respawn(max=1000)), *map(component, "bcd")]
    sim = Simulation(plan, max_starting=1).boot()
    for _ in range(20):
        sim.now += 0.01
        if sim.spawned[-1] == "a":
            sim.spawn_one()
            sim.exit(sim.child("a"), FAILED)
        else:
            sim.spawn_one()
    assert sim.spawned[:6] == ["a", "b", "c", "d", "a", "a"]


def test_a_failed_start_gives_its_place_away() -> None:
    sim = Simulation([component("a"), component("b")], max_starting=1).boot()
    sim.now += 0.01
    sim.spawn_one(fail=True)
    assert sim.spawned == ["a", "b"]


def test_one_that_is_stopped_while_it_waits_is_passed_over() -> None:
    sim = Simulation([component(tag) for tag in "abc"], max_starting=1).boot()
    sim.order("stop", "b").settle()
    assert sim.spawned == ["a", "c"]
    sim.order("start", "b").settle()
    assert sim.spawned == ["a", "c", "b"]


def test_a_reload_changes_it_at_once() -> None:
    plan = [component(tag) for tag in "abcdef"]
    sim = Simulation(plan, max_starting=1).boot()
    reload(sim, plan, 3)
    assert sim.spawned == ["a", "b", "c"]
    reload(sim, plan, 1)
    sim.spawn_one()
    assert sim.spawned == ["a", "b", "c"]
    reload(sim, plan, 0)
    assert sim.spawned == list("abcdef")
    sim.settle()
    assert all(sim.phase(tag) is Phase.RUNNING for tag in "abcdef")


def test_who_goes_on_from_there_lets_no_more_start() -> None:
    plan = [component(tag) for tag in "abc"]
    sim = Simulation(plan, max_starting=1).boot()
    other = Engine(shutdown_timeout=5.0)
    other.recall(sim.engine.memory(), sim.now)
    effects = other.handle(Happened("a", Spawned(1, 7)), sim.now)
    assert [effect.key for effect in effects if isinstance(effect, Spawn)] == ["b"]


def starting(count: int, most: int) -> float:
    """Return the processor seconds that a start of *count* takes the engine."""
    engine = Engine(shutdown_timeout=5.0)
    plan = tuple(component(f"c{number}") for number in range(count))
    begun = time.process_time()
    engine.handle(Apply(plan, 5.0, max_starting=most), 0.0)
    effects = engine.handle(Boot(0.0), 0.0)
    while effects:
        following = []
        for effect in effects:
            if isinstance(effect, Spawn):
                event = Happened(effect.key, Spawned(effect.generation, 5))
                following += engine.handle(event, 0.0)
        effects = following
    assert all(state.phase is Phase.RUNNING for state in engine.world.states.values())
    return time.process_time() - begun


def test_its_cost_grows_with_the_number_and_no_faster() -> None:
    few = min(starting(250, 4) for _ in range(3))
    many = min(starting(2000, 4) for _ in range(3))
    assert many < few * 8 * 3  # A start by looking at all that wait would cost 64 times as much.
