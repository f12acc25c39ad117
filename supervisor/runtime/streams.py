"""The pipes of one component: read in turn, cut into whole lines, handed to ring and sink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from supervisor.runtime.messages import Origin, origin_of
from supervisor.runtime.receipts import Book
from supervisor.runtime.ring import Ring, count_lines
from supervisor.runtime.writers import file_style

if TYPE_CHECKING:
    from supervisor.model.component import Output, Tag
    from supervisor.runtime.depot import Depot
    from supervisor.runtime.followers import Follower, StreamName
    from supervisor.runtime.sinks import Sink
    from supervisor.runtime.writers import Style
    from supervisor.system.stage import Stage

READ: Final = 256 * 1024
LONGEST_LINE: Final = 64 * 1024
"""A longer line is shown in pieces; a file gets it whole."""
DRAIN: Final = 1024 * 1024
"""More than a pipe holds: who has been read that much after its end has nothing left in it."""


STREAMS: Final[tuple[StreamName, ...]] = ("stdout", "stderr")


def kept_name(tag: Tag, name: StreamName) -> str:
    """Return the name of a stream's pipe, which the next piesd finds it by."""
    return f"{tag}.{name}"


class Lost(NamedTuple):
    """What did not reach the sink of one stream since piesd runs."""

    lines: int
    bytes: int


class Stream:
    """One output stream of a component, from its pipe to its ring, followers and sink."""

    __slots__ = (
        "_book",
        "_midline",
        "_outlet",
        "_partial",
        "_paused_by",
        "lost",
        "name",
        "read_fd",
        "ring",
        "settings",
        "sink",
        "tag",
        "write_fd",
    )

    def __init__(
        self, outlet: Outlet, name: StreamName, settings: Output, sink: Sink | None
    ) -> None:
        system, keeper = outlet.system, outlet.depot.keeper
        kept = kept_name(outlet.tag, name)
        self.read_fd, self.write_fd = system.pipe() if keeper is None else keeper.pipe(kept)
        stage = None if keeper is None else keeper.stage(kept)
        self._book = None if stage is None else Book(stage)
        self.tag = outlet.tag
        self.name = name
        self.settings = settings
        self.sink = sink
        self.ring: Ring | None = None  # Made by the first line: most components print rarely.
        self.lost = Lost(0, 0)
        self._outlet = outlet
        self._partial = b""
        self._midline = False
        self._paused_by: Sink | None = None
        try:
            system.watch(self.read_fd, self.ready)
        except OSError:
            system.close(self.read_fd)
            system.close(self.write_fd)
            raise
        if stage is not None:
            self._take_over(stage)

    def _take_over(self, stage: Stage) -> None:
        """Go on with what a predecessor had read and not written."""
        self._midline = stage.midline
        left, stage.left = stage.left, b""
        if left:
            self._feed(left)

    # --- reading

    def ready(self) -> None:
        """Read once; called whenever the pipe is readable."""
        data = self._read()
        if data is None:
            return
        if not data:  # Cannot be while the write end is ours; if it is, it must not spin.
            self._outlet.system.unwatch(self.read_fd)
            return
        self._feed(data)
        if self.sink is not None and self.sink.full:
            self._outlet.system.unwatch(self.read_fd)
            self._paused_by = self.sink
            self.sink.wait(self)

    def _read(self) -> bytes | None:
        # What nobody writes anywhere need not be kept.
        if self._book is None or self.sink is None:
            return self._outlet.system.read(self.read_fd, READ)
        return self._book.stage.take(self.read_fd, READ)

    def resume(self) -> None:
        """Read on: the sink has room again, or has given up."""
        if self._paused_by is not None:
            self._paused_by = None
            self._outlet.system.watch(self.read_fd, self.ready)

    def drain(self) -> None:
        """Read what is there, and end the last line if it has no newline.

        It is not ended if somebody else writes faster than we read: the line is theirs then.
        """
        if self._read_all():
            self._end_line()

    def _read_all(self) -> bool:
        keeper = self._outlet.depot.keeper
        left = DRAIN if keeper is None else max(DRAIN, keeper.pipe_size)
        while left > 0:
            data = self._read()
            if not data:
                return True
            self._feed(data)
            left -= len(data)
        return False

    # --- lines

    @property
    def partial(self) -> bytes:
        """The beginning of a line that has no newline yet."""
        return self._partial

    def _feed(self, data: bytes) -> None:
        end = data.rfind(b"\n") + 1
        if end:
            whole = memoryview(data)[:end]  # One copy of many lines is enough.
            block = b"".join((self._partial, whole))
            self._partial = data[end:]
            self._pass_on(block, block, len(block))
        else:
            self._partial += data
        if len(self._partial) >= LONGEST_LINE:
            piece, self._partial = self._partial, b""
            self._pass_on(piece, piece + b"\n", len(piece))

    def _end_line(self) -> None:
        if self._partial or self._midline:
            size = len(self._partial)
            block, self._partial = self._partial + b"\n", b""
            self._pass_on(block, block, size)

    def _pass_on(self, raw: bytes, shown: bytes, size: int) -> None:
        """Hand on *raw* to a file, and *shown*, the same in whole lines, to everybody else.

        Its first *size* bytes came from the pipe.
        """
        if self._midline and shown.startswith(b"\n"):  # It ends the line of the last piece.
            shown = shown[1:]
        self._midline = not raw.endswith(b"\n")
        if shown:
            self._show(shown)
        receipt = None
        if self._book is not None:
            receipt = self._book.issue(size, midline=self._midline)
        block = b"" if self.sink is None else shown if self.sink.whole else raw
        if block and self.sink is not None:
            came = 0 if receipt is None else receipt.size
            self.sink.put(self, block, receipt, tail=_behind(block, raw, size) + size - came)
        elif receipt is not None:
            receipt.settle()

    def _show(self, block: bytes) -> None:
        if self.ring is None:
            self.ring = Ring()
        first = self.ring.total + 1
        self.ring.feed(block, count_lines(block), self._outlet.stamp(self))
        for follower in tuple(self._outlet.followers):
            follower.offer(self.name, first, block)

    # --- its sink

    @property
    def style(self) -> Style:
        """What its lines have on a stream of piesd itself."""
        return file_style(self.settings) if self.settings.kind == "file" else "tag"

    @property
    def origin(self) -> Origin:
        """Whose the lines are that come now."""
        outlet = self._outlet
        return origin_of(self.tag, self.name, self.settings, outlet.depot.syslog, outlet.pid)

    def lose(self, lines: int, size: int) -> None:
        """Count what the sink could not take."""
        self.lost = Lost(self.lost.lines + lines, self.lost.bytes + size)

    def retune(self, settings: Output, sink: Sink | None) -> None:
        """Go on with another sink; the old one is released."""
        self.settings = settings
        old, self.sink = self.sink, sink
        if old is not None:
            if self._paused_by is old and old is not sink:
                old.desert(self)
                self.resume()
            old.release()

    def close(self) -> None:
        """Read what is left, and give everything back."""
        self.drain()
        system = self._outlet.system
        if self._paused_by is not None:
            self._paused_by.desert(self)
            self._paused_by = None
        system.unwatch(self.read_fd)
        system.close(self.read_fd)
        system.close(self.write_fd)
        if self._outlet.depot.keeper is not None:
            self._outlet.depot.keeper.forget(kept_name(self.tag, self.name))
        if self._book is not None:
            self._book.close()
        if self.sink is not None:
            self.sink.release()
            self.sink = None


