"""No process and no descriptor to be had for a real piesd, and then there are again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from piesd_process import Piesd, piesd
from places import public_directory

pytestmark = pytest.mark.real

STRANGER = 54321
"""A user whom nobody is: root is let off the limit of processes."""

CONFIG = """
[component.neighbour]
command = "sleep 1000000"
[component.web]
command = "sleep 1000001"
enabled = false
"""


@pytest.fixture
def home() -> Iterator[Path]:
    with public_directory() as place:
        yield place


def unprivileged(home: Path) -> tuple[str, ...]:
    """Return what makes piesd one who is held to the limit of processes."""
    if os.geteuid() != 0:
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("there is no setpriv to make piesd another user than root")
    os.chown(home, STRANGER, STRANGER)
    # Python may be where only root can read it.
    rights = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    return ("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", *rights)


def refused(daemon: Piesd) -> bool:
    return bool(daemon.row("web").get("blocked-by", {}).get("type") == "no-room")


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("nproc", "Resource temporarily unavailable"),
        ("nofile", "Too many open files"),
    ],
)
def test_a_start_without_room_waits_and_comes_by_itself(
    home: Path, limit: str, reason: str
) -> None:
    become = unprivileged(home)
    if not shutil.which("prlimit"):
        pytest.skip("there is no prlimit to lower the limits of piesd")
    with piesd(home, CONFIG, wrapper=become) as daemon:
        neighbour = daemon.until_status("neighbour", "running")["PID"]
        # A few descriptors are needed to answer us; a start needs more.
        few = len(os.listdir(f"/proc/{daemon.pid}/fd")) + 2 if limit == "nofile" else 0

        def allow(most: int | str) -> None:
            lower = ("prlimit", f"--pid={daemon.pid}", f"--{limit}={most}:")
            subprocess.run([*become, *lower], check=True)

        before = subprocess.run(
            [*become, "prlimit", f"--pid={daemon.pid}", f"--{limit}", "--noheadings", "-oSOFT"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        allow(few)
        daemon.order("PUT", {"op": "component", "arg": "web"}, wait=None)
        daemon.until(lambda: refused(daemon))
        assert reason in daemon.row("web")["blocked-by"]["message"]
        allow(before)
        daemon.until_status("web", "running")
        assert daemon.row("web")["restarts"] == 0
        assert daemon.row("neighbour")["PID"] == neighbour
        daemon.until(lambda: "has room for processes again" in daemon.log)
        assert daemon.log.count("has no room for another process") == 1
