"""The table that pies' own `list` and `--status` print."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

# Source: pies.md section 5. It has no letters for `startup` and `shutdown`: S and H are ours.
_MODES = {
    "respawn": "C",
    "once": "c",
    "inetd": "I",
    "accept": "A",
    "pass-fd": "P",
    "startup": "S",
    "shutdown": "H",
    "sysinit": "i",
    "boot": "B",
    "bootwait": "w",
    "wait": "W",
    "ondemand": "D",
    "ctrlaltdel": "3",
    "kbrequest": "k",
    "powerfail": "F",
    "powerwait": "f",
    "powerfailnow": "n",
    "powerokwait": "o",
}
_STATUSES = {
    "finished": "f",
    "listener": "L",
    "running": "R",
    "stopping": "S",
    "sleeping": "s",
    "stopped": "T",
}

Description = dict[str, Any]


def lines(descriptions: Sequence[Description], now: dt.datetime) -> Iterator[str]:
    """Yield a line for each description: TAG, FLAGS, PID or URL or N/A, wake-up time, command.

    Args:
        now: the time in the zone in which people want to read it.
    """
    width = max((len(str(each.get("tag"))) for each in descriptions), default=0)
    for each in descriptions:
        where = str(each.get("PID") or each.get("URL") or "N/A")
        words = [f"{each.get('tag')!s:{width}}", flags(each), where]
        left = each.get("wakeup-time")
        if isinstance(left, int):
            words.append(f"{now + dt.timedelta(seconds=left):%H:%M:%S}")
        words.append(str(each.get("command") or " ".join(each.get("argv") or ())))
        yield " ".join(words).rstrip()


def flags(description: Description) -> str:
    """Return the two letters of a row; a command has only the first."""
    if description.get("type") == "command":
        return "E "
    status = str(description.get("status"))
    second = _STATUSES.get(status, "?")
    if status == "stopped" and not description.get("active") and not _stopped_by(description):
        second = "-"
    return _MODES.get(str(description.get("mode")), "?") + second


def _stopped_by(description: Description) -> bool:
    """Return whether somebody has stopped it: otherwise it was never to run."""
    match description.get("wish"):
        case {"action": "stop"}:
            return True
        case _:
            return False
