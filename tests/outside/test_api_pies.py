"""The endpoints of pies, asked as the server asks the application."""

from __future__ import annotations

import json
from pathlib import Path
from signal import SIGTERM
from typing import Any
from urllib.parse import quote

import pytest
import trio
import trio.testing

from asked import GUEST, ROOT, STRANGER, Answer, desk
from fake_system import Script
from running import House
from supervisor.api import pies
from supervisor.control.identity import Caller
from supervisor.model.component import Component, InetAddress, Mode, Respawn
from supervisor.model.errors import ConfigRejected, Problem
from supervisor.model.settings import SourceFile
from supervisor.model.state import Stage

DB = Component(tag="db", argv=("db",), respawn=Respawn(max=1, sleep=300))
WEB = Component(tag="web", argv=("web",), prerequisites=("db",), labels={"tier": "front"})
OFF = Component(tag="off", argv=("off",), enabled=False)
ONE = Component(tag="w:1", argv=("w",), template="w", instance=1)
TWO = Component(tag="w:2", argv=("w",), template="w", instance=2)
PORT = InetAddress(host="127.0.0.1", port=7)
ECHO = Component(tag="echo", argv=("cat",), mode=Mode.INETD, sockets=(PORT,))
Clock = trio.testing.MockClock

OK = {"status": "OK"}


def deaf(home: House) -> None:
    home.system.scripts["web"] = Script(ignores=frozenset({SIGTERM}))


