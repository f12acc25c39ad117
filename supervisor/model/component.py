"""What the operator configured: one `Component` for each thing that is supervised."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct

from supervisor.model.access import Acl

Tag = str
"""The unique name of a component. It never contains `#`, which marks connections (see `Key`)."""

Key = str
"""What the engine calls an entity: a component's tag, or `TAG#N` for its connection number N."""

LIVE = Meta(extra={"change": "live"})
"""Marks a field of `Component` whose change applies without a new child."""

NEXT_START = Meta(extra={"change": "next start"})
"""Marks a field that only the next start looks at: a child that is there needs no other."""


class Mode(StrEnum):
    """How a component lives. Source: pies.md sections 2.1 and, from `SYSINIT` on, 6."""

    __hash__ = str.__hash__  # Enum's own is written in Python, and not that of the equal str.

    RESPAWN = "respawn"
    ONCE = "once"
    STARTUP = "startup"
    SHUTDOWN = "shutdown"
    INETD = "inetd"
    ACCEPT = "accept"
    PASS_FD = "pass-fd"
    SYSINIT = "sysinit"
    BOOT = "boot"
    BOOTWAIT = "bootwait"
    WAIT = "wait"
    CTRLALTDEL = "ctrlaltdel"
    KBREQUEST = "kbrequest"
    ONDEMAND = "ondemand"
    POWERFAIL = "powerfail"
    POWERWAIT = "powerwait"
    POWERFAILNOW = "powerfailnow"
    POWEROKWAIT = "powerokwait"


class Where(Struct, frozen=True):
    """A place in a configuration file. Lines count from 1; 0 means the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Respawn(Struct, frozen=True, kw_only=True):
    """The failure policy: when a component that keeps ending is left alone for a while.

    More than `max` starts within `window` seconds put it to sleep for `sleep` seconds. `delay`
    seconds (0: none) pass before a restart; each quick failure in a row doubles them up to
    `delay_max`.

    Source: pies.md section 2.3 for the defaults.
    """

    max: int = 10
    window: float = 120.0
    sleep: float = 300.0
    delay: float = 0.0
    delay_max: float = 30.0


class Output(Struct, frozen=True, kw_only=True):
    """Where one output stream of a child goes.

    `stdout` is meant for standard error only: the same place as standard output. `path` is set
    exactly for `file`; `rotate_size` is bytes, 0 for never. `facility` and `priority` are words of
    syslog and set exactly for `syslog`. `timestamps` puts the time before each line of a file.
    """

    kind: Literal["inherit", "null", "file", "stdout", "syslog", "journal"] = "inherit"
    path: str | None = None
    rotate_size: int = 0
    rotate_keep: int = 5
    compress: bool = False
    timestamps: bool = False
    facility: str | None = None
    priority: str | None = None


class EnvStep(Struct, frozen=True):
    """One step of pies' `env` block; `set` and `eval` expand what `text` says, as a shell does.

    `set` has `NAME=VALUE`, `eval` any text that is expanded for its side effects, `unset` a shell
    pattern or `NAME=VALUE`. `append` and `prepend` have `NAME=VALUE`, taken literally, for the
    legacy form: where NAME is unset, a leading (trailing) punctuation character of VALUE is left
    out.

    Source: pies.md section 1.4.
    """

    kind: Literal["set", "eval", "unset", "append", "prepend"]
    text: str


class Environment(Struct, frozen=True, kw_only=True):
    """How the environment of a child is made from piesd's own, computed at each start.

    `clear` starts from nothing, `keep` (shell patterns, or `NAME=VALUE`; implies clear) lets some
    names through, then `unset` removes, `set` and `files` (the contents of the file without the
    final newline) add, and then the `steps` are taken in their order.
    """

    clear: bool = False
    keep: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    set: dict[str, str] = {}
    files: dict[str, str] = {}
    steps: tuple[EnvStep, ...] = ()


class Check(Struct, frozen=True, kw_only=True):
    """How to find out whether a running component is ready, or still healthy.

    `notify` waits for `READY=1` on `NOTIFY_SOCKET`, `fd` for a newline on that descriptor (both for
    readiness only), `tcp` connects to `target` (`HOST:PORT`, or the full path of a UNIX socket),
    `http` gets the URL `target` and wants a status of 2xx or 3xx, `exec` runs `argv` as the
    component itself would run and wants code 0, `pass-fd` hands the listening socket over through
    the UNIX socket `target`.

    Readiness: one try every `interval` seconds, `timeout` seconds for all. Health: one try every
    `interval` seconds with `timeout` seconds for each; `failures` in a row restart the component.
    """

    kind: Literal["notify", "fd", "tcp", "http", "exec", "pass-fd"]
    fd: int = 3
    target: str = ""
    argv: tuple[str, ...] = ()
    timeout: float = 60.0
    interval: float = 1.0
    failures: int = 3


class ExitAction(Struct, frozen=True, kw_only=True):
    """What is done when a component ends by itself in one of these ways. The first that fits.

    `exec` is a command already split into words. `message` is a mail (RFC 822) with template
    references `${name}`, None for the default one.

    Source: pies.md section 3.
    """

    codes: tuple[int, ...] = ()
    signals: tuple[int, ...] = ()
    action: Literal["restart", "disable"] = "restart"
    exec: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()
    message: str | None = None


SocketType = Literal["stream", "dgram", "seqpacket"]


class InetAddress(Struct, frozen=True, kw_only=True, tag="inet"):
    """An address of TCP or UDP. `host` is a literal IPv4 or IPv6 address, `port` 0..65535."""

    host: str
    port: int
    protocol: Literal["tcp", "udp"] = "tcp"

    @property
    def kind(self) -> SocketType:
        """The type of its socket."""
        return "dgram" if self.protocol == "udp" else "stream"

    @property
    def url(self) -> str:
        """The address in the form that listings show."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"inet+{self.protocol}://{host}:{self.port}"


