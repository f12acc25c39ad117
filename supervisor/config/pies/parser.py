"""Make statements of tokens, and go on after each fault with the next statement.

    file       = { statement }
    statement  = KEYWORD { value } ( ";" | block [ ";" ] )   no ";" need follow a here-document
    block      = "{" { statement } "}"
    value      = WORD | STRING { STRING } | HERE-DOCUMENT | list
    list       = "(" [ value { "," value } [ "," ] ] ")"

Source: pies.md section 1.0. The grammar fits on five lines; most of this module is about saying
well what does not follow it. A parser generator would have to be told of includes, which put
another file between any two tokens, and of the places where reading can go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from supervisor.config.files import DEEPEST
from supervisor.config.pies import words
from supervisor.config.pies.faults import Faults, Stopped
from supervisor.config.pies.lexer import Token
from supervisor.config.tables import dotted, quoted
from supervisor.model.component import Where
from supervisor.model.errors import Problem

_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_AFTER_VALUES = (";", "{", "}")


class Value(Struct, frozen=True):
    """A word, a string, or (with `items`) a list, in which `text` is empty.

    `here` tells whether it was a here-document.
    """

    text: str
    file: str
    line: int
    items: tuple[Value, ...] | None = None
    here: bool = False


class Statement(Struct):
    """A keyword with its values: before the block, if it has one, these are its label."""

    keyword: str
    file: str
    line: int
    path: str
    """The dotted path of the keyword and the blocks around it, for messages."""
    values: list[Value]
    body: list[Statement] | None = None
    damage: Problem | None = None
    """Why something in its block could not be read: what is missing may have stood there."""


def parse(tokens: Iterator[Token], file: str, faults: Faults) -> list[Statement]:
    """Return the statements of a file; what is wrong with its syntax goes to *faults*.

    Raises:
        Stopped: there is too much that is wrong.
    """
    return _Parser(tokens, file, faults).statements()


class _Parser:
    def __init__(self, tokens: Iterator[Token], file: str, faults: Faults) -> None:
        self.tokens, self.faults = tokens, faults
        self.open: list[Statement] = []
        self.top: list[Statement] = []
        self.last = Token("sign", "", file, 1)
        """The token that was taken before the one that is looked at."""
        self.now: Token | None = None
        self._take()

    def _take(self) -> None:
        """Go on to the next token."""
        if self.now is not None:
            self.last = self.now
        self.now = next(self.tokens, None)

    def _sign(self) -> str:
        """Return the sign that is next, `end` behind the last token, or nothing at other tokens."""
        if self.now is None:
            return "end"
        return self.now.text if self.now.kind == "sign" else ""

    # --- statements

    def statements(self) -> list[Statement]:
        while self.now is not None:
            match self._sign():
                case ";":
                    self._take()
                case "}":
                    self._close()
                case _ if self.now.kind == "word" and _KEYWORD.fullmatch(self.now.text):
                    self._statement(self.now)
                case _:
                    self._unexpected(self.now)
        for statement in reversed(self.open):
            self._not_closed(statement, statement.file, statement.line)
        return self.top

    def _body(self) -> list[Statement]:
        inner = self.open[-1].body if self.open else self.top
        return self.top if inner is None else inner

    def _close(self) -> None:
        if self.open:
            self.open.pop()
        elif self.now is not None:
            self._fault(self.now, "a '}' closes nothing here")
        self._take()

    def _statement(self, token: Token) -> None:
        if token.text == "component" and self.open:
            # No block may hold a component: somebody has forgotten a brace.
            self._not_closed(self.open[-1], token.file, token.line)
            self.open.clear()
        outer = self.open[-1].path if self.open else ""
        statement = Statement(
            token.text, token.file, token.line, dotted(outer, token.text[:60]), []
        )
        self._body().append(statement)
        self._take()
        ended = self._values(statement)
        if ended or self._sign() == ";":
            if self._sign() == ";":
                self._take()
        elif self._sign() == "{":
            self._take()
            self._begin(statement)
        else:
            self._no_semicolon(statement)

    def _begin(self, statement: Statement) -> None:
        statement.body = []
        if statement.values and statement.keyword in words.BLOCKS - {"return-code"}:
            statement.path = dotted(statement.path, statement.values[0].text[:60])
        self.open.append(statement)
        if len(self.open) > DEEPEST:
            what = f"blocks are nested more than {DEEPEST} deep: the rest is not read"
            self._fault(self.last, what)
            raise Stopped

    def _no_semicolon(self, statement: Statement) -> None:
        """Say what is missing behind the last value, where a statement ends without its sign."""
        end = self.last
        if statement.keyword in words.BLOCKS and self._sign() != "}" and self.now is not None:
            self.faults.at(end.file, end.line, "its '{' is missing", statement.path)
            self._begin(statement)
            return
        after = f" after {quoted(end.text[:100])}" if end.kind != "here" else ""
        self.faults.at(end.file, end.line, f"a ';' is missing{after}", statement.path)
        self._damaged()

    def _not_closed(self, statement: Statement, file: str, line: int) -> None:
        if self.now is None and self.faults.swallowed:
            self._damaged()
            return
        where = Where(statement.file, statement.line)
        self.faults.at(
            file, line, f"a '}}' is missing: the block of {where} is open", statement.path
        )
        self._damaged()

    def _unexpected(self, token: Token) -> None:
        """Skip what begins no statement, up to where one may begin."""
        what = (
            quoted(token.text[:100])
            if token.kind != "string"
            else f"the string {quoted(token.text[:100])}"
        )
        if token.text == "{" and token.kind == "sign":
            self._fault(token, "a '{' without the keyword of a block before it")
        else:
            self._fault(token, f"a statement begins with a keyword, not with {what}")
        depth = 0
        while self.now is not None:
            sign = self._sign()
            if depth == 0 and (sign == "}" or (self.now is not token and self._begins())):
                return
            depth += (sign == "{") - (sign == "}")
            self._take()
            if depth == 0 and sign in (";", "}"):
                return

    # --- values

    def _values(self, statement: Statement) -> bool:
        """Read the values of a statement. True if a here-document has ended it."""
        values, commas = statement.values, False
        while self.now is not None and self._sign() not in _AFTER_VALUES:
            token = self.now
            if values and statement.keyword not in words.ACL and self._begins():
                return False
            match self._sign():
                case "(":
                    values.append(self._list(1))
                case ",":
                    if not commas:
                        self._fault(token, "a list stands in parentheses, as (a, b)", statement)
                    commas = True
                    self._take()
                case ")":
                    self._fault(token, "a ')' closes nothing here", statement)
                    self._take()
                case _:
                    values.append(self._scalar(token))
                    if token.kind == "here":
                        return True
        return False

    def _begins(self) -> bool:
        """Return whether the next token seems to begin another statement."""
        token = self.now
        return (
            token is not None
            and token.first
            and token.kind == "word"
            and token.text in words.KEYWORDS
        )

    def _scalar(self, token: Token) -> Value:
        self._take()
        parts = [token.text]
        if token.kind == "string":
            parts += self._adjacent()
        return Value("".join(parts), token.file, token.line, here=token.kind == "here")

    def _adjacent(self) -> Iterator[str]:
        """Take the strings that come next, which are parts of one string."""
        while self.now is not None and self.now.kind == "string":
            yield self.now.text
            self._take()

    def _list(self, depth: int) -> Value:
        begin = self.now or self.last
        items: list[Value] = []
        self._take()
        if depth > DEEPEST:
            self._fault(begin, f"lists are nested more than {DEEPEST} deep: the rest is not read")
            raise Stopped
        expected = False
        """Whether a comma must come before the next item."""
        while self.now is not None:
            match self._sign():
                case ")":
                    self._take()
                    return Value("", begin.file, begin.line, tuple(items))
                case ",":
                    if not expected:
                        self._fault(self.now, "a value is missing before ','")
                    expected = False
                    self._take()
                    continue
                case ";" | "{" | "}":
                    break
                case _:
                    pass
            if items and self._begins():
                break
            if expected:
                what = quoted(self.now.text[:100])
                self._fault(self.now, f"a ',' is missing in the list, before {what}")
            items.append(self._list(depth + 1) if self._sign() == "(" else self._scalar(self.now))
            expected = True
        self._fault(begin, "the list that begins here is not closed: its ')' is missing")
        return Value("", begin.file, begin.line, tuple(items))

    def _fault(self, token: Token, message: str, statement: Statement | None = None) -> None:
        path = statement.path if statement else self.open[-1].path if self.open else ""
        self.faults.at(token.file, token.line, message, path)
        self._damaged()

    def _damaged(self) -> None:
        for each in self.open:
            each.damage = self.faults.problems[-1]
