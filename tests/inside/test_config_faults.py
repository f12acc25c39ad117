"""Every kind of fault gives its problem: the right line, the right key, words that help."""

from __future__ import annotations

import re
from textwrap import dedent

import pytest

from config_text import plan_of, problems_of

HEAD = '[component.x]\ncommand = "prog"\n'

# What is added to a good component (from line 3 on), the line and key of the problem, its words.
IN_A_COMPONENT = [
    ('comand = "x"', 3, "comand", r"unknown key; did you mean 'command'\?"),
    ("stop_timeout = 1", 3, "stop_timeout", r"unknown key; did you mean 'stop-timeout'\?"),
    ("Umask = '022'", 3, "Umask", r"unknown key; did you mean 'umask'\?"),
    ("qqqq = 1", 3, "qqqq", "^unknown key$"),
    ('ready = "notify"', 3, "ready", "^is not supported yet$"),
    ("limits = {}", 3, "limits", "^is not supported yet$"),
    ("on-exit = []", 3, "on-exit", "^is not supported yet$"),
    ('mode = "respwn"', 3, "mode", r"one of respawn, once, .*; did you mean 'respawn'\?"),
    ('mode = "job"', 3, "mode", "'job' is not supported yet"),
    ('mode = "accept"', 3, "mode", "'accept' is not supported yet"),
    ("mode = 1", 3, "mode", 'must be a string, not an integer: write "1"'),
    ('mode = "inetd"', 1, "", "key 'socket' is missing"),
    ('socket = "unix:///run/x"', 3, "socket", "only for mode inetd"),
    ("max-instances = 3", 3, "max-instances", "only for mode inetd"),
    ('socket-type = "stream"', 3, "socket-type", "only for mode inetd"),
    ("required = true", 3, "required", "only for mode startup"),
    ('program = "prog"', 3, "program", "must be a full path, not 'prog'"),
    ('chdir = "srv"', 3, "chdir", "must be a full path, not 'srv'"),
    ('chdir = ""', 3, "chdir", "must not be empty"),
    ('user = "nobody-here"', 3, "user", "there is no user 'nobody-here'"),
    ("user = 1000", 3, "user", 'write "1000"'),
    ('group = "nobody-here"', 3, "group", "there is no group 'nobody-here'"),
    ('group = ["adm", "x"]', 3, "group", "there is no group 'x'"),
    ('group = ["adm",\n 3]', 4, "group[1]", "must be a string, not an integer"),
    ("umask = 22", 3, "umask", "octal digits .* not an integer"),
    ('umask = "0888"', 3, "umask", "octal digits"),
    ('umask = "1777"', 3, "umask", "octal digits"),
    ('prerequisites = ["y"]', 3, "prerequisites[0]", "there is no component 'y'"),
    ('prerequisites = "y"', 3, "prerequisites", "there is no component 'y'"),
    ('dependents = "y"', 3, "dependents", "there is no component 'y'"),
    ('prerequisites = ["x"]', 3, "prerequisites[0]", "a cycle of prerequisites: x → x"),
    ('prerequisites = ["none", "x"]', 3, "prerequisites", "'none' stands alone"),
    ("prerequisites = 3", 3, "prerequisites", "must be a tag or a list of tags"),
    ("instances = 0", 3, "instances", "must be 1 or more, not 0"),
    ("instances = true", 3, "instances", "must be a whole number, not a boolean"),
    ("instances = 2.0", 3, "instances", "must be a whole number, not a number"),
    ("instances = 10001", 3, "instances", "must be 10000 or less"),
    ('description = "${instance}"', 3, "description", r"needs the key 'instances'"),
    ('flags = ["disabel"]', 3, "flags[0]", r"unknown flag .*; did you mean 'disable'\?"),
    ('flags = ["siggroup"]', 3, "flags[0]", "not supported yet"),
    ("flags = true", 3, "flags", "must be a list of flags"),
    ("enabled = true\ndisable = true", 4, "disable", "contradicts"),
    ('precious = false\nflags = "precious"', 4, "flags", "contradicts"),
    ('enabled = "yes"', 3, "enabled", "must be true or false, not a string"),
    ("precious = 1", 3, "precious", "must be true or false, not an integer"),
    ("labels = { a = 1 }", 3, "labels.a", "must be a string"),
    ('labels = { "a=b" = "c" }', 3, 'labels."a=b"', "no name for a label"),
    ('labels = { "a b" = "c" }', 3, 'labels."a b"', "no name for a label"),
    ('labels = { "" = "c" }', 3, 'labels.""', "no name for a label"),
    ("labels = []", 3, "labels", "must be a table, not a list"),
    ("env = { A = 1 }", 3, "env.A", 'write "1"'),
    ('env = { "A=" = "x" }', 3, 'env."A="', "no name for a variable"),
    ('env = { A = "\\u0000" }', 3, "env.A", "null character"),
    ('env = { A = { file = "/x" } }', 3, "env.A.file", "not supported yet"),
    ("env = { A = { unset = false } }", 3, "env.A.unset", "must be true"),
    ("env = { A = { unst = true } }", 3, "env.A.unst", "did you mean 'unset'"),
    ("env = { A = {} }", 3, "env.A", r"a string or \{unset = true\}"),
    ("env = []", 3, "env", "must be a table"),
    ('env-clear = false\nenv-keep = "A"', 3, "env-clear", "contradicts"),
    ("env-keep = { a = 1 }", 3, "env-keep", "string or a list of strings, not a table"),
    ("stop-timeout = -1", 3, "stop-timeout", "0 or more seconds, not -1"),
    ("stop-timeout = nan", 3, "stop-timeout", "not nan"),
    ("stop-timeout = inf", 3, "stop-timeout", "not inf"),
    ("stop-timeout = true", 3, "stop-timeout", "not a boolean"),
    ('stop-timeout = "5s"', 3, "stop-timeout", "not a string"),
    (f"stop-timeout = 1{'0' * 400}", 3, "stop-timeout", "at most 1000000000 seconds"),
    ("stop-timeout = 2020-02-02", 3, "stop-timeout", "not a date or time"),
    ('stop-signal = "SIGTREM"', 3, "stop-signal", r"no signal .*; did you mean 'SIGTERM'\?"),
    ("stop-signal = 0", 3, "stop-signal", "no signal with that number"),
    ("stop-signal = 99", 3, "stop-signal", "no signal with that number"),
    ("stop-signal = true", 3, "stop-signal", "not a boolean"),
    ('stop-signal = "RTMAX+1"', 3, "stop-signal", "no signal 'RTMAX\\+1'"),
    ("respawn = 3", 3, "respawn", "must be a table"),
    ("respawn = { max = 0 }", 3, "respawn.max", "1 or more"),
    ("respawn = { window = 0 }", 3, "respawn.window", "more than 0"),
    ("respawn = { sleep = -1 }", 3, "respawn.sleep", "0 or more"),
    ("respawn = { delay = 31 }", 3, "respawn.delay", "at most delay-max, which is 30"),
    ("respawn = { wndow = 1 }", 3, "respawn.wndow", "did you mean 'window'"),
    ("respawn.max = -1", 3, "respawn.max", "1 or more"),
    ("[component.x.respawn]\nmax = 1\nsleep = nan", 5, "respawn.sleep", "not nan"),
    ('stdout = "logs/x"', 3, "stdout", "a full path, or a bare name"),
    ('stdout = ""', 3, "stdout", "must not be empty"),
    ('stdout = "/var/log/"', 3, "stdout", "a full path, or a bare name"),
    ('stdout = "stdout"', 3, "stdout", "no target for stdout"),
    ('stderr = "syslog:daemon.err"', 3, "stderr", "not supported yet"),
    ('stderr = "journal"', 3, "stderr", "not supported yet"),
    ("stdout = 1", 3, "stdout", "must be a string"),
    ("stdout = {}", 3, "stdout", "key 'file' is missing"),
    ('stdout = { file = "../x" }', 3, "stdout.file", "a full path, or a bare name"),
    ('stdout = { file = "x", compress = true }', 3, "stdout.compress", "not supported yet"),
    ('stdout = { file = "x", rotate-size = "5X" }', 3, "stdout.rotate-size", "must be a size"),
    ('stdout = { file = "x", rotate-size = -1 }', 3, "stdout.rotate-size", "must be a size"),
    ('stdout = { file = "x", rotate-size = 1.5 }', 3, "stdout.rotate-size", "must be a size"),
    ('stdout = { file = "x", rotate-size = "9999999T" }', 3, "stdout.rotate-size", "8 EiB"),
    ('stdout = { file = "x", rotate-keep = -1 }', 3, "stdout.rotate-keep", "0 or more"),
]


