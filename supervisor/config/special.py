"""The kinds of value that only one or two keys have: commands, signals, outputs, environments."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from supervisor.config.addresses import SCHEMA_PATTERN
from supervisor.config.kinds import Schema, read_text, read_texts
from supervisor.config.tables import Node, as_items, did_you_mean, kind_of, quoted
from supervisor.model.component import Environment, Output
from supervisor.model.errors import Problem

if TYPE_CHECKING:
    from supervisor.config.fields import Record

_TEXT: Schema = {"type": "string", "minLength": 1}


class Command(Struct, frozen=True):
    """A list of words, or one string for a shell or for the shell's rules of splitting."""

    words: str = "list of words, or one string"

    def schema(self) -> Schema:
        words: Schema = {"type": "array", "items": {"type": "string"}, "minItems": 1}
        return {"anyOf": [_TEXT, words]}

    def read(self, node: Node, problems: list[Problem]) -> str | tuple[str, ...] | None:
        if isinstance(node.value, str):
            return read_text(node, problems)
        words = read_texts(node, problems, empty=True)
        if words is None:
            return None
        if not words or not words[0]:
            problems.append(node.problem("must name a program"))
            return None
        return words


class Tags(Struct, frozen=True):
    """Names of components: a list, one name, or (where `keywords` are) `all` or `none`."""

    keywords: bool

    @property
    def words(self) -> str:
        return "list of tags, `all` or `none`" if self.keywords else "list of tags, or one"

    def schema(self) -> Schema:
        return {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}

    def read(self, node: Node, problems: list[Problem]) -> tuple[Node, ...] | None:
        """Return the nodes of the names: each may turn out to be unknown, at its own line."""
        if not isinstance(node.value, str | tuple):
            what = f"must be a tag or a list of tags, not {kind_of(node.value)}"
            problems.append(node.problem(what))
            return None
        right = [item for item in as_items(node) if read_text(item, problems) is not None]
        if self.keywords and len(right) > 1 and any(item.value == "none" for item in right):
            problems.append(node.problem("'none' stands alone"))
            return None
        return tuple(right)


class SocketUrl(Struct, frozen=True):
    """The text of a socket URL, or several."""

    many: bool = False

    @property
    def words(self) -> str:
        return "socket URL, or a list of them" if self.many else "socket URL"

    def schema(self) -> Schema:
        url: Schema = {"type": "string", "pattern": SCHEMA_PATTERN}
        urls: Schema = {"type": "array", "items": url, "minItems": 1}
        return {"anyOf": [url, urls]} if self.many else url

    def read(self, node: Node, problems: list[Problem]) -> tuple[Node, ...] | None:
        """Return the nodes of the URLs; what they mean depends on other keys."""
        items = as_items(node) if self.many else (node,)
        if not items:
            problems.append(node.problem("must hold a socket URL"))
        before = len(problems)
        for item in items:
            read_text(item, problems)
        return items if items and len(problems) == before else None


_REAL_TIME = re.compile(r"(?:SIG)?RT(?P<end>MIN|MAX)(?P<offset>[+-][0-9]{1,2})?")


class SignalNumber(Struct, frozen=True):
    """A signal by name, with or without `SIG`, or by number."""

    words: str = 'signal, as `"SIGTERM"`, `"TERM"`, `"SIGRTMIN+3"` or `15`'

    def schema(self) -> Schema:
        last = int(signal.SIGRTMAX)
        return {"anyOf": [{"type": "integer", "minimum": 1, "maximum": last}, _TEXT]}

    def read(self, node: Node, problems: list[Problem]) -> int | None:
        value = node.value
        if isinstance(value, int) and not isinstance(value, bool):
            if value in signal.valid_signals():
                return value
            problems.append(node.problem("there is no signal with that number"))
            return None
        if not isinstance(value, str):
            what = f"must be the name or the number of a signal, not {kind_of(value)}"
            problems.append(node.problem(what))
            return None
        number = _signal_number(value.upper())
        if number is None:
            known = [name for each in signal.Signals for name in (each.name, each.name[3:])]
            hint = did_you_mean(value, known)
            problems.append(node.problem(f"there is no signal {quoted(value)}{hint}"))
        return number


def _signal_number(name: str) -> int | None:
    match = _REAL_TIME.fullmatch(name)
    if match:
        end = signal.SIGRTMIN if match["end"] == "MIN" else signal.SIGRTMAX
        number = int(end) + int(match["offset"] or 0)
        return number if signal.SIGRTMIN <= number <= signal.SIGRTMAX else None
    known: dict[str, signal.Signals] = dict(signal.Signals.__members__)
    found = known.get(name) or known.get(f"SIG{name}")
    return int(found) if found else None


_OUTPUT_LATER = re.compile(r"(?:syslog|journal|file|pipe)(?::.*)?")


