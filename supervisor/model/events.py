"""What can happen: requests of people, facts from the operating system, deadlines, rules.

Component events say nothing about which component they concern; the engine's events do.
`at` is Unix time throughout, for showing; the time that decides is given to `Engine.handle`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from supervisor.model.access import Subject
from supervisor.model.component import Component, Key, Tag
from supervisor.model.state import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence


# --- requests: they change what is wanted -------------------------------------------------


class Start(Struct, frozen=True):
    """Somebody wants it up. Ends a sleep at once."""

    by: str = ""
    at: float = 0.0


class Stop(Struct, frozen=True):
    """Somebody wants it down, and kept down."""

    by: str = ""
    at: float = 0.0


class Restart(Struct, frozen=True):
    """Somebody wants a new child."""

    by: str = ""
    at: float = 0.0


class SendSignal(Struct, frozen=True):
    """Somebody wants the child's process group to get a signal."""

    signum: int


class Reset(Struct, frozen=True):
    """Forget failures and counted starts; a sleeping component tries again now."""


class Remove(Struct, frozen=True):
    """It is no longer configured: go down and be forgotten."""


# --- facts: they change what is -----------------------------------------------------------


class Spawned(Struct, frozen=True):
    """The child of this generation executes its program, or (no `pid`) piesd itself serves."""

    generation: int
    pid: int | None
    at: float = 0.0


class SpawnFailed(Struct, frozen=True):
    """There is no child of this generation. `chance` is a random number in [0, 1) for jitter."""

    generation: int
    exit: Exit
    chance: float = 0.5


class Exited(Struct, frozen=True):
    """The leader of this generation was reaped; `lost` are its processes that live on."""

    generation: int
    exit: Exit
    lost: tuple[int, ...] = ()
    chance: float = 0.5


class TreeChanged(Struct, frozen=True):
    """After the leader's end: which processes of this generation are left. None: all gone."""

    generation: int
    lost: tuple[int, ...]
    chance: float = 0.5


class Tested(Struct, frozen=True):
    """The start condition has spoken. `exit` is None if it allows the start."""

    generation: int
    exit: Exit | None = None


class Ready(Struct, frozen=True):
    """The child of this generation does its work now."""

    generation: int


class NotReady(Struct, frozen=True):
    """The child of this generation has not become ready in time."""

    generation: int
    message: str


class Unhealthy(Struct, frozen=True):
    """The child of this generation has failed its health check too often."""

    generation: int
    message: str


class Hung(Struct, frozen=True):
    """The child of this generation has missed its watchdog, or says that it hangs."""

    generation: int
    message: str


class WatchdogSet(Struct, frozen=True):
    """The child of this generation wants its watchdog to wait for so many seconds; 0: for ever."""

    generation: int
    seconds: float


class Idle(Struct, frozen=True):
    """Nobody has needed the child of this generation for as long as it may be kept for nothing.

    It serves a connection, or whoever comes to a listener. It may be held by SIGSTOP.
    """

    generation: int
    message: str


class Listening(Struct, frozen=True):
    """The listener of this generation accepts connections."""

    generation: int
    at: float = 0.0


class ListenFailed(Struct, frozen=True):
    """The listener of this generation could not be opened, or died."""

    generation: int
    exit: Exit
    chance: float = 0.5


class ListenerClosed(Struct, frozen=True):
    """The listener of this generation is closed, as asked."""

    generation: int


class Taken(Struct, frozen=True):
    """A connection of this listener is going to be served."""


class DeadlineReached(Struct, frozen=True):
    """The state's own deadline has come."""


# --- rules: what the engine concludes from the neighbours -----------------------------------


class Excused(Struct, frozen=True):
    """What it needs has failed as well: the failures of these moments are not its own."""


class Release(Struct, frozen=True):
    """No gate blocks: start now."""


class Lower(Struct, frozen=True):
    """It should be down and nobody needs it any more. Kill at `now + patience` at the latest."""

    patience: float


ComponentEvent = (
    Start
    | Stop
    | Restart
    | SendSignal
    | Reset
    | Remove
    | Spawned
    | SpawnFailed
    | Exited
    | TreeChanged
    | Tested
    | Ready
    | NotReady
    | Unhealthy
    | Hung
    | WatchdogSet
    | Idle
    | Listening
    | ListenFailed
    | ListenerClosed
    | Taken
    | DeadlineReached
    | Excused
    | Release
    | Lower
)


# --- the engine's own events --------------------------------------------------------------


class Happened(Struct, frozen=True):
    """A component event, and whom it concerns."""

    key: Key
    event: ComponentEvent


Action = Literal["start", "stop", "restart", "signal", "reset"]


class Order(Struct, frozen=True):
    """A request to all of `keys` together. `by` says who asked."""

    action: Action
    keys: tuple[Key, ...]
    by: str = ""
    at: float = 0.0
    signum: int = 0


class Boot(Struct, frozen=True):
    """Begin: everything that is enabled becomes wanted, startup components first."""

    at: float = 0.0


class Apply(Struct, frozen=True):
    """Go over to the components of a new plan."""

    components: Sequence[Component]
    shutdown_timeout: float
    by: str = ""
    at: float = 0.0
    runlevel: str = ""
    """The configured first runlevel; empty where runlevels are not used."""
    max_starting: int = 0
    """How many may be on their way up at once; 0 for any number."""


class Accepted(Struct, frozen=True):
    """A listener accepted connection number `connection` from `peer`, who is `subject` to rules.

    Where a server owns the listener (`Component.owned`) somebody waits to be accepted, and the
    number stands for the listener itself.
    """

    tag: Tag
    connection: int
    peer: str = ""
    at: float = 0.0
    subject: Subject = Subject()


class SetRunlevel(Struct, frozen=True):
    """Go over to a runlevel, one of `0123456789S`; with `a`, `b` or `c` start what is on demand.

    `patience` are the seconds that what leaves may take between its signal and SIGKILL; with None
    each has its own `stop_timeout`.
    """

    level: str
    by: str = ""
    at: float = 0.0
    patience: float | None = None


class Alarm(Struct, frozen=True):
    """Something happened to the machine for which an init process has components."""

    kind: Literal["ctrlaltdel", "kbrequest", "powerfail", "powerfailnow", "powerok"]
    at: float = 0.0


class SetVariable(Struct, frozen=True):
    """Let what an init process starts from now on have a variable, or (None) not have it."""

    name: str
    value: str | None = None


class RunCommand(Struct, frozen=True):
    """Run a command on behalf of `tag`: an entity of its own until it ends. `text` is its input.

    `name` says what it is (`mailer`); its end is told by the effect `CommandEnded`.
    """

    tag: Tag
    name: str
    argv: tuple[str, ...]
    program: str | None = None
    text: str | None = None
    at: float = 0.0


class MailTried(Struct, frozen=True):
    """What an effect `Mail` asked for has been tried once, or it never will be."""


class Shutdown(Struct, frozen=True):
    """Bring everything down in order, then end with `code`."""

    by: str = ""
    code: int = 0


class Hurry(Struct, frozen=True):
    """Somebody is tired of waiting for the shutdown: kill what is left."""


class TimePassed(Struct, frozen=True):
    """One or more deadlines may have come."""


EngineEvent = (
    Happened
    | Order
    | Boot
    | Apply
    | Accepted
    | SetRunlevel
    | Alarm
    | SetVariable
    | RunCommand
    | MailTried
    | Shutdown
    | Hurry
    | TimePassed
)
