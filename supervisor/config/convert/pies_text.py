"""Print values in pies' syntax: words, strings, lists, here-documents, rules of access."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORD = re.compile(r"[A-Za-z0-9_\-./@*:]+|SIG\+[0-9]+", re.ASCII)
_COMMENT = re.compile(r"//|/\*")
_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}
_COMMA = re.compile(r"\s*,\s*")
_FOR_M4 = re.compile(r"`|\b(?:m4_[a-z]|__(?:gnu|unix|windows|os2)__)")


def value(text: str) -> str:
    """Return *text* as it is if it can stand so, else in double quotes."""
    if _WORD.fullmatch(text) and not _COMMENT.search(text):
        return text
    return string(text)


def string(text: str) -> str:
    """Return *text* in double quotes."""
    return f'"{"".join(_ESCAPES.get(character, character) for character in text)}"'


def listed(texts: Iterable[str]) -> str:
    """Return a list; one value stands alone."""
    values = [value(text) for text in texts]
    return values[0] if len(values) == 1 else f"({', '.join(values)})"


def long_text(text: str) -> str:
    """Return a text of several lines as a here-document if it can be one, else as a string.

    The closing word stands on the last line; nothing but a line break may follow it.
    """
    if "\n" not in text[:-1] or not text.endswith("\n") or "\r" in text:
        return f"{string(text)};"
    word = "EOT"
    while word in text:
        word += "X"
    return f'<<"{word}"\n{text}{word}'


def rule(text: str) -> str:
    """Return a rule of an access control list."""
    words = _COMMA.sub(",", text).split()
    return " ".join(listed(word.split(",")) if "," in word else value(word) for word in words)


def is_changed_by_m4(text: str) -> bool:
    """Return whether the usual preprocessor would make something else of *text*."""
    return bool(_FOR_M4.search(text))
