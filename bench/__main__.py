"""Run the benchmark: `make bench`, or `make bench QUICK=1` for a short one.

It needs no root, leaves nothing behind but its result, and ends early on Ctrl-C. Whether targets
are met is in the table, not in the exit code: on a busy machine they are missed by luck.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import connections, orphans, procfs, report
from bench.child import Child, Late, make_child
from bench.measure import Figures, Place, Progress, Size, repetition

TIME_LIMIT = 270.0
"""Seconds after which no repetition with components is begun: they are to take less than five
minutes."""

PARTS = ("components", "connections", "orphans")
"""What is measured, one after the other."""


def main() -> int:
    """Measure what the command line says; return the exit code."""
    options = _parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    procfs.become_subreaper()
    try:
        with tempfile.TemporaryDirectory(prefix="piesd-bench-") as directory:
            try:
                return _measure(Path(directory), options)
            finally:
                # A second Ctrl-C must not leave anything behind.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                procfs.kill_descendants()
    except KeyboardInterrupt:
        print("\nbench: interrupted", file=sys.stderr)
        return 130


def _parse() -> argparse.Namespace:
    quick = os.environ.get("QUICK", "") not in ("", "0")
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure piesd.")
    parser.add_argument(
        "--components",
        type=int,
        nargs="+",
        default=[100] if quick else [100, 1000],
        metavar="N",
        help="how many components to supervise",
    )
    parser.add_argument(
        "--only", choices=PARTS, nargs="+", default=PARTS, help="measure nothing but this"
    )
    parser.add_argument(
        "--connect",
        type=float,
        default=0.4 if quick else 1.0,
        metavar="SECONDS",
        help="how long there are connections, to each server with one client and with many",
    )
    parser.add_argument(
        "--others",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIRECTORY",
        help="where to look for xinetd, inetd and tcpserver, beside PATH and /usr/sbin",
    )
    parser.add_argument(
        "--orphans",
        type=int,
        default=1000 if quick else 5000,
        metavar="N",
        help="how many orphans end at once",
    )
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="repetitions: 3")
    parser.add_argument(
        "--idle",
        type=float,
        default=5.0 if quick else 30.0,
        metavar="SECONDS",
        help="how long nothing is asked, with the most components",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path(__file__).parent / "results",
        metavar="DIRECTORY",
        help="where the figures are saved: bench/results",
    )
    return parser.parse_args()


def _measure(directory: Path, options: argparse.Namespace) -> int:
    fifo = directory / "reports"
    os.mkfifo(fifo)
    place = Place(directory, make_child(directory, fifo), fifo)
    most = max(options.components)
    if "components" in options.only and (problem := _too_many(most)):
        print(f"bench: cannot supervise {most} components: {problem}", file=sys.stderr)
        return 1
    machine = _machine(place.child)
    begun = time.monotonic()
    found: dict[str, Any] = {}
    print(
        f"piesd on {machine['system']}, Python {machine['python']}, {machine['cores']} cores",
        flush=True,
    )
    try:
        if "components" in options.only:
            found["components"] = _components(place, options, begun + TIME_LIMIT)
        if "connections" in options.only:
            found["connections"] = _connections(place, options)
        if "orphans" in options.only:
            found["orphans"] = _orphans(place, options)
    except (Late, OSError) as error:
        print(f"\nbench: {error}", file=sys.stderr)
        sys.stderr.write("".join(_last_words(place.log)))
        return 1
    machine["load_after"] = round(os.getloadavg()[0], 2)
    print(
        f"\nmedians of {options.repeat} (idling: once); children are {machine['child']};"
        f" load of the machine {machine['load_before']} before, {machine['load_after']} after;"
        f" {time.monotonic() - begun:.0f} s"
    )
    file = options.results / f"{machine['at'][:19].replace(':', '')}.json"
    try:
        report.save(file, machine, found)
    except OSError as error:
        print(f"bench: cannot save {file}: {error.strerror}", file=sys.stderr)
    else:
        print(f"saved to {os.path.relpath(file)}")
    return 0


def _components(place: Place, options: argparse.Namespace, end: float) -> dict[str, Any]:
    _warm_up(place)
    found = {}
    for count in options.components:
        results = report.results(_repetitions(place, count, options, end), count)
        print(f"\n{report.table(results, f'{count} components')}", flush=True)
        found[str(count)] = report.plain(results)
    return found


def _connections(place: Place, options: argparse.Namespace) -> connections.Found:
    progress = Progress("connections", sys.stdout.isatty())
    found = connections.measure(
        place.directory, options.repeat, options.connect, options.others, progress
    )
    progress.clear()
    print(f"\n{connections.table(found)}", flush=True)
    return found


def _orphans(place: Place, options: argparse.Namespace) -> dict[str, Any]:
    count, measured = options.orphans, []
    for number in range(1, options.repeat + 1):
        title = f"{count} orphans, {number} of {options.repeat}"
        progress = Progress(title, sys.stdout.isatty())
        measured.append(orphans.repetition(place, count, progress))
        progress.clear()
    results = report.results(measured, count)
    print(f"\n{report.table(results, f'{count} orphans')}", flush=True)
    return {str(count): report.plain(results)}


def _repetitions(
    place: Place, count: int, options: argparse.Namespace, end: float
) -> list[tuple[Figures, Figures]]:
    """Measure *count* components as often as is asked for, but not beyond *end* (monotonic)."""
    terminal = sys.stdout.isatty()
    size = Size(
        components=count,
        respawns=200,
        idle=options.idle if count == max(options.components) else 0.0,
        lists=200,
        questions=900,  # A connection is closed after a thousand.
        patience=3.0,
    )
    found: list[tuple[Figures, Figures]] = []
    longest = 0.0
    for number in range(1, options.repeat + 1):
        begun = time.monotonic()
        if found and begun + longest > end:
            print(f"\nbench: only {len(found)} repetitions, for want of time", file=sys.stderr)
            break
        progress = Progress(f"{count} components, {number} of {options.repeat}", terminal)
        found.append(repetition(place, size, progress))
        progress.clear()
        # What piesd does when nothing happens is the same each time; once is enough.
        size = size._replace(idle=0.0)
        longest = max(longest, time.monotonic() - begun - (options.idle if number == 1 else 0.0))
    return found


def _warm_up(place: Place) -> None:
    """Measure once for nothing: what is compiled and read for the first time takes longer."""
    progress = Progress("warming up", sys.stdout.isatty())
    size = Size(components=2, respawns=5, idle=0.0, lists=5, questions=5, patience=1.0)
    repetition(place, size, progress)
    progress.clear()


def _too_many(count: int) -> str:
    """Return why this machine does not let us have so many children, or nothing."""
    needed = count * 5 + 200  # Two pipes for each, and one to spare.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        return f"a process may open {hard} files (ulimit -Hn), and {needed} are needed"
    return ""


def _machine(child: Child) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "child": child.kind,
        "load_before": round(os.getloadavg()[0], 2),
    }


def _last_words(log: Path) -> list[str]:
    """Return the end of what the subjects complained of."""
    if not log.exists():
        return []
    with log.open(errors="replace") as lines:
        return [line for line in lines if " component=" not in line][-30:]


if __name__ == "__main__":
    sys.exit(main())
