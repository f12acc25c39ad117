"""What a systemd service becomes."""

from __future__ import annotations

import pytest

import converted
from config_text import problems_of
from supervisor.config.convert import convert
from supervisor.model.component import Check, Component, ExitAction, Mode, Output, Respawn

CLEAN = (1, 2, 15, 13)
"""SIGHUP, SIGINT, SIGTERM and SIGPIPE."""


def service(settings: str, *, unit: str = "", file: str = "web.service") -> Component:
    """Return the component of a service that runs /bin/prog unless it says otherwise."""
    command = "" if "ExecStart=" in settings else "ExecStart=/bin/prog\n"
    text = f"[Unit]\n{unit}\n[Service]\n{command}{settings}\n"
    (component,) = converted.components(text, f"/etc/{file}", "systemd").values()
    return component


def told(settings: str) -> list[str]:
    text = f"[Service]\nExecStart=/bin/prog\n{settings}\n"
    return [message for _, message in converted.told(text, "web.service", "systemd")]


def refused(settings: str) -> list[tuple[int, str]]:
    text = f"[Service]\nExecStart=/bin/prog\n{settings}\n"
    return converted.refused(text, "web.service", "systemd")


def test_a_service_is_called_after_its_file_and_runs_once_without_restart() -> None:
    component = service("", unit="Description=The web")
    assert (component.tag, component.description) == ("web", "The web")
    assert component.mode is Mode.ONCE
    assert component.argv == ("/bin/prog",)
    assert component.stop_timeout == 90


@pytest.mark.parametrize(
    ("restart", "actions"),
    [
        ("always", ()),
        ("on-failure", (ExitAction(codes=(0,), signals=CLEAN, action="disable"),)),
        ("on-abnormal", (ExitAction(codes=tuple(range(256)), signals=CLEAN, action="disable"),)),
    ],
)
def test_when_it_is_restarted_is_as_systemd_has_it(
    restart: str, actions: tuple[ExitAction, ...]
) -> None:
    component = service(f"Restart={restart}")
    assert component.mode is Mode.RESPAWN
    assert component.exit_actions == actions


def test_codes_that_prevent_or_force_a_restart_come_first() -> None:
    component = service(
        "Restart=on-failure\nSuccessExitStatus=143 SIGKILL\n"
        "RestartPreventExitStatus=78 TEMPFAIL\nRestartForceExitStatus=0"
    )
    assert component.exit_actions == (
        ExitAction(codes=(78, 75), action="disable"),
        ExitAction(codes=(0,), action="restart"),
        ExitAction(codes=(0, 143), signals=(*CLEAN, 9), action="disable"),
    )


def test_the_delay_and_the_limit_of_starts_become_the_failure_policy() -> None:
    component = service("Restart=always\nRestartSec=2min 30s", unit="StartLimitBurst=3")
    assert component.respawn == Respawn(max=3, window=10, delay=150, delay_max=150)
    component = service("Restart=always", unit="StartLimitIntervalSec=0")
    assert component.precious


def test_a_service_that_notifies_is_awaited() -> None:
    assert service("Type=notify").ready == Check(kind="notify")
    ready = service("Type=notify\nTimeoutStartSec=90").ready
    assert ready is not None
    assert ready.timeout == 90
    assert service("Type=simple").ready is None


def test_words_are_those_of_systemd() -> None:
    component = service('ExecStart=@/usr/sbin/x "a b" \'c"d\' e\\x20f \\\n  g$$h')
    assert component.program == "/usr/sbin/x"
    assert component.argv == ("a b", 'c"d', "e f", "g$h")


def test_variables_are_expanded_at_each_start() -> None:
    component = service('ExecStart=/bin/prog "x y" ${A} $OPTS --b=${B}$$c $D-e')
    assert component.expandenv
    assert component.command == '/bin/prog \'x y\' "${A}" $OPTS "--b=${B}\\$c" "\\$D-e"'
    component = service("ExecStart=:/bin/prog ${A}")
    assert (component.expandenv, component.argv) == (False, ("/bin/prog", "${A}"))


def test_several_commands_are_run_one_after_the_other() -> None:
    component = service(
        "Type=oneshot\nExecStart=/bin/a 1\nExecStart=-/bin/b 'x y'\nExecStart=/bin/c"
    )
    text = "/bin/a 1 && { /bin/b 'x y' || :; } && /bin/c"
    assert component.argv == ("/bin/sh", "-c", text)
    assert component.mode is Mode.ONCE


def test_an_empty_assignment_takes_back_those_before_it() -> None:
    assert service("ExecStart=/bin/a\nExecStart=\nExecStart=/bin/b").argv == ("/bin/b",)
    assert service("Environment=A=1\nEnvironment=\nEnvironment=B=2").env.set == {"B": "2"}


def test_what_comes_before_the_start_is_a_condition() -> None:
    component = service(
        "ExecStartPre=-/bin/mkdir -p /run/x\nExecStartPre=/bin/check",
        unit="ConditionPathExists=!/etc/no\nConditionFileNotEmpty=/etc/x y",
    )
    assert component.start_condition == (
        "/bin/sh",
        "-c",
        "test ! -e /etc/no && test -s '/etc/x y' && { /bin/mkdir -p /run/x || :; } && /bin/check",
    )


