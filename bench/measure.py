"""The measurements: each is done to the floor and to piesd in turn, in the same minute.

What is measured of both goes through the same lines of code, so that what the measuring itself
costs is in both figures.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench import procfs, subjects
from bench.asking import Client
from bench.child import Child, Reports
from bench.subjects import Subject, Visitor

Figures = dict[str, float]
"""What one repetition measured, by the names in `bench.report`."""


class Size(NamedTuple):
    """How much is done in one repetition."""

    components: int
    respawns: int
    idle: float
    """Seconds for which nothing is asked; 0 leaves idling out."""
    lists: int
    questions: int
    patience: float
    """Seconds after which no more requests of one kind are made."""


class Place(NamedTuple):
    """Where everything is."""

    directory: Path
    child: Child
    fifo: Path

    @property
    def log(self) -> Path:
        """Where the subjects complain."""
        return self.directory / "log.txt"


def repetition(place: Place, size: Size, progress: Progress) -> tuple[Figures, Figures]:
    """Measure everything once; return the figures of piesd and of the floor."""
    ours: Figures = {}
    bare: Figures = {}
    with Reports(place.fifo, place.child) as reports:
        progress("floor: start, respawns, mass death, stop")
        with subjects.floor(size.components, place.child, place.log) as floor:
            _life(floor, reports, size, bare)
            bare["pss"], bare["rss"] = procfs.memory(floor.pid)
            bare["shutdown"] = bare["stop"] = floor.end()
        progress("piesd: start")
        file = subjects.configuration(place.directory, size.components, place.child)
        with subjects.piesd(file, place.log) as subject:
            _piesd(subject, reports, place, size, ours, bare, progress)
    return ours, bare


class Progress:
    """Tells what is being done, on one line."""

    def __init__(self, prefix: str, show: bool) -> None:
        self._prefix, self._show = prefix, show

    def __call__(self, text: str) -> None:
        if self._show:
            print(f"\r\x1b[K{self._prefix}: {text} …", end="", flush=True)

    def clear(self) -> None:
        """Remove the line."""
        if self._show:
            print("\r\x1b[K", end="", flush=True)


def _piesd(
    subject: Subject,
    reports: Reports,
    place: Place,
    size: Size,
    ours: Figures,
    bare: Figures,
    progress: Progress,
) -> None:
    path = subjects.socket_of(place.directory)
    pids = _start(subject, reports, size, ours)
    with subjects.connect(path) as client:
        client.ask(f"/alive/{subjects.tag(0)}")
        ours["answers"] = time.perf_counter() - subject.begun
        ours["hold_start"] = _longest_hold(client)
    if size.idle:
        progress(f"piesd: idle for {size.idle:.0f} s")
        _idle(subject, size, ours)
        bare["idle_cpu"] = bare["idle_wake_ups"] = 0.0  # It sits in sigwait(2).
    ours["pss"], ours["rss"] = procfs.memory(subject.pid)
    progress("piesd: respawns, mass death")
    pids = _deaths(subject, reports, pids, size, ours)
    with Visitor(path, "/programs"):
        pids, times = _respawns(reports, pids, max(20, size.respawns // 10))
    ours["respawn_listed"] = statistics.median(times)
    bare["respawn_listed"] = bare["respawn"]
    # A question that costs nothing waits for as long as the loop is held by something else.
    with Visitor(path, f"/alive/{subjects.tag(0)}") as visitor:
        pids, _ = _kill_all(reports, pids)
    ours["held"] = visitor.longest
    progress("piesd: requests")
    with subjects.connect(path) as client:
        ours["hold_deaths"] = _longest_hold(client)
    _requests(place, size, ours, bare)
    ours["pss_after"], _ = procfs.memory(subject.pid)
    progress("piesd: stop, start, shutdown")
    with subjects.connect(path) as client:
        begun = time.perf_counter()
        client.ask("/programs?true&wait=60", "DELETE")
        ours["stop"] = time.perf_counter() - begun
        begun = time.perf_counter()
        client.ask("/programs?true", "PUT")
        reports.wait(size.components)
        ours["start"] = reports.last_at - begun
        bare["start"] = bare["spawns"]
        client.ask("/programs?true&wait=60", "PUT")
    ours["shutdown"] = subject.end()


# --- children


def _life(subject: Subject, reports: Reports, size: Size, figures: Figures) -> None:
    """Measure what the floor has too."""
    pids = _start(subject, reports, size, figures)
    _deaths(subject, reports, pids, size, figures)


def _start(subject: Subject, reports: Reports, size: Size, figures: Figures) -> list[int]:
    reports.watch(subject.pid)
    pids = reports.wait(size.components)
    figures["up"] = reports.last_at - subject.begun
    figures["first"] = reports.first_at - subject.begun
    figures["spawns"] = reports.last_at - reports.first_at
    figures["start_cpu"] = procfs.cpu_seconds(subject.pid)
    return pids


def _deaths(
    subject: Subject, reports: Reports, pids: list[int], size: Size, figures: Figures
) -> list[int]:
    pids, times = _respawns(reports, pids, size.respawns)
    figures["respawn"] = statistics.median(times)
    figures["respawn_p99"] = percentile(times, 0.99)
    before = procfs.cpu_seconds(subject.pid)
    pids, figures["mass"] = _kill_all(reports, pids)
    time.sleep(0.2)  # It may be busy a little longer with what it has to note down.
    figures["mass_cpu"] = procfs.cpu_seconds(subject.pid) - before
    return pids


def _respawns(reports: Reports, pids: list[int], count: int) -> tuple[list[int], list[float]]:
    """Kill one child after another; return who lives then, and the seconds each took to be back."""
    pids = list(pids)
    times = []
    for _ in range(count):
        # A component dies when nothing else happens: what follows a start is over by then.
        time.sleep(0.004)
        victim = random.randrange(len(pids))
        begun = time.perf_counter()
        os.kill(pids[victim], signal.SIGKILL)
        (pids[victim],) = reports.wait(1)
        times.append(reports.last_at - begun)
    return pids, times


def _kill_all(reports: Reports, pids: list[int]) -> tuple[list[int], float]:
    """Kill all children; return the new ones and the seconds until the last of them ran."""
    begun = time.perf_counter()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    fresh = reports.wait(len(pids))
    return fresh, reports.last_at - begun


def _idle(subject: Subject, size: Size, figures: Figures) -> None:
    """Measure what piesd does when there is nothing to do, once it has come to rest."""
    before = procfs.wake_ups(subject.pid)
    # A worker thread that has nothing to do ends after ten seconds.
    for _ in range(15 if size.idle >= 1 else 0):
        time.sleep(1.0)
        now = procfs.wake_ups(subject.pid)
        if now == before and len(now) == 1:
            break
        before = now
    cpu, before = procfs.cpu_seconds(subject.pid), procfs.wake_ups(subject.pid)
    time.sleep(size.idle)
    figures["idle_cpu"] = procfs.cpu_seconds(subject.pid) - cpu
    figures["idle_wake_ups"] = float(procfs.woken(before, procfs.wake_ups(subject.pid)))


# --- requests


def _longest_hold(client: Client) -> float:
    """Return for how long the event loop was held at most since the start, in its own words."""
    _, _, body = bytes(client.ask("/v1/diag/about")).partition(b"\r\n\r\n")
    return float(json.loads(body)["longest-hold"]["seconds"])


def _requests(place: Place, size: Size, ours: Figures, bare: Figures) -> None:
    for name, question, count in (
        ("list", "/programs", size.lists),
        ("one", f"/programs/{subjects.tag(size.components // 2)}", size.questions),
    ):
        with subjects.connect(subjects.socket_of(place.directory)) as client:
            answer = bytes(client.ask(question))
            _rate(client, question, count, size, name, ours)
        with canned(place, answer) as path, subjects.connect(path) as same:
            _rate(same, question, count, size, name, bare)


def _rate(client: Client, path: str, count: int, size: Size, name: str, figures: Figures) -> None:
    client.times(path, 5, size.patience)
    times = client.times(path, count, size.patience)
    figures[f"{name}_rate"] = len(times) / sum(times)
    figures[name] = statistics.median(times)
    figures[f"{name}_p99"] = percentile(times, 0.99)


@contextmanager
def canned(place: Place, answer: bytes) -> Iterator[str]:
    """Serve *answer* from a bare loop, on the socket that this returns."""
    content, path = place.directory / "answer", place.directory / "canned"
    content.write_bytes(answer)
    try:
        with subjects.canned(path, content, place.log):
            yield str(path)
    finally:
        path.unlink(missing_ok=True)


def percentile(values: list[float], share: float) -> float:
    """Return the smallest value that at least *share* of *values* do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
