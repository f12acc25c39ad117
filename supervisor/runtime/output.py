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

import os
from typing import TYPE_CHECKING, Final, Literal

import trio

from supervisor.model.component import Output
from supervisor.model.settings import SyslogSettings
from supervisor.runtime.depot import Depot, open_courier
from supervisor.runtime.descriptor import DescriptorTarget
from supervisor.runtime.followers import Follower, Line, StreamName
from supervisor.runtime.journal import JOURNAL
from supervisor.runtime.messages import Origin
from supervisor.runtime.ownlog import OwnLine, OwnPlace, write_directly
from supervisor.runtime.streams import STREAMS, Lost, Outlet, Stream, kept_name
from supervisor.system.logfile import LogFile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from supervisor.model.component import Component, Key, Tag
    from supervisor.runtime.depot import OpenCourier
    from supervisor.runtime.ownsink import OwnSink
    from supervisor.runtime.sinks import Report, Sink
    from supervisor.runtime.writers import OpenLog, Style, Target
    from supervisor.system.keeper import Keeper
    from supervisor.system.port import System


class _OwnLog:
    """piesd's own log as one that feeds a sink. It is never asked to wait."""

    tag = ""
    style: Style = "raw"
    origin: Final = Origin(tag="piesd")

    def lose(self, lines: int, size: int) -> None:
        """Nobody is left to tell."""

    def resume(self) -> None:
        """It never waits."""


_OWN_LOG: Final = _OwnLog()


def open_log_file(settings: Output, log_directory: str = "") -> Target:
    """Return the log file of these settings; it is opened by the first line.

    *log_directory* is made when a file in it is opened.
    """
    path = str(settings.path)
    return LogFile(
        path,
        settings.rotate_size,
        settings.rotate_keep,
        compress=settings.compress,
        own_directory=os.path.dirname(path) == log_directory,
    )


class Outputs:
    """The output of all components, and piesd's own log.

    Args:
        syslog: where syslog is, and the facility of those who name none.
        own_log: where `write_own` writes to.
        keeper: what keeps the output of children should we be killed.
    """

    def __init__(
        self,
        system: System,
        nursery: trio.Nursery,
        report: Report,
        open_log: OpenLog = open_log_file,
        *,
        syslog: SyslogSettings = SyslogSettings(),  # noqa: B008 - It is frozen.
        journal: str = JOURNAL,
        own_log: OwnPlace = OwnPlace(),  # noqa: B008 - It is frozen.
        open_own: Callable[[int], Target] = DescriptorTarget,
        open_courier: OpenCourier = open_courier,
        own_stdout_fd: int = 1,
        own_stderr_fd: int = 2,
        keeper: Keeper | None = None,
    ) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._outlets: dict[Tag, Outlet] = {}
        self._own: Sink | None = None
        self._collector: OwnSink | None = None
        self._own_log = own_log
        own_fds = (own_stdout_fd, own_stderr_fd)
        self._depot = Depot(
            system,
            nursery,
            report,
            open_log,
            open_own,
            own_fds,
            open_courier,
            syslog=syslog,
            journal=journal,
            keeper=keeper,
        )

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
        if "#" not in key:
            outlet.pid = 0  # Until `started`: that of the last child would be a lie.
        if spec.stderr.kind != "stdout":
            err = outlet.err = outlet.err or self._stream(outlet, "stderr", spec.stderr)
            if "#" in key:
                return err.write_fd, err.write_fd
        else:
            err = None
        out = outlet.out = outlet.out or self._stream(outlet, "stdout", spec.stdout)
        return out.write_fd, (err or out).write_fd

    def recover(self, specs: Iterable[Component], living: Collection[Key] = ()) -> None:
        """Write what a predecessor had read, or left in the pipes, and not written.

        What is left of others than *specs* is removed, unless `descriptors` was called for them.

        Args:
            specs: where the output of the components goes now.
            living: those whose children go on; of the others the last line is at its end.
        """
        keeper = self._depot.keeper
        if keeper is None:
            return
        later: list[str] = []
        for spec in specs:
            kept = [name for name in STREAMS if keeper.kept(kept_name(spec.tag, name))]
            if not kept:
                continue
            try:
                self.descriptors(spec.tag, spec)
                outlet = self._outlet(spec.tag)
                if "stderr" in kept and outlet.err is None:
                    # Its child has a pipe of its own for that, whatever is configured now.
                    outlet.err = self._stream(outlet, "stderr", spec.stdout, own=0)
            except OSError:
                # There are no descriptors. It stays where it is until the component starts.
                later += (kept_name(spec.tag, name) for name in kept)
                continue
            if spec.tag not in living:
                self.drain(spec.tag)
        keeper.tidy(later)

    def retune(self, key: Key, spec: Component) -> None:
        """Let the streams of *key* go on as *spec* says.

        A running child keeps its pipes: whether stderr has one of its own changes with the next.
        """
        outlet = self._outlets.get(_tag(key))
        if outlet is None:
            return
        err = spec.stdout if spec.stderr.kind == "stdout" else spec.stderr
        if outlet.out is not None:
            outlet.out.retune(spec.stdout, self._depot.acquire(spec.stdout, 0))
        if outlet.err is not None:
            own: Literal[0, 1] = 0 if spec.stderr.kind == "stdout" else 1
            outlet.err.retune(err, self._depot.acquire(err, own))

    def started(self, key: Key, pid: int) -> None:
        """Note the PID of the child that now prints: collectors of messages are told it.

        Connections share one pipe, so nobody can tell whose of them a line is.
        """
        if "#" not in key:
            self._outlet(key).pid = pid

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
        """Open all log files anew (somebody has moved them away), and connect to syslog anew."""
        self._depot.reopen()

    def use_syslog(self, settings: SyslogSettings) -> None:
        """Let everybody go on with the syslog of these settings, piesd's own log excepted."""
        self._depot.syslog = settings
        for outlet in self._outlets.values():
            for stream in outlet.streams():
                if stream.settings.kind == "syslog":
                    stream.retune(stream.settings, self._depot.acquire(stream.settings, 0))

    async def written(self) -> None:
        """Return when the sinks have taken what was read so far; whoever calls has a deadline."""
        await self._depot.settled()

    def write_own(self, line: OwnLine) -> None:
        """Write a line of piesd's own log, without ever waiting for whoever takes it.

        May be called from any thread: what runs in `System.blocking` logs, too.
        """
        if trio.lowlevel.in_trio_run():
            self._write_own(line)
            return
        try:
            self._token.run_sync_soon(self._write_own, line)
        except trio.RunFinishedError:
            write_directly(line)

    def _write_own(self, line: OwnLine) -> None:
        if self._own_log.kind == "stderr":
            self._write_stderr(line)
            return
        if self._collector is None:
            self._collector = self._depot.acquire_own(self._own_log, self._write_stderr)
        self._collector.take(line)

    def _write_stderr(self, line: OwnLine) -> None:
        if self._own is None:
            self._own = self._depot.acquire(Output(), 1)
        if self._own is not None:
            self._own.put(_OWN_LOG, line.text)

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
            outlet = self._outlets[tag] = Outlet(self._depot, tag)
        return outlet

    def _stream(
        self, outlet: Outlet, name: StreamName, settings: Output, own: Literal[0, 1] | None = None
    ) -> Stream:
        usual: Literal[0, 1] = 0 if name == "stdout" else 1
        sink = self._depot.acquire(settings, usual if own is None else own)
        try:
            return Stream(outlet, name, settings, sink)
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