def test_it_is_stopped_as_systemd_stops_it() -> None:
    component = service("KillSignal=SIGQUIT\nTimeoutStopSec=1min")
    assert (component.stop_signal, component.stop_timeout, component.stop_scope) == (3, 60, "group")
    assert service("KillMode=mixed").stop_scope == "leader"
    component = service("ExecStop=/bin/kill -s WINCH ${MAINPID}")
    assert (component.stop_signal, component.stop_scope) == (28, "leader")


def test_its_process_is_what_it_was() -> None:
    component = service(
        "User=me\nGroup=me\nSupplementaryGroups=adm wheel\nWorkingDirectory=/srv\nUMask=0027\n"
        "Environment=A=1 \"B=x y\" 'C=%n'\nUnsetEnvironment=D\nNice=-5\nOOMScoreAdjust=-900\n"
        "CPUAffinity=0 1-2\nCPUAffinity=3\nNoNewPrivileges=yes\n"
        "LimitNOFILE=1024\nLimitCORE=infinity\nLimitAS=4G\nLimitCPU=1min\nStandardInput=null"
    )
    assert (component.user, component.allgroups) == ("me", True)
    assert component.group == ("adm", "wheel")
    assert (component.chdir, component.umask) == ("/srv", 0o027)
    assert component.env.set == {"A": "1", "B": "x y", "C": "web.service"}
    assert component.env.unset == ("D",)
    assert (component.nice, component.oom_score_adj) == (-5, -900)
    assert component.cpu_affinity == (0, 1, 2, 3)
    assert component.no_new_privileges
    assert component.nullinput
    assert component.limits == {"nofile": 1024, "core": -1, "as": 4 << 30, "cpu": 60}


@pytest.mark.parametrize("settings", ["User=1000", "DynamicUser=yes"])
def test_a_user_that_is_not_known_here_is_never_replaced_by_root(settings: str) -> None:
    text = f"[Service]\nExecStart=/bin/prog\n{settings}\n"
    printed, _ = convert(text, "web.service", "systemd")
    (fault,) = [problem for problem in problems_of(printed) if not problem.warning]
    assert "there is no user" in fault.message


def test_output_goes_where_it_went() -> None:
    component = service("StandardOutput=append:/var/log/web")
    assert component.stdout == Output(kind="file", path="/var/log/web")
    assert component.stderr == Output(kind="stdout")
    component = service("StandardOutput=journal\nStandardError=null")
    assert (component.stdout.kind, component.stderr.kind) == ("journal", "null")


def test_a_template_has_numbers_for_its_instances() -> None:
    component = service("ExecStart=/bin/prog %i ${instance}x %%", file="web@.service")
    assert component.tag == "web:1"
    assert component.command == '/bin/prog 1 "${instance}x" %'
    component = service("ExecStart=/bin/prog %i %p", file="web@blue.service")
    assert (component.tag, component.argv) == ("web@blue", ("/bin/prog", "blue", "web"))


def test_neighbours_are_listed_and_targets_are_not() -> None:
    text = (
        "[Unit]\nAfter=network.target db.service mq.service\nRequires=db.service\n"
        "[Service]\nExecStart=/bin/prog\n"
    )
    assert converted.told(text, "web.service", "systemd") == [
        (
            2,
            "Unit.After: is not carried over: if it cannot do without mq.service, "
            "add prerequisites",
        ),
        (
            3,
            "Unit.Requires: is not carried over: once 'db' is a component, add it to prerequisites",
        ),
    ]


def test_what_cannot_be_carried_over_is_listed() -> None:
    assert told("ProtectSystem=full\nExecReload=/bin/kill -HUP $MAINPID") == [
        "Service.ProtectSystem: is not carried over",
        "Service.ExecReload: is not carried over: use piesctl signal HUP web",
    ]
    assert told("X-Foo=1\n[Install]\nWantedBy=multi-user.target") == []
    assert told("Environment=A=%H") == [
        "Service.Environment: is not carried over: %H is not known here"
    ]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ("nonsense", 3),
        ("[broken", 3),
        ("Restart=sometimes", 3),
        ("Type=odd", 3),
        ("TimeoutStopSec=soon", 3),
        ("Nice=20", 3),
        ("UMask=9", 3),
        ("LimitNOFILE=many", 3),
        ("NoNewPrivileges=perhaps", 3),
        ("KillMode=odd", 3),
        ("Environment=A", 3),
        ("Environment='A=1", 3),
        ("\nExecStart=/bin/x 'y", 4),
    ],
)
def test_what_is_wrong_is_refused_at_its_line(settings: str, line: int) -> None:
    assert line in [at for at, _ in refused(settings)]


def test_a_unit_that_is_no_service_is_refused() -> None:
    assert converted.refused("[Timer]\nOnCalendar=daily\n", "x.timer", "systemd") == [
        (1, ": has no section [Service]: only service units can be converted")
    ]
    (fault,) = converted.refused("[Unit]\n[Service]\nType=simple\n", "x.service", "systemd")
    assert fault == (2, "Service.ExecStart: is missing: there is nothing to run") or fault[0] == 1


def test_comments_stay_and_settings_that_are_commented_out_do_not() -> None:
    text = "# The web\n[Service]\n#User=x\nExecStart=/bin/prog\n"
    printed, _ = convert(text, "web.service", "systemd")
    assert printed.startswith("# The web\n[component.web]\n")
    assert "User" not in printed
