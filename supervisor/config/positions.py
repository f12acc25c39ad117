"""Find the line of every key and list element of a valid TOML document."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

from msgspec import Struct

# None of these can take long on any text: no repetition holds another one that it can trade
# characters with. Possessive ones would say so better, and are broken in Python 3.11.2.
_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_LONG_BASIC_STEP = re.compile(r'\\.|"""', re.DOTALL)
_LONG_LITERAL_STEP = re.compile("'''")
# Up to two quotes may stand directly before the three that close a multi-line string.
_MORE_QUOTES = re.compile("\"{0,2}'{0,2}")
# Numbers, booleans and dates, the blank between a date and a time included.
_PLAIN = re.compile(r"[^,\]}\n#]+")

# What nearly all lines are, in one step each: a bare key with a value on one line, a bare header.
_EASY_PAIR = re.compile(
    r"""([A-Za-z0-9_-]+)[ \t]*=[ \t]*"""
    r"""(?:"[^"\\\n]*"(?!")|'[^'\n]*'(?!')|[^\s"'\[{][^,\]}\n#]*)"""
)
_EASY_KEY = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*(?=[ \t]*[]=])")


class Spot(Struct):
    """The line of one value, and the spots of what is in it."""

    line: int
    members: dict[str, Spot] | None = None
    items: list[Spot] | None = None

    def member(self, name: str, line: int) -> Spot:
        """Return the spot of the member *name*, made with *line* if it is new."""
        if self.members is None:
            self.members = {}
        return self.members.setdefault(name, Spot(line))

    def latest(self) -> Spot:
        """Return the table meant by a key that goes through this value."""
        return self.items[-1] if self.items else self


def positions(text: str) -> Spot:
    """Return where everything in *text* stands.

    Args:
        text: TOML that `tomllib` accepts, with line feeds alone. Of anything else the result is
            unspecified, but the function still ends.
    """
    return _Scanner(text).document()


class _Scanner:
    """Walks the text once. It relies on the text being valid and checks nothing."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.newlines = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> Spot:
        root = Spot(1)
        table = root
        while self._skip(_BLANK) < len(self.text):
            before = self.at
            if self.text.startswith("[[", self.at):
                table = self._header(root, many=True)
            elif self.text.startswith("[", self.at):
                table = self._header(root, many=False)
            else:
                self._pair(table)
            if self.at == before:  # Not valid after all: never loop on it.
                self.at += 1
        return root

    def _header(self, root: Spot, *, many: bool) -> Spot:
        line = self._line()
        self.at += 2 if many else 1
        *parents, last = self._key()
        self.at += 2 if many else 1
        spot = root
        for name in parents:
            spot = spot.member(name, line).latest()
        spot = spot.member(last, line)
        if many:
            if spot.items is None:
                spot.items = []
            spot.items.append(Spot(line))
            return spot.items[-1]
        spot.line = line  # It may have been mentioned in the header of a table below it.
        return spot

    def _pair(self, table: Spot) -> None:
        line = self._line()
        easy = _EASY_PAIR.match(self.text, self.at)
        if easy:
            self.at = easy.end()
            table.member(easy[1], line)
            return
        *parents, last = self._key()
        self._skip(_SPACE)
        self.at += 1  # the equals sign
        self._skip(_SPACE)
        for name in parents:
            table = table.member(name, line)
        self._value(table.member(last, line))

    def _key(self) -> list[str]:
        easy = _EASY_KEY.match(self.text, self.at)
        if easy:
            self.at = easy.end()
            return easy[0].split(".")
        names = []
        while True:
            self._skip(_SPACE)
            names.append(self._name())
            self._skip(_SPACE)
            if not self.text.startswith(".", self.at):
                return names
            self.at += 1

    def _name(self) -> str:
        if self.text.startswith("'", self.at):
            return self._take(_LITERAL)[1:-1]
        if self.text.startswith('"', self.at):
            raw = self._take(_BASIC)
            if "\\" not in raw:
                return raw[1:-1]
            return str(tomllib.loads(f"name = {raw}")["name"])
        return self._take(_BARE)

    def _value(self, spot: Spot) -> None:
        text, at = self.text, self.at
        if text.startswith("[", at):
            self._list(spot)
        elif text.startswith("{", at):
            self._inline(spot)
        elif text.startswith('"""', at):
            self._long(_LONG_BASIC_STEP)
        elif text.startswith("'''", at):
            self._long(_LONG_LITERAL_STEP)
        elif text.startswith('"', at):
            self._skip(_BASIC)
        elif text.startswith("'", at):
            self._skip(_LITERAL)
        else:
            self._skip(_PLAIN)

    def _list(self, spot: Spot) -> None:
        spot.items = []
        self.at += 1
        while self._skip(_BLANK) < len(self.text) and not self.text.startswith("]", self.at):
            before = self.at
            item = Spot(self._line())
            spot.items.append(item)
            self._value(item)
            self._comma()
            if self.at == before:
                return
        self.at += 1

    def _inline(self, spot: Spot) -> None:
        spot.members = {}
        self.at += 1
        while self._skip(_BLANK) < len(self.text) and not self.text.startswith("}", self.at):
            before = self.at
            self._pair(spot)
            self._comma()
            if self.at == before:
                return
        self.at += 1

    def _long(self, step: re.Pattern[str]) -> None:
        """Go behind a multi-line string; *step* finds its end, or what cannot be its end."""
        self.at += 3
        while match := step.search(self.text, self.at):
            self.at = match.end()
            if not match[0].startswith("\\"):
                self._skip(_MORE_QUOTES)
                return
        self.at = len(self.text)

    def _comma(self) -> None:
        self._skip(_BLANK)
        if self.text.startswith(",", self.at):
            self.at += 1

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.at)
        if match:
            self.at = match.end()
        return self.at

    def _take(self, pattern: re.Pattern[str]) -> str:
        start = self.at
        return self.text[start : self._skip(pattern)]

    def _line(self) -> int:
        return bisect_right(self.newlines, self.at) + 1
