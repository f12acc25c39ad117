"""What pies' statements and our own additions to them become in the model."""

from __future__ import annotations

import signal

import pytest

from config_text import component_of, plan_of, problems_of
from supervisor.model.component import (
    Check,
    Environment,
    EnvStep,
    ExitAction,
    InetAddress,
    Output,
    UnixAddress,
)
from supervisor.model.settings import MailSettings, SyslogSettings

HEAD = '[component.x]\ncommand = "prog"\n'

# --- limits and other properties of the process


@pytest.mark.parametrize(
    ("written", "limits"),
    [
        ("{}", {}),
        (
            '{ nofile = 1024, core = 0, as = "64MiB", cpu = 60, nproc = "unlimited" }',
            {"nofile": 1024, "core": 0, "as": 64 * 1024**2, "cpu": 60, "nproc": -1},
        ),
        (
            '"A1 C2 D3 F4 M5 N6 R7 S8 T9 U10"',
            {
                "as": 1024,
                "core": 2048,
                "data": 3072,
                "fsize": 4096,
                "memlock": 5120,
                "nofile": 6,
                "rss": 7168,
                "stack": 8192,
                "cpu": 540,
                "nproc": 10,
            },
        ),
        ('" t10r 20 U16 "', {"cpu": 600, "rss": 20480, "nproc": 16}),
    ],
)
def test_limits_by_name_and_by_the_letters_of_pies(written: str, limits: dict[str, int]) -> None:
    assert component_of(f"{HEAD}limits = {written}").limits == limits


@pytest.mark.parametrize(
    ("written", "nice"),
    [
        ("", None),
        ("nice = -5", -5),
        ("limits = 'P20'", 19),
        ("limits = 'N5 P -20'", -20),
        ("limits = 'P3'\nnice = 4", 4),
    ],
)
def test_the_priority_from_its_key_or_from_the_letter(written: str, nice: int | None) -> None:
    assert component_of(HEAD + written).nice == nice


def test_the_limits_of_daemon_are_the_default_of_each_resource() -> None:
    plan = plan_of(
        "[daemon]\nlimits = 'N100 C0 P5'\n",
        HEAD + "limits = { nofile = 7, cpu = 1 }\n[component.y]\ncommand = 'prog'\nnice = 1\n",
    )
    x, y = plan.components
    assert x.limits == {"nofile": 7, "core": 0, "cpu": 1}
    assert y.limits == {"nofile": 100, "core": 0}
    assert (x.nice, y.nice) == (5, 1)


def test_the_limit_l_of_pies_is_a_warning_and_nothing_else() -> None:
    plan = plan_of(HEAD + "limits = 'L5 N6'")
    assert plan.components[0].limits == {"nofile": 6}
    (warning,) = plan.warnings
    assert (warning.line, warning.key) == (3, "component.x.limits")
    assert "has no effect" in warning.message


@pytest.mark.parametrize(
    ("written", "cpus"),
    [("[3, 1, 1]", (1, 3)), ("'0-2,1, 3'", (0, 1, 2, 3)), ("'2'", (2,))],
)
def test_processors_as_a_list_and_as_ranges(written: str, cpus: tuple[int, ...]) -> None:
    assert component_of(f"{HEAD}cpu-affinity = {written}").cpu_affinity == cpus


def test_the_other_properties_of_the_process() -> None:
    component = component_of(
        HEAD + "oom-score-adj = 500\nno-new-privileges = true\nstart-condition = \"prog 'a b'\"\n"
    )
    assert component.oom_score_adj == 500
    assert component.no_new_privileges
    assert component.start_condition == ("prog", "a b")


def test_files_to_remove_and_the_old_name_of_the_key() -> None:
    text = HEAD + "chdir = '/srv'\nremove-file = ['/run/x', 'y']\nrmfile = '/run/x'"
    assert component_of(text).remove_file == ("/run/x", "/srv/y")
    assert component_of(HEAD + "rmfile = '/run/x'").remove_file == ("/run/x",)


# --- stopping, expanding, counting


