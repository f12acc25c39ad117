"""Read TOML into tables with positions, or say where it is not TOML."""

from __future__ import annotations

import datetime as dt
import re
import sys
import tomllib
from functools import partial
from typing import TypeGuard

from supervisor.config.mending import MARK, mend
from supervisor.config.positions import Spot, positions
from supervisor.config.tables import Node, Scalar, dotted, kind_of
from supervisor.model.errors import Problem

DEEPEST = 32
"""Levels of tables and lists. No key needs six."""

_LONG_KEY = re.compile(
    r"""^[ \t]*(?:\[{1,2}[ \t]*)?(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){64}""",
    re.MULTILINE,
)
"""A key of more than 64 parts: tomllib takes quadratic time for it, hours for 100,000 parts."""

MOST_DIGITS = sys.get_int_max_str_digits() or sys.maxsize
_DEEP = f"is too deeply nested: more than {DEEPEST} levels"
_PIECE = re.compile(
    rf"""
    \"{{3}}(?:[^"\\]|\\.|"(?!""))*\"{{3}} | \'{{3}}(?:[^']|'(?!''))*\'{{3}}
  | "(?:[^"\\\n]|\\.)*" | '[^'\n]*' | \#[^\n]*
  | (?P<open> [\[{{] ) | (?P<close> [\]}}] )
  | (?P<digits> [0-9](?:_?[0-9]){{{min(MOST_DIGITS, 65_535)},}} )
    """,
    re.VERBOSE | re.DOTALL,
)
"""What to step over in valid TOML, and what opens a level or is a number of too many digits."""

_AT = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_TWICE = re.compile(r"Cannot declare \((?P<names>.*)\) twice")
_HEADER = re.compile(r"""^[ \t]*\[[ \t]*component[ \t]*\.[ \t]*(?P<tag>[\w-]+|"[^"]*"|'[^']*')""")
# The bracket may be what is missing.
_END_OF_HEADER = re.compile(r"[ \t]*\]?[ \t]*(?:#.*)?$")


def read(text: str, file: str, problems: list[Problem]) -> Node | None:
    """Return the tables of *text*, or None after adding to *problems* why it is not TOML.

    Where faults can be told from the rest, the rest is returned: what could not be read has
    `Node.fault`.
    """
    # Line ends are what tomllib makes of them; a carriage return elsewhere is a fault it finds.
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if match := _LONG_KEY.search(text):
        line = text.count("\n", 0, match.start()) + 1
        problems.append(Problem(file, line, "", "is a key of more than 64 parts"))
        return None
    faults: tuple[Problem, ...] = ()
    try:
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            mended = mend(text, str(error), partial(_syntax_problem, file=file), problems)
            if mended is None:
                return None
            text, values, faults = mended.text, mended.values, mended.faults
        return _Join(file, faults).node(values, positions(text), "")
    except _TooDeep as error:
        problems.append(Problem(file, error.line, "", _DEEP))
    except RecursionError:
        problems.append(Problem(file, _line_of(text, deep=True), "", _DEEP))
    except ValueError:
        # Python turns no text into a number that is longer.
        what = f"is not valid TOML: a number of more than {MOST_DIGITS} digits"
        problems.append(Problem(file, _line_of(text, deep=False), "", what))
    return None


def _line_of(text: str, *, deep: bool) -> int:
    """Return the line of what tomllib gives up at without a place: too many levels or digits."""
    level = 0
    for match in _PIECE.finditer(text):
        kind = match.lastgroup
        level = max(0, level + (kind == "open") - (kind == "close"))
        if level > DEEPEST if deep else kind == "digits":
            return text.count("\n", 0, match.start()) + 1
    return 1


def headers(text: str) -> dict[str, list[int]]:
    """Return the tags in `[component.TAG]` headers with their lines, of text that may be broken.

    It is good enough for messages about a file that has other faults: a header inside a
    multi-line string is taken for one.
    """
    found: dict[str, list[int]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = _HEADER.match(line)
        if match and _END_OF_HEADER.match(line, match.end()):
            found.setdefault(match["tag"].strip("\"'"), []).append(number)
    return found


def _syntax_problem(message: str, text: str, file: str) -> Problem:
    match = _AT.search(message)
    line = text.count("\n", 0, len(text.rstrip("\n"))) + 1
    what = message
    if match:
        what = message[: match.start()]
        line = int(match["line"]) if match["line"] else line
    twice = _TWICE.fullmatch(what)
    if twice:
        names = [name.strip().strip("'\"") for name in twice["names"].split(",") if name.strip()]
        first = next((at for at in headers(text).get(names[-1], ()) if at < line), None)
        key = dotted(".".join(names[:-1]), names[-1])
        if names[0] == "component" and len(names) == 2 and first is not None:
            return Problem(file, line, key, f"is already defined at {file}:{first}")
        return Problem(file, line, key, "is defined twice")
    where = f" (column {match['column']})" if match and match["column"] else " (end of file)"
    return Problem(file, line, "", f"is not valid TOML: {what[:1].lower()}{what[1:]}{where}")


def _is_scalar(value: object) -> TypeGuard[Scalar]:
    return isinstance(value, str | int | float | dt.date | dt.time)


class _TooDeep(Exception):  # Not an error of ours: the reading ends here.
    """Something has more levels than any configuration."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line


class _Join:
    """Puts what tomllib has read together with the positions of the same text."""

    def __init__(self, file: str, faults: tuple[Problem, ...]) -> None:
        self.file, self.faults = file, faults

    def node(self, value: object, spot: Spot, key: str, deep: int = DEEPEST) -> Node:
        """Return the tree of nodes for *value*.

        Raises:
            _TooDeep: there are more than *deep* levels.
        """
        if deep == 0:
            raise _TooDeep(spot.line)
        line = spot.line
        if isinstance(value, dict):
            spots = spot.latest().members or {}
            table = {
                name: self.node(member, spots.get(name) or Spot(line), dotted(key, name), deep - 1)
                for name, member in value.items()
                if not (self.faults and name.startswith(MARK))
            }
            return Node(self.file, line, key, table)
        if isinstance(value, list):
            places = [*(spot.items or ()), *[Spot(line)] * len(value)]
            items = zip(value, places, strict=False)
            return Node(
                self.file,
                line,
                key,
                tuple(
                    self.node(item, place, f"{key}[{number}]", deep - 1)
                    for number, (item, place) in enumerate(items)
                ),
            )
        if isinstance(value, str) and self.faults and value.startswith(MARK):
            fault = self.faults[int(value.removeprefix(MARK))]
            return Node(self.file, line, key, "", fault)
        if _is_scalar(value):
            return Node(self.file, line, key, value)
        raise ValueError(f"{key}: {kind_of(value)}")
