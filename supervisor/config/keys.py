"""Every key there is: its name, kind, default and meaning. Reader, reference and schema use it."""

from __future__ import annotations

from supervisor.config import later
from supervisor.config.fields import Fields, Key, KeySet, Record
from supervisor.config.kinds import (
    Boolean,
    Choice,
    Count,
    FullPath,
    Labels,
    Octal,
    Seconds,
    Size,
    Text,
    TextList,
    choice,
)
from supervisor.config.special import (
    Command,
    EnvironmentTable,
    Flags,
    OutputTarget,
    SignalNumber,
    SocketUrl,
    Tags,
    is_log_file,
)
from supervisor.config.tables import Node
from supervisor.model.component import Mode, Output, Respawn
from supervisor.model.errors import Problem

MOST_INSTANCES = 10_000

# --- the table respawn ------------------------------------------------------------------------

RESPAWN_MAX = Key(
    name="max",
    kind=Count(least=1, most=1_000_000),
    default=10,
    shown="10",
    meaning="more starts than that within `window` put it to sleep",
)
RESPAWN_WINDOW = Key(
    name="window", kind=Seconds(positive=True), default=120.0, shown="120", meaning="see `max`"
)
RESPAWN_SLEEP = Key(
    name="sleep",
    kind=Seconds(),
    default=300.0,
    shown="300",
    meaning="how long it sleeps; then it is tried again",
)
RESPAWN_DELAY = Key(
    name="delay",
    kind=Seconds(),
    default=0.0,
    shown="0",
    meaning="how long a restart waits; doubles with each quick failure in a row",
)
RESPAWN_DELAY_MAX = Key(
    name="delay-max", kind=Seconds(), default=30.0, shown="30", meaning="what `delay` doubles up to"
)


def _respawn(fields: Fields, node: Node, problems: list[Problem]) -> Respawn:
    delay, most = fields.need(RESPAWN_DELAY), fields.need(RESPAWN_DELAY_MAX)
    if delay > most and not fields.wrong(RESPAWN_DELAY_MAX):
        culprit = fields.node(RESPAWN_DELAY) or node
        what = f"must be at most delay-max, which is {most:g}, not {delay:g}"
        problems.append(culprit.problem(what))
    return Respawn(
        max=fields.need(RESPAWN_MAX),
        window=fields.need(RESPAWN_WINDOW),
        sleep=fields.need(RESPAWN_SLEEP),
        delay=delay,
        delay_max=most,
    )


RESPAWN_KEYS = KeySet(
    (RESPAWN_MAX, RESPAWN_WINDOW, RESPAWN_SLEEP, RESPAWN_DELAY, RESPAWN_DELAY_MAX)
)

# --- the tables stdout and stderr -------------------------------------------------------------

OUTPUT_FILE = Key(
    name="file",
    kind=Text(words="full path, or bare name"),
    required=True,
    meaning="the file that lines are appended to; a bare name lies in `log-directory`",
)
OUTPUT_ROTATE_SIZE = Key(
    name="rotate-size",
    kind=Size(),
    default=0,
    shown="0",
    meaning="a file that has grown to this size is renamed to `FILE.1`; 0: never",
)
OUTPUT_ROTATE_KEEP = Key(
    name="rotate-keep",
    kind=Count(least=0, most=10_000),
    default=5,
    shown="5",
    meaning="so many renamed files are kept",
)


def _output(fields: Fields, node: Node, problems: list[Problem]) -> Output:
    path = fields.given(OUTPUT_FILE)
    if path is not None:
        is_log_file(path, fields.node(OUTPUT_FILE) or node, problems)
    return Output(
        kind="file",
        path=path,
        rotate_size=fields.need(OUTPUT_ROTATE_SIZE),
        rotate_keep=fields.need(OUTPUT_ROTATE_KEEP),
    )


OUTPUT_KEYS = KeySet(
    (OUTPUT_FILE, OUTPUT_ROTATE_SIZE, OUTPUT_ROTATE_KEEP),
    later=later.OUTPUT,
)
_OUTPUT_RECORD = Record(OUTPUT_KEYS, _output)

# --- components -------------------------------------------------------------------------------

