"""The command that keeps showing the components: top."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

import os
import select
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from supervisor.cli.codes import Code
from supervisor.cli.completing import complete_selector
from supervisor.cli.interrupts import TURN, tidily
from supervisor.cli.settings import Settings, Verb, pass_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType

    from supervisor.cli.terminal import Screen
    from supervisor.client import Client, Json, Selector


@click.command(cls=Verb)
@click.argument("selector", nargs=-1, shell_complete=complete_selector, metavar="[SELECTOR…]")
@click.option(
    "--interval",
    "-d",
    metavar="SECONDS",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
@pass_settings
def top(settings: Settings, selector: tuple[str, ...], interval: float) -> int:
    """Show the components and what they use, again and again; q ends it.

    Where nobody watches (a pipe, --json), it is shown once.
    """
    from supervisor.cli import listing, table
    from supervisor.cli.selecting import read_json

    wanted: Selector = read_json(selector) if selector else True
    client, screen = settings.client(), settings.screen()
    rows = client.programs(wanted, usage=True)
    if screen.as_json:
        screen.data(rows)
    elif screen.terminal:
        _watch(client, wanted, screen, interval)
    else:
        cells = [listing.row(row, usage=True) for row in rows]
        table.show(screen, listing.columns(usage=True), cells)
    return Code.DONE


def _watch(client: Client, selector: Selector, screen: Screen, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, markup=False, emoji=False, no_color=not screen.colour)
    with (
        tidily(),
        _keys() as pressed,
        Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live,
    ):
        while True:
            rows = client.programs(selector, usage=True)
            live.update(_picture(rows, console.width, console.height), refresh=True)
            if pressed(interval) in {b"q", b"Q", b"\x1b", b"\x04"}:
                return


def _picture(rows: list[dict[str, Json]], width: int, height: int) -> RenderableType:
    """Return what one look shows: a line of sums, then as many components as there is room for."""
    from collections import Counter

    from rich.console import Group
    from rich.text import Text

    from supervisor.cli import listing, table
    from supervisor.cli.terminal import clean

    counts = Counter(str(row.get("status")) for row in rows)
    head = Text(f"{len(rows)} components", style="bold")
    for status, count in sorted(counts.items()):
        head.append(f"  {count} {clean(status)}", style=listing.status_style(status))
    room = max(1, height - 3)
    shown = [listing.row(row, usage=True) for row in rows[:room]]
    parts: list[RenderableType] = [
        head,
        table.rich_table(listing.columns(usage=True), shown, width),
    ]
    if len(rows) > room:
        parts.append(Text(f"… and {len(rows) - room} more; give a selector", style="dim"))
    return Group(*parts)


@contextmanager
def _keys() -> Iterator[Callable[[float], bytes]]:
    """Give a function that waits so many seconds for a key, without echo, and returns it."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    if not os.isatty(descriptor):
        yield lambda seconds: _key(None, seconds)
        return
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield lambda seconds: _key(descriptor, seconds)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _key(descriptor: int | None, seconds: float) -> bytes:
    """Return the key that is pressed on a terminal within so many seconds, or nothing."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        sources = [] if descriptor is None else [descriptor]
        readable, _, _ = select.select(sources, [], [], min(left, TURN))
        if readable:
            return os.read(readable[0], 1) or b"q"  # The end of a terminal ends us too.
    return b""
