"""A long life in a short time: respawns and requests without end cost neither memory nor files."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from piesd_process import Piesd, piesd

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.usefixtures("nothing_is_left"),
]

LONG = bool(os.environ.get("CHAOS"))
RESPAWNS = 1_000_000 if LONG else 9_000
WARM = 6_000
"""Respawns after which everything that is kept is there: rings, caches, the arenas of Python."""
MORE = 1.05
"""How much more memory there may be at the end."""


CONFIG = "[defaults]\nrespawn = { max = 1000000, window = 1 }\n" + "".join(
    f'[component.c{number}]\nshell = true\ncommand = "echo $$"\nstdout = "null"\n'
    for number in range(10)
)


def respawns(daemon: Piesd) -> int:
    # The requests are the other half of the load.
    daemon.ask("GET", "/programs?selector=" + '{"op":"tag","arg":"c1"}'.replace('"', "%22"))
    daemon.ask("GET", "/v1/diag/why/c1")
    return sum(row["restarts"] for row in daemon.rows())


def live_until(daemon: Piesd, most: int) -> int:
    """Return how many respawns there were, when that is *most*, however long it takes."""
    while (count := respawns(daemon)) < most:
        assert daemon.process.poll() is None, daemon.log
    return count


def test_memory_and_descriptors_stay_as_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with piesd(tmp_path, CONFIG) as daemon:
        process = psutil.Process(daemon.pid)
        live_until(daemon, WARM)
        memory, files = process.memory_full_info().uss, process.num_fds()
        count = live_until(daemon, RESPAWNS)
        assert daemon.order("DELETE", True, 30).json == {"status": "OK"}
        later, open_now = process.memory_full_info().uss, process.num_fds()
        with capsys.disabled():
            print(f"\nchaos: {count} respawns, {memory >> 10} KiB before, {later >> 10} after")
        assert later <= memory * MORE
        assert open_now <= files
        (tmp_path / "piesd.log").write_text("")  # A gigabyte of it is not to be kept.