def _behind(block: bytes, raw: bytes, size: int) -> int:
    """Return how many bytes of ours are behind what came from the pipe: the end of a line."""
    return int(block.endswith(b"\n") and not raw[:size].endswith(b"\n"))


class Outlet:
    """The streams of one component, and those who follow them."""

    __slots__ = ("_last", "_stamps", "depot", "err", "followers", "out", "pid", "system", "tag")

    def __init__(self, depot: Depot, tag: Tag) -> None:
        self.depot = depot
        self.system = depot.system
        self.tag = tag
        self.pid = 0
        """Of the last child that was started; 0 if that is not known."""
        self.out: Stream | None = None
        self.err: Stream | None = None
        self.followers: tuple[Follower, ...] = ()
        self._last: Stream | None = None
        self._stamps = 0

    def stamp(self, stream: Stream) -> int:
        """Return the place of *stream*'s next block among those of both streams."""
        if self._last is not stream:
            if self._last is not None and self._last.ring is not None:
                self._last.ring.seal()
            self._last = stream
            self._stamps += 1
        return self._stamps

    def streams(self) -> list[Stream]:
        """Return those that exist."""
        return [stream for stream in (self.out, self.err) if stream is not None]

    def leave(self, follower: Follower) -> None:
        """Forget a follower."""
        self.followers = tuple(other for other in self.followers if other is not follower)
