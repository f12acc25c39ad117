"""The endpoints under /v1: lists, orders, output, events, the plan, and questions about piesd."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from asked import GUEST, ROOT, Answer, Desk, ask, desk
from fake_system import Script
from running import House
from supervisor.api.answers import HEARTBEAT, sent_event
from supervisor.api.errors import STATUS, error_body, status_of
from supervisor.model.component import Component
from supervisor.model.errors import NotRunning, SupervisorError

DB = Component(tag="db", argv=("db",))
WEB = Component(tag="web", argv=("web",), prerequisites=("db",))
OFF = Component(tag="off", argv=("off",), enabled=False)
ONE = Component(tag="w:1", argv=("w",), template="w", instance=1)
TWO = Component(tag="w:2", argv=("w",), template="w", instance=2)
Clock = trio.testing.MockClock


def refusal(answer: Answer) -> tuple[str, str]:
    """The code and the first message of an error, which has to look as ours do."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.json.keys() == {"messages", "code"}
    assert all(isinstance(text, str) for text in answer.json["messages"])
    return answer.json["code"], answer.json["messages"][0]


# --- components


async def test_a_list_comes_in_an_envelope_that_counts(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB, OFF]) as asked:
            answer = await asked.ask("GET", '/v1/components?selector={"op":"active"}&max=1')
            assert answer.status == 200
            assert answer.json["totalCount"] == 3
            assert answer.json["matchCount"] == 2
            assert answer.json["resultCount"] == 1
            assert [row["tag"] for row in answer.json["results"]] == ["db"]
            beyond = (await asked.ask("GET", "/v1/components?offset=9")).json
            assert (beyond["matchCount"], beyond["results"]) == (3, [])


