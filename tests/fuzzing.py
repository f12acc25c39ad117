"""Try a property on random texts: a few of them, or for as long as `FUZZ_SECONDS` says."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
"""How long each fuzzer runs; 0 for a short run, as part of the tests."""

LONGEST = 20.0
"""Seconds of computing after which an example hangs. What is quadratic takes hours."""


@contextlib.contextmanager
def no_hang(seconds: float = LONGEST) -> Iterator[None]:
    """Fail where the body computes for longer. How busy the machine is does not count."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"still not done after computing for {seconds:g} seconds")

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def fuzz(
    name: str,
    strategy: st.SearchStrategy[Any],
    check: Callable[[Any], object],
    *,
    seconds: float = SECONDS,
) -> None:
    """Call *check* with examples of *strategy*: as many as the profile says, then for *seconds*.

    A long run tells how many it has tried: `pytest -s` shows it.
    """
    tried = 0

    def guarded(example: Any) -> None:
        nonlocal tried
        tried += 1
        with no_hang():
            check(example)

    calm = settings(suppress_health_check=list(HealthCheck), deadline=None)
    calm(given(strategy)(guarded))()
    end = time.monotonic() + seconds
    if seconds:
        # Each round must draw anew, also where tests draw the same each time.
        new = settings(calm, max_examples=1000, derandomize=False, database=None)
        while time.monotonic() < end:
            new(given(strategy)(guarded))()
        sys.stdout.write(f"\n{name}: {tried} examples in {seconds:g} seconds\n")
