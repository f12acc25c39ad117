"""Make commands of the lines that systemd executes: prefixes, words, variables."""

from __future__ import annotations

import re
import shlex

from msgspec import Struct

from supervisor.config.convert.unit_file import split_words

_VARIABLE = re.compile(r"\$(?:\$|\{(?P<long>[A-Za-z_]\w*)\}|(?P<short>[A-Za-z_]\w*))", re.ASCII)
_PLAIN = re.compile(r"[\w@%+=:,./\x02-]+", re.ASCII)
_PREFIXES = "-@:+!|"


class Line(Struct, frozen=True, kw_only=True):
    """One command. `words` are as systemd would have them, with `$NAME` still in them."""

    prefixes: str
    program: str
    words: tuple[str, ...]

    @property
    def has_variables(self) -> bool:
        """Whether systemd would replace variables of the environment in it."""
        return ":" not in self.prefixes and any(
            match.group() != "$$" for word in self.words for match in _VARIABLE.finditer(word)
        )

    def plain(self) -> tuple[str, ...]:
        """Return the words for execve, of a line without variables."""
        if ":" in self.prefixes:
            return self.words
        return tuple(word.replace("$$", "$") for word in self.words)

    def expanding(self) -> str:
        """Return it as one string in which a shell (or `expandenv`) finds the same variables."""
        return " ".join(_word(word) for word in self.words)

    def for_shell(self) -> str:
        """Return it as a part of a shell's script; what may fail does not end the script."""
        words = self.expanding() if self.has_variables else shlex.join(self.plain())
        if self.program != self.words[0]:
            words = shlex.join([self.program]) + words[len(_word(self.words[0])) :]
        return f"{{ {words} || :; }}" if "-" in self.prefixes else words


def _word(word: str) -> str:
    # `$NAME` as a word of its own is split into words, `${NAME}` anywhere is not.
    alone = re.fullmatch(r"\$[A-Za-z_]\w*", word, re.ASCII)
    if alone:
        return word
    if "$" not in word:
        # The mark for the number of an instance is as good as the number.
        return word if _PLAIN.fullmatch(word) else shlex.quote(word)
    pieces, at = [], 0
    for match in _VARIABLE.finditer(word):
        name = match["long"]
        pieces.append(_safe(word[at : match.start()]))
        if match.group() == "$$":
            pieces.append("\\$")
        else:
            # In the middle of a word, systemd knows the form with braces only.
            pieces.append(f"${{{name}}}" if name else f"\\{match.group()}")
        at = match.end()
    return '"' + "".join([*pieces, _safe(word[at:])]) + '"'


def _safe(text: str) -> str:
    return re.sub(r'(["\\`$])', r"\\\1", text)


def read_lines(value: str) -> list[Line]:
    """Return the commands of one `Exec…=`: mostly one; a `;` between blanks separates several.

    Raises:
        ValueError: it names no program, or a quotation mark is not closed.
    """
    lines: list[Line] = []
    words: list[str] = []
    for word in [*split_words(value), ";"]:
        if word != ";":
            words.append(";" if word == "\\;" else word)
        elif words:
            lines.append(_line(words))
            words = []
    if not lines:
        raise ValueError("names no program")
    return lines


def _line(words: list[str]) -> Line:
    program = words[0].lstrip(_PREFIXES)
    prefixes = words[0][: len(words[0]) - len(program)]
    if not program:
        raise ValueError("names no program")
    if "@" in prefixes:
        if len(words) < 2:
            raise ValueError("the word behind '@' is missing: it would be the first argument")
        return Line(prefixes=prefixes, program=program, words=tuple(words[1:]))
    return Line(prefixes=prefixes, program=program, words=(program, *words[1:]))


_KILL = re.compile(
    r"(?:/usr)?(?:/bin/)?kill\s+-(?:s\s*)?(?P<signal>[A-Za-z0-9+]+)\s+\$\{?MAINPID\}?"
)


def signal_of(value: str) -> str | None:
    """Return the signal that a command sends to the main process if it does nothing else."""
    match = _KILL.fullmatch(value.strip().lstrip(_PREFIXES))
    return match["signal"] if match else None
