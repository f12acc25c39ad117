"""What the keys of a right configuration become."""

from __future__ import annotations

import signal

import pytest

from config_text import component_of, plan_of, problems_of
from supervisor.model.component import (
    Component,
    Environment,
    InetAddress,
    Mode,
    Output,
    Respawn,
    UnixAddress,
    Where,
)
from supervisor.model.settings import ControlSettings, DaemonSettings, SourceFile

HEAD = '[component.x]\ncommand = "prog"\n'


def test_a_component_of_one_line_has_the_defaults_of_the_model() -> None:
    assert component_of(HEAD) == Component(
        tag="x", argv=("prog",), command="prog", source=Where("a.toml", 1)
    )


def test_everything_that_can_be_said_about_a_component() -> None:
    text = """
        [component.x]
        mode = "respawn"
        command = ["data", "-D", "/var/lib/db"]
        program = "/bin/prog"
        description = "the database"
        labels = { tier = "data", "a.b" = "" }
        flags = ["precious", "nullinput"]
        essential = true
        user = "postgres"
        group = ["adm", "wheel"]
        allgroups = true
        umask = "027"
        chdir = "/srv"
        env = { A = "1", B = { unset = true } }
        env-keep = ["PATH", "LC_*"]
        stop-signal = "SIGINT"
        stop-timeout = 2.5
        respawn = { max = 3, window = 10, sleep = 0, delay = 0.5, delay-max = 4 }
        stdout = { file = "x.log", rotate-size = "50MiB", rotate-keep = 2 }
        stderr = "stdout"
        """
    assert component_of(text) == Component(
        tag="x",
        mode=Mode.RESPAWN,
        argv=("data", "-D", "/var/lib/db"),
        command="data -D /var/lib/db",
        program="/bin/prog",
        description="the database",
        labels={"tier": "data", "a.b": ""},
        source=Where("a.toml", 2),
        precious=True,
        essential=True,
        respawn=Respawn(max=3, window=10.0, sleep=0.0, delay=0.5, delay_max=4.0),
        stop_signal=signal.SIGINT,
        stop_timeout=2.5,
        user="postgres",
        group=("adm", "wheel"),
        allgroups=True,
        umask=0o027,
        chdir="/srv",
        env=Environment(clear=True, keep=("PATH", "LC_*"), unset=("B",), set={"A": "1"}),
        nullinput=True,
        stdout=Output(
            kind="file", path="/var/log/piesd/x.log", rotate_size=50 * 1024**2, rotate_keep=2
        ),
        stderr=Output(kind="stdout"),
    )


@pytest.mark.parametrize(
    ("written", "mode"),
    [
        ("respawn", Mode.RESPAWN),
        ("exec", Mode.RESPAWN),
        ("once", Mode.ONCE),
        ("startup", Mode.STARTUP),
        ("shutdown", Mode.SHUTDOWN),
    ],
)
def test_modes_and_their_synonyms(written: str, mode: Mode) -> None:
    assert component_of(f"{HEAD}mode = '{written}'").mode is mode


@pytest.mark.parametrize("written", ["inetd", "nostartaccept"])
def test_a_listener(written: str) -> None:
    socket = "socket = 'unix:///run/x;mode=0660;user=me;group=adm'"
    component = component_of(f"{HEAD}mode = '{written}'\n{socket}\nmax-instances = 4")
    assert component.mode is Mode.INETD
    assert component.sockets[0] == UnixAddress(path="/run/x", mode=0o660, user="me", group="adm")
    assert component.max_instances == 4


def test_a_required_startup_component() -> None:
    assert component_of(HEAD + "mode = 'startup'\nrequired = true").required


# --- commands


@pytest.mark.parametrize(
    ("written", "argv"),
    [
        ("'prog a  b'", ("prog", "a", "b")),
        ("'''prog 'a b' \"c d\" e\\ f '''''", ("prog", "a b", "c d", "e f", "")),
        ("'prog $HOME ~ * %d # x'", ("prog", "$HOME", "~", "*", "%d", "#", "x")),
        ("['prog', '$A', '%%s', 'a \"b', '']", ("prog", "$A", "%%s", 'a "b', "")),
        ("\"prog 'a\\nb'\"", ("prog", "a\nb")),
        ("['prog', '''a\nb\n''']", ("prog", "a\nb\n")),
    ],
)
def test_commands_become_words_and_nothing_in_them_is_replaced(
    written: str, argv: tuple[str, ...]
) -> None:
    assert component_of(f"[component.x]\ncommand = {written}").argv == argv


