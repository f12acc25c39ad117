"""What children print: one pipe for each component and stream, read into a ring and a sink.

A pipe lives as long as its component. piesd keeps the write end too and gives it to every new
child: there is no end of file between two children, what generation n printed stands before what
n+1 prints, and a grandchild that outlives its leader still has somewhere to write to.

Each call of `Stream.ready` reads at most 64 KiB, so one chatty component takes its turn like all
others. Lines are never taken apart on the way: a block of whole lines goes to the ring, to the
followers and to the sink; what is behind the last newline waits for the next read. What happens
when a sink is full or fails is the policy of `supervisor.runtime.sinks`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import trio

from supervisor.model.component import Output
from supervisor.runtime.depot import Depot
from supervisor.runtime.descriptor import DescriptorTarget
from supervisor.runtime.followers import Follower, Line, StreamName
from supervisor.runtime.ring import Ring, count_lines
from supervisor.system.logfile import LogFile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from supervisor.model.component import Component, Key, Tag
    from supervisor.runtime.sinks import OpenLog, Report, Sink, Target
    from supervisor.system.port import System

READ: Final = 64 * 1024
LONGEST_LINE: Final = 64 * 1024
"""A longer line is shown in pieces; a file gets it whole."""
DRAIN: Final = 1024 * 1024
"""More than a pipe holds: who has been read that much after its end has nothing left in it."""


class Lost(NamedTuple):
    """What did not reach the sink of one stream since piesd runs."""

    lines: int
    bytes: int


class Stream:
    """One output stream of a component, from its pipe to its ring, followers and sink."""

    __slots__ = (
        "_midline",
        "_outlet",
        "_partial",
        "_paused_by",
        "lost",
        "name",
        "read_fd",
        "ring",
        "sink",
        "tag",
        "write_fd",
    )

    def __init__(self, outlet: Outlet, name: StreamName, sink: Sink | None) -> None:
        system = outlet.system
        self.read_fd, self.write_fd = system.pipe()
        self.tag = outlet.tag
        self.name = name
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

    # --- reading

    def ready(self) -> None:
        """Read once; called whenever the pipe is readable."""
        data = self._outlet.system.read(self.read_fd, READ)
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
        left = DRAIN
        while left > 0:
            data = self._outlet.system.read(self.read_fd, READ)
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
            block = self._partial + data[:end]
            self._partial = data[end:]
            self._pass_on(block, block)
        else:
            self._partial += data
        if len(self._partial) >= LONGEST_LINE:
            piece, self._partial = self._partial, b""
            self._pass_on(piece, piece + b"\n")

    def _end_line(self) -> None:
        if self._partial or self._midline:
            block, self._partial = self._partial + b"\n", b""
            self._pass_on(block, block)

    def _pass_on(self, raw: bytes, shown: bytes) -> None:
        """Hand on *raw* to a file, and *shown*, the same in whole lines, to everybody else."""
        if self._midline and shown.startswith(b"\n"):  # It ends the line of the last piece.
            shown = shown[1:]
        self._midline = not raw.endswith(b"\n")
        if shown:
            self._show(shown)
        if self.sink is not None:
            block = shown if self.sink.labelled else raw
            if block:
                self.sink.put(self, block)

    def _show(self, block: bytes) -> None:
        if self.ring is None:
            self.ring = Ring()
        first = self.ring.total + 1
        self.ring.feed(block, count_lines(block), self._outlet.stamp(self))
        for follower in tuple(self._outlet.followers):
            follower.offer(self.name, first, block)

    # --- its sink

    def lose(self, lines: int, size: int) -> None:
        """Count what the sink could not take."""
        self.lost = Lost(self.lost.lines + lines, self.lost.bytes + size)

    def retune(self, sink: Sink | None) -> None:
        """Go on with another sink; the old one is released."""
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
        if self.sink is not None:
            self.sink.release()
            self.sink = None


class Outlet:
    """The streams of one component, and those who follow them."""

    __slots__ = ("_last", "_stamps", "err", "followers", "out", "system", "tag")

    def __init__(self, system: System, tag: Tag) -> None:
        self.system = system
        self.tag = tag
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


class _OwnLog:
    """piesd's own log as one that feeds a sink. It is never asked to wait."""

    tag = ""

    def lose(self, lines: int, size: int) -> None:
        """Nobody is left to tell."""

    def resume(self) -> None:
        """It never waits."""


_OWN_LOG: Final = _OwnLog()


def _open_log_file(settings: Output) -> Target:
    return LogFile(str(settings.path), settings.rotate_size, settings.rotate_keep)


