"""Write to a log with a note about it, and leave out what a predecessor has written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.system.lognote import MOST_PARTS, Found, Part

if TYPE_CHECKING:
    from supervisor.runtime.writers import Piece
    from supervisor.system.logfile import LogFile
    from supervisor.system.lognote import LogNote


class Noted:
    """A log file whose writes are noted, so that the next piesd knows of each whether it was done.

    Args:
        log: nobody has written to it yet.
        note: that about this log.

    Raises:
        OSError: what a predecessor has noted cannot be looked at.
    """

    def __init__(self, log: LogFile, note: LogNote) -> None:
        self._log, self._note = log, note
        try:
            self.found: Found = note.find(log.path)
        except OSError:
            note.close()
            raise
        if self.found.torn:
            log.go_on(self.found.file)
        log.about_to = note.mark
        self.reopen = log.reopen

    def write(self, queue: list[Piece]) -> int:
        """Write blocks one behind the other, as many as a note can speak of.

        Raises:
            CannotWrite: see `LogFile`.
        """
        parts, blocks = _parts(queue)
        self._note.begin(parts, blocks)
        done = 0
        try:
            done = self._log.write(blocks)
        except OSError as error:
            done = getattr(error, "written", 0)
            raise
        finally:
            self._note.end(done)
        return done

    def close(self) -> None:
        """Close both. The note stays."""
        self._note.close()
        self._log.close()


def _parts(queue: list[Piece]) -> tuple[list[Part], list[bytes]]:
    """Return what *queue* consists of; neighbours of one stream are one part."""
    parts: list[Part] = []
    blocks: list[list[bytes]] = []
    for piece in queue:
        part = _part(piece)
        whole = _joined(parts[-1], part) if parts else None
        if whole is not None:
            parts[-1] = whole
            blocks[-1].append(piece.block)
        elif len(parts) == MOST_PARTS:
            break
        else:
            parts.append(part)
            blocks.append([piece.block])
    return parts, [block[0] if len(block) == 1 else b"".join(block) for block in blocks]


def _part(piece: Piece) -> Part:
    receipt, length = piece.receipt, len(piece.block)
    if receipt is None:
        return Part(0, 0, 0, length, length, 0)
    begun = int(piece.begun)
    return Part(receipt.stage, receipt.end, receipt.size, length, piece.tail, piece.label, begun)


def _joined(first: Part, second: Part) -> Part | None:
    """Return both as one, if that says as much."""
    if (first.stage, first.label) != (second.stage, second.label):
        return None
    length = first.length + second.length
    if not first.stage:
        return Part(0, 0, 0, length, length, 0)
    before = second.length - second.tail - second.size
    if first.tail or (before and not second.label) or second.end - second.size != first.end:
        return None
    size = first.size + second.size
    return second._replace(size=size, length=length, begun=first.begun)


def left_of(piece: Piece, size: int) -> int:
    """Return how many bytes of the stream are still to come, *size* bytes of the piece are."""
    cut = len(piece.block) - size
    block = piece.block[cut:]
    labels = 0
    if piece.label:
        begun = piece.block[cut - 1 : cut] != b"\n" if cut else piece.begun
        labels = piece.label * (block.count(b"\n") - begun)
    most = 0 if piece.receipt is None else piece.receipt.size
    return min(max(size - piece.tail - labels, 0), most)


def without(piece: Piece, done: int, *, begun: bool) -> Piece:
    """Return what is left of *piece* without the first *done* bytes of the stream.

    Args:
        piece: it has a receipt.
        done: less than that is about; it may be 0.
        begun: where they are, they end within a line.
    """
    assert piece.receipt is not None, "somebody knows that they are done"
    block = piece.block
    if not piece.label:
        return piece._replace(block=block[len(block) - piece.tail - piece.receipt.size + done :])
    begin = 0
    while done:
        end = block.index(b"\n", begin) + 1
        size = end - begin - piece.label
        if size > done:
            break
        done -= size
        begin = end
    # Lines that are too long may be cut elsewhere now: then the rest becomes a line of its own.
    label = b"" if begun else block[begin : begin + piece.label]
    return piece._replace(block=label + block[begin + piece.label + done :], begun=begun)