class OutputTarget(Struct, frozen=True):
    """Where a stream goes: a word, a file, or a table that says how the file rotates."""

    stream: Literal["stdout", "stderr"]
    record: Record[Output]

    @property
    def words(self) -> str:
        same = ', `"stdout"`' if self.stream == "stderr" else ""
        return f'`"inherit"`, `"null"`{same}, a file, or a table'

    def schema(self) -> Schema:
        return {"anyOf": [_TEXT, self.record.schema()]}

    def read(self, node: Node, problems: list[Problem]) -> Output | None:
        """Return the target. The path of a file may still be a bare name."""
        if isinstance(node.value, dict):
            return self.record.read(node, problems)
        word = read_text(node, problems)
        match word:
            case None:
                return None
            case "inherit" | "null":
                return Output(kind=word)
            case "stdout" if self.stream == "stderr":
                return Output(kind="stdout")
            case "stdout" | "stderr":
                problems.append(node.problem(f"'{word}' is no target for {self.stream}"))
                return None
            case _:
                return self._file(word, node, problems)

    def _file(self, word: str, node: Node, problems: list[Problem]) -> Output | None:
        if _OUTPUT_LATER.fullmatch(word):
            problems.append(node.problem(f"the target {quoted(word)} is not supported yet"))
            return None
        hint = did_you_mean(word, ("inherit", "null", "stdout", "syslog", "journal"))
        if hint and "." not in word and "/" not in word:
            problems.append(node.warning(f"{quoted(word)} is taken for the name of a file{hint}"))
        return Output(kind="file", path=word) if is_log_file(word, node, problems) else None


def is_log_file(path: str, node: Node, problems: list[Problem]) -> bool:
    """Return whether *path* may be a log file: a full path, or a bare name."""
    if path.startswith("/") and not path.endswith("/"):
        return True
    if "/" not in path and path not in (".", ".."):
        return True
    need = "a full path, or a bare name for a file in log-directory"
    problems.append(node.problem(f"must be {need}, not {quoted(path)}"))
    return False


class EnvironmentTable(Struct, frozen=True):
    """Variables to set, and with `{unset = true}` to remove."""

    words: str = "table: a string sets, `{unset = true}` removes"

    def schema(self) -> Schema:
        unset: Schema = {
            "type": "object",
            "properties": {"unset": {"const": True}},
            "required": ["unset"],
            "additionalProperties": False,
        }
        return {
            "type": "object",
            "propertyNames": {"pattern": "^[^=]+$"},
            "additionalProperties": {"anyOf": [{"type": "string"}, unset]},
        }

    def read(self, node: Node, problems: list[Problem]) -> Environment | None:
        if not isinstance(node.value, dict):
            problems.append(node.problem(f"must be a table, not {kind_of(node.value)}"))
            return None
        before = len(problems)
        values: dict[str, str] = {}
        unset: list[str] = []
        for name, member in node.value.items():
            if not name or "=" in name or "\0" in name:
                what = "is no name for a variable: it must not be empty, and have no '='"
                problems.append(member.problem(what))
            if isinstance(member.value, dict):
                _check_unset(member, member.value, problems)
                unset.append(name)
            else:
                values[name] = read_text(member, problems, empty=True) or ""
        right = len(problems) == before
        return Environment(set=values, unset=tuple(unset)) if right else None


def _check_unset(node: Node, table: dict[str, Node], problems: list[Problem]) -> None:
    for name, member in table.items():
        if name == "file":
            problems.append(member.problem("is not supported yet"))
        elif name != "unset":
            problems.append(member.problem(f"unknown key{did_you_mean(name, ['unset'])}"))
        elif member.value is not True:
            problems.append(member.problem("must be true; to keep a variable, leave it out"))
    if not table:
        problems.append(node.problem("must be a string or {unset = true}"))


class Flags(Struct, frozen=True):
    """A flag or a list of them. `later` are known and not supported yet."""

    flags: tuple[str, ...]
    later: frozenset[str]

    @property
    def words(self) -> str:
        return "list of " + " ".join(f"`{flag}`" for flag in self.flags)

    def schema(self) -> Schema:
        flag: Schema = {"enum": list(self.flags)}
        return {"anyOf": [flag, {"type": "array", "items": flag}]}

    def read(self, node: Node, problems: list[Problem]) -> frozenset[str] | None:
        if not isinstance(node.value, str | tuple):
            problems.append(node.problem(f"must be a list of flags, not {kind_of(node.value)}"))
            return None
        before = len(problems)
        found = set()
        for item in as_items(node):
            flag = read_text(item, problems)
            if flag in self.later:
                problems.append(item.problem(f"the flag '{flag}' is not supported yet"))
            elif flag is not None and flag not in self.flags:
                hint = did_you_mean(flag, self.flags)
                problems.append(item.problem(f"unknown flag {quoted(flag)}{hint}"))
            elif flag is not None:
                found.add(flag)
        return frozenset(found) if len(problems) == before else None
