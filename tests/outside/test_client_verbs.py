"""piesctl against a daemon with canned answers: what it asks, says, and ends with."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from canned_piesd import Answer, CannedPiesd, canned_piesd, stale_socket
from supervisor.cli.codes import Code
from supervisor.cli.piesctl import COMMAND, main

pytestmark = pytest.mark.real

SCHEMA = json.loads(files("supervisor.cli").joinpath("output.schema.json").read_text())

WEB = {
    "tag": "web",
    "type": "component",
    "mode": "respawn",
    "status": "running",
    "active": True,
    "PID": 4711,
    "argv": ["httpd", "-f"],
    "command": "httpd -f",
    "blocked-by": None,
    "ready": True,
    "uptime": 125.4,
    "restarts": 2,
    "last-exit": {"code": 1, "message": "exited with 1", "at": "2026-01-02T03:04:05Z"}
    | {"lasted": 1.0, "cpu": 0.1, "peak": 1024},
    "prerequisites": ["db"],
    "generation": 3,
}
DB = {
    "tag": "db",
    "type": "component",
    "mode": "respawn",
    "status": "sleeping",
    "active": True,
    "wakeup-time": 290,
    "command": "postgres -D /var/lib/db",
    "blocked-by": {"type": "sleeping", "message": "it sleeps: too many starts", "until": None},
    "generation": 11,
    "restarts": 10,
}
ECHO = {
    "tag": "echo",
    "type": "component",
    "mode": "inetd",
    "status": "listener",
    "active": True,
    "URL": "inet+tcp://127.0.0.1:7007",
    "uptime": 3.0,
    "ready": True,
    "command": "cat",
}
CHANGES = [
    {
        "tag": "web",
        "action": "restart",
        "keys": ["env", "chdir"],
        "dependents": ["proxy"],
        "because": "env and chdir need a new child",
    },
    {"tag": "db", "action": "none", "keys": [], "dependents": [], "because": "nothing changed"},
]
WHY = {
    "tag": "db",
    "status": "sleeping",
    "summary": "db sleeps: 10 starts within 120 s were too many",
    "blocked-by": {"type": "sleeping", "message": "it sleeps", "until": None},
    "gates": [
        {"gate": "disabled", "open": True},
        {"gate": "asleep", "open": False, "message": "it sleeps for another 290 s"},
    ],
    "last-exit": {"message": "exited with 1", "at": "2026-01-02T03:04:05Z"},
    "wish": {"action": "start", "by": "root", "at": "2026-01-02T03:00:00Z"},
    "drift": ["/etc/piesd/db.toml"],
}
PLAN = [{"tag": "web", "action": "stop", "because": "a stop was asked for"}]
LISTING = """\
TAG   STATUS    PID/URL                    UPTIME  RESTARTS  WHY                                   COMMAND
web   running   4711                        2m05s         2  last: exited with 1                   httpd -f
db    sleeping  -                               -        10  sleeps: too many starts (4m50s left)  postgres -D /var/lib/db
echo  listener  inet+tcp://127.0.0.1:7007      3s         0  -                                     cat
"""  # noqa: E501
COMPONENT_WEB = {"op": "component", "arg": "web"}


@dataclass
class Ended:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Piesctl:
    """Runs command lines against one daemon, as text and as JSON."""

    def __init__(self, canned: CannedPiesd, capsys: pytest.CaptureFixture[str]) -> None:
        self.canned, self._capsys = canned, capsys

    def __call__(self, *words: str) -> Ended:
        code = main(["--url", self.canned.url, *words])
        out, err = self._capsys.readouterr()
        return Ended(code, out, err)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    for name in ("PIESD_URL", "PIESD_INSTANCE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def canned(tmp_path: Path) -> Iterator[CannedPiesd]:
    with canned_piesd(tmp_path / "piesd.ctl") as canned:
        rows = [WEB, DB, ECHO]
        canned.on("GET /programs", rows)
        for method in ("PUT", "DELETE", "POST"):
            canned.on(f"{method} /programs")
        canned.on("PUT /v1/components")
        canned.on("GET /v1/plan", envelope([]))
        canned.on(
            "GET /instance",
            {
                "PID": 1,
                "argv": ["piesd", "-c", "x"],
                "binary": "/bin/piesd",
                "instance": "piesd",
                "package": "piesd",
                "version": "0.1.0",
            },
        )
        canned.on("GET /v1/diag/why/db", WHY)
        canned.on("GET /alive/web")
        canned.on("GET /conf/files", [{"file": "/etc/piesd/piesd.toml", "syntax": "toml"}])
        canned.on(
            "PUT /conf/runtime", {"status": "OK", "message": "1 restarted", "changes": CHANGES}
        )
        canned.on("DELETE /instance/PID")
        canned.on("PUT /instance/PID")
        canned.on("GET /v1/components/web/log", b"one\ntwo\n")
        canned.on("GET /v1/events", sse(EVENT))
        canned.on("GET /runlevel", RUNLEVEL)
        canned.on('PUT /runlevel/{"runlevel":"3"}')
        canned.on("GET /environ/", ["PATH=/bin", "RUNLEVEL=2"])
        canned.on("PUT /environ/A=b", {"status": "OK", "value": "b"})
        canned.on("DELETE /environ/A")
        yield canned


RUNLEVEL = {"runlevel": "2", "prevlevel": "N", "bootstate": "normal", "initdefault": ""}
EVENT = {
    "id": 41,
    "at": "2026-01-02T03:04:05.678Z",
    "tag": "web",
    "kind": "started",
    "level": "info",
    "text": "'web' started, PID 4711",
}


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(
        f"id: {event['id']}\nevent: {event['kind']}\ndata: {json.dumps(event)}\n\n".encode()
        for event in events
    )


@pytest.fixture
def piesctl(canned: CannedPiesd, capsys: pytest.CaptureFixture[str]) -> Piesctl:
    return Piesctl(canned, capsys)


def envelope(results: list[Any]) -> dict[str, Any]:
    count = len(results)
    return {"totalCount": count, "matchCount": count, "resultCount": count, "results": results}


def valid(name: str, value: Any) -> None:
    jsonschema.validate(value, {**SCHEMA, "$ref": f"#/$defs/{name}"})


# --- list and id


def test_list_shows_a_row_for_each_component_with_the_reason_why_it_is_down(
    piesctl: Piesctl,
) -> None:
    ended = piesctl("list")
    assert ended.code == Code.DONE
    assert ended.out == LISTING


def test_list_sends_the_selector_in_the_form_that_pies_reads(piesctl: Piesctl) -> None:
    piesctl("list", "status", "running", "and", "not", "mode", "inetd")
    (asked,) = piesctl.canned.asked
    assert (asked.method, asked.path) == ("GET", "/programs")
    assert json.loads(asked.query) == {
        "op": "and",
        "arg": [
            {"op": "status", "arg": "running"},
            {"op": "not", "arg": {"op": "mode", "arg": "inetd"}},
        ],
    }


@pytest.mark.parametrize(
    ("words", "selector"),
    [
        (["web"], COMPONENT_WEB),
        (["component web"], COMPONENT_WEB),
        (['{"op":"component","arg":"web"}'], COMPONENT_WEB),
        (["true"], True),
        (["false"], False),
        (["null"], False),
        (["glob", "*.d"], {"op": "glob", "arg": "*.d"}),
        (["glob", "a b*"], {"op": "glob", "arg": "a b*"}),
        (["label", "tier=web"], {"op": "label", "arg": {"tier": "web"}}),
        (
            ["not", "(active or status stopped)"],
            {
                "op": "not",
                "arg": {"op": "or", "arg": [{"op": "active"}, {"op": "status", "arg": "stopped"}]},
            },
        ),
    ],
    ids=str,
)
def test_a_selector_may_be_words_one_text_or_json(
    piesctl: Piesctl, words: list[str], selector: Any
) -> None:
    assert piesctl("list", *words).code == Code.DONE
    assert piesctl.canned.asked[-1].selector == selector


@pytest.mark.parametrize(
    ("words", "place"),
    [(["status", "runing"], "column 8"), (['{"op":"sttus"}'], "$.op"), (["("], "column 2")],
    ids=str,
)
def test_a_selector_that_means_nothing_is_a_usage_error_with_its_place_and_asks_nothing(
    piesctl: Piesctl, words: list[str], place: str
) -> None:
    ended = piesctl("stop", *words)
    assert ended.code == Code.USAGE
    assert place in ended.err
    assert piesctl.canned.asked == []


def test_list_of_chosen_fields_asks_for_them_and_shows_just_them(piesctl: Piesctl) -> None:
    ended = piesctl("list", "--fields", "tag,last-exit.code")
    assert piesctl.canned.asked[-1].parameters == {
        "selector": "true",
        "fields": "tag,last-exit.code",
    }
    assert ended.out.splitlines() == [
        "tag   last-exit.code",
        "web   1",
        "db    -",
        "echo  -",
    ]


def test_list_with_usage_adds_processor_and_memory(piesctl: Piesctl) -> None:
    piesctl.canned.on("GET /programs", [{**WEB, "cpu": 12.5, "memory": {"rss": 3 * 2**20}}])
    ended = piesctl("list", "--usage")
    assert piesctl.canned.asked[-1].parameters["usage"] == "true"
    assert "12.5" in ended.out
    assert "3.0M" in ended.out


def test_an_empty_list_says_so_on_standard_error_and_is_no_failure(piesctl: Piesctl) -> None:
    piesctl.canned.on("GET /programs", [])
    ended = piesctl("list", "none")
    assert (ended.code, ended.out) == (Code.DONE, "")
    assert "nothing matches" in ended.err


def test_id_prints_the_attributes_in_the_order_of_pies(piesctl: Piesctl) -> None:
    assert piesctl("id").out == (
        "package: piesd\nversion: 0.1.0\ninstance: piesd\nbinary: /bin/piesd\n"
        "argv: piesd -c x\nPID: 1\n"
    )
    assert piesctl("id", "PID", "version").out == "PID: 1\nversion: 0.1.0\n"
    assert piesctl("id", "colour").code == Code.USAGE


# --- orders


@pytest.mark.parametrize(
    ("words", "method", "path"),
    [
        (["start"], "PUT", "/programs"),
        (["stop"], "DELETE", "/programs"),
        (["restart"], "POST", "/programs"),
        (["reset"], "PUT", "/v1/components"),
        (["signal", "hup"], "PUT", "/v1/components"),
    ],
    ids=str,
)
def test_an_order_goes_to_the_endpoint_of_its_kind_with_its_selector(
    piesctl: Piesctl, words: list[str], method: str, path: str
) -> None:
    piesctl.canned.on("GET /programs", [WEB])
    ended = piesctl(*words, "web")
    (asked,) = piesctl.canned.orders
    assert (asked.method, asked.path, asked.selector) == (method, path, COMPONENT_WEB)
    assert asked.headers["Content-Type"] == "application/json"
    assert ended.code == Code.DONE
    assert ended.out == f"{' '.join(words).replace('hup', 'HUP')}: web\n"


def test_stop_and_start_without_options_put_the_bare_selector_into_the_query(
    piesctl: Piesctl,
) -> None:
    piesctl("stop", "web")
    assert json.loads(piesctl.canned.orders[-1].query) == COMPONENT_WEB


@pytest.mark.parametrize("name", ["HUP", "sighup", "SIGHUP", "1"])
def test_a_signal_may_be_written_in_every_usual_way(piesctl: Piesctl, name: str) -> None:
    piesctl("signal", name, "all")
    assert piesctl.canned.orders[-1].parameters == {"action": "signal/HUP", "selector": "true"}


def test_an_unknown_signal_is_a_usage_error(piesctl: Piesctl) -> None:
    ended = piesctl("signal", "web", "HUP")
    assert ended.code == Code.USAGE
    assert "'web' is no signal; the signal stands before the selector" in ended.err
    assert piesctl.canned.asked == []


@pytest.mark.parametrize("action", ["start", "stop", "restart"])
def test_wait_and_the_token_are_sent_along(piesctl: Piesctl, action: str) -> None:
    ended = piesctl(action, "web", "--wait", "30", "--if-match", "t0ken")
    (asked,) = piesctl.canned.orders
    assert asked.parameters["wait"] == "30"
    assert asked.headers["If-Match"] == "t0ken"
    assert asked.selector == COMPONENT_WEB
    assert ended.code == Code.DONE


def test_an_order_without_a_selector_is_refused_and_touches_nothing(piesctl: Piesctl) -> None:
    assert piesctl("stop").code == Code.USAGE
    assert piesctl.canned.asked == []


def test_what_has_not_settled_in_time_is_exit_code_4_with_the_daemons_words(
    piesctl: Piesctl,
) -> None:
    text = "cannot wait longer than 1 s: not settled: web (stopping)"
    piesctl.canned.on("DELETE /programs", {"status": "ER", "message": text}, 504)
    ended = piesctl("stop", "web", "--wait", "1")
    assert ended.code == Code.NOT_SETTLED
    assert text in ended.err


@pytest.mark.parametrize("status", [400, 403, 404, 409, 500])
def test_what_the_daemon_refuses_is_exit_code_1_with_the_daemons_words(
    piesctl: Piesctl, status: int
) -> None:
    piesctl.canned.on("PUT /programs", {"status": "ER", "message": "cannot do that"}, status)
    ended = piesctl("start", "web")
    assert (ended.code, ended.err) == (Code.REFUSED, "piesctl: cannot do that\n")


def test_errors_of_the_v1_family_show_what_is_wrong_and_what_to_do(piesctl: Piesctl) -> None:
    body = {"messages": ["cannot reset", "try later"], "code": "shutting-down"}
    piesctl.canned.on("PUT /v1/components", body, 409)
    ended = piesctl("reset", "web")
    assert (ended.code, ended.err) == (Code.REFUSED, "piesctl: cannot reset\npiesctl: try later\n")
    failed = piesctl("--json", "reset", "web")
    valid("error", failed.json)
    assert failed.json["code"] == "shutting-down"


def test_an_order_that_matches_nothing_says_so_and_fails_only_if_asked_to(
    piesctl: Piesctl,
) -> None:
    piesctl.canned.on("GET /programs", [])
    ended = piesctl("stop", "wbe")
    assert (ended.code, ended.out, ended.err) == (Code.DONE, "", "piesctl: nothing matches\n")
    assert piesctl("stop", "wbe", "--fail-empty").code == Code.REFUSED


def test_a_dry_run_shows_the_steps_and_the_token_and_orders_nothing_else(
    piesctl: Piesctl,
) -> None:
    piesctl.canned.on("DELETE /programs", {"status": "OK", "plan": PLAN, "token": "abc123"})
    ended = piesctl("stop", "web", "--dry-run")
    (asked,) = piesctl.canned.orders
    assert asked.parameters["dry-run"] == "true"
    assert ended.out == ("ACTION  TAG  BECAUSE\nstop    web  a stop was asked for\ntoken: abc123\n")


def test_many_matches_are_counted_and_not_all_named(piesctl: Piesctl) -> None:
    rows = [{"tag": f"web:{number}", "generation": 1} for number in range(1000)]
    piesctl.canned.on("GET /programs", rows)
    ended = piesctl("start", "all")
    assert ended.out.startswith("start: 1000 components (web:0 ")
    assert len(ended.out) < 200


def test_a_restart_with_edited_files_warns_and_has_its_own_exit_code(piesctl: Piesctl) -> None:
    piesctl.canned.on("GET /programs", [WEB])
    piesctl.canned.on("GET /v1/plan", envelope(CHANGES))
    ended = piesctl("restart", "web")
    assert ended.code == Code.OUTDATED
    assert "web" in ended.err
    assert "config plan" in ended.err
    assert piesctl("--json", "restart", "web").json["outdated"] == ["web"]


def test_a_restart_of_what_the_edit_does_not_touch_is_plainly_done(piesctl: Piesctl) -> None:
    piesctl.canned.on("GET /programs", [DB])
    piesctl.canned.on("GET /v1/plan", envelope(CHANGES))
    assert piesctl("restart", "db").code == Code.DONE


def test_a_restart_is_done_whatever_is_wrong_with_the_files(piesctl: Piesctl) -> None:
    piesctl.canned.on("GET /v1/plan", {"messages": ["bad"], "code": "config-rejected"}, 400)
    ended = piesctl("restart", "web")
    assert ended.code == Code.DONE
    assert "the configuration files have problems" in ended.err


# --- why, alive, explain


def test_why_tells_the_summary_the_last_exit_and_every_gate(piesctl: Piesctl) -> None:
    assert piesctl("why", "db").out == (
        "db sleeps: 10 starts within 120 s were too many\n"
        "  last exit: exited with 1, at 03:04:05\n"
        "  last order: start by root, at 03:00:00\n"
        "  edited since it was read (piesctl config plan): /etc/piesd/db.toml\n"
        "  ok  disabled\n"
        "  no  asleep: it sleeps for another 290 s\n"
    )


@pytest.mark.parametrize(
    ("status", "text", "code"),
    [(200, "web: up", 0), (503, "web: down, next try in 12 s", 1), (404, "web: unknown", 1)],
)
def test_alive_is_an_exit_code_and_a_word(
    piesctl: Piesctl, status: int, text: str, code: int
) -> None:
    headers = {"Retry_After": "12"} if status == 503 else {}
    answer = {"status": "OK"} if status == 200 else {"status": "ER", "message": "web is not up"}
    piesctl.canned.on("GET /alive/web", answer, status, **headers)
    ended = piesctl("alive", "web")
    assert (ended.code, ended.out) == (code, text + "\n")


def test_explain_shows_the_json_the_tree_and_the_deciding_leaf_of_each_component(
    piesctl: Piesctl,
) -> None:
    ended = piesctl("explain", "status", "running", "and", "not", "component", "db")
    json_line, *rest = ended.out.splitlines()
    assert json.loads(json_line)["op"] == "and"
    assert rest[:4] == ["and", "├─ status running", "└─ not", "   └─ component db"]
    table = {line.split()[0]: line for line in rest[5:]}
    assert table["web"].split()[1] == "yes"
    assert table["db"].split()[1] == "no"
    assert "status running" in table["db"]
    assert "its status is 'sleeping'" in table["db"]


def test_explain_needs_no_daemon_for_the_selector_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--url", f"unix://{tmp_path}/none", "explain", "active"])
    assert code == Code.UNREACHABLE
    assert capsys.readouterr().out == '{"op": "active"}\nactive\n'


# --- logs and events


def test_log_writes_the_lines_untouched_into_a_pipe(
    canned: CannedPiesd, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    text = b"\x1b[31mred\x1b[0m\xff\r\nlast without end"
    canned.on("GET /v1/components/web/log", text)
    main(["--url", canned.url, "log", "web", "-n", "5", "--stream", "stderr"])
    assert capfdbinary.readouterr().out == text + b"\n"
    assert canned.asked[-1].parameters == {"tail": "5", "stream": "stderr"}


def test_following_a_log_shows_each_line_of_the_stream(piesctl: Piesctl) -> None:
    stream = b": hello\n\nevent: stdout\ndata: one\n\nevent: stderr\ndata:  two\n\n"
    piesctl.canned.on("GET /v1/components/web/log", stream)
    assert piesctl("log", "-f", "web").out == "one\n two\n"
    assert piesctl.canned.asked[-1].parameters == {"tail": "100", "follow": "true"}
    lines = [json.loads(line) for line in piesctl("--json", "log", "-f", "web").out.splitlines()]
    assert lines == [
        {"stream": "stdout", "line": "one"},
        {"stream": "stderr", "line": " two"},
    ]


def test_the_log_of_an_unknown_component_is_refused(piesctl: Piesctl) -> None:
    for words in (["log", "wbe"], ["log", "-f", "wbe"], ["why", "wbe"]):
        ended = piesctl(*words)
        assert ended.code == Code.REFUSED
        assert "was not found" in ended.err


def test_events_for_programs_are_shown_when_asked_for_and_in_json(piesctl: Piesctl) -> None:
    piesctl.canned.on("GET /v1/events", sse({**EVENT, "level": "debug"}))
    assert piesctl("events").out == ""
    assert "web" in piesctl("events", "-v").out
    assert piesctl("events", "--json").json["id"] == 41


def test_what_is_up_has_passed_its_gates_and_does_not_show_them(piesctl: Piesctl) -> None:
    piesctl.canned.on("GET /v1/diag/why/db", {**WHY, "blocked-by": None, "drift": []})
    assert "asleep" not in piesctl("why", "db").out


def test_events_are_shown_one_a_line(piesctl: Piesctl) -> None:
    ended = piesctl("events", "--since", "40")
    assert ended.out == "03:04:05  41  'web' started, PID 4711\n"
    assert piesctl.canned.asked[-1].parameters == {"follow": "false", "since": "40"}


# --- configuration


def test_a_reload_tells_what_was_done_to_whom(piesctl: Piesctl) -> None:
    ended = piesctl("config", "reload", "--max-restarts", "3")
    assert json.loads(piesctl.canned.orders[-1].body) == {"reload": True, "max-restarts": 3}
    assert ended.out == (
        "1 restarted\n"
        "ACTION   TAG  KEYS       DEPENDENTS  BECAUSE\n"
        "restart  web  env chdir  proxy       env and chdir need a new child\n"
    )


def test_a_reload_of_bad_files_shows_every_problem_on_its_line(piesctl: Piesctl) -> None:
    text = "cannot use the configuration: 2 problems\na.toml:1: x: bad\na.toml:2: y: worse"
    piesctl.canned.on("PUT /conf/runtime", {"status": "ER", "message": text}, 400)
    ended = piesctl("config", "reload")
    assert ended.code == Code.REFUSED
    assert ended.err.splitlines() == [f"piesctl: {line}" for line in text.splitlines()]


def test_a_plan_with_nothing_in_it_says_so(piesctl: Piesctl) -> None:
    assert piesctl("config", "plan").out == "nothing changes\n"


def test_a_rehearsed_reload_is_marked_as_one(piesctl: Piesctl) -> None:
    ended = piesctl("config", "reload", "--dry-run", "--max-restarts", "0")
    (asked,) = piesctl.canned.orders
    assert asked.parameters == {"dry-run": "true"}
    assert json.loads(asked.body) == {"reload": True, "max-restarts": 0}
    assert "restart  web" in ended.out


def test_a_reload_that_is_none_is_not_marked_as_a_rehearsal(piesctl: Piesctl) -> None:
    piesctl("config", "reload")
    assert piesctl.canned.orders[-1].target == "/conf/runtime"


def test_config_files_lists_them(piesctl: Piesctl) -> None:
    assert piesctl("config", "files").out == "/etc/piesd/piesd.toml  toml\n"


GOOD = '[component.web]\ncommand = "/bin/sleep 9"\n'
BAD = '[component.web]\ncommand = "/bin/sleep 9"\nmod = "respawn"\nstop-timeout = "soon"\n'


def test_a_check_needs_no_daemon_and_names_every_problem_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(GOOD)
    bad.write_text(BAD)
    assert main(["config", "check", str(good)]) == Code.DONE
    assert capsys.readouterr().out == "no problems: 1 component\n"
    assert main(["config", "check", str(bad)]) == Code.REFUSED
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(".toml")[2].split(": ")[0] for line in lines] == [":3", ":4"]
    for path, status in ((good, "OK"), (bad, "ER")):
        main(["--json", "config", "check", str(path)])
        answer = json.loads(capsys.readouterr().out)
        valid("config check", answer)
        assert answer["status"] == status


def test_a_check_without_files_reads_those_that_piesd_would_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.toml").write_text(GOOD)
    monkeypatch.setenv("PIESD_CONFIG", str(tmp_path))
    assert main(["config", "check"]) == Code.DONE
    monkeypatch.setenv("PIESD_CONFIG", str(tmp_path / "none"))
    assert main(["config", "check"]) == Code.REFUSED
    assert str(tmp_path / "none") in capsys.readouterr().out


# --- the machine


def test_telinit_shows_and_changes_the_runlevel(piesctl: Piesctl) -> None:
    shown = "runlevel:    2\nprevlevel:   N\nbootstate:   normal\ninitdefault:\n"
    assert piesctl("telinit", "runlevel").out == shown
    assert piesctl("telinit", "runlevel", "3").out == "asked for runlevel 3\n"
    assert piesctl.canned.orders[-1].target == "/runlevel/%7B%22runlevel%22%3A%223%22%7D"


def test_telinit_shows_and_changes_the_environment_of_init(piesctl: Piesctl) -> None:
    assert piesctl("telinit", "environ", "list").out == "PATH=/bin\nRUNLEVEL=2\n"
    assert piesctl("telinit", "environ", "set", "A=b").out == "A is set\n"
    assert piesctl("telinit", "environ", "unset", "A").out == "A is not set any more\n"
    assert piesctl("telinit", "environ", "set", "A").code == Code.USAGE
    methods = [(asked.method, asked.target) for asked in piesctl.canned.orders]
    assert methods == [("PUT", "/environ/A%3Db"), ("DELETE", "/environ/A")]


def test_a_list_shows_runlevels_where_there_are_some(piesctl: Piesctl) -> None:
    piesctl.canned.on("GET /programs", [WEB | {"runlevels": "35"}, DB])
    head, web, db = piesctl("list").out.splitlines()
    assert head.split()[:3] == ["TAG", "LEVELS", "STATUS"]
    assert web.split()[:3] == ["web", "35", "running"]
    assert db.split()[:3] == ["db", "-", "sleeping"]


# --- the daemon itself


@pytest.mark.parametrize(("verb", "method"), [("shutdown", "DELETE"), ("reboot", "PUT")])
def test_shutdown_and_reboot_are_orders_to_the_instance(
    piesctl: Piesctl, verb: str, method: str
) -> None:
    assert piesctl(verb).code == Code.DONE
    (asked,) = piesctl.canned.orders
    assert (asked.method, asked.path) == (method, "/instance/PID")


# --- JSON and the rest of what all commands promise

EVERY_VERB = [
    "id",
    "list",
    "list web",
    "start web",
    "stop web",
    "restart web",
    "reset web",
    "signal HUP web",
    "why db",
    "alive web",
    "explain active",
    "log web",
    "events",
    "config plan",
    "config reload",
    "config files",
    "shutdown",
    "reboot",
    "telinit runlevel",
    "telinit runlevel 3",
    "telinit environ list",
    "telinit environ set A=b",
    "telinit environ unset A",
    "top",
    "completion bash",
]


def _definition(line: str) -> str:
    words = line.split()
    return " ".join(words[:2]) if words[0] in ("config", "telinit") else words[0]


@pytest.mark.parametrize("line", EVERY_VERB)
def test_every_verb_answers_in_json_that_its_schema_describes(piesctl: Piesctl, line: str) -> None:
    before, after = piesctl("--json", *line.split()), piesctl(*line.split(), "--json")
    assert before.code == Code.DONE
    assert (before.out, before.code) == (after.out, after.code)
    values = [json.loads(text) for text in before.out.splitlines()]
    assert values
    for value in values:
        valid(_definition(line), value)


def test_a_rehearsed_order_answers_in_json_that_its_schema_describes(piesctl: Piesctl) -> None:
    piesctl.canned.on("PUT /programs", {"status": "OK", "plan": PLAN, "token": "abc"})
    valid("rehearsal", piesctl("start", "web", "--dry-run", "--json").json)


def test_every_verb_is_covered_here_and_has_a_schema() -> None:
    groups = ("config", "telinit")
    verbs = {name for name in COMMAND.commands if name not in groups}
    for group in groups:
        inner = COMMAND.commands[group].commands  # type: ignore[attr-defined]
        verbs |= {f"{group} {name}" for name in inner}
    assert verbs <= set(SCHEMA["$defs"])
    assert verbs - {_definition(line) for line in EVERY_VERB} <= {
        # These speak to no daemon, and the group has a test of its own.
        *("config check", "config convert", "config file", "help", "passwd"),
    }


@pytest.mark.parametrize("line", [line for line in EVERY_VERB if line != "completion bash"])
def test_every_verb_answers_in_json_when_it_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    assert main(["--json", "--url", f"unix://{tmp_path}/none", *line.split()]) == Code.UNREACHABLE
    failure = json.loads(capsys.readouterr().out)
    valid("error", failure)
    assert failure["code"] == "not-running"


def test_usage_errors_come_in_json_too(piesctl: Piesctl) -> None:
    ended = piesctl("--json", "stop")
    valid("error", ended.json)
    assert (ended.json["code"], ended.json["exit"], ended.code) == ("usage", 2, 2)


def test_text_from_elsewhere_cannot_steer_a_terminal(piesctl: Piesctl) -> None:
    evil = "a\x1b]0;owned\x07\x9b2J\nrm"
    piesctl.canned.on("GET /programs", [{**WEB, "tag": evil, "command": evil}])
    piesctl.canned.on("PUT /programs", {"status": "ER", "message": evil}, 400)
    for words in (["list"], ["start", "web"], ["--json", "list"], ["explain", "all"]):
        ended = piesctl(*words)
        assert not any(ord(char) < 32 and char != "\n" for char in ended.out + ended.err)
        assert "\x9b" not in ended.out + ended.err
    assert "\\x1b" in piesctl("list").out


def test_the_dialogue_is_shown_when_asked_for(piesctl: Piesctl) -> None:
    ended = piesctl("-v", "list")
    assert ended.err == "> GET /programs?true\n< 200 OK\n"


def test_a_fault_of_ours_is_one_line_and_no_traceback(
    piesctl: Piesctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("on\npurpose")

    monkeypatch.setattr("supervisor.client.client.Client.programs", broken)
    ended = piesctl("list")
    assert ended.code == Code.BUG
    assert ended.err.splitlines()[0] == "piesctl: cannot go on: ZeroDivisionError: on"
    assert "Traceback" not in ended.err


# --- who cannot be reached


def test_no_socket_a_stale_one_and_a_wrong_one_each_have_their_own_message_and_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with stale_socket(tmp_path / "stale"):
        cases = {
            "none": (Code.UNREACHABLE, "not-running", "piesd is not running"),
            "stale": (Code.UNREACHABLE, "stale-socket", "nobody listens on it"),
            "file": (Code.USAGE, "bad-address", "it is no socket"),
            "x" * 200: (Code.USAGE, "bad-address", "too long"),
        }
        for name, (code, word, text) in cases.items():
            path = tmp_path / name
            assert main(["--json", "--url", f"unix://{path}", "list"]) == code
            out, err = capsys.readouterr()
            assert json.loads(out)["code"] == word
            assert text in err
            assert str(path) in err


def test_a_socket_whose_queue_is_full_is_one_that_does_not_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "full.ctl")
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        with suppress(BlockingIOError):
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(path)
        assert main(["--json", "--url", path, "list"]) == Code.UNREACHABLE
        assert json.loads(capsys.readouterr().out)["code"] == "no-answer"


def test_other_instances_beside_a_missing_socket_are_named(
    canned: CannedPiesd, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--url", f"unix://{canned.path.parent}/other.ctl", "list"])
    assert "there are: piesd (--instance NAME)" in capsys.readouterr().err


def test_an_answer_that_is_not_piesds_is_told_from_no_answer(piesctl: Piesctl) -> None:
    bodies: list[Any] = [b"<html>", {"programs": []}, [1]]
    for body in bodies:
        piesctl.canned.on("GET /programs", body)
        ended = piesctl("--json", "list")
        assert (ended.code, ended.json["code"]) == (Code.UNREACHABLE, "not-piesd")


@pytest.mark.parametrize("status", [200, 400, 401, 404, 503])
@pytest.mark.parametrize("body", [b"<html>not found</html>", {"error": "x"}, [1]])
@pytest.mark.parametrize("verb", ["list", "alive web", "config file list", "stop web"])
def test_another_http_server_is_not_taken_for_a_piesd_that_refuses(
    piesctl: Piesctl, verb: str, body: Any, status: int
) -> None:
    piesctl.canned.rules.clear()
    for method in ("GET", "DELETE"):
        piesctl.canned.on(method, body, status)
    ended = piesctl("--json", *verb.split())
    assert (ended.code, ended.json["code"]) == (Code.UNREACHABLE, "not-piesd")


def test_a_connection_that_is_lost_in_the_middle_is_told(piesctl: Piesctl) -> None:
    piesctl.canned.rules["GET /programs"] = Answer([WEB], cut=True)
    ended = piesctl("--json", "list")
    assert (ended.code, ended.json["code"]) == (Code.UNREACHABLE, "connection-lost")
