"""What is invisible cannot be told from what is missing: not by answers, and not by their cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest
import trio
import trio.testing
from hypothesis import Phase, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from msgspec.structs import replace

from asked import ROOT, Answer, Desk
from fake_system import Script
from guarded import DENY, administrator, anonymous, guarded, let, only, user
from running import House
from supervisor.control.about import Hooks
from supervisor.control.identity import Caller
from supervisor.control.orders import Request
from supervisor.model.access import Acl
from supervisor.model.component import Component, ExitAction, InetAddress, Mode, Respawn
from supervisor.model.errors import Forbidden, NotFound, NotSettled
from supervisor.runtime.holds import Hold
from supervisor.selectors import All, HasTag, HasType

Clock = trio.testing.MockClock

SECRET = Component(tag="secret", argv=("secret",), list_acl=Acl((DENY,)))
LISTENER = replace(
    SECRET, mode=Mode.INETD, sockets=(InetAddress(host="127.0.0.1", port=9),), tag="secret"
)
INSTANCE = replace(SECRET, tag="secret:1", template="secret", instance=1)
STARTUP = replace(SECRET, mode=Mode.ONCE)
NOISY = replace(SECRET, exit_actions=(ExitAction(codes=(1,), exec=("tell",)),))
GIVES_UP = replace(SECRET, exit_actions=(ExitAction(codes=(1,), action="disable"),))
SECRETS = [SECRET, LISTENER, INSTANCE, STARTUP, NOISY, GIVES_UP]

DB = Component(tag="db", argv=("db",), respawn=Respawn(max=1, sleep=300))
WEB = Component(tag="web", argv=("web",), prerequisites=("db",))
ECHO = Component(
    tag="echo", argv=("cat",), mode=Mode.INETD, sockets=(InetAddress(host="127.0.0.1", port=7),)
)
ONE = Component(tag="w:1", argv=("w",), template="w", instance=1)
VISIBLE = [DB, WEB, ECHO, ONE]

ANN = user("ann")
CALLERS = [ANN, anonymous("list"), anonymous("admin"), user("bob")]
NAMES = ["secret", "secret:1", "db", "web", "w", "w:1", "echo", "nobody"]

QUESTIONS = [
    "/programs",
    "/programs?selector=true&sort={%22tag%22:-1}",
    "/programs?usage=true",
    *(f"/programs/{name}" for name in NAMES),
    *(f"/alive/{name}" for name in NAMES),
    *(
        f"/programs?{quote(text)}"
        for text in (
            '{"op":"glob","arg":"*e*"}',
            '{"op":"not","arg":{"op":"component","arg":"web"}}',
            '{"op":"dependent-of","arg":"secret"}',
            '{"op":"prerequisite-of","arg":"secret"}',
            '{"op":"prerequisite-of","arg":"web"}',
            '{"op":"status","arg":"running"}',
            '{"op":"or","arg":[{"op":"component","arg":"secret"},{"op":"active"}]}',
        )
    ),
    "/instance",
    "/instance/PID",
    "/conf/files",
    "/v1/components",
    "/v1/components?max=1&offset=1",
    *(f"/v1/components/{name}" for name in NAMES),
    *(f"/v1/components/{name}/log" for name in NAMES),
    "/v1/components/secret%231",
    "/v1/events?follow=false",
    "/v1/plan?all=true",
    "/v1/diag/about",
    *(f"/v1/diag/why/{name}" for name in NAMES),
]


def apart(home: House) -> None:
    """Let processes of the secret have numbers of their own: those are the system's to leak."""
    system = home.system
    system.default = Script(prints=b"a line\n")
    launch, numbers = system.launch, iter(range(500_000, 600_000, 100))

    def launched(job: Any, report: Any) -> None:
        if not job.key.startswith("secret"):
            launch(job, report)
            return
        before, system._next_pid = system._next_pid, next(numbers)
        launch(job, report)
        system._next_pid = before

    system.launch = launched  # type: ignore[method-assign, assignment]


async def live(asked: Desk, days: Sequence[str]) -> None:
    """Let things happen, to the secret too where there is one."""
    states = asked.home.runner.engine.world.states
    for day in days:
        what, _, tag = day.partition(" ")
        for key in [key for key in list(states) if key.startswith(tag)]:
            match what:
                case "exit" if states[key].pid is not None:
                    asked.home.system.exit(key, 1)
                case "stop" | "start" | "restart":
                    await asked.control.order(
                        Request(action=what, selector=HasTag(key)),
                        ROOT,
                    )
                case _:
                    pass
            await asked.home.rest()
        await trio.sleep(1)