class UnixAddress(Struct, frozen=True, kw_only=True, tag="unix"):
    """A UNIX socket. `mode` is an octal permission number.

    A `path` that begins with `@` is a name in the abstract namespace, which is no file and has no
    mode or owner.
    """

    path: str
    mode: int | None = None
    user: str | None = None
    group: str | None = None
    kind: SocketType = "stream"

    @property
    def abstract(self) -> bool:
        """Whether it is a name and not a file."""
        return self.path.startswith("@")

    @property
    def url(self) -> str:
        """The address in the form that listings show."""
        return f"unix://{self.path}"


Address = InetAddress | UnixAddress


class GroupLimits(Struct, frozen=True, kw_only=True):
    """What the processes of a component may use together. None is the system's own; -1 no limit.

    `memory_max` and `memory_high` are bytes; weights are shares, of which everybody has 100.
    """

    memory_max: int | None = None
    memory_high: int | None = None
    cpu_weight: int | None = None
    io_weight: int | None = None
    pids_max: int | None = None

    def __bool__(self) -> bool:
        return self != NO_LIMITS


NO_LIMITS = GroupLimits()


class Component(Struct, frozen=True, kw_only=True):
    """One supervised thing, fully resolved: defaults applied, names checked, strings expanded.

    A field marked `LIVE` or `NEXT_START` takes effect without a new child; any other change needs
    one (see `supervisor.engine.plan`). Durations are seconds.
    """

    tag: Tag
    mode: Mode = Mode.RESPAWN
    argv: tuple[str, ...]
    """The words given to execve; for a shell command `("/bin/sh", "-c", TEXT)`."""
    command: Annotated[str, LIVE] = ""
    """The command as a person wrote it, for listings."""
    program: str | None = None
    """The file to execute where it is not the first word of `argv`."""

    template: Annotated[Tag | None, LIVE] = None
    """For `web:2` the name it was made from, `web`."""
    instance: Annotated[int | None, LIVE] = None
    description: Annotated[str, LIVE] = ""
    labels: Annotated[dict[str, str], LIVE] = {}
    source: Annotated[Where, LIVE] = Where("", 0)

    prerequisites: Annotated[tuple[Tag, ...], LIVE] = ()
    """Tags of components that must be up first; templates are already expanded."""
    enabled: Annotated[bool, LIVE] = True
    """False for pies' `disable`: known, but not started by itself."""
    precious: Annotated[bool, LIVE] = False
    """Never put to sleep, however fast it ends."""
    essential: Annotated[bool, LIVE] = False
    required: Annotated[bool, LIVE] = False
    respawn: Annotated[Respawn, LIVE] = Respawn()
    stop_signal: Annotated[int, LIVE] = 15
    stop_timeout: Annotated[float, LIVE] = 5.0

    user: str | None = None
    group: tuple[str, ...] = ()
    """Supplementary groups beside the primary group of `user`."""
    allgroups: bool = False
    umask: int | None = None
    chdir: str | None = None
    env: Environment = Environment()
    env_base: Environment = Environment()
    """What makes piesd's own environment into the one that `env` starts from: a global `env`."""
    expandenv: bool = False
    """The words of `argv` are made anew at each start: `command`, with its `$NAME` expanded."""
    nullinput: bool = False
    remove_file: Annotated[tuple[str, ...], NEXT_START] = ()
    """Files that are removed before each start."""
    limits: dict[str, int] = {}
    """Resource limits, soft and hard, by the names of setrlimit(2) in lower case without `RLIMIT_`
    (`nofile`, `core` …), in its units; -1 is no limit."""
    cgroup: Annotated[GroupLimits, LIVE] = NO_LIMITS
    nice: int | None = None
    cpu_affinity: tuple[int, ...] = ()
    oom_score_adj: int | None = None
    no_new_privileges: bool = False
    start_condition: Annotated[tuple[str, ...], NEXT_START] = ()
    """A command that decides, by its code 0, whether a start goes on."""
    ready: Check | None = None
    """None: it is ready as soon as it runs."""
    health: Annotated[Check | None, LIVE] = None
    watchdog: float = 0.0
    """Seconds within which it has to say `WATCHDOG=1` again once it is ready; 0 for never."""
    stop_scope: Annotated[Literal["group", "leader"], LIVE] = "group"
    """Who gets the stop signal; pies' `siggroup` says the group, and its default is the leader."""
    exit_actions: Annotated[tuple[ExitAction, ...], LIVE] = ()
    """Its own, then those for all components: the first that fits is taken."""
    list_acl: Annotated[Acl | None, LIVE] = None
    admin_acl: Annotated[Acl | None, LIVE] = None

    stdout: Annotated[Output, LIVE] = Output()
    stderr: Annotated[Output, LIVE] = Output()

    sockets: tuple[Address, ...] = ()
    """Where it, or piesd on its behalf, listens. One at least for the modes inetd (unless it is
    served by a `tcpmux_master`), accept and pass-fd; none for others."""
    backlog: int = 4096
    """Connections that may wait to be accepted."""
    wait: bool = False
    """Of mode inetd: one server at a time owns the listening sockets; piesd listens again when it
    has ended."""
    on_demand: bool = False
    """Of mode accept: started at the first connection, as with `wait`."""
    listen_fds: bool = False
    """The listening sockets are descriptors from 3 on, as systemd hands them over, and the first of
    them is not standard input."""
    socket_names: tuple[str, ...] = ()
    """What `LISTEN_FDNAMES` calls them; none means the tag for each."""
    idle_stop: Annotated[float, LIVE] = 0.0
    """Seconds without a connection after which a server that owns the listener is stopped; 0 for
    never."""

    service: str | None = None
    """The built-in service of an `internal` component, or the name of a TCPMUX service."""
    internal: bool = False
    tcpmux_master: Tag | None = None
    """The component that hands connections over to this one, which has no socket of its own."""
    tcpmux_plus: bool = False
    """piesd, and not the program, tells the client that its service was found."""

    acl: Annotated[Acl | None, LIVE] = None
    """Who may connect. Users are those of UNIX sockets."""
    max_rate: Annotated[int, LIVE] = 0
    """Connections a minute, then accepting pauses; 0 for no limit."""
    max_ip_connections: Annotated[int | None, LIVE] = None
    max_instances_message: Annotated[str, LIVE] = ""
    max_ip_connections_message: Annotated[str, LIVE] = ""
    access_denied_message: Annotated[str, LIVE] = ""
    sockenv: Annotated[bool, LIVE] = False
    resolve: Annotated[bool, LIVE] = False
    idle_timeout: Annotated[float, LIVE] = 0.0
    """Seconds without a byte in either direction after which a connection is ended; 0: never."""
    proxy_protocol: Annotated[tuple[str, ...], LIVE] = ()
    """The networks whose connections begin with a header of the PROXY protocol."""
    runlevels: Annotated[str | None, LIVE] = None
    """The runlevels in which it is wanted, one character each; None for all."""
    utmp: Annotated[bool, LIVE] = True
    """Whether an init process records its starts and ends in utmp and wtmp."""
    max_instances: Annotated[int | None, LIVE] = None
    """The number of connections served at once, or, of a template, of instances that are live at
    once; None for no limit."""

    @property
    def listens(self) -> bool:
        """Whether piesd waits for connections on its behalf, and runs nothing before one comes."""
        return self.mode is Mode.INETD or (self.mode is Mode.ACCEPT and self.on_demand)

    @property
    def owned(self) -> bool:
        """Whether a server owns the listener while it runs, and not a connection."""
        return self.wait or self.on_demand
