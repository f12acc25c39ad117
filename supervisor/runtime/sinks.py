"""Where output goes: files, collectors of messages, piesd's own streams; buffers and losses.

The policy, the same for every sink:

- While one write is under way, what comes meanwhile is buffered and goes in the next, whole.
- A buffer holds 1 MiB (64 KiB once all buffers together hold 64 MiB). When it is full, the pipes
  that feed it are no longer read: the children block at their full pipes, and nothing is lost.
- A child is not blocked for longer than 5 s by its log: then, and at once when 64 KiB wait for a
  sink that *fails* (a full disk, no permission), lines are lost, counted, and this is reported.
- Lines are lost only at the end of the buffer and without a break until the sink has taken what it
  holds: one gap, at the place of which the sink gets a line that says how much is missing.
- A failing sink is tried again after 1, 2, 4 and then every 5 s, and at once by `reopen`.

Only whole lines are lost. A task exists only while a sink has something to do. piesd's own log has
another policy where syslog or the journal takes it: see `supervisor.runtime.ownsink`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import trio

from supervisor.model.component import Key, Output
from supervisor.runtime.noted import left_of, without
from supervisor.runtime.ring import count_lines
from supervisor.runtime.writers import Piece, Source, Style, Writer, file_style
from supervisor.system.logfile import CannotWrite
from supervisor.system.lognote import NOTHING, Found

if TYPE_CHECKING:
    from supervisor.runtime.depot import Depot
    from supervisor.runtime.receipts import Receipt

BUFFER: Final = 1024 * 1024
SMALL_BUFFER: Final = 64 * 1024
ALL_BUFFERS: Final = 64 * 1024 * 1024
HARD_LIMIT: Final = 32 * 1024 * 1024
"""What a buffer may hold when children end while it is full: their pipes are emptied into it."""

PATIENCE: Final = 5.0
RETRY: Final = 1.0
RETRY_MAX: Final = 5.0
_NO_PROGRESS_PAUSE: Final = 0.05

Level = Literal["debug", "info", "warning", "error"]

Report = Callable[[str, Level, Key, str], None]
"""Called with the kind, the level, the component's key and the text of something worth telling."""


