"""What the figures are called, what is aimed at, and the table and the file that show them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.measure import Figures


class Row(NamedTuple):
    """One line of the table.

    `most` is the largest ratio to the floor that is aimed at, or the largest value where it is
    `absolute`. A target is for `only` so many components, if that is given.
    """

    name: str
    text: str
    unit: str
    most: float | None = None
    absolute: bool = False
    only: int | None = None


ROWS = (
    Row("first", "exec to the first child running", "ms"),
    Row("up", "start-up: exec to the last child running", "ms", 5.0, only=1000),
    Row("spawns", "  of that, first to last child", "ms"),
    Row("start_cpu", "  CPU used until then", "ms"),
    Row("answers", "exec to the first answer, all running", "ms"),
    Row("hold_start", "  longest hold of the event loop until then", "ms"),
    Row("respawn", "respawn: kill -9 to running again, median", "ms", 5.0),
    Row("respawn_p99", "  99th percentile", "ms"),
    Row("respawn_listed", "  median while somebody lists all the time", "ms"),
    Row("mass", "mass death: all killed to all back", "ms"),
    Row("mass_cpu", "  CPU used for that", "ms"),
    Row("held", "  longest wait for GET /alive/TAG meanwhile", "ms"),
    Row("hold_deaths", "  longest hold of the event loop until then", "ms"),
    Row("idle_cpu", "idle: CPU", "s", 0.0, absolute=True),
    Row("idle_wake_ups", "  wake-ups", "", 0.0, absolute=True),
    Row("pss", "memory (PSS) at rest", "MiB", 60.0, absolute=True, only=1000),
    Row("pss_after", "  after all requests and deaths", "MiB", 60.0, absolute=True, only=1000),
    Row("rss", "  RSS at rest, shared pages counted whole", "MiB"),
    Row("list", "GET /programs, median", "ms", 0.015, absolute=True, only=1000),
    Row("list_p99", "  99th percentile", "ms"),
    Row("list_rate", "  requests per second", "/s"),
    Row("one", "GET /programs/TAG, median", "ms"),
    Row("one_p99", "  99th percentile", "ms"),
    Row("one_rate", "  requests per second", "/s"),
    Row("stop", "stop of all by one order", "ms"),
    Row("start", "start of all by one order", "ms"),
    Row("shutdown", "SIGTERM to the end of everything", "ms"),
    Row("reap", "all orphans end to all reaped", "s", 1.0, absolute=True, only=5000),
    Row("reap_cpu", "  CPU used for that", "ms"),
    Row("reap_held", "  longest wait for GET /alive/TAG meanwhile", "ms", 0.05, absolute=True),
)


class Result(NamedTuple):
    """One figure, over all repetitions. `ratio` is to the floor of the same repetition."""

    value: float
    floor: float | None
    ratio: float | None
    met: bool | None
    values: list[float]
    floors: list[float]


def results(repetitions: Sequence[tuple[Figures, Figures]], count: int) -> dict[str, Result]:
    """Return the medians of *repetitions*, each of piesd's figures and the floor's.

    *count* is how many there were of what is measured.
    """
    found = {}
    for row in ROWS:
        values = [ours[row.name] for ours, _ in repetitions if row.name in ours]
        floors = [bare[row.name] for _, bare in repetitions if row.name in bare]
        if not values:
            continue
        value = statistics.median(values)
        floor = statistics.median(floors) if floors else None
        ratio = None
        if floors and all(floors) and row.unit != "/s":
            ratio = statistics.median([a / b for a, b in zip(values, floors, strict=True)])
        aimed = value if row.absolute else ratio
        met = None
        if row.most is not None and aimed is not None and row.only in (None, count):
            met = aimed <= row.most
        found[row.name] = Result(value, floor, ratio, met, values, floors)
    return found


def table(found: dict[str, Result], title: str) -> str:
    """Return the results as people read them."""
    head = ("what", "piesd", "floor", "ratio", "target", "")
    lines = [head, *(_cells(row, found[row.name]) for row in ROWS if row.name in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    shown = [title.upper(), ""]
    for line in lines:
        first, *others = (
            cell.ljust(width) if column in (0, 5) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        shown.append("  ".join((first, *others)).rstrip())
    return "\n".join(shown)


def plain(found: dict[str, Result]) -> dict[str, Any]:
    """Return the results as they are saved."""
    return {name: result._asdict() for name, result in found.items()}


def _cells(row: Row, result: Result) -> tuple[str, ...]:
    target = verdict = ""
    if result.met is not None and row.most is not None:
        target = f"≤ {_value(row.most, row)}" if row.absolute else f"≤ {row.most:g}×"
        verdict = "met" if result.met else "MISSED"
    return (
        row.text,
        _value(result.value, row),
        "–" if result.floor is None else _value(result.floor, row),
        "–" if result.ratio is None else f"{result.ratio:.1f}×",
        target,
        verdict,
    )


def _value(value: float, row: Row) -> str:
    match row.unit:
        case "ms":
            value *= 1000
            return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f} ms"
        case "s":
            return f"{value:.2f} s"
        case "MiB":
            return f"{value:.1f} MiB"
        case unit:
            return f"{value:,.0f}{unit}"


def save(file: Path, machine: dict[str, Any], found: dict[str, Any]) -> None:
    """Write everything as JSON, seconds and MiB as they were measured."""
    content = {"machine": machine, **found}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1) + "\n")
