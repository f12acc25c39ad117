"""Where output goes: files and piesd's own streams, each with a bounded buffer and its losses.

The policy, the same for every sink:

- While one write is under way, what comes meanwhile is buffered and goes in the next, whole.
- A buffer holds 1 MiB (64 KiB once all buffers together hold 64 MiB). When it is full, the pipes
  that feed it are no longer read: the children block at their full pipes, and nothing is lost.
- A child is not blocked for longer than 5 s by its log: then, and at once when 64 KiB wait for a
  sink that *fails* (a full disk, no permission), lines are lost, counted, and this is reported.
- Lines are lost only at the end of the buffer and without a break until the sink has taken what it
  holds: one gap, at the place of which the sink gets a line that says how much is missing.
- A failing sink is tried again after 1, 2, 4 and then every 5 s, and at once by `reopen`.

Only whole lines are lost. A task exists only while a sink has something to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, Protocol

import trio

from supervisor.model.component import Key, Output
from supervisor.runtime.ring import count_lines
from supervisor.system.logfile import CannotWrite

if TYPE_CHECKING:
    from supervisor.runtime.depot import Depot

BUFFER: Final = 1024 * 1024
SMALL_BUFFER: Final = 64 * 1024
ALL_BUFFERS: Final = 64 * 1024 * 1024
HARD_LIMIT: Final = 8 * 1024 * 1024
"""What a buffer may hold when children end while it is full: their pipes are emptied into it."""

PATIENCE: Final = 5.0
RETRY: Final = 1.0
RETRY_MAX: Final = 5.0
_NO_PROGRESS_PAUSE: Final = 0.05

Level = Literal["debug", "info", "warning", "error"]

Report = Callable[[str, Level, Key, str], None]
"""Called with the kind, the level, the component's key and the text of something worth telling."""


class Target(Protocol):
    """What a sink writes to; every method may block and is called in `System.blocking`."""

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

    def lose(self, lines: int, size: int) -> None:
        """Count a loss."""

    def resume(self) -> None:
        """Read on: the sink has room again, or has given up."""


