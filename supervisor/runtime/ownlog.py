"""piesd's own log: one line a record, as text, logfmt or JSON, to standard error or a collector."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from supervisor.model.plaintext import STEERING, shown, shown_in_json
from supervisor.model.settings import DaemonSettings, SyslogSettings
from supervisor.runtime import journal, syslog
from supervisor.runtime.messages import FACILITIES, PRIORITIES, Origin, Record

Format = Literal["auto", "text", "logfmt", "json"]

Kind = Literal["stderr", "syslog", "journal"]


class OwnLine(NamedTuple):
    """One record. `text` is for standard error, `message` for a collector, both whole lines.

    `message` is empty where the log goes to standard error.
    """

    text: bytes
    message: bytes = b""
    priority: int = PRIORITIES["info"]
    component: str = ""


Write = Callable[[OwnLine], None]


class OwnPlace(NamedTuple):
    """Where piesd's own log goes, and as whose."""

    kind: Kind = "stderr"
    syslog: SyslogSettings = SyslogSettings()
    instance: str = "piesd"

    def origin(self, line: OwnLine, pid: int) -> Origin:
        """Return what a collector is told about *line*."""
        facility = FACILITIES.get(self.syslog.facility.lower(), FACILITIES["daemon"])
        tag = self.syslog.tag or self.instance
        return Origin(tag, line.component, "", facility, line.priority, pid)


def own_place(settings: DaemonSettings, *, stderr: bool = False, syslog: bool = False) -> OwnPlace:
    """Return where the log goes; `--stderr`, then `--syslog`, comes before what the file says.

    Without either it is standard error, for `--daemon` too: that is a file in `log-directory` then.
    """
    kind: Kind = "stderr" if stderr else "syslog" if syslog else settings.log
    return OwnPlace(kind, settings.syslog, settings.instance)


_PLAIN = re.compile(r"[^\s\"=\\\x00-\x1f\x7f]+")


class OwnLog(logging.Handler):
    """Renders records and hands each as one line to `write`.

    Before the loop runs `write` is `direct`, which writes at once; the daemon replaces it by
    `Outputs.write_own` as long as the loop runs.
    """

    def __init__(
        self,
        form: Format,
        *,
        terminal: bool,
        place: OwnPlace = OwnPlace(),  # noqa: B008 - It is frozen.
    ) -> None:
        super().__init__()
        self.place = place
        self.direct: Write = direct(place)
        self.write: Write = self.direct
        self.setFormatter(_formatter("text" if form == "auto" and terminal else form))
        self._message = None if place.kind == "stderr" else _message_formatter(form)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; one that cannot be rendered does not become an error of its own."""
        message = b""
        try:
            text = self.format(record)
            if self._message is not None:
                message = _encoded(self._message.format(record))
        except Exception:  # noqa: BLE001 - It renders what anybody logs.
            text = f"cannot render a log record of {record.name}: {record.msg!r}"
            message = b"" if self._message is None else _encoded(text)
        component = str(getattr(record, "component", None) or "")
        self.write(OwnLine(_encoded(text), message, _priority(record.levelno), component))


def _encoded(text: str) -> bytes:
    return (text + "\n").encode("utf-8", "backslashreplace")


def _priority(level: int) -> int:
    """Return the number that syslog has for a level of `logging`."""
    for least, word in (
        (logging.CRITICAL, "crit"),
        (logging.ERROR, "err"),
        (logging.WARNING, "warning"),
        (logging.INFO, "info"),
    ):
        if level >= least:
            return PRIORITIES[word]
    return PRIORITIES["debug"]


def write_directly(line: OwnLine) -> None:
    """Write to standard error, waiting for it; a standard error that is gone is no error."""
    try:
        os.write(2, line.text)
    except OSError:
        return


def direct(place: OwnPlace, journal_socket: str = journal.JOURNAL) -> Write:
    """Return what writes lines at once, without a loop: for the start and the very end.

    What the collector does not take within a moment goes to standard error.
    """
    if place.kind == "stderr":
        return write_directly
    if place.kind == "syslog":
        courier = syslog.courier(place.syslog.dev)
    else:
        courier = journal.courier(journal_socket)

    def write(line: OwnLine) -> None:
        record = Record(
            place.origin(line, os.getpid()), datetime.now(UTC).timestamp(), line.message
        )
        try:
            done = courier.write([record])
        except OSError:
            done = 0
        courier.close()  # There are few such lines, and nobody else would close it.
        if done < len(line.message):
            write_directly(line)

    return write


def configure(
    form: Format,
    level: str,
    *,
    terminal: bool,
    place: OwnPlace = OwnPlace(),  # noqa: B008 - It is frozen.
) -> OwnLog:
    """Make every logger of the process write through one `OwnLog`, which is returned."""
    handler = OwnLog(form, terminal=terminal, place=place)
    root = logging.getLogger()
    for other in list(root.handlers):
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # What libraries tell about each request or connection is of no use to the operator.
    for name in ("hypercorn", "quart", "trio", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return handler


class _Text(logging.Formatter):
    """For a person: time of day, level if it is worth a look, text.

    Control characters are shown, not sent: a program's name must not move the cursor.
    """

    def format(self, record: logging.LogRecord) -> str:
        clock = self.formatTime(record, "%H:%M:%S")
        mark = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        return f"{clock} piesd: {mark}{shown(record.getMessage())}{_trace(self, record)}"


class _Message(logging.Formatter):
    """For a collector, which knows time, program and level: the text, and a traceback behind it.

    Each line of the traceback becomes a message of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        return f"{shown(record.getMessage())}{_trace(self, record)}"


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Return what follows the line of a bug of ours; indented, so that it forges no line."""
    if not record.exc_info:
        return ""
    lines = formatter.formatException(record.exc_info).split("\n")
    return "".join(f"\n  {shown(line)}" for line in lines)


class _Machine(logging.Formatter):
    """For a program: the same fields as logfmt or as JSON, times in UTC."""

    def __init__(self, render: Callable[[dict[str, str]], str]) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        fields = {
            "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        for name in ("component", "kind"):
            if value := getattr(record, name, None):
                fields[name] = str(value)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return self._render(fields)


def _as_logfmt(fields: dict[str, str]) -> str:
    return " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())


def _quoted(value: str) -> str:
    """Return *value* bare where it is one plain word, else as JSON writes it."""
    plain = _PLAIN.fullmatch(value) and not STEERING.search(value)
    return value if plain else _as_json(value)


def _as_json(value: object) -> str:
    return shown_in_json(json.dumps(value, ensure_ascii=False))


def _message_formatter(form: Format) -> logging.Formatter:
    """Text is without time and level, but what was asked for as JSON or logfmt is that."""
    return _Message() if form in ("auto", "text") else _formatter(form)


def _formatter(form: Format) -> logging.Formatter:
    # Three short functions, because structlog, which was here before, loads a terminal library at
    # every start: a tenth of a second and four megabytes (docs/performance.md).
    match form:
        case "text":
            return _Text()
        case "json":
            return _Machine(_as_json)
        case _:
            return _Machine(_as_logfmt)
