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
@click.option("--keep", is_flag=True, help="Let every component go on as it is.")
@pass_settings
def reboot(settings: Settings, *, keep: bool) -> int:
    """Make piesd execute itself anew, with the same arguments.

    Everything is stopped before and started after, unless --keep is given.
    """
    settings.client().reexec(keep=keep)
    kept = "; every component goes on as it is" if keep else ""
    _tell(settings, "reboot", f"piesd executes itself anew{kept}")
    return Code.DONE


def _tell(settings: Settings, action: str, text: str) -> None:
    screen = settings.screen()
    if screen.as_json:
        screen.data({"status": "OK", "action": action})
    else:
        screen.line(text)


INSTANCE: tuple[click.Command, ...] = (shutdown, reboot)
