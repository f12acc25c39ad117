"""The options that every command of piesctl has, and what they make."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from supervisor.cli.terminal import Screen, clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.client import Client


@dataclass(slots=True)
class Settings:
    """What the options common to all commands say. They stand before the command or after it."""

    json: bool = False
    url: str | None = None
    instance: str | None = None
    no_color: bool = False
    verbose: bool = False

    def screen(self) -> Screen:
        """Return where the answers go."""
        return Screen(as_json=self.json, colour=not self.no_color)

    def client(self, timeout: float = 10.0) -> Client:
        """Return the daemon that the options and the environment name.

        Raises:
            BadAddress: they name none that we could speak to.
        """
        # Late, because `--help` and completion of a verb need no HTTP, which takes 40 ms to load.
        from supervisor.client import Client, find

        return Client(find(self.url, self.instance), timeout, trace if self.verbose else None)


def trace(text: str) -> None:
    """Write a line of the dialogue with the daemon to standard error."""
    sys.stderr.write(clean(text) + "\n")


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        settings = ctx.find_root().ensure_object(Settings)
        if value:
            setattr(settings, name, value)

    return callback


def common_options(*, hidden: bool) -> list[click.Parameter]:
    """Return the options that every command has; only the group's own are shown in the help."""

    def option(name: str, *declarations: str, **attributes: Any) -> click.Option:
        return click.Option(
            declarations, expose_value=False, hidden=hidden, callback=_keep(name), **attributes
        )

    return [
        option(
            "url",
            "--url",
            "-u",
            metavar="URL",
            help="The control socket: unix:///PATH or http://HOST:PORT (environment: PIESD_URL).",
        ),
        option(
            "instance",
            "--instance",
            "-i",
            metavar="NAME",
            help="The instance of piesd; 'piesd' by default (environment: PIESD_INSTANCE).",
        ),
        option("json", "--json", is_flag=True, help="Answer in JSON."),
        option("no_color", "--no-color", is_flag=True, help="No colours (environment: NO_COLOR)."),
        option("verbose", "--verbose", "-v", is_flag=True, help="Show the dialogue with piesd."),
    ]


class Verb(click.Command):
    """A command that takes the common options too, so that they may stand after its name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(common_options(hidden=True))


class Family(click.Group):
    """A group whose commands are `Verb`s."""

    command_class = Verb


Family.group_class = type

pass_settings = click.make_pass_decorator(Settings, ensure=True)