@pytest.mark.parametrize(
    ("written", "scope"),
    [
        ("", "group"),
        ("siggroup = true", "group"),
        ("siggroup = false", "leader"),
        ("flags = 'siggroup'", "group"),
    ],
)
def test_who_gets_the_stop_signal(written: str, scope: str) -> None:
    assert component_of(HEAD + written).stop_scope == scope


def test_what_a_component_says_about_its_group_wins_over_a_default() -> None:
    text = "[defaults]\nsiggroup = false\n" + HEAD
    assert component_of(text).stop_scope == "leader"
    assert component_of(text + "flags = ['siggroup']").stop_scope == "group"


@pytest.mark.parametrize("written", ["expandenv = true", "flags = 'expandenv'"])
def test_a_command_that_is_expanded_at_each_start_is_kept_as_it_is(written: str) -> None:
    component = component_of(f"[component.x]\ncommand = \"prog '${{A:-b c}}' $D\"\n{written}")
    assert component.expandenv
    assert component.command == "prog '${A:-b c}' $D"
    assert component.argv[0] == "prog"


def test_with_a_shell_the_shell_expands() -> None:
    plan = plan_of(HEAD + "shell = true\nexpandenv = true")
    assert not plan.components[0].expandenv
    (warning,) = plan.warnings
    assert (warning.line, warning.key) == (4, "component.x.expandenv")


def test_a_program_whose_name_is_expanded_is_not_looked_for() -> None:
    assert not plan_of("[component.x]\ncommand = '$PROG a'\nexpandenv = true").warnings


def test_a_template_has_a_number_of_instances_at_once() -> None:
    plan = plan_of(HEAD + "mode = 'once'\ninstances = 3\nmax-instances = 2")
    assert [each.max_instances for each in plan.components] == [2, 2, 2]
    assert not plan.warnings


def test_a_number_of_instances_of_one_that_has_none_is_a_warning() -> None:
    plan = plan_of(HEAD + "max-instances = 2")
    assert plan.components[0].max_instances is None
    (warning,) = plan.warnings
    assert (warning.line, warning.key) == (3, "component.x.max-instances")


# --- the environment


def test_secrets_come_from_files() -> None:
    env = component_of(HEAD + "env = { A = 'b', S = { file = '/etc/secret' } }").env
    assert env == Environment(set={"A": "b"}, files={"S": "/etc/secret"})


def test_the_list_of_steps_keeps_their_order() -> None:
    text = """
        env = [
          { set = "A=1" }, { keep = "LC_*" }, { unset = "B*" }, { eval = "${C:=d}" },
          { append = "P=:x" }, { prepend = "P=y:" }, { keep = "D=e" }, { set = "A=$A" },
        ]
        """
    assert component_of(HEAD + text).env == Environment(
        clear=True,
        keep=("LC_*", "D=e"),
        steps=(
            EnvStep("set", "A=1"),
            EnvStep("unset", "B*"),
            EnvStep("eval", "${C:=d}"),
            EnvStep("append", "P=:x"),
            EnvStep("prepend", "P=y:"),
            EnvStep("set", "A=$A"),
        ),
    )


def test_a_list_that_only_clears() -> None:
    assert component_of(HEAD + "env = [{ clear = true }]").env == Environment(clear=True)


def test_a_table_of_daemon_is_merged_and_a_list_is_a_base() -> None:
    merged = component_of(
        "[daemon]\nenv = { A = '1', B = '2', S = { file = '/etc/secret' }, U = { unset = true } }\n"
        + HEAD
        + "env = { A = { unset = true }, S = 'own', B = { file = '/etc/secret' } }"
    )
    assert merged.env == Environment(unset=("U", "A"), set={"S": "own"}, files={"B": "/etc/secret"})
    assert merged.env_base == Environment()
    based = component_of(
        "[daemon]\nenv = [{ keep = 'PATH' }, { set = 'A=1' }]\n" + HEAD + "env = { B = '2' }"
    )
    assert based.env == Environment(set={"B": "2"})
    assert based.env_base == Environment(clear=True, keep=("PATH",), steps=(EnvStep("set", "A=1"),))


