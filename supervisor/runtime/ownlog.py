"""piesd's own log: one line a record, as text, logfmt or JSON, never waiting for a reader."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, MutableMapping
from typing import Any, Literal

import structlog

Write = Callable[[bytes], None]
Format = Literal["auto", "text", "logfmt", "json"]

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


def _formatter(form: Format) -> logging.Formatter:
    times = structlog.processors.TimeStamper(fmt="iso", utc=form != "text")
    before: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(allow={"component", "kind"}),
        times,
    ]
    after: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
    ]
    match form:
        case "json":
            after.append(structlog.processors.JSONRenderer())
        case "text":
            after.append(_as_text)
        case _:
            after.append(
                structlog.processors.LogfmtRenderer(
                    key_order=["timestamp", "level", "event"], drop_missing=True
                )
            )
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=after)


def _as_text(_logger: object, _name: str, event: MutableMapping[str, Any]) -> str:
    """Render for a person: time of day, level if it is worth a look, text.

    Control characters are shown, not sent: a program's name must not move the cursor.
    """
    clock = str(event.get("timestamp", ""))[11:19]
    level = str(event.get("level", "info"))
    mark = "" if level in ("info", "debug") else f"{level}: "
    text = str(event.get("event", "")).translate(_CONTROL)
    trace = f"\n{event['exception']}" if "exception" in event else ""
    return f"{clock} piesd: {mark}{text}{trace}"
