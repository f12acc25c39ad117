"""Expand `$name` and its relatives in a text, and split it into words, as a shell does.

No commands are run and no file names are looked up: `$(`, a backquote and `*` stand for themselves.

Source: pies.md section 1.3 for the forms; POSIX Shell Command Language, 2.2, 2.6.2 and 2.6.5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import NamedTuple

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-=?+]")
_BLANKS = " \t\n"

_DEEPEST = 50
"""References within references; more is a mistake, or an attack on our stack."""

_LONGEST = 1 << 20
"""Characters of a result. The kernel takes no more than 128 KiB in one word or variable."""


class ExpansionError(ValueError):
    """A text that cannot be expanded. `position` counts characters from 1."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"column {position}: {message}")
        self.message, self.position = message, position


class _Text(NamedTuple):
    text: str
    quoted: bool


class _Reference(NamedTuple):
    name: str
    operator: str
    """Without the colon; empty for a plain reference."""
    colon: bool
    word: tuple[_Text | _Reference, ...]
    written: str
    """The word as it stands in the text, for people."""
    quoted: bool
    position: int


_Piece = _Text | _Reference


def check(text: str) -> None:
    """Find the mistakes that can be found without knowing any variable.

    Raises:
        ExpansionError: there is one.
    """
    _Parser(text, quotes=True).whole()


def expand(text: str, env: MutableMapping[str, str], *, quotes: bool = True) -> str:
    """Return *text* with its references replaced and its quotes removed, as one string.

    `${name:=word}` sets the variable in *env*.

    Args:
        quotes: False to leave quotes and backslashes as they are, but for a backslash before `$`.

    Raises:
        ExpansionError: with the reason; it never contains the value of a variable.
    """
    return "".join(part.text for part in _Values(env).of(_Parser(text, quotes=quotes).whole()))


def split(text: str, env: MutableMapping[str, str]) -> list[str]:
    """Return the words of *text*; an expansion that is not in quotes is split at its blanks too.

    Raises:
        ExpansionError: as `expand`.
    """
    words: list[str] = []
    word: str | None = None
    for part in _Values(env).of(_Parser(text, quotes=True).whole()):
        if part.quoted:
            word = (word or "") + part.text
            continue
        for run in re.findall(f"[{_BLANKS}]+|[^{_BLANKS}]+", part.text):
            if run[0] not in _BLANKS:
                word = (word or "") + run
            elif word is not None:
                words.append(word)
                word = None
    if word is not None:
        words.append(word)
    return words


class _Values:
    """Replaces pieces by what they stand for."""

    def __init__(self, env: MutableMapping[str, str]) -> None:
        self._env = env
        self._length = 0

    def of(self, pieces: tuple[_Piece, ...]) -> list[_Text]:
        found: list[_Text] = []
        for piece in pieces:
            found += [piece] if isinstance(piece, _Text) else self._value(piece)
        return found

    def _value(self, reference: _Reference) -> list[_Text]:
        value = self._env.get(reference.name)
        there = bool(value) if reference.colon else value is not None
        match reference.operator:
            case "+":
                return self.of(reference.word) if there else []
            case "-" if not there:
                return self.of(reference.word)
            case "=" if not there:
                value = "".join(part.text for part in self.of(reference.word))
                self._env[reference.name] = value
            case "?" if not there:
                why = reference.written or ("is empty or not set" if reference.colon else "not set")
                raise ExpansionError(f"{reference.name}: {why}", reference.position)
        self._length += len(value or "")
        if self._length > _LONGEST:
            raise ExpansionError(
                f"the result is longer than {_LONGEST} characters", reference.position
            )
        # An unquoted empty value is no word, a quoted one is.
        return [_Text(value or "", reference.quoted)] if value or reference.quoted else []


