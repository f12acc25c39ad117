"""The keys of `[daemon]`, and of the tables `[syslog]` and `[mail]`: piesd itself."""

from __future__ import annotations

from supervisor.config import later
from supervisor.config.environments import EnvironmentValue
from supervisor.config.fields import Key, KeySet
from supervisor.config.kinds import (
    Boolean,
    Count,
    FullPath,
    Octal,
    Seconds,
    Size,
    Text,
    TextList,
    choice,
)
from supervisor.config.limits import LimitsValue
from supervisor.config.mailing import Sender, Server
from supervisor.config.outputs import Facility
from supervisor.config.special import Runlevels

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
    meaning="written once the sockets are open; one that names a living process refuses the start",
)
QOTD_FILE = Key(
    name="qotd-file",
    kind=FullPath(),
    shown="`NAME.qotd` in the state directory",
    meaning="what the built-in service `qotd` says; NAME is the instance",
)
CGROUPS = Key(
    name="cgroups",
    kind=choice("limits", "all"),
    default="limits",
    shown="`limits`",
    meaning="who has a control group, where there may be some: components with `cgroup`, or all",
)
PIPE_SIZE = Key(
    name="pipe-size",
    kind=Size(),
    default=1024 * 1024,
    shown='`"1MiB"`',
    meaning="how much a component may print, on each of its streams, before somebody has to read",
)
MAX_STARTING = Key(
    name="max-starting",
    kind=Count(least=0, most=1_000_000),
    default=0,
    shown="0",
    meaning="so many components may be starting, or not ready yet, at once; 0 for any number",
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
    meaning="the least that piesd's own log tells",
)
LOG_FORMAT = Key(
    name="log-format",
    kind=choice("auto", "text", "logfmt", "json"),
    default="auto",
    shown="`auto`",
    meaning="`auto` is `text` on a terminal, else `logfmt`",
)
LOG = Key(
    name="log",
    kind=choice("stderr", "syslog", "journal"),
    default="stderr",
    shown="`stderr`",
    meaning="where piesd's own log goes",
)
DAEMON_USER = Key(
    name="user",
    kind=Text(words="name of a user"),
    shown="who started it",
    meaning="whom piesd becomes once its sockets are open; it can no longer change users then",
)
DAEMON_GROUP = Key(
    name="group",
    kind=TextList(words="name of a group, or a list"),
    meaning="supplementary groups of piesd, beside the user's primary group",
)
DAEMON_ALLGROUPS = Key(
    name="allgroups",
    kind=Boolean(),
    default=False,
    shown="`false`",
    meaning="all supplementary groups of `user`",
)
DAEMON_LIMITS = Key(
    name="limits",
    kind=LimitsValue(),
    shown="piesd's own",
    meaning="for every component, where it does not say otherwise about a resource",
)
DAEMON_UMASK = Key(
    name="umask",
    kind=Octal(),
    shown="piesd's own",
    meaning="for every component that has none of its own",
)
DAEMON_ENV = Key(
    name="env",
    kind=EnvironmentValue(),
    meaning=(
        "a table is merged into every component's environment; a list makes the environment that "
        "they all start from"
    ),
)
RUNLEVEL = Key(
    name="runlevel",
    kind=Runlevels(one=True),
    shown="none; of an init process `3`",
    meaning="the runlevel that is entered first; without it, there are none",
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
        QOTD_FILE,
        PIPE_SIZE,
        CGROUPS,
        SHUTDOWN_TIMEOUT,
        MAX_STARTING,
        LOG_LEVEL,
        LOG_FORMAT,
        LOG,
        DAEMON_USER,
        DAEMON_GROUP,
        DAEMON_ALLGROUPS,
        DAEMON_UMASK,
        DAEMON_LIMITS,
        DAEMON_ENV,
        RUNLEVEL,
        INCLUDE,
    ),
    later=later.DAEMON,
)

# --- syslog -----------------------------------------------------------------------------------

SYSLOG_DEV = Key(
    name="dev",
    kind=Text(words="full path of a UNIX socket, or `IPv4`, or `IPv4:PORT`"),
    default="/dev/log",
    shown="`/dev/log`",
    meaning="where syslog listens; an address is for UDP, at port 514 where none is given",
)
SYSLOG_FACILITY = Key(
    name="facility",
    kind=Facility(),
    default="daemon",
    shown="`daemon`",
    meaning="for piesd's own lines, and for output that names none",
)
SYSLOG_TAG = Key(
    name="tag",
    kind=Text(),
    shown="the name of the instance",
    meaning="what piesd's own lines begin with",
)
SYSLOG_KEYS = KeySet((SYSLOG_DEV, SYSLOG_FACILITY, SYSLOG_TAG))

# --- mail -------------------------------------------------------------------------------------

MAIL_PROGRAM = Key(
    name="program",
    kind=FullPath(),
    default="/usr/sbin/sendmail",
    shown="`/usr/sbin/sendmail`",
    meaning="the program that sends mail: it gets the text on standard input",
)
MAIL_COMMAND_LINE = Key(
    name="command-line",
    kind=Text(),
    default="sendmail -oi",
    shown="`sendmail -oi`",
    meaning="its words, the first of which is its name; the recipients are put behind them",
)
MAIL_SMTP = Key(
    name="smtp",
    kind=Server(),
    shown="none",
    meaning="send by this server, and not by the program",
)
MAIL_FROM = Key(
    name="from",
    kind=Sender(),
    shown="piesd's user at this host",
    meaning="the sender",
)
MAIL_KEYS = KeySet((MAIL_PROGRAM, MAIL_COMMAND_LINE, MAIL_SMTP, MAIL_FROM))
