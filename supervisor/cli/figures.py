"""Numbers and times as people read them."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

from typing import Any


def duration(seconds: float | None) -> str:
    """Return a length of time in at most two units: `4s`, `2m05s`, `3h20m`, `12d04h`."""
    if seconds is None:
        return ""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def size(count: float | None) -> str:
    """Return a number of bytes with three digits or so: `512B`, `4.2M`, `118M`."""
    if count is None:
        return ""
    value = float(count)
    for unit in "BKMGT":
        if value < 1000:
            return f"{value:.0f}{unit}" if value >= 10 or unit == "B" else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.0f}P"


def clock(moment: str | None) -> str:
    """Return an RFC 3339 time as the local time of day; what is no time is returned as it is."""
    if not moment:
        return ""
    from datetime import datetime

    try:
        return datetime.fromisoformat(moment).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return moment


def word(value: Any) -> str:
    """Return any JSON value as a cell of a table."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case list() if all(isinstance(item, str | int) for item in value):
            return " ".join(str(item) for item in value)
        case _:
            import json

            return json.dumps(value)