class _Parser:
    """Reads one text from its beginning to its end."""

    def __init__(self, text: str, *, quotes: bool) -> None:
        self._text = text
        self._quotes = quotes
        self._at = 0
        self._depth = 0

    def whole(self) -> tuple[_Piece, ...]:
        return self._pieces(until="", within=not self._quotes)

    def _pieces(self, *, until: str, within: bool) -> tuple[_Piece, ...]:
        """Read up to the character *until*, which is left unread, or to the end.

        Args:
            within: this is inside double quotes.
        """
        text, pieces = self._text, list[_Piece]()
        while self._at < len(text) and text[self._at] != until:
            sign = text[self._at]
            if sign == "$":
                pieces.append(self._dollar(quoted=within))
            elif sign == "\\":
                pieces.append(self._backslash(within=within, until=until))
            elif sign == '"' and until != '"' and self._quotes:
                pieces += self._double_quotes()
            elif sign == "'" and not within:
                pieces.append(self._single_quotes())
            else:
                pieces.append(self._plain(until, within=within))
        return tuple(pieces)

    def _plain(self, until: str, *, within: bool) -> _Text:
        begin = self._at
        self._at += 1
        stops = "$\\\"'" + until
        while self._at < len(self._text) and self._text[self._at] not in stops:
            self._at += 1
        return _Text(self._text[begin : self._at], within)

    def _backslash(self, *, within: bool, until: str) -> _Text:
        follower = self._text[self._at + 1 : self._at + 2]
        self._at += 2
        if not self._quotes:
            return _Text("$" if follower == "$" else "\\" + follower, quoted=True)
        if not follower:
            raise ExpansionError("nothing follows the backslash", self._at - 1)
        if follower == "\n":
            return _Text("", quoted=False)
        if within and follower not in '$`"\\' + until:
            return _Text("\\" + follower, quoted=True)
        return _Text(follower, quoted=True)

    def _single_quotes(self) -> _Text:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise ExpansionError("this quote is never closed", self._at + 1)
        inside = self._text[self._at + 1 : end]
        self._at = end + 1
        return _Text(inside, quoted=True)

    def _double_quotes(self) -> tuple[_Piece, ...]:
        opened = self._at + 1
        self._at += 1
        pieces = self._pieces(until='"', within=True)
        if self._at >= len(self._text):
            raise ExpansionError("this quote is never closed", opened)
        self._at += 1
        return (_Text("", quoted=True), *pieces)  # Even `""` is a word.

    def _dollar(self, *, quoted: bool) -> _Piece:
        begin = self._at
        self._at += 1
        if self._text[self._at : self._at + 1] == "{":
            return self._braces(begin, quoted=quoted)
        name = _NAME.match(self._text, self._at)
        if name is None:
            return _Text("$", quoted)  # As in "5$", "$(" and "$1": nothing that we expand.
        self._at = name.end()
        return _Reference(name[0], "", False, (), "", quoted, begin + 1)

    def _braces(self, begin: int, *, quoted: bool) -> _Reference:
        name = _NAME.match(self._text, begin + 2)
        if name is None:
            raise ExpansionError("'${' without the name of a variable", begin + 1)
        self._at = name.end()
        operator = _OPERATOR.match(self._text, self._at)
        word: tuple[_Piece, ...] = ()
        written = ""
        if operator is not None:
            self._at = operator.end()
            self._depth += 1
            if self._depth > _DEEPEST:
                raise ExpansionError(f"more than {_DEEPEST} references in each other", begin + 1)
            word = self._pieces(until="}", within=quoted)
            self._depth -= 1
            written = self._text[operator.end() : self._at]
        if self._at >= len(self._text):
            raise ExpansionError("'${' without its '}'", begin + 1)
        if self._text[self._at] != "}":
            raise ExpansionError(
                f"'{self._text[self._at]}' after the name {name[0]!r}: "
                "only - = ? + are known here, each with or without ':'",
                self._at + 1,
            )
        self._at += 1
        sign = "" if operator is None else operator[0]
        return _Reference(name[0], sign[-1:], sign[:1] == ":", word, written, quoted, begin + 1)


def expanded(words: tuple[str, ...], env: Mapping[str, str]) -> list[str]:
    """Return *words*, each with its references replaced, and none of them split or unquoted.

    Raises:
        ExpansionError: as `expand`.
    """
    known = dict(env)
    return [expand(word, known, quotes=False) for word in words]
