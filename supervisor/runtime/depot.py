"""All sinks together: one for each place, their patience with each other, and their end."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, ParamSpec, TypeVar

import trio

from supervisor.model.settings import SyslogSettings
from supervisor.runtime import journal, syslog
from supervisor.runtime.descriptor import DescriptorTarget
from supervisor.runtime.journal import JOURNAL
from supervisor.runtime.noted import Noted
from supervisor.runtime.ownsink import OwnSink
from supervisor.runtime.sinks import PATIENCE, Report, Sink
from supervisor.runtime.writers import Mailed, OpenLog, Plain, Target, Writer, file_style
from supervisor.system.logfile import LogFile, own_descriptor

if TYPE_CHECKING:
    from supervisor.model.component import Output
    from supervisor.runtime.messages import Courier
    from supervisor.runtime.ownlog import OwnLine, OwnPlace
    from supervisor.system.keeper import Keeper
    from supervisor.system.port import System

P = ParamSpec("P")
T = TypeVar("T")

Kind = Literal["syslog", "journal"]

Place = str | int | tuple[str, str]
"""The path of a file, 0 or 1 for one of piesd's own streams, or a collector and its address."""

OpenCourier = Callable[[Kind, str], "Courier"]
"""Makes what takes messages to the collector at that address."""

THREADS: Final = 8
"""Logs on a file system that hangs hold this many worker threads at most, half of all."""


LAST_WORDS: Final = 0.3


def open_courier(kind: Kind, address: str) -> Courier:
    """Return what takes messages to syslog or to the journal; its first message connects."""
    return syslog.courier(address) if kind == "syslog" else journal.courier(address)


