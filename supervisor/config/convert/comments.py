"""Find the comments that fill whole lines of a source text, and the line that each is about."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

_HERE = re.compile(r"""<<(?P<tabs>-?)\s*(?P<quote>["']?)(?P<word>[A-Za-z_][\w-]*)(?P=quote)""")
_DIRECTIVE = re.compile(r"#\s*(?:include|include_once|line|warning|error|abend|[0-9]+)\b")
_COMMENTED_OUT = re.compile(r"\s*[\[\w.%-]+\s*[=\]]")


class Comment(Struct, frozen=True):
    """Lines of a comment without their signs, and the number of the line that follows it."""

    before: int
    lines: tuple[str, ...]


def of_pies(text: str) -> list[Comment]:
    """Return the comments of a file in pies' syntax: `#`, `//`, and `/* */` on lines of its own."""
    return _Scan(_pies_line).run(text)


def of_lines(text: str) -> list[Comment]:
    """Return the comments that begin with `#`: inetd.conf, Procfile."""
    return _Scan(lambda line: _after(line, "#")).run(text)


def of_ini(text: str) -> list[Comment]:
    """Return the comments of INI files and units, settings that are commented out left away."""
    return _Scan(_ini_line).run(text)


class _Scan:
    """Goes through the lines; `comment` returns what a line says as a comment, or None."""

    def __init__(self, comment: Callable[[str], str | None]) -> None:
        self.comment = comment
        self.pies = comment is _pies_line

    def run(self, text: str) -> list[Comment]:
        found: list[Comment] = []
        lines: list[str] = []
        until = ""
        """What ends the here-document or the long comment that goes on."""
        for number, line in enumerate(text.split("\n"), start=1):
            stripped = line.strip()
            if until == "*/":
                lines += _inside(stripped)
                until = "" if "*/" in stripped else until
                continue
            if until:
                until = "" if stripped == until else until
                continue
            if self.pies and stripped.startswith("/*"):
                lines += _inside(stripped)
                until = "" if "*/" in stripped[2:] else "*/"
                continue
            comment = self.comment(stripped)
            if comment is not None:
                lines.append(comment)
            elif stripped and lines:
                found.append(Comment(number, _trimmed(lines)))
                lines = []
            if self.pies and comment is None and (here := _HERE.search(line)):
                until = here["word"]
        if lines:
            found.append(Comment(len(text) + 1, _trimmed(lines)))
        return [comment for comment in found if comment.lines]


def _pies_line(line: str) -> str | None:
    if line.startswith("#") and _DIRECTIVE.match(line):
        return None
    found = _after(line, "#")
    return _after(line, "//") if found is None else found


def _ini_line(line: str) -> str | None:
    found = _after(line, "#")
    found = _after(line, ";") if found is None else found
    return "" if found is not None and _COMMENTED_OUT.match(found) else found


def _after(line: str, sign: str) -> str | None:
    return line.lstrip(sign[0]).strip() if line.startswith(sign) else None


def _inside(line: str) -> list[str]:
    """Return what a line of a `/* */` comment says; a line of signs alone says nothing."""
    inner = line.partition("*/")[0].strip().removeprefix("/*").lstrip("*").strip()
    return [inner] if inner else []


def _trimmed(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the lines without empty ones at both ends, and what cannot be printed."""
    whole = "\n".join(lines).strip("\n").split("\n")
    return tuple(printable(line) for line in whole) if any(whole) else ()


def printable(line: str) -> str:
    """Return *line* as a comment in TOML may say it: without control characters."""
    return "".join(c if c.isprintable() else " " for c in line).rstrip()


def placed(comments: Iterable[Comment], places: Iterable[int]) -> dict[int, list[str]]:
    """Return the lines of *comments* by the first of the *places* that is not before each.

    What comes behind the last place is under 0.
    """
    ordered = sorted(set(places))
    found: dict[int, list[str]] = {}
    for comment in comments:
        place = bisect_left(ordered, comment.before)
        line = ordered[place] if place < len(ordered) else 0
        found.setdefault(line, []).extend(comment.lines)
    return found
