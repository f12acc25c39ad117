"""What supervisord's programs become."""

from __future__ import annotations

from pathlib import Path

import pytest

import converted
from config_text import problems_of
from fuzzing import no_hang
from supervisor.config.convert import convert
from supervisor.model.component import Component, EnvStep, ExitAction, Mode, Output, Respawn


def programs(text: str) -> dict[str, Component]:
    return converted.components(text, "/etc/supervisord.conf", "supervisord")


def program(settings: str) -> Component:
    (component,) = programs(f"[program:web]\ncommand=/bin/prog\n{settings}").values()
    return component


def told(settings: str) -> list[tuple[int, str]]:
    text = f"[program:web]\ncommand=/bin/prog\n{settings}"
    return converted.told(text, "/etc/supervisord.conf", "supervisord")


def refused(text: str) -> list[tuple[int, str]]:
    return converted.refused(text, "supervisord.conf", "supervisord")


@pytest.mark.slow
def test_a_large_file_that_is_no_ini_is_given_up_soon() -> None:
    for line in ("x\n", "=x\n", "x ; =\n", "[\n"):
        with no_hang():
            faults = refused("[program:a]\n" + line * 200_000)
        assert [number for number, _ in faults[:3]] == [2, 3, 4]


def test_a_program_is_restarted_unless_it_ends_as_expected() -> None:
    component = program("")
    assert component.mode is Mode.RESPAWN
    assert component.exit_actions == (ExitAction(codes=(0,), action="disable"),)
    assert program("exitcodes=0,2").exit_actions[0].codes == (0, 2)
    assert program("autorestart=true").exit_actions == ()
    assert program("autorestart=false").mode is Mode.ONCE


def test_it_is_stopped_as_supervisord_stops_it() -> None:
    component = program("stopsignal=QUIT\nstopwaitsecs=30")
    assert (component.stop_signal, component.stop_timeout) == (3, 30)
    assert component.stop_scope == "leader"
    assert program("").stop_timeout == 10
    assert program("stopasgroup=true").stop_scope == "group"


def test_its_process_is_what_it_was() -> None:
    component = program("directory=/srv\nuser=me\numask=022\nautostart=false")
    assert component.chdir == "/srv"
    assert (component.user, component.allgroups) == ("me", True)
    assert component.umask == 0o022
    assert component.enabled is False


def test_a_relative_directory_is_that_of_the_file() -> None:
    assert program("directory=app").chdir == "/etc/app"


def test_tries_to_start_become_the_failure_policy() -> None:
    assert program("startretries=3").respawn == Respawn(max=4, delay=1)


def test_log_files_keep_their_size_and_number() -> None:
    component = program("stdout_logfile=/var/log/web\nstderr_logfile=NONE")
    size = 50 * 2**20
    assert component.stdout == Output(
        kind="file", path="/var/log/web", rotate_size=size, rotate_keep=10
    )
    assert component.stderr == Output(kind="null")
    component = program("stdout_logfile=/x\nstdout_logfile_maxbytes=1KB\nstdout_logfile_backups=2")
    assert (component.stdout.rotate_size, component.stdout.rotate_keep) == (1024, 2)
    assert program("stdout_logfile=/x\nstdout_logfile_maxbytes=0").stdout.rotate_size == 0
    assert program("redirect_stderr=true").stderr == Output(kind="stdout")
    assert program("stdout_logfile=/dev/stdout").stdout == Output()
    assert program("stdout_syslog=true").stdout.kind == "syslog"


def test_the_environment_is_taken_literally_but_for_its_references() -> None:
    assert program("environment=A=\"1,2\",B='x y',C=z").env.set == {
        "A": "1,2",
        "B": "x y",
        "C": "z",
    }
    env = program('environment=PATH="%(ENV_HOME)s/bin:$x%%"').env
    assert env.steps == (EnvStep("set", 'PATH="${HOME}/bin:\\$x%"'),)


def test_a_reference_in_the_command_is_expanded_at_each_start() -> None:
    (component,) = programs("[program:web]\ncommand=/bin/prog -u %(ENV_USER)s %%").values()
    assert component.expandenv
    assert component.command == "/bin/prog -u ${USER} %"


def test_processes_that_do_not_use_their_number_are_instances() -> None:
    text = (
        "[program:web]\ncommand=/bin/prog\nnumprocs=2\n"
        "process_name=%(program_name)s_%(process_num)02d\n"
    )
    assert list(programs(text)) == ["web:1", "web:2"]


