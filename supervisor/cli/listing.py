"""Descriptions of components as rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from supervisor.cli.figures import duration, size, word
from supervisor.cli.table import Cell, Column, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

Description = dict[str, Any]
"""A description as JSON (control-api.md, section 2)."""

_STYLES = {
    "running": "green",
    "listener": "cyan",
    "sleeping": "red",
    "stopping": "yellow",
    "finished": "blue",
    "stopped": "dim",
}

_USAGE = (Column("CPU%", right=True), Column("MEMORY", right=True))


def columns(*, usage: bool, levels: bool = False) -> list[Column]:
    """Return the columns of a listing; *levels* is whether anything in it has runlevels."""
    return [
        Column("TAG"),
        *((Column("LEVELS"),) if levels else ()),
        Column("STATUS"),
        Column("PID/URL"),
        Column("UPTIME", right=True),
        Column("RESTARTS", right=True),
        *(_USAGE if usage else ()),
        Column("WHY"),
        Column("COMMAND"),
    ]


def has_levels(descriptions: Sequence[Description]) -> bool:
    """Return whether any of these is for some runlevels only."""
    return any(each.get("runlevels") is not None for each in descriptions)


def row(description: Description, *, usage: bool, levels: bool = False) -> Row:
    """Return one component as a row that fits `columns`."""
    status = word(description.get("status"))
    restarts = description.get("restarts") or 0
    return [
        Cell(word(description.get("tag")), "bold"),
        *((Cell(word(description.get("runlevels"))),) if levels else ()),
        Cell(status, status_style(status)),
        Cell(_where(description)),
        Cell(duration(description.get("uptime"))),
        Cell(str(restarts), "yellow" if restarts else "dim"),
        *(_usage(description) if usage else ()),
        Cell(notes(description), "dim" if status in {"running", "listener"} else ""),
        Cell(word(description.get("command") or description.get("argv")), "dim"),
    ]


def _where(description: Description) -> str:
    """Return the process number, or where it listens: the first place, and how many more."""
    where = word(description.get("PID", description.get("URL")))
    more = len(description.get("sockets") or ()) - 1
    return f"{where} and {more} more" if more > 0 and "PID" not in description else where


def status_style(status: str) -> str:
    """Return the colour of a status."""
    return _STYLES.get(status, "")


def notes(description: Description) -> str:
    """Return in one line what is to be said about a component: why it is not running, mostly."""
    match description.get("blocked-by"):
        case {"message": str(message)}:
            left = description.get("wakeup-time")
            again = f" ({duration(left)} left)" if isinstance(left, int) else ""
            return message.removeprefix("it ") + again
        case _:
            pass
    if peer := description.get("peer"):
        return f"serves {peer}"
    if description.get("status") == "running" and description.get("ready") is False:
        return "not ready yet"
    match description.get("last-exit"):
        case {"message": str(message)}:
            return f"last: {message}"
        case _:
            return ""


def chosen(descriptions: Sequence[Description], fields: Sequence[str]) -> list[Row]:
    """Return rows of just these attributes; dots go into objects."""
    return [[Cell(word(_dotted(each, field))) for field in fields] for each in descriptions]


def _dotted(value: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _usage(description: Description) -> list[Cell]:
    return [Cell(_percent(description.get("cpu"))), Cell(_memory(description.get("memory")))]


def _percent(cpu: Any) -> str:
    share = cpu.get("percent") if isinstance(cpu, dict) else cpu
    return f"{share:.1f}" if isinstance(share, int | float) else ""


def _memory(memory: Any) -> str:
    resident = memory.get("rss") if isinstance(memory, dict) else memory
    return size(resident) if isinstance(resident, int | float) else ""