@pytest.mark.parametrize(
    ("added", "line", "key", "words"), IN_A_COMPONENT, ids=lambda v: str(v)[:40]
)
def test_a_fault_in_a_component_is_told_with_its_place(
    added: str, line: int, key: str, words: str
) -> None:
    (problem,) = problems_of(HEAD + added)
    assert (problem.file, problem.line) == ("a.toml", line)
    assert problem.key == f"component.x.{key}".rstrip(".")
    assert re.search(words, problem.message), problem.message
    assert not problem.warning


WHOLE_FILES = [
    ('[component.x]\nmode = "once"', 1, "component.x", "key 'command' is missing"),
    ("[component.x]\ncommand = 3", 2, "component.x.command", "string or a list of strings"),
    ("[component.x]\ncommand = []", 2, "component.x.command", "must name a program"),
    ("[component.x]\ncommand = ['']", 2, "component.x.command", "must name a program"),
    ("[component.x]\ncommand = '  '", 2, "component.x.command", "must name a program"),
    ("[component.x]\ncommand = ''", 2, "component.x.command", "must not be empty"),
    ("[component.x]\ncommand = 'a \"b'", 2, "component.x.command", "quotation mark is not closed"),
    ("[component.x]\ncommand = 'a \\'", 2, "component.x.command", "no escaped character"),
    ('[component.x]\ncommand = ["a\\u0000"]', 2, "component.x.command[0]", "null character"),
    ("[component.x]\nshell = true\ncommand = ['a']", 3, "component.x.command", "one string"),
    ("[component.x]\ncommand = ['a',\n1]", 3, "component.x.command[1]", "must be a string"),
    ("[component]\nx = 3", 2, "component.x", "must be a table, not an integer"),
    ("component = 3", 1, "component", "must be a table, not an integer"),
    ("\n\n[[component]]\na = 1", 3, "component", "must be a table, not a list"),
    ("[deamon]", 1, "deamon", r"unknown table; did you mean 'daemon'\?"),
    ("[comp.x]", 1, "comp", "unknown table"),
    ("[notifier.ops]", 1, "notifier", "not supported yet"),
    ("command = 'x'", 1, "command", r"unknown key; it belongs under \[component.TAG\]"),
    ("log-level = 'info'", 1, "log-level", r"it belongs under \[daemon\]"),
    ("[component.'a b']\ncommand='prog'", 1, 'component."a b"', "'a b' cannot be a tag"),
    ("[component.'']\ncommand='prog'", 1, 'component.""', "cannot be a tag"),
    ("[component.'a#1']\ncommand='prog'", 1, 'component."a#1"', "cannot be a tag"),
    ("[component.'a/b']\ncommand='prog'", 1, 'component."a/b"', "cannot be a tag"),
    ("[component.'..']\ncommand='prog'", 1, 'component.".."', "cannot be a tag"),
    ("[component.all]\ncommand='prog'", 1, "component.all", "has a meaning in prerequisites"),
    (f"[component.{'a' * 101}]\ncommand='prog'", 1, f"component.{'a' * 101}", "1 to 100"),
    ("daemon = 3", 1, "daemon", "must be a table"),
    ("[daemon]\nuser = 'x'", 2, "daemon.user", "not supported yet"),
    ("[daemon]\nlog-levl = 'x'", 2, "daemon.log-levl", "did you mean 'log-level'"),
    ("[daemon]\nlog-level = 'warn'", 2, "daemon.log-level", r"did you mean 'warning'\?"),
    ("[daemon]\nlog-format = 'xml'", 2, "daemon.log-format", "one of auto, text, logfmt, json"),
    ("[daemon]\npidfile = 'x.pid'", 2, "daemon.pidfile", "must be a full path"),
    ("[daemon]\nruntime-directory = 'x'", 2, "daemon.runtime-directory", "must be a full path"),
    ("[daemon]\nstate-directory = 'x'", 2, "daemon.state-directory", "must be a full path"),
    ("[daemon]\nlog-directory = 'x'", 2, "daemon.log-directory", "must be a full path"),
    (f"[daemon]\nruntime-directory = '/{'x' * 99}'", 2, "daemon.runtime-directory", "too long"),
    ("[daemon]\nshutdown-timeout = -5", 2, "daemon.shutdown-timeout", "0 or more"),
    ("[daemon]\numask = 18", 2, "daemon.umask", "octal digits"),
    ("[daemon]\ninstance = 'a/b'", 2, "daemon.instance", "must be 1 to 64 letters"),
    ("[daemon]\ninstance = '../b'", 2, "daemon.instance", "must be 1 to 64 letters"),
    ("[daemon]\nenv = { A = 1 }", 2, "daemon.env.A", "must be a string"),
    ("[control]\ntls = {}", 2, "control.tls", "not supported yet"),
    ("[control]\nsockets = ''", 2, "control.sockets", "did you mean 'socket'"),
    ("[control]\nsocket = []", 2, "control.socket", "must hold a socket URL"),
    ("[control]\nsocket = ['unix:///a',\n3]", 3, "control.socket[1]", "must be a string"),
    ("[control]\nsocket = 'inet://127.0.0.1:1'", 2, "control.socket", "needs anonymous ="),
    (
        "[control]\nanonymous = 'list'\nsocket = 'inet://0.0.0.0:1'",
        3,
        "control.socket",
        "on a loopback address",
    ),
    ("[control]\nanonymous = 'all'", 2, "control.anonymous", "one of list, admin"),
    ("[control]\nsocket = 'unix://x'", 2, "control.socket", "full path"),
    ("[control]\nsocket = 'unix:///x;user=nope'", 2, "control.socket", "no user 'nope'"),
    ("[control]\nsocket = 'unix:///x;group=nope'", 2, "control.socket", "no group 'nope'"),
    ("[defaults]\nsocket = 'unix:///x'", 2, "defaults.socket", "cannot be a default"),
    ("[defaults]\ninstances = 2", 2, "defaults.instances", "cannot be a default"),
    ("[defaults]\ncomand = 'x'", 2, "defaults.comand", "did you mean 'command'"),
    ("[defaults]\nnice = 5", 2, "defaults.nice", "not supported yet"),
    ("[defaults]\nstop-timeout = 'x'", 2, "defaults.stop-timeout", "number of seconds"),
    ("[defaults]\nuser = 'nope'\n" + HEAD, 2, "defaults.user", "there is no user"),
]


