"""The last lines of a component's output, and those to come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import trio
from msgspec import Struct

if TYPE_CHECKING:
    from supervisor.model.component import Key
    from supervisor.runtime.followers import Follower, Line, StreamName
    from supervisor.runtime.runner import Runner

MOST_LINES = 1000
"""Lines of each stream that are kept."""

BOTH: tuple[StreamName, ...] = ("stdout", "stderr")

Seen = Mapping["StreamName", int]
"""The number of the last line that a reader has had of each stream."""


class LogLine(Struct, frozen=True):
    """One line of output without its end; a `number` of 0 marks a remark of ours.

    `seen` is what to come back with to go on after this line.
    """

    stream: StreamName
    number: int
    text: bytes
    seen: dict[StreamName, int]


class Logs:
    """Output of components for those who read it."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._readers: set[LogReader] = set()

    def tail(self, key: Key, stream: StreamName | None, most: int) -> list[Line]:
        """Return the last lines of one stream, or of both as they came."""
        return self._runner.outputs.tail(key, stream, most)

    def follow(
        self, key: Key, stream: StreamName | None, backlog: int, seen: Seen | None
    ) -> LogReader:
        """Return a reader of the last *backlog* lines and all that come; use it in a `with`.

        With *seen*, what was had before is left out, and lines that are not kept any more are
        mentioned.
        """
        streams = BOTH if stream is None else (stream,)
        if seen is not None:
            backlog = MOST_LINES * len(streams)
        follower = self._runner.outputs.follow(key, streams, backlog)
        return LogReader(self, follower, dict(seen or {}))

    def close(self) -> None:
        """Nothing more will be read: readers get what is left and then their end."""
        for reader in tuple(self._readers):
            reader.end()

    def enter(self, reader: LogReader) -> None:
        """Remember a reader."""
        self._readers.add(reader)

    def leave(self, reader: LogReader) -> None:
        """Forget a reader."""
        self._readers.discard(reader)


class LogReader:
    """Hands out lines as they come. Safe to cancel at any time."""

    def __init__(self, logs: Logs, follower: Follower, seen: dict[StreamName, int]) -> None:
        self._logs, self._follower, self._seen = logs, follower, seen
        self._resuming = set(seen)

    async def next(self) -> list[LogLine]:
        """Wait for lines and return them; an empty list is the end."""
        while True:
            try:
                lines = await anext(self._follower)
            except StopAsyncIteration:
                await trio.lowlevel.checkpoint()
                return []
            if fresh := self._fresh(lines):
                return fresh

    def end(self) -> None:
        """Nothing more will come."""
        self._follower.end()

    def _fresh(self, lines: Sequence[Line]) -> list[LogLine]:
        """Return those of *lines* that the reader has not had, and remarks where some are gone."""
        newest = {line.stream: line.number for line in lines if line.number}
        for stream in self._resuming & newest.keys():
            if newest[stream] < self._seen[stream]:
                # The numbers begin anew with each piesd: what the reader has had was another's.
                self._seen[stream] = 0
        fresh: list[LogLine] = []
        for stream, number, text in lines:
            last = self._seen.get(stream, 0)
            if number and stream in self._resuming:
                if number <= last:
                    continue
                self._resuming.discard(stream)
                if number > last + 1:
                    missing = number - last - 1
                    remark = f"piesd: {missing} lines before this one are not kept any more"
                    fresh.append(LogLine(stream, 0, remark.encode(), dict(self._seen)))
            if number:
                self._seen[stream] = number
            fresh.append(LogLine(stream, number, text, dict(self._seen)))
        return fresh

    def __enter__(self) -> LogReader:
        self._logs.enter(self)
        self._follower.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._logs.leave(self)
        self._follower.__exit__(kind, error, trace)
