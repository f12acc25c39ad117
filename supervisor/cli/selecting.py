"""Selectors as words of a command line."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supervisor.client import Selector as SelectorJson
    from supervisor.selectors import Selector


class _Tag(click.ParamType[str]):
    """The tag of a component; an empty one would ask for something else."""

    name = "tag"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value:
            self.fail("a tag is not empty", param, ctx)
        return value


TAG = _Tag()
"""What the argument of a command is that asks about one component."""

_SIMPLE = re.compile(r"[\w.:@/%+~,=()-]+")
_JSON_WORDS = frozenset({"true", "false", "null"})


def read_json(words: Sequence[str]) -> SelectorJson:
    """Return the JSON form of the selector that *words* are; see `read`."""
    from supervisor.selectors import to_json

    return to_json(read(words))


def read(words: Sequence[str]) -> Selector:
    """Read a selector given as JSON, as one text, or as separate words.

    What the shell has taken the quotes from gets them back where the text means nothing without:
    `glob '*.d'` arrives as two words, the second of which only a quoted string can be.

    Raises:
        click.BadParameter: it means nothing; the message names the place.
    """
    from supervisor.model.errors import BadSelector
    from supervisor.selectors import parse_json, parse_text

    text = " ".join(words)
    try:
        if looks_like_json(text):
            return parse_json(text)
        try:
            return parse_text(text)
        except BadSelector:
            quoted = " ".join(word if _SIMPLE.fullmatch(word) else _quote(word) for word in words)
            if len(words) == 1 or quoted == text:
                raise
            return parse_text(quoted)
    except BadSelector as fault:
        raise click.BadParameter(f"{fault.where}: {fault.what}", param_hint="SELECTOR") from None


def looks_like_json(text: str) -> bool:
    """Return whether *text* is meant as JSON."""
    stripped = text.strip()
    return stripped.startswith(("{", "[")) or stripped in _JSON_WORDS


def _quote(word: str) -> str:
    return f"'{word}'" if "'" not in word else json.dumps(word)