class Sink:
    """One place that output goes to; several streams may share it, and no line is ever torn."""

    __slots__ = (
        "_blamed",
        "_busy",
        "_depot",
        "_gap",
        "_losing",
        "_nudge",
        "_open_target",
        "_queue",
        "_reopen",
        "_retry_in",
        "_settled",
        "_target",
        "_torn_by",
        "_trouble",
        "_waiting",
        "labelled",
        "name",
        "settings",
        "size",
        "users",
    )

    def __init__(
        self,
        depot: Depot,
        name: str,
        settings: Output,
        open_target: Callable[[Output], Target],
        *,
        labelled: bool,
    ) -> None:
        self.name = name
        self.settings = settings
        self.labelled = labelled
        """Each line begins with the component's tag."""
        self.users = 0
        self.size = 0
        self._depot = depot
        self._open_target = open_target
        self._target: Target | None = None
        self._queue: list[tuple[Source, bytes]] = []
        self._busy = False
        self._reopen: Literal["reopen", "renew"] | None = None
        self._torn_by: Source | None = None
        self._waiting: list[Source] = []
        self._trouble = ""
        self._blamed = ""
        self._losing = False
        self._gap: dict[Source, tuple[int, int]] = {}
        self._retry_in = 0.0
        self._nudge: trio.Event | None = None
        self._settled: trio.Event | None = None

    # --- taking lines in

    @property
    def full(self) -> bool:
        """True when those who feed it should wait (see `wait`)."""
        return self.size >= self._limit and not (self._trouble or self._losing)

    @property
    def _limit(self) -> int:
        return BUFFER if self._depot.size < ALL_BUFFERS else SMALL_BUFFER

    def wait(self, source: Source) -> None:
        """Call `source.resume` when there is room again, or when patience is at its end."""
        self._waiting.append(source)
        self._depot.be_patient(self)

    def desert(self, source: Source) -> None:
        """Forget that *source* waits."""
        if source in self._waiting:
            self._waiting.remove(source)

    def put(self, source: Source, block: bytes) -> None:
        """Take whole lines, or a piece of a line that is too long to be held together.

        A labelled sink must be given whole lines only.
        """
        size = self.size + len(block)
        if self._losing or size > (SMALL_BUFFER if self._trouble else HARD_LIMIT):
            if not self._losing:
                self._begin_losing(source, self._trouble or "it takes nothing")
            self._lose(source, block)
            return
        self._append(source, block)
        self._work_on()

    def _append(self, source: Source, block: bytes) -> None:
        if label := self._label(source):
            block = label + block[:-1].replace(b"\n", b"\n" + label) + b"\n"
        elif self._torn_by is not None and self._torn_by is not source:
            block = b"\n" + block
        self._torn_by = None if block.endswith(b"\n") else source
        self._queue.append((source, block))
        self._grow(len(block))

    def _label(self, source: Source) -> bytes:
        # Lines without a tag are piesd's own.
        return f"{source.tag} | ".encode() if self.labelled and source.tag else b""

    def _grow(self, size: int) -> None:
        self.size += size
        self._depot.size += size

    # --- losing

    def give_up(self) -> None:
        """Patience is at its end: lose lines from now on rather than block the children."""
        if self._waiting and not self._losing:
            self._begin_losing(self._waiting[0], "it has taken nothing for a while")
            self._resume_all()

    def _begin_losing(self, source: Source, why: str) -> None:
        self._losing = True
        text = f"cannot write {self.name}: {why}; dropping lines of {_whose(source.tag)}"
        self._depot.report("output-lost", "warning", source.tag, text)

    def _lose(self, source: Source, block: bytes, label: bytes = b"") -> None:
        lines = count_lines(block)
        size = len(block) - lines * len(label)
        lost_lines, lost_bytes = self._gap.get(source, (0, 0))
        self._gap[source] = lost_lines + lines, lost_bytes + size
        source.lose(lines, size)

    def _end_losing(self) -> None:
        gap, self._gap = self._gap, {}
        self._losing = False
        if self._torn_by is not None:  # The rest of a very long line was lost with the others.
            self._queue.append((self._torn_by, b"\n"))
            self._grow(1)
            self._torn_by = None
        for source, (lines, size) in gap.items():
            text = _loss(source.tag, lines, size)
            self._append(source, f"piesd: {text} here\n".encode())
            self._depot.report("output-resumed", "warning", source.tag, f"{text}: {self.name}")

    def _resume_all(self) -> None:
        self._depot.patience_over(self)
        waiting, self._waiting = self._waiting, []
        for source in waiting:
            source.resume()

    # --- writing

    def reopen(self) -> None:
        """Open the file anew if it is open, and try again at once if it failed."""
        if self._target or self._busy:
            self._order("reopen")
            self._hasten()

    def retune(self, settings: Output) -> None:
        """Go on with other settings for the same place."""
        if settings != self.settings:
            self.settings = settings
            self._order("renew")
            self._hasten()

    def release(self) -> None:
        """One user less; the last one closes it, once everything is written."""
        self.users -= 1
        if not self.users:
            self._hasten()

    def _order(self, order: Literal["reopen", "renew"] | None) -> None:
        if order == "renew" or self._reopen is None:
            self._reopen = order

    def _hasten(self) -> None:
        self.nudge()
        self._work_on()

    def nudge(self) -> None:
        """Try again at once if it failed."""
        if self._nudge is not None:
            self._nudge.set()

    def _work_on(self) -> None:
        if not self._busy:
            self._busy = True
            self._depot.nursery.start_soon(self._work, name=self.name)

    async def settled(self) -> None:
        """Return when everything was written; whoever calls this has a deadline."""
        while self._busy:
            if self._settled is None:
                self._settled = trio.Event()
            await self._settled.wait()

    async def _work(self) -> None:
        try:
            while self._queue or self._reopen or (self._target and not self.users):
                await self._write()
        except Exception as exc:  # noqa: BLE001 - a bug here costs this sink's lines, no neighbour
            self._abandon(f"a bug: {exc!r}")
        finally:
            self._busy = False
            if self._settled is not None:
                self._settled.set()
                self._settled = None
            if not self.users and not self._queue:
                self._depot.discard(self)

    async def _write(self) -> None:
        blocks = [block for _, block in self._queue]
        order, self._reopen = self._reopen, None
        try:
            written = await self._depot.blocking(self._blocking, blocks, order)
        except Exception as exc:  # noqa: BLE001 - whatever a target raises, it is this sink's alone
            self._order(order)
            if isinstance(exc, CannotWrite):
                self._consume(exc.written)
            await self._failed(exc)
            return
        self._consume(written)
        if written == sum(map(len, blocks)):
            self._recovered()
        if self.size <= self._limit // 2:
            if self._losing and not self._trouble:
                self._end_losing()
            self._resume_all()
        if blocks and not written:
            await trio.sleep(_NO_PROGRESS_PAUSE)

    def _blocking(self, blocks: list[bytes], order: Literal["reopen", "renew"] | None) -> int:
        """Do what is to be done; in a worker thread, while the task waits."""
        if self._target is not None:
            if order == "reopen":
                self._target.reopen()
            elif order == "renew" or not (blocks or self.users):
                target, self._target = self._target, None
                target.close()
        if not blocks:
            return 0
        if self._target is None:
            self._target = self._open_target(self.settings)
        return self._target.write(blocks)

    def _consume(self, written: int) -> None:
        gone = 0
        for index, (source, block) in enumerate(self._queue):
            if len(block) > written:
                if written:
                    self._queue[index] = source, block[written:]
                    self._grow(-written)
                break
            written -= len(block)
            self._grow(-len(block))
            gone += 1
        del self._queue[:gone]

    async def _failed(self, exc: Exception) -> None:
        reason = str(exc.strerror) if isinstance(exc, OSError) and exc.strerror else repr(exc)
        if not self._trouble:
            self._complain(reason)
        self._trouble = reason
        self._trim()
        self._resume_all()
        # What nobody uses any more is not tried for ever.
        if self._depot.closing or (not self.users and self._retry_in == RETRY_MAX):
            self._abandon(reason)
            return
        self._retry_in = min(max(2 * self._retry_in, RETRY), RETRY_MAX)
        self._nudge = trio.Event()
        with trio.move_on_after(self._retry_in):
            await self._nudge.wait()
        self._nudge = None

    def _complain(self, reason: str) -> None:
        self._blamed = tag = self._queue[0][0].tag if self._queue else ""
        text = f"cannot write {self.name}: {reason}; holding lines of {_whose(tag)} back"
        self._depot.report("output-failed", "warning", tag, text)

    def _trim(self) -> None:
        """Lose what is too much to be held back; the first block may have been written in part."""
        while self.size > SMALL_BUFFER and len(self._queue) > 1:
            source, block = self._queue.pop()
            self._grow(-len(block))
            if not self._losing:
                self._begin_losing(source, self._trouble)
            self._lose(source, block, self._label(source))
            before, last = self._queue[-1]
            self._torn_by = None if last.endswith(b"\n") else before

    def _recovered(self) -> None:
        self._retry_in = 0.0
        if self._trouble:
            self._trouble = ""
            if not self._losing:
                text = f"{self.name} can be written again; no line was lost"
                self._depot.report("output-resumed", "info", self._blamed, text)

    def _abandon(self, why: str) -> None:
        """Lose everything that waits, and say so: there is no later."""
        queue, self._queue = self._queue, []
        for source, block in queue:
            self._grow(-len(block))
            self._lose(source, block, self._label(source))
        self._reopen = None
        self._torn_by = None
        # What is told here may come back as a line of our own log, for this very sink.
        self._losing = True
        gap, self._gap = self._gap, {}
        for source, (lines, size) in gap.items():
            text = f"{_loss(source.tag, lines, size)}: {self.name}: {why}"
            self._depot.report("output-lost", "error", source.tag, text)
        self._losing = False
        self._trouble = ""
        self._retry_in = 0.0

    def finish(self) -> None:
        """Account for what could not be written before the end."""
        if self._queue or self._gap:
            self._abandon(self._trouble or "it was not written in time")

    def take_target(self) -> Target | None:
        """Hand over the open target for closing, unless a write is under way."""
        if self._busy:
            return None
        target, self._target = self._target, None
        return target


def _whose(tag: str) -> str:
    return repr(tag) if tag else "piesd's own log"


def _loss(tag: str, lines: int, size: int) -> str:
    what = "1 line" if lines == 1 else f"{lines} lines"
    return f"{what} ({size} bytes) of {_whose(tag)} {'was' if lines == 1 else 'were'} lost"