def test_a_shell_gets_the_command_as_it_is() -> None:
    component = component_of("[component.x]\ncommand = 'a | b $C'\nshell = true")
    assert component.argv == ("/bin/sh", "-c", "a | b $C")
    assert (component.command, component.program) == ("a | b $C", None)


def test_another_shell() -> None:
    text = "[component.x]\ncommand = 'a'\nflags = 'shell'\nprogram = '/bin/prog'"
    component = component_of(text)
    assert (component.argv, component.program) == (("/bin/prog", "-c", "a"), None)


def test_a_list_is_shown_as_a_shell_would_read_it() -> None:
    assert component_of("[component.x]\ncommand = ['prog', 'a b']").command == "prog 'a b'"


# --- flags


@pytest.mark.parametrize(
    ("defaults", "own", "enabled"),
    [
        ("", "", True),
        ("", "enabled = false", False),
        ("", "disable = true", False),
        ("", "flags = ['disable']", False),
        ("", "disable = false", True),
        ("disable = true", "", False),
        ("disable = true", "enabled = true", True),
        ("flags = ['disable']", "disable = false", True),
        ("enabled = false", "flags = ['precious']", False),
        ("enabled = true", "flags = ['disable']", False),
        ("flags = ['disable']", "flags = []", True),
        ("", "enabled = false\ndisable = true\nflags = 'disable'", False),
    ],
)
def test_what_a_component_says_about_itself_wins_however_it_says_it(
    defaults: str, own: str, *, enabled: bool
) -> None:
    assert component_of(f"[defaults]\n{defaults}\n{HEAD}{own}").enabled is enabled


@pytest.mark.parametrize("flag", ["precious", "nullinput"])
def test_flags_are_booleans_of_that_name(flag: str) -> None:
    assert not getattr(component_of(HEAD), flag)
    assert getattr(component_of(f"{HEAD}{flag} = true"), flag)
    assert getattr(component_of(f"{HEAD}flags = '{flag}'"), flag)


# --- instances


def test_instances_are_numbered_from_one() -> None:
    tags = [each.tag for each in plan_of(HEAD + "instances = 3").components]
    assert tags == ["x:1", "x:2", "x:3"]


def test_one_instance_is_an_instance_too() -> None:
    component = component_of(HEAD + "instances = 1")
    assert (component.tag, component.template, component.instance) == ("x:1", "x", 1)
    component = component_of(HEAD)
    assert (component.tag, component.template, component.instance) == ("x", None, None)


def test_the_number_stands_in_every_string() -> None:
    text = """
        [component.x]
        instances = 2
        command = ["prog", "${instance}-${instance}", "$${instance}", "$$${instance}", "$instance"]
        description = "number ${instance}"
        labels = { n = "${instance}" }
        env = { PORT = "800${instance}", RAW = "$${instance}" }
        stdout = { file = "x-${instance}.log" }
        user = "me"
        """
    second = plan_of(text).components[1]
    assert second.argv == ("prog", "2-2", "${instance}", "$${instance}", "$instance")
    assert second.description == "number 2"
    assert second.labels == {"n": "2"}
    assert second.env.set == {"PORT": "8002", "RAW": "${instance}"}
    assert second.stdout.path == "/var/log/piesd/x-2.log"


def test_the_number_chooses_a_socket_and_a_prerequisite() -> None:
    text = """
        [component.db]
        instances = 2
        command = "prog"
        [component.x]
        instances = 2
        mode = "inetd"
        command = "prog"
        socket = "inet://127.0.0.1:900${instance}"
        prerequisites = "db:${instance}"
        """
    second = plan_of(text).components[3]
    assert second.sockets[0] == InetAddress(host="127.0.0.1", port=9002)
    assert second.prerequisites == ("db:2",)


def test_an_escaped_number_is_literal_without_instances_too() -> None:
    assert component_of(HEAD + "description = '$${instance}'").description == "${instance}"


def test_more_instances_leave_the_others_as_they_are() -> None:
    three = plan_of(HEAD + "instances = 3").components
    four = plan_of(HEAD + "instances = 4").components
    assert four[:3] == three


# --- prerequisites


def needs(text: str) -> dict[str, tuple[str, ...]]:
    return {each.tag: each.prerequisites for each in plan_of(text).components}


