"""Go on after a fault of TOML's syntax, so that one look at a file finds all of them."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from supervisor.model.errors import Problem

MOST_FAULTS: Final = 50
EFFORT: Final = 4_000_000
"""Characters that are parsed at most, again and again, to find further faults."""

MARK: Final = "\0fault:"
"""What a value, or the name of a table, begins with that stands in the place of a fault."""

_NAME = r"""(?:[A-Za-z0-9_-]+|"[^"\\\n]*"|'[^'\n]*')"""
_KEY = re.compile(rf"[ \t]*(?P<key>{_NAME}(?:[ \t]*\.[ \t]*{_NAME}){{0,8}})[ \t]*=")
_HEADER = re.compile(r"[ \t]*\[")
_AT_LINE = re.compile(r"\(at line (\d+), column (\d+)\)$")
_END: Final = (sys.maxsize, 0)
"""No place is behind it but `_BEHIND`."""
_BEHIND: Final = (sys.maxsize, 1)
_LONG_QUOTES = re.compile("\"\"\"|'''")


class Mended(Struct, frozen=True):
    """Text that is valid now, what it holds, and what was wrong: `MARK` N stands for fault N."""

    text: str
    values: dict[str, Any]
    faults: tuple[Problem, ...]


Describe = Callable[[str, str], Problem]
"""Makes a problem of the message of tomllib and the text."""


def mend(text: str, message: str, describe: Describe, problems: list[Problem]) -> Mended | None:
    """Take out what is wrong with *text*, fault by fault; None where that does not succeed.

    Args:
        message: what tomllib says about *text*.
        problems: gets every fault that was found, whether there are more or not.
    """
    faults: list[Problem] = []
    left = EFFORT
    while True:
        line, column = _place(message, text)
        best: _Repair | None = None
        for first, candidate in _repairs(text.split("\n"), line, len(faults)):
            left -= len(text)
            if left < 0 or len(faults) >= MOST_FAULTS:
                break
            repair = _tried(first, candidate)
            # What is found out at the end only is mended if what comes behind it can be read.
            reached = (line, column) if column else (first, 0) if repair.place[1] else _END
            if repair.place > max(reached, best.place if best else reached):
                best = repair
            if repair.values is not None:
                break
        faults.append(_told_at(describe(message, text), best.first if best else line, line))
        problems.append(faults[-1])
        if best is None:
            return None
        if best.values is not None:
            return Mended(best.text, best.values, tuple(faults))
        text, message = best.text, best.message


class _Repair(Struct, frozen=True, kw_only=True):
    """A text that was tried: what it holds, or how far it can be read, and why no further."""

    first: int
    """The first line that was changed."""
    text: str
    values: dict[str, Any] | None = None
    message: str = ""
    place: tuple[int, int] = _BEHIND


def _tried(first: int, text: str) -> _Repair:
    try:
        return _Repair(first=first, text=text, values=tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        place = _place(str(error), text)
        return _Repair(first=first, text=text, message=str(error), place=place)
    except (RecursionError, ValueError):
        return _Repair(first=first, text=text, place=(0, 0))


def _place(message: str, text: str) -> tuple[int, int]:
    """Return line and column of a fault; column 0 of the last line for the end of the text."""
    match = _AT_LINE.search(message)
    return (int(match[1]), int(match[2])) if match else (text.count("\n") + 1, 0)


def _told_at(fault: Problem, begins: int, line: int) -> Problem:
    """Return *fault* at the line in which what is wrong begins."""
    if begins >= line or fault.key:
        return fault
    return replace(fault, line=begins, message=f"{fault.message}; it shows in line {line}")


def _repairs(lines: list[str], line: int, number: int) -> Iterator[tuple[int, str]]:
    """Propose texts that may be right, those that keep most first, and the line each changes."""
    here = lines[line - 1]
    if _HEADER.match(here):
        yield line, _without(lines, line, line, f'["{_mark(number)}"]')
    yield from _both(lines, line, line, number)
    start = next((n for n in range(line - 1, 0, -1) if _KEY.match(lines[n - 1])), None)
    if start is not None:
        yield from _both(lines, start, line - 1, number)
        yield from _both(lines, start, line, number)
    if line >= len(lines) - 1:  # What is not closed is found out at the end.
        last = next((n for n in range(len(lines), 0, -1) if _opens_string(lines[n - 1])), None)
        if last is not None:
            yield from _both(lines, last, last, number)


def _opens_string(line: str) -> bool:
    return bool(_LONG_QUOTES.search(line)) or line.count("'") % 2 == 1 or line.count('"') % 2 == 1


def _both(lines: list[str], first: int, last: int, number: int) -> Iterator[tuple[int, str]]:
    key = _KEY.match(lines[first - 1])
    if key is not None:
        yield first, _without(lines, first, last, f'{key["key"]} = "{_mark(number)}"')
    yield first, _without(lines, first, last, "")


def _without(lines: list[str], first: int, last: int, instead: str) -> str:
    """Return the text with *instead* in the place of some lines; the others keep their numbers."""
    return "\n".join([*lines[: first - 1], instead, *[""] * (last - first), *lines[last:]])


def _mark(number: int) -> str:
    return f"\\u0000{MARK[1:]}{number}"