def answers(
    components: Sequence[Component], days: Sequence[str], caller: Caller, rules: dict[str, Any]
) -> list[tuple[str, int, bytes, dict[str, str]]]:
    """Ask everything, in a world of *components* in which this has happened."""

    async def world() -> list[tuple[str, int, bytes, dict[str, str]]]:
        found = []
        with trio.fail_after(600):
            async with guarded(components, apart, **rules) as asked:
                await live(asked, days)
                for question in QUESTIONS:
                    answer: Answer = await asked.ask("GET", question, peer=caller)
                    found.append((question, answer.status, answer.body, answer.headers))
                found.append(await _resumed(asked, caller))
        return found

    return trio.run(world, clock=trio.testing.MockClock(autojump_threshold=0))


async def _resumed(asked: Desk, caller: Caller) -> tuple[str, int, bytes, dict[str, str]]:
    """Come back after the second event that was shown."""
    try:
        events = asked.control.events(0, caller).take()
    except Forbidden:
        return "resumed", 403, b"", {}
    since = events[1].number if len(events) > 1 else 0
    answer = await asked.ask("GET", f"/v1/events?follow=false&since={since}", peer=caller)
    return "resumed", answer.status, answer.body, answer.headers


day = st.builds(
    "{} {}".format,
    st.sampled_from(["exit", "stop", "start", "restart"]),
    st.sampled_from(["secret", "secret", "db", "web", "w:1"]),
)
worlds = st.permutations(VISIBLE)
allowing: dict[str, Any] = {"user_acl": only("ann"), "admin_acl": only("ann")}


@pytest.mark.slow
@effort(max_examples=20, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    worlds,
    st.integers(0, 4),
    st.sampled_from(SECRETS),
    st.lists(day, max_size=5),
    st.sampled_from(CALLERS),
    st.sampled_from([{}, allowing, {"admin_acl": only("ann")}]),
)
def test_two_worlds_that_differ_in_an_invisible_component_give_the_same_answers(
    visible: list[Component],
    place: int,
    secret: Component,
    days: list[str],
    caller: Caller,
    rules: dict[str, Any],
) -> None:
    without = answers(visible, days, caller, rules)
    whole = [*visible[:place], secret, *visible[place:]]
    for mine, missing in zip(answers(whole, days, caller, rules), without, strict=True):
        assert mine == missing


