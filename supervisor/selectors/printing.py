"""The text form of selectors, written: what `parse_text` reads back as an equal selector."""

from __future__ import annotations

import json
import re
from typing import Final, assert_never

from supervisor.selectors.nodes import (
    All,
    And,
    DependentOf,
    HasLabels,
    HasMode,
    HasStatus,
    HasTag,
    HasType,
    IsActive,
    Leaf,
    Not,
    Nothing,
    Or,
    PrerequisiteOf,
    Selector,
    TagGlob,
)
from supervisor.selectors.words import RESERVED

PLAIN: Final = re.compile(r"[\w.\-/@:+%~]+")
"""What may stand without quotes."""

PATTERN: Final = re.compile(r"[\w.\-/@:+%~*?\[\]!^]+")
"""What may stand without quotes after `glob`."""

_OR, _AND, _NOT = 1, 2, 3


def to_text(selector: Selector) -> str:
    """Return the text form on one line, with the parentheses and quotes that it needs.

    A tag is written `component TAG`, so that a misspelt keyword, which is a tag to the reader,
    shows.
    """
    return _text(selector, _OR)


def leaf_text(leaf: Leaf) -> str:
    """Return the text form of a selector without another one in it."""
    match leaf:
        case All():
            return "all"
        case Nothing():
            return "none"
        case IsActive():
            return "active"
        case HasTag(tag):
            return f"component {_quoted(tag)}"
        case HasType(word):
            return f"type {word}"
        case HasMode(word):
            return f"mode {word}"
        case HasStatus(word):
            return f"status {word}"
        case TagGlob(pattern):
            return f"glob {_quoted(pattern, PATTERN)}"
        case HasLabels(labels):
            return "label " + ",".join(f"{_quoted(n)}={_quoted(v)}" for n, v in labels)
        case PrerequisiteOf(tag):
            return f"prerequisite-of {_quoted(tag)}"
        case DependentOf(tag):
            return f"dependent-of {_quoted(tag)}"
        case _:
            assert_never(leaf)


def _text(selector: Selector, binding: int) -> str:
    """Return *selector* so that it may stand where something that binds as *binding* may."""
    match selector:
        case Not(inner):
            return f"not {_text(inner, _NOT)}"
        case And(parts):
            return _joined("and", parts, _AND, binding)
        case Or(parts):
            return _joined("or", parts, _OR, binding)
        case _:
            return leaf_text(selector)


def _joined(word: str, parts: tuple[Selector, ...], own: int, binding: int) -> str:
    if not parts:
        return f"{word} ()"
    if len(parts) == 1:
        return f"{word} ({_text(parts[0], _OR)},)"
    # A part that is joined by the same word is in parentheses: it is a list of its own.
    text = f" {word} ".join(_text(part, own + 1) for part in parts)
    return f"({text})" if binding > own else text


def _quoted(value: str, plain: re.Pattern[str] = PLAIN) -> str:
    if plain.fullmatch(value) and value not in RESERVED:
        return value
    if value.isprintable() and "'" not in value:
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=not value.isprintable())
