"""The JSON form of selectors: a strict reader that names the place of a fault, and a writer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, assert_never

from supervisor.model.errors import BadSelector
from supervisor.selectors.cost import affordable
from supervisor.selectors.nodes import (
    MAX_BYTES,
    MAX_LEVELS,
    All,
    And,
    DependentOf,
    HasLabels,
    HasMode,
    HasStatus,
    HasTag,
    HasType,
    IsActive,
    Not,
    Nothing,
    Or,
    PrerequisiteOf,
    Selector,
    TagGlob,
)
from supervisor.selectors.words import (
    MODES,
    NOT_YET,
    STATUSES,
    TYPES,
    nearest,
    not_yet,
    short,
    unknown,
)

Json = bool | str | list["Json"] | dict[str, "Json"]
"""What a selector is written as. (`null` is read, never written.)"""

_PLAIN: Final[dict[str, type[All | Nothing | IsActive]]] = {
    "all": All,
    "none": Nothing,
    "active": IsActive,
}
_WITH_STRING: Final[dict[str, Callable[[str], Selector]]] = {
    "component": HasTag,
    "tag": HasTag,
    "glob": TagGlob,
    "prerequisite-of": PrerequisiteOf,
    "dependent-of": DependentOf,
}
_WITH_WORD: Final[dict[str, tuple[Callable[[str], Selector], tuple[str, ...]]]] = {
    "type": (HasType, TYPES),
    "mode": (HasMode, MODES),
    "status": (HasStatus, STATUSES),
}
_WITH_LIST: Final[dict[str, type[And | Or]]] = {"and": And, "or": Or}

OPS: Final = (*_PLAIN, *_WITH_STRING, *_WITH_WORD, "not", *_WITH_LIST, "label")
"""Every op that is understood."""

# More brackets than 64 levels can need. json.loads recurses, and would tell us no position.
_MAX_BRACKETS = 4 * MAX_LEVELS
# A string that is never closed reaches to the end. No possessive quantifiers: early releases of
# Python 3.11 have them wrong.
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Members:
    """A JSON object as it was written: a dict would hide members that are there twice."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        self.pairs = pairs


def parse_json(source: bytes | str) -> Selector:
    """Read a selector from JSON text.

    Raises:
        BadSelector: with `column N` for a fault of the JSON itself (columns count characters from
            1, line breaks too), with the JSON path for a fault of the selector.
    """
    text = _decoded(source)
    if text.count("[") + text.count("{") > _MAX_BRACKETS:
        _check_brackets(text)
    try:
        # No selector holds a number, so the reader will refuse it with its path. Only integers of
        # thousands of digits would stop json.loads before that, hence parse_int.
        value = json.loads(text, object_pairs_hook=_Members, parse_int=float, parse_constant=float)
    except json.JSONDecodeError as error:
        raise BadSelector(f"column {error.pos + 1}", f"not JSON: {error.msg}") from None
    return affordable(_read(value, "$", 1), "$")


def from_json(value: object) -> Selector:
    """Read a selector from decoded JSON: what `json` or `msgspec` make of it.

    Prefer `parse_json` where the text is at hand: it sees members that are there twice, and
    limits the length.

    Raises:
        BadSelector: with the JSON path of the fault.
    """
    return _read(value, "$", 1)


def to_json(selector: Selector) -> Json:
    """Return the JSON form, ready for any JSON encoder: the inverse of `from_json`.

    Everything and nothing are written `true` and `false`, which is all that pies knows.
    """
    match selector:
        case All():
            return True
        case Nothing():
            return False
        case IsActive():
            return {"op": "active"}
        case HasTag(tag):
            return {"op": "component", "arg": tag}
        case HasType(word):
            return {"op": "type", "arg": word}
        case HasMode(word):
            return {"op": "mode", "arg": word}
        case HasStatus(word):
            return {"op": "status", "arg": word}
        case TagGlob(pattern):
            return {"op": "glob", "arg": pattern}
        case HasLabels(labels):
            return {"op": "label", "arg": dict(labels)}
        case PrerequisiteOf(tag):
            return {"op": "prerequisite-of", "arg": tag}
        case DependentOf(tag):
            return {"op": "dependent-of", "arg": tag}
        case Not(inner):
            return {"op": "not", "arg": to_json(inner)}
        case And(parts):
            return {"op": "and", "arg": [to_json(part) for part in parts]}
        case Or(parts):
            return {"op": "or", "arg": [to_json(part) for part in parts]}
        case _:
            assert_never(selector)