def test_steps_come_after_a_table_of_daemon() -> None:
    env = component_of("[daemon]\nenv = { A = '1' }\n" + HEAD + "env = [{ set = 'B=$A' }]").env
    assert env == Environment(set={"A": "1"}, steps=(EnvStep("set", "B=$A"),))


def test_nothing_is_said_about_a_path_that_is_made_at_the_start() -> None:
    text = "[component.x]\ncommand = 'nope'\n"
    assert plan_of(text).warnings
    assert not plan_of(text + "env = [{ set = 'PATH=/opt' }]").warnings
    assert not plan_of("[daemon]\nenv = [{ set = 'PATH=/opt' }]\n" + text).warnings


# --- readiness and health


@pytest.mark.parametrize(
    ("written", "check"),
    [
        ("'notify'", Check(kind="notify")),
        ("{ notify = true, timeout = 5 }", Check(kind="notify", timeout=5.0)),
        ("{ fd = 4 }", Check(kind="fd", fd=4)),
        (
            "{ tcp = '127.0.0.1:5432', interval = 0.5 }",
            Check(kind="tcp", target="127.0.0.1:5432", interval=0.5),
        ),
        ("{ tcp = '/run/x.sock' }", Check(kind="tcp", target="/run/x.sock")),
        ("{ http = 'https://[::1]:80/x' }", Check(kind="http", target="https://[::1]:80/x")),
        ("{ exec = \"prog 'a b'\" }", Check(kind="exec", argv=("prog", "a b"))),
    ],
)
def test_what_ready_means(written: str, check: Check) -> None:
    assert component_of(f"{HEAD}ready = {written}").ready == check


def test_health_has_defaults_of_its_own() -> None:
    component = component_of(HEAD + "health = { exec = ['prog', '-h'] }")
    assert component.ready is None
    assert component.health == Check(
        kind="exec", argv=("prog", "-h"), timeout=5.0, interval=10.0, failures=3
    )


def test_checks_as_defaults_are_ignored_where_they_mean_nothing() -> None:
    plan = plan_of(
        "[defaults]\nready = 'notify'\nhealth = { tcp = 'a:1' }\n"
        + HEAD
        + "[component.y]\ncommand = 'prog'\nmode = 'once'\n"
        "[component.z]\ncommand = 'prog'\nmode = 'inetd'\nsocket = 'unix:///z'\n"
    )
    x, y, z = plan.components
    assert (bool(x.ready), bool(x.health)) == (True, True)
    assert (bool(y.ready), bool(y.health)) == (True, False)
    assert (bool(z.ready), bool(z.health)) == (False, False)


# --- exit actions


def test_exit_actions_its_own_before_those_of_all() -> None:
    text = """
        [[on-exit]]
        codes = "EX_USAGE"
        notify = "root"

        [component.x]
        command = "prog"
        on-exit = [
          { codes = ["EX_CONFIG", 2, "64-66", "5"], action = "disable", notify = "a@b, c@d" },
          { codes = ["SIGSEGV", "SIG+15", "SIGRTMIN+3"], exec = "prog 'a b'" },
        ]

        [[on-exit]]
        codes = 0
        exec = ["prog"]
        """
    everybody = (
        ExitAction(codes=(64,), notify=("root",)),
        ExitAction(codes=(0,), exec=("prog",)),
    )
    assert component_of(text).exit_actions == (
        ExitAction(codes=(78, 2, 64, 65, 66, 5), action="disable", notify=("a@b", "c@d")),
        ExitAction(signals=(signal.SIGSEGV, 15, int(signal.SIGRTMIN) + 3), exec=("prog", "a b")),
        *everybody,
    )


def test_exit_actions_of_all_come_from_all_files() -> None:
    plan = plan_of(
        "on-exit = { codes = 1, exec = 'prog' }\n" + HEAD, "[[on-exit]]\ncodes = 2\nexec = 'prog'"
    )
    assert [action.codes for action in plan.components[0].exit_actions] == [(1,), (2,)]


