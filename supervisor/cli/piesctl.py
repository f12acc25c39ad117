"""The command `piesctl`: its verbs put together, and how everything that happens to one ends."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from supervisor import __version__
from supervisor.cli import codes, ending
from supervisor.cli.codes import Code
from supervisor.cli.completing import COMPLETE_VARIABLE, completion
from supervisor.cli.configuring import config
from supervisor.cli.explaining import explain
from supervisor.cli.instance import INSTANCE
from supervisor.cli.interrupts import die_at_once
from supervisor.cli.orders import ORDERS
from supervisor.cli.passwd import passwd
from supervisor.cli.questions import QUESTIONS
from supervisor.cli.settings import Family, Settings, common_options
from supervisor.cli.streams import STREAMS
from supervisor.cli.telinit import telinit
from supervisor.cli.terminal import Screen, clean
from supervisor.cli.top import top

if TYPE_CHECKING:
    from collections.abc import Sequence

_HELP = f"""Ask and steer a running piesd.

A SELECTOR picks components: a tag, 'all', or a condition such as
'status running and not mode inetd', in one word, in several, or as JSON.

\b
Exit codes:
{codes.table()}
"""


def _command() -> click.Group:
    group = Family(
        "piesctl",
        help=_HELP,
        params=common_options(hidden=False),
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    for command in (
        *QUESTIONS,
        explain,
        *ORDERS,
        *STREAMS,
        config,
        *INSTANCE,
        telinit,
        top,
        passwd,
        completion,
    ):
        group.add_command(command)
    return click.version_option(
        __version__, "--version", prog_name="piesctl", message="%(prog)s %(version)s"
    )(group)


COMMAND = _command()
"""The whole command line."""


@COMMAND.command("help")
@click.argument("words", metavar="[COMMAND]…", nargs=-1)
@click.pass_context
def help_(context: click.Context, words: tuple[str, ...]) -> int:
    """Show the help of COMMAND, or what commands there are."""
    command: click.Command = COMMAND
    parent = context.find_root()
    for word in words:
        found = command.get_command(parent, word) if isinstance(command, click.Group) else None
        if found is None:
            raise click.UsageError(f"No such command '{word}'.", parent)
        command, parent = found, click.Context(found, info_name=word, parent=parent)
    click.echo(command.get_help(parent))
    return Code.DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line and return the exit code. Nothing ends in a traceback.

    Without *arguments* it is the process itself that carries out its own command line.
    """
    if arguments is None:
        die_at_once()
    words = list(sys.argv[1:] if arguments is None else arguments)
    settings = Settings()
    try:
        return ending.carried_out("piesctl", lambda: int(_run(words, settings)))
    except KeyboardInterrupt:
        return int(Code.INTERRUPTED)


def _run(words: list[str], settings: Settings) -> int:
    try:
        if instruction := os.environ.get(COMPLETE_VARIABLE):
            return _complete(instruction)
        with COMMAND.make_context("piesctl", words, obj=settings) as context:
            return COMMAND.invoke(context) or Code.DONE
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as fault:
        return _explain_usage(fault, settings)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:  # (whatever it is, a person gets one line)
        if isinstance(error, OSError) and ending.is_unwritten(error):
            raise
        return _explain(error, settings)


def _complete(instruction: str) -> int:
    from click.shell_completion import shell_complete

    return shell_complete(COMMAND, {}, "piesctl", COMPLETE_VARIABLE, instruction)


def _explain_usage(fault: click.ClickException, settings: Settings) -> int:
    if settings.json:
        _data(settings, Code.USAGE, "usage", fault.format_message(), "")
    if not isinstance(fault, click.exceptions.NoArgsIsHelpError):
        sys.stderr.write(f"piesctl: {clean(fault.format_message())}\n")
        context = fault.ctx if isinstance(fault, click.UsageError) else None
        path = context.command_path if context is not None else "piesctl"
        sys.stderr.write(f"piesctl: try '{path} --help'\n")
    else:
        fault.show()
    return Code.USAGE


def _explain(error: Exception, settings: Settings) -> int:
    code = codes.for_error(error)
    kind, hint = str(getattr(error, "code", "bug")), str(getattr(error, "hint", ""))
    message = (
        str(error) if code is not Code.BUG else f"cannot go on: {type(error).__name__}: {error}"
    )
    if settings.json:
        _data(settings, code, kind, message, hint)
    # The problems of a configuration come as one message, a line each.
    for line in message.splitlines():
        sys.stderr.write(f"piesctl: {clean(line)}\n")
    if hint:
        sys.stderr.write(f"piesctl: {clean(hint)}\n")
    return code


def _data(settings: Settings, code: Code, kind: str, message: str, hint: str) -> None:
    failure = {"status": "ER", "exit": int(code), "code": kind, "message": message, "hint": hint}
    Screen(as_json=settings.json).data(failure)


if __name__ == "__main__":
    sys.exit(main())
