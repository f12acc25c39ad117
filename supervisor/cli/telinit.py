"""The commands about the runlevel and the environment of an init process: telinit."""

from __future__ import annotations

import click

from supervisor.cli.codes import Code
from supervisor.cli.settings import Family, Settings, Verb, pass_settings

_WIDTH = len("initdefault")


@click.group(cls=Family)
def telinit() -> None:
    """Show and change the runlevel, and the environment of what an init process starts."""


@telinit.command(cls=Verb)
@click.argument("level", required=False)
@click.option(
    "-t",
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="Between the signal and SIGKILL, for what leaves.  [default: its stop-timeout]",
)
@pass_settings
def runlevel(settings: Settings, level: str | None, timeout: float | None) -> int:
    """Show the runlevel, or go over to LEVEL: 0 to 9, or S.

    With a, b or c, start the components that are on demand for that letter.
    """
    screen, client = settings.screen(), settings.client()
    if level is None and timeout is not None:
        raise click.UsageError("-t is for a change: which runlevel?")
    if level is not None:
        answer = client.set_runlevel(level, timeout)
        if screen.as_json:
            screen.data(answer)
        else:
            screen.line(f"asked for runlevel {level}")
        return Code.DONE
    found = client.runlevel()
    if screen.as_json:
        screen.data(found)
    else:
        for name, value in found.items():
            screen.line(f"{name + ':':{_WIDTH + 1}} {value}".rstrip())
    return Code.DONE


@telinit.group("environ", cls=Family)
def environ() -> None:
    """Show and change the environment of what an init process starts from now on."""


@environ.command("list")
@pass_settings
def list_(settings: Settings) -> int:
    """List the variables, a line each."""
    screen, listed = settings.screen(), settings.client().environ()
    if screen.as_json:
        screen.data(listed)
    else:
        for each in listed:
            screen.line(each)
    return Code.DONE


@environ.command("set")
@click.argument("assignment", metavar="NAME=VALUE")
@pass_settings
def set_(settings: Settings, assignment: str) -> int:
    """Set a variable."""
    name, equals, _ = assignment.partition("=")
    if not equals or not name:
        raise click.UsageError("a variable is set by NAME=VALUE")
    return _done(settings, settings.client().set_variable(assignment), f"{name} is set")


@environ.command()
@click.argument("name")
@pass_settings
def unset(settings: Settings, name: str) -> int:
    """Remove a variable."""
    return _done(settings, settings.client().unset_variable(name), f"{name} is not set any more")


def _done(settings: Settings, answer: object, text: str) -> int:
    screen = settings.screen()
    if screen.as_json:
        screen.data(answer)
    else:
        screen.line(text)
    return Code.DONE
