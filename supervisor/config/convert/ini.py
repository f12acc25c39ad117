"""Read supervisord's INI dialect into sections whose settings know their file and line."""

from __future__ import annotations

import configparser
import glob
import os
import re
from collections.abc import Callable, Iterator

from msgspec import Struct

from supervisor.config.files import contents
from supervisor.model.errors import Problem

_MOST_FILES = 1000
"""Files that one pattern may find."""
_HEADER = re.compile(r"\s*\[(?P<name>.*)\]")
_SIGN = re.compile("[=:]")
_COMMENT = re.compile(r"^[;#]|\s[;#]")
_MOST_FAULTS = 100
_BLANKS = re.compile(r"\s{64,}")

Finder = Callable[[str], list[tuple[str, str]]]
"""Returns the names and texts of the files that a pattern finds."""


class Setting(Struct, frozen=True):
    """One value, and where it stands."""

    file: str
    line: int
    value: str


class Section(Struct, frozen=True):
    """One section. Where two have the same name, their settings are together."""

    file: str
    line: int
    name: str
    settings: dict[str, Setting]

    @property
    def kind(self) -> str:
        """What stands before the colon: for `program:web` it is `program`."""
        return self.name.partition(":")[0].strip()

    @property
    def label(self) -> str:
        """What stands behind the colon."""
        return self.name.partition(":")[2].strip()

    def get(self, name: str) -> str | None:
        """Return a value, or None."""
        setting = self.settings.get(name)
        return setting.value if setting else None

    def line_of(self, name: str) -> int:
        """Return the line of a setting, or that of the section."""
        return self.settings[name].line if name in self.settings else self.line


def read_sections(text: str, file: str, problems: list[Problem]) -> list[Section] | None:
    """Return the sections of one file, or None after telling all that is wrong with its form."""
    # These are supervisord's own settings: comments behind a value begin with a blank and ; or #.
    parser = configparser.RawConfigParser(
        strict=False, inline_comment_prefixes=(";", "#"), default_section="\0"
    )
    try:
        # Other characters that Python takes for line ends would shift the numbers of the lines.
        parser.read_file(_until_hopeless(_lines(text)), file)
    except configparser.MissingSectionHeaderError as error:
        problems.append(Problem(file, error.lineno, "", "stands before the first [section]"))
        return None
    except configparser.ParsingError as error:
        # Which attribute says where differs between the kinds of error, and releases of Python.
        at = [line for line, _ in getattr(error, "errors", ())] or [getattr(error, "lineno", 1)]
        problems += [Problem(file, line, "", "is neither [SECTION] nor KEY=VALUE") for line in at]
        return None
    except (configparser.Error, AttributeError) as error:
        # Some releases of Python fail at a continued line behind a key without a value.
        what = " ".join(str(error).split())
        problems.append(Problem(file, 1, "", f"is not an INI file: {what}"))
        return None
    lines = _lines_of(text)
    return [_section(parser, name, file, lines) for name in parser.sections()]


def _until_hopeless(lines: list[str]) -> Iterator[str]:
    """Yield lines with their ends, up to where too many have been no settings.

    configparser takes quadratic time for those.
    """
    odd = 0
    for line in lines:
        yield f"{line}\n"
        said = _COMMENT.split(line, maxsplit=1)[0]
        if said.strip() and not said[0].isspace() and not _HEADER.match(said):
            sign = _SIGN.search(said)
            odd += sign is None or not said[: sign.start()].strip()
        if odd > _MOST_FAULTS:
            return


def _lines(text: str) -> list[str]:
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    # configparser takes quadratic time for long runs of blanks, which mean no more than short ones.
    return [_BLANKS.sub(" ", line) for line in lines]


def _lines_of(text: str) -> dict[tuple[str, str], int]:
    """Return the last line of each setting, and, under an empty name, the first of each section."""
    found: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(_lines(text), start=1):
        if header := _HEADER.match(line):
            section = header["name"]
            found.setdefault((section, ""), number)
        elif sign := _SIGN.search(line):
            found[section, line[: sign.start()].strip().lower()] = number
    return found


def _section(
    parser: configparser.RawConfigParser, name: str, file: str, lines: dict[tuple[str, str], int]
) -> Section:
    line = lines.get((name, ""), 1)
    settings = {
        key: Setting(file, lines.get((name, key), line), value) for key, value in parser.items(name)
    }
    return Section(file, line, name, settings)


def found_by(pattern: str) -> list[tuple[str, str]]:
    """Return names and texts of the files that *pattern* finds. It reads them: it may block.

    Raises:
        OSError: one cannot be read.
        UnicodeDecodeError: one is not UTF-8.
    """
    paths = [path for path in sorted(glob.glob(pattern)) if os.path.isfile(path)]
    return [(path, contents(path)[0].decode()) for path in paths[:_MOST_FILES]]
