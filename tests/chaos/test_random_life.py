"""Whatever happens to a piesd and its components, what must hold of them holds.

`make chaos` goes on for half an hour; the run that everybody does is short. Each prints its seed.
"""

from __future__ import annotations

import os
import random
import time
from itertools import count
from pathlib import Path

import pytest

from life_acts import life
from lives import sightings

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.usefixtures("nothing_is_left"),
]

LONG = bool(os.environ.get("CHAOS"))
SECONDS = float(os.environ.get("CHAOS_SECONDS") or 1800)
"""Of the long form."""
ACTS = 30
"""Of the short form."""
ROUND = 15
"""Acts after which everything has to come to rest."""
MORE_FILES = 6
"""How many more descriptors there may be in the end: some components come and go by themselves."""

SEED = int(os.environ.get("CHAOS_SEED") or (1 if os.environ.get("CI") else random.randrange(10**6)))
"""CI gives the same verdict for the same commit, as far as real processes let it."""


def test_whatever_happens_what_must_hold_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\nchaos: a random life, seed {SEED}")
    end = time.monotonic() + SECONDS
    with life(tmp_path, SEED) as one:
        one.begin_anew()
        files = one.descriptors()
        for number in count(1):
            if (time.monotonic() > end) if LONG else (number > ACTS):
                break
            one.act(number)
            if number % ROUND == 0:
                one.rest()
        one.begin_anew()
        more = one.descriptors() - files
        assert more.total() <= MORE_FILES, f"open in the end {more} more than {files}"
        one.give("stop", True, 30)
        assert sightings(tmp_path) == []
        one.look()
    with capsys.disabled():
        print(f"chaos: {one.figures}")