@pytest.mark.parametrize(("text", "line", "key", "words"), WHOLE_FILES, ids=lambda v: str(v)[:40])
def test_a_fault_in_a_file_is_told_with_its_place(
    text: str, line: int, key: str, words: str
) -> None:
    (problem,) = [each for each in problems_of(text) if not each.warning]
    assert (problem.line, problem.key) == (line, key)
    assert re.search(words, problem.message), problem.message


SOCKETS = [
    ("tcp://x:1", "unknown kind of socket 'tcp'"),
    ("unx:///x", r"unknown kind of socket 'unx'; did you mean 'unix'\?"),
    ("/run/x", "must be a socket URL"),
    ("inet://127.0.0.1", "must end in ':PORT'"),
    ("inet://[::1]", "must end in ':PORT'"),
    ("inet://127.0.0.1:", "port is missing"),
    ("inet://127.0.0.1:65536", "at most 65535"),
    ("inet://127.0.0.1:-1", "neither a port nor a service"),
    ("inet://127.0.0.1:htpt", "neither a port nor a service"),
    ("inet://127.0.0.1:٣", "neither a port nor a service"),
    ("inet://example.org:80", "names are not looked up"),
    ("inet://127.0.0.256:80", "is not an IP address"),
    ("inet://::1:80", "stands in brackets"),
    ("inet://[127.0.0.1]:80", "takes no brackets"),
    ("inet6://127.0.0.1:80", "is not an IPv6 address"),
    ("inet+udp://127.0.0.1:80", "protocol 'udp' is not supported yet"),
    ("unix+udp:///x", "not supported yet"),
    ("unix://", "path of the socket is missing"),
    ("unix://run/x", "needs a full path"),
    ("unix:///" + "x" * 107, "107 bytes"),
    ("unix:///x;mode=9", "octal digits"),
    ("unix:///x;mode=1777", "octal digits"),
    ("unix:///x;umask=022", "umask is not supported yet"),
    ("unix:///x;mdoe=600", r"unknown argument 'mdoe' of a socket; did you mean 'mode'\?"),
    ("unix:///x;mode", "needs a value"),
    ("unix:///x;mode=600;mode=600", "given twice"),
    ("unix:///x;user=nope", "there is no user 'nope'"),
    ("unix:///x;group=nope", "there is no group 'nope'"),
]


