"""A program that writes lines with numbers and checksums, and a look whether all are there."""

from __future__ import annotations

import zlib
from pathlib import Path

WRITER = """
import time, zlib
number = 0
while True:
    for _ in range({lines} // 20):
        number += 1
        text = f"{{number}} " + "x" * (number * 7919 % 300)
        print(text, zlib.crc32(text.encode()), flush=number % 3 == 0)
    time.sleep(0.05)
"""
"""With `lines` a second."""


def expect_line(line: str, number: int, name: str = "log") -> None:
    """See that a line is number *number*, as it was written."""
    text, _, checksum = line.rpartition(" ")
    assert int(text.split(" ", 1)[0]) == number, f"{name}: line {number} is {line!r}"
    assert zlib.crc32(text.encode()) == int(checksum), f"{name}: line {number} is torn"


def expect_whole(log: Path) -> int:
    """Return how many lines there are: each once, in order, and as it was written."""
    lines = log.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        expect_line(line, number, log.name)
    return len(lines)
