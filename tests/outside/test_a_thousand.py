"""A thousand components: each order, and each question, is one selector."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import psutil
import pytest

from piesd_process import Piesd, piesd, with_marker

pytestmark = [pytest.mark.real, pytest.mark.slow]

COUNT = 1000
BUDGET = 60.0
"""Seconds of computing for everything; it takes a fraction of that.

How long it takes depends on who else is at work here; what it costs does not.
"""

WAIT = 25.0
"""Seconds for one order: less than the patience of whoever asks."""

ALL = {"op": "glob", "arg": "s-*"}


@pytest.fixture(scope="module", autouse=True)
def _room() -> None:
    """Skip where the system does not let one user have so many processes or descriptors."""
    for name, number, least in (
        ("processes", resource.RLIMIT_NPROC, 2 * COUNT),
        ("open files", resource.RLIMIT_NOFILE, 4 * COUNT + 256),
    ):
        limit = resource.getrlimit(number)[1]
        if limit not in (resource.RLIM_INFINITY, -1) and limit < least:
            pytest.skip(f"the limit of {name} is {limit}, and {least} are needed")


def config(home: Path) -> str:
    head = f'[defaults]\nenv = {{ THOUSAND = "{home}" }}\n'
    return head + "".join(
        f'[component.s-{number:03}]\ncommand = "sleep 1000000"\n'
        f'labels = {{ half = "{number % 2}" }}\n'
        for number in range(COUNT)
    )


def pids(daemon: Piesd) -> set[int]:
    """Return the PIDs of all, which are as many as there are components, and all running."""
    rows = daemon.rows()
    assert {row["status"] for row in rows} == {"running"}
    found = {row["PID"] for row in rows}
    assert len(found) == COUNT
    return found


def cheap(daemon: Piesd) -> None:
    times = psutil.Process(daemon.pid).cpu_times()
    assert times.user + times.system < BUDGET


def test_a_thousand_components_run_are_listed_restarted_and_stopped(tmp_path: Path) -> None:
    mark = f"THOUSAND={tmp_path}"
    with piesd(tmp_path, config(tmp_path)) as daemon:
        answer = daemon.order("PUT", ALL, WAIT)
        assert answer.json == {"status": "OK"}
        first = pids(daemon)
        assert first == set(with_marker(mark)), "one process for each, and no other"

        half = daemon.ask("GET", '/programs?{"op":"label","arg":{"half":"1"}}'.replace('"', "%22"))
        assert len(half.json) == COUNT // 2

        answer = daemon.order("POST", ALL, WAIT)
        assert answer.json == {"status": "OK"}
        second = pids(daemon)
        assert not first & second
        assert second == set(with_marker(mark))

        answer = daemon.order("DELETE", ALL, WAIT)
        assert answer.json == {"status": "OK"}
        assert with_marker(mark) == []
        rows = daemon.rows()
        assert [row["status"] for row in rows] == ["stopped"] * COUNT
        assert all(row["last-exit"]["signal"] == "SIGTERM" for row in rows)
        assert not any(row["restarts"] for row in rows), "an order is no failure"
        cheap(daemon)


def test_piesctl_stops_a_thousand_by_one_selector_and_the_rest_goes_with_the_daemon(
    tmp_path: Path,
) -> None:
    with piesd(tmp_path, config(tmp_path)) as daemon:
        assert daemon.order("PUT", ALL, WAIT).json == {"status": "OK"}
        listed = daemon.piesctl("list", "status running")
        assert sum(" running " in line for line in listed.splitlines()) == COUNT
        daemon.piesctl("stop", "label half=0", "--wait", "25")
        rows = daemon.rows()
        assert [row["status"] for row in rows] == ["stopped", "running"] * (COUNT // 2)
        assert len(with_marker(f"THOUSAND={tmp_path}")) == COUNT // 2
        cheap(daemon)
    assert with_marker(f"THOUSAND={tmp_path}") == []


def test_a_thousand_that_are_killed_together_come_back_together(tmp_path: Path) -> None:
    with piesd(tmp_path, config(tmp_path)) as daemon:
        assert daemon.order("PUT", ALL, WAIT).json == {"status": "OK"}
        first = pids(daemon)
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        daemon.until(
            lambda: all(r["restarts"] == 1 and r["status"] == "running" for r in daemon.rows()),
            "all are back",
        )
        second = pids(daemon)
        assert second == set(with_marker(f"THOUSAND={tmp_path}"))
        cheap(daemon)
    assert with_marker(f"THOUSAND={tmp_path}") == []
