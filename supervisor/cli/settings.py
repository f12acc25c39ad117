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
    from supervisor.client.connection import Password
    from supervisor.client.place import Place


@dataclass(slots=True)
class Settings:
    """What the options common to all commands say. They stand before the command or after it."""

    json: bool = False
    url: str | None = None
    instance: str | None = None
    no_color: bool = False
    verbose: bool = False
    dump: bool = False
    contacts: str | None = None
    no_netrc: bool = False

    def screen(self) -> Screen:
        """Return where the answers go."""
        return Screen(as_json=self.json, colour=not self.no_color)

    def client(self, timeout: float = 10.0) -> Client:
        """Return the daemon that the options and the environment name.

        Raises:
            BadAddress: they name none that we could speak to.
            BadFile: a file that should name it cannot be used.
        """
        # Late, because `--help` and completion of a verb need no HTTP, which takes 40 ms to load.
        from supervisor.cli.finding import find_daemon
        from supervisor.client import Client
        from supervisor.client.connection import Telling

        place = find_daemon(self.url, self.instance, self.contacts, note=self._note)
        telling = Telling(trace, self.dump) if self.verbose or self.dump else None
        return Client(place, timeout, telling, credentials=self._credentials(place))

    def _credentials(self, place: Place) -> Password | None:
        if self.no_netrc:
            return None
        from supervisor.client.errors import BadFile
        from supervisor.client.netrc import credentials_for, netrc_path

        try:
            return credentials_for(place, netrc_path())
        except BadFile as fault:
            # Most questions need no password; one that does is refused, and this tells why.
            self._note(f"{fault}; going on without" + (f" ({fault.hint})" if fault.hint else ""))
            return None

    def _note(self, text: str) -> None:
        self.screen().note(f"piesctl: {text}")


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
        option(
            "verbose", "--verbose", "-v", is_flag=True, help="Show what is asked, and the status."
        ),
        option("dump", "--dump", "-d", is_flag=True, help="Show the whole dialogue with piesd."),
        option(
            "contacts",
            "--config-file",
            "-c",
            metavar="FILE",
            type=click.Path(),
            help="Read addresses of instances here, and not in /etc/piesctl.conf.",
        ),
        option(
            "no_netrc", "--no-netrc", "-N", is_flag=True, help="Take no password from ~/.netrc."
        ),
    ]


class Verb(click.Command):
    """A command that takes the common options too, so that they may stand after its name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A letter that a command uses itself means that: `top -d 2`.
        taken = {word for param in self.params for word in param.opts}
        for option in common_options(hidden=True):
            option.opts = [word for word in option.opts if word not in taken]
            self.params.append(option)


class Family(click.Group):
    """A group whose commands are `Verb`s."""

    command_class = Verb


Family.group_class = type

pass_settings = click.make_pass_decorator(Settings, ensure=True)
