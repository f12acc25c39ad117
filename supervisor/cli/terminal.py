"""What piesctl writes: text for people, plain text for pipes, JSON for programs."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

from supervisor.model.plaintext import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

_ANSI = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}

_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")


def clean(text: str) -> str:
    r"""Return *text* with everything that could steer a terminal written out, as in `\x1b`.

    Tags, commands and messages come from elsewhere, and a row must stay one row.
    """
    return shown(text)


def clean_line(text: str) -> str:
    """Return a line of a component's log as it may be shown: without its colours, tabs kept."""
    plain = _COLOURS.sub("", text)
    return "\t".join(clean(part) for part in plain.split("\t"))


def wants_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether *stream* is a terminal whose user wants colours.

    Source: no-color.org.
    """
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


class Screen:
    """Where the answers go: standard output, and standard error for what is no answer.

    Args:
        as_json: the answer is one JSON value (a stream of things: one each line).
        colour: False for no colours even where there could be some.
    """

    def __init__(self, *, as_json: bool = False, colour: bool = True) -> None:
        self.as_json = as_json
        self.terminal = sys.stdout.isatty() and not as_json
        self.watched = sys.stderr.isatty() and not as_json
        self.colour = colour and self.terminal and wants_colour(sys.stdout, os.environ)
        self._error_colour = colour and wants_colour(sys.stderr, os.environ)

    def data(self, value: Any) -> None:
        """Write *value* as JSON, for people if they look, else on one line.

        It is ASCII, so that nothing in it can steer a terminal.
        """
        self.data_line(value, indent=2 if sys.stdout.isatty() else None)

    def data_line(self, value: Any, indent: int | None = None) -> None:
        """Write *value* as one of several JSON values, and let readers have it now."""
        import json

        sys.stdout.write(json.dumps(value, indent=indent) + "\n")
        sys.stdout.flush()

    def line(self, text: str, style: str = "") -> None:
        """Write a line of an answer for people."""
        sys.stdout.write(paint(clean(text), style if self.colour else "") + "\n")

    def log_line(self, line: bytes | str, style: str = "") -> None:
        """Write a line (without its end) that a component wrote: as it is if nobody looks."""
        text = line.decode("utf-8", "surrogateescape") if isinstance(line, bytes) else line
        if self.terminal:
            sys.stdout.write(paint(clean_line(text), style if self.colour else "") + "\n")
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") + b"\n")

    def flush(self) -> None:
        """Let readers have what was written so far."""
        sys.stdout.flush()
        sys.stdout.buffer.flush()

    def note(self, text: str, style: str = "") -> None:
        """Write a line that is no part of the answer, to standard error."""
        sys.stderr.write(paint(clean(text), style if self._error_colour else "") + "\n")


def paint(text: str, style: str) -> str:
    """Return *text* in the given colour; with no style, as it is."""
    code = _ANSI.get(style)
    return f"\x1b[{code}m{text}\x1b[0m" if code else text
