"""Cut the text of one file into words, strings and signs that know where they stand.

Source: pies.md section 1.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

from msgspec import Struct

from supervisor.config.pies.faults import Faults
from supervisor.config.tables import quoted

Kind = Literal["word", "string", "here", "sign", "directive"]


class Token(Struct, frozen=True, gc=False):
    """The smallest thing that means something.

    `text` is what it says: of a string without its quotes and escapes, of a directive its argument.
    `first` tells whether it is the first on its line; `name` is that of a directive.
    """

    kind: Kind
    text: str
    file: str
    line: int
    first: bool = False
    name: str = ""


LONGEST_WORD = 4096
"""Characters of a word without quotes: as many as a path may have."""

_LEGAL = r"[A-Za-z0-9_\-./@*:]+|SIG\+[0-9]+"
_END = r"""(?=[\s;{}(),"#]|\Z)"""

_TOKEN = re.compile(
    rf"""
    (?P<blank> \s+ )
  | (?P<line_comment> \#[^\n]* | //[^\n]* )
  | (?P<comment> /\*[\s\S]*?\*/ )
  | (?P<unclosed_comment> /\* )
  | (?P<word> (?:{_LEGAL}){_END} )
  | (?P<string> "[^"\\\n]*(?:\\[\s\S][^"\\\n]*)*" )
  | (?P<unclosed_string> " )
  | (?P<sign> [;{{}}(),] )
  | (?P<here> << )
  | (?P<single> '[^'\n]*' )
  | (?P<odd> [^\s;{{}}(),"\#]+ )
    """,
    re.VERBOSE,
)

_LINE_PRAGMA = re.compile(
    r'#[ \t]*(?:line[ \t]+([0-9]{1,9})(?:[ \t]+"([^"]*)")?|([0-9]{1,9})[ \t]+"([^"]*)")[ \t0-9]*'
)
_DIRECTIVE = re.compile(
    r"""
    \#[ \t]* (?P<name> include_once | include | warning | error | abend ) (?![\w-])
    [ \t]* (?P<rest>.*)
    """,
    re.VERBOSE,
)
_HERE = re.compile(
    r"""
    <<(?P<strip>-[ ]?)?
    (?: "(?P<double>[A-Za-z_]\w*)" | '(?P<single>[A-Za-z_]\w*)' | \\(?P<backslash>[A-Za-z_]\w*)
      | (?P<plain>[A-Za-z_]\w*) )
    [ \t]*(?P<rest>[^\n]*)\n?
    """,
    re.VERBOSE,
)
_OVER_LINES = re.compile(r'"([^"\\;{}]*(?:\\[\s\S][^"\\;{}]*)*)"(?=\s*[;,)"])')
"""A string with line breaks in it: neither another string nor another statement begins inside."""

_LINE = re.compile(r"[^\n]*")
_COMMENT_BEHIND = re.compile(r"(?<=[\s;{])(?:\#|//|/\*)")
NO_NAMES: Final = ("", "-", "stdin", "<stdin>", "(stdin)")
"""What preprocessors call a file that they get on their standard input."""

_ESCAPE = re.compile(r"\\([\s\S])")
_ESCAPES: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
    "\n": "",
}


class Lexer:
    """Goes through the text of one file; what is wrong with it goes to *faults*."""

    def __init__(self, text: str, file: str, faults: Faults) -> None:
        self.text = text.removeprefix("\ufeff").replace("\r\n", "\n")
        self.faults = faults
        self.own = self.file = file
        self.line = 1
        self.at = 0
        self.first = True

    def tokens(self) -> Iterator[Token]:
        """Yield the tokens in their order. `#line` moves where they say that they stand."""
        text, match_at = self.text, _TOKEN.match
        while match := match_at(text, self.at):
            self.at = match.end()
            kind = match.lastgroup
            if kind == "blank":
                breaks = match[0].count("\n")
                if breaks:
                    self.line += breaks
                    self.first = True
            elif kind in ("word", "sign") and match.end() - match.start() <= LONGEST_WORD:
                yield Token(kind, match[0], self.file, self.line, self.first)  # type: ignore[arg-type]  # one of the two
                self.first = False
            else:
                yield from self._other(kind, match[0], match.start())

    def _other(self, kind: str | None, found: str, start: int) -> Iterator[Token]:
        match kind:
            case "line_comment":
                if self.first and found.startswith("#"):
                    yield from self._hash(found)
            case "comment":
                self.line += found.count("\n")
            case "string":
                yield self._token("string", self._unescaped(found[1:-1]))
                self.line += found.count("\n")
            case "unclosed_string":
                yield self._unclosed(start)
            case "here":
                yield from self._here(start)
            case "unclosed_comment":
                self._fault("the comment that begins here has no end: */")
                self._swallow()
            case "word":
                self._fault(f"{quoted(found[:100])} is too long for a word")
                yield self._token("word", found[:LONGEST_WORD])
            case _:
                yield from self._odd(found)

    def _token(self, kind: Kind, text: str, name: str = "") -> Token:
        token = Token(kind, text, self.file, self.line, self.first, name)
        self.first = False
        return token

    # --- lines that begin with #

    def _hash(self, found: str) -> Iterator[Token]:
        """Obey a line that is more than a comment."""
        if pragma := _LINE_PRAGMA.fullmatch(found.rstrip()):
            # The line break behind it counts one.
            self.line = max(1, int(pragma[1] or pragma[3])) - 1
            name = pragma[2] or pragma[4]
            if name is not None:
                # A preprocessor that reads its standard input cannot know our name.
                self.file = self.own if name in NO_NAMES else name
            return
        directive = _DIRECTIVE.fullmatch(found.rstrip())
        if directive is None:
            return
        name, argument = directive["name"], _without_comment(directive["rest"])
        spelt_out = found.startswith(f"#{name}")
        if argument[:1] in ('"', "<") and len(argument) > 1:
            closing = ">" if argument[0] == "<" else '"'
            if argument[-1] == closing and closing not in argument[1:-1].replace('\\"', ""):
                yield self._token("directive", self._argument(argument), name)
                return
        if not spelt_out:
            return  # A comment, as in `# error log`.
        if name.startswith("include") and argument and not re.search(r"\s", argument):
            yield self._token("directive", argument, name)
        elif name.startswith("include"):
            self._fault(f'#{name} needs the name of a file, as #{name} "/etc/pies.d/*.conf"')
        else:
            what = f"#{name} is taken for a comment: its text must be in double quotes"
            self.faults.warn(self.file, self.line, what)

    def _argument(self, argument: str) -> str:
        if argument[0] == "<":
            return argument
        return self._unescaped(argument[1:-1])

    # --- strings

    def _unescaped(self, text: str) -> str:
        """Return the text with its escapes replaced."""
        if "\\" not in text:
            return text

        def replacement(escape: re.Match[str]) -> str:
            letter = escape[1]
            if letter in _ESCAPES:
                return _ESCAPES[letter]
            if self.faults.warns:  # Counting lines for each of millions would take hours.
                line = self.line + text.count("\n", 0, escape.start())
                what = f"unknown escape {quoted(escape[0])}: the backslash is dropped"
                self.faults.warn(self.file, line, what)
            return letter

        return _ESCAPE.sub(replacement, text)

    def _unclosed(self, start: int) -> Token:
        """Take an unclosed string to end with its line, so that what follows is read."""
        if whole := _OVER_LINES.match(self.text, start):
            self._fault("a line break in a string needs a backslash before it")
            token = self._token("string", self._unescaped(whole[1]))
            self.line += whole[0].count("\n")
            self.at = whole.end()
            return token
        line = _LINE.match(self.text, start + 1)
        body = line[0] if line else ""
        # A sign and a comment at the end were not meant to be part of it.
        comment = _COMMENT_BEHIND.search(body)
        body = body[: comment.start()] if comment else body
        body = body.rstrip()
        body = body[:-1].rstrip() if body.endswith((";", "{")) else body
        self.at = start + 1 + len(body)
        hint = "its last '\"' is missing, or a backslash at the end of its line"
        self._fault(f"the string {quoted(body[:100])} is not closed: {hint}")
        return self._token("string", body)

    def _here(self, start: int) -> Iterator[Token]:
        head = _HERE.match(self.text, start)
        if head is None:
            self._fault("'<<' begins a here-document: a word must follow, as <<EOT")
            return
        word = head["plain"] or head["double"] or head["single"] or head["backslash"]
        rest = head["rest"].strip()
        if rest not in ("", ";"):
            self._fault(f"nothing may follow <<{word} on its line, but {quoted(rest[:100])} does")
        strip = {None: "", "-": r"\t*", "- ": r"[ \t]*"}[head["strip"]]
        begin = head.end()
        last = re.compile(rf"^{strip}{word}[ \t]*(;?)[ \t]*$", re.MULTILINE | re.ASCII)
        end = last.search(self.text, begin)
        if end is None:
            what = f"the here-document that begins here has no last line: '{word}' alone"
            self._fault(what)
            yield self._token("here", self.text[begin : begin + LONGEST_WORD].split("\n", 1)[0])
            self._swallow()
            return
        body = self.text[begin : end.start()]
        if strip:
            body = re.sub(rf"^{strip}", "", body, flags=re.MULTILINE)
        token = self._token("here", body)
        self.line += 1
        if head["plain"]:
            token = Token("here", self._unescaped(body), token.file, token.line, token.first)
        self.line += self.text.count("\n", begin, end.end())
        self.at = end.end()
        yield token
        if end[1] or rest == ";":
            yield self._token("sign", ";")

    def _swallow(self) -> None:
        """Go to the end of the text, which belongs to something that has none."""
        self.at = len(self.text)
        self.faults.swallowed = True

    # --- what has no meaning

    def _odd(self, found: str) -> Iterator[Token]:
        if found.startswith("'") and found.endswith("'") and len(found) > 1:
            self._fault(f"{found[:60]}: a string stands in double quotes, not in single ones")
            yield self._token("string", found[1:-1])
        elif found in ("=", ":=", "=>"):
            self._fault(f"'{found}' means nothing here: a value follows its keyword after a blank")
        elif found[0] in "“”„‟«»":
            self._fault(f'{quoted(found[:100])}: a string stands in plain double quotes: "…"')
            yield self._token("string", found.strip("“”„‟«»"))
        else:
            what = _strange(found)
            self._fault(f"{quoted(found[:100])} must stand in double quotes, because of {what}")
            yield self._token("word", found[:LONGEST_WORD])

    def _fault(self, message: str) -> None:
        self.faults.at(self.file, self.line, message)


_STRANGE = re.compile(r"[^A-Za-z0-9_\-./@*:]")


def _strange(word: str) -> str:
    found = _STRANGE.search(word)
    return quoted(found[0]) if found else "what it begins with"


def _without_comment(rest: str) -> str:
    """Return what stands on the line of a directive before a comment."""
    rest = rest.strip()
    if rest[:1] == '"':
        string = re.match(r'"[^"\\]*(?:\\.[^"\\]*)*"', rest)
        behind = rest[string.end() :].strip() if string else ""
        if string and (not behind or behind.startswith(("#", "//", "/*", ";"))):
            return string[0]
    return rest