@pytest.mark.parametrize(("url", "words"), SOCKETS)
def test_a_url_that_is_no_address_is_a_problem(url: str, words: str) -> None:
    (problem,) = problems_of(f'{HEAD}mode = "inetd"\nsocket = "{url}"')
    assert (problem.line, problem.key) == (4, "component.x.socket")
    assert re.search(words, problem.message), problem.message


def test_twenty_faults_in_one_file_are_twenty_problems() -> None:
    text = dedent(
        """\
        [daemon]
        log-level = "loud"
        shutdown-timeout = -1
        [component.a]
        comand = "prog"
        mode = "sometimes"
        stop-timeout = "5"
        umask = 22
        user = "nope"
        chdir = "here"
        env = { A = 1 }
        stop-signal = "SIGNOPE"
        stdout = "a/b"
        stderr = { file = "x", rotate-size = "big" }
        [component.b]
        command = "prog 'x"
        prerequisites = ["a", "nope"]
        instances = -1
        labels = 3
        flags = ["nope"]
        respawn = { max = 0 }
        ready = "notify"
        [component.c]
        command = "prog"
        socket = "unix:///x"
        """
    )
    found = problems_of(text)
    expected = [2, 3, *range(5, 15), *range(16, 23), 25]
    assert [problem.line for problem in found] == expected
    assert len(found) == 20


def test_problems_are_sorted_by_place_and_told_once() -> None:
    bad = "[component.{}]\ncommand = 'prog'\ninstances = 3\nchdir = 'x'\numask = 1\n"
    found = problems_of(bad.format("z"), bad.format("a"))
    assert [(problem.file, problem.line) for problem in found] == [
        ("a.toml", 4),
        ("a.toml", 5),
        ("b.toml", 4),
        ("b.toml", 5),
    ]


def test_an_instance_that_is_wrong_alone_is_told() -> None:
    text = HEAD + 'mode = "inetd"\ninstances = 3\nsocket = "inet://127.0.0.1:6553${instance}"'
    assert not plan_of(text).warnings
    (problem,) = problems_of(text.replace("6553$", "6553$").replace("= 3", "= 6"))
    assert "'65536'" in problem.message


def test_a_problem_prints_as_one_line() -> None:
    (problem,) = problems_of(HEAD + 'comand = "x"')
    text = "a.toml:3: component.x.comand: unknown key; did you mean 'command'?"
    assert str(problem) == text
