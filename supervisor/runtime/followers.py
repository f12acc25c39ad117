"""People who read the output of a component as it comes: bounded, and never waited for."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from types import TracebackType

StreamName = Literal["stdout", "stderr"]

BUFFERED: Final = 1024 * 1024
"""Bytes that a follower may be behind before it is dropped."""

AT_ONCE: Final = 256
"""Lines in one batch: a block may have 32,000, and whoever renders them holds up everybody else."""


class Line(NamedTuple):
    """One line of output, without its newline. A `number` of 0 marks a remark of ours."""

    stream: StreamName
    number: int
    text: bytes


class Follower:
    """An asynchronous iterator over lists of lines, for one reader.

    It ends when the component is forgotten, when piesd ends, or when the reader was too slow: then
    `dropped` is true and the last line is a remark with the number 0.
    """

    def __init__(
        self,
        streams: Collection[StreamName],
        backlog: Iterable[Line],
        leave: Callable[[Follower], None],
    ) -> None:
        self.streams = frozenset(streams)
        self.dropped = False
        self._leave = leave
        self._ended = False
        self._waiting: deque[tuple[StreamName, int, bytes]] = deque()
        self._size = 0
        self._first = list(backlog)
        self._wake = trio.Event()

    def offer(self, stream: StreamName, first: int, block: bytes) -> None:
        """Take whole lines, the first of which is number *first*; a slow reader ends here."""
        if self._ended or stream not in self.streams:
            return
        if self._size + len(block) > BUFFERED:
            self.dropped = True
            text = b"piesd: this reader was too slow: the lines from here on were not sent\n"
            self._waiting.append((stream, 0, text))
            self.end()
            return
        self._waiting.append((stream, first, block))
        self._size += len(block)
        self._wake.set()

    def end(self) -> None:
        """Nothing more will come; what waits is still handed out."""
        if not self._ended:
            self._ended = True
            self._leave(self)
        self._wake.set()

    def __enter__(self) -> Follower:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waiting.clear()
        self.end()

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> list[Line]:
        await trio.lowlevel.checkpoint()
        if self._first:
            lines, self._first = self._first[:AT_ONCE], self._first[AT_ONCE:]
            return lines
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._wake = trio.Event()
            await self._wake.wait()  # Ended by the next line, by `end`, or by the reader's scope.
        stream, first, block = self._waiting.popleft()
        *texts, rest = block.split(b"\n", AT_ONCE)
        if rest:
            self._waiting.appendleft((stream, first and first + len(texts), rest))
        if first:
            self._size -= len(block) - len(rest)
        return [Line(stream, first and first + index, text) for index, text in enumerate(texts)]
