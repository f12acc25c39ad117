"""Errors, one type for each decision a caller can take.

`code` is stable: scripts match it. Front ends map codes to HTTP statuses and exit codes.
Messages begin with "cannot", name the object, say what is the case and, if known, what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from supervisor.model.component import Where

if TYPE_CHECKING:
    from collections.abc import Sequence


class SupervisorError(Exception):
    """The base of everything we raise on purpose."""

    code: ClassVar[str] = "error"
    hint: str = ""
    """What to do about it, as a sentence of its own; empty where nobody knows."""


class Problem(Struct, frozen=True, order=True):
    """One thing that is wrong with a configuration.

    Printed as `FILE:LINE: KEY: what is wrong; did you mean '…'?`. A warning does not refuse the
    configuration.
    """

    file: str
    line: int
    key: str
    message: str
    warning: bool = False

    @property
    def where(self) -> Where:
        """The place it is about."""
        return Where(self.file, self.line)

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return f"{self.where}: {'warning: ' if self.warning else ''}{key}{self.message}"


class ConfigRejected(SupervisorError):
    """A configuration with problems; nothing of it was applied."""

    code = "config-rejected"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(str(problem) for problem in self.problems)
        count = sum(not problem.warning for problem in self.problems)
        noun = "problem" if count == 1 else "problems"
        super().__init__(f"cannot use the configuration: {count} {noun}\n{lines}")


class BadSelector(SupervisorError):
    """A selector that means nothing. `where` is a JSON path (`$.arg[1].op`) or `column N`."""

    code = "bad-selector"

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"cannot read the selector: {where}: {what}")
        self.where, self.what = where, what


class BadRequest(SupervisorError):
    """A request that cannot be understood."""

    code = "bad-request"


class NotFound(SupervisorError):
    """The thing a request names does not exist."""

    code = "not-found"

    def __init__(self, what: str) -> None:
        super().__init__(f"The resource with id '{what}' was not found")
        self.what = what


class Forbidden(SupervisorError):
    """The caller may not do this."""

    code = "forbidden"


class NotRunning(SupervisorError):
    """A signal was asked for something that has no child."""

    code = "not-running"

    def __init__(self, tag: str, status: str) -> None:
        super().__init__(f"cannot signal {tag!r}: it is {status}")
        self.tag, self.status = tag, status


class PlanChanged(SupervisorError):
    """What an order would do is no longer what was rehearsed."""

    code = "plan-changed"


class TooManyRestarts(SupervisorError):
    """A reload would restart more components than the caller allows."""

    code = "too-many-restarts"

    def __init__(self, restarts: int, most: int) -> None:
        super().__init__(
            f"cannot reload: it would restart {restarts} components, and --max-restarts is {most}"
        )
        self.restarts, self.most = restarts, most


class ShuttingDown(SupervisorError):
    """piesd is on its way down and takes no such order any more."""

    code = "shutting-down"


class NotSettled(SupervisorError):
    """The time was up before everything matched had settled. `tags` are those that had not."""

    code = "not-settled"

    def __init__(self, tags: Sequence[str], seconds: float, why: Sequence[str] = ()) -> None:
        reasons = "; ".join(why) if why else ", ".join(tags)
        super().__init__(f"cannot wait longer than {seconds:g} s: not settled: {reasons}")
        self.tags = tuple(tags)


class CannotListen(SupervisorError):
    """A socket could not be opened."""

    code = "cannot-listen"


class AlreadyRunning(SupervisorError):
    """Another piesd owns this instance's lock or socket."""

    code = "already-running"


class CannotUpgrade(SupervisorError):
    """The program on disk does not take over; everything stays as it is."""

    code = "cannot-upgrade"


class CannotGoOn(SupervisorError):
    """Another piesd has left children behind, and we cannot find out which."""

    code = "cannot-go-on"


class IllegalEvent(SupervisorError):
    """A bug of ours: an event that the machine has no transition for. Logged and survived."""

    code = "illegal-event"

    def __init__(self, tag: str, state: object, event: object) -> None:
        super().__init__(f"cannot apply {event!r} to {tag!r} in state {state!r}")
        self.tag, self.state, self.event = tag, state, event
