"""The keys of a component that are about sockets: where to listen, whom to serve, and how."""

from __future__ import annotations

from supervisor.config.acls import AclRules, WrittenAcl
from supervisor.config.fields import Key
from supervisor.config.kinds import Boolean, Count, Seconds, Text, TextList
from supervisor.config.special import Networks, SocketKind, SocketUrl
from supervisor.model.component import Mode, SocketType

LISTENING = frozenset({Mode.INETD, Mode.ACCEPT, Mode.PASS_FD})
_INETD = frozenset({Mode.INETD})
_ACCEPT = frozenset({Mode.ACCEPT})
_OWNED = frozenset({Mode.INETD, Mode.ACCEPT})

SERVICES = ("echo", "discard", "time", "daytime", "chargen", "qotd", "tcpmux")
"""What piesd serves itself. Source: pies.md section 2.5."""

SOCKET = Key(
    name="socket",
    kind=SocketUrl(many=True),
    own=True,
    modes=LISTENING,
    shown="required for these modes",
    meaning="where to listen, see below",
)
SOCKET_TYPE: Key[SocketType] = Key(
    name="socket-type",
    kind=SocketKind(),
    shown="`stream`; `dgram` for UDP",
    modes=LISTENING,
    meaning="the type of the socket; `seqpacket` is for UNIX sockets only",
)
BACKLOG = Key(
    name="backlog",
    kind=Count(least=1, most=65535, few=True),
    default=4096,
    shown="4096",
    modes=LISTENING,
    meaning="how many connections may wait to be accepted; the system may allow fewer",
)
WAIT = Key(
    name="wait",
    kind=Boolean(),
    default=False,
    shown="`false`",
    modes=_INETD,
    meaning=(
        "one server at a time gets the listening socket itself; piesd listens again when it has "
        "ended. Datagrams need it"
    ),
)
ON_DEMAND = Key(
    name="on-demand",
    kind=Boolean(),
    default=False,
    shown="`false`, `true` with `idle-stop`",
    modes=_ACCEPT,
    meaning="it is started at the first connection, and not before",
)
IDLE_STOP = Key(
    name="idle-stop",
    kind=Seconds(positive=True),
    shown="never",
    modes=_OWNED,
    meaning=(
        "what was started by a connection and owns the listening socket is stopped after so long "
        "without one, and started again by the next"
    ),
)
LISTEN_FDS = Key(
    name="listen-fds",
    kind=Boolean(),
    default=False,
    shown="`false`",
    modes=_OWNED,
    meaning=(
        "the listening sockets are descriptors 3, 4 … with `LISTEN_FDS`, `LISTEN_PID` and "
        "`LISTEN_FDNAMES`, as sd_listen_fds(3) expects them; otherwise the socket is standard "
        "input and output"
    ),
)
SOCKET_NAMES = Key(
    name="socket-names",
    kind=TextList(words="list of names, one for each socket"),
    shown="the tag",
    modes=_OWNED,
    meaning="what `LISTEN_FDNAMES` calls the sockets",
)
PASS_FD_SOCKET = Key(
    name="pass-fd-socket",
    kind=Text(words="path"),
    own=True,
    modes=frozenset({Mode.PASS_FD}),
    shown="required for `pass-fd`",
    meaning=(
        "the UNIX socket of the program, through which it is given the listening socket; a "
        "relative path lies in `chdir`"
    ),
)
PASS_FD_TIMEOUT = Key(
    name="pass-fd-timeout",
    kind=Seconds(positive=True),
    default=5.0,
    shown="5",
    modes=frozenset({Mode.PASS_FD}),
    meaning="that socket is there by then, or the component has failed",
)
SERVICE = Key(
    name="service",
    kind=Text(),
    own=True,
    modes=_INETD,
    meaning=(
        f"with `internal`, what piesd serves itself: {' '.join(f'`{each}`' for each in SERVICES)}; "
        "with `tcpmux-master`, the name that clients ask for"
    ),
)
INTERNAL = Key(
    name="internal",
    kind=Boolean(),
    default=False,
    shown="`false`",
    modes=_INETD,
    meaning="piesd itself serves `service`, and there is no `command`",
)
TCPMUX_MASTER = Key(
    name="tcpmux-master",
    kind=Text(words="tag"),
    own=True,
    modes=_INETD,
    meaning="that component, which serves `tcpmux`, hands connections over to this one",
)
TCPMUX = Key(
    name="tcpmux",
    kind=Boolean(),
    default=False,
    shown="`false`",
    modes=_INETD,
    meaning="the program itself tells the client of TCPMUX that its service was found",
)
TCPMUXPLUS = Key(
    name="tcpmuxplus",
    kind=Boolean(),
    default=False,
    shown="`false`",
    modes=_INETD,
    meaning="piesd tells it, before the program runs",
)
CONNECT_ACL: Key[WrittenAcl] = Key(
    name="acl",
    kind=AclRules(),
    shown="everybody",
    modes=_INETD,
    meaning="who may connect; `user` and `group` are those of a client on a UNIX socket",
)
ACCESS_DENIED_MESSAGE = Key(
    name="access-denied-message",
    kind=Text(empty=True),
    default="",
    modes=_INETD,
    meaning="what somebody is told whom `acl` keeps out",
)
MAX_INSTANCES_MESSAGE = Key(
    name="max-instances-message",
    kind=Text(empty=True),
    default="",
    modes=_INETD,
    meaning="what a client is told when `max-instances` are served",
)
MAX_IP_CONNECTIONS = Key(
    name="max-ip-connections",
    kind=Count(least=1, most=1_000_000),
    shown="unlimited",
    modes=_INETD,
    meaning="how many connections of one IP address are served at once",
)
MAX_IP_CONNECTIONS_MESSAGE = Key(
    name="max-ip-connections-message",
    kind=Text(empty=True),
    default="",
    modes=_INETD,
    meaning="what one client more is told",
)
MAX_RATE = Key(
    name="max-rate",
    kind=Count(least=0, most=1_000_000),
    shown="unlimited; 256 with `wait`",
    modes=_INETD,
    meaning=(
        "how many connections (with `wait`: servers) a minute are taken; then accepting pauses "
        "until the minute is over, and nobody is refused"
    ),
)
SOCKENV = Key(
    name="sockenv",
    kind=Boolean(),
    default=False,
    shown="`false`",
    modes=_INETD,
    meaning=(
        "the program finds `PROTO SOCKTYPE LOCALIP LOCALPORT REMOTEIP REMOTEPORT` in its "
        "environment"
    ),
)
RESOLVE = Key(
    name="resolve",
    kind=Boolean(),
    default=False,
    shown="`false`",
    modes=_INETD,
    meaning="with `sockenv`: `LOCALHOST` and `REMOTEHOST` too, where they are found within 2 s",
)
IDLE_TIMEOUT = Key(
    name="idle-timeout",
    kind=Seconds(positive=True),
    shown="never",
    modes=_INETD,
    meaning="a TCP connection on which no byte went either way for so long is ended",
)
PROXY_PROTOCOL = Key(
    name="proxy-protocol",
    kind=Networks(),
    shown="`false`",
    modes=_INETD,
    meaning=(
        "connections from these networks (`true`: all) begin with a header of the PROXY protocol, "
        "version 1 or 2, that says who the client is: for `acl`, the limits and `REMOTEIP`"
    ),
)

SOCKET_KEYS = (
    SOCKET,
    SOCKET_TYPE,
    BACKLOG,
    WAIT,
    ON_DEMAND,
    IDLE_STOP,
    LISTEN_FDS,
    SOCKET_NAMES,
    PASS_FD_SOCKET,
    PASS_FD_TIMEOUT,
    SERVICE,
    INTERNAL,
    TCPMUX_MASTER,
    TCPMUX,
    TCPMUXPLUS,
    CONNECT_ACL,
    ACCESS_DENIED_MESSAGE,
    MAX_INSTANCES_MESSAGE,
    MAX_IP_CONNECTIONS,
    MAX_IP_CONNECTIONS_MESSAGE,
    MAX_RATE,
    SOCKENV,
    RESOLVE,
    IDLE_TIMEOUT,
    PROXY_PROTOCOL,
)
