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
    ('schedule = "x"', 3, "schedule", "^is not supported yet$"),
    ('cgroup = "x"', 3, "cgroup", "^must be a table, not a string$"),
    ("cgroup = { memory-maxx = 1 }", 3, "cgroup.memory-maxx", "memory-max"),
    ("cgroup = { cpu-weight = 0 }", 3, "cgroup.cpu-weight", "must be 1 or more, not 0"),
    ("cgroup = { pids-max = 'many' }", 3, "cgroup.pids-max", "must be a whole number"),
    ("max-rate = 3", 3, "max-rate", "only for mode inetd"),
    ('acl = ["deny all"]', 3, "acl", "only for mode inetd"),
    ('service = "echo"', 3, "service", "only for mode inetd"),
    ('mode = "inetd"\nsocket = "unix:///x"\nservice = "echo"', 5, "service", "without 'internal'"),
    ('mode = "inetd"\nsocket = "inet+udp://:7"', 4, "socket", "they need 'wait = true'"),
    (
        'mode = "inetd"\nsocket = "unix:///x"\nsocket-type = "raw"',
        5,
        "socket-type",
        "raw are not supported",
    ),
    ('mode = "inetd"\nsocket = "unix:///x"\nidle-stop = 5', 5, "idle-stop", "needs 'wait = true'"),
    ('mode = "inetd"\nsocket = "unix:///x"\nidle-timeout = 5', 5, "idle-timeout", "is about TCP"),
    (
        'mode = "inetd"\nsocket = "inet://:79"\nwait = true\nidle-timeout = 5',
        6,
        "idle-timeout",
        "see 'idle-stop'",
    ),
    (
        'mode = "inetd"\nsocket = "unix:///x"\ninternal = true\nservice = "echo"',
        2,
        "command",
        "no place beside 'internal'",
    ),
    ('mode = "inetd"\nsocket = "unix:///x"\ntcpmux = true', 5, "tcpmux", "needs a 'tcpmux-master'"),
    ('mode = "accept"\nsocket = ["unix:///x", "unix:///y"]', 4, "socket", "need 'listen-fds"),
    ('mode = "accept"', 1, "", "mode accept needs it"),
    ('mode = "pass-fd"\nsocket = "unix:///x"', 1, "", "'pass-fd-socket' is missing"),
    (
        'mode = "accept"\nlisten-fds = true\nsocket = "unix:///x"\nsocket-names = ["a", "b"]',
        6,
        "socket-names",
        "there are 1",
    ),
    (
        'mode = "inetd"\nsocket = "unix:///x"\nproxy-protocol = ["10.0.0.0/8", "x"]',
        5,
        "proxy-protocol[1]",
        "'x' is not an IP address",
    ),
    ("return-code = 3", 3, "return-code", "it is called 'on-exit' here"),
    ('mode = "respwn"', 3, "mode", r"one of respawn, once, .*; did you mean 'respawn'\?"),
    ('mode = "job"', 3, "mode", "'job' is not supported yet"),
    ("mode = 1", 3, "mode", 'must be a string, not an integer: write "1"'),
    ('mode = "inetd"', 1, "", "key 'socket' is missing"),
    ('socket = "unix:///run/x"', 3, "socket", "not for mode respawn"),
    ("max-instances = 0", 3, "max-instances", "1 or more"),
    ('socket-type = "stream"', 3, "socket-type", "not for mode respawn"),
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
    ("flags = true", 3, "flags", "must be a list of flags"),
    ("enabled = true\ndisable = true", 4, "disable", "contradicts"),
    ('precious = false\nflags = "precious"', 4, "flags", "contradicts"),
    ('enabled = "yes"', 3, "enabled", "must be true or false, not a string"),
    ("mode = 'off'", 3, "mode", "'off' is for lines of an inittab"),
    ("mode = 'off'", 3, "mode", "'enabled = false'"),
    ("precious = 1", 3, "precious", "must be true or false, not an integer"),
    ("labels = { a = 1 }", 3, "labels.a", "must be a string"),
    ('labels = { "a=b" = "c" }', 3, 'labels."a=b"', "no name for a label"),
    ('labels = { "a b" = "c" }', 3, 'labels."a b"', "no name for a label"),
    ('labels = { "" = "c" }', 3, 'labels.""', "no name for a label"),
    ("labels = []", 3, "labels", "must be a table, not a list"),
    ("env = { A = 1 }", 3, "env.A", 'write "1"'),
    ('env = { "A=" = "x" }', 3, 'env."A="', "no name for a variable"),
    ('env = { A = "\\u0000" }', 3, "env.A", "null character"),
    ('env = { A = { file = "x" } }', 3, "env.A.file", "must be a full path, not 'x'"),
    ('env = { A = { file = "/x", b = 1 } }', 3, "env.A.b", "'file', which stands alone"),
    ("env = { A = { unset = false } }", 3, "env.A.unset", "must be true"),
    ("env = { A = { unst = true } }", 3, "env.A.unst", "did you mean 'unset'"),
    ("env = { A = {} }", 3, "env.A", r"must be a string, \{file = \"PATH\"\} or"),
    ("env = 3", 3, "env", "must be a table or a list of steps, not an integer"),
    ("env = [3]", 3, "env[0]", "must be a table with one key, .* not an integer"),
    ("env = [{}]", 3, "env[0]", "one key, .* it has 0"),
    ('env = [{ set = "A=b", unset = "C" }]', 3, "env[0]", "one key, .* it has 2"),
    ('env = [{ st = "A=b" }]', 3, "env[0].st", r"unknown step; did you mean 'set'\?"),
    ('env = [{ set = "A" }]', 3, "env[0].set", "must be NAME=VALUE, not 'A'"),
    ('env = [{ append = "=b" }]', 3, "env[0].append", "must be NAME=VALUE, not '=b'"),
    ('env = [{ set = "A=${B" }]', 3, "env[0].set", "cannot be expanded"),
    ('env = [{ eval = "${A:-" }]', 3, "env[0].eval", "cannot be expanded"),
    ('env = [{ unset = "=b" }]', 3, "env[0].unset", "no name for a variable"),
    ("env = [{ clear = false }]", 3, "env[0].clear", "must be true"),
    ('env = [{ keep = "A" },\n{ keep = 1 }]', 4, "env[1].keep", "must be a string"),
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
    ("limits = 3", 3, "limits", "must be a table or a string of limits, not an integer"),
    ("limits = { nofle = 3 }", 3, "limits.nofle", "unknown limit; did you mean 'nofile'"),
    ("limits = { nofile = -1 }", 3, "limits.nofile", "0 or more"),
    ('limits = { nofile = "1M" }', 3, "limits.nofile", "must be a whole number, not a string"),
    ('limits = { nofile = "unlimited" }', 3, "limits.nofile", "Linux refuses that"),
    ('limits = { as = "64 apples" }', 3, "limits.as", "must be a size"),
    ('limits = { core = "unlimted" }', 3, "limits.core", "must be a size"),
    ('limits = "N"', 3, "limits", "letters with numbers .* not 'N'"),
    ('limits = "N10 12"', 3, "limits", "letters with numbers .* not '12'"),
    ('limits = "N1.5"', 3, "limits", "letters with numbers .* not 'N1.5'"),
    ('limits = "X3"', 3, "limits", "there is no limit 'X'"),
    ('limits = "P21"', 3, "limits", "-20 to 20, not 21"),
    ('limits = "N-1"', 3, "limits", "the limit N cannot be -1"),
    ('limits = "A99999999999999999"', 3, "limits", "the limit A cannot be"),
    ("nice = 20", 3, "nice", "19 or less"),
    ("nice = -21", 3, "nice", "-20 or more"),
    ("oom-score-adj = 1001", 3, "oom-score-adj", "1000 or less"),
    ("cpu-affinity = []", 3, "cpu-affinity", "must be numbers of processors"),
    ("cpu-affinity = [true]", 3, "cpu-affinity", "must be numbers of processors"),
    ("cpu-affinity = 1", 3, "cpu-affinity", "must be numbers of processors"),
    ("cpu-affinity = [0, -1]", 3, "cpu-affinity", "must be numbers of processors"),
    ('cpu-affinity = "3-1"', 3, "cpu-affinity", "must be numbers of processors"),
    ('cpu-affinity = "0,,1"', 3, "cpu-affinity", "must be numbers of processors"),
    ('cpu-affinity = "0-99999"', 3, "cpu-affinity", "must be numbers of processors"),
    ("no-new-privileges = 1", 3, "no-new-privileges", "true or false"),
    ("start-condition = []", 3, "start-condition", "must name a program"),
    ('start-condition = "a \'b"', 3, "start-condition", "quotation mark is not closed"),
    ('remove-file = "run/x"', 3, "remove-file", "must be full paths where 'chdir' is not set"),
    ('rmfile = ["/a", ""]', 3, "rmfile[1]", "must not be empty"),
    ('expandenv = true\nargs = "x"', 4, "args", "unknown key"),
    ("siggroup = 1", 3, "siggroup", "true or false"),
    ('siggroup = false\nflags = "siggroup"', 4, "flags", "contradicts"),
    ('ready = "notfy"', 3, "ready", 'must be "notify" or a table'),
    ("ready = 3", 3, "ready", "must be a table, not an integer"),
    ("ready = {}", 3, "ready", "must say how: one of notify, fd, tcp, http, exec"),
    ("ready = { timeout = 3 }", 3, "ready", "must say how"),
    ("ready = { notify = false }", 3, "ready.notify", "must be true"),
    ("ready = { fd = 2 }", 3, "ready.fd", "3 or more"),
    ("ready = { fd = 10 }", 3, "ready.fd", "9 or less"),
    ('ready = { fd = 3, tcp = "a:1" }', 3, "ready", "'fd' and 'tcp' exclude each other"),
    ('ready = { tpc = "a:1" }', 3, "ready.tpc", "did you mean 'tcp'"),
    ('ready = { tcp = "a" }', 3, "ready.tcp", "must be HOST:PORT"),
    ('ready = { tcp = "a:0" }', 3, "ready.tcp", "1 to 65535, not 0"),
    ('ready = { tcp = "::1:80" }', 3, "ready.tcp", "an IPv6 address in brackets"),
    ('ready = { http = "ftp://a/" }', 3, "ready.http", "must be a URL"),
    ('ready = { http = "http://a:b/" }', 3, "ready.http", "must be a URL"),
    ('ready = { http = "http://a/ b" }', 3, "ready.http", "must be a URL"),
    ('ready = { exec = "" }', 3, "ready.exec", "must not be empty"),
    ("ready = { fd = 3, timeout = 0 }", 3, "ready.timeout", "more than 0"),
    ("ready = { fd = 3, failures = 3 }", 3, "ready.failures", "unknown key"),
    ('health = "notify"', 3, "health", "must be a table, not a string"),
    ("health = { fd = 3 }", 3, "health.fd", "unknown key"),
    ("health = { interval = 3 }", 3, "health", "must say how: one of tcp, http, exec"),
    ('health = { tcp = "a:1", failures = 0 }', 3, "health.failures", "1 or more"),
    ('mode = "once"\nhealth = { tcp = "a:1" }', 4, "health", "not for mode once"),
    ("on-exit = 3", 3, "on-exit", "must be a list of tables"),
    ("on-exit = [3]", 3, "on-exit[0]", "must be a table, not an integer"),
    ('on-exit = [{ action = "disable" }]', 3, "on-exit[0]", "key 'codes' is missing"),
    ('on-exit = { codes = 1, action = "stop" }', 3, "on-exit.action", "one of restart, disable"),
    ("on-exit = { codes = [] }", 3, "on-exit.codes", "must hold an exit code or a signal"),
    ("on-exit = { codes = [256] }", 3, "on-exit.codes[0]", "0 to 255"),
    ("on-exit = { codes = 1.5 }", 3, "on-exit.codes", "not a number"),
    ('on-exit = { codes = "EX_CONFG" }', 3, "on-exit.codes", r"did you mean 'EX_CONFIG'\?"),
    ('on-exit = { codes = "SIGTREM" }', 3, "on-exit.codes", r"did you mean 'SIGTERM'\?"),
    ('on-exit = { codes = "SIG+99" }', 3, "on-exit.codes", "there is no signal 'SIG"),
    ('on-exit = { codes = "9-3" }', 3, "on-exit.codes", "a range of them"),
    ('on-exit = { codes = "1-300" }', 3, "on-exit.codes", "a range of them"),
    ('on-exit = { codes = 1, exec = "a \'" }', 3, "on-exit.exec", "not closed"),
    ('on-exit = { codes = 1, notify = "a@b c" }', 3, "on-exit.notify", "not 'a@b c'"),
    ('on-exit = { codes = 1, notify = "-oQ/x" }', 3, "on-exit.notify", "not '-oQ/x'"),
    ('on-exit = { codes = 1, notify = "a,,b" }', 3, "on-exit.notify", "not ''"),
    ("on-exit = { codes = 1, notify = [] }", 3, "on-exit.notify", "must hold an address"),
    ('list-acl = "no such"', 3, "list-acl", "must be the name of a list, or a list of rules"),
    ('list-acl = "nope"', 3, "list-acl", r"no access control list 'nope' in \[acl\]"),
    ("list-acl = 3", 3, "list-acl", "not an integer"),
    ('list-acl = ["all"]', 3, "list-acl[0]", "must begin with allow or deny"),
    ('list-acl = ["allow usr x"]', 3, "list-acl[0]", r"'usr' is out of place; .* 'user'\?"),
    ('list-acl = ["allow user"]', 3, "list-acl[0]", "user needs a name"),
    ('list-acl = ["allow user a,,b"]', 3, "list-acl[0]", "nothing between two commas"),
    ('list-acl = ["allow all from"]', 3, "list-acl[0]", "from needs an address"),
    ('list-acl = ["allow from 10.0.0.300"]', 3, "list-acl[0]", "not '10.0.0.300'"),
    ('list-acl = ["allow from 10.0.0.0/33"]', 3, "list-acl[0]", "not '10.0.0.0/33'"),
    ('list-acl = ["allow from no.such.host"]', 3, "list-acl[0]", "cannot look up"),
    ('admin-acl = ["deny all",\n"allow from x y"]', 4, "admin-acl[1]", "'y' is out of place"),
    ('stdout = "logs/x"', 3, "stdout", "a full path, or a bare name"),
    ('stdout = ""', 3, "stdout", "must not be empty"),
    ('stdout = "/var/log/"', 3, "stdout", "a full path, or a bare name"),
    ('stdout = "stdout"', 3, "stdout", "no target for stdout"),
    ('stderr = "syslog:deamon.err"', 3, "stderr", r"no facility 'deamon' .*'daemon'\?"),
    ('stderr = "syslog:daemon.error"', 3, "stderr", r"no priority 'error' .*'err'\?"),
    ('stderr = "syslog:daemon"', 3, "stderr", "no priority 'daemon'"),
    ('stderr = "syslog:"', 3, "stderr", "write it as syslog:daemon.err"),
    ('stderr = "syslog:.err"', 3, "stderr", "no facility ''"),
    ('stderr = "pipe:/bin/x"', 3, "stderr", "there is no target 'pipe:/bin/x'"),
    ('stderr = "file:"', 3, "stderr", "a full path, or a bare name"),
    ('stderr = "file:a/b"', 3, "stderr", "a full path, or a bare name"),
    ('stderr = { syslog = "x" }', 3, "stderr.syslog", "no priority 'x'"),
    ('stderr = { syslog = "err", file = "x" }', 3, "stderr.syslog", "exclude each other"),
    ('stderr = { syslog = "err", timestamps = true }', 3, "stderr.timestamps", "only for a file"),
    ("stdout = 1", 3, "stdout", "must be a string"),
    ("stdout = {}", 3, "stdout", "must have the key 'file' or 'syslog'"),
    ('stdout = { file = "../x" }', 3, "stdout.file", "a full path, or a bare name"),
    ('stdout = { file = "x", compress = 1 }', 3, "stdout.compress", "true or false"),
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
    ("[component.x]\nexpandenv = true\ncommand = ['a']", 3, "component.x.command", "one string"),
    ("[component.x]\nexpandenv = true\ncommand = 'a ${B'", 3, "component.x.command", "expanded"),
    (
        "[component.x]\ncommand = 'prog'\nmode = 'inetd'\nsocket = 'unix:///x'\nready = 'notify'",
        5,
        "component.x.ready",
        "not for mode inetd",
    ),
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
    ("[daemon]\nrunlevel = 3", 2, "daemon.runlevel", "must be a string"),
    ("[daemon]\nrunlevel = '35'", 2, "daemon.runlevel", "must be one runlevel"),
    ("[daemon]\nuser = 'x'", 2, "daemon.user", "there is no user 'x'"),
    ("[daemon]\ngroup = ['adm', 'x']", 2, "daemon.group", "there is no group 'x'"),
    ("[daemon]\nlog = 'x'", 2, "daemon.log", "one of stderr, syslog, journal"),
    ("[daemon]\nlimits = { nofle = 1 }", 2, "daemon.limits.nofle", "did you mean 'nofile'"),
    ("[limits]\nnofile = 1", 1, "limits", r"it is 'limits' in \[daemon\] here"),
    ("[defacl.x]", 1, "defacl", r"it is \[acl\] here"),
    ("realm = 'x'", 1, "realm", r"it belongs under \[control\]"),
    ("[syslog]\ndev = 'log'", 2, "syslog.dev", "full path of a UNIX socket, or an IPv4 address"),
    ("[syslog]\ndev = '10.0.0.1:0'", 2, "syslog.dev", "neither a port nor a UDP service"),
    ("[syslog]\ndev = '10.0.0.1:nope'", 2, "syslog.dev", "'nope' is neither a port"),
    ("[syslog]\nfacility = 'deamon'", 2, "syslog.facility", r"did you mean 'daemon'\?"),
    ("[syslog]\ntga = 'x'", 2, "syslog.tga", "did you mean 'tag'"),
    ("[mail]\nprogram = 'sendmail'", 2, "mail.program", "must be a full path"),
    ("[mail]\ncommand-line = 'a \"'", 2, "mail.command-line", "quotation mark is not closed"),
    ("[mail]\nsmtp = 'a:b'", 2, "mail.smtp", "HOST or HOST:PORT"),
    ("[mail]\nsmtp = 'a:70000'", 2, "mail.smtp", "HOST or HOST:PORT"),
    ("[mail]\nfrom = 'a b'", 2, "mail.from", "must be a mail address, not 'a b'"),
    ("[[on-exit]]\ncodes = 300", 2, "on-exit[0].codes", "0 to 255"),
    ("on-exit = 3", 1, "on-exit", "must be a list of tables"),
    ("[acl]\nx = 'y'", 2, "acl.x", "must be a list of rules"),
    ("[acl]\n'a b' = []", 2, 'acl."a b"', "is no name for a list"),
    ("[acl]\na = ['allow acl b']", 2, "acl.a[0]", r"no access control list 'b' in \[acl\]"),
    ("[acl]\na = ['allow acl a']", 2, "acl.a[0]", "a cycle of .*: a → a"),
    (
        "[acl]\na = ['allow acl b']\nb = ['deny all',\n'deny acl a']",
        4,
        "acl.b[1]",
        "a cycle of .*: a → b → a",
    ),
    ("[identity-provider.x]", 1, "identity-provider.x", "the key 'type' is missing"),
    (
        "[identity-provider.x]\ntype = 'ldap'",
        2,
        "identity-provider.x.type",
        "one of system, pam, file",
    ),
    ("[identity-provider.x]\ntype = 'file'", 1, "identity-provider.x", "'path' is missing"),
    (
        "[identity-provider.x]\ntype = 'system'\nservice = 'y'",
        3,
        "identity-provider.x.service",
        "only for type pam",
    ),
    ("[control]\nidentity-provider = 'x'", 2, "control.identity-provider", "no identity provider"),
    ("[control]\nrealm = ''", 2, "control.realm", "must not be empty"),
    ("[control]\nacl = 'x'", 2, "control.acl", "there is no access control list 'x'"),
    ("[control]\nadmin-acl = ['permit all']", 2, "control.admin-acl[0]", "allow or deny"),
    ("[control]\ntls = { cert = '/etc/cert.pem' }", 2, "control.tls", "'key' is missing"),
    (
        "[control]\ntls = { cert = '/etc/cert.pem', key = '/nope' }",
        2,
        "control.tls.key",
        "there is no file '/nope'",
    ),
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
    ("[control]\nsockets = ''", 2, "control.sockets", "did you mean 'socket'"),
    ("[control]\nsocket = []", 2, "control.socket", "must hold a socket URL"),
    ("[control]\nsocket = ['unix:///a',\n3]", 3, "control.socket[1]", "must be a string"),
    ("[control]\nsocket = 'inet://127.0.0.1:1'", 2, "control.socket", "anonymous ="),
    (
        "[control]\nanonymous = 'list'\nsocket = 'inet://0.0.0.0:1'",
        3,
        "control.socket",
        r"needs an \[identity-provider.NAME\] and tls = .*'anonymous' is for loopback",
    ),
    (
        "[identity-provider.x]\ntype = 'system'\n[control]\nsocket = 'inet://0.0.0.0:1'",
        4,
        "control.socket",
        "needs tls = {cert, key}",
    ),
    (
        "[control]\ntls = { cert = '/etc/cert.pem', key = '/etc/key.pem' }\n"
        "socket = 'inet://0.0.0.0:1'",
        3,
        "control.socket",
        r"needs an \[identity-provider.NAME\]$",
    ),
    (
        "[identity-provider.x]\ntype = 'system'\n[control]\nidentity-provider = []\n"
        "socket = 'inet://127.0.0.1:1'",
        5,
        "control.socket",
        r"needs an \[identity-provider.NAME\]",
    ),
    ("[control]\nanonymous = 'all'", 2, "control.anonymous", "one of list, admin"),
    ("[control]\nsocket = 'unix://x'", 2, "control.socket", "full path"),
    ("[control]\nsocket = 'unix:///x;user=nope'", 2, "control.socket", "no user 'nope'"),
    ("[control]\nsocket = 'unix:///x;group=nope'", 2, "control.socket", "no group 'nope'"),
    ("[defaults]\nsocket = 'unix:///x'", 2, "defaults.socket", "cannot be a default"),
    ("[defaults]\ninstances = 2", 2, "defaults.instances", "cannot be a default"),
    ("[defaults]\ncomand = 'x'", 2, "defaults.comand", "did you mean 'command'"),
    ("[defaults]\nschedule = 5", 2, "defaults.schedule", "not supported yet"),
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
    ("inet://example.org:80", "cannot look up the IPv4 address of 'example.org'"),
    ("inet://v6.example.org:80", "cannot look up the IPv4 address of 'v6.example.org'"),
    ("inet://exa_mple!:80", "is not an IP address"),
    ("inet://127.0.1:80", "is not an IP address"),
    ("inet://127.0.0.256:80", "is not an IP address"),
    ("inet://::1:80", "stands in brackets"),
    ("inet://[127.0.0.1]:80", "takes no brackets"),
    ("inet6://127.0.0.1:80", "is not an IPv6 address"),
    ("inet6://[::ffff:127.0.0.1]:80", "is an IPv4 address: write it as 127.0.0.1"),
    ("inet://224.0.0.1:80", "nobody can connect to it by TCP"),
    ("inet://255.255.255.255:80", "nobody can connect to it by TCP"),
    ("inet6://[ff02::1]:80", "nobody can connect to it by TCP"),
    ("inet+sctp://127.0.0.1:80", "protocol must be tcp or udp, not 'sctp'"),
    ("unix+udp:///x", "has no protocol 'udp'"),
    ("unix://@", "path of the socket is missing"),
    ("unix://@x;mode=0600", "no mode and no owner"),
    ("unix://", "path of the socket is missing"),
    ("unix://run/x", "needs a full path"),
    ("unix:///" + "x" * 107, "107 bytes"),
    ("unix:///x;mode=9", "octal digits"),
    ("unix:///x;mode=1777", "octal digits"),
    ("unix:///x;umask=9", "umask must be octal digits"),
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
        schedule = "x"
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
