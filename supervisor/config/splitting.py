"""Split text into words as a shell does, in time that grows with the text alone.

`shlex.split` takes quadratic time for a long word: a minute for two million characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_PIECE = re.compile(
    r"""
    (?P<blank> [ \t\r\n]+ ) | (?P<plain> [^ \t\r\n'"\\]+ )
  | '(?P<single> [^']* )' | "(?P<double> [^"\\]* (?: \\[\s\S] [^"\\]* )* )"
  | \\(?P<escaped> [\s\S] ) | (?P<open> ['"\\] )
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r'\\(["\\])')


def split_words(text: str) -> list[str]:
    """Return the words that `shlex.split` would return.

    Raises:
        ValueError: a quotation mark is not closed, or a backslash stands at the end.
    """
    return [word for word, _ in _words(text)]


def written_words(text: str) -> list[str]:
    """Return the words as they are written, with their quotation marks and backslashes.

    Raises:
        ValueError: as for `split_words`.
    """
    return [text[place] for _, place in _words(text)]


def _words(text: str) -> Iterator[tuple[str, slice]]:
    """Yield each word, and where it stands."""
    parts: list[str] = []
    start = 0
    for piece in _PIECE.finditer(text):
        kind, at = piece.lastgroup, piece.start()
        if kind == "blank":
            if parts:
                yield "".join(parts), slice(start, at)
            parts = []
            continue
        if kind == "open":
            raise ValueError("No escaped character" if piece[0] == "\\" else "No closing quotation")
        if not parts:
            start = at
        found = piece[kind or 0]
        parts.append(_ESCAPE.sub(r"\1", found) if kind == "double" else found)
    if parts:
        yield "".join(parts), slice(start, len(text))