def message(answer: Answer) -> str:
    """The message of an error, which has to look as pies' errors do."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.json.keys() == {"status", "message"}
    assert answer.json["status"] == "ER"
    text: str = answer.json["message"]
    return text


# --- listings


async def test_a_listing_is_a_bare_array_of_pies_attributes(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, ECHO, OFF]) as asked:
            answer = await asked.ask("GET", "/programs")
            assert answer.status == 200
            db, echo, off = answer.json
            assert db["tag"] == "db"
            assert db["type"] == "component"
            assert db["mode"] == "respawn"
            assert db["status"] == "running"
            assert db["active"] is True
            assert db["PID"] == asked.pid("db")
            assert db["argv"] == ["db"]
            assert "URL" not in db
            assert echo["URL"] == "inet+tcp://127.0.0.1:7"
            assert echo["status"] == "listener"
            assert "PID" not in echo
            assert (off["status"], off["active"]) == ("stopped", False)


@pytest.mark.parametrize(
    "form", ["raw", "encoded", "parameter", "parameter first", "parameter after"]
)
async def test_a_selector_may_be_written_in_several_ways(form: str, autojump_clock: Clock) -> None:
    selector = '{"op":"not","arg":{"op":"component","arg":"db"}}'
    target = {
        "raw": f"/programs?{selector}",
        "encoded": f"/programs?{quote(selector, safe='')}",
        "parameter": f"/programs?selector={quote(selector, safe='')}",
        "parameter first": f"/programs?fields=tag&selector={quote(selector)}",
        "parameter after": f"/programs?{selector}&fields=tag",
    }[form]
    with trio.fail_after(60):
        async with desk([DB, WEB, OFF]) as asked:
            answer = await asked.ask("GET", target)
            assert answer.tags == ["web", "off"]


@pytest.mark.parametrize(
    ("selector", "tags"),
    [
        ("true", ["db", "web"]),
        ("false", []),
        ("null", []),
        ('{"op":"component","arg":"nobody"}', []),
        ('{"op":"label","arg":{"tier":"front"}}', ["web"]),
        ('{"op":"prerequisite-of","arg":"web"}', ["db"]),
        ('{"op":"dependent-of","arg":"db"}', ["web"]),
    ],
)
async def test_what_matches_is_listed_and_nothing_is_an_empty_array(
    selector: str, tags: list[str], autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            assert (await asked.ask("GET", f"/programs?{selector}")).tags == tags


async def test_a_plus_sign_in_pies_form_is_a_plus_sign(autojump_clock: Clock) -> None:
    plus = Component(tag="c++", argv=("c",))
    with trio.fail_after(60):
        async with desk([plus, DB]) as asked:
            answer = await asked.ask("GET", '/programs?{"op":"component","arg":"c++"}')
            assert answer.tags == ["c++"]
            encoded = quote('{"op": "component", "arg": "c++"}', safe="").replace("%20", "+")
            assert (await asked.ask("GET", f"/programs?selector={encoded}")).tags == ["c++"]


async def test_a_tag_in_the_path_names_components_alone(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, ONE, TWO]) as asked:
            assert (await asked.ask("GET", "/programs/db")).tags == ["db"]
            assert (await asked.ask("GET", "/programs/w")).tags == ["w:1", "w:2"]
            assert (await asked.ask("GET", "/programs/w%3A1")).tags == ["w:1"]
            assert (await asked.ask("GET", "/programs/db/stdout")).json == []


async def test_connections_are_rows_with_the_tag_of_their_listener(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([ECHO]) as asked:
            asked.home.system.connect(PORT)
            await asked.home.rest()
            rows = (await asked.ask("GET", "/programs/echo")).json
            assert [(row["tag"], row["status"]) for row in rows] == [
                ("echo", "listener"),
                ("echo", "running"),
            ]
            assert rows[1]["peer"] == "127.0.0.1:4711"


async def test_a_listing_can_be_cut_sorted_and_picked_from(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB, OFF]) as asked:

            async def rows(query: str) -> Any:
                return (await asked.ask("GET", f"/programs?{query}")).json

            assert await rows("fields=tag,PID&max=1") == [{"tag": "db", "PID": asked.pid("db")}]
            assert await rows("fields=tag&offset=1&max=1") == [{"tag": "web"}]
            assert await rows('fields=tag&sort={"tag":-1}') == [
                {"tag": "web"},
                {"tag": "off"},
                {"tag": "db"},
            ]
            assert await rows('fields=tag,status&sort={"status":1,"tag":-1}') == [
                {"tag": "web", "status": "running"},
                {"tag": "db", "status": "running"},
                {"tag": "off", "status": "stopped"},
            ]
            assert (await rows('fields=tag&sort={"PID":-1}'))[-1] == {"tag": "off"}
            assert await rows("fields=blocked-by.type&offset=2") == [
                {"blocked-by": {"type": "disabled"}}
            ]
            (without,) = await rows("exclude-fields=blocked-by.message,argv&offset=2")
            assert without["blocked-by"] == {"type": "disabled", "until": None}
            assert "argv" not in without
            pretty = await asked.ask("GET", "/programs?fields=tag&max=1&pretty=true")
            assert pretty.body == b'[\n  {\n    "tag": "db"\n  }\n]\n'


async def test_usage_is_of_those_that_have_processes(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, OFF]) as asked:
            db, off = (await asked.ask("GET", "/programs?usage=true")).json
            # The simulated children have PIDs that no process of this machine need have.
            assert db["cpu"]["percent"] is None
            assert db["memory"].keys() == {"rss", "vms"}
            assert "cpu" not in off


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("{", "not JSON"),
        ('{"op":"nonsense"}', "$.op"),
        ('{"op":"status","arg":"well"}', "$.arg"),
        ("hello", "not JSON"),
        ("%ff", "not UTF-8"),
        ('{"op":"not","arg":' * 64 + "true" + "}" * 64, "more than 64 levels"),
        ("selector=%ff", "not UTF-8"),
        ("query={}", "not supported yet"),
        ("dry_run=true", "means nothing here"),
        ("field=tag", "Did you mean 'fields'?"),
        ("fields=tag&fields=tag", "twice"),
        ("true&selector=true", "twice"),
        ("max=-1", "a whole number"),
        ("max=x", "a whole number"),
        ("max=¹".encode().decode("latin-1"), "a whole number"),
        ("usage=perhaps", "true or false"),
        ("sort=tag", "expected an object"),
        ('sort={"tag":2}', "expected an object"),
    ],
)
async def test_a_query_that_means_nothing_is_refused_with_the_reason(
    query: str, what: str, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            encoded = query.encode("latin-1").decode("latin-1")
            answer = await asked.ask(
                "GET", f"/programs?{quote(encoded, safe='%={}&', encoding='latin-1')}"
            )
            assert answer.status == 400
            assert what in message(answer)


# --- orders


@pytest.mark.parametrize(
    ("method", "target", "body", "action"),
    [
        ("PUT", "/programs/db", b"", "start"),
        ("DELETE", "/programs/db", b"", "stop"),
        ("POST", "/programs/db", b"", "restart"),
        ("PUT", '/programs?{"op":"component","arg":"db"}', b"", "start"),
        ("DELETE", '/programs?selector={"op":"component","arg":"db"}', b"", "stop"),
        ("POST", "/programs", {"op": "component", "arg": "db"}, "restart"),
    ],
)
async def test_methods_are_orders(
    method: str, target: str, body: Any, action: str, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            answer = await asked.ask(method, target, body)
            assert (answer.status, answer.json) == (200, OK)
            wishes = {
                key: state.wish for key, state in asked.home.runner.engine.world.states.items()
            }
            assert wishes["db"] is not None
            assert (wishes["db"].action, wishes["db"].by) == (action, ROOT.name)
            assert wishes["web"] is None


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
async def test_an_order_without_a_selector_is_not_an_order_to_everything(
    method: str, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            pid = asked.pid("db")
            answer = await asked.ask(method, "/programs")
            assert answer.status == 400
            assert "there is no selector" in message(answer)
            assert asked.pid("db") == pid


async def test_a_selector_that_is_wrong_somewhere_touches_nothing(autojump_clock: Clock) -> None:
    body = {"op": "or", "arg": [True, {"op": "status", "arg": "dead"}]}
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            pid = asked.pid("db")
            answer = await asked.ask("POST", "/programs", body)
            assert answer.status == 400
            assert "$.arg[1].arg" in message(answer)
            assert asked.pid("db") == pid


async def test_wait_answers_when_it_has_settled_and_504_when_it_has_not(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB], deaf) as asked:
            late = await asked.ask("DELETE", "/programs/db?wait=1.5")
            assert late.status == 504
            assert "cannot wait longer than 1.5 s: not settled: db: its dependents stop first" in (
                message(late)
            )
            done = await asked.ask("DELETE", "/programs/db?wait=30")
            assert (done.status, done.json) == (200, OK)
            assert asked.status("db") == "stopped"


@pytest.mark.parametrize("wait", ["x", "-1", "nan", "inf", "-0.1", "1e999", "1,5"])
async def test_a_time_to_wait_that_is_none_is_refused_and_nothing_is_done(
    wait: str, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            answer = await asked.ask("DELETE", f"/programs/db?wait={wait}")
            assert answer.status == 400
            assert asked.status("db") == "running"


async def test_nobody_waits_longer_than_an_hour(autojump_clock: Clock) -> None:
    with trio.fail_after(5000):
        async with desk(
            [DB], lambda home: home.system.scripts.update(db=Script(delayed=True))
        ) as asked:
            begun = trio.current_time()
            answer = await asked.ask("PUT", "/programs/db?wait=1e9")
            assert answer.status == 504
            assert trio.current_time() - begun == pytest.approx(3600)


async def test_a_rehearsal_gives_a_token_that_later_makes_sure(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            rehearsal = await asked.ask("DELETE", "/programs/db?dry-run=true")
            assert rehearsal.status == 200
            assert rehearsal.json["plan"] == [
                {"tag": "web", "action": "stop", "because": "the stop of db needs it"},
                {"tag": "db", "action": "stop", "because": "a stop was asked for"},
            ]
            assert asked.status("db") == "running"
            quoted = {"If-Match": f'"{rehearsal.json["token"]}"'}
            asked.home.system.exit("web", 1)
            await asked.home.rest()
            kept = await asked.ask("DELETE", "/programs/db", headers=quoted)
            assert (kept.status, kept.json) == (200, OK), "web was not matched"
            again = await asked.ask("DELETE", "/programs/db", headers=quoted)
            assert again.status == 409
            assert "cannot do what was rehearsed" in message(again)


async def test_orders_are_for_administrators_and_errors_say_who_may(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            for method in ("PUT", "DELETE", "POST"):
                answer = await asked.ask(method, "/programs/db", peer=GUEST)
                assert answer.status == 403
                assert "a guest has no right to it" in message(answer)
            assert (await asked.ask("GET", "/programs", peer=GUEST)).status == 200


@pytest.mark.parametrize(
    "target", ["/programs", "/alive/db", "/instance", "/v1/components", "/nonsense", "/conf/files"]
)
async def test_a_stranger_learns_nothing_at_all(target: str, autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            assert (await asked.ask("GET", target, peer=STRANGER)).status == 403
            unnamed = await asked.ask("GET", target, peer=Caller("x"))
            assert unnamed.status == 403


# --- the instance


async def test_the_instance_tells_what_pies_tells(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            answer = await asked.ask("GET", "/instance")
            assert answer.json == {
                "PID": 42,
                "argv": ["piesd", "-c", "/etc/piesd"],
                "binary": "/usr/bin/python3",
                "instance": "tested",
                "package": "piesd",
                "version": "1.2.3",
            }
            assert (await asked.ask("GET", "/instance/argv")).json == {
                "argv": ["piesd", "-c", "/etc/piesd"]
            }
            assert (await asked.ask("GET", "/instance/color")).status == 404


@pytest.mark.parametrize("key", ["PID", "42"])
async def test_to_delete_the_pid_is_to_shut_down(key: str, autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            answer = await asked.ask("DELETE", f"/instance/{key}")
            assert (answer.status, answer.json) == (200, OK)
            await asked.home.runner.ended.wait()
            assert asked.hooked == []


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_to_put_the_pid_is_to_be_executed_anew(method: str, autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            assert (await asked.ask(method, "/instance/PID")).json == OK
            assert asked.hooked == ["reexec"]
            refused = await asked.ask(method, "/instance/PID")
            assert refused.status == 409


@pytest.mark.parametrize("key", ["43", "argv", "pid"])
async def test_another_instance_is_not_found(key: str, autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            assert (await asked.ask("DELETE", f"/instance/{key}")).status == 404
            assert asked.home.runner.engine.stage is Stage.NORMAL


# --- the configuration


async def test_a_file_without_a_syntax_is_listed_with_that_of_its_name(
    autojump_clock: Clock,
) -> None:
    names = {"/etc/pies.conf": "pies", "/etc/inetd.conf": "inetd", "x.toml": "toml", "/etc/d": ""}
    with trio.fail_after(60):
        async with desk([DB], files=[SourceFile(name, "") for name in names]) as asked:
            listed = (await asked.ask("GET", "/conf/files")).json
            assert {each["file"]: each["syntax"] for each in listed} == names


async def test_a_file_of_an_unknown_syntax_is_not_added(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            refused = await asked.ask("POST", "/conf/files", {"file": "/x", "syntax": "ini"})
            assert refused.status == 400
            assert refused.json["message"] == (
                "cannot add '/x': unknown syntax 'ini'. Known: toml, pies, inetd, inittab."
            )
            assert (await asked.ask("GET", "/conf/files")).json == []


async def test_the_list_of_files(autojump_clock: Clock) -> None:
    one = {"file": "/etc/one.toml", "syntax": "toml"}
    two = {"file": "/etc/two.conf", "syntax": "pies"}
    with trio.fail_after(60):
        async with desk([DB], files=[SourceFile("/etc/one.toml", "toml")]) as asked:
            assert (await asked.ask("GET", "/conf/files")).json == [one]
            added = await asked.ask("POST", "/conf/files", two)
            assert (added.status, added.json) == (201, OK)
            assert (await asked.ask("GET", "/conf/files")).json == [one, two]
            names = quote(json.dumps(["/etc/one.toml"]), safe="")
            removed = await asked.ask("DELETE", f"/conf/files/{names}")
            assert (removed.status, removed.json) == (200, OK)
            missing = await asked.ask("DELETE", '/conf/files/["/etc/one.toml"]')
            assert missing.status == 404
            cleared = await asked.ask("DELETE", "/conf/files/true")
            assert cleared.json == {"status": "OK", "message": "file list cleared"}
            assert (await asked.ask("GET", "/conf/files")).json == []


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/conf/files", b""),
        ("POST", "/conf/files", b"{"),
        ("POST", "/conf/files", b"\xff"),
        ("POST", "/conf/files", {"file": 1, "syntax": "toml"}),
        ("POST", "/conf/files", {"file": "/x", "sintax": "toml"}),
        ("POST", "/conf/files", {"file": "", "syntax": "toml"}),
        ("POST", "/conf/files", {"file": "x.toml", "syntax": "toml"}),
        ("DELETE", "/conf/files/false", b""),
        ("DELETE", "/conf/files/x", b""),
        ("DELETE", "/conf/files/[1]", b""),
        ("DELETE", "/conf/files/[]", b""),
        ("PUT", "/conf/runtime", {"reload": False}),
        ("PUT", "/conf/runtime", {"reload": "yes"}),
        ("PUT", "/conf/runtime", {"relaod": True}),
        ("PUT", "/conf/runtime", {"reload": True, "max-restarts": -1}),
        ("PUT", "/conf/runtime?dryrun=true", b""),
    ],
)
async def test_what_cannot_be_understood_is_refused(
    method: str, target: str, body: Any, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with desk([DB], files=[SourceFile("/etc/one.toml", "toml")]) as asked:
            answer = await asked.ask(method, target, body)
            assert answer.status == 400
            assert message(answer).startswith("cannot ")
            assert len(asked.control.files(ROOT)) == 1
            assert not asked.disk.read


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/conf/runtime", b""),
        ("/conf/runtime", {"reload": True}),
        ("/conf/runtime", {"reload": True, "max-restarts": 9}),
        ('/conf/runtime/{"reload":true}', b""),
    ],
)
async def test_a_reload_answers_with_what_it_changed(
    target: str, body: Any, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            asked.disk.write(Component(tag="db", argv=("db", "2")), WEB)
            answer = await asked.ask("PUT", target, body)
            assert answer.status == 200
            assert answer.json.keys() == {"status", "message", "changes"}
            assert (answer.json["status"], answer.json["message"]) == ("OK", "1 to restart")
            (change,) = answer.json["changes"]
            assert (change["tag"], change["action"], change["dependents"]) == (
                "db",
                "restart",
                ["web"],
            )
            assert "command" in change["keys"]
            again = await asked.ask("PUT", "/conf/runtime?all=true")
            assert [each["action"] for each in again.json["changes"]] == ["none", "none"]


async def test_a_reload_can_be_rehearsed_and_bounded(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            pid = asked.pid("db")
            asked.disk.write(Component(tag="db", argv=("db", "2")), WEB)
            rehearsed = await asked.ask("PUT", "/conf/runtime?dry-run=true")
            assert [each["tag"] for each in rehearsed.json["changes"]] == ["db"]
            refused = await asked.ask("PUT", "/conf/runtime", {"max-restarts": 1})
            assert refused.status == 409
            assert asked.pid("db") == pid


async def test_a_configuration_with_problems_is_refused_with_all_of_them(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            asked.disk.error = ConfigRejected(
                [Problem("a.toml", 3, "user", "no such user"), Problem("b.toml", 0, "", "empty")]
            )
            answer = await asked.ask("PUT", "/conf/runtime")
            assert answer.status == 400
            assert message(answer).splitlines() == [
                "cannot use the configuration: 2 problems",
                "a.toml:3: user: no such user",
                "b.toml: empty",
            ]


async def test_a_restart_tells_that_the_files_are_newer(
    autojump_clock: Clock, tmp_path: Path
) -> None:
    file = tmp_path / "a.toml"
    file.write_text("one")
    with trio.fail_after(60):
        async with desk([DB], files=[SourceFile(str(file), "")]) as asked:
            file.write_text("other")
            answer = await asked.ask("POST", "/programs/db")
            assert answer.json == {
                "status": "OK",
                "message": ("the configuration has changed since it was read; run config reload"),
            }


# --- alive


async def test_alive_is_in_the_status_of_the_answer(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, OFF]) as asked:
            for method in ("GET", "HEAD"):
                assert (await asked.ask(method, "/alive/db")).status == 200
                off = await asked.ask(method, "/alive/off")
                assert off.status == 503
                assert "retry-after" not in off.headers
                assert (await asked.ask(method, "/alive/nobody")).status == 404
                assert (await asked.ask(method, "/alive/a/b")).status == 404
                assert (await asked.ask(method, "/alive/")).status == 403
                assert (await asked.ask(method, "/alive")).status == 403
            asked.home.system.exit("db", 1)
            await asked.home.rest()
            asleep = await asked.ask("GET", "/alive/db")
            assert (asleep.status, asleep.headers["retry-after"]) == (503, "300")
            assert (await asked.ask("DELETE", "/alive/db")).status == 405


# --- what does not exist


@pytest.mark.parametrize(
    "target",
    ["/", "/runlevels", "/favicon.ico", "/v2", "/v1x"],
)
async def test_what_does_not_exist_is_said_as_pies_says_it(
    target: str, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            answer = await asked.ask("GET", target)
            assert answer.status == 404
            assert message(answer) == f"The resource with id '{target}' was not found"


async def test_a_method_that_means_nothing_is_refused_with_those_that_do(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            answer = await asked.ask("PATCH", "/programs")
            assert answer.status == 405
            assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, POST, PUT"
            assert message(answer) == (
                "The specified HTTP method is not allowed for the requested resource"
            )


async def test_a_fault_of_ours_tells_the_client_nothing_about_it(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("the secret of the house")

    monkeypatch.setattr(pies, "arrange", broken)
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            answer = await asked.ask("GET", "/programs")
            assert answer.status == 500
            assert message(answer) == "A problem occurred while processing the request"
            assert b"secret" not in answer.body
            assert "the secret of the house" in caplog.text
            assert (await asked.ask("GET", "/instance")).status == 200