class Depot:
    """All sinks, one for each place: what goes to the same file goes through the same sink."""

    def __init__(
        self,
        system: System,
        nursery: trio.Nursery,
        report: Report,
        open_log: OpenLog,
        open_own: Callable[[int], Target] = DescriptorTarget,
        own_fds: tuple[int, int] = (1, 2),
        open_courier: OpenCourier = open_courier,
        *,
        syslog: SyslogSettings = SyslogSettings(),  # noqa: B008 - It is frozen.
        journal: str = JOURNAL,
        keeper: Keeper | None = None,
    ) -> None:
        self.system = system
        self.keeper = keeper
        self.nursery = nursery
        self.report = report
        self.size = 0
        """Bytes that all buffers hold together."""
        self.closing = False
        self._open_log = open_log
        self._open_own = open_own
        self._own_fds = own_fds
        self._open_courier = open_courier
        self.syslog = syslog
        self._journal = journal
        self._sinks: dict[Place, Sink] = {}
        self._deadlines: dict[Sink, float] = {}
        self._watching = False
        self._threads = trio.CapacityLimiter(THREADS)

    async def blocking(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *job* in one of the few worker threads that logs may hold."""
        async with self._threads:
            return await self.system.blocking(job, *args, **kwargs)

    def acquire(self, settings: Output, own: Literal[0, 1]) -> Sink | None:
        """Return the sink of these settings, to be released later; None throws everything away.

        *own* says which of piesd's streams is meant by `inherit`: 0 is its standard output.
        """
        match settings.kind:
            case "null":
                return None
            case "file":
                assert settings.path is not None, "the model promises a path for a file"
                place: Place = self._place(os.path.normpath(settings.path))
            case "syslog" | "journal":
                place = settings.kind, self._address(settings.kind)
            case _:
                place = self._own_place(own)
        sink = self._sinks.get(place)
        if sink is None:
            sink = self._sinks[place] = self._make(place, settings)
        elif isinstance(place, str):
            sink.retune(settings)
        sink.users += 1
        return sink

    def acquire_own(self, place: OwnPlace, spare: Callable[[OwnLine], None]) -> OwnSink:
        """Return a sink for piesd's own log; what it cannot send at once goes to *spare*."""
        assert place.kind != "stderr", "standard error needs no other way out"
        address = place.syslog.dev if place.kind == "syslog" else self._journal
        name, writer = self._mailed(place.kind, address)
        sink = OwnSink(self, name, lambda _: writer(), place, spare)
        self._sinks["own log", place.kind] = sink
        sink.users += 1
        return sink

    def _address(self, kind: Kind) -> str:
        return self.syslog.dev if kind == "syslog" else self._journal

    def _make(self, place: Place, settings: Output) -> Sink:
        match place:
            case str():
                return Sink(self, place, settings, self._log_writer, file_style(settings))
            case int():
                fd = self._own_fds[place]
                name = ("standard output", "standard error")[place]
                return Sink(self, name, settings, lambda _: Plain(self._open_own(fd)), "tag")
            case (_, address):
                assert settings.kind in ("syslog", "journal"), "only these have such a place"
                name, writer = self._mailed(settings.kind, address)
                return Sink(self, name, settings, lambda _: writer(), "message")

    def _log_writer(self, settings: Output) -> Writer:
        target = self._open_log(settings)
        if self.keeper is not None and isinstance(target, LogFile):
            note = self.keeper.note(target.path)
            if note is not None:
                return Noted(target, note)
        return Plain(target)

    def _mailed(self, kind: Kind, address: str) -> tuple[str, Callable[[], Writer]]:
        name = f"syslog at {address}" if kind == "syslog" else "the journal"
        return name, lambda: Mailed(self._open_courier(kind, address))

    def _place(self, path: str) -> Place:
        """Return *path*, or which of our own streams it is a name of: these have one sink each."""
        fd = own_descriptor(path)
        return path if fd not in self._own_fds else self._own_place(self._own_fds.index(fd))

    def _own_place(self, own: int) -> int:
        return 0 if own == 0 or self._same_own() else 1

    def _same_own(self) -> bool:
        """Whether piesd's two streams are one thing: then one sink keeps their lines apart."""
        try:
            out, err = (os.fstat(fd) for fd in self._own_fds)
        except OSError:
            return False
        return (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino)

    def discard(self, sink: Sink) -> None:
        """Forget a sink that nobody uses and that has nothing left to do."""
        for place, known in list(self._sinks.items()):
            if known is sink:
                del self._sinks[place]

    def reopen(self) -> None:
        """Open all files anew."""
        for sink in list(self._sinks.values()):
            sink.reopen()

    # --- patience with sinks that are full: one task for all of them, and only while there are any

    def be_patient(self, sink: Sink) -> None:
        """Let *sink* give up if it stays full."""
        self._deadlines.setdefault(sink, trio.current_time() + PATIENCE)
        if not self._watching:
            self._watching = True
            self.nursery.start_soon(self._patience)

    def patience_over(self, sink: Sink) -> None:
        """*sink* has room again, or has given up."""
        self._deadlines.pop(sink, None)

    async def _patience(self) -> None:
        try:
            while self._deadlines:
                await trio.sleep_until(min(self._deadlines.values()))
                now = trio.current_time()
                for sink in [sink for sink, due in self._deadlines.items() if due <= now]:
                    del self._deadlines[sink]
                    sink.give_up()
        finally:
            self._watching = False

    # --- the end

    async def settled(self) -> None:
        """Return when no sink has anything to do."""
        for sink in list(self._sinks.values()):
            await sink.settled()

    async def aclose(self, timeout: float) -> None:
        """Write what waits, for at most *timeout* seconds, and close everything."""
        self.closing = True
        sinks = list(self._sinks.values())
        with trio.move_on_after(timeout):
            for sink in sinks:
                sink.nudge()
            await self.settled()
        for sink in sinks:
            sink.finish()
        with trio.move_on_after(LAST_WORDS):  # What was told just now, if it goes to a sink.
            await self.settled()
        # By now there may be one more: what syslog did not take goes to standard error.
        sinks = list(self._sinks.values())
        writers = [writer for sink in sinks if (writer := sink.take_writer()) is not None]
        if writers:
            await self.system.blocking(_close_all, writers)
        self._sinks.clear()


def _close_all(writers: list[Writer]) -> None:
    for writer in writers:
        try:
            writer.close()
        except OSError:
            # Everything was written before; what a close can still report, nobody can act on.
            continue
