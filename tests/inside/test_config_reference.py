"""The keys, the reference, the JSON Schema and the samples say the same."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from config_text import plan_of, problems_of
from supervisor.config import checks, docs, keys, later, schema
from supervisor.config.fields import Key, KeySet
from supervisor.model.component import Check, Component, ExitAction, Mode, Respawn
from supervisor.model.settings import ControlSettings, DaemonSettings, Provider

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "conf.d").glob("*.toml"))

# For each key right values and wrong ones. Those after the bar only `load` can tell from right
# ones: they need this machine, or other keys.
VALUES: dict[str, dict[str, tuple[list[str], list[str], list[str]]]] = {
    "component": {
        "mode": (["'respawn'", "'exec'", "'once'"], ["'x'", "1"], ["'inetd'"]),
        "command": (["'prog a'", "['prog', '']"], ["1", "[]", "''", "[1]"], ['"\'"']),
        "program": (["'/bin/prog'"], ["'prog'", "''", "1"], []),
        "prerequisites": (["'none'", "'all'", "[]"], ["1", "['']"], ["['x']", "'nope'"]),
        "dependents": (["[]"], ["1", "['']"], ["'nope'"]),
        "flags": (["'precious'", "['disable', 'shell']"], ["'x'", "[1]", "true"], []),
        "enabled": (["true", "false"], ["1", "'yes'"], []),
        "disable": (["true", "false"], ["1"], []),
        "precious": (["true"], ["'true'"], []),
        "shell": (["true"], ["0"], []),
        "runlevels": (["'35'", "'s'", "'abc'"], ["5", "''", "'x'"], []),
        "utmp": (["false"], ["'false'"], []),
        "nullinput": (["true"], ["[]"], []),
        "description": (["''", "'x'"], ["1"], ["'${instance}'"]),
        "labels": (["{}", "{ a = 'b', 'x.y' = '' }"], ["{ a = 1 }", "[]", "{ 'a=' = '' }"], []),
        "instances": (["1", "2"], ["0", "-1", "1.5", "'2'", "true", "10001"], []),
        "user": (["'postgres'"], ["70", "''"], ["'nope'"]),
        "group": (["'adm'", "['adm', 'wheel']", "[]"], ["1", "['']"], ["'nope'"]),
        "allgroups": (["true"], ["1"], []),
        "umask": (["'022'", "'0'", "'0077'"], ["22", "'8'", "'1777'", "''"], []),
        "chdir": (["'/srv'"], ["'srv'", "1"], []),
        "env": (
            [
                "{}",
                "{ A = '' }",
                "{ A = { unset = true } }",
                "[]",
                "[{ clear = true }, { keep = 'LC_*' }, { set = 'A=${B:-c}' }, { eval = '$A' }]",
                "[{ unset = 'A*' }, { append = 'A=:x' }, { prepend = 'A=x:' }]",
            ],
            [
                "{ A = 1 }",
                "{ A = { unset = false } }",
                "{ A = {} }",
                "{ 'A=' = '' }",
                "{ A = { file = 'x' } }",
                "[{}]",
                "[{ clear = false }]",
                "[{ set = 'A=b', unset = 'C' }]",
                "[{ st = 'A=b' }]",
            ],
            ["[{ set = 'A' }]", "[{ set = 'A=${' }]"],
        ),
        "env-clear": (["true"], ["1"], []),
        "env-keep": (["'PATH'", "['LC_*']"], ["{}", "['']"], []),
        "stop-signal": (["15", "'TERM'", "'SIGRTMIN+1'"], ["0", "99", "[]"], ["'NOPE'"]),
        "stop-timeout": (["0", "2.5", "5"], ["-1", "'5'", "true", "1e10"], []),
        "watchdog": (["0", "2.5", "5"], ["-1", "'5'", "true", "1e10"], []),
        "respawn": (
            ["{}", "{ max = 1, window = 0.5, sleep = 0, delay = 30, delay-max = 30 }"],
            ["{ max = 0 }", "{ window = 0 }", "{ nope = 1 }", "1", "{ delay = -1 }"],
            ["{ delay = 31 }"],
        ),
        "stdout": (
            [
                "'inherit'",
                "'null'",
                "'x'",
                "'/x'",
                "{ file = 'x', rotate-size = '5M' }",
                "'journal'",
                "'syslog'",
                "'syslog:daemon.err'",
                "'file:x'",
                "{ syslog = 'LOCAL0.Info' }",
                "{ file = 'x', rotate-size = 1, compress = true, timestamps = true }",
            ],
            [
                "1",
                "''",
                "{ file = 'x', rotate-size = -1 }",
                "{ file = 'x', compress = 1 }",
                "{ syslog = 1 }",
            ],
            ["'a/b'", "'stdout'", "{}", "'syslog:x'", "{ syslog = 'err', file = 'x' }"],
        ),
        "stderr": (
            ["'stdout'", "{ file = 'x', rotate-keep = 0, rotate-size = 0 }"],
            ["1", "{ file = 'x', rotate-keep = -1 }", "{ file = 1 }"],
            ["'a/b'"],
        ),
        "essential": (["true"], ["1"], []),
        "required": (["false"], ["1"], ["true"]),
        "socket": ([], ["1", "'tcp://x'", "[]"], ["'unix:///x'", "['unix:///x', 'inet://:7']"]),
        "socket-type": ([], ["'raw'", "1"], ["'stream'", "'dgram'", "'seqpacket'"]),
        "backlog": ([], ["0", "'5'"], ["5"]),
        "wait": ([], ["1"], ["true"]),
        "on-demand": ([], ["1"], ["true"]),
        "idle-stop": ([], ["0", "true"], ["60"]),
        "listen-fds": ([], ["1"], ["true"]),
        "socket-names": ([], ["1", "['']"], ["['http', 'https']"]),
        "pass-fd-socket": ([], ["1", "''"], ["'/run/x'"]),
        "pass-fd-timeout": ([], ["0"], ["5"]),
        "service": ([], ["1", "''"], ["'echo'"]),
        "internal": ([], ["1"], ["true"]),
        "tcpmux-master": ([], ["1", "''"], ["'x'"]),
        "tcpmux": ([], ["1"], ["true"]),
        "tcpmuxplus": ([], ["1"], ["true"]),
        "acl": ([], ["['x']"], ["['deny all']"]),
        "access-denied-message": ([], ["1"], ["'no'", "''"]),
        "max-instances-message": ([], ["1"], ["'busy'"]),
        "max-ip-connections": ([], ["0"], ["1"]),
        "max-ip-connections-message": ([], ["1"], ["'busy'"]),
        "max-rate": ([], ["-1"], ["0", "60"]),
        "sockenv": ([], ["1"], ["true"]),
        "resolve": ([], ["1"], ["true"]),
        "idle-timeout": ([], ["0"], ["300"]),
        "proxy-protocol": ([], ["1", "[]"], ["true", "'10.0.0.1'", "['10.0.0.0/8', '::/0']"]),
        "max-instances": (["1"], ["0", "'1'"], []),
        "expandenv": (["true", "false"], ["1"], []),
        "cgroup": (
            [
                "{}",
                "{ memory-max = '100MiB', memory-high = 1048576, pids-max = 'unlimited' }",
                "{ cpu-weight = 50, io-weight = 10000, pids-max = 64 }",
            ],
            ["1", "{ cpu-weight = 'unlimited' }", "{ pids-max = 0 }", "{ memory-max = -1 }"],
            [],
        ),
        "limits": (
            ["{}", "{ nofile = 5, core = 0, as = '64MiB', nproc = 'unlimited' }", "'N10 p 20'"],
            [
                "{ nofile = 'unlimited' }",
                "{ nofile = -1 }",
                "{ x = 1 }",
                "'N'",
                "1",
                "{ as = 'x' }",
            ],
            ["'X3'"],
        ),
        "nice": (["-20", "19"], ["20", "'5'"], []),
        "cpu-affinity": (["[0, 1]", "'0-1, 3'"], ["[]", "'x'", "[-1]", "0"], ["'3-1'"]),
        "oom-score-adj": (["-1000", "0"], ["1001"], []),
        "no-new-privileges": (["true"], ["1"], []),
        "remove-file": (["'/x'", "['/x', '/y']", "[]"], ["1", "''"], ["'x'"]),
        "rmfile": (["'/x'"], ["1"], ["'x'"]),
        "start-condition": (["'prog a'", "['prog']"], ["[]", "1"], ['"\'"']),
        "ready": (
            [
                "'notify'",
                "{ notify = true, timeout = 5 }",
                "{ fd = 3 }",
                "{ tcp = '[::1]:80', interval = 0.5 }",
                "{ tcp = '/run/x' }",
                "{ http = 'http://localhost:8080/x?y' }",
                "{ exec = ['prog', '-x'] }",
            ],
            ["'x'", "{ fd = 2 }", "{ tcp = 'x' }", "{ http = 'x' }", "{ failures = 1 }"],
            ["{}", "{ fd = 3, notify = true }", "{ tcp = ':80' }", "{ http = 'http://a:b' }"],
        ),
        "health": (
            ["{ tcp = 'localhost:80', interval = 5, timeout = 1, failures = 2 }"],
            ["'notify'", "{ fd = 3 }", "{ tcp = 'a:1', failures = 0 }"],
            ["{}"],
        ),
        "siggroup": (["true", "false"], ["1"], []),
        "on-exit": (
            [
                "[]",
                "{ codes = 1 }",
                "[{ codes = ['EX_CONFIG', 2, '64-78', 'SIGSEGV'], action = 'disable' }]",
                "[{ codes = 'SIG+11', exec = 'prog', notify = 'a,b@c', message = 'x' }]",
            ],
            ["1", "[{}]", "{ codes = 256 }", "{ codes = [] }", "{ codes = 1, action = 'x' }"],
            ["{ codes = 'x' }", "{ codes = 1, notify = 'a b' }"],
        ),
        "list-acl": (
            ["[]", "['allow all from 10.0.0.0/8', 'DENY']", "['allow group a,b acl x']"],
            ["'a b'", "['permit all']", "1", "['']"],
            ["'nope'", "['allow from nope.example.org']", "['allow acl nope']"],
        ),
        "admin-acl": (["['deny all']"], ["['x']"], ["'nope'"]),
    },
    "daemon": {
        "instance": (["'x'"], ["1", "''"], ["'a/b'"]),
        "runtime-directory": (["'/x'"], ["'x'", "1"], []),
        "state-directory": (["'/x'"], ["'x'"], []),
        "log-directory": (["'/x'"], ["'x'"], []),
        "pidfile": (["'/x.pid'"], ["'x.pid'"], []),
        "qotd-file": (["'/x.qotd'"], ["'x.qotd'"], []),
        "cgroups": (["'limits'", "'all'"], ["'none'"], []),
        "pipe-size": (["65536", "'1MiB'"], ["-1", "'much'"], []),
        "max-starting": (["0", "8"], ["-1", "'8'", "1.5", "1000001"], []),
        "shutdown-timeout": (["0", "5.5"], ["-1", "'5'"], []),
        "log-level": (["'debug'", "'error'"], ["'warn'", "1"], []),
        "log-format": (["'json'"], ["'xml'"], []),
        "umask": (["'022'"], ["22"], []),
        "log": (["'syslog'", "'journal'"], ["'x'"], []),
        "user": (["'me'"], ["1"], ["'nope'"]),
        "group": (["'adm'", "['adm']"], ["1"], ["'nope'"]),
        "allgroups": (["true"], ["1"], []),
        "limits": (["{ core = 0 }", "'C0'"], ["1"], []),
        "env": (["{ A = 'b' }", "[{ set = 'A=b' }]"], ["{ A = 1 }"], []),
        "runlevel": (["'3'", "'S'"], ["3", "''", "'35'", "'a'"], []),
        "include": (["'x.toml'", "['*.toml']"], [], []),
    },
    "control": {
        "socket": (
            ["'unix:///x'", "['unix:///x;mode=0660', 'local:///y']"],
            ["1", "[]", "'tcp://x'"],
            ["'inet://127.0.0.1:1'", "'unix://x'"],
        ),
        "anonymous": (["'list'", "'admin'"], ["'all'", "true"], []),
        "realm": (["'x'"], ["''", "1"], []),
        "tls": (
            ["{ cert = '/etc/cert.pem', key = '/etc/key.pem', client-ca = '/etc/cert.pem' }"],
            ["{ cert = 'x', key = '/etc/key.pem' }", "{ key = '/etc/key.pem' }", "'x'"],
            ["{ cert = '/nope', key = '/etc/key.pem' }"],
        ),
        "identity-provider": (["[]"], ["1", "['']"], ["'nope'"]),
        "acl": (["['allow all']"], ["['x']"], ["'nope'"]),
        "admin-acl": (["['allow all']"], ["['x']"], ["'nope'"]),
        "user-acl": (["['allow all']"], ["['x']"], ["'nope'"]),
    },
    "syslog": {
        "dev": (["'/dev/log'", "'10.0.0.1'", "'10.0.0.1:514'"], ["1", "''"], ["'x'"]),
        "facility": (["'daemon'", "'LOCAL7'"], ["1"], ["'x'"]),
        "tag": (["'x'"], ["1", "''"], []),
    },
    "mail": {
        "program": (["'/usr/sbin/sendmail'"], ["'sendmail'"], []),
        "command-line": (["'sendmail -oi'"], ["1"], ['"a \'"']),
        "smtp": (["'localhost'", "'[::1]:25'", "'mail.example.org:587'"], ["1"], ["'a b'"]),
        "from": (["'ops@example.org'"], ["1"], ["'a b'"]),
    },
}
KEY_SETS = {
    "component": keys.COMPONENT_KEYS,
    "daemon": keys.DAEMON_KEYS,
    "control": keys.CONTROL_KEYS,
    "syslog": keys.SYSLOG_KEYS,
    "mail": keys.MAIL_KEYS,
}
INNER = (
    keys.RESPAWN_KEYS,
    keys.OUTPUT_KEYS,
    keys.READY_KEYS,
    keys.HEALTH_KEYS,
    keys.ON_EXIT_KEYS,
)
VALIDATOR = jsonschema.Draft202012Validator(schema.schema())


def written(table: str, key: str, value: str) -> str:
    component = "" if (table, key) == ("component", "command") else "command = 'prog'\n"
    if table == "component":
        named = "[acl]\nx = []\n" if "acl x" in value else ""
        return f"{named}[component.x]\n{component}{key} = {value}\n"
    return f"[{table}]\n{key} = {value}\n[component.x]\n{component}"


def each_value(which: int) -> list[tuple[str, str, str]]:
    return [
        (table, key, value)
        for table, by_key in VALUES.items()
        for key, values in by_key.items()
        for value in values[which]
    ]


def test_every_key_has_its_examples() -> None:
    for table, key_set in KEY_SETS.items():
        assert VALUES[table].keys() == key_set.by_name.keys()


@pytest.mark.parametrize(("table", "key", "value"), each_value(0))
def test_a_right_value_is_right_for_the_schema_too(table: str, key: str, value: str) -> None:
    text = written(table, key, value)
    plan_of(text)
    assert [error.message for error in VALIDATOR.iter_errors(tomllib.loads(text))] == []


@pytest.mark.parametrize(("table", "key", "value"), each_value(1))
def test_a_wrong_value_is_wrong_for_the_schema_too(table: str, key: str, value: str) -> None:
    text = written(table, key, value)
    assert any(f"{key}" in problem.key for problem in problems_of(text))
    assert not VALIDATOR.is_valid(tomllib.loads(text))


@pytest.mark.parametrize(("table", "key", "value"), each_value(2))
def test_what_the_schema_cannot_know_only_we_refuse(table: str, key: str, value: str) -> None:
    text = written(table, key, value)
    assert problems_of(text)
    assert VALIDATOR.is_valid(tomllib.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "[component.x]\ncomand = 'x'",
        "[deamon]",
        "[component.'a b']\ncommand = 'x'",
        "[component.all]\ncommand = 'x'",
        "[defaults]\ninstances = 2",
        "[defaults]\nsocket = 'unix:///x'",
        "[component]\nx = 1",
    ],
)
def test_the_schema_refuses_what_is_no_key(text: str) -> None:
    assert problems_of(text)
    assert not VALIDATOR.is_valid(tomllib.loads(text))


def test_the_tables_with_names_of_ones_own_are_right_for_the_schema() -> None:
    text = """
        on-exit = [{ codes = 1, action = "disable" }]
        [acl]
        office = ["allow from 10.0.0.0/8", "deny all"]
        [identity-provider.us]
        type = "pam"
        service = "login"
        [identity-provider."a b"]
        type = "file"
        path = "/etc/secret"
        [control]
        identity-provider = ["us", "a b"]
        acl = "office"
        [component.x]
        command = "prog"
        """
    assert not plan_of(text).warnings
    assert VALIDATOR.is_valid(tomllib.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "[acl]\n'a b' = []",
        "[acl]\na = 'b'",
        "[acl]\na = ['x']",
        "[identity-provider.x]\nservice = 'y'",
        "[identity-provider.x]\ntype = 'y'",
        "[identity-provider]\nx = 1",
        "[[on-exit]]\nexec = 'x'",
        "[[on-exit]]\ncodes = 1\naction = 'x'",
    ],
)
def test_what_is_wrong_in_these_tables_is_wrong_for_the_schema_too(text: str) -> None:
    assert problems_of(text)
    assert not VALIDATOR.is_valid(tomllib.loads(text))


def test_every_key_but_those_of_one_component_may_be_a_default() -> None:
    for key in keys.COMPONENT_KEYS.keys:
        for value in VALUES["component"][key.name][0]:
            component = "[component.x]\ncommand = 'prog'\n"
            text = f"[defaults]\n{key.name} = {value}\n{component}"
            if key.own:
                assert problems_of(text)
                assert not VALIDATOR.is_valid(tomllib.loads(text))
            elif "all" not in value:
                plan_of(text)
                assert VALIDATOR.is_valid(tomllib.loads(text))


def test_the_shipped_schema_is_current() -> None:
    assert schema.shipped() == schema.rendered(), "python -m supervisor.config.docs"


@pytest.mark.slow
def test_the_shipped_schema_is_itself_right() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(schema.shipped()))


def test_the_reference_is_current() -> None:
    page = docs.PAGE.read_text(encoding="utf-8")
    assert page == docs.with_tables(page), "python -m supervisor.config.docs"


def test_the_reference_has_every_key_with_its_meaning() -> None:
    page = docs.PAGE.read_text(encoding="utf-8")
    more = {"on-exit": keys.ON_EXIT_KEYS, "identity-provider": keys.PROVIDER_KEYS}
    for table, key_set in {**KEY_SETS, **more}.items():
        block = re.search(rf"<!-- begin: {table} -->(.*?)<!-- end -->", page, re.DOTALL)
        assert block is not None
        for key in all_keys(key_set):
            assert f"`{key.name}`" in block[1] or f".{key.name}`" in block[1]
            assert key.meaning in block[1]
    for words in (later.COMPONENT, later.MODES, later.DAEMON):
        assert all(f"`{word}`" in page for word in words)


def all_keys(key_set: KeySet) -> list[Key[Any]]:
    inner = {"component": INNER, "control": (keys.TLS_KEYS,)}
    own = next((inner.get(name, ()) for name, each in KEY_SETS.items() if each is key_set), ())
    return [key for each in (key_set, *own) for key in each.keys]


def test_no_key_is_both_known_and_not_supported_yet() -> None:
    for key_set in (*KEY_SETS.values(), *INNER, keys.TLS_KEYS, keys.PROVIDER_KEYS):
        assert key_set.later.isdisjoint(key_set.by_name)
        assert len(key_set.by_name) == len(key_set.keys)


def test_the_defaults_of_the_keys_are_those_of_the_model() -> None:
    model = Component(tag="x", argv=("x",))
    daemon = DaemonSettings(runtime_directory="", state_directory="", log_directory="")
    same: list[tuple[Key[Any], object]] = [
        (keys.MODE, model.mode.value),
        (keys.DESCRIPTION, model.description),
        (keys.ENABLED, model.enabled),
        (keys.PRECIOUS, model.precious),
        (keys.NULLINPUT, model.nullinput),
        (keys.UTMP, model.utmp),
        (keys.ESSENTIAL, model.essential),
        (keys.REQUIRED, model.required),
        (keys.ALLGROUPS, model.allgroups),
        (keys.STOP_SIGNAL, model.stop_signal),
        (keys.STOP_TIMEOUT, model.stop_timeout),
        (keys.OUTPUT_ROTATE_SIZE, model.stdout.rotate_size),
        (keys.OUTPUT_ROTATE_KEEP, model.stdout.rotate_keep),
        (keys.RESPAWN_MAX, Respawn().max),
        (keys.RESPAWN_WINDOW, Respawn().window),
        (keys.RESPAWN_SLEEP, Respawn().sleep),
        (keys.RESPAWN_DELAY, Respawn().delay),
        (keys.RESPAWN_DELAY_MAX, Respawn().delay_max),
        (keys.INSTANCE, daemon.instance),
        (keys.SHUTDOWN_TIMEOUT, daemon.shutdown_timeout),
        (keys.MAX_STARTING, daemon.max_starting),
        (keys.LOG_LEVEL, daemon.log_level),
        (keys.LOG_FORMAT, daemon.log_format),
        (keys.LOG, daemon.log),
        (keys.DAEMON_ALLGROUPS, daemon.allgroups),
        (keys.SYSLOG_DEV, daemon.syslog.dev),
        (keys.SYSLOG_FACILITY, daemon.syslog.facility),
        (keys.MAIL_PROGRAM, daemon.mail.program),
        (keys.MAIL_COMMAND_LINE, daemon.mail.command_line),
        (keys.REALM, ControlSettings(sockets=()).realm),
        (keys.PROVIDER_SERVICE, Provider(name="x", type="pam").service),
        (keys.EXPANDENV, model.expandenv),
        (keys.NO_NEW_PRIVILEGES, model.no_new_privileges),
        (keys.SIGGROUP, model.stop_scope == "group"),
        (keys.OUTPUT_COMPRESS, model.stdout.compress),
        (keys.OUTPUT_TIMESTAMPS, model.stdout.timestamps),
        (keys.EXIT_ACTION, ExitAction().action),
        (checks.READY_TIMEOUT, Check(kind="fd").timeout),
        (checks.READY_INTERVAL, Check(kind="fd").interval),
        (checks.HEALTH_FAILURES, Check(kind="tcp").failures),
    ]
    for key, default in same:
        assert key.default == default, key.name


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_a_sample_is_right_for_the_schema_it_names(sample: Path) -> None:
    text = sample.read_text(encoding="utf-8")
    named = text.splitlines()[0].removeprefix("#:schema ")
    assert (sample.parent / named).resolve() == docs.SCHEMA
    assert [error.message for error in VALIDATOR.iter_errors(tomllib.loads(text))] == []


def test_the_samples_show_every_mode_and_lines_that_fit_a_screen() -> None:
    tables = [tomllib.loads(sample.read_text(encoding="utf-8")) for sample in SAMPLES]
    components = [each for table in tables for each in table.get("component", {}).values()]
    # The others need a program that was written for them.
    shown = {mode.value for mode in Mode if mode not in (Mode.ACCEPT, Mode.PASS_FD)}
    assert {each.get("mode", "respawn") for each in components} == shown
    assert any(each.get("enabled") is False for each in components)
    assert any("instances" in each for each in components)
    lines = [line for each in SAMPLES for line in each.read_text(encoding="utf-8").splitlines()]
    assert max(map(len, lines)) <= 100
