"""What a sink writes with: bytes as they are, or each line as a message with what belongs to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from supervisor.model.component import Output
from supervisor.runtime.messages import Courier, Origin, Record
from supervisor.runtime.receipts import Receipt
from supervisor.system.lognote import NOTHING, Found

Style = Literal["raw", "tag", "time", "message"]
"""What each line has: nothing more, the component's tag, the time, or both and more as fields."""


def file_style(settings: Output) -> Style:
    """Return what each line of a file begins with."""
    return "time" if settings.timestamps else "raw"


class Target(Protocol):
    """What bytes are written to; every method may block and is called in `System.blocking`."""

    def write(self, blocks: list[bytes]) -> int:
        """Append as much as goes now and return the number of bytes that went.

        Raises:
            CannotWrite: only a part went; it says how much.
            OSError: nothing went.
        """

    def reopen(self) -> None:
        """Open the path anew, after somebody moved the file away."""

    def close(self) -> None:
        """Close it."""


OpenLog = Callable[[Output], Target]
"""Opens a log file, in a worker thread."""


class Source(Protocol):
    """What feeds a sink: one output stream of a component."""

    tag: str

    @property
    def style(self) -> Style:
        """What its lines have on a stream of piesd itself, which it may share with others."""

    @property
    def origin(self) -> Origin:
        """Whose the lines are that come now."""

    def lose(self, lines: int, size: int) -> None:
        """Count a loss."""

    def resume(self) -> None:
        """Read on: the sink has room again, or has given up."""


class Piece(NamedTuple):
    """What waits in a sink: lines of one source, each behind `label` bytes that are ours.

    `receipt` is to be given back when they are written; of the block's end `tail` bytes do not
    count for it. With `begun` the first line has no label: its beginning was written before.
    """

    source: Source
    block: bytes
    label: int
    origin: Origin | None = None
    at: float = 0.0
    receipt: Receipt | None = None
    tail: int = 0
    begun: bool = False


class Writer(Protocol):
    """What a sink hands its lines to; every method may block and is called in `System.blocking`."""

    @property
    def found(self) -> Found:
        """What a predecessor is known to have written there."""

    def write(self, queue: list[Piece]) -> int:
        """Write as much as goes now and return the number of bytes (of the blocks) that went.

        Raises:
            CannotWrite: only a part went; it says how much.
            OSError: nothing went.
        """

    def reopen(self) -> None:
        """Open the place anew."""

    def close(self) -> None:
        """Close it."""


class Plain:
    """Writes the bytes as they are."""

    found = NOTHING

    def __init__(self, target: Target) -> None:
        self._target = target
        self.reopen = target.reopen
        self.close = target.close

    def write(self, queue: list[Piece]) -> int:
        """Write all blocks one behind the other."""
        return self._target.write([piece.block for piece in queue])


class Mailed:
    """Sends each line as a message, with what belongs to it."""

    found = NOTHING

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self.reopen = courier.reopen
        self.close = courier.close

    def write(self, queue: list[Piece]) -> int:
        """Send whole lines."""
        return self._courier.write(
            Record(piece.origin, piece.at, piece.block) for piece in queue if piece.origin
        )