def test_processes_that_use_their_number_keep_it() -> None:
    text = (
        "[program:web]\ncommand=/bin/prog --port 80%(process_num)02d\nnumprocs=2\n"
        "process_name=%(program_name)s-%(process_num)d\n"
    )
    found = programs(text)
    assert {tag: component.argv[-1] for tag, component in found.items()} == {
        "web-0": "8000",
        "web-1": "8001",
    }


def test_the_priority_is_the_order_and_the_group_a_label() -> None:
    text = (
        "[program:late]\ncommand=/bin/prog\n"
        "[program:early]\ncommand=/bin/prog\npriority=5\n"
        "[program:first]\ncommand=/bin/prog\n"
        "[group:both]\nprograms=first,early\npriority=1\n"
    )
    found = programs(text)
    assert list(found) == ["early", "first", "late"]
    assert found["first"].labels == {"group": "both"}
    assert found["late"].labels == {}


def test_comments_behind_values_are_no_part_of_them() -> None:
    (component,) = programs("[program:web]\ncommand=/bin/prog ; the program\n").values()
    assert component.argv == ("/bin/prog",)


def test_what_cannot_be_carried_over_is_listed_with_its_line() -> None:
    assert told("serverurl=AUTO\nstartsecs=10") == [
        (3, "program:web.serverurl: is not carried over"),
        (
            4,
            "program:web.startsecs: is not carried over: it counts as up as soon as it runs; "
            "say with 'ready' when it is",
        ),
    ]
    text = (
        "[supervisord]\nlogfile=/x\n[eventlistener:e]\ncommand=/bin/e\n"
        "[unix_http_server]\nfile=/x\n[program:p]\ncommand=/bin/prog\n"
    )
    listed = converted.told(text, "s.conf", "supervisord")
    assert [line for line, _ in listed] == [2, 3, 5]


def test_a_value_with_an_unknown_expression_is_left_behind() -> None:
    assert told("directory=%(ENV_HOME)s") == [
        (3, "program:web.directory: is not carried over: %(ENV_HOME)s is not known here")
    ]


@pytest.mark.parametrize("user", ["%(ENV_USER)s", "1000"])
def test_a_user_that_is_not_known_here_is_never_replaced_by_root(user: str) -> None:
    text = f"[program:web]\ncommand=/bin/prog\nuser={user}\n"
    printed, _ = convert(text, "supervisord.conf", "supervisord")
    (fault,) = [problem for problem in problems_of(printed) if not problem.warning]
    assert "there is no user" in fault.message


def test_a_name_that_is_no_tag_gets_another() -> None:
    text = "[program:a b]\ncommand=/bin/prog\n[program:a-b]\ncommand=/bin/prog\n"
    assert list(programs(text)) == ["a-b", "a-b-2"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("command=x\n", 1),
        ("[program:a]\n\nnonsense\n", 3),
        ("[program:a]\n", 1),
        ("[program:a]\ncommand=/bin/x\nnumprocs=two\n", 3),
        ("[program:a]\ncommand=/bin/x\nnumprocs=99999999\n", 3),
        ("[program:a]\ncommand=/bin/x 'y\n", 2),
        ("[program:a]\ncommand=/bin/x\nautorestart=perhaps\n", 3),
        ("[program:a]\ncommand=/bin/x\nredirect_stderr=perhaps\n", 3),
        ("[program:a]\ncommand=/bin/x\nenvironment=A\n", 3),
        ("[program:a]\ncommand=/bin/x\nstdout_logfile=/x\nstdout_logfile_maxbytes=big\n", 4),
        ("[group:a]\n", 1),
    ],
)
def test_what_is_wrong_is_refused_at_its_line(text: str, line: int) -> None:
    assert line in [at for at, _ in refused(text)]


def test_all_lines_that_are_none_are_told_in_one_run() -> None:
    found = refused("[program:a]\none\ncommand=/bin/x\ntwo\n")
    assert [line for line, _ in found] == [2, 4]


def test_included_files_are_read_and_say_their_own_names(tmp_path: Path) -> None:
    inner = tmp_path / "conf.d"
    inner.mkdir()
    (inner / "a.conf").write_text("[program:a]\ncommand=/bin/prog\nserverurl=x\n")
    (inner / "b.conf").write_text("[program:b]\ncommand=/bin/prog\n")
    main = tmp_path / "supervisord.conf"
    text = "[supervisord]\n[include]\nfiles = conf.d/*.conf\n"
    printed, problems = convert(text, str(main), "supervisord")
    assert "[component.a]" in printed
    assert "[component.b]" in printed
    assert [(problem.file, problem.line) for problem in problems] == [(str(inner / "a.conf"), 3)]


def test_a_line_of_blanks_takes_no_time() -> None:
    assert refused(f"[program:a]\ncommand{' ' * 1_000_000}x\n")[0][0] == 2
