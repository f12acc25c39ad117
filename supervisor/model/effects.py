"""What must be done, as values: the engine returns them and the runtime carries them out."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from supervisor.model.component import Address, Component, Key, Tag
from supervisor.model.state import Exit

Scope = Literal["leader", "group", "lost", "tree"]
"""Which processes of a child get a signal, see `Signal`."""

Level = Literal["debug", "info", "warning", "error"]
"""How much a note matters."""


class Spawn(Struct, frozen=True):
    """Start child `generation` of `key`. With `connection`, that socket is its stdin and stdout.

    With `text`, that is what it reads from its standard input. What is `internal` is no process:
    piesd itself serves the connection, until a `Signal` ends that.
    """

    key: Key
    generation: int
    spec: Component
    connection: int | None = None
    text: str | None = None


class Probe(Struct, frozen=True):
    """Run the start condition of `key`; report `Tested`."""

    key: Key
    generation: int
    spec: Component


class Mail(Struct, frozen=True):
    """Tell `to` that the child `pid` of `tag` has ended so; `message` as in `ExitAction`."""

    tag: Tag
    to: tuple[str, ...]
    message: str | None
    exit: Exit


class CommandEnded(Struct, frozen=True):
    """The command `key`, which `RunCommand` asked for, has ended."""

    key: Key
    exit: Exit


class Signal(Struct, frozen=True):
    """Send a signal to processes of child `generation` of `key`.

    `leader`: the child itself. `group`: its process group. `lost`: what outlived the leader
    outside that group. `tree`: every process of the child, wherever it went.
    """

    key: Key
    generation: int
    signum: int
    scope: Scope = "group"


class Listen(Struct, frozen=True):
    """Open the listener of `key`."""

    key: Key
    generation: int
    spec: Component


class Unlisten(Struct, frozen=True):
    """Close the listener of `key`; report `ListenerClosed`.

    `keep`: those of its sockets that have such an address are going to be used again, by this
    component or by another. Whoever connects until then waits, and is not refused.
    """

    key: Key
    generation: int
    keep: frozenset[Address] = frozenset()


class Pause(Struct, frozen=True):
    """Accept nothing for `key` for a while; its sockets stay open."""

    key: Key


class Resume(Struct, frozen=True):
    """Accept for `key` again."""

    key: Key


class LetGo(Struct, frozen=True):
    """Close the sockets that were kept open for the children of `key`; `keep` as in `Unlisten`."""

    key: Key
    keep: frozenset[Address] = frozenset()


class GiveUp(Struct, frozen=True):
    """Close the sockets that were kept for these addresses: nobody is going to listen there."""

    addresses: frozenset[Address]


class CloseConnection(Struct, frozen=True):
    """Refuse an accepted connection: tell the client why, and close it."""

    connection: int
    message: str = ""


class Retune(Struct, frozen=True):
    """The component's output (or another live field) is now as in `spec`."""

    key: Key
    spec: Component


class Forget(Struct, frozen=True):
    """Nothing refers to `key` any more; free what is kept for it."""

    key: Key


class Note(Struct, frozen=True):
    """Something a person may want to know: for the log and the event feed.

    `kind` is stable for scripts (`started`, `exited`, `sleeping` …), `text` is for people.
    """

    key: Key | None
    kind: str
    level: Level
    text: str


class Record(Struct, frozen=True):
    """Write down a change of the machine's state, as init does in utmp and wtmp.

    `level` and `previous` are one character each, `previous` is `N` where there was none.
    """

    kind: Literal["boot", "runlevel"]
    level: str = ""
    previous: str = ""


class End(Struct, frozen=True):
    """Everything is down: end the process with `code`."""

    code: int


Effect = (
    Spawn
    | Signal
    | Probe
    | Listen
    | Unlisten
    | Pause
    | Resume
    | LetGo
    | GiveUp
    | CloseConnection
    | Mail
    | CommandEnded
    | Retune
    | Forget
    | Note
    | Record
    | End
)
