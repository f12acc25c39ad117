"""Ready, healthy, allowed to start: what dependents wait for, and what is said about it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from simulation import Simulation
from supervisor.engine.describe import describe, rfc3339, summary, why
from supervisor.engine.engine import is_settled
from supervisor.engine.gates import blocked_by
from supervisor.engine.rehearse import rehearse
from supervisor.model.component import Check, Component, InetAddress, Mode, Respawn, Tag
from supervisor.model.effects import Retune
from supervisor.model.events import Apply, Order, Shutdown
from supervisor.model.state import Exit, Phase, Stage

WALL = 1_800_000_000.0
NOTIFY = Check(kind="notify")
NO = Exit(stage="start-condition", message="exited with 1")
FAILED = Exit(code=3, message="exited with 3")


def component(tag: Tag, *needs: Tag, **fields: object) -> Component:
    return Component(tag=tag, argv=(tag,), prerequisites=needs, **fields)  # type: ignore[arg-type]  # tests pass right ones


DB = component("db", ready=NOTIFY)
WEB = component("web", "db")


def slow(*components: Component) -> Simulation:
    """Return a simulation in which nobody who has to say so has become ready yet."""
    sim = Simulation(components)
    sim.slow = {each.tag for each in components}
    return sim.boot().settle()


def why_not(sim: Simulation, tag: Tag) -> str:
    block = blocked_by(sim.engine.world, tag)
    return "" if block is None else f"{block.type}: {block.message}"


# --- readiness


def test_dependents_start_when_their_prerequisite_is_ready_and_not_when_it_runs() -> None:
    sim = slow(DB, WEB)
    assert (sim.phase("db"), sim.phase("web")) == (Phase.RUNNING, Phase.WAITING)
    sim.become_ready(sim.child("db"))
    assert sim.spawned == ["db", "web"]


@pytest.mark.parametrize(
    ("check", "awaited"),
    [
        (NOTIFY, "READY=1 on NOTIFY_SOCKET"),
        (Check(kind="fd", fd=4), "a newline on descriptor 4"),
        (Check(kind="tcp", target="127.0.0.1:5432"), "a connection to 127.0.0.1:5432"),
        (Check(kind="http", target="http://[::1]/up"), "a good answer from http://[::1]/up"),
        (Check(kind="exec", argv=("test", "-e", "a b")), "code 0 of the command test -e 'a b'"),
    ],
)
def test_a_dependent_says_what_its_prerequisite_has_to_do_and_until_when(
    check: Check, awaited: str
) -> None:
    sim = slow(replace(DB, ready=check), WEB)
    said = f"waits for db, which runs but is not ready yet: awaits {awaited}"
    assert why_not(sim, "web") == f"prerequisite: {said}"
    block = blocked_by(sim.engine.world, "web")
    assert block is not None
    assert block.until == sim.now + check.timeout


def test_several_prerequisites_that_are_not_up_are_each_explained() -> None:
    sim = slow(DB, component("cache", enabled=False), component("web", "db", "cache"))
    assert why_not(sim, "web") == (
        "prerequisite: prerequisites: db runs but is not ready yet: awaits READY=1 on"
        " NOTIFY_SOCKET; cache is stopped (it is disabled in the configuration)"
    )


def test_a_once_prerequisite_that_runs_is_said_to_run_and_not_to_go_down() -> None:
    sim = slow(component("migrate", mode=Mode.ONCE), component("web", "migrate"))
    assert why_not(sim, "web") == "prerequisite: prerequisite migrate has not ended yet"


def test_the_row_of_what_is_not_ready_is_running_and_says_what_is_awaited() -> None:
    sim = slow(DB)
    sim.now += 5
    row = describe(sim.engine.world, "db", sim.now, WALL)
    assert (row.status, row.ready, row.uptime) == ("running", False, 5.0)
    assert row.blocked_by is not None
    assert row.blocked_by.type == "ready"
    assert row.blocked_by.until == rfc3339(WALL + 55)
    gates = dict(why(sim.engine.world, "db", sim.now, WALL))
    assert gates["not-ready"] == row.blocked_by
    sim.become_ready(sim.child("db"))
    row = describe(sim.engine.world, "db", sim.now, WALL)
    assert (row.ready, row.blocked_by) == (True, None)


def test_becoming_ready_is_told_with_the_time_it_took() -> None:
    sim = slow(DB)
    sim.now += 2.5
    sim.become_ready(sim.child("db"))
    assert sim.notes[-1].text == "'db' is ready after 2.5 s"


def test_a_start_and_a_restart_have_settled_when_it_is_ready() -> None:
    sim = slow(DB)
    assert not is_settled(sim.engine.world.states["db"], "start", 0)
    sim.become_ready(sim.child("db"))
    assert is_settled(sim.engine.world.states["db"], "start", 0)
    sim.order("restart", "db").settle()
    assert not is_settled(sim.engine.world.states["db"], "restart", 1)
    sim.become_ready(sim.child("db"))
    assert is_settled(sim.engine.world.states["db"], "restart", 1)


def test_what_never_becomes_ready_is_restarted_says_why_and_sleeps_in_the_end() -> None:
    sim = slow(replace(DB, respawn=Respawn(max=2, window=300)), WEB)
    for _ in range(2):
        sim.now += 60
        sim.fail_check(sim.child("db"), "READY=1 did not come within 60 s")
        assert sim.notes[-1].text == "restarting 'db': READY=1 did not come within 60 s"
        sim.settle()
    assert sim.phase("db") is Phase.SLEEPING
    assert why_not(sim, "db") == (
        "sleeping: it sleeps: 2 starts within 300 s were too many;"
        " it last was brought down: READY=1 did not come within 60 s"
    )
    row = describe(sim.engine.world, "db", sim.now, WALL)
    assert row.last_exit is not None
    assert row.last_exit.stage == "ready"
    assert sim.phase("web") is Phase.WAITING
    assert "web" not in sim.spawned


def test_a_startup_component_that_is_not_ready_does_not_hold_up_what_waits_for_its_end() -> None:
    sim = slow(component("s", mode=Mode.STARTUP, ready=NOTIFY), component("web"))
    sim.exit(sim.child("s"), Exit(code=0, message="exited with 0"))
    assert sim.engine.stage is Stage.NORMAL


def test_in_a_few_words_ready_and_running_are_two_things() -> None:
    sim = slow(DB, component("mail"))
    assert summary(sim.engine.world) == "1 of 2 up, 1 not ready"


# --- health


def test_what_is_unwell_is_restarted_with_the_reason_and_its_dependents_with_it() -> None:
    sim = slow(component("db"), WEB)
    sim.history.clear()
    sim.fail_check(sim.child("db"), "health check failed 3 times: connect to :80: refused")
    told = "restarting 'db': health check failed 3 times: connect to :80: refused"
    assert told in [note.text for note in sim.notes if note.kind == "unhealthy"]
    sim.settle()
    assert sim.history == ["signal db 15", "signal web 15", "start db", "start web"]
    row = describe(sim.engine.world, "db", sim.now, WALL)
    assert row.last_exit is not None
    assert (row.last_exit.stage, row.restarts) == ("health", 1)


def test_what_somebody_stopped_is_not_said_to_be_restarted_when_its_check_fails() -> None:
    sim = slow(component("job", mode=Mode.ONCE))
    sim.fail_check(sim.child("job"), "health check failed 3 times: refused")
    assert any(note.text.startswith("bringing down 'job'") for note in sim.notes)
    sim.settle()
    assert why_not(sim, "job") == (
        "finished: it has finished: it was brought down: health check failed 3 times: refused"
    )


def test_a_reload_that_changes_only_the_health_check_keeps_the_child() -> None:
    sim = slow(WEB, component("db"))
    pids = dict(sim.children)
    new = replace(WEB, health=Check(kind="tcp", target="[::1]:80"))
    effects = sim.engine.handle(Apply((new, component("db")), 5.0), sim.now)
    assert Retune("web", new) in effects
    assert sim.children == pids


def test_a_reload_that_changes_how_it_becomes_ready_makes_a_new_child() -> None:
    sim = slow(DB)
    sim.history.clear()
    sim.post(Apply((replace(DB, ready=Check(kind="fd")),), 5.0))
    assert sim.settle().history == ["signal db 15", "start db"]


# --- start conditions


def test_a_refused_start_leaves_it_stopped_says_why_and_is_not_tried_again_by_itself() -> None:
    sim = Simulation([component("db", start_condition=("false",)), WEB]).boot()
    sim.answer_one(refusal=NO)
    assert (sim.phase("db"), sim.spawned) == (Phase.STOPPED, [])
    said = "its start was refused: exited with 1"
    assert why_not(sim, "db") == f"start-condition: {said}"
    assert why_not(sim, "web") == f"prerequisite: prerequisite db is stopped ({said})"
    assert "exited with 1" in sim.why_not()[0]
    assert sim.engine.next_deadline() is None
    assert is_settled(sim.engine.world.states["db"], "start", 0)


@pytest.mark.parametrize("action", ["start", "restart", "reset"])
def test_an_order_asks_the_start_condition_again(action: str) -> None:
    sim = Simulation([component("db", start_condition=("false",))]).boot()
    sim.answer_one(refusal=NO)
    sim.order(action, "db").settle()
    assert sim.phase("db") is Phase.RUNNING


def test_starting_a_dependent_asks_the_start_condition_of_its_prerequisite_again() -> None:
    sim = Simulation([component("db", start_condition=("false",)), WEB]).boot()
    sim.answer_one(refusal=NO)
    sim.order("start", "web").settle()
    assert (sim.phase("db"), sim.phase("web")) == (Phase.RUNNING, Phase.RUNNING)


def test_a_reload_asks_again_where_it_changes_what_decides_and_only_there() -> None:
    db = component("db", start_condition=("false",))
    sim = Simulation([db]).boot()
    sim.answer_one(refusal=NO)
    sim.post(Apply((replace(db, description="new"),), 5.0))
    assert not sim.probing
    sim.post(Apply((replace(db, start_condition=("true",)),), 5.0))
    assert sim.probing
    sim.settle()
    assert sim.phase("db") is Phase.RUNNING


def test_a_refused_startup_component_holds_up_nobody_and_is_no_failure() -> None:
    startup = component("s", mode=Mode.STARTUP, required=True, start_condition=("false",))
    sim = Simulation([startup, component("web")]).boot()
    sim.answer_one(refusal=NO)
    sim.settle()
    assert (sim.engine.stage, sim.phase("web")) == (Stage.NORMAL, Phase.RUNNING)


def test_a_shutdown_does_not_wait_longer_for_a_start_condition_than_for_a_child() -> None:
    sim = Simulation([component("db", start_condition=("hang",))]).boot()
    begun = sim.now
    sim.post(Shutdown("me"))
    assert sim.history[-1] == "signal db 15"
    while sim.probing:
        sim.wake()
        if "signal db 9" in sim.history:
            sim.answer_one(refusal=Exit(stage="start-condition", message="killed by SIGKILL"))
    assert sim.ended == 0
    assert sim.now - begun <= 5


def test_a_start_that_a_reload_has_overtaken_while_its_condition_was_asked_begins_anew() -> None:
    db, web = component("db", start_condition=("slow",)), component("web")
    sim = Simulation([db, web]).boot()
    sim.spawn_one()
    sim.deaf = {"web"}
    sim.post(Apply((db, replace(web, prerequisites=("db",))), 5.0))
    sim.answer_one()
    assert (sim.phase("db"), sim.spawned) == (Phase.WAITING, ["web"])
    assert why_not(sim, "db") == "dependents: its dependents stop first: web"
    sim.deaf = set()
    sim.settle()
    assert sim.history[-3:] == ["probe db", "start db", "start web"]


def test_a_listener_asks_when_it_opens_and_not_for_each_connection() -> None:
    address = InetAddress(host="::1", port=79)
    echo = component(
        "echo", mode=Mode.INETD, sockets=(address,), start_condition=("t",), ready=NOTIFY
    )
    sim = Simulation([echo]).boot().settle()
    sim.connect("echo")
    sim.settle()
    assert sim.history == ["probe echo", "listen echo", "start echo#1"]
    assert sim.engine.world.states["echo"].ready


# --- instances of a template


def instances(most: int | None, count: int = 4, mode: Mode = Mode.RESPAWN) -> list[Component]:
    return [
        component(f"w:{n}", template="w", instance=n, max_instances=most, mode=mode)
        for n in range(1, count + 1)
    ]


def test_at_most_so_many_instances_are_live_and_the_next_starts_when_one_has_gone() -> None:
    sim = slow(*instances(2))
    assert sim.spawned == ["w:1", "w:2"]
    assert why_not(sim, "w:3") == "max-instances: at most 2 of w may be live: w:1, w:2"
    sim.order("stop", "w:1").settle()
    assert sim.spawned == ["w:1", "w:2", "w:3"]


def test_jobs_of_a_template_run_so_many_at_a_time_until_all_are_done() -> None:
    sim = slow(*instances(2, mode=Mode.ONCE))
    done = Exit(code=0, message="exited with 0")
    while sim.children:
        assert len(sim.children) <= 2
        sim.exit(next(iter(sim.children)), done)
        sim.settle()
    assert sim.spawned == ["w:1", "w:2", "w:3", "w:4"]


def test_a_sleeping_instance_leaves_its_place_to_another() -> None:
    sim = slow(*(replace(each, respawn=Respawn(max=1)) for each in instances(1, 2)))
    sim.exit(sim.child("w:1"), FAILED)
    sim.settle()
    assert (sim.phase("w:1"), sim.phase("w:2")) == (Phase.SLEEPING, Phase.RUNNING)
    sim.wake()
    assert why_not(sim, "w:1") == "max-instances: at most 1 of w may be live: w:2"


def test_a_reload_that_allows_more_starts_more_and_one_that_allows_fewer_stops_none() -> None:
    sim = slow(*instances(1))
    sim.post(Apply(tuple(instances(3)), 5.0))
    assert len(sim.settle().children) == 3
    sim.post(Apply(tuple(instances(1)), 5.0))
    assert len(sim.settle().children) == 3
    sim.order("stop", "w:1", "w:2").settle()
    assert [key for key, _ in sim.children] == ["w:3"]


# --- rehearsals


def test_a_rehearsal_takes_conditions_as_fulfilled_and_children_as_ready() -> None:
    sim = slow(replace(DB, start_condition=("test",)), WEB)
    sim.become_ready(sim.child("db"))
    sim.settle()
    steps = rehearse(sim.engine.copy(), Order("restart", ("db",), "me"), sim.now)
    assert [(step.action, step.tag) for step in steps] == [
        ("stop", "web"),
        ("stop", "db"),
        ("start", "db"),
        ("start", "web"),
    ]