def component(tag: str, more: str = "") -> str:
    return f"[component.{tag}]\ncommand = 'prog'\n{more}\n"


def test_prerequisites_keep_their_order_and_count_once() -> None:
    text = component("a") + component("b") + component("x", "prerequisites = ['b', 'a', 'b']")
    assert needs(text)["x"] == ("b", "a")


def test_all_is_every_component_that_stands_before() -> None:
    text = (
        component("s", "mode = 'startup'")
        + component("a", "instances = 2")
        + component("down", "mode = 'shutdown'")
        + component("x", "prerequisites = 'all'\ninstances = 2")
        + component("b")
    )
    assert needs(text)["x:2"] == ("s", "a:1", "a:2")
    assert needs(text)["b"] == ()


def test_all_for_startup_and_shutdown_means_their_own_kind() -> None:
    text = (
        component("a")
        + component("s", "mode = 'startup'")
        + component("d", "mode = 'shutdown'")
        + component("s2", "mode = 'startup'\nprerequisites = ['all']")
        + component("d2", "mode = 'shutdown'\nprerequisites = ['all']")
    )
    assert needs(text)["s2"] == ("s",)
    assert needs(text)["d2"] == ("d",)


def test_none_wins_over_a_default() -> None:
    text = (
        "[defaults]\nprerequisites = ['a']\n"
        + component("a", "prerequisites = 'none'")
        + component("b", "prerequisites = ['none']")
        + component("c")
    )
    assert needs(text) == {"a": (), "b": (), "c": ("a",)}


def test_a_template_is_all_its_instances() -> None:
    text = component("x", "prerequisites = ['a', 'a:1']") + component("a", "instances = 2")
    assert needs(text)["x"] == ("a:1", "a:2")


def test_dependents_are_prerequisites_the_other_way_round() -> None:
    text = component("a", "dependents = ['x']\ninstances = 2") + component("x")
    assert needs(text)["x"] == ("a:1", "a:2")


def test_prerequisites_may_be_in_another_file() -> None:
    plan = plan_of(component("x", "prerequisites = ['y']"), component("y"))
    assert [each.tag for each in plan.components] == ["x", "y"]
    assert plan.components[0].prerequisites == ("y",)


# --- defaults, and what [daemon] gives


def test_a_default_holds_for_all_files_and_a_component_wins_as_a_whole() -> None:
    defaults = "[defaults]\nstop-timeout = 1\nenv = { A = '1' }\nrespawn = { max = 3 }"
    first, second = plan_of(
        component("a", "stop-timeout = 2\nenv = { B = '2' }\nrespawn = { sleep = 1 }"),
        component("b"),
        defaults,
    ).components
    assert (first.stop_timeout, second.stop_timeout) == (2.0, 1.0)
    assert (first.env.set, second.env.set) == ({"B": "2"}, {"A": "1"})
    assert (first.respawn.max, second.respawn.max) == (10, 3)


def test_a_default_command() -> None:
    assert component_of("[defaults]\ncommand = 'prog'\n[component.x]").argv == ("prog",)


def test_a_default_that_means_nothing_in_a_mode_is_ignored_there() -> None:
    plan = plan_of(
        "[defaults]\nmax-instances = 3\nrequired = true\nnullinput = true\n"
        + component("a")
        + component("b", "mode = 'inetd'\nsocket = 'unix:///run/b'")
        + component("c", "mode = 'startup'")
    )
    a, b, c = plan.components
    assert (a.max_instances, b.max_instances) == (None, 3)
    assert (a.required, c.required) == (False, True)
    assert (a.nullinput, b.nullinput) == (True, False)
    assert not plan.warnings


def test_the_environment_and_the_umask_of_daemon_lie_below() -> None:
    daemon = """
        [daemon]
        umask = "022"
        env = { LANG = "C", A = "daemon", B = "daemon", GONE = { unset = true }, N = "${instance}" }
        """
    own = "env = { A = 'own', B = { unset = true }, GONE = 'back' }\numask = '077'"
    first, second = plan_of(daemon + component("x", own) + component("y")).components
    assert first.env.set == {"LANG": "C", "A": "own", "GONE": "back", "N": "${instance}"}
    assert first.env.unset == ("B",)
    assert second.env.unset == ("GONE",)
    assert (first.umask, second.umask) == (0o077, 0o022)