def test_the_comparison_would_notice_a_component_that_can_be_seen() -> None:
    seen = replace(SECRET, list_acl=None)
    without = answers(VISIBLE, ["exit secret"], ANN, allowing)
    whole = answers([*VISIBLE, seen], ["exit secret"], ANN, allowing)
    differ = {one[0] for one, other in zip(without, whole, strict=True) if one != other}
    assert {"/programs", "/alive/secret", "/v1/components", "/v1/events?follow=false"} <= differ


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
@pytest.mark.parametrize(
    "target", ["/programs/secret", "/v1/components/secret/stop", "/v1/components/secret/signal/HUP"]
)
async def test_orders_to_it_are_answered_as_if_it_were_missing(
    method: str, target: str, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with guarded([DB, SECRET], **allowing) as asked:
            pid = asked.pid("secret")
            hidden = await asked.ask(method, target, peer=ANN)
            missing = await asked.ask(method, target.replace("secret", "nobody"), peer=ANN)
            assert hidden.status == missing.status
            assert hidden.body == missing.body.replace(b"nobody", b"secret")
            assert asked.pid("secret") == pid
            assert asked.status("secret") == "running"


async def test_an_order_to_everything_touches_what_is_seen_alone(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with guarded([DB, SECRET], **allowing) as asked:
            outcome = await asked.control.order(Request(action="stop", selector=All()), ANN)
            assert outcome.tags == ("db",)
            assert asked.status("secret") == "running"


# --- names in what is said about others

NEEDY = Component(tag="web", argv=("web",), prerequisites=("secret", "db"))
FIRST = replace(SECRET, mode=Mode.STARTUP)


def about(answer: Answer) -> str:
    return answer.body.decode()


async def test_a_component_that_needs_it_does_not_name_it(autojump_clock: Clock) -> None:
    plain = replace(DB, respawn=Respawn())
    with trio.fail_after(600):
        async with guarded([plain, SECRET, NEEDY], **allowing) as asked:
            for _ in range(2):
                for target in (
                    "/programs",
                    "/programs/web",
                    "/v1/components/web",
                    "/v1/diag/why/web",
                    "/v1/plan?all=true",
                    "/v1/events?follow=false",
                    "/programs?" + quote('{"op":"dependent-of","arg":"secret"}'),
                ):
                    answer = await asked.ask("GET", target, peer=ANN)
                    assert answer.status == 200
                    assert "secret" not in about(answer), target
                await asked.order("stop", "secret", wait=10)
            row = (await asked.ask("GET", "/programs/web", peer=ANN)).json[0]
            assert row["prerequisites"] == ["db"]
            assert row["blocked-by"]["message"] == "something that it needs is not up"
            await asked.order("stop", "db", wait=10)
            row = (await asked.ask("GET", "/programs/web", peer=ANN)).json[0]
            assert row["blocked-by"]["message"] == "prerequisites are not up: db"


async def test_what_it_needs_does_not_name_it_either(autojump_clock: Clock) -> None:
    def slow(home: House) -> None:
        home.system.scripts["secret"] = Script(ignores=frozenset({15}))

    dependent = replace(SECRET, prerequisites=("db",), stop_timeout=60)
    with trio.fail_after(600):
        async with guarded([DB, dependent], slow, **allowing) as asked:
            plan = await asked.ask("DELETE", "/programs/db?dry-run=true", peer=ANN)
            assert [step["tag"] for step in plan.json["plan"]] == ["db"]
            answer = await asked.ask("DELETE", "/programs/db?wait=1", peer=ANN)
            assert answer.status == 504
            assert "secret" not in about(answer)
            with pytest.raises(NotSettled, match="its dependents stop first$"):
                await asked.control.order(
                    Request(action="stop", selector=HasTag("db"), wait=1), ANN
                )
            row = await asked.ask("GET", "/programs/db", peer=ANN)
            assert row.json[0]["dependents"] == []
            assert "secret" not in about(row)


async def test_a_startup_component_is_not_named_by_those_who_wait_for_it(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with guarded([FIRST, DB], **allowing) as asked:
            row = await asked.ask("GET", "/programs/db", peer=ANN)
            assert row.json[0]["blocked-by"]["message"] == "startup components come first"
            why = await asked.ask("GET", "/v1/diag/why/db", peer=ANN)
            assert "secret" not in about(why)


async def test_texts_that_quote_it_or_tell_of_its_exit_action_do_not_name_it(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with guarded([DB, SECRET], **allowing) as asked:
            view = asked.control.access.view(ANN)
            assert view.text("'secret' exited, 'db' too") == "another component exited, 'db' too"
            assert view.text("exit action of secret: exited with 78") == (
                "exit action of another component: exited with 78"
            )
            assert view.text("exit action of db: exited with 78") == (
                "exit action of db: exited with 78"
            )
            assert view.text("secretly") == "secretly"


async def test_it_is_not_told_that_what_is_hidden_has_disabled_something(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with guarded(
            [GIVES_UP, replace(WEB, prerequisites=("secret",))], **allowing
        ) as asked:
            asked.home.system.exit("secret", 1)
            await asked.home.rest()
            assert "exit action of secret" in str(asked.control.describe("web", ROOT)[1].wish)
            for target in ("/programs", "/v1/diag/why/web", "/v1/events?follow=false"):
                answer = await asked.ask("GET", target, peer=ANN)
                assert "secret" not in about(answer), target
                assert answer.status == 200


async def test_until_when_something_hidden_sleeps_is_not_told_either(
    autojump_clock: Clock,
) -> None:
    asleep = replace(SECRET, respawn=Respawn(max=1, sleep=300))
    with trio.fail_after(60):
        async with guarded([asleep, replace(WEB, prerequisites=("secret",))], **allowing) as asked:
            asked.home.system.exit("secret", 1)
            await asked.home.rest()
            for caller, told in ((ROOT, True), (ANN, False)):
                (row,) = (await asked.ask("GET", "/programs/web", peer=caller)).json
                assert (row["blocked-by"]["until"] is not None) == told
                why = (await asked.ask("GET", "/v1/diag/why/web", peer=caller)).json
                assert ("(until 2023" in why["summary"]) == told


# --- commands of exit actions


async def test_a_command_is_seen_and_steered_as_its_component_is(autojump_clock: Clock) -> None:
    noisy = replace(DB, exit_actions=NOISY.exit_actions, admin_acl=only("bob"))
    with trio.fail_after(60):
        async with guarded([noisy, NOISY], **allowing) as asked:
            for tag in ("db", "secret"):
                asked.home.system.exit(tag, 1)
                await asked.home.rest()
            commands = HasType("command")
            assert [row.tag for _, row in asked.control.list(commands, ROOT)] == ["db", "secret"]
            assert [row.tag for _, row in asked.control.list(commands, ANN)] == ["db"]
            with pytest.raises(Forbidden, match="cannot stop db: "):
                await asked.control.order(Request(action="stop", selector=commands), ANN)
            asked.disk.write()
            await asked.control.reload(ROOT)
            await asked.home.rest()
            assert asked.control.list(All(), ANN) == [], "whose it was is forgotten"
            assert len(asked.control.list(HasTag("secret"), ROOT)) == 1


# --- changes of what is seen


async def test_a_reader_of_events_sees_no_more_of_what_a_reload_has_hidden(
    autojump_clock: Clock,
) -> None:
    seen = replace(SECRET, list_acl=None)
    with trio.fail_after(60):
        async with guarded([DB, seen], **allowing) as asked:
            cursor = asked.control.events(None, ANN)
            asked.home.system.exit("secret", 1)
            await asked.home.rest()
            assert {event.tag for event in cursor.take()} == {"secret"}
            asked.disk.write(DB, SECRET)
            await asked.control.reload(ROOT)
            asked.home.system.exit("secret", 1)
            asked.home.system.exit("db", 1)
            await asked.home.rest()
            assert {event.tag for event in cursor.take() if event.kind != "reloaded"} == {"db"}
            everything = asked.control.events(0, ANN).take()
            assert "secret" not in {event.tag for event in everything}


async def test_what_is_gone_stays_hidden_in_the_events_of_its_life(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with guarded([DB, SECRET], **allowing) as asked:
            asked.disk.write(DB)
            await asked.control.reload(ROOT)
            await asked.home.rest()
            with pytest.raises(NotFound):
                asked.control.describe("secret", ROOT)
            events = asked.control.events(0, ANN).take()
            assert "secret" not in {event.tag for event in events}
            assert "secret" in {event.tag for event in asked.control.events(0, ROOT).take()}


async def test_a_reload_tells_nothing_of_what_cannot_be_seen(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with guarded([DB], **allowing) as asked:
            asked.disk.write(DB, SECRET)
            preview = await asked.ask("GET", "/v1/plan?all=true", peer=ANN)
            assert [change["tag"] for change in preview.json["results"]] == ["db"]
            done = await asked.ask("PUT", "/conf/runtime?all=true", peer=ANN)
            assert "secret" not in about(done)
            assert done.json["message"] == "nothing changed"
            assert asked.status("secret") == "running"


async def test_who_has_held_the_loop_is_told_to_none_but_who_may_know_of_everything(
    autojump_clock: Clock,
) -> None:
    """Tasks have the names of components: "the checks of secret"."""
    hooks = Hooks(longest_hold=lambda: Hold(0.25, "the checks of secret"))
    with trio.fail_after(60):
        for peer, rules in ((ANN, allowing), (anonymous("list"), {}), (anonymous("admin"), {})):
            async with guarded([DB, SECRET], hooks=hooks, **rules) as asked:
                answer = await asked.ask("GET", "/v1/diag/about", peer=peer)
                assert answer.json["longest-hold"] == {"seconds": 0.25, "task": ""}
        async with guarded([DB], hooks=hooks) as asked:
            answer = await asked.ask("GET", "/v1/diag/about", peer=administrator())
            assert answer.json["longest-hold"]["task"] == "the checks of secret"


# --- by time


async def test_a_tag_that_cannot_be_seen_is_looked_for_as_one_that_is_not_there(
    autojump_clock: Clock,
) -> None:
    """The same work: every other component is looked at in both cases."""
    many = [Component(tag=f"c{n}", argv=("c",)) for n in range(50)]
    with trio.fail_after(60):
        async with guarded([*many, SECRET], **allowing) as asked:
            world = asked.home.runner.engine.world
            looked: list[str] = []

            class Watched(dict[str, Component]):
                def __getitem__(self, key: str) -> Component:
                    looked.append(key)
                    return super().__getitem__(key)

            asked.control.list(All(), ANN)
            world.specs = Watched(world.specs)
            counts = []
            for tag in ("secret", "nobody"):
                looked.clear()
                assert asked.control.list(HasTag(tag), ANN) == []
                counts.append(len(looked))
            assert counts[0] == counts[1] > len(many)


async def test_administrators_are_bound_by_list_acl_as_well(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with guarded([DB, SECRET]) as asked:
            root = administrator()
            assert [key for key, _ in asked.control.list(All(), root)] == ["db"]
            assert asked.control.count(root) == 1
            with pytest.raises(NotFound):
                asked.control.describe("secret", root)
            events = asked.control.events(0, root).take()
            assert "secret" not in {event.tag for event in events}


async def test_what_may_be_seen_and_not_touched_is_refused_by_name_and_nothing_is_done(
    autojump_clock: Clock,
) -> None:
    guarded_db = replace(DB, admin_acl=Acl((let("bob"), DENY)))
    with trio.fail_after(60):
        async with guarded([guarded_db, ECHO, WEB], **allowing) as asked:
            before = [asked.pid(tag) for tag in ("db", "web")]
            for dry_run in ("", "?dry-run=true"):
                answer = await asked.ask("POST", f"/programs{dry_run}", True, peer=ANN)
                assert answer.status == 403
                assert answer.json["message"] == (
                    "cannot restart db: user ann has no right to it. Nothing was done."
                )
            assert [asked.pid(tag) for tag in ("db", "web")] == before
            log = await asked.ask("GET", "/v1/components/db/log", peer=ANN)
            assert log.status == 403
            assert (await asked.ask("DELETE", "/programs/web", peer=ANN)).status == 200
