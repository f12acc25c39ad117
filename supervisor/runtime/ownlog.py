"""piesd's own log: one line a record, as text, logfmt or JSON, never waiting for a reader."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Literal

Write = Callable[[bytes], None]
Format = Literal["auto", "text", "logfmt", "json"]

_PLAIN = re.compile(r"[^\s\"=\\\x00-\x1f\x7f]+")

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127)} | {10: "\\n", 9: "\t"}


class OwnLog(logging.Handler):
    """Renders records and hands each as one line of bytes to `write`.

    Before the loop runs `write` is the blocking write to standard error; the daemon replaces it
    by the sink that all output to standard error shares.
    """

    def __init__(self, form: Format, *, terminal: bool) -> None:
        super().__init__()
        self.write: Write = write_directly
        self.setFormatter(_formatter("text" if form == "auto" and terminal else form))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; one that cannot be rendered does not become an error of its own."""
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - It renders what anybody logs.
            text = f"cannot render a log record of {record.name}: {record.msg!r}"
        self.write((text + "\n").encode("utf-8", "backslashreplace"))


def write_directly(line: bytes) -> None:
    """Write to standard error, waiting for it; a standard error that is gone is no error."""
    try:
        os.write(2, line)
    except OSError:
        return


def configure(form: Format, level: str, *, terminal: bool) -> OwnLog:
    """Make every logger of the process write through one `OwnLog`, which is returned."""
    handler = OwnLog(form, terminal=terminal)
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
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return f"{clock} piesd: {mark}{record.getMessage().translate(_CONTROL)}{trace}"


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
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _formatter(form: Format) -> logging.Formatter:
    # Three short functions, because structlog, which was here before, loads a terminal library at
    # every start: a tenth of a second and four megabytes (docs/performance.md).
    match form:
        case "text":
            return _Text()
        case "json":
            return _Machine(partial(json.dumps, ensure_ascii=False))
        case _:
            return _Machine(_as_logfmt)
