"""The commands to the daemon itself: shutdown, reboot."""

from __future__ import annotations

import click

from supervisor.cli.codes import Code
from supervisor.cli.settings import Settings, Verb, pass_settings


@click.command(cls=Verb)
@pass_settings
def shutdown(settings: Settings) -> int:
    """Stop everything in order and end piesd."""
    settings.client().shutdown()
    _tell(settings, "shutdown", "piesd is shutting down")
    return Code.DONE


@click.command(cls=Verb)
@pass_settings
def reboot(settings: Settings) -> int:
    """Make piesd execute itself anew, with the same arguments."""
    settings.client().reexec()
    _tell(settings, "reboot", "piesd executes itself anew")
    return Code.DONE


def _tell(settings: Settings, action: str, text: str) -> None:
    screen = settings.screen()
    if screen.as_json:
        screen.data({"status": "OK", "action": action})
    else:
        screen.line(text)


INSTANCE: tuple[click.Command, ...] = (shutdown, reboot)
