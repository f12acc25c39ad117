"""Where the output of a component goes: a word, a file, syslog, the journal, or a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from supervisor.config.kinds import TEXT_SCHEMA, Schema, read_text
from supervisor.config.tables import Node, did_you_mean, quoted
from supervisor.model.component import Output
from supervisor.model.errors import Problem

if TYPE_CHECKING:
    from supervisor.config.fields import Record

Stream = Literal["stdout", "stderr"]

FACILITIES: Final = (
    *("user", "daemon", "auth", "authpriv", "mail", "cron"),
    *("ftp", "lpr", "news", "syslog", "uucp"),
    *(f"local{number}" for number in range(8)),
)
PRIORITIES: Final = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
DEFAULT_PRIORITY: Final[dict[Stream, str]] = {"stdout": "info", "stderr": "err"}


class Facility(Struct, frozen=True):
    """A facility of syslog, in capital or small letters. Source: pies.md section 1.5."""

    @property
    def words(self) -> str:
        return " ".join(f"`{facility}`" for facility in FACILITIES)

    def schema(self) -> Schema:
        return TEXT_SCHEMA

    def read(self, node: Node, problems: list[Problem]) -> str | None:
        text = read_text(node, problems)
        if text is None or text.lower() in FACILITIES:
            return text and text.lower()
        hint = did_you_mean(text, FACILITIES)
        known = ", ".join(FACILITIES)
        problems.append(node.problem(f"must be one of {known}, not {quoted(text)}{hint}"))
        return None


class SyslogWords(Struct, frozen=True):
    """`[FACILITY.]PRIORITY`."""

    words: str = "`FACILITY.PRIORITY`, or `PRIORITY`"

    def schema(self) -> Schema:
        return TEXT_SCHEMA

    def read(self, node: Node, problems: list[Problem]) -> tuple[str | None, str | None] | None:
        text = read_text(node, problems)
        return None if text is None else read_syslog(text, node, problems)


class OutputTarget(Struct, frozen=True):
    """Where a stream goes: a word, a file, syslog, or a table that says more."""

    stream: Stream
    record: Record[Output]

    @property
    def words(self) -> str:
        same = ', `"stdout"`' if self.stream == "stderr" else ""
        return (
            f'`"inherit"`, `"null"`{same}, `"journal"`, `"syslog:FACILITY.PRIORITY"`, a file, '
            "or a table"
        )

    def schema(self) -> Schema:
        return {"anyOf": [TEXT_SCHEMA, self.record.schema()]}

    def read(self, node: Node, problems: list[Problem]) -> Output | None:
        """Return the target. A file's path may still be a bare name, a facility None."""
        if isinstance(node.value, dict):
            output = self.record.read(node, problems)
            return self._with_priority(output) if output else None
        text = read_text(node, problems)
        if text is None:
            return None
        word, colon, rest = text.partition(":")
        match word:
            case "file" if colon:
                return _file(rest, node, problems)
            case "syslog":
                return self._syslog(rest, node, problems) if colon else self._syslog_of(None, None)
            case "inherit" | "null" | "journal" if not colon:
                return Output(kind=word)
            case "stdout" | "stderr" if not colon:
                if self.stream == "stderr" and word == "stdout":
                    return Output(kind="stdout")
                problems.append(node.problem(f"'{word}' is no target for {self.stream}"))
                return None
            case "pipe" | "journal" if colon:
                problems.append(node.problem(f"there is no target {quoted(text)}"))
                return None
        hint = did_you_mean(text, ("inherit", "null", "stdout", "syslog", "journal"))
        if hint and "." not in text and "/" not in text:
            problems.append(node.warning(f"{quoted(text)} is taken for the name of a file{hint}"))
        return _file(text, node, problems)

    def _with_priority(self, output: Output) -> Output:
        if output.kind != "syslog":
            return output
        return self._syslog_of(output.facility, output.priority)

    def _syslog(self, text: str, node: Node, problems: list[Problem]) -> Output | None:
        found = read_syslog(text, node, problems)
        return self._syslog_of(*found) if found else None

    def _syslog_of(self, facility: str | None, priority: str | None) -> Output:
        priority = priority or DEFAULT_PRIORITY[self.stream]
        return Output(kind="syslog", facility=facility, priority=priority)


def read_syslog(
    text: str, node: Node, problems: list[Problem]
) -> tuple[str | None, str | None] | None:
    """Return facility and priority of `[FACILITY.]PRIORITY`, or None after a problem."""
    facility, dot, priority = text.lower().rpartition(".")
    bad = [
        f"there is no {what} {quoted(word)} of syslog{did_you_mean(word, known)}"
        for what, word, known in (
            ("facility", facility, FACILITIES),
            ("priority", priority, PRIORITIES),
        )
        if word not in known and (what == "priority" or dot)
    ]
    if bad:
        example = "" if priority or facility else ": write it as syslog:daemon.err"
        problems.append(node.problem("; ".join(bad) + example))
        return None
    return facility or None, priority


def _file(path: str, node: Node, problems: list[Problem]) -> Output | None:
    return Output(kind="file", path=path) if is_log_file(path, node, problems) else None


def is_log_file(path: str, node: Node, problems: list[Problem]) -> bool:
    """Return whether *path* may be a log file: a full path, or a bare name."""
    if path.startswith("/") and not path.endswith("/"):
        return True
    if path and "/" not in path and path not in (".", ".."):
        return True
    need = "a full path, or a bare name for a file in log-directory"
    problems.append(node.problem(f"must be {need}, not {quoted(path)}"))
    return False
