"""How fast orphans are reaped that all end at once: by piesd, and by a bare loop."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from bench import procfs, subjects
from bench.child import Late, make_waiter
from bench.measure import Figures, Place, Progress, canned
from bench.subjects import Subject, Visitor

_QUESTION = f"/alive/{subjects.tag(0)}"

_MAKER = str(Path(__file__).with_name("maker.py"))


def repetition(place: Place, count: int, progress: Progress) -> tuple[Figures, Figures]:
    """Have *count* orphans end, twice; return the figures of piesd and of the floor."""
    ours: Figures = {}
    bare: Figures = {}
    fifo, file = place.directory / "release", place.directory / "orphans"
    if not fifo.exists():
        os.mkfifo(fifo)
    words = [sys.executable, "-I", "-S", _MAKER, str(count), str(fifo), str(file)]
    words += make_waiter(place.directory)
    progress("floor: orphans")
    # Whoever answers shares the processors with thousands that end, even if it does nothing else.
    with (
        canned(place, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as path,
        Orphans(fifo, file) as orphans,
        subjects.reaping_floor(words, place.log) as floor,
    ):
        _reaped(floor, orphans, path, bare)
    progress("piesd: orphans")
    configuration = subjects.configuration(place.directory, 1, place.child._replace(command=words))
    with Orphans(fifo, file) as orphans, subjects.piesd(configuration, place.log) as subject:
        path = subjects.socket_of(place.directory)
        _reaped(subject, orphans, path, ours)
    return ours, bare


def _reaped(subject: Subject, orphans: Orphans, path: str, figures: Figures) -> None:
    """Measure while somebody asks all the time what is at *path*."""
    with subjects.connect(path) as client:
        client.ask(_QUESTION)
    orphans.wait_for_birth()
    before = procfs.cpu_seconds(subject.pid)
    with Visitor(path, _QUESTION) as visitor:
        figures["reap"] = orphans.end()
    figures["reap_cpu"] = procfs.cpu_seconds(subject.pid) - before
    figures["reap_held"] = visitor.longest


class Orphans:
    """Processes that live until they are told to end, which happens at the latest with the block.

    *fifo* is their standard input, *file* is where their numbers come from.
    """

    def __init__(self, fifo: Path, file: Path) -> None:
        self._file = file
        file.unlink(missing_ok=True)
        # For reading too: so it can be opened when nobody else has it open.
        self._fd = os.open(fifo, os.O_RDWR | os.O_CLOEXEC)

    def __enter__(self) -> Orphans:
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    def _release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def wait_for_birth(self, seconds: float = 60.0) -> None:
        """Return when all of them live.

        Raises:
            Late: they do not, after *seconds*.
        """
        end = time.perf_counter() + seconds
        while not self._file.exists():
            if time.perf_counter() > end:
                raise Late("the orphans were not born within a minute")
            time.sleep(0.005)

    def end(self, seconds: float = 60.0) -> float:
        """Let all of them end; return the seconds until the last one was reaped.

        Raises:
            Late: one of them was not, after *seconds*.
        """
        pids = [int(word) for word in self._file.read_text().split()]
        begun = time.perf_counter()
        self._release()
        while pids:
            try:
                os.kill(pids[-1], 0)  # It finds a process as long as nobody has reaped it.
            except ProcessLookupError:
                pids.pop()
                continue
            if time.perf_counter() - begun > seconds:
                raise Late(f"{len(pids)} orphans were not reaped within a minute")
            time.sleep(0.001)
        return time.perf_counter() - begun
