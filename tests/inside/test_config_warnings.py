"""What may be right later, or elsewhere, is a warning and refuses nothing."""

from __future__ import annotations

import re

import pytest

from config_text import InventedHost, plan_of, problems_of

HEAD = '[component.x]\ncommand = "prog"\n'
LISTENER = "[component.{}]\ncommand = 'prog'\nmode = 'inetd'\nsocket = '{}'\n"

WARNINGS = [
    ("chdir = '/nowhere'", 3, "chdir", "there is no directory '/nowhere'"),
    ("stdout = '/nowhere/x.log'", 3, "stdout", "there is no directory '/nowhere'"),
    ("stop-timeout = 6", 3, "stop-timeout", "longer than shutdown-timeout"),
    ("program = '/no/such'", 3, "program", "there is no program '/no/such'"),
    ("program = '/bin/data'", 3, "program", "is not executable"),
    ("env = { PATH = '/none' }", 2, "command", "no program 'prog' in its PATH"),
    ("env-clear = true\nenv = { PATH = '/x' }", 2, "command", "no program 'prog'"),
    ("stdout = 'inhert'", 3, "stdout", r"taken for the name of a file; did you mean 'inherit'\?"),
    ("allgroups = true", 3, "allgroups", "no effect without 'user'"),
    ("cpu-affinity = [4]", 3, "cpu-affinity", "no such processor: the last one is 3"),
    ("start-condition = 'prg'", 3, "start-condition", "no program 'prg'"),
    ("ready = { exec = 'prg' }", 3, "ready.exec", "no program 'prg'"),
    ("health = { exec = '/bin/data' }", 3, "health.exec", "is not executable"),
    ("stdout = { file = 'x', compress = true }", 3, "stdout.compress", "without rotate-size"),
    ("on-exit = { codes = 1 }", 3, "on-exit", "does nothing"),
    (
        "on-exit = { codes = 1, exec = 'x', message = 'y' }",
        3,
        "on-exit.message",
        "without 'notify'",
    ),
]


@pytest.mark.parametrize(("added", "line", "key", "words"), WARNINGS, ids=lambda v: str(v)[:40])
def test_what_may_be_right_later_is_a_warning(added: str, line: int, key: str, words: str) -> None:
    (warning,) = plan_of(HEAD + added).warnings
    assert warning.warning
    assert (warning.line, warning.key) == (line, f"component.x.{key}")
    assert re.search(words, warning.message), warning.message


def test_all_groups_with_a_user_or_as_a_default_are_fine() -> None:
    assert not plan_of(HEAD + "allgroups = true\nuser = 'me'").warnings
    assert not plan_of("[defaults]\nallgroups = true\n" + HEAD).warnings


def test_a_missing_program_is_a_warning() -> None:
    (warning,) = plan_of("[component.x]\ncommand = 'prg'").warnings
    assert str(warning) == (
        "a.toml:2: warning: component.x.command: there is no program 'prg' in its PATH"
    )


def test_a_program_with_a_relative_path_is_looked_for_in_chdir() -> None:
    text = "[component.x]\ncommand = './bin/own'\n"
    assert not plan_of(text + "chdir = '/srv'").warnings
    assert plan_of(text + "chdir = '/'").warnings


def test_a_cleared_environment_has_the_default_path() -> None:
    assert plan_of(HEAD, environ={"PATH": "/none"}).warnings
    assert not plan_of(HEAD + "env-clear = true", environ={"PATH": "/none"}).warnings
    assert plan_of(HEAD + "env-keep = 'P*'", environ={"PATH": "/none"}).warnings


@pytest.mark.parametrize("sign", ["|", "&&", ">", "2>&1"])
def test_a_sign_for_a_shell_without_a_shell_is_a_warning(sign: str) -> None:
    (warning,) = plan_of(f"[component.x]\ncommand = 'prog {sign} b'").warnings
    assert "shell = true" in warning.message
    assert not plan_of(f"[component.x]\ncommand = 'prog {sign} b'\nshell = true").warnings
    assert not plan_of(f"[component.x]\ncommand = 'prog \"a {sign} b\"'").warnings
    assert not plan_of(f"[component.x]\ncommand = ['prog', '{sign}']").warnings


