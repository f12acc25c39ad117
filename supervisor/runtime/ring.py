"""The last lines of one output stream, kept as blocks of bytes so that taking them in is cheap."""

from __future__ import annotations

from typing import Final, NamedTuple

KEPT_LINES: Final = 1000
KEPT_BYTES: Final = 256 * 1024
_SEALED_AT: Final = 8 * 1024


def count_lines(block: bytes) -> int:
    """Return the number of newlines in *block*.

    Five times as fast as `bytes.count` and more, which looks at each byte by itself; removing
    them searches by memchr.
    """
    return len(block) - len(block.replace(b"\n", b""))


class Row(NamedTuple):
    """One kept line. `stamp` orders the lines of several rings; `number` counts from 1."""

    stamp: int
    number: int
    text: bytes


class Ring:
    """The last `KEPT_LINES` lines, fewer if they are longer than `KEPT_BYTES` together.

    Blocks are dropped whole, so a little more may be in memory than is shown.
    """

    __slots__ = ("_blocks", "_lines", "_open", "_open_lines", "_open_stamp", "_size", "total")

    def __init__(self) -> None:
        self._blocks: list[tuple[bytes, int, int]] = []
        self._lines = 0
        self._size = 0
        # Small blocks are collected here: a thousand lines that came one by one would otherwise
        # cost a thousand objects.
        self._open = bytearray()
        self._open_lines = 0
        self._open_stamp = 0
        self.total = 0

    def feed(self, block: bytes, lines: int, stamp: int) -> None:
        """Take in *block*: *lines* whole lines, each with its newline."""
        self.total += lines
        self._lines += lines
        self._size += len(block)
        if len(block) >= _SEALED_AT:
            self.seal()
            self._blocks.append((block, lines, stamp))
        else:
            if not self._open_lines:
                self._open_stamp = stamp
            self._open += block
            self._open_lines += lines
            if len(self._open) >= _SEALED_AT:
                self.seal()
        self._evict()

    def seal(self) -> None:
        """Give what comes next a stamp of its own."""
        if self._open_lines:
            self._blocks.append((bytes(self._open), self._open_lines, self._open_stamp))
            self._open = bytearray()
            self._open_lines = 0

    def tail(self, most: int) -> list[Row]:
        """Return the last lines, at most *most* of them, oldest first, without their newlines."""
        most = min(most, KEPT_LINES)
        newest_first: list[Row] = []
        number = self.total
        blocks = [*self._blocks, (bytes(self._open), self._open_lines, self._open_stamp)]
        for block, lines, stamp in reversed(blocks):
            missing = most - len(newest_first)
            if missing <= 0:
                break
            texts = block.split(b"\n")[max(lines - missing, 0) : lines]
            first = number - len(texts) + 1
            rows = [Row(stamp, first + index, text) for index, text in enumerate(texts)]
            newest_first += reversed(rows)
            number -= lines
        newest_first.reverse()
        return newest_first

    def _evict(self) -> None:
        while self._blocks:
            block, lines, _ = self._blocks[0]
            enough = self._lines - lines >= KEPT_LINES
            too_long = self._size > KEPT_BYTES and self._lines > lines
            if not (enough or too_long):
                return
            del self._blocks[0]
            self._lines -= lines
            self._size -= len(block)
