"""The keys of a component."""

from __future__ import annotations

from supervisor.config import later
from supervisor.config.acls import AclRules, WrittenAcl
from supervisor.config.checks import HEALTH_CHECK, ReadyCheck
from supervisor.config.commands import Command, Words
from supervisor.config.environments import EnvironmentValue
from supervisor.config.fields import Key, KeySet
from supervisor.config.grouplimits import CGROUP_TABLE
from supervisor.config.keys.sockets import SOCKET_KEYS
from supervisor.config.keys.tables import ON_EXIT_TABLES, OUTPUT, RESPAWN_TABLE
from supervisor.config.kinds import (
    Boolean,
    Choice,
    Count,
    FullPath,
    Labels,
    Octal,
    Seconds,
    Text,
    TextList,
)
from supervisor.config.limits import LimitsValue
from supervisor.config.outputs import OutputTarget
from supervisor.config.special import Cpus, Flags, Runlevels, SignalNumber, Tags
from supervisor.model.component import Mode

MOST_INSTANCES = 10_000

MODE = Key(
    name="mode",
    kind=Choice(
        {
            **{mode.value: mode.value for mode in Mode},
            "exec": "respawn",
            "nostartaccept": "inetd",
            "pass": "pass-fd",
        },
        later=later.MODES,
        instead={
            "off": "is for lines of an inittab; what is not to be started by itself has "
            "'enabled = false', in pies' syntax 'flags disable'"
        },
    ),
    default="respawn",
    shown="`respawn`",
    meaning=(
        "how it lives, see above; `exec` is `respawn`, `nostartaccept` is `inetd`, `pass` is "
        "`pass-fd`"
    ),
)
COMMAND: Key[str | tuple[str, ...]] = Key(
    name="command",
    kind=Command(),
    shown="required, unless `internal`",
    meaning=(
        "what to run: the words, or a string that is split into words as a shell does, without "
        "a shell"
    ),
)
PROGRAM = Key(
    name="program",
    kind=FullPath(),
    shown="first word of `command`",
    meaning="the file to execute; with `shell`, the shell to use instead of `/bin/sh`",
)
PREREQUISITES = Key(
    name="prerequisites",
    kind=Tags(keywords=True),
    shown="`none`",
    meaning=(
        "what must be up before it starts; `all` is every component that stands before it; the "
        "name of a template is all its instances"
    ),
)
DEPENDENTS = Key(
    name="dependents",
    kind=Tags(keywords=False),
    meaning="the reverse: these get this one as a prerequisite",
)
FLAG_NAMES = (
    "disable",
    "precious",
    "shell",
    "expandenv",
    "nullinput",
    "siggroup",
    "wait",
    "internal",
    "sockenv",
    "resolve",
    "tcpmux",
    "tcpmuxplus",
)
FLAGS = Key(
    name="flags",
    kind=Flags(FLAG_NAMES),
    meaning="the keys of these names, all `true`",
)
ENABLED = Key(
    name="enabled",
    kind=Boolean(),
    default=True,
    shown="`true`",
    meaning="`false`: it is known, and started only when somebody asks",
)
DISABLE = Key(
    name="disable",
    kind=Boolean(),
    default=False,
    shown="`false`",
    meaning="the opposite of `enabled`, as in pies",
)
PRECIOUS = Key(
    name="precious",
    kind=Boolean(),
    default=False,
    shown="`false`",
    meaning="it is never put to sleep, however fast it ends",
)
SHELL = Key(
    name="shell",
    kind=Boolean(),
    default=False,
    shown="`false`",
    meaning="`command`, one string, is run by `/bin/sh -c`",
)
EXPANDENV = Key(
    name="expandenv",
    kind=Boolean(),
    default=False,
    shown="`false`",
    meaning=(
        "`$NAME`, `${NAME}`, `${NAME:-word}` and the like in `command`, one string, are replaced "
        "at each start, without a shell"
    ),
)
NULLINPUT = Key(
    name="nullinput",
    kind=Boolean(),
    default=False,
    shown="`false`",
    modes=frozenset(Mode) - {Mode.INETD, Mode.ACCEPT},
    meaning="its standard input is `/dev/null`",
)
DESCRIPTION = Key(
    name="description", kind=Text(empty=True), default="", meaning="for people who list it"
)
LABELS = Key(name="labels", kind=Labels(), meaning="for selectors: `label tier=web`")
INSTANCES = Key(
    name="instances",
    kind=Count(least=1, most=MOST_INSTANCES),
    own=True,
    meaning=(
        "that many components `TAG:1`, `TAG:2` …; `${instance}` in the strings of the table is "
        "the number. Without the key there is one, `TAG`"
    ),
)
RUNLEVELS = Key(
    name="runlevels",
    kind=Runlevels(),
    shown="all",
    meaning=(
        "the runlevels in which it runs, where there are any: piesd is an init process, or "
        "`[daemon]` has a `runlevel`"
    ),
)
UTMP = Key(
    name="utmp",
    kind=Boolean(),
    default=True,
    shown="`true`",
    meaning=(
        "its starts and ends are recorded in utmp and wtmp, where piesd is the init process of a "
        "machine and its mode is `respawn` or `ondemand`"
    ),
)
USER = Key(
    name="user",
    kind=Text(words="name of a user"),
    shown="piesd's own",
    meaning="run as that user; `USER`, `LOGNAME`, `HOME` and `SHELL` are set accordingly",
)
GROUP = Key(
    name="group",
    kind=TextList(words="name of a group, or a list"),
    meaning="supplementary groups, beside the user's primary group",
)
ALLGROUPS = Key(
    name="allgroups",
    kind=Boolean(),
    default=False,
    shown="`false`",
    meaning="all supplementary groups of `user`",
)
UMASK = Key(
    name="umask",
    kind=Octal(),
    shown="that of `[daemon]`",
    meaning="the permissions that new files do not get",
)
CHDIR = Key(
    name="chdir",
    kind=FullPath(),
    shown="piesd's own",
    meaning="the directory to run in; a relative path in `socket` lies in it too",
)
ENV = Key(
    name="env",
    kind=EnvironmentValue(),
    meaning="changes to the environment; what `[daemon]` sets comes first",
)
ENV_CLEAR = Key(
    name="env-clear",
    kind=Boolean(),
    default=False,
    shown="`false`",
    meaning="start from an empty environment instead of piesd's own",
)
ENV_KEEP = Key(
    name="env-keep",
    kind=TextList(words="list of shell patterns"),
    meaning='keep only the variables whose names match, as `["PATH", "LC_*"]`',
)
MAX_INSTANCES = Key(
    name="max-instances",
    kind=Count(least=1, most=1_000_000),
    shown="unlimited",
    meaning=(
        "of a listener: how many connections are served at once; one more is told "
        "`max-instances-message` and closed. With "
        "`instances`: how many of them run at once; the others wait"
    ),
)
STOP_SIGNAL = Key(
    name="stop-signal",
    kind=SignalNumber(),
    default=15,
    shown="`SIGTERM`",
    meaning="what it gets when it is to stop",
)
SIGGROUP = Key(
    name="siggroup",
    kind=Boolean(),
    default=True,
    shown="`true`",
    meaning="its whole process group gets the stop signal; `false`: the main process alone",
)
STOP_TIMEOUT = Key(
    name="stop-timeout",
    kind=Seconds(),
    default=5.0,
    shown="5",
    meaning="then everything that is left gets SIGKILL",
)
LIMITS = Key(
    name="limits",
    kind=LimitsValue(),
    shown="those of `[daemon]`, for each resource",
    meaning="resource limits, soft and hard, as of setrlimit(2)",
)
CGROUP = Key(
    name="cgroup",
    kind=CGROUP_TABLE,
    shown="no limits",
    meaning="what its processes may use together, see below; needs cgroup v2",
)
NICE = Key(
    name="nice",
    kind=Count(least=-20, most=19, few=True),
    shown="piesd's own",
    meaning="the priority: 19 is the lowest",
)
CPU_AFFINITY = Key(
    name="cpu-affinity",
    kind=Cpus(),
    shown="piesd's own",
    meaning="the processors it may run on",
)
OOM_SCORE_ADJ = Key(
    name="oom-score-adj",
    kind=Count(least=-1000, most=1000, few=True),
    shown="piesd's own",
    meaning="when memory runs out, a process with 1000 is killed first, one with -1000 never",
)
NO_NEW_PRIVILEGES = Key(
    name="no-new-privileges",
    kind=Boolean(),
    default=False,
    shown="`false`",
    meaning="it cannot gain rights by set-uid programs and the like",
)
START_CONDITION = Key(
    name="start-condition",
    kind=Words(),
    meaning=(
        "a command that is run before each start, for a minute at most: exit code 0 starts, "
        "anything else leaves it stopped with the reason"
    ),
)
REMOVE_FILE = Key(
    name="remove-file",
    kind=TextList(words="path or list of paths"),
    meaning="files that are removed before each start; a relative path lies in `chdir`",
)
RMFILE = Key(
    name="rmfile",
    kind=TextList(words="path or list of paths"),
    meaning="the same, as older versions of pies spell it",
)
READY = Key(
    name="ready",
    kind=ReadyCheck(),
    modes=frozenset(Mode) - {Mode.INETD, Mode.PASS_FD},
    shown="it runs",
    meaning="what must be the case before it is up, and what needs it is started",
)
HEALTH = Key(
    name="health",
    kind=HEALTH_CHECK,
    modes=frozenset({Mode.RESPAWN, Mode.ACCEPT, Mode.PASS_FD}),
    shown="none",
    meaning="asked again and again once it is up; one that fails too often is restarted",
)
WATCHDOG = Key(
    name="watchdog",
    kind=Seconds(),
    default=0.0,
    shown="0",
    modes=frozenset(Mode) - {Mode.INETD},
    meaning=(
        "so often at least it has to send `WATCHDOG=1` to `NOTIFY_SOCKET` once it is up, or it is "
        "taken as hung and restarted; 0 for never"
    ),
)
ON_EXIT = Key(
    name="on-exit",
    kind=ON_EXIT_TABLES,
    meaning="what is done when it ends by itself; then those of `[[on-exit]]` are looked at",
)
LIST_ACL: Key[WrittenAcl] = Key(
    name="list-acl",
    kind=AclRules(),
    shown="everybody",
    meaning="who sees that there is such a component",
)
ADMIN_ACL: Key[WrittenAcl] = Key(
    name="admin-acl",
    kind=AclRules(),
    shown="everybody",
    meaning="who may start, stop and restart it",
)
RESPAWN = Key(
    name="respawn",
    kind=RESPAWN_TABLE,
    meaning="when one that keeps ending is left alone for a while",
)
STDOUT = Key(
    name="stdout",
    kind=OutputTarget("stdout", OUTPUT),
    shown="`inherit`",
    meaning="where standard output goes; lines are appended to a file",
)
STDERR = Key(
    name="stderr",
    kind=OutputTarget("stderr", OUTPUT),
    shown="`inherit`",
    meaning="the same for standard error; `stdout` is the same place as standard output",
)
ESSENTIAL = Key(
    name="essential",
    kind=Boolean(),
    default=False,
    shown="`false`",
    meaning=(
        "when it has finally failed (or, for `once`, ended), piesd shuts down and exits with its "
        "code"
    ),
)
REQUIRED = Key(
    name="required",
    kind=Boolean(),
    default=False,
    shown="`false`",
    modes=frozenset({Mode.STARTUP}),
    meaning="its failure stops the start",
)

