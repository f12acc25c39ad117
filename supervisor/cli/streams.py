"""The commands whose answer may go on: log, events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from supervisor.cli.codes import Code
from supervisor.cli.completing import complete_tag
from supervisor.cli.figures import clock, word
from supervisor.cli.selecting import TAG
from supervisor.cli.settings import Settings, Verb, pass_settings

if TYPE_CHECKING:
    from supervisor.cli.terminal import Screen

_LEVELS = {"warning": "yellow", "error": "red", "debug": "dim"}


@click.command(cls=Verb)
@click.argument("tag", type=TAG, shell_complete=complete_tag)
@click.option("--follow", "-f", is_flag=True, help="Go on with the lines to come.")
@click.option(
    "--lines",
    "-n",
    metavar="N",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Begin with the last N lines.",
)
@click.option("--stream", type=click.Choice(["stdout", "stderr"]), help="Only this one.")
@pass_settings
def log(settings: Settings, tag: str, follow: bool, lines: int, stream: str | None) -> int:
    """Show what TAG has written: the last lines, and with -f what follows."""
    client, screen = settings.client(), settings.screen()
    if follow:
        for message in client.follow_log(tag, tail=lines, stream=stream):
            _log_line(screen, message.data, message.kind, mark=stream is None)
            screen.flush()
        return Code.DONE
    for line in _lines(client.log(tag, tail=lines, stream=stream)):
        _log_line(screen, line, stream)
    return Code.DONE


def _lines(text: bytes) -> list[str]:
    """Return the lines of a log: those that end in a newline, and nothing else ends one."""
    lines = text.decode("utf-8", "surrogateescape").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _log_line(screen: Screen, line: str, stream: str | None, *, mark: bool = False) -> None:
    if screen.as_json:
        # JSON has no bytes: what was no UTF-8 becomes the replacement character.
        whole = line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        screen.data_line({"stream": stream, "line": whole})
    else:
        screen.log_line(line, "red" if mark and stream == "stderr" else "")


@click.command(cls=Verb)
@click.option("--follow", "-f", is_flag=True, help="Show the events to come instead.")
@click.option(
    "--since", metavar="N", type=click.IntRange(min=0), help="Only events after number N."
)
@pass_settings
def events(settings: Settings, follow: bool, since: int | None) -> int:
    """Show what has happened: starts, exits, orders, reloads."""
    client, screen = settings.client(), settings.screen()
    for message in client.events(since=since, follow=follow):
        try:
            event = json.loads(message.data)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            continue
        if screen.as_json:
            screen.data_line({"id": int(message.id) if message.id.isdecimal() else None, **event})
        elif event.get("level") != "debug" or settings.verbose:
            _show_event(screen, message.id, event)
            screen.flush()
    return Code.DONE


def _show_event(screen: Screen, number: str, event: dict[str, Any]) -> None:
    what = word(event.get("text")) or f"{word(event.get('tag'))} {word(event.get('kind'))}"
    style = _LEVELS.get(word(event.get("level")), "")
    screen.line(f"{clock(event.get('at'))}  {number}  {what}", style)


STREAMS: tuple[click.Command, ...] = (log, events)
