"""Resource limits: a table by the names of setrlimit(2), or the letters of pies."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from supervisor.config.kinds import Count, Schema, Size
from supervisor.config.tables import Node, did_you_mean, kind_of, quoted, right_since
from supervisor.model.errors import Problem

_BYTES: Final = frozenset(("as", "core", "data", "fsize", "memlock", "msgqueue", "rss", "stack"))
_COUNTS: Final = frozenset(
    ("cpu", "locks", "nice", "nofile", "nproc", "rtprio", "rttime", "sigpending")
)
NAMES: Final = tuple(sorted(_BYTES | _COUNTS))
"""The resources of setrlimit(2) on Linux."""

UNLIMITED: Final = -1
_MOST: Final = 2**63 - 1

LETTERS: Final = {
    "A": ("as", 1024),
    "C": ("core", 1024),
    "D": ("data", 1024),
    "F": ("fsize", 1024),
    "M": ("memlock", 1024),
    "N": ("nofile", 1),
    "R": ("rss", 1024),
    "S": ("stack", 1024),
    "T": ("cpu", 60),
    "U": ("nproc", 1),
}
"""What each letter limits, and what its number is multiplied with. Source: pies.md section 1.2."""
_LETTER = re.compile(r"\s*(?P<letter>[A-Za-z])\s*(?P<number>-?[0-9]{1,18})?(?P<rest>[^\sA-Za-z]*)")
NICEST: Final = 19
"""pies goes to 20 and setpriority(2) takes that for 19."""


class Limits(Struct, frozen=True, kw_only=True):
    """Limits by name, in the units of setrlimit(2), and the priority that pies has among them."""

    resources: dict[str, int] = {}
    nice: int | None = None

    def over(self, base: Limits) -> Limits:
        """Return these, and what *base* says where these say nothing."""
        nice = base.nice if self.nice is None else self.nice
        return Limits(resources={**base.resources, **self.resources}, nice=nice)


class LimitsValue(Struct, frozen=True):
    """A table of limits, or the string of pies."""

    words: str = 'table, or letters as `"N1024 C0"`, see below'

    def schema(self) -> Schema:
        table: Schema = {
            "type": "object",
            "properties": {name: _schema(name) for name in NAMES},
            "additionalProperties": False,
        }
        letters: Schema = {"type": "string", "pattern": r"^(\s*[A-Za-z]\s*-?[0-9]+)+\s*$"}
        return {"anyOf": [table, letters]}

    def read(self, node: Node, problems: list[Problem]) -> Limits | None:
        before = len(problems)
        if isinstance(node.value, str):
            limits = _letters(node.value, node, problems)
        elif isinstance(node.value, dict):
            limits = _table(node.value, problems)
        else:
            what = f"must be a table or a string of limits, not {kind_of(node.value)}"
            problems.append(node.problem(what))
            return None
        return limits if right_since(problems, before) else None


def _kind(name: str) -> Size | Count:
    return Size() if name in _BYTES else Count(least=0, most=_MOST)


def _schema(name: str) -> Schema:
    unlimited: Schema = {"const": "unlimited"}
    # Linux refuses to lift the limit of open files altogether.
    choices = [_kind(name).schema(), *([] if name == "nofile" else [unlimited])]
    unit = "bytes" if name in _BYTES else {"cpu": "seconds", "rttime": "microseconds"}.get(name)
    described: Schema = {"description": f"in {unit}"} if unit else {}
    return {"anyOf": choices, **described}


def _table(members: dict[str, Node], problems: list[Problem]) -> Limits:
    found: dict[str, int] = {}
    for name, node in members.items():
        if name not in NAMES:
            problems.append(node.problem(f"unknown limit{did_you_mean(name, NAMES)}"))
        elif node.value == "unlimited" and name == "nofile":
            what = "cannot be unlimited: Linux refuses that for open files; write a number"
            problems.append(node.problem(what))
        elif node.value == "unlimited":
            found[name] = UNLIMITED
        else:
            value = _kind(name).read(node, problems)
            if value is not None:
                found[name] = value
    return Limits(resources=found)


def _letters(text: str, node: Node, problems: list[Problem]) -> Limits:
    found: dict[str, int] = {}
    nice = None
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _LETTER.match(text, at)
        if match is None or match["number"] is None or match["rest"]:
            example = 'letters with numbers as "N1024 C0"'
            problems.append(node.problem(f"must be {example}, not {quoted(text[at:].strip())}"))
            break
        at = match.end()
        letter, number = match["letter"].upper(), int(match["number"])
        if letter == "P":
            nice = _nice(number, node, problems)
        elif letter == "L":
            problems.append(node.warning("the limit L is accepted, and has no effect"))
        elif letter not in LETTERS:
            known = " ".join([*LETTERS, "P", "L"])
            problems.append(
                node.problem(f"there is no limit {quoted(letter)}: it is one of {known}")
            )
        elif not 0 <= number * LETTERS[letter][1] <= _MOST:
            problems.append(node.problem(f"the limit {letter} cannot be {number}"))
        else:
            name, unit = LETTERS[letter]
            found[name] = number * unit
    return Limits(resources=found, nice=nice)


def _nice(number: int, node: Node, problems: list[Problem]) -> int | None:
    if -20 <= number <= 20:
        return min(number, NICEST)
    problems.append(node.problem(f"the priority P must be -20 to 20, not {number}"))
    return None