def test_clearing_is_said_by_either_key() -> None:
    assert component_of(HEAD).env == Environment()
    assert component_of(HEAD + "env-clear = true").env == Environment(clear=True)
    assert component_of(HEAD + "env-keep = 'PATH'").env == Environment(clear=True, keep=("PATH",))


# --- single values


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("15", 15),
        ("'TERM'", 15),
        ("'SIGTERM'", 15),
        ("'sigusr1'", signal.SIGUSR1),
        ("'SIGRTMIN+3'", signal.SIGRTMIN + 3),
        ("'RTMAX-1'", signal.SIGRTMAX - 1),
    ],
)
def test_signals(written: str, number: int) -> None:
    assert component_of(f"{HEAD}stop-signal = {written}").stop_signal == number


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("'4096'", 4096),
        ("'10k'", 10 * 1024),
        ("'10 KiB'", 10 * 1024),
        ("'10kB'", 10_000),
        ("'1.5MiB'", 3 * 512 * 1024),
        ("'1G'", 1024**3),
        ("'2tb'", 2 * 1000**4),
    ],
)
def test_sizes(written: str, size: int) -> None:
    text = f"{HEAD}stdout = {{ file = 'x', rotate-size = {written} }}"
    assert component_of(text).stdout.rotate_size == size


@pytest.mark.parametrize(
    ("written", "output"),
    [
        ("'inherit'", Output()),
        ("'null'", Output(kind="null")),
        ("'x.log'", Output(kind="file", path="/var/log/piesd/x.log")),
        ("'/srv/x.log'", Output(kind="file", path="/srv/x.log")),
        ("{ file = '/srv/x.log' }", Output(kind="file", path="/srv/x.log")),
    ],
)
def test_outputs(written: str, output: Output) -> None:
    assert component_of(f"{HEAD}stdout = {written}").stdout == output
    assert component_of(f"{HEAD}stderr = {written}").stderr == output


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("inet://127.0.0.1:80", "127.0.0.1", 80),
        ("INET+TCP://127.0.0.1:http", "127.0.0.1", 80),
        ("inet://*:80", "0.0.0.0", 80),
        ("inet://:80", "0.0.0.0", 80),
        ("inet://localhost:80", "127.0.0.1", 80),
        ("inet://[::1]:80", "::1", 80),
        ("inet://[0:0::1]:80", "::1", 80),
        ("inet6://*:80", "::", 80),
        ("inet6://localhost:80", "::1", 80),
        ("inet6+tcp://[::]:0", "::", 0),
    ],
)
def test_tcp_addresses(url: str, host: str, port: int) -> None:
    component = component_of(f"{HEAD}mode = 'inetd'\nsocket = '{url}'")
    assert component.sockets[0] == InetAddress(host=host, port=port)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("unix:///run/x", "/run/x"),
        ("local:///run/x", "/run/x"),
        ("FILE:///run/a b", "/run/a b"),
        ("unix://run/x", "/srv/run/x"),
    ],
)
def test_unix_addresses(url: str, path: str) -> None:
    component = component_of(f"{HEAD}mode = 'inetd'\nchdir = '/srv'\nsocket = '{url}'")
    assert component.sockets[0] == UnixAddress(path=path)


def test_limits_belong_to_what_is_allowed() -> None:
    path = "/" + "x" * 106
    text = f"{HEAD}mode = 'inetd'\nstop-timeout = 1e9\nsocket = 'unix://{path}'"
    component = component_of(text)
    assert component.sockets[0] == UnixAddress(path=path)
    assert component.stop_timeout == 1e9


# --- piesd itself


def test_the_settings_of_root() -> None:
    plan = plan_of(HEAD)
    assert plan.daemon == DaemonSettings(
        runtime_directory="/run/piesd",
        state_directory="/var/lib/piesd",
        log_directory="/var/log/piesd",
    )
    assert plan.control == ControlSettings(
        sockets=(UnixAddress(path="/run/piesd/piesd.ctl", mode=0o600),)
    )
    assert plan.files == (SourceFile("a.toml", ""),)