async def test_one_component_is_not_in_a_list(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            answer = await asked.ask("GET", "/v1/components/web")
            assert (answer.status, answer.json["tag"]) == (200, "web")
            assert answer.json["prerequisites"] == ["db"]
            picked = await asked.ask("GET", "/v1/components/web?fields=status")
            assert picked.json == {"status": "running"}
            missing = await asked.ask("GET", "/v1/components/nobody")
            assert missing.status == 404
            assert refusal(missing) == ("not-found", "The resource with id 'nobody' was not found")


@pytest.mark.parametrize(
    ("target", "action", "tags"),
    [
        ("/v1/components/db/start", "start", ["db"]),
        ("/v1/components/db/stop", "stop", ["db"]),
        ("/v1/components/db/restart", "restart", ["db"]),
        ("/v1/components/w/stop", "stop", ["w:1", "w:2"]),
        (
            '/v1/components?action=stop&selector={"op":"component","arg":"w"}',
            "stop",
            ["w:1", "w:2"],
        ),
    ],
)
async def test_an_order_is_a_put(
    target: str, action: str, tags: list[str], autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with desk([DB, ONE, TWO]) as asked:
            answer = await asked.ask("PUT", target)
            assert (answer.status, answer.json) == (202, {"messages": [], "matched": tags})
            for tag in tags:
                wish = asked.home.runner.engine.world.states[tag].wish
                assert wish is not None
                assert (wish.action, wish.by) == (action, ROOT.name)
            joint = "&" if "?" in target else "?"
            waited = await asked.ask("PUT", f"{target}{joint}wait=10")
            assert waited.status == 200


async def test_a_signal_is_an_order_too(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, OFF]) as asked:
            for target in (
                "/v1/components/db/signal/HUP",
                "/v1/components/db/signal/1",
                "/v1/components?action=signal/SIGHUP&selector=true",
            ):
                assert (await asked.ask("PUT", target)).status == 202
            sent = [(one.key, one.signum) for one in asked.home.system.signals]
            assert sent[0] == ("db", 1)
            down = await asked.ask("PUT", "/v1/components/off/signal/HUP")
            assert down.status == 409
            assert refusal(down) == ("not-running", "cannot signal 'off': it is stopped")
            unknown = await asked.ask("PUT", "/v1/components/db/signal/WINK")
            assert unknown.status == 400
            assert "there is no such signal" in refusal(unknown)[1]


async def test_a_reset_lets_a_sleeper_try_at_once(autojump_clock: Clock) -> None:
    def failing(home: House) -> None:
        home.system.scripts["db"] = Script(exits=1)

    with trio.fail_after(60):
        async with desk([DB], failing) as asked:
            assert asked.status("db") == "sleeping"
            asked.home.system.scripts.clear()
            assert (await asked.ask("PUT", "/v1/components/db/reset")).status == 202
            await asked.home.rest()
            assert asked.status("db") == "running"


async def test_an_order_here_can_be_rehearsed_and_tied_to_its_rehearsal_too(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            rehearsal = await asked.ask("PUT", "/v1/components/db/restart?dry-run=true")
            assert rehearsal.status == 200
            assert rehearsal.json["matched"] == ["db"]
            assert [step["tag"] for step in rehearsal.json["plan"]] == ["web", "db", "db", "web"]
            token = {"If-Match": rehearsal.json["token"]}
            wrong = await asked.ask("PUT", "/v1/components/db/stop", headers=token)
            assert (wrong.status, refusal(wrong)[0]) == (409, "plan-changed")
            right = await asked.ask("PUT", "/v1/components/db/restart", headers=token)
            assert right.status == 202


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/v1/components/nobody/stop", 404, "not-found"),
        ("/v1/components/db/explode", 404, "not-found"),
        ("/v1/components/db/hold", 400, "bad-request"),
        ("/v1/components/db/stop?wait=x", 400, "bad-request"),
        ("/v1/components/db/stop?dry_run=true", 400, "bad-request"),
        ("/v1/components?action=stop", 400, "bad-request"),
        ("/v1/components?selector=true", 400, "bad-request"),
        ("/v1/components?action=explode&selector=true", 400, "bad-request"),
        ("/v1/components?action=signal&selector=true", 400, "bad-request"),
        ("/v1/components?action=suspend&selector=true", 400, "bad-request"),
        ("/v1/components?action=stop&selector={", 400, "bad-selector"),
    ],
)
async def test_an_order_that_means_nothing_is_refused(
    target: str, status: int, code: str, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            answer = await asked.ask("PUT", target)
            assert (answer.status, refusal(answer)[0]) == (status, code)
            assert asked.status("db") == "running"
            assert not asked.home.system.signals


async def test_not_settled_in_time_is_504(autojump_clock: Clock) -> None:
    def slow(home: House) -> None:
        home.system.scripts["off"] = Script(delayed=True)

    with trio.fail_after(60):
        async with desk([OFF], slow) as asked:
            answer = await asked.ask("PUT", "/v1/components/off/start?wait=3")
            assert answer.status == 504
            assert refusal(answer) == (
                "not-settled",
                "cannot wait longer than 3 s: not settled: off: it is starting",
            )


# --- what does not exist


async def test_unknown_paths_and_methods_have_the_sentences_of_the_interface(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            for target in ("/v1", "/v1/", "/v1/nonsense", "/v1/components/db/log/1"):
                answer = await asked.ask("GET", target)
                assert answer.status == 404
                sentence = f"The resource with id '{target}' was not found"
                assert refusal(answer) == ("not-found", sentence)
            answer = await asked.ask("DELETE", "/v1/components/db")
            assert answer.status == 405
            assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
            sentence = "The specified HTTP method is not allowed for the requested resource"
            assert refusal(answer) == ("method-not-allowed", sentence)


# --- questions


async def test_about_tells_version_and_build(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            answer = (await asked.ask("GET", "/v1/diag/about", peer=GUEST)).json
            assert (answer["version"], answer["pid"]) == ("1.2.3", 42)
            assert answer["started-at"] == "2023-11-14T22:13:20.000Z"


async def test_why_is_the_sentence_and_all_gates(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            await asked.ask("DELETE", "/programs/db?wait=5")
            answer = (await asked.ask("GET", "/v1/diag/why/web", peer=GUEST)).json
            assert answer["summary"] == (
                "web is not running: prerequisite db is stopped "
                "(it was stopped by root of the tests)"
            )
            assert answer["blocked-by"]["type"] == "prerequisite"
            closed = [gate for gate in answer["gates"] if not gate["open"]]
            assert [gate["gate"] for gate in closed] == ["prerequisite-down"]
            assert {"last-exit", "wish", "drift", "wanted", "prerequisites"} <= answer.keys()
            assert (await asked.ask("GET", "/v1/diag/why/nobody")).status == 404


async def test_the_plan_is_what_a_reload_would_change(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            asked.disk.write(Component(tag="db", argv=("db", "2")), WEB)
            answer = (await asked.ask("GET", "/v1/plan")).json
            assert (answer["totalCount"], answer["matchCount"]) == (2, 1)
            assert [each["tag"] for each in answer["results"]] == ["db"]
            everything = (await asked.ask("GET", "/v1/plan?all=true&fields=tag,action")).json
            assert everything["results"] == [
                {"tag": "db", "action": "restart"},
                {"tag": "web", "action": "none"},
            ]
            assert (await asked.ask("GET", "/v1/plan", peer=GUEST)).status == 403


# --- streams


class Following:
    """A stream that is being read."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.ended = False

    @property
    def events(self) -> list[dict[str, str]]:
        blocks = self.answer.body.decode().split("\n\n")[:-1]
        return [
            {
                line.partition(":")[0] or "comment": line.partition(":")[2].strip()
                for line in block.split("\n")
            }
            for block in blocks
        ]


@asynccontextmanager
async def following(asked: Desk, target: str, **headers: str) -> AsyncIterator[Following]:
    """Read a stream meanwhile; leaving is what a client does that goes away."""
    stream = Following()

    async def read() -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await ask(asked.app, "GET", target, peer=ROOT, headers=named, answer=stream.answer)
        stream.ended = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        yield stream
        nursery.cancel_scope.cancel()


async def test_events_are_numbered_and_each_is_json(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked, following(asked, "/v1/events") as stream:
            assert stream.answer.status == 200
            assert stream.answer.headers["content-type"].startswith("text/event-stream")
            assert stream.events == []
            asked.home.system.exit("db", 3)
            await asked.home.rest()
            exited, started = stream.events
            assert (exited["event"], started["event"]) == ("exited", "started")
            assert int(started["id"]) == int(exited["id"]) + 1
            data = json.loads(exited["data"])
            assert (data["number"], data["tag"]) == (int(exited["id"]), "db")
            assert data["text"] == "'db' exited with 3"


async def test_events_go_on_where_somebody_was(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            for n in range(5):
                asked.control.feed.say("test", "info", str(n))
            since = asked.control.feed.newest - 2

            async def texts(target: str, **headers: str) -> list[str]:
                async with following(asked, target, **headers) as stream:
                    return [json.loads(event["data"])["text"] for event in stream.events]

            assert await texts(f"/v1/events?since={since}") == ["3", "4"]
            assert await texts("/v1/events", Last_Event_ID=str(since)) == ["3", "4"]
            # A browser that comes back sends both; the header is the newer one.
            assert await texts("/v1/events?since=0", Last_Event_ID=str(since + 1)) == ["4"]
            kept = await asked.ask("GET", f"/v1/events?follow=false&since={since}")
            assert kept.body.count(b"event: test") == 2
            everything = await asked.ask("GET", "/v1/events?follow=false")
            assert everything.body.count(b"event: test") == 5


async def test_a_stream_with_nothing_to_say_says_so_now_and_then(autojump_clock: Clock) -> None:
    with trio.fail_after(600):
        async with desk([DB]) as asked, following(asked, "/v1/events") as stream:
            await trio.sleep(HEARTBEAT - 1)
            assert stream.answer.body == b""
            await trio.sleep(HEARTBEAT)
            assert stream.answer.body == b": still here\n\n"
            await trio.sleep(300)
            asked.control.feed.say("test", "info", "after all this time")
            await asked.home.rest()
            assert stream.events[-1]["event"] == "test"
            assert not stream.ended


async def test_streams_end_when_control_closes(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with (
            desk([DB]) as asked,
            following(asked, "/v1/events") as events,
            following(asked, "/v1/components/db/log?follow=true") as log,
        ):
            asked.control.close()
            await asked.home.rest()
            assert events.ended
            assert log.ended


def printing(home: House) -> None:
    home.system.scripts["db"] = Script(prints=b"one\ntwo\nthree\n")


async def test_the_output_is_text(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB], printing) as asked:
            answer = await asked.ask("GET", "/v1/components/db/log")
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert answer.body == b"one\ntwo\nthree\n"
            assert (await asked.ask("GET", "/v1/components/db/log?tail=1")).body == b"three\n"
            assert (await asked.ask("GET", "/v1/components/db/log?tail=0")).body == b""
            assert (await asked.ask("GET", "/v1/components/db/log?stream=stderr")).body == b""
            for target, status in (
                ("/v1/components/nobody/log", 404),
                ("/v1/components/nobody/log?follow=true", 404),
                ("/v1/components/db/log?stream=stdin", 400),
                ("/v1/components/db/log?tail=x", 400),
            ):
                assert (await asked.ask("GET", target)).status == status
            assert (await asked.ask("GET", "/v1/components/db/log", peer=GUEST)).status == 403


async def test_output_is_followed_line_by_line_and_resumed(autojump_clock: Clock) -> None:
    target = "/v1/components/db/log?follow=true&tail=1"
    with trio.fail_after(60):
        async with desk([DB], printing) as asked:
            async with following(asked, target) as stream:
                asked.home.system.write("db", b"four\nfi")
                await asked.home.rest()
                asked.home.system.write("db", b"oops\n", "stderr")
                await asked.home.rest()
                assert [(event["event"], event["data"]) for event in stream.events] == [
                    ("stdout", "three"),
                    ("stdout", "four"),
                    ("stderr", "oops"),
                ]
                last = stream.events[-1]["id"]
            assert not asked.home.outputs._outlets["db"].followers, "nobody follows any more"
            asked.home.system.write("db", b"ve\n")
            await asked.home.rest()
            async with following(asked, target, Last_Event_ID=last) as stream:
                assert [event["data"] for event in stream.events] == ["five"]


async def test_a_head_of_a_stream_ends(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            for target in ("/v1/events", "/v1/components/db/log?follow=true"):
                answer = await asked.ask("HEAD", target)
                assert answer.status == 200
                assert answer.headers["content-type"].startswith("text/event-stream")


def test_a_line_with_line_ends_in_it_is_sent_as_several() -> None:
    assert sent_event("stdout", b"10%\r20%\r\n30%", "1.0") == (
        b"event: stdout\nid: 1.0\ndata: 10%\ndata: 20%\ndata: 30%\n\n"
    )


# --- errors


def subclasses(kind: type[SupervisorError]) -> set[type[SupervisorError]]:
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


def test_every_error_has_its_http_status() -> None:
    import supervisor.main  # noqa: F401 - whatever defines an error is loaded by this

    codes = {each.code for each in subclasses(SupervisorError)}
    assert codes == set(STATUS), "one is missing, or one is left over"


def test_an_error_may_say_what_to_do() -> None:
    error = NotRunning("db", "stopped")
    error.hint = "Start it first."
    assert json.loads(error_body("/v1/x", error)) == {
        "messages": ["cannot signal 'db': it is stopped", "Start it first."],
        "code": "not-running",
    }
    assert json.loads(error_body("/programs", error)) == {
        "status": "ER",
        "message": "cannot signal 'db': it is stopped. Start it first.",
    }


def test_a_fault_of_ours_has_one_sentence() -> None:
    class Strange(SupervisorError):
        code = "never-heard-of"

    error: Any = Strange("the secret")
    assert status_of(error) == 500
    for path in ("/v1/x", "/x"):
        assert b"A problem occurred while processing the request" in error_body(path, error)
        assert b"secret" not in error_body(path, error)
