"""Limits of piesd are lowered under it while it works, and the disk of its logs is full."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from checked_lines import WRITER, expect_line
from faultday import SOON, Day, configuration
from namespaces import why_not
from piesd_process import Piesd, piesd
from places import public_directory
from unprivileged import unprivileged

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.usefixtures("nothing_is_left"),
]

LONG = bool(os.environ.get("CHAOS"))
DAYS = 5 if LONG else 1
"""How many days everything is short."""

LIMITS = {
    "nofile": ("Too many open files",),
    "nproc": (
        "the system has no room for another process",
        "the system has room for processes again",
    ),
    "as": (),  # It has memory of its own for a while, and need not say anything.
}
"""What is short, and what is to be told of it."""


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that other users may enter."""
    with public_directory() as path:
        yield path


# --- limits


def limit(daemon: Piesd, what: str, most: str, become: tuple[str, ...]) -> str:
    """Set the soft limit of a running piesd, as its user; return what it was."""
    tool = (*become, "prlimit", f"--pid={daemon.pid}")
    shown = subprocess.run(
        [*tool, f"--{what}", "--noheadings", "-oSOFT"], check=True, capture_output=True, text=True
    )
    subprocess.run([*tool, f"--{what}={most}:"], check=True)
    return shown.stdout.strip()


def test_limits_that_are_lowered_under_it_cost_nothing(home: Path) -> None:
    become = unprivileged(home)
    if not shutil.which("prlimit"):
        pytest.skip("there is no prlimit to lower the limits of piesd")
    with piesd(home, configuration(home), wrapper=become) as daemon:
        day = Day(daemon)
        day.live()
        day.expect_all_well()
        steady = daemon.row("steady")["PID"]
        for what, named in LIMITS.items():
            day.forget_log()
            few = {
                "nofile": day.descriptors() + 2,
                "nproc": 0,
                "as": psutil.Process(daemon.pid).memory_info().vms,
            }[what]
            before = limit(daemon, what, str(few), become)
            day.patience = 1.0
            for _ in range(DAYS):
                day.live()
            limit(daemon, what, before, become)
            day.patience = SOON
            day.expect_all_well()
            for words in named:
                daemon.until(lambda: words in day.log, f"{words!r} is told")  # noqa: B023 - asked at once
        assert daemon.row("steady")["PID"] == steady


# --- a full disk


def tiny_disk(place: Path) -> tuple[str, ...]:
    """Return what has piesd see a disk of 1 MiB, nearly full, at *place*."""
    if reason := why_not():
        pytest.skip(reason)
    place.mkdir()
    script = (
        f"mount -t tmpfs -o size=1m tiny {place} && head -c 900000 /dev/zero > {place}/filler"
        ' && exec "$@"'
    )
    return ("unshare", "--mount", "sh", "-c", script, "sh")


def test_a_disk_of_logs_that_is_full_costs_lines_that_are_counted(home: Path) -> None:
    (home / "writer.py").write_text(WRITER.format(lines=20_000))
    wrapper = tiny_disk(home / "log")
    text = f'[component.writer]\ncommand = "{sys.executable} {home}/writer.py"\n'
    text += f'stdout = "{home}/log/writer.log"\n[component.steady]\ncommand = "sleep 1000000"\n'
    with piesd(home, text, wrapper=wrapper) as daemon:
        log = Path(f"/proc/{daemon.pid}/root{home}/log/writer.log")
        pids = {row["tag"]: row["PID"] for row in daemon.rows()}
        daemon.until(lambda: "dropping lines of" in daemon.log, "lines are lost, and it is told")
        assert "No space left on device" in daemon.log
        assert {row["tag"]: row["PID"] for row in daemon.rows()} == pids
        (log.parent / "filler").unlink()
        daemon.until(lambda: "kind=output-resumed" in daemon.log, "there is room again")
        daemon.order("DELETE", {"op": "tag", "arg": "writer"})
        assert daemon.row("steady")["PID"] == pids["steady"]
        daemon.until(lambda: gaps(log), "the loss is in the log, where it was")
        shutil.copy(log, home / "writer.log")
    last = 0
    for line in (
        (home / "writer.log").read_text().splitlines()[:-1]
    ):  # Its end may be in the middle of one.
        if lost := re.fullmatch(LOST, line):
            last += int(lost[1])
        else:
            last += 1
            expect_line(line, last)


LOST = re.compile(r"piesd: (\d+) lines? .*lost here")


def gaps(log: Path) -> list[str]:
    return LOST.findall(log.read_text())
