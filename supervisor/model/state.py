"""Where one component is in its life, and why."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Phase(StrEnum):
    """Where the machine is. What people see is the `Status` computed from it."""

    __hash__ = str.__hash__  # Enum's own is written in Python, and not that of the equal str.

    STOPPED = "stopped"
    WAITING = "waiting"
    """Wanted, and held by a gate: `supervisor.engine.gates` says by which."""
    STARTING = "starting"
    """A spawn (or the opening of a listener) is under way."""
    RUNNING = "running"
    STOPPING = "stopping"
    """Signalled, or its leader has ended and the rest of its tree has not."""
    SLEEPING = "sleeping"
    """Waits for its deadline after failing."""
    FINISHED = "finished"
    LISTENING = "listening"


LIVE_PHASES = frozenset({Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.LISTENING})
"""The phases in which something of a component exists in the operating system."""


class Status(StrEnum):
    """The public word. Source: pies.md section 2.2."""

    __hash__ = str.__hash__  # Enum's own is written in Python, and not that of the equal str.

    STOPPED = "stopped"
    RUNNING = "running"
    LISTENER = "listener"
    SLEEPING = "sleeping"
    STOPPING = "stopping"
    FINISHED = "finished"


class Exit(Struct, frozen=True, kw_only=True):
    """How a child, or an attempt to start one, ended.

    Exactly one of `code`, `signal` and `stage` is set. `stage` names the step of a start that
    failed (`chdir`, `exec`, `user`, `listen`, `start-condition` …), or the check that did (`ready`,
    `health`, `watchdog`), or says that nobody needed it (`idle`) or saw it (`unobserved`);
    `errno` is the system's reason. `at` is Unix time, `lasted` the seconds the child lived, `cpu`
    its processor seconds, `peak` the largest resident size in bytes of any process it waited for.
    `oom`: the kernel has killed it, for want of memory.
    """

    code: int | None = None
    signal: int | None = None
    core: bool = False
    oom: bool = False
    stage: str | None = None
    errno: int | None = None
    message: str = ""
    at: float = 0.0
    lasted: float = 0.0
    cpu: float = 0.0
    peak: int = 0

    @property
    def ok(self) -> bool:
        """True when the child exited with code 0."""
        return self.code == 0

    @property
    def status_code(self) -> int:
        """The exit code a shell would show: 128+n for a signal, 127 for a failed start."""
        if self.code is not None:
            return self.code
        return 127 if self.signal is None else 128 + self.signal


UNOBSERVED = "unobserved"
"""The stage of an end of which nobody knows how it was: piesd was not there, or not its parent."""


class Stage(StrEnum):
    """Where piesd as a whole is in its life."""

    __hash__ = str.__hash__  # Enum's own is written in Python, and not that of the equal str.

    NEW = "new"
    STARTUP = "startup"
    """The startup components run, and nothing else yet."""
    NORMAL = "normal"
    STOPPING = "stopping"
    """Everything but the shutdown components goes down."""
    LAST = "last"
    """The shutdown components run."""
    ENDED = "ended"


class NoRoom(Struct, frozen=True):
    """That the system had no room for its start: how often in a row, and what it said."""

    tries: int
    message: str


class Excuse(Struct, frozen=True):
    """The counters before a failure at `at`, should that turn out to be no fault of its own."""

    at: float
    starts: tuple[float, ...]
    failures: int


class Wish(Struct, frozen=True):
    """Who asked for what last. `by` is empty for the configuration itself, `at` is Unix time."""

    action: str
    by: str
    at: float


class State(Struct, frozen=True, kw_only=True):
    """Everything the machine knows about one entity. Times are monotonic seconds unless said.

    `wanted` is what people want, `phase` what is. `generation` numbers the children; reports
    about another generation are old news. `renew` marks a restart that is under way: go down,
    then come up again. `removed` marks one that is no longer configured and is forgotten as soon
    as it is down. `lost` holds the processes that outlived their leader. `starts` holds the times
    of the latest automatic starts, for the throttle.
    """

    phase: Phase = Phase.STOPPED
    wanted: bool = False
    ready: bool = False
    """Whether the present child does its work; what needs it waits for that."""
    refused: str = ""
    """What its start condition said when it stopped the latest start."""
    generation: int = 0
    pid: int | None = None
    listener: bool = False
    """Whether the present generation is a listener and not a process."""
    deadline: float | None = None
    since: float = 0.0
    """When the phase was entered."""
    born: float = 0.0
    """When the present child began to run."""
    started_at: float | None = None
    """Unix time of the latest start of a child (or of the opening of the listener)."""
    starts: tuple[float, ...] = ()
    failures: int = 0
    """Quick ends in a row; the delay before a restart grows with it."""
    room: NoRoom | None = None
    """Set until a start has succeeded; while it waits for the next try it has a deadline."""
    excuse: Excuse | None = None
    """Of the latest failures that may have had one cause."""
    restarts: int = 0
    """How often it was started again by us, in all."""
    watchdog: float | None = None
    """What the present child has made of its watchdog: seconds, 0 for none; None: nothing."""
    kills: int = 0
    """How often SIGKILL was sent to the present child's tree."""
    lost: tuple[int, ...] = ()
    renew: bool = False
    removed: bool = False
    minute: float = 0.0
    """Listeners: when the minute began in which `taken` connections were taken."""
    taken: int = 0
    refused_clients: int = 0
    """Listeners: how many connections were refused, in all."""
    lowered: bool = False
    """The present child was brought down by us, so its end is no failure."""
    throttled: bool = False
    """Sleeps because of too many starts, not just for the delay before a restart; a listener: it
    pauses because of too many connections in a minute."""
    last_exit: Exit | None = None
    wish: Wish | None = None

    @property
    def paused(self) -> bool:
        """True while a listener accepts nothing because there were too many connections."""
        return self.phase is Phase.LISTENING and self.throttled

    @property
    def live(self) -> bool:
        """True while something of it exists in the operating system."""
        return self.phase in LIVE_PHASES

    @property
    def put_off(self) -> bool:
        """True while it is wanted and not tried: it sleeps, or its start condition said no."""
        return self.phase is Phase.SLEEPING or bool(self.refused)


class Block(Struct, frozen=True, kw_only=True):
    """One gate's answer to "why is it not running?".

    `type` is stable for scripts, `message` is for people, `until` is the monotonic time at which
    the gate opens by itself, where that is known, `tags` are the components it is about.
    """

    type: str
    message: str
    until: float | None = None
    tags: tuple[str, ...] = ()
