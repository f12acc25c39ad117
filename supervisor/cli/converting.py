"""The command that prints a configuration of another form as ours: `config convert`."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from supervisor.cli.codes import Code
from supervisor.cli.settings import Settings, Verb, pass_settings
from supervisor.cli.terminal import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supervisor.cli.terminal import Screen
    from supervisor.model.errors import Problem

_STDIN = "-"


@click.command(cls=Verb)
@click.argument("path", metavar="FILE", type=click.Path())
@click.option(
    "--syntax",
    metavar="NAME",
    help="What FILE is: pies, inetd, toml, supervisord, procfile or systemd; else its name tells.",
)
@click.option(
    "--to",
    "target",
    type=click.Choice(["toml", "pies"]),
    default="toml",
    show_default=True,
    help="What to print.",
)
@pass_settings
def convert(settings: Settings, path: str, syntax: str | None, target: str) -> int:
    """Print FILE as TOML (or in pies' syntax) that means the same; nothing is changed.

    FILE is a pies.conf, an inetd.conf, supervisord's INI, a Procfile or a systemd .service; - is
    standard input. What cannot be carried over is listed on standard error and in a comment at
    the top. Exit code 1 if FILE cannot be read or is not right.
    """
    from supervisor.config import convert as converters
    from supervisor.config.pies.options import Reading
    from supervisor.system.preprocess import run

    text, problems = _text(path)
    if text is None:
        return _show(settings.screen(), None, problems)
    syntax = syntax or converters.syntax_of(path, text)
    if syntax not in converters.SYNTAXES:
        raise click.UsageError(_which_syntax(path, syntax, converters.SYNTAXES))
    name = "<stdin>" if path == _STDIN else path
    to = converters.convert if target == "toml" else converters.convert_to_pies
    printed, problems = to(text, name, syntax, Reading(run=run))
    refused = any(not problem.warning for problem in problems)
    return _show(settings.screen(), None if refused else printed, problems)


def _which_syntax(path: str, syntax: str | None, known: Sequence[str]) -> str:
    from supervisor.config.tables import did_you_mean

    names = ", ".join(known)
    if syntax is None:
        return f"cannot tell the syntax of {clean(path)} by its name: give --syntax, one of {names}"
    hint = did_you_mean(syntax, known)
    return f"there is no converter for the syntax {clean(syntax)!r}{hint}; there are {names}"


def _text(path: str) -> tuple[str | None, list[Problem]]:
    """Return the text of a file, or None and why it cannot be had."""
    from supervisor.config.files import contents, reason, shown
    from supervisor.model.errors import Problem

    try:
        data = sys.stdin.buffer.read() if path == _STDIN else contents(path)[0]
        return data.decode(), []
    except OSError as error:
        return None, [Problem(shown(path), 0, "", f"cannot read: {reason(error)}")]
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        what = f"is not UTF-8: byte 0x{error.object[error.start]:02x}"
        return None, [Problem(shown(path), line, "", what)]


def _show(screen: Screen, printed: str | None, problems: Sequence[Problem]) -> int:
    """Write what came of it; *printed* is None if the file was refused."""
    if screen.as_json:
        fields = ("file", "line", "key", "message", "warning")
        listed = [{name: getattr(problem, name) for name in fields} for problem in problems]
        status = "ER" if printed is None else "OK"
        screen.data({"status": status, "text": printed, "problems": listed})
    else:
        for problem in problems:
            sys.stderr.write(f"piesctl: {clean(str(problem))}\n")
        # As it is, and not by the screen: the text is meant for a file.
        sys.stdout.write(printed or "")
    return Code.REFUSED if printed is None else Code.DONE
