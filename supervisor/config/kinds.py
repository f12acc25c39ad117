"""What a value may be: each kind reads a node, and describes itself for people and for editors."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Protocol, TypeVar

from msgspec import Struct

from supervisor.config.tables import Node, did_you_mean, kind_of, quoted
from supervisor.model.errors import Problem

T_co = TypeVar("T_co", covariant=True)
Schema = dict[str, object]
"""A piece of a JSON Schema."""

TEXT_SCHEMA: Schema = {"type": "string", "minLength": 1}
"""A string that is not empty."""

LONGEST_TIME = 1e9
"""Seconds, some thirty years: the most that any duration may be."""


class Kind(Protocol[T_co]):
    """What the value of a key may be."""

    @property
    def words(self) -> str:
        """What it is, for the reference."""

    def schema(self) -> Schema:
        """Return what an editor may check. It accepts at least everything that `read` does."""

    def read(self, node: Node, problems: list[Problem]) -> T_co | None:
        """Return the value of *node*, or None after adding to *problems* what is wrong with it."""


class Boolean(Struct, frozen=True):
    """True or false."""

    words: str = "boolean"

    def schema(self) -> Schema:
        return {"type": "boolean"}

    def read(self, node: Node, problems: list[Problem]) -> bool | None:
        if isinstance(node.value, bool):
            return node.value
        problems.append(node.problem(f"must be true or false, not {kind_of(node.value)}"))
        return None


class Text(Struct, frozen=True):
    """A string. `empty` tells whether it may be empty."""

    words: str = "string"
    empty: bool = False

    def schema(self) -> Schema:
        return {"type": "string"} if self.empty else {"type": "string", "minLength": 1}

    def read(self, node: Node, problems: list[Problem]) -> str | None:
        return read_text(node, problems, empty=self.empty)


def read_text(node: Node, problems: list[Problem], *, empty: bool = False) -> str | None:
    """Return a string that can be given to the operating system."""
    value = node.value
    if not isinstance(value, str):
        hint = ""
        if isinstance(value, bool | int | float):
            plain = str(value).lower() if isinstance(value, bool) else str(value)
            hint = f': write "{plain}"' if len(plain) < 40 else ""
        problems.append(node.problem(f"must be a string, not {kind_of(value)}{hint}"))
    elif "\0" in value:
        problems.append(node.problem("must not contain a null character"))
    elif not value and not empty:
        problems.append(node.problem("must not be empty"))
    else:
        return value
    return None


class Choice(Struct, frozen=True):
    """One word of several. `later` are words that are known and not supported yet."""

    choices: Mapping[str, str]
    """Each word, and the one it stands for: itself, or the one it is a synonym of."""
    later: frozenset[str] = frozenset()
    instead: Mapping[str, str] = {}
    """For words that mean something elsewhere, what to write here."""

    @property
    def words(self) -> str:
        return " ".join(f"`{word}`" for word in self.choices)

    def schema(self) -> Schema:
        return {"enum": list(self.choices)}

    def read(self, node: Node, problems: list[Problem]) -> str | None:
        word = read_text(node, problems)
        if word is None:
            return None
        if word in self.choices:
            return self.choices[word]
        if word in self.later:
            problems.append(node.problem(f"{quoted(word)} is not supported yet"))
            return None
        if word in self.instead:
            problems.append(node.problem(f"{quoted(word)} {self.instead[word]}"))
            return None
        problems.append(node.problem(_not_one_of(word, self.choices)))
        return None


def _not_one_of(word: str, choices: Mapping[str, str]) -> str:
    known = ", ".join(sorted(set(choices.values()), key=list(choices.values()).index))
    return f"must be one of {known}, not {quoted(word)}{did_you_mean(word, choices)}"


def choice(*words: str) -> Choice:
    """Return the kind that takes one of *words*."""
    return Choice({word: word for word in words})


class Seconds(Struct, frozen=True):
    """A duration. `positive` excludes 0."""

    positive: bool = False

    @property
    def words(self) -> str:
        return "seconds, more than 0" if self.positive else "seconds"

    def schema(self) -> Schema:
        least: Schema = {"exclusiveMinimum": 0} if self.positive else {"minimum": 0}
        return {"type": "number", "maximum": LONGEST_TIME, **least}

    def read(self, node: Node, problems: list[Problem]) -> float | None:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            what = f"must be a number of seconds, not {kind_of(value)}"
            problems.append(node.problem(what))
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append(node.problem(f"must be a number of seconds, not {value}"))
        elif value < 0 or (self.positive and value == 0):
            what = "more than 0" if self.positive else "0 or more"
            problems.append(node.problem(f"must be {what} seconds, not {_short(value)}"))
        elif value > LONGEST_TIME:
            most = f"must be at most {LONGEST_TIME:.0f} seconds, not {_short(value)}"
            problems.append(node.problem(most))
        else:
            return float(value)
        return None


class Count(Struct, frozen=True):
    """A whole number from `least` to `most`."""

    least: int
    most: int
    few: bool = False
    """Whether the upper bound is worth telling."""

    @property
    def words(self) -> str:
        return (
            f"integer, {self.least} to {self.most}"
            if self.few
            else f"integer, {self.least} or more"
        )

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def read(self, node: Node, problems: list[Problem]) -> int | None:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int):
            problems.append(node.problem(f"must be a whole number, not {kind_of(value)}"))
        elif value < self.least:
            problems.append(node.problem(f"must be {self.least} or more, not {_short(value)}"))
        elif value > self.most:
            problems.append(node.problem(f"must be {self.most} or less, not {_short(value)}"))
        else:
            return value
        return None


def _short(value: float) -> str:
    # Numbers beyond any reason are not spelled out: Python refuses to, from some length on.
    return str(value) if abs(value) < 10**15 else "that large a number"


_SIZE = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,6})?)\s*(?P<unit>[A-Za-z]*)", re.ASCII)
_UNITS = {"b": 1, "": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _UNITS |= {f"{_letter}b": 1000**_power, f"{_letter}ib": 1024**_power, _letter: 1024**_power}


class Size(Struct, frozen=True):
    """A number of bytes: an integer, or a string with a unit."""

    words: str = 'bytes, or a string as `"50MiB"`, `"50MB"`, `"50M"` (as MiB)'

    def schema(self) -> Schema:
        units = r"[kKmMgGtT]?[iI]?[bB]?"
        return {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
                {"type": "string", "pattern": rf"^[0-9]+(\.[0-9]+)?\s*{units}$"},
            ]
        }

    def read(self, node: Node, problems: list[Problem]) -> int | None:
        value = node.value
        size: int | None = None
        if isinstance(value, int) and not isinstance(value, bool):
            size = value
        elif isinstance(value, str):
            match = _SIZE.fullmatch(value)
            unit = _UNITS.get(match["unit"].lower()) if match else None
            if match and unit:
                size = round(float(match["number"]) * unit)
        if size is None:
            what = quoted(value) if isinstance(value, str) else kind_of(value)
            problems.append(node.problem(f'must be a size as 1048576 or "50MiB", not {what}'))
        elif not 0 <= size < 2**63:
            problems.append(node.problem("must be a size from 0 to 8 EiB"))
            size = None
        return size


class Octal(Struct, frozen=True):
    """A permission mask: a string of octal digits."""

    words: str = 'octal string, as `"022"`'

    def schema(self) -> Schema:
        return {"type": "string", "pattern": "^0*[0-7]{1,3}$"}

    def read(self, node: Node, problems: list[Problem]) -> int | None:
        # A number is refused: in TOML, 22 would be decimal, and 022 is not a number at all.
        if isinstance(node.value, str):
            number = octal(node.value)
            if number is not None:
                return number
        what = quoted(node.value) if isinstance(node.value, str) else kind_of(node.value)
        problems.append(node.problem(f'must be a string of octal digits as "022", not {what}'))
        return None


def octal(text: str) -> int | None:
    """Return the number that 1 to 3 octal digits (after any zeros) stand for, or None."""
    return int(text, 8) if re.fullmatch("0*[0-7]{1,3}", text) else None


class FullPath(Struct, frozen=True):
    """A path from the root."""

    words: str = "full path"

    def schema(self) -> Schema:
        return {"type": "string", "pattern": "^/"}

    def read(self, node: Node, problems: list[Problem]) -> str | None:
        path = read_text(node, problems)
        if path is None:
            return None
        if not os.path.isabs(path):
            problems.append(node.problem(f"must be a full path, not {quoted(path)}"))
            return None
        return path


class TextList(Struct, frozen=True):
    """A list of strings, or one string for a list of one."""

    words: str = "string or list of strings"

    def schema(self) -> Schema:
        return {"anyOf": [TEXT_SCHEMA, {"type": "array", "items": TEXT_SCHEMA}]}

    def read(self, node: Node, problems: list[Problem]) -> tuple[str, ...] | None:
        if isinstance(node.value, str):
            text = read_text(node, problems)
            return None if text is None else (text,)
        return read_texts(node, problems)


def read_texts(
    node: Node, problems: list[Problem], *, empty: bool = False
) -> tuple[str, ...] | None:
    """Return a list of strings; `empty` tells whether a string in it may be empty."""
    if not isinstance(node.value, tuple):
        what = f"must be a string or a list of strings, not {kind_of(node.value)}"
        problems.append(node.problem(what))
        return None
    texts = [read_text(item, problems, empty=empty) for item in node.value]
    right = tuple(text for text in texts if text is not None)
    return right if len(right) == len(texts) else None


class Labels(Struct, frozen=True):
    """A table of strings. A name has no `=` and no blanks, so that selectors can spell it."""

    words: str = "table of strings"

    def schema(self) -> Schema:
        return {
            "type": "object",
            "propertyNames": {"pattern": r"^[^=\s]+$"},
            "additionalProperties": {"type": "string"},
        }

    def read(self, node: Node, problems: list[Problem]) -> dict[str, str] | None:
        if not isinstance(node.value, dict):
            problems.append(node.problem(f"must be a table, not {kind_of(node.value)}"))
            return None
        before = len(problems)
        labels = {}
        for name, member in node.value.items():
            if not name or "=" in name or not name.isprintable() or " " in name:
                what = "is no name for a label: it must have no '=' and no blanks"
                problems.append(member.problem(what))
            text = read_text(member, problems, empty=True)
            labels[name] = text or ""
        return labels if len(problems) == before else None
