"""The text form of selectors, read: a recursive descent that names the column of a fault.

    selector = both {"or" both}                     binds loosest
    both     = one {"and" one}
    one      = "not" one | "(" selector ")" | list | leaf
    list     = ("and" | "or") "(" [selector ","] ")"
    leaf     = "all" | "none" | "active" | TAG
             | ("component" | "tag" | "prerequisite-of" | "dependent-of") TAG
             | "type" WORD | "mode" WORD | "status" WORD | "glob" PATTERN
             | "label" NAME "=" VALUE {"," NAME "=" VALUE}

`list` writes what no operator can: the conjunction or disjunction of nothing (`and ()`) and of one
selector (`and (S,)`), which JSON has.

A word is made of letters, digits and `_ - . / @ : + % ~`, a pattern also of `* ? [ ] ! ^`. Anything
else is quoted: `'…'` takes every character as it is, `"…"` has the escapes of JSON. A tag that
equals a keyword is quoted too. Several labels are given as `label tier=web,zone=a`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final, Literal, NoReturn

from msgspec import Struct

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
from supervisor.selectors.printing import PATTERN, PLAIN
from supervisor.selectors.words import (
    MODES,
    NOT_YET,
    RESERVED,
    STATUSES,
    TYPES,
    not_yet,
    short,
    unknown,
)

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()

_PLAIN_LEAVES: Final[dict[str, Selector]] = {
    "all": All(),
    "none": Nothing(),
    "active": IsActive(),
}
_TAG_LEAVES: Final[dict[str, Callable[[str], Selector]]] = {
    "component": HasTag,
    "tag": HasTag,
    "prerequisite-of": PrerequisiteOf,
    "dependent-of": DependentOf,
}
_WORD_LEAVES: Final[dict[str, tuple[Callable[[str], Selector], tuple[str, ...]]]] = {
    "type": (HasType, TYPES),
    "mode": (HasMode, MODES),
    "status": (HasStatus, STATUSES),
}

_INSTEAD: Final = {
    "&": "; write 'and'",
    "|": "; write 'or'",
    "{": "; this looks like JSON, and text is expected here",
}
"""What people try, and what to write."""


class _Token(Struct, frozen=True):
    """A piece of the text; `column` counts characters from 1. The last one is an empty `end`."""

    kind: Literal["word", "string", "punctuation", "end"]
    value: str
    column: int

    def __str__(self) -> str:
        match self.kind:
            case "end":
                return "the end"
            case "string":
                return f"the string {short(self.value)}"
            case _:
                return short(self.value)


class _Part(Struct, frozen=True):
    """A selector that was read, how many levels it has, and the column of its deepest level."""

    selector: Selector
    levels: int
    deepest: int


def parse_text(text: str) -> Selector:
    """Read a selector from text, the whole of it; words may be joined by any white space.

    Raises:
        BadSelector: with `column N`, which counts characters from 1, line breaks too.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise BadSelector(f"column {error.start + 1}", "not UTF-8") from None
    if size > MAX_BYTES:
        raise BadSelector("column 1", f"longer than {MAX_BYTES} bytes")
    return affordable(_Parser(text).whole(), "column 1")


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._end = 0  # of the token in hand
        self._open = 0  # parentheses and `not` around the token in hand
        self._token = self._scan()

    def whole(self) -> Selector:
        part = self._selector()
        if self._token.kind != "end":
            self._expected("'and', 'or' or the end")
        return part.selector

    # --- the grammar

    def _selector(self) -> _Part:
        return self._chain("or", self._both)

    def _both(self) -> _Part:
        return self._chain("and", self._one)

    def _chain(self, word: Literal["and", "or"], read: Callable[[], _Part]) -> _Part:
        parts = [read()]
        while self._at("word", word):
            self._advance()
            parts.append(read())
        return parts[0] if len(parts) == 1 else self._joined(word, parts)

    def _joined(self, word: Literal["and", "or"], parts: list[_Part]) -> _Part:
        selectors = tuple(part.selector for part in parts)
        deepest = max(parts, key=lambda part: part.levels)
        selector = And(selectors) if word == "and" else Or(selectors)
        return self._around(selector, deepest)

    def _around(self, selector: Selector, deepest: _Part) -> _Part:
        if deepest.levels >= MAX_LEVELS:
            self._too_deep(deepest.deepest)
        return _Part(selector, deepest.levels + 1, deepest.deepest)

    def _one(self) -> _Part:
        token = self._token
        if token.kind == "string":
            self._advance()
            return _Part(HasTag(token.value), 1, token.column)
        if self._at("punctuation", "("):
            self._enter()
            part = self._selector()
            self._leave(")", "'and', 'or' or ')'")
            return part
        if token.kind != "word":
            self._expected("a selector")
        if token.value == "not":
            self._enter()
            inner = self._one()
            self._open -= 1
            return self._around(Not(inner.selector), inner)
        if token.value == "and":
            return self._list("and")
        if token.value == "or":
            return self._list("or")
        return _Part(self._leaf(), 1, token.column)

    def _list(self, word: Literal["and", "or"]) -> _Part:
        column = self._token.column
        self._advance()
        if not self._at("punctuation", "("):
            raise BadSelector(f"column {column}", f"expected a selector, found {short(word)}")
        self._enter()
        if self._at("punctuation", ")"):
            self._leave(")", "')'")
            return _Part(And(()) if word == "and" else Or(()), 1, column)
        part = self._selector()
        self._punctuation(",", f"',' (as in '{word} (S,)'; for two write 'S {word} S')")
        self._leave(")", "')' after the only selector of the list")
        return self._joined(word, [part])

    def _leaf(self) -> Selector:
        word = self._token.value
        if word in NOT_YET:
            raise BadSelector(f"column {self._token.column}", not_yet(word))
        if word not in RESERVED:
            return HasTag(self._string("a tag", "tag"))
        self._advance()
        if word in _PLAIN_LEAVES:
            return _PLAIN_LEAVES[word]
        if word in _TAG_LEAVES:
            return _TAG_LEAVES[word](self._string(f"a tag after '{word}'", "tag"))
        if word in _WORD_LEAVES:
            return self._word_leaf(word)
        if word == "glob":
            return TagGlob(self._string("a pattern after 'glob'", "pattern", PATTERN))
        return HasLabels(self._labels())

    def _word_leaf(self, word: str) -> Selector:
        make, known = _WORD_LEAVES[word]
        token = self._token
        if token.kind not in ("word", "string"):
            self._expected(f"a {word} ({', '.join(known)})")
        if token.value not in known:
            raise BadSelector(f"column {token.column}", unknown(word, token.value, known))
        self._advance()
        return make(token.value)

    def _labels(self) -> tuple[tuple[str, str], ...]:
        labels: dict[str, str] = {}
        while True:
            column = self._token.column
            name = self._string("a label NAME=VALUE", "label name")
            if name in labels:
                raise BadSelector(f"column {column}", f"the label {short(name)} is there twice")
            self._punctuation("=", "'=' after the name of a label")
            labels[name] = self._string("the value of the label", "label value")
            if not self._at("punctuation", ",") or self._closes_after_comma():
                return tuple(labels.items())
            self._advance()

    def _closes_after_comma(self) -> bool:
        """Tell whether the comma in hand is that of `and (label a=b,)`."""
        after = _SPACE.match(self._text, self._end)
        return after is not None and self._text.startswith(")", after.end())

    def _string(self, what: str, kind: str, plain: re.Pattern[str] = PLAIN) -> str:
        """Take a string, or a word that may stand for one."""
        token = self._token
        if token.kind == "word":
            where = f"column {token.column}"
            if token.value in RESERVED:
                raise BadSelector(
                    where, f"{short(token.value)} is a keyword: as a {kind} it must be quoted"
                )
            if not plain.fullmatch(token.value):
                hint = " (for a pattern write 'glob PATTERN')" if kind == "tag" else ""
                raise BadSelector(
                    where, f"a {kind} with one of * ? [ ] ! ^ in it must be quoted{hint}"
                )
        elif token.kind != "string":
            self._expected(what)
        self._advance()
        return token.value

    # --- tokens

    def _at(self, kind: str, value: str) -> bool:
        return self._token.kind == kind and self._token.value == value

    def _advance(self) -> None:
        self._token = self._scan()

    def _enter(self) -> None:
        """Step over an opening parenthesis or a `not`."""
        self._open += 1
        if self._open > MAX_LEVELS:
            self._too_deep(self._token.column)
        self._advance()

    def _leave(self, value: str, what: str) -> None:
        self._open -= 1
        self._punctuation(value, what)

    def _punctuation(self, value: str, what: str) -> None:
        if not self._at("punctuation", value):
            self._expected(what)
        self._advance()

    def _scan(self) -> _Token:
        space = _SPACE.match(self._text, self._end)
        start = space.end() if space else self._end
        column = start + 1
        if start == len(self._text):
            return _Token("end", "", column)
        if found := PATTERN.match(self._text, start):
            self._end = found.end()
            return _Token("word", found[0], column)
        char = self._text[start]
        if char in "(),=":
            self._end = column
            return _Token("punctuation", char, column)
        if char == "'":
            return self._scan_single(start)
        if char == '"':
            return self._scan_double(start)
        hint = _INSTEAD.get(char, "; quote it if it belongs to a name")
        raise BadSelector(f"column {column}", f"unexpected character {short(char)}{hint}")

    def _scan_single(self, start: int) -> _Token:
        end = self._text.find("'", start + 1)
        if end < 0:
            raise BadSelector(f"column {start + 1}", "the quote ' is not closed")
        self._end = end + 1
        return _Token("string", self._text[start + 1 : end], start + 1)

    def _scan_double(self, start: int) -> _Token:
        try:
            value, self._end = _DECODER.raw_decode(self._text, start)
        except json.JSONDecodeError as error:
            what = f"in a quoted string: {error.msg}"
            raise BadSelector(f"column {error.pos + 1}", what) from None
        if any("\ud800" <= char <= "\udfff" for char in value):
            what = "the string holds half a character (a lone surrogate)"
            raise BadSelector(f"column {start + 1}", what)
        return _Token("string", value, start + 1)

    # --- faults

    def _expected(self, what: str) -> NoReturn:
        raise BadSelector(f"column {self._token.column}", f"expected {what}, found {self._token}")

    def _too_deep(self, column: int) -> NoReturn:
        raise BadSelector(f"column {column}", f"more than {MAX_LEVELS} levels")
