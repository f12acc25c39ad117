"""Read a systemd unit into settings that know their line, and its values into words and times."""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

from supervisor.config.tables import quoted
from supervisor.model.errors import Problem

_SETTING = re.compile(r"(?P<name>[A-Za-z0-9_-]+)\s*=\s*(?P<value>.*)", re.DOTALL)


class Setting(Struct, frozen=True):
    """One assignment. A name may occur many times."""

    line: int
    section: str
    name: str
    value: str

    @property
    def key(self) -> str:
        """How messages call it."""
        return f"{self.section}.{self.name}"


class Unit(Struct, frozen=True):
    """A unit file. `sections` are the lines of the headers."""

    settings: tuple[Setting, ...]
    sections: dict[str, int]

    def all(self, section: str, name: str) -> list[Setting]:
        """Return the assignments of a list; an empty one takes back those before it."""
        found: list[Setting] = []
        for setting in self.settings:
            if setting.section == section and setting.name == name:
                found = [*found, setting] if setting.value else []
        return found

    def last(self, section: str, name: str) -> Setting | None:
        """Return the assignment that counts where only one does."""
        found = self.all(section, name)
        return found[-1] if found else None


def read_unit(text: str, file: str, problems: list[Problem]) -> Unit | None:
    """Return the settings of a unit, or None after telling all that is wrong with its form.

    Source: systemd.syntax(7).
    """
    settings: list[Setting] = []
    sections: dict[str, int] = {}
    section, before = "", len(problems)
    for number, line in _joined(text):
        if line.startswith("["):
            if line.endswith("]") and len(line) > 2:
                section = line[1:-1]
                sections.setdefault(section, number)
            else:
                problems.append(Problem(file, number, "", f"{quoted(line)} is no [SECTION]"))
            continue
        match = _SETTING.fullmatch(line)
        if match is None:
            what = f"is neither [SECTION] nor KEY=VALUE: {quoted(line)}"
            problems.append(Problem(file, number, "", what))
        elif not section:
            problems.append(
                Problem(file, number, match["name"], "stands before the first [SECTION]")
            )
        elif "\0" in line:
            what = "must not contain a null character"
            problems.append(Problem(file, number, f"{section}.{match['name']}", what))
        else:
            settings.append(Setting(number, section, match["name"], match["value"].strip()))
    return Unit(tuple(settings), sections) if len(problems) == before else None


def _joined(text: str) -> list[tuple[int, str]]:
    """Return the lines that say something, continued ones together, with their first numbers."""
    found: list[tuple[int, str]] = []
    open_line: tuple[int, str] | None = None
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and open_line is None):
            continue  # Comments may stand between continued lines.
        first, said = open_line or (number, "")
        if line.endswith("\\"):
            open_line = (first, f"{said}{line[:-1]} ")
            continue
        open_line = None
        if whole := f"{said}{line}".strip():
            found.append((first, whole))
    if open_line is not None and open_line[1].strip():
        found.append((open_line[0], open_line[1].strip()))
    return found


_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
_CODE = re.compile(r"x[0-9a-fA-F]{2}|[0-7]{3}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}")


def split_words(text: str) -> list[str]:
    """Return the words of *text* by systemd's rules: quotes around words, escapes as in C.

    Raises:
        ValueError: a quotation mark is not closed, or an escape means no character.

    Source: systemd.syntax(7), "Quoting".
    """
    words: list[str] = []
    word: list[str] | None = None
    quote, at = "", 0
    while at < len(text):
        sign = text[at]
        at += 1
        if sign == "\\" and at < len(text):
            character, at = _escape(text, at)
            word = [*(word or ()), character]
        elif quote:
            if sign == quote:
                quote = ""
            else:
                word = word if word is not None else []
                word.append(sign)
        elif sign in "\"'":
            quote = sign
            word = word if word is not None else []
        elif sign.isspace():
            if word is not None:
                words.append("".join(word))
            word = None
        else:
            word = word if word is not None else []
            word.append(sign)
    if quote:
        raise ValueError("a quotation mark is not closed")
    return words if word is None else [*words, "".join(word)]


def _escape(text: str, at: int) -> tuple[str, int]:
    """Return the character that the escape at *at* (behind its backslash) means, and its end."""
    if match := _CODE.match(text, at):
        code = match.group()
        number = int(code, 8) if code[0].isdecimal() else int(code[1:], 16)
        if not 0 < number < 0x110000 or 0xD800 <= number < 0xE000:
            raise ValueError(f"\\{code} is no character")
        return chr(number), match.end()
    sign = text[at]
    return _ESCAPES.get(sign, sign if sign in "\"'\\" else f"\\{sign}"), at + 1


_UNITS = {
    "us": 1e-6,
    "usec": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "msec": 1e-3,
    "": 1,
    "s": 1,
    "sec": 1,
    "second": 1,
    "seconds": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "minutes": 60,
    "h": 3600,
    "hr": 3600,
    "hour": 3600,
    "hours": 3600,
    "d": 86400,
    "day": 86400,
    "days": 86400,
    "w": 604800,
    "week": 604800,
    "weeks": 604800,
    "M": 2629800,
    "month": 2629800,
    "months": 2629800,
    "y": 31557600,
    "year": 31557600,
    "years": 31557600,
}
_SPAN = re.compile(r"\s*(?P<number>[0-9]{1,15}(?:\.[0-9]{1,6})?)\s*(?P<unit>[A-Za-zµ]*)")
LONGEST = 1e9


def seconds(text: str) -> float | None:
    """Return a span of time as `5min 20s` in seconds, `infinity` as `LONGEST`; None if it is none.

    Source: systemd.time(7), "Parsing time spans".
    """
    if text.strip() == "infinity":
        return LONGEST
    total, at = 0.0, 0
    text = text.strip()
    while at < len(text):
        match = _SPAN.match(text, at)
        if match is None or match["unit"] not in _UNITS:
            return None
        total += float(match["number"]) * _UNITS[match["unit"]]
        at = match.end()
    return min(total, LONGEST) if text else None


TRUE = frozenset({"1", "yes", "y", "true", "t", "on"})
FALSE = frozenset({"0", "no", "n", "false", "f", "off"})


def expand_specifiers(text: str, value: Callable[[str], str | None]) -> tuple[str, list[str]]:
    """Return *text* with `%x` replaced by what *value* says, and those it does not know."""
    unknown: list[str] = []

    def replaced(match: re.Match[str]) -> str:
        found = "%" if match.group(1) == "%" else value(match.group(1))
        if found is None:
            unknown.append(match.group())
            return match.group()
        return found

    return re.sub(r"%([A-Za-z%])", replaced, text), unknown
