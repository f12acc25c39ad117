"""All sinks together: one for each place, their patience with each other, and their end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal, ParamSpec, TypeVar

import trio

from supervisor.runtime.descriptor import DescriptorTarget
from supervisor.runtime.sinks import PATIENCE, OpenLog, Report, Sink, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.model.component import Output
    from supervisor.system.port import System

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 8
"""Logs on a file system that hangs hold this many worker threads at most, half of all."""


LAST_WORDS: Final = 0.3


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
    ) -> None:
        self.system = system
        self.nursery = nursery
        self.report = report
        self.size = 0
        """Bytes that all buffers hold together."""
        self.closing = False
        self._open_log = open_log
        self._open_own = open_own
        self._own_fds = own_fds
        self._sinks: dict[str | int, Sink] = {}
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
        if settings.kind == "null":
            return None
        if settings.kind == "file":
            assert settings.path is not None, "the model promises a path for a file"
            place: str | int = os.path.normpath(settings.path)
        else:
            place = 0 if own == 0 or self._same_own() else 1
        sink = self._sinks.get(place)
        if sink is None:
            sink = self._sinks[place] = self._make(place, settings)
        elif settings.kind == "file":
            sink.retune(settings)
        sink.users += 1
        return sink

    def _make(self, place: str | int, settings: Output) -> Sink:
        if isinstance(place, str):
            return Sink(self, place, settings, self._open_log, labelled=False)
        fd = self._own_fds[place]
        name = ("standard output", "standard error")[place]
        return Sink(self, name, settings, lambda _: self._open_own(fd), labelled=True)

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
        targets = [target for sink in sinks if (target := sink.take_target()) is not None]
        if targets:
            await self.system.blocking(_close_all, targets)
        self._sinks.clear()


def _close_all(targets: list[Target]) -> None:
    for target in targets:
        try:
            target.close()
        except OSError:
            # Everything was written before; what a close can still report, nobody can act on.
            continue