MODE = Key(
    name="mode",
    kind=Choice(
        {
            **{mode.value: mode.value for mode in Mode},
            "exec": "respawn",
            "nostartaccept": "inetd",
        },
        later=later.MODES,
    ),
    default="respawn",
    shown="`respawn`",
    meaning="how it lives, see above; `exec` is `respawn`, `nostartaccept` is `inetd`",
)
COMMAND: Key[str | tuple[str, ...]] = Key(
    name="command",
    kind=Command(),
    required=True,
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
FLAGS = Key(
    name="flags",
    kind=Flags(
        ("disable", "precious", "shell", "nullinput"),
        later=later.FLAGS,
    ),
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
NULLINPUT = Key(
    name="nullinput",
    kind=Boolean(),
    default=False,
    shown="`false`",
    modes=frozenset(Mode) - {Mode.INETD},
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
    kind=EnvironmentTable(),
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
SOCKET = Key(
    name="socket",
    kind=SocketUrl(),
    own=True,
    modes=frozenset({Mode.INETD}),
    shown="required for `inetd`",
    meaning="where to listen, see below",
)
SOCKET_TYPE = Key(
    name="socket-type",
    kind=Choice({"stream": "stream"}, later=later.SOCKET_TYPES),
    default="stream",
    shown="`stream`",
    modes=frozenset({Mode.INETD}),
    meaning="the type of the socket",
)
MAX_INSTANCES = Key(
    name="max-instances",
    kind=Count(least=1, most=1_000_000),
    modes=frozenset({Mode.INETD}),
    shown="unlimited",
    meaning="how many connections are served at once; one more is closed",
)
STOP_SIGNAL = Key(
    name="stop-signal",
    kind=SignalNumber(),
    default=15,
    shown="`SIGTERM`",
    meaning="what the process group gets when it is to stop",
)
STOP_TIMEOUT = Key(
    name="stop-timeout",
    kind=Seconds(),
    default=5.0,
    shown="5",
    meaning="then everything that is left gets SIGKILL",
)
RESPAWN = Key(
    name="respawn",
    kind=Record(RESPAWN_KEYS, _respawn),
    meaning="when one that keeps ending is left alone for a while",
)
STDOUT = Key(
    name="stdout",
    kind=OutputTarget("stdout", _OUTPUT_RECORD),
    shown="`inherit`",
    meaning="where standard output goes; lines are appended to a file",
)
STDERR = Key(
    name="stderr",
    kind=OutputTarget("stderr", _OUTPUT_RECORD),
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
        PREREQUISITES,
        DEPENDENTS,
        INSTANCES,
        DESCRIPTION,
        LABELS,
        FLAGS,
        ENABLED,
        DISABLE,
        PRECIOUS,
        NULLINPUT,
        USER,
        GROUP,
        ALLGROUPS,
        UMASK,
        CHDIR,
        ENV,
        ENV_CLEAR,
        ENV_KEEP,
        STOP_SIGNAL,
        STOP_TIMEOUT,
        RESPAWN,
        STDOUT,
        STDERR,
        ESSENTIAL,
        REQUIRED,
        SOCKET,
        SOCKET_TYPE,
        MAX_INSTANCES,
    ),
    later=later.COMPONENT,
)

# --- piesd itself -----------------------------------------------------------------------------

INSTANCE = Key(
    name="instance",
    kind=Text(words="name"),
    default="piesd",
    shown="`piesd`",
    meaning="the name in sockets, pid file and log; `--instance` wins",
)
RUNTIME_DIRECTORY = Key(
    name="runtime-directory",
    kind=FullPath(),
    shown="`/run/piesd` or `$XDG_RUNTIME_DIR/piesd`",
    meaning="sockets and what else may be gone after a boot; created if it is missing",
)
STATE_DIRECTORY = Key(
    name="state-directory",
    kind=FullPath(),
    shown="`/var/lib/piesd` or `$XDG_STATE_HOME/piesd`",
    meaning="what outlives a boot; created if it is missing",
)
LOG_DIRECTORY = Key(
    name="log-directory",
    kind=FullPath(),
    shown="`/var/log/piesd` or `$XDG_STATE_HOME/piesd/log`",
    meaning="component logs given by a bare name; created if it is missing",
)
PIDFILE = Key(
    name="pidfile",
    kind=FullPath(),
    shown="none",
    meaning="written after the sockets are open",
)
SHUTDOWN_TIMEOUT = Key(
    name="shutdown-timeout",
    kind=Seconds(),
    default=5.0,
    shown="5",
    meaning="for each stage of the shutdown: all components together, then the `shutdown` ones",
)
LOG_LEVEL = Key(
    name="log-level",
    kind=choice("debug", "info", "warning", "error"),
    default="info",
    shown="`info`",
    meaning="the least that piesd's own log, on standard error, tells",
)
LOG_FORMAT = Key(
    name="log-format",
    kind=choice("auto", "text", "logfmt", "json"),
    default="auto",
    shown="`auto`",
    meaning="`auto` is `text` on a terminal, else `logfmt`",
)
DAEMON_UMASK = Key(
    name="umask",
    kind=Octal(),
    shown="piesd's own",
    meaning="for every component that has none of its own",
)
DAEMON_ENV = Key(
    name="env", kind=EnvironmentTable(), meaning="merged into every component's environment"
)
INCLUDE = Key(
    name="include",
    kind=TextList(words="path or pattern, or a list"),
    meaning="further files, relative to this one; a pattern may match nothing",
)

DAEMON_KEYS = KeySet(
    (
        INSTANCE,
        RUNTIME_DIRECTORY,
        STATE_DIRECTORY,
        LOG_DIRECTORY,
        PIDFILE,
        SHUTDOWN_TIMEOUT,
        LOG_LEVEL,
        LOG_FORMAT,
        DAEMON_UMASK,
        DAEMON_ENV,
        INCLUDE,
    ),
    later=later.DAEMON,
)

CONTROL_SOCKET = Key(
    name="socket",
    kind=SocketUrl(many=True),
    shown="`unix://RUNTIME-DIRECTORY/INSTANCE.ctl`",
    meaning="where piesd listens for orders, see below; `--socket` replaces it",
)
ANONYMOUS = Key(
    name="anonymous",
    kind=choice("list", "admin"),
    shown="none",
    meaning=(
        "what anybody may do on a loopback TCP socket: look, or everything. Without it no TCP "
        "socket is opened"
    ),
)

CONTROL_KEYS = KeySet(
    (CONTROL_SOCKET, ANONYMOUS),
    later=later.CONTROL,
)

TABLES = ("daemon", "control", "defaults", "component")
"""The tables of a file."""
