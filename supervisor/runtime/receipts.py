"""Which part of a stream has reached its place: what its stage may forget."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.system.stage import Stage


class Receipt:
    """A stretch of a stream, handed out; `size` bytes of it that end at `end` are still to come."""

    __slots__ = ("book", "end", "midline", "size")

    def __init__(self, book: Book, end: int, size: int, *, midline: bool) -> None:
        self.book, self.end, self.size, self.midline = book, end, size, midline

    @property
    def stage(self) -> int:
        """The identity of the stream."""
        return self.book.stage.identity

    def settle(self) -> None:
        """All of it is where it belongs, or lost."""
        self.size = 0
        self.book.settle()


class Book:
    """The receipts of one stream, in its order.

    A stretch that is lost is settled as one that is written: in the end nobody waits for either.
    They may be settled in any order; the stage forgets only what has nothing open before it.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._handed = stage.settled
        self._open: deque[Receipt] = deque()
        self._closed = False

    def issue(self, size: int, *, midline: bool) -> Receipt | None:
        """Hand out the next stretch; None if nothing of it is in the stage.

        Args:
            size: in bytes, as they came from the pipe.
            midline: it ends within a line.
        """
        size = min(size, self.stage.size - self._handed)
        if size <= 0:
            return None
        self._handed += size
        receipt = Receipt(self, self._handed, size, midline=midline)
        self._open.append(receipt)
        return receipt

    def settle(self) -> None:
        """Let the stage know how far receipts are settled, that is, have nothing to come."""
        place, midline = self.stage.settled, self.stage.midline
        while self._open and not self._open[0].size:
            receipt = self._open.popleft()
            place, midline = receipt.end, receipt.midline
        if self._open:
            begun = self._open[0].end - self._open[0].size
            place, midline = begun, midline and begun == place
        self.stage.settle(place, midline=midline)
        self._remove_if_over()

    def close(self) -> None:
        """Nothing more will come. The stage goes when everything is settled."""
        self._closed = True
        self._remove_if_over()

    def _remove_if_over(self) -> None:
        if self._closed and not self._open:
            self.stage.remove()
