"""The wait for an order to settle, with a display of how far it is."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from supervisor.cli.interrupts import TURN, tidily
from supervisor.cli.terminal import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supervisor.cli.terminal import Screen
    from supervisor.client import Client, Json, Order

_PACE = TURN
"""Seconds between two looks. An order that settles sooner shows no display at all."""

_FIELDS = ("tag", "status", "ready", "generation", "PID")

_SETTLED = {"start": {"running", "listener", "finished"}, "stop": {"stopped", "finished"}}

_NAMED = 3


def settle(client: Client, order: Order, before: Sequence[dict[str, Any]], screen: Screen) -> Json:
    """Send *order*, which waits, and return its answer; show how far it is if somebody watches.

    Args:
        before: the descriptions of what is matched, as they were before the order.

    Raises:
        Refused, NotSettled, Unreachable
    """
    pending = client.begin(order)
    try:
        if screen.watched and not pending.ready(_PACE):
            _watch(client, order, before, pending.ready)
        return pending.answer()
    finally:
        pending.close()


def _watch(client: Client, order: Order, before: Sequence[dict[str, Any]], ready: Any) -> None:
    """Show a bar until the answer is there. It reads only: the daemon decides what is settled."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from supervisor.client import ClientError

    console = Console(stderr=True, highlight=False, markup=False)
    generations = {row.get("tag"): row.get("generation") for row in before}
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}", markup=False),
    )
    # auto_refresh would start a thread.
    with (
        tidily(),
        Progress(*columns, console=console, transient=True, auto_refresh=False) as bar,
    ):
        task = bar.add_task(order.action, total=len(before), now="")
        began = time.monotonic()
        while not ready(_PACE) and time.monotonic() - began < (order.wait or 0) + 60:
            try:
                rows = client.programs(order.selector, fields=_FIELDS)
            except ClientError:
                continue  # The order has a connection of its own, and that one will tell.
            open_ = [row for row in rows if not _is_settled(order.action, row, generations)]
            bar.update(task, completed=len(before) - len(open_), now=_summary(open_))
            bar.refresh()


def _is_settled(action: str, row: dict[str, Any], generations: dict[Any, Any]) -> bool:
    if action == "restart":
        renewed = row.get("generation") != generations.get(row.get("tag"))
        return renewed and row.get("ready") is not False
    return row.get("status") in _SETTLED.get(action, {row.get("status")})


def _summary(rows: Sequence[dict[str, Any]]) -> str:
    counts = Counter(str(row.get("status")) for row in rows)
    states = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    names = " ".join(clean(str(row.get("tag"))) for row in rows[:_NAMED])
    more = " …" if len(rows) > _NAMED else ""
    return f"{states}: {names}{more}" if rows else ""
