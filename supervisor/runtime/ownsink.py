"""The sink of piesd's own log where syslog or the journal takes it; nothing waits there for long.

Whoever looks for the reason of a failure must find it. What a collector does not take at once goes
to standard error instead; each later line is tried there first again. So there is neither a retry
nor a loss, and this sink is shared with nobody: the output of children never stands before a line
of ours.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import trio

from supervisor.model.component import Output
from supervisor.runtime.sinks import PATIENCE, SMALL_BUFFER, Sink

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.runtime.depot import Depot
    from supervisor.runtime.messages import Origin
    from supervisor.runtime.ownlog import OwnLine, OwnPlace
    from supervisor.runtime.writers import Style, Writer


class _Own:
    """One line as the source of itself."""

    __slots__ = ("line", "origin", "style", "tag")

    def __init__(self, line: OwnLine, origin: Origin) -> None:
        self.line = line
        self.origin = origin
        self.tag = ""
        self.style: Style = "raw"

    def lose(self, lines: int, size: int) -> None:
        """Lines of ours are poured out, never lost."""

    def resume(self) -> None:
        """It never waits."""


class OwnSink(Sink):
    """Takes lines of piesd's own log to a collector, or else to *spare*."""

    __slots__ = ("_place", "_spare", "_stuck_since")

    def __init__(
        self,
        depot: Depot,
        name: str,
        open_writer: Callable[[Output], Writer],
        place: OwnPlace,
        spare: Callable[[OwnLine], None],
    ) -> None:
        super().__init__(depot, name, Output(), open_writer, "message")
        self._place = place
        self._spare = spare
        self._stuck_since: float | None = None

    def take(self, line: OwnLine) -> None:
        """Send one line, or hand it to *spare* if too many wait already."""
        if self.size + len(line.message) > SMALL_BUFFER:
            self._spare(line)
            return
        self._append(_Own(line, self._place.origin(line, os.getpid())), line.message)
        self._work_on()

    async def _stalled(self) -> None:
        now = trio.current_time()
        if self._stuck_since is None:
            self._stuck_since = now
        if now - self._stuck_since >= PATIENCE:
            await self._failed(OSError(errno.ETIMEDOUT, "it takes nothing"))
        else:
            await super()._stalled()

    async def _failed(self, exc: Exception) -> None:
        reason = str(getattr(exc, "strerror", None) or repr(exc))
        known, self._trouble = self._trouble, reason
        self._pour_out()
        if not known:
            text = f"cannot write {self.name}: {reason}; our own log goes to standard error"
            self._depot.report("output-failed", "warning", "", text)

    def _recovered(self, written: int) -> None:
        if not written:
            return  # It was closed for a reopening, which shows nothing.
        self._stuck_since = None
        if self._trouble:
            self._trouble = ""
            text = f"{self.name} can be written again; standard error has what is missing there"
            self._depot.report("output-resumed", "info", "", text)

    def _abandon(self, why: str) -> None:
        if not self._depot.closing:
            text = f"cannot write {self.name}: {why}"
            self._depot.report("output-failed", "error", "", text)
        self._pour_out()

    def _pour_out(self) -> None:
        queue, self._queue = self._queue, []
        for piece in queue:
            self._grow(-len(piece.block))
            if isinstance(piece.source, _Own):
                self._spare(piece.source.line)