def test_the_instance_in_a_mail_is_that_of_piesd() -> None:
    text = HEAD + "on-exit = { codes = 1, notify = 'a', message = '${instance}', exec = 'prog %s' }"
    (action,) = component_of(text % "x").exit_actions
    assert action.message == "${instance}"
    (one,) = component_of(text % "${instance}" + "\ninstances = 1").exit_actions
    assert (one.message, one.exec) == ("${instance}", ("prog", "1"))
    (problem,) = problems_of(text % "${instance}")
    assert problem.key == "component.x.on-exit.exec"


def test_an_action_with_a_warning_is_not_lost() -> None:
    plan = plan_of(HEAD + "on-exit = [{ codes = 1, exec = 'prog > x' }]")
    assert plan.components[0].exit_actions[0].exec == ("prog", ">", "x")
    (warning,) = plan.warnings
    assert "/bin/sh -c" in warning.message


# --- output


@pytest.mark.parametrize(
    ("written", "output"),
    [
        ("'syslog'", Output(kind="syslog", facility="daemon", priority="err")),
        ("'syslog:info'", Output(kind="syslog", facility="daemon", priority="info")),
        ("'syslog:LOCAL3.Err'", Output(kind="syslog", facility="local3", priority="err")),
        ("{ syslog = 'mail.crit' }", Output(kind="syslog", facility="mail", priority="crit")),
        ("'journal'", Output(kind="journal")),
        ("'file:x.log'", Output(kind="file", path="/var/log/piesd/x.log")),
        ("'file:/srv/null'", Output(kind="file", path="/srv/null")),
        (
            "{ file = 'x', rotate-size = 10, compress = true, timestamps = true }",
            Output(
                kind="file",
                path="/var/log/piesd/x",
                rotate_size=10,
                compress=True,
                timestamps=True,
            ),
        ),
    ],
)
def test_where_output_goes(written: str, output: Output) -> None:
    assert component_of(f"{HEAD}stderr = {written}").stderr == output


def test_output_without_a_facility_has_that_of_syslog() -> None:
    text = (
        "[syslog]\nfacility = 'local1'\n" + HEAD + "stdout = 'syslog'\nstderr = 'syslog:mail.err'"
    )
    component = component_of(text)
    assert component.stdout == Output(kind="syslog", facility="local1", priority="info")
    assert component.stderr.facility == "mail"


# --- piesd itself


def test_the_settings_of_piesd_itself() -> None:
    plan = plan_of(
        """
        [daemon]
        log = "syslog"
        user = "me"
        group = ["adm"]
        allgroups = true
        [syslog]
        dev = "192.0.2.7:syslog"
        facility = "local0"
        tag = "shop"
        [mail]
        program = "/usr/sbin/sendmail"
        command-line = "sendmail -t"
        smtp = "[::1]:2525"
        from = "pies@example.org"
        """
        + HEAD
    )
    daemon = plan.daemon
    assert (daemon.log, daemon.user, daemon.group) == ("syslog", "me", ("adm",))
    assert daemon.allgroups
    assert daemon.syslog == SyslogSettings(dev="192.0.2.7:514", facility="local0", tag="shop")
    assert daemon.mail == MailSettings(
        command_line="sendmail -t", smtp="[::1]:2525", sender="pies@example.org"
    )
    assert not plan.warnings


@pytest.mark.parametrize("dev", ["/run/log", "192.0.2.7", "192.0.2.7:99"])
def test_where_syslog_is(dev: str) -> None:
    assert plan_of(f"[syslog]\ndev = '{dev}'\n{HEAD}").daemon.syslog.dev == dev


def test_a_socket_on_a_host_by_its_name_and_with_an_umask() -> None:
    text = HEAD + "mode = 'inetd'\nsocket = '%s'"
    office = component_of(text % "inet://office.example.org:http").sockets[0]
    assert office == InetAddress(host="192.0.2.1", port=80)
    six = component_of(text % "inet6://office.example.org:80").sockets[0]
    assert six == InetAddress(host="2001:db8::1", port=80)
    masked = component_of(text % "unix:///x;umask=0117").sockets[0]
    assert masked == UnixAddress(path="/x", mode=0o660)
    both = component_of(text % "unix:///x;umask=077;mode=666").sockets[0]
    assert both == UnixAddress(path="/x", mode=0o666)