COMPONENT_KEYS = KeySet(
    (
        MODE,
        COMMAND,
        PROGRAM,
        SHELL,
        EXPANDENV,
        PREREQUISITES,
        DEPENDENTS,
        INSTANCES,
        DESCRIPTION,
        LABELS,
        FLAGS,
        ENABLED,
        DISABLE,
        PRECIOUS,
        RUNLEVELS,
        UTMP,
        NULLINPUT,
        USER,
        GROUP,
        ALLGROUPS,
        UMASK,
        CHDIR,
        ENV,
        ENV_CLEAR,
        ENV_KEEP,
        LIMITS,
        CGROUP,
        NICE,
        CPU_AFFINITY,
        OOM_SCORE_ADJ,
        NO_NEW_PRIVILEGES,
        REMOVE_FILE,
        RMFILE,
        START_CONDITION,
        READY,
        HEALTH,
        WATCHDOG,
        STOP_SIGNAL,
        STOP_TIMEOUT,
        SIGGROUP,
        RESPAWN,
        ON_EXIT,
        STDOUT,
        STDERR,
        ESSENTIAL,
        REQUIRED,
        LIST_ACL,
        ADMIN_ACL,
        MAX_INSTANCES,
        *SOCKET_KEYS,
    ),
    later=later.COMPONENT,
    renamed={"return-code": "on-exit"},
)
