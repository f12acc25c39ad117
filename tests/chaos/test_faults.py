"""System calls fail under piesd, one at a time: it goes on, and loses nothing.

`make chaos` lets each call of a day fail once; the run that everybody does takes a few of them.
Each prints its seed.
"""

from __future__ import annotations

import errno
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from callfaults import KINDS, CallFaults, Refusal
from faultday import Day, Wrong, configuration
from lives import Sighting, sightings
from piesd_process import Piesd
from places import public_directory

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.usefixtures("nothing_is_left"),
]

LONG = bool(os.environ.get("CHAOS"))
DAYS = 8
"""How many calls fail in the short run."""
STARTS = 20
"""How many calls of each kind fail while piesd starts, in the long run; in the short one it is one
of all kinds, and one of the first."""
FIRST = 20

SEED = int(os.environ.get("CHAOS_SEED") or random.randrange(10**6))


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory whose path is short enough for those of sockets."""
    with public_directory() as path:
        yield path


def say(capsys: pytest.CaptureFixture[str], *lines: str) -> None:
    with capsys.disabled():
        for line in lines:
            print(f"\nchaos: {line}", end="")


@contextmanager
def faulty(home: Path, *kinds: str) -> Iterator[tuple[Piesd, CallFaults]]:
    """Run a piesd some calls of which may fail; it is not ready yet."""
    faults = CallFaults(home, *kinds)
    daemon = Piesd(home, configuration(home), wrapper=faults.wrapper, environ=faults.environ)
    try:
        faults.attach()
        yield daemon, faults
    finally:
        faults.fail_no_more()
        daemon.end()
        # With the filter they need an answer to all they do, also to end.
        for one in sightings(home):
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        faults.close()


def is_about_a_stage(refusal: Refusal) -> bool:
    """Return whether output could not be kept: that is told once for as long as it lasts."""
    return refusal.kind == "splice" or refusal.about.endswith(".stage")


def is_to_be_named(refusal: Refusal) -> bool:
    """Return whether somebody has to learn of it: a client, a start or output had to wait.

    What is asked again at once, and what its client is told, need not be in the log.
    """
    match refusal.kind:
        case _ if refusal.error in (errno.EINTR, errno.ECONNABORTED):
            return False
        case "write":
            return not refusal.about.endswith("piesd.log")  # It would have to be named there.
        case "open":
            return refusal.about.endswith((".stage", ".log", ".ledger"))
        case "kill":
            return True
        case kind:
            return kind in ("accept", "dup", "pipe", "splice")


def expect_named(day: Day, refusal: Refusal) -> None:
    reason = os.strerror(refusal.error)
    if is_about_a_stage(refusal):
        day.daemon.until(lambda: "cannot keep output in" in day.daemon.log, f"{refusal} is named")
    else:
        day.daemon.until(lambda: reason in day.log, f"{refusal} is named")


def chosen_calls(counts: dict[str, int], luck: random.Random) -> list[tuple[str, int]]:
    """Return which calls are to fail."""
    every = [(kind, number) for kind in sorted(counts) for number in range(1, counts[kind] + 1)]
    if LONG:
        return every
    # The kinds of which there are few calls are as good as the others.
    kinds = luck.sample(sorted(counts), min(DAYS, len(counts)))
    return [(kind, luck.randint(1, counts[kind])) for kind in kinds]


def test_a_failing_call_costs_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    luck = random.Random(SEED)
    refused: Counter[str] = Counter()
    named: Counter[str] = Counter()
    with faulty(home) as (daemon, faults):
        daemon.wait_ready()
        day = Day(daemon)
        day.live()
        day.expect_all_well()
        faults.count()
        day.live()
        counts = faults.counts
        day.expect_all_well()
        begun = day.descriptors()
        say(capsys, f"{sum(counts.values())} calls of a day may fail, seed {SEED}")
        for kind, number in chosen_calls(counts, luck):
            day.forget_log()
            faults.fail(kind, number, luck)
            day.live()
            refusal = faults.fail_no_more()
            try:
                day.expect_all_well()
            except Wrong as wrong:
                raise AssertionError(f"{refusal}: {wrong}; log:\n{day.log}") from None
            if refusal is not None:
                refused[kind] += 1
                reason = os.strerror(refusal.error)
                if is_to_be_named(refusal):
                    expect_named(day, refusal)
                named[kind] += reason in day.log
        daemon.until(lambda: day.descriptors() <= begun + 2, "no descriptor is lost")
    figures = ", ".join(f"{kind} {named[kind]}/{refused[kind]}" for kind in sorted(refused))
    say(capsys, f"{refused.total()} calls failed; named in the log: {figures}")


def starts(counts: dict[str, int], luck: random.Random) -> list[tuple[str, int]]:
    """Return which calls are to fail in a start."""
    return [
        (kind, number)
        for kind in sorted(counts)
        for number in sorted(luck.sample(range(1, counts[kind] + 1), min(STARTS, counts[kind])))
    ]


def calls_of_a_start(home: Path) -> dict[str, int]:
    with faulty(home) as (daemon, faults):
        faults.begin_at(str(daemon.config))
        daemon.wait_ready()
        return faults.counts


def how_it_started(daemon: Piesd, faults: CallFaults) -> str:
    """Look at how a start goes in which a call fails; return that in a word."""
    ready = daemon.ready_or_ended()
    refusal = faults.fail_no_more()
    try:
        if ready:
            day = Day(daemon)
            day.live()
            day.expect_all_well()
            return "started"
        last = daemon.log.splitlines()[-1:]
        if not last or not last[0].startswith("piesd: cannot "):
            raise Wrong(f"it has ended with {last}")
        if "Traceback" in daemon.log or left_of(daemon.home):
            raise Wrong(f"it has left {left_of(daemon.home)}")
    except Wrong as wrong:
        raise AssertionError(f"{refusal}: {wrong}; log:\n{daemon.log}") from None
    return "refused"


def left_of(home: Path) -> list[Sighting]:
    return sightings(home)


def test_a_call_that_fails_while_it_starts_ends_it_with_a_reason_or_not_at_all(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    luck = random.Random(SEED)
    if LONG:
        chosen = starts(calls_of_a_start(home), luck)
    else:
        chosen = [(luck.choice(sorted(KINDS)), luck.randint(1, FIRST))]
    ends: Counter[str] = Counter()
    for kind, number in chosen:
        for name in ("piesd.log", "notify"):
            (home / name).unlink(missing_ok=True)
        with faulty(home, kind, "open") as (daemon, faults):
            faults.begin_at(str(daemon.config))
            faults.fail(kind, number, luck)
            ends[how_it_started(daemon, faults)] += 1
    say(capsys, f"{ends.total()} starts, seed {SEED}: {dict(ends)}")