@pytest.mark.parametrize(
    ("environ", "runtime", "state"),
    [
        (
            {"HOME": "/home/me", "XDG_RUNTIME_DIR": "/run/user/1000"},
            "/run/user/1000/piesd",
            "/home/me/.local/state/piesd",
        ),
        ({"HOME": "/home/me"}, "/tmp/piesd-1000", "/home/me/.local/state/piesd"),
        (
            {"XDG_RUNTIME_DIR": "relative", "XDG_STATE_HOME": "/s", "HOME": "/h"},
            "/tmp/piesd-1000",
            "/s/piesd",
        ),
        ({"XDG_STATE_HOME": "s", "HOME": "/h"}, "/tmp/piesd-1000", "/h/.local/state/piesd"),
    ],
)
def test_the_directories_of_everybody_else(
    environ: dict[str, str], runtime: str, state: str
) -> None:
    plan = plan_of(HEAD, environ={**environ, "PATH": "/bin"}, euid=1000)
    assert plan.daemon.runtime_directory == runtime
    assert plan.daemon.state_directory == state
    assert plan.daemon.log_directory == f"{state}/log"
    assert plan.control.sockets == (UnixAddress(path=f"{runtime}/piesd.ctl", mode=0o600),)


def test_everything_that_can_be_said_about_piesd() -> None:
    text = """
        [daemon]
        instance = "shop"
        runtime-directory = "/run/shop"
        state-directory = "/var/lib/shop"
        log-directory = "/srv"
        pidfile = "/run/shop.pid"
        qotd-file = "/srv/quote"
        shutdown-timeout = 20
        log-level = "debug"
        log-format = "json"
        include = ["*.toml"]
        [control]
        socket = ["unix:///run/x;mode=660;group=adm", "inet://127.0.0.1:8073", "inet://[::1]:1"]
        anonymous = "list"
        """
    plan = plan_of(text + HEAD + "stdout = 'x'")
    assert plan.daemon == DaemonSettings(
        instance="shop",
        runtime_directory="/run/shop",
        state_directory="/var/lib/shop",
        log_directory="/srv",
        pidfile="/run/shop.pid",
        qotd_file="/srv/quote",
        shutdown_timeout=20.0,
        log_level="debug",
        log_format="json",
    )
    assert plan.control == ControlSettings(
        sockets=(
            UnixAddress(path="/run/x", mode=0o660, group="adm"),
            InetAddress(host="127.0.0.1", port=8073),
            InetAddress(host="::1", port=1),
        ),
        anonymous="list",
    )
    assert plan.components[0].stdout.path == "/srv/x"


def test_the_default_socket_follows_instance_and_runtime_directory() -> None:
    (socket,) = plan_of("[daemon]\nruntime-directory = '/r'\ninstance = 'i'").control.sockets
    assert socket.url == "unix:///r/i.ctl"


def test_the_option_wins_over_the_environment_and_that_over_the_file() -> None:
    text = "[daemon]\ninstance = 'file'\n" + HEAD
    environ = {"PIESD_INSTANCE": "env", "PATH": "/bin"}
    assert plan_of(text).daemon.instance == "file"
    assert plan_of(text, environ=environ).daemon.instance == "env"
    assert plan_of(text, environ=environ, instance="option").daemon.instance == "option"


def test_an_instance_from_outside_is_checked_too() -> None:
    (problem,) = problems_of(HEAD, instance="a/b")
    assert (problem.file, problem.key) == ("command line", "--instance")
    (problem,) = problems_of(HEAD, environ={"PIESD_INSTANCE": "..", "PATH": "/bin"})
    assert (problem.file, problem.key) == ("environment", "PIESD_INSTANCE")


def test_sockets_from_the_command_line_replace_those_of_the_file() -> None:
    text = "[control]\nsocket = 'inet://0.0.0.0:1'\n" + HEAD
    (socket,) = plan_of(text, sockets=["unix:///run/y"]).control.sockets
    assert socket.url == "unix:///run/y"
    (problem,) = problems_of(text, sockets=["tcp://x"])
    assert (problem.file, problem.key) == ("command line", "--socket")


def test_a_runtime_directory_too_long_for_a_socket_does_not_matter_without_one() -> None:
    text = f"[daemon]\nruntime-directory = '/{'x' * 99}'\n[control]\nsocket = 'unix:///run/x'\n"
    assert plan_of(text + HEAD).control.sockets
    text = text.replace("socket = 'unix:///run/x'", "anonymous = 'list'")
    (problem,) = problems_of(text + HEAD)
    assert problem.key == "daemon.runtime-directory"
    (problem,) = problems_of(HEAD, environ={"XDG_RUNTIME_DIR": "/" + "x" * 99}, euid=1000)[:1]
    assert (problem.file, problem.key) == ("environment", "XDG_RUNTIME_DIR")