def _decoded(source: bytes | str) -> str:
    try:
        data = source if isinstance(source, bytes) else source.encode()
        text = data.decode()
    except UnicodeDecodeError as error:
        column = len(error.object[: error.start].decode()) + 1
        raise BadSelector(f"column {column}", "not UTF-8") from None
    except UnicodeEncodeError as error:
        raise BadSelector(f"column {error.start + 1}", "not UTF-8") from None
    if len(data) > MAX_BYTES:
        raise BadSelector("$", f"longer than {MAX_BYTES} bytes")
    return text


def _check_brackets(text: str) -> None:
    depth = 0
    for found in _BRACKETS.finditer(text):
        if found[0] in "[{":
            depth += 1
            if depth > _MAX_BRACKETS:
                where = f"column {found.start() + 1}"
                raise BadSelector(where, f"more than {MAX_LEVELS} levels")
        elif found[0] in "]}":
            depth -= 1


def _read(value: object, path: str, level: int) -> Selector:
    if level > MAX_LEVELS:
        raise BadSelector(path, f"more than {MAX_LEVELS} levels")
    if value is True:
        return All()
    if value is False or value is None:
        return Nothing()
    if isinstance(value, _Members | Mapping):
        return _read_object(_members(value, path), path, level)
    raise _unexpected("a selector (true, false, null or an object)", value, path)


def _read_object(members: dict[str, object], path: str, level: int) -> Selector:
    if "op" not in members:
        raise BadSelector(path, 'the member "op" is missing')
    op = _string(members.pop("op"), f"{path}.op")
    if op in NOT_YET:
        raise BadSelector(f"{path}.op", not_yet(op))
    if op not in OPS:
        raise BadSelector(f"{path}.op", unknown("op", op, OPS))
    for name in members:
        if name != "arg":
            hint = nearest(name, ("op", "arg"))
            raise BadSelector(path + _step(name), f"unknown member {short(name)}{hint}")
    where = f"{path}.arg"
    if op in _PLAIN:
        if "arg" in members:
            raise BadSelector(where, f"{short(op)} takes no argument")
        return _PLAIN[op]()
    if "arg" not in members:
        raise BadSelector(path, f'{short(op)} needs the member "arg"')
    return _read_argument(op, members["arg"], where, level)


def _read_argument(op: str, arg: object, path: str, level: int) -> Selector:
    if op == "not":
        return Not(_read(arg, path, level + 1))
    if op in _WITH_LIST:
        if not isinstance(arg, list | tuple):
            raise _unexpected("an array of selectors", arg, path)
        parts = (_read(part, f"{path}[{n}]", level + 1) for n, part in enumerate(arg))
        return _WITH_LIST[op](tuple(parts))
    if op in _WITH_STRING:
        return _WITH_STRING[op](_string(arg, path))
    if op in _WITH_WORD:
        make, known = _WITH_WORD[op]
        word = _string(arg, path)
        if word not in known:
            raise BadSelector(path, unknown(op, word, known))
        return make(word)
    return HasLabels(_labels(arg, path))


def _labels(arg: object, path: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(arg, _Members | Mapping):
        raise _unexpected("an object of labels", arg, path)
    labels = _members(arg, path)
    if not labels:
        # As a conjunction it would match everything: nobody who writes it means that.
        raise BadSelector(path, "expected at least one label")
    return tuple((name, _string(value, path + _step(name))) for name, value in labels.items())


def _members(value: _Members | Mapping[Any, object], path: str) -> dict[str, object]:
    pairs = value.pairs if isinstance(value, _Members) else value.items()
    members: dict[str, object] = {}
    for key, member in pairs:
        name = _string(key, path)
        if name in members:
            raise BadSelector(path + _step(name), "the member is there twice")
        members[name] = member
    return members


def _string(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise _unexpected("a string", value, path)
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise BadSelector(path, "the string holds half a character (a lone surrogate)")
    return value


def _step(name: str) -> str:
    """Return the step of a JSON path to the member *name*."""
    if len(name) <= 40 and _IDENTIFIER.fullmatch(name):
        return f".{name}"
    return f"[{short(name)}]"


def _unexpected(what: str, value: object, path: str) -> BadSelector:
    match value:
        case bool():
            found = "true" if value else "false"
        case None:
            found = "null"
        case str():
            found = f"the string {short(value)}"
        case int() | float():
            found = "a number"
        case list() | tuple():
            found = "an array"
        case _Members() | Mapping():
            found = "an object"
        case _:
            found = type(value).__name__
    return BadSelector(path, f"expected {what}, found {found}")
