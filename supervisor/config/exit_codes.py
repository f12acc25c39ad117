"""Ways to end: exit codes, the names of sysexits.h, signals, and ranges."""

from __future__ import annotations

import re
import signal
from typing import Final

from msgspec import Struct

from supervisor.config.kinds import TEXT_SCHEMA, Schema
from supervisor.config.special import signal_number
from supervisor.config.tables import Node, as_items, did_you_mean, kind_of, quoted, right_since
from supervisor.model.errors import Problem

SYSEXITS: Final = {
    "EX_OK": 0,
    "EX_USAGE": 64,
    "EX_DATAERR": 65,
    "EX_NOINPUT": 66,
    "EX_NOUSER": 67,
    "EX_NOHOST": 68,
    "EX_UNAVAILABLE": 69,
    "EX_SOFTWARE": 70,
    "EX_OSERR": 71,
    "EX_OSFILE": 72,
    "EX_CANTCREAT": 73,
    "EX_IOERR": 74,
    "EX_TEMPFAIL": 75,
    "EX_PROTOCOL": 76,
    "EX_NOPERM": 77,
    "EX_CONFIG": 78,
}
"""Source: pies.md section 3, which has them from sysexits.h."""

MOST: Final = 255
_RANGE = re.compile(r"(?P<first>[0-9]{1,9})(?:\s*-\s*(?P<last>[0-9]{1,9}))?")
_NUMBERED = re.compile(r"SIG\+(?P<number>[0-9]{1,3})")


class Codes(Struct, frozen=True):
    """Exit codes and signals, each in the order they were written, each once."""

    codes: tuple[int, ...] = ()
    signals: tuple[int, ...] = ()


class ExitCodes(Struct, frozen=True):
    """A list of codes, names, signals and ranges, or one of them."""

    words: str = 'list of codes as `2`, `"64-78"`, `"EX_CONFIG"`, `"SIGSEGV"`, `"SIG+11"`, or one'

    def schema(self) -> Schema:
        number: Schema = {"type": "integer", "minimum": 0, "maximum": MOST}
        one: list[Schema] = [number, TEXT_SCHEMA]
        return {"anyOf": [*one, {"type": "array", "items": {"anyOf": one}, "minItems": 1}]}

    def read(self, node: Node, problems: list[Problem]) -> Codes | None:
        before = len(problems)
        codes: dict[int, None] = {}
        signals: dict[int, None] = {}
        items = as_items(node)
        if not items:
            problems.append(node.problem("must hold an exit code or a signal"))
        for item in items:
            for code in _codes(item, problems):
                codes[code] = None
            number = _signal(item, problems)
            if number is not None:
                signals[number] = None
        right = right_since(problems, before)
        return Codes(tuple(codes), tuple(signals)) if right else None


def _codes(node: Node, problems: list[Problem]) -> range | tuple[int, ...]:
    """Return the codes of one item; none if it is a signal, or after a problem."""
    value = node.value
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value <= MOST:
            return (value,)
        problems.append(node.problem(f"an exit code is 0 to {MOST}"))
        return ()
    if not isinstance(value, str):
        what = f"must be an exit code or the name of a signal, not {kind_of(value)}"
        problems.append(node.problem(what))
        return ()
    name = value.strip().upper()
    if name in SYSEXITS:
        return (SYSEXITS[name],)
    match = _RANGE.fullmatch(name)
    if match:
        first, last = int(match["first"]), int(match["last"] or match["first"])
        if first <= last <= MOST:
            return range(first, last + 1)
        what = f"must be an exit code, or a range of them, from 0 to {MOST}, not {quoted(value)}"
        problems.append(node.problem(what))
    elif not name.startswith("SIG"):
        hint = did_you_mean(value, [*SYSEXITS, *signal.Signals.__members__])
        problems.append(node.problem(f"there is no exit code or signal {quoted(value)}{hint}"))
    return ()


def _signal(node: Node, problems: list[Problem]) -> int | None:
    """Return the signal that one item names; None if it is a code, or after a problem."""
    if not isinstance(node.value, str) or not node.value.strip().upper().startswith("SIG"):
        return None
    name = node.value.strip().upper()
    numbered = _NUMBERED.fullmatch(name)
    number = int(numbered["number"]) if numbered else signal_number(name)
    if number is None or number not in signal.valid_signals():
        hint = did_you_mean(name, signal.Signals.__members__)
        problems.append(node.problem(f"there is no signal {quoted(node.value)}{hint}"))
        return None
    return number
