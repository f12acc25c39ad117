"""What a daemon says about itself, and what it does for control."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from supervisor.engine.describe import rfc3339
from supervisor.model.errors import CannotUpgrade
from supervisor.runtime.holds import Hold


def _nothing() -> None:
    pass


async def _refused() -> None:
    raise CannotUpgrade("cannot execute piesd anew: nobody is there who could")


def _nothing_said(_: str) -> None:
    pass


class About(Struct, frozen=True, kw_only=True, rename="kebab"):
    """The facts about this process that do not change while it lives.

    `argv` is the command line as given, `binary` the program file that the operating system runs,
    `started_at` Unix time.
    """

    pid: int
    argv: tuple[str, ...]
    binary: str
    instance: str
    version: str
    package: str = "piesd"
    python: str = ""
    system: str = ""
    started_at: float = 0.0
    sockets: tuple[str, ...] = ()
    """The control sockets as URLs."""

    @property
    def started(self) -> str:
        """When this process began, as people read it."""
        return rfc3339(self.started_at)


class Hooks(Struct, frozen=True, kw_only=True):
    """What control asks of the daemon around it. None of them may wait.

    `reexec`: once everything is down, execute this program again with the same arguments; control
    itself orders the shutdown. `reloading` and `ready` bracket a reload (sd_notify); `ready` gets
    one line about the state of things.
    """

    reexec: Callable[[], None] = _nothing
    reloading: Callable[[], None] = _nothing
    ready: Callable[[str], None] = _nothing_said
    upgrade: Callable[[], Awaitable[None]] = _refused
    """Makes ready to let the program on disk take over (CannotUpgrade)."""
    hand_over: Callable[[], None] = _nothing
    """Lets it, once that is done."""
    endless: bool = False
    """Whether this is an init process, which nobody can end or have executed anew."""
    longest_hold: Callable[[], Hold] = Hold
    """Returns for how long the event loop was held at most, and by whom."""
