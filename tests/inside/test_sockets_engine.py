"""Listeners, who is served at them, and whose an address is: decided without any socket."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from simulation import Simulation
from supervisor.engine.describe import describe
from supervisor.engine.gates import blocked_by
from supervisor.engine.plan import difference
from supervisor.model.access import Acl, Rule, Subject
from supervisor.model.component import Component, InetAddress, Mode, UnixAddress
from supervisor.model.effects import CloseConnection, Unlisten
from supervisor.model.events import Accepted, Apply, Shutdown
from supervisor.model.state import Exit, Phase

DONE = Exit(code=0, message="exited with 0")
HERE = InetAddress(host="127.0.0.1", port=7)
THERE = InetAddress(host="127.0.0.1", port=8)


def inetd(tag: str = "echo", *needs: str, **fields: object) -> Component:
    fields = {"sockets": (HERE,), **fields}
    return Component(
        tag=tag,
        argv=("cat",),
        mode=Mode.INETD,
        prerequisites=needs,
        **fields,  # type: ignore[arg-type]  # tests pass what they like
    )


def waits(tag: str = "talk", **fields: object) -> Component:
    return inetd(tag, wait=True, **fields)


def owner(tag: str = "web", mode: Mode = Mode.ACCEPT, **fields: object) -> Component:
    return replace(inetd(tag, **fields), mode=mode)


def running(*components: Component) -> Simulation:
    return Simulation(components).boot().settle()


def apply(sim: Simulation, *components: Component) -> Simulation:
    sim.post(Apply(components, 5.0))
    return sim


def why(sim: Simulation, key: str) -> str:
    block = blocked_by(sim.engine.world, key)
    return block.type if block else ""


def come(sim: Simulation, tag: str, number: int, address: str = "10.0.0.1") -> list[str]:
    """Let a client come; return what it is told, if it is refused."""
    event = Accepted(tag, number, address, 0.0, Subject(address=address))
    effects = sim.obey(event)
    return [each.message for each in effects if isinstance(each, CloseConnection)]


# --- who is served


def test_an_acl_refuses_with_its_message_and_is_counted() -> None:
    acl = Acl((Rule(allow=False, sources=("10.0.0.0/8",)),))
    sim = running(inetd(acl=acl, access_denied_message="not you"))
    assert come(sim, "echo", 1, "10.1.2.3") == ["not you"]
    assert come(sim, "echo", 2, "192.0.2.1") == []
    row = describe(sim.engine.world, "echo", sim.now, 0)
    assert (row.refused, row.connections) == (1, 1)


def test_the_most_connections_of_one_address_are_counted_for_each_address() -> None:
    sim = running(inetd(max_ip_connections=1, max_ip_connections_message="once"))
    assert come(sim, "echo", 1) == []
    assert come(sim, "echo", 2) == ["once"]
    assert come(sim, "echo", 3, "10.0.0.2") == []
    sim.settle()
    sim.exit(sim.child("echo#1"), DONE)
    assert come(sim, "echo", 4) == []


def test_clients_of_unix_sockets_have_no_address_that_could_be_counted() -> None:
    sim = running(inetd(sockets=(UnixAddress(path="/s"),), max_ip_connections=1))
    assert come(sim, "echo", 1, "/s") == come(sim, "echo", 2, "/s") == []
    assert come(sim, "echo", 3, "@s") == come(sim, "echo", 4, "@s") == []
    assert come(sim, "echo", 5, "") == come(sim, "echo", 6, "") == []


def test_more_than_may_be_served_are_told_so() -> None:
    sim = running(inetd(max_instances=1, max_instances_message="later"))
    assert come(sim, "echo", 1) == []
    assert come(sim, "echo", 2) == ["later"]


# --- so many a minute


def test_over_the_rate_a_listener_pauses_and_who_has_come_waits() -> None:
    sim = running(inetd(max_rate=2))
    begun = sim.now
    for number in range(1, 6):
        assert come(sim, "echo", number) == []
    sim.settle()
    assert sim.spawned == ["echo#1", "echo#2"]
    row = describe(sim.engine.world, "echo", sim.now, 0)
    assert (row.status, row.connections, row.refused, row.wakeup_time) == ("sleeping", 5, 0, 60)
    assert row.blocked_by is not None
    assert row.blocked_by.type == why(sim, "echo#3") == "max-rate"
    assert sim.engine.next_deadline() == begun + 60
    sim.wake()
    assert [each for each in sim.history if each in ("pause echo", "resume echo")] == [
        "pause echo",
        "resume echo",
        "pause echo",
    ]
    assert sim.spawned == ["echo#1", "echo#2", "echo#3", "echo#4"]
    sim.wake()
    assert sim.spawned[-1] == "echo#5"
    assert sim.phase("echo") is Phase.LISTENING


def test_a_minute_begins_with_its_first_connection() -> None:
    sim = running(inetd(max_rate=2))
    come(sim, "echo", 1)
    sim.now += 61
    come(sim, "echo", 2)
    assert not sim.engine.world.states["echo"].paused
    come(sim, "echo", 3)
    assert sim.engine.next_deadline() == sim.now + 60


@pytest.mark.parametrize(("most", "served"), [(1, 2), (2, 2), (3, 5), (0, 5)])
def test_a_higher_rate_takes_effect_at_once(most: int, served: int) -> None:
    sim = running(inetd(max_rate=2))
    for number in range(1, 6):
        come(sim, "echo", number)
    apply(sim, inetd(max_rate=most))
    assert len(sim.spawned) == served
    assert sim.engine.world.states["echo"].paused is (most in (1, 2, 3))


def test_the_clients_that_wait_are_let_go_when_the_listener_is_stopped() -> None:
    sim = running(inetd(max_rate=1))
    come(sim, "echo", 1)
    come(sim, "echo", 2)
    sim.settle().order("stop", "echo").settle()
    assert [key for key in sim.engine.world.states if "#" in key] == []
    assert sim.phase("echo") is Phase.STOPPED


def test_refused_connections_do_not_use_up_the_rate() -> None:
    sim = running(inetd(max_rate=2, max_instances=1))
    come(sim, "echo", 1)
    for number in range(2, 10):
        assert come(sim, "echo", number) == [""]
    assert not sim.engine.world.states["echo"].paused


# --- servers that own the listener


def test_a_listener_is_opened_again_only_after_its_server_has_ended() -> None:
    sim = running(waits())
    sim.offer("talk")
    sim.settle()
    sim.deaf = {"talk#1"}
    sim.order("restart", "talk").settle()
    assert sim.phase("talk") is Phase.WAITING
    assert why(sim, "talk") == "server"
    assert "talk" not in sim.listeners
    sim.deaf = set()
    sim.settle()
    assert sim.phase("talk") is Phase.LISTENING


def test_a_client_that_is_announced_when_the_listener_closes_does_not_start_a_server() -> None:
    sim = running(waits())
    sim.order("restart", "talk")
    sim.post(Accepted("talk", 1, ""))
    sim.settle()
    assert sim.spawned == []
    assert sim.phase("talk") is Phase.LISTENING


def test_who_takes_over_the_address_waits_for_the_server_of_the_other_to_end() -> None:
    sim = running(waits("old"))
    sim.offer("old")
    sim.settle()
    sim.deaf = {"old#1"}
    apply(sim, waits("new")).settle()
    assert (sim.phase("new"), why(sim, "new")) == (Phase.WAITING, "address")
    sim.deaf = set()
    sim.settle()
    assert sim.phase("new") is Phase.LISTENING
    assert "old" not in sim.engine.world.states


# --- whose an address is


@pytest.mark.parametrize("mode", [Mode.ACCEPT, Mode.PASS_FD])
def test_a_server_that_was_renamed_is_started_when_the_old_one_has_gone(mode: Mode) -> None:
    sim = running(owner("old", mode))
    sim.deaf = {"old"}
    apply(sim, owner("new", mode)).settle()
    assert (sim.phase("new"), why(sim, "new")) == (Phase.WAITING, "address")
    sim.deaf = set()
    sim.history.clear()
    sim.settle()
    assert sim.phase("new") is Phase.RUNNING
    assert sim.history == ["let go old keep", "start new"]
    assert sim.why_not() == []


def test_two_servers_can_change_places() -> None:
    sim = running(owner("a"), owner("b", sockets=(THERE,)))
    apply(sim, owner("a", sockets=(THERE,)), owner("b")).settle()
    assert (sim.phase("a"), sim.phase("b")) == (Phase.RUNNING, Phase.RUNNING)
    assert sim.why_not() == []


def test_two_listeners_can_change_places_at_once() -> None:
    sim = running(inetd("a"), inetd("b", sockets=(THERE,)))
    effects = sim.obey(Apply((inetd("a", sockets=(THERE,)), inetd("b")), 5.0))
    closed = [each for each in effects if isinstance(each, Unlisten)]
    assert [each.keep for each in closed] == [frozenset({HERE}), frozenset({THERE})]
    sim.settle()
    assert sim.listeners.keys() == {"a", "b"}


def test_a_socket_that_nobody_is_going_to_use_is_not_kept() -> None:
    sim = running(inetd("echo"))
    (closed,) = [
        each
        for each in sim.obey(Apply((inetd("echo", sockets=(THERE,)),), 5.0))
        if isinstance(each, Unlisten)
    ]
    assert closed.keep == frozenset()


def test_a_new_mode_of_a_unix_socket_is_a_new_socket() -> None:
    before, after = (UnixAddress(path="/s", mode=mode) for mode in (0o600, 0o660))
    sim = running(inetd("echo", sockets=(before,)))
    effects = sim.obey(Apply((inetd("echo", sockets=(after,)),), 5.0))
    assert [each.keep for each in effects if isinstance(each, Unlisten)] == [frozenset()]


def test_a_listener_that_waits_for_a_restart_of_what_it_needs_keeps_its_socket() -> None:
    db = Component(tag="db", argv=("db",))
    sim = running(db, inetd("echo", "db"))
    effects = sim.obey(Apply((replace(db, argv=("other",)), inetd("echo", "db")), 5.0))
    assert [each.keep for each in effects if isinstance(each, Unlisten)] == [frozenset({HERE})]
    assert sim.settle().phase("echo") is Phase.LISTENING


def test_a_listener_that_waits_for_somebody_to_start_what_it_needs_closes_its_socket() -> None:
    sim = running(Component(tag="db", argv=("db",)), inetd("echo", "db"))
    sim.unkept.clear()
    sim.order("stop", "db").settle()
    assert sim.phase("echo") is Phase.WAITING
    assert sim.unkept == ["echo"]


def test_the_sockets_of_a_server_are_let_go_when_it_is_stopped_and_kept_when_it_is_not() -> None:
    sim = running(owner())
    sim.exit(sim.child("web"), DONE)
    sim.order("restart", "web").settle()
    assert not any(each.startswith("let go") for each in sim.history)
    sim.order("stop", "web").settle()
    assert sim.history[-1] == "let go web"


def test_any_free_port_is_no_address_that_somebody_could_have() -> None:
    free = InetAddress(host="127.0.0.1", port=0)
    sim = running(owner("a", sockets=(free,)), owner("b", sockets=(free,)))
    assert (sim.phase("a"), sim.phase("b")) == (Phase.RUNNING, Phase.RUNNING)


# --- what a reload or a restart means for clients


def test_a_restart_of_a_listener_leaves_those_whom_it_serves() -> None:
    sim = running(inetd())
    come(sim, "echo", 1)
    # By its tag people mean the listener, and the selector finds those whom it serves as well.
    sim.settle().order("restart", "echo", "echo#1").settle()
    assert sim.phase("echo#1") is Phase.RUNNING
    assert "signal echo#1 15" not in sim.history
    sim.order("restart", "echo#1").settle()
    assert "signal echo#1 15" in sim.history


def test_a_client_that_comes_while_a_listener_is_opened_anew_is_served() -> None:
    sim = running(inetd())
    sim.order("restart", "echo")
    assert come(sim, "echo", 1) == []
    sim.settle()
    assert sim.spawned == ["echo#1"]


def test_a_client_that_comes_when_a_listener_is_stopped_is_not_served() -> None:
    sim = running(inetd())
    sim.order("stop", "echo")
    assert come(sim, "echo", 1) == [""]


def test_who_takes_over_the_address_serves_those_who_came_to_the_other() -> None:
    sim = running(inetd("old"))
    come(sim, "old", 1)
    sim.settle()
    apply(sim, inetd("new"))
    assert come(sim, "old", 2) == []
    sim.settle()
    assert sim.phase("old#1") is sim.phase("new#2") is Phase.RUNNING
    sim.exit(sim.child("old#1"), DONE)
    assert "old" not in sim.engine.world.states
    assert come(sim, "old", 3) == []
    assert "new#3" in sim.engine.world.states


def test_a_listener_that_is_not_configured_any_more_takes_its_clients_along() -> None:
    sim = running(inetd("old"))
    come(sim, "old", 1)
    sim.settle()
    apply(sim, inetd("new", sockets=(THERE,))).settle()
    assert not sim.children
    assert come(sim, "old", 2) == [""]


def test_a_component_that_is_no_listener_any_more_takes_its_clients_along() -> None:
    sim = running(inetd())
    come(sim, "echo", 1)
    sim.settle()
    apply(sim, Component(tag="echo", argv=("cat",))).settle()
    assert [key for key, _ in sim.children] == ["echo"]


@pytest.mark.parametrize(
    ("field", "action"),
    [
        ({"wait": True}, "restart"),
        ({"backlog": 5}, "restart"),
        ({"sockets": (THERE,)}, "restart"),
        ({"argv": ("other",)}, "live"),
        ({"max_instances": 5}, "live"),
    ],
)
def test_a_listener_is_opened_anew_only_for_what_its_sockets_need(
    field: dict[str, object], action: str
) -> None:
    new = replace(inetd(), **field)
    (change,) = difference([inetd()], [new], lambda _: True, lambda _: False)
    assert change.action == action


def test_a_socket_that_is_kept_for_a_listener_closes_when_that_is_stopped_first() -> None:
    db = Component(tag="db", argv=("db",))
    sim = running(db, inetd("echo", "db"))
    sim.deaf = {"db"}
    apply(sim, replace(db, argv=("other",)), inetd("echo", "db"))
    assert sim.parked == {HERE}
    sim.order("stop", "echo")
    assert sim.parked == set()
    assert sim.history[-1] == "give up inet+tcp://127.0.0.1:7"


def test_a_socket_that_is_kept_closes_when_piesd_ends() -> None:
    db = Component(tag="db", argv=("db",))
    sim = running(db, inetd("echo", "db"))
    sim.deaf = {"db"}
    apply(sim, replace(db, argv=("other",)), inetd("echo", "db"))
    sim.post(Shutdown())
    assert sim.parked == set()


def test_a_socket_that_was_taken_up_again_is_not_given_up_with_the_next_order() -> None:
    db = Component(tag="db", argv=("db",))
    sim = running(db, inetd("echo", "db"))
    apply(sim, replace(db, argv=("other",)), inetd("echo", "db")).settle()
    assert (sim.phase("echo"), sim.parked) == (Phase.LISTENING, set())
    sim.order("stop", "echo")
    sim.settle()
    assert not any(each.startswith("give up") for each in sim.history)


def test_a_child_of_before_does_not_take_up_a_socket_that_is_kept_for_its_component() -> None:
    old, new = Component(tag="a", argv=("a",)), owner("a")
    sim = Simulation((old, inetd("echo"))).boot()
    sim.open_one()
    assert sim.starting.keys() == {("a", 1)}
    apply(sim, new)  # It is to have the address of the listener, which goes.
    assert sim.parked == {HERE}
    sim.spawn_one()  # The child that was under way has no socket at all.
    assert sim.parked == {HERE}
    sim.post(Shutdown())
    assert sim.parked == set()