class Outputs:
    """The output of all components."""

    def __init__(
        self,
        system: System,
        nursery: trio.Nursery,
        report: Report,
        open_log: OpenLog = _open_log_file,
        *,
        open_own: Callable[[int], Target] = DescriptorTarget,
        own_stdout_fd: int = 1,
        own_stderr_fd: int = 2,
    ) -> None:
        self._system = system
        self._token = trio.lowlevel.current_trio_token()
        self._outlets: dict[Tag, Outlet] = {}
        self._own: Sink | None = None
        own_fds = (own_stdout_fd, own_stderr_fd)
        self._depot = Depot(system, nursery, report, open_log, open_own, own_fds)

    # --- for the runner

    def descriptors(self, key: Key, spec: Component) -> tuple[int, int]:
        """Return the write ends for a child's stdout and stderr; they stay ours.

        For a connection (`TAG#N`) both are the listener's stderr: its stdout is the connection.
        There, `stderr = "stdout"` means the place of the component's `stdout`: what a program
        complains about is not for its clients.

        Raises:
            OSError: there are no descriptors left (EMFILE, ENFILE).
        """
        outlet = self._outlet(key)
        if spec.stderr.kind != "stdout":
            err = outlet.err = outlet.err or self._stream(outlet, "stderr", spec.stderr)
            if "#" in key:
                return err.write_fd, err.write_fd
        else:
            err = None
        out = outlet.out = outlet.out or self._stream(outlet, "stdout", spec.stdout)
        return out.write_fd, (err or out).write_fd

    def retune(self, key: Key, spec: Component) -> None:
        """Let the streams of *key* go on as *spec* says.

        A running child keeps its pipes: whether stderr has one of its own changes with the next.
        """
        outlet = self._outlets.get(_tag(key))
        if outlet is None:
            return
        err = spec.stdout if spec.stderr.kind == "stdout" else spec.stderr
        if outlet.out is not None:
            outlet.out.retune(self._depot.acquire(spec.stdout, 0))
        if outlet.err is not None:
            own: Literal[0, 1] = 0 if spec.stderr.kind == "stdout" else 1
            outlet.err.retune(self._depot.acquire(err, own))

    def drain(self, key: Key) -> None:
        """Read all that a child printed, now that it has ended; complete its last line."""
        outlet = self._outlets.get(_tag(key))
        if outlet is not None:
            for stream in outlet.streams():
                stream.drain()

    def forget(self, key: Key) -> None:
        """Free what is kept for a component; what it printed is still written."""
        if "#" in key:
            return  # Its stream is its listener's.
        outlet = self._outlets.pop(key, None)
        if outlet is not None:
            self._close(outlet)

    def reopen(self) -> None:
        """Open all log files anew (somebody has moved them away)."""
        self._depot.reopen()

    async def written(self) -> None:
        """Return when the sinks have taken what was read so far; whoever calls has a deadline."""
        await self._depot.settled()

    def write_own(self, line: bytes) -> None:
        """Write a line of piesd's own log to its standard error, without ever waiting for it.

        May be called from any thread: what runs in `System.blocking` logs, too.
        """
        if trio.lowlevel.in_trio_run():
            self._write_own(line)
            return
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._write_own, line)

    def _write_own(self, line: bytes) -> None:
        if self._own is None:
            self._own = self._depot.acquire(Output(), 1)
        if self._own is not None:
            self._own.put(_OWN_LOG, line)

    async def aclose(self, timeout: float = 2.0) -> None:
        """Read and write everything that is left, for at most *timeout* seconds, and close.

        A write that hangs in the kernel (a dead NFS server) outlives this; it is then reported
        as lost, and only the end of the process ends it.
        """
        for outlet in self._outlets.values():
            self._close(outlet)
        self._outlets.clear()
        await self._depot.aclose(timeout)

    # --- for those who read

    def tail(self, key: Key, stream: StreamName | None, most: int) -> list[Line]:
        """Return the last lines of one stream, or of both in the order in which they came.

        The last may be one that has no newline yet. Lines of both streams that came within one
        round may be out of order.
        """
        outlet = self._outlets.get(_tag(key))
        streams: tuple[StreamName, ...] = ("stdout", "stderr") if stream is None else (stream,)
        return [] if outlet is None else _tail(outlet, streams, most, partial=True)

    def follow(
        self,
        key: Key,
        streams: Collection[StreamName] = ("stdout", "stderr"),
        backlog: int = 0,
    ) -> Follower:
        """Return an iterator over the last *backlog* whole lines and all that come, without a gap.

        Works for a component that has not printed anything yet. Use it in a `with` statement.
        """
        outlet = self._outlet(key)
        lines = _tail(outlet, streams, backlog, partial=False)
        follower = Follower(streams, lines, outlet.leave)
        outlet.followers += (follower,)
        return follower

    def lost(self, key: Key) -> dict[StreamName, Lost]:
        """Return what did not reach the sinks of this component since piesd runs."""
        outlet = self._outlets.get(_tag(key))
        return {} if outlet is None else {one.name: one.lost for one in outlet.streams()}

    # --- inside

    def _outlet(self, key: Key) -> Outlet:
        tag = _tag(key)
        outlet = self._outlets.get(tag)
        if outlet is None:
            outlet = self._outlets[tag] = Outlet(self._system, tag)
        return outlet

    def _stream(self, outlet: Outlet, name: StreamName, settings: Output) -> Stream:
        sink = self._depot.acquire(settings, 0 if name == "stdout" else 1)
        try:
            return Stream(outlet, name, sink)
        except OSError:
            if sink is not None:
                sink.release()
            raise

    def _close(self, outlet: Outlet) -> None:
        for stream in outlet.streams():
            stream.close()
        for follower in outlet.followers:
            follower.end()


def _tag(key: Key) -> Tag:
    return key.split("#", 1)[0]


def _tail(outlet: Outlet, names: Collection[StreamName], most: int, *, partial: bool) -> list[Line]:
    rows: list[tuple[int, Line]] = []
    for stream in outlet.streams():
        if stream.name not in names:
            continue
        kept = stream.ring.tail(most) if stream.ring is not None else []
        rows += [(row.stamp, Line(stream.name, row.number, row.text)) for row in kept]
        if partial and stream.partial:
            number = stream.ring.total + 1 if stream.ring is not None else 1
            rows.append((2**63, Line(stream.name, number, stream.partial)))
    rows.sort(key=lambda row: row[0])
    return [line for _, line in rows[max(len(rows) - most, 0) :]]
