"""Follow the lines that begin with # to other files, and feed the parser from all of them.

Source: pies.md section 1.1.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator

from msgspec import Struct

from supervisor.config.files import DEEPEST, Identity, contents, reason, shown
from supervisor.config.pies.faults import Faults, Stopped
from supervisor.config.pies.lexer import Lexer, Token
from supervisor.config.pies.options import Reading
from supervisor.config.pies.preprocess import preprocessed
from supervisor.config.tables import quoted

MOST_FILES = 20_000
"""Files that one file may include, all in all: without it, a few lines could ask for billions."""

MOST_TOKENS = 1_000_000
"""Words and signs of one file with all that it includes; some 20,000 components."""

_TAG = re.compile(r'^[ \t]*component[ \t]+"?([\w.:@-]+)', re.MULTILINE)
_WILD = re.compile(r"[*?\[\]]")


def tags_in(text: str) -> list[str]:
    """Return the tags that *text* seems to define, whatever else is wrong with it."""
    return _TAG.findall(text)


class _Open(Struct, frozen=True):
    """A file that is being read, perhaps on behalf of others."""

    path: str
    identity: Identity | None


class Feed:
    """The tokens of a file and of what it includes, in the order in which they mean something."""

    def __init__(self, faults: Faults, reading: Reading) -> None:
        self.faults, self.reading = faults, reading
        self.open: list[_Open] = []
        self.files = self.count = 0
        self.tags: list[str] = []
        """The tags of everything that was opened, for the case that it is not read to its end."""

    def tokens(self, text: str, path: str) -> Iterator[Token]:
        """Yield the tokens of *text*, the contents of the file *path*.

        Raises:
            Stopped: by `#abend`, because *text* cannot be preprocessed, or because there is too
                much of something.
        """
        self.open.append(_Open(path, _identity(path)))
        self.tags += tags_in(text)
        ready = preprocessed(text, shown(path), self.faults.problems, self.reading)
        if ready is None:
            self.reading.broken.update(tags_in(text))
            if len(self.open) == 1:
                raise Stopped
        else:
            for token in Lexer(ready, shown(path), self.faults).tokens():
                self._count(token)
                if token.kind == "directive":
                    yield from self._directive(token)
                else:
                    yield token
        self.open.pop()

    def _count(self, token: Token) -> None:
        self.count += 1
        if self.count > MOST_TOKENS:
            what = f"has more than {MOST_TOKENS} words and signs: the rest is not read"
            self.faults.at(token.file, token.line, what)
            raise Stopped

    def _directive(self, token: Token) -> Iterator[Token]:
        match token.name:
            case "include" | "include_once":
                yield from self._include(token)
            case "warning":
                self.faults.warn(token.file, token.line, token.text, "#warning")
            case name:
                self.faults.at(token.file, token.line, token.text, f"#{name}")
                if name == "abend":
                    raise Stopped

    # --- other files

    def _include(self, token: Token) -> Iterator[Token]:
        if not token.text or "\0" in token.text or token.text == "<>":
            self._fault(token, "needs the name of a file")
            return
        if len(self.open) > DEEPEST:
            self._fault(token, f"files include one another more than {DEEPEST} deep")
            return
        for path in self._found(token):
            yield from self._file(token, path)

    def _file(self, token: Token, path: str) -> Iterator[Token]:
        self.files += 1
        if self.files > MOST_FILES:
            self._fault(token, f"more than {MOST_FILES} files are included: the rest is not read")
            raise Stopped
        try:
            data, identity = contents(path)
            text = data.decode()
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            what = f"is not UTF-8: byte 0x{error.object[error.start]:02x}"
            self.faults.at(shown(path), line, what)
            self.reading.broken.update(tags_in(error.object.decode(errors="replace")))
            return
        except (OSError, ValueError) as error:
            self._fault(token, f"cannot read {shown(path)}: {reason(error)}")
            return
        if token.name == "include_once" and identity in self.reading.included:
            return
        chain = [each.path for each in self.open if each.identity == identity]
        if chain:
            names = [shown(each.path) for each in self.open]
            cycle = " → ".join([*names[names.index(shown(chain[0])) :], shown(path)])
            self._fault(token, f"a file includes itself: {cycle}")
            return
        self.reading.included.add(identity)
        yield from self.tokens(text, path)

    def _found(self, token: Token) -> list[str]:
        """Return the files that an include means; one that is missing is a problem."""
        angled = token.text.startswith("<") and token.text.endswith(">")
        name = token.text[1:-1] if angled else token.text
        # Where piesd was started is gone from sight in a daemon: what stands beside the file that
        # includes it is found, too.
        beside = os.path.dirname(self.open[-1].path)
        if _WILD.search(name):
            return _matches(name, beside)
        if os.path.isabs(name):
            return [name]
        directories = [*([] if angled else [""]), *self.reading.options.search_path]
        directories += [] if angled else [beside]
        for directory in directories:
            path = os.path.join(directory, name)
            if os.path.lexists(path):
                return [path]
        where = ", ".join(shown(each) or "the current directory" for each in directories)
        looked = f": it is not in {where}" if where else ": there is no include path"
        self._fault(token, f"there is no file {quoted(name)}{looked}")
        return []

    def _fault(self, token: Token, message: str) -> None:
        self.faults.at(token.file, token.line, message[:1000], f"#{token.name}")


def _matches(pattern: str, beside: str) -> list[str]:
    found = glob.glob(pattern)
    if not found and not os.path.isabs(pattern):
        found = glob.glob(os.path.join(glob.escape(beside), pattern))
    return sorted(path for path in found if not os.path.isdir(path))


def _identity(path: str) -> Identity | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