class Sink:
    """One place that output goes to; several streams may share it, and no line is ever torn."""

    __slots__ = (
        "_blamed",
        "_busy",
        "_depot",
        "_found",
        "_gap",
        "_losing",
        "_news",
        "_nudge",
        "_open_writer",
        "_queue",
        "_reopen",
        "_retry_in",
        "_settled",
        "_torn_by",
        "_trouble",
        "_waiting",
        "_writer",
        "name",
        "settings",
        "size",
        "style",
        "users",
    )

    def __init__(
        self,
        depot: Depot,
        name: str,
        settings: Output,
        open_writer: Callable[[Output], Writer],
        style: Style,
    ) -> None:
        self.name = name
        self.settings = settings
        self.style = style
        self.users = 0
        self.size = 0
        self._depot = depot
        self._open_writer = open_writer
        self._writer: Writer | None = None
        self._queue: list[Piece] = []
        self._busy = False
        self._reopen: Literal["reopen", "renew"] | None = None
        self._torn_by: Source | None = None
        self._found = NOTHING
        self._news: Found | None = None
        """What was found just now, when the place was opened."""
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

    def put(
        self, source: Source, block: bytes, receipt: Receipt | None = None, tail: int = 0
    ) -> None:
        """Take whole lines, or a piece of a line that is too long to be held together.

        Where `whole` is true, only whole lines may come.

        Args:
            source: whose they are.
            block: the lines.
            receipt: to be settled once they are written, or lost.
            tail: how many bytes at the end of *block* the receipt is not about.
        """
        size = self.size + len(block)
        if self._losing or size > (SMALL_BUFFER if self._trouble else HARD_LIMIT):
            if not self._losing:
                self._begin_losing(source, self._trouble or "it takes nothing")
            self._lose(source, block)
            if receipt is not None:
                receipt.settle()
            return
        self._append(source, block, receipt, tail)
        self._work_on()

    @property
    def whole(self) -> bool:
        """Whether it must be given whole lines: each of them gets something of its own."""
        return self.style != "raw"

    def _append(
        self, source: Source, block: bytes, receipt: Receipt | None = None, tail: int = 0
    ) -> None:
        label = self._label(source)
        if label:
            block = label + block[:-1].replace(b"\n", b"\n" + label) + b"\n"
        if self._torn_by is not None and (self._torn_by is not source or self.whole):
            block = b"\n" + block
        self._torn_by = None if block.endswith(b"\n") else source
        if self.style == "message":
            now = self._depot.system.wall()
            piece = Piece(source, block, 0, source.origin, now, receipt, tail)
        else:
            piece = Piece(source, block, len(label), receipt=receipt, tail=tail)
        self._queue.append(piece)
        self._grow(len(block))
        if self._found is not NOTHING:
            self._leave_out([self._queue.pop()])

    def _leave_out(self, pieces: list[Piece]) -> None:
        """Put *pieces* behind the others, without what a predecessor has written of them."""
        for piece in pieces:
            left = self._unwritten(piece)
            if left is None:
                self._grow(-len(piece.block))
                continue
            if self._found.torn:
                if left.receipt is None or left.receipt.stage != self._found.torn:
                    left = left._replace(block=b"\n" + left.block)
                self._found = self._found._replace(torn=0)
            self._grow(len(left.block) - len(piece.block))
            self._queue.append(left)

    def _unwritten(self, piece: Piece) -> Piece | None:
        receipt = piece.receipt
        if receipt is None:
            return piece
        done = self._found.done.get(receipt.stage, 0) - (receipt.end - receipt.size)
        if done >= receipt.size:
            receipt.settle()
            return None
        begun = self._found.torn == receipt.stage
        if done <= 0 and not (begun and piece.label):
            return piece
        left = without(piece, max(done, 0), begun=begun)
        receipt.size -= max(done, 0)
        receipt.book.settle()
        return left

    def _label(self, source: Source) -> bytes:
        # On a stream of our own, what named it as a file is written as in a file.
        style = source.style if self.style == "tag" else self.style
        if style == "time":
            return timestamp(self._depot.system.wall())
        # Lines without a tag are piesd's own.
        return f"{source.tag} | ".encode() if style == "tag" and source.tag else b""

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

    def _lose(self, source: Source, block: bytes, label: int = 0) -> None:
        lines = count_lines(block)
        size = len(block) - lines * label
        lost_lines, lost_bytes = self._gap.get(source, (0, 0))
        self._gap[source] = lost_lines + lines, lost_bytes + size
        source.lose(lines, size)

    def _end_losing(self) -> None:
        gap, self._gap = self._gap, {}
        self._losing = False
        if self._torn_by is not None:  # The rest of a very long line was lost with the others.
            self._queue.append(Piece(self._torn_by, b"\n", 0))
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
        if self._writer or self._busy:
            self._order("reopen")
            self._hasten()

    def retune(self, settings: Output) -> None:
        """Go on with other settings for the same file."""
        if settings != self.settings:
            self.settings = settings
            self.style = file_style(settings)
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
            while self._queue or self._reopen or (self._writer and not self.users):
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
        queue = list(self._queue)
        order, self._reopen = self._reopen, None
        try:
            written = await self._depot.blocking(self._blocking, queue, order)
        except Exception as exc:  # noqa: BLE001 - whatever a target raises, it is this sink's alone
            self._order(order)
            if isinstance(exc, CannotWrite):
                self._consume(exc.written)
            await self._failed(exc)
            return
        self._consume(written)
        if self._news is not None:
            self._found, self._news = self._news, None
            queue, self._queue = self._queue, []
            self._leave_out(queue)
            return
        if written or not queue:
            self._recovered(written)
        if self.size <= self._limit // 2:
            if self._losing and not self._trouble:
                self._end_losing()
            self._resume_all()
        if queue and not written:
            await self._stalled()

    async def _stalled(self) -> None:
        await trio.sleep(_NO_PROGRESS_PAUSE)

    def _blocking(self, queue: list[Piece], order: Literal["reopen", "renew"] | None) -> int:
        """Do what is to be done; in a worker thread, while the task waits."""
        if self._writer is not None:
            if order == "reopen":
                self._writer.reopen()
            elif order == "renew" or not (queue or self.users):
                writer, self._writer = self._writer, None
                writer.close()
        if not queue:
            return 0
        if self._writer is None:
            self._writer = self._open_writer(self.settings)
            if self._writer.found is not NOTHING:
                self._news = self._writer.found
                return 0  # Some of the queue may be there already.
        return self._writer.write(queue)

    def _consume(self, written: int) -> None:
        gone = 0
        for index, piece in enumerate(self._queue):
            size = len(piece.block)
            if size > written:
                if written:
                    self._queue[index] = self._cut(piece, written)
                    self._grow(-written)
                break
            written -= size
            self._grow(-size)
            gone += 1
        _settle(self._queue[:gone])
        del self._queue[:gone]

    def _cut(self, piece: Piece, written: int) -> Piece:
        """Return *piece* without its beginning."""
        if piece.receipt is not None:
            piece.receipt.size = left_of(piece, len(piece.block) - written)
            piece.receipt.book.settle()
        begun = piece.block[written - 1 : written] != b"\n"
        return piece._replace(block=piece.block[written:], begun=begun)

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
        self._blamed = tag = self._queue[0].source.tag if self._queue else ""
        text = f"cannot write {self.name}: {reason}; holding lines of {_whose(tag)} back"
        self._depot.report("output-failed", "warning", tag, text)

    def _trim(self) -> None:
        """Lose what is too much to be held back; the first block may have been written in part."""
        while self.size > SMALL_BUFFER and len(self._queue) > 1:
            piece = self._queue.pop()
            source, block, label, *_ = piece
            self._grow(-len(block))
            _settle([piece])
            if not self._losing:
                self._begin_losing(source, self._trouble)
            self._lose(source, block, label)
            last = self._queue[-1]
            self._torn_by = None if last.block.endswith(b"\n") else last.source

    def _recovered(self, _written: int) -> None:
        self._retry_in = 0.0
        if self._trouble:
            self._trouble = ""
            if not self._losing:
                text = f"{self.name} can be written again; no line was lost"
                self._depot.report("output-resumed", "info", self._blamed, text)

    def _abandon(self, why: str) -> None:
        """Lose everything that waits, and say so: there is no later."""
        queue, self._queue = self._queue, []
        _settle(queue)
        for source, block, label, *_ in queue:
            self._grow(-len(block))
            self._lose(source, block, label)
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

    def take_writer(self) -> Writer | None:
        """Hand over what is open for closing, unless a write is under way."""
        if self._busy:
            return None
        writer, self._writer = self._writer, None
        return writer


def _settle(pieces: list[Piece]) -> None:
    """Give the receipts of *pieces* back."""
    books = set()
    for piece in pieces:
        if piece.receipt is not None:
            piece.receipt.size = 0
            books.add(piece.receipt.book)
    for book in books:
        book.settle()


def timestamp(at: float) -> bytes:
    """Return a moment in Unix time as lines of a file begin with it. Source: RFC 3339, UTC."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z ").encode()


def _whose(tag: str) -> str:
    return repr(tag) if tag else "piesd's own log"


def _loss(tag: str, lines: int, size: int) -> str:
    what = "1 line" if lines == 1 else f"{lines} lines"
    return f"{what} ({size} bytes) of {_whose(tag)} {'was' if lines == 1 else 'were'} lost"
