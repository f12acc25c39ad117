"""The query string: parameters read strictly, and selectors in both of their forms."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from math import isfinite
from urllib.parse import unquote_plus, unquote_to_bytes

from supervisor.model.errors import BadRequest
from supervisor.selectors import Selector, parse_json

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_TRUE, _FALSE = ("true", "1", "yes", ""), ("false", "0", "no")


class Query:
    """The parameters of one request, and the selector.

    An unknown parameter is refused: `dry_run=true` must not become an order.

    The selector is the parameter `selector`, or as pies has it the query itself, which parameters
    may follow: `?{"op":"active"}&wait=5`. There `+` is a plus sign; in a parameter it is a space.

    Args:
        raw: the query string as it came, percent-encoded or not.
        allowed: the parameters that mean something here.

    Raises:
        BadRequest
    """

    def __init__(self, raw: bytes, allowed: Collection[str]) -> None:
        self._values: dict[str, str] = {}
        self._selector: bytes | None = None
        text = raw.decode("latin-1")
        if "selector" in allowed:
            text = self._take_selector(text, allowed)
        for piece in filter(None, text.split("&")):
            name, _, value = piece.partition("=")
            self._add(_decode(name), _decode(value), allowed)

    def _take_selector(self, text: str, allowed: Collection[str]) -> str:
        """Take pies' form of a selector from the front; return the rest."""
        first = text.partition("&")[0]
        name, equals, _ = first.partition("=")
        if not text or (_NAME.fullmatch(name) and (equals or name in allowed)):
            return text
        pieces = text.split("&")
        end = len(pieces)
        while end > 1 and pieces[end - 1].partition("=")[0] in allowed:
            end -= 1
        self._selector = unquote_to_bytes("&".join(pieces[:end]).encode("latin-1"))
        return "&".join(pieces[end:])

    def _add(self, name: str, value: str, allowed: Collection[str]) -> None:
        if name == "query":
            raise BadRequest("cannot use the parameter 'query': it is not supported yet")
        if name not in allowed:
            near = difflib.get_close_matches(name[:40], list(allowed), 1)
            error = BadRequest(f"cannot use the parameter {name[:40]!r}: it means nothing here")
            known = ", ".join(sorted(allowed)) or "none"
            error.hint = f"Did you mean {near[0]!r}?" if near else f"Known: {known}."
            raise error
        if name in self._values or (name == "selector" and self._selector is not None):
            raise BadRequest(f"cannot use the parameter {name!r} twice")
        self._values[name] = value

    def selector(self) -> Selector | None:
        """Return the selector, or None if there is none.

        Raises:
            BadSelector
        """
        if self._selector is not None:
            return parse_json(self._selector)
        text = self._values.get("selector")
        return None if text is None else parse_json(text)

    def text(self, name: str) -> str | None:
        """Return a parameter as it is."""
        return self._values.get(name)

    def words(self, name: str) -> tuple[str, ...]:
        """Return a comma-separated parameter."""
        return tuple(word for word in self._values.get(name, "").split(",") if word)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a parameter that is true or false."""
        value = self._values.get(name)
        if value is None:
            return default
        if value.lower() in _TRUE:
            return True
        if value.lower() in _FALSE:
            return False
        raise _bad(name, value, "true or false")

    def number(self, name: str, *, most: int = 2**53) -> int | None:
        """Return a whole number from 0 up; more than *most* is a fault."""
        value = self._values.get(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= 16 and int(value) <= most):
            raise _bad(name, value, f"a whole number from 0 to {most}")
        return int(value)

    def seconds(self, name: str) -> float | None:
        """Return a length of time."""
        value = self._values.get(name)
        if value is None:
            return None
        try:
            seconds = float(value)
        except ValueError:
            raise _bad(name, value, "a number of seconds") from None
        if not isfinite(seconds) or seconds < 0:
            raise _bad(name, value, "a number of seconds from 0 up")
        return seconds


def _decode(text: str) -> str:
    try:
        return unquote_plus(text.encode("latin-1").decode(), errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("cannot read the query: it is not UTF-8") from None


def _bad(name: str, value: str, expected: str) -> BadRequest:
    return BadRequest(f"cannot use {name}={value[:40]!r}: expected {expected}")