def test_another_user_is_a_warning_for_those_who_are_not_root() -> None:
    text = HEAD + "user = 'postgres'\ngroup = 'adm'"
    assert not plan_of(text).warnings
    messages = [warning.message for warning in plan_of(text, euid=1000).warnings]
    assert messages == [
        "only root can run as 'postgres': the start will fail",
        "only root can set groups: the start will fail",
    ]
    assert not plan_of(HEAD + "user = 'me'", euid=1000).warnings


def test_what_only_root_may_do_is_a_warning_for_everybody_else() -> None:
    text = HEAD + (
        "nice = -1\noom-score-adj = -1\n"
        "limits = { nofile = 5000, core = 'unlimited', cpu = 'unlimited', stack = 1 }\n"
    )
    assert not plan_of(text).warnings
    found = [(warning.line, warning.message) for warning in plan_of(text, euid=1000).warnings]
    assert found == [
        (3, "only root can raise the priority: the start will fail"),
        (4, "only root can go below 0: the start will fail"),
        (5, "only root can raise core above 0: the start will fail"),
        (5, "only root can raise nofile above 4096: the start will fail"),
    ]
    # Root that becomes somebody else is root no longer.
    assert len(plan_of("[daemon]\nuser = 'me'\n" + text).warnings) == 4


def test_what_root_in_a_container_may_not_do_is_a_warning_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(InventedHost, "capable", False)
    text = HEAD + "nice = -1\noom-score-adj = -1\nlimits = { nofile = 5000, stack = 1 }\n"
    assert [(warning.line, warning.message) for warning in plan_of(text).warnings] == [
        (4, "piesd has no right to go below 0: the start will fail"),
        (5, "piesd has no right to raise nofile above 4096: the start will fail"),
    ]


def test_mail_without_a_way_to_send_it_is_a_warning() -> None:
    text = HEAD + "on-exit = { codes = 1, notify = 'root' }\n"
    assert not plan_of(text).warnings
    (warning,) = plan_of("[mail]\nprogram = '/usr/lib/mail'\n" + text).warnings
    assert str(warning) == "a.toml:2: warning: mail.program: '/usr/lib/mail' is missing"
    assert not plan_of("[mail]\nprogram = '/x'\nsmtp = 'localhost'\n" + text).warnings


def test_mail_by_a_program_that_nobody_named_is_a_warning_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(InventedHost, "programs", {"/bin/prog": "fine"})
    text = "[[on-exit]]\ncodes = 1\nnotify = 'root'\n" + HEAD
    asked = "on-exit = { codes = 2, notify = 'root' }\n"
    assert [warning.line for warning in plan_of(text + asked).warnings] == [1, 6]
    assert not plan_of(HEAD).warnings


def test_a_disabled_prerequisite_is_a_warning() -> None:
    other = "[component.y]\ncommand = 'prog'\nenabled = false"
    (warning,) = plan_of(f"{HEAD}prerequisites = ['y']\n{other}").warnings
    assert warning.message == "'y' is disabled: 'x' waits until somebody starts it"


def test_a_file_that_two_rotate_is_a_warning() -> None:
    file = "stdout = { file = 'x.log', rotate-size = '1M' }\n"
    (warning,) = plan_of(HEAD + file + "instances = 2").warnings
    assert "'x:1' and 'x:2' write the same file" in warning.message
    assert not plan_of(HEAD + "stdout = 'x.log'\ninstances = 2").warnings


def test_a_configuration_without_components_is_a_warning() -> None:
    (warning,) = plan_of("").warnings
    assert warning.message == "defines no component"


def test_the_output_of_a_listener_that_goes_nowhere_is_a_warning() -> None:
    (warning,) = plan_of(LISTENER.format("x", "unix:///x") + "stdout = 'null'").warnings
    assert "the connection is its standard output" in warning.message


def test_warnings_come_with_the_problems() -> None:
    found = problems_of(HEAD + "chdir = '/nowhere'\nnope = 1")
    assert [problem.warning for problem in found] == [True, False]
