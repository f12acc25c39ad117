"""A component's watchdog as an operator meets it: a real piesd, also one that is killed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from piesd_process import Piesd, piesd
from places import public_directory

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("nothing_is_left")]

PROGRAM = """
import os, select, socket
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
own = os.environ["WATCHDOG_PID"] == str(os.getpid()) and os.environ["WATCHDOG_USEC"]
print("told", own, flush=True)
while not os.path.exists({hangs!r}):
    try:
        to.sendto(b"WATCHDOG=1", os.environ["NOTIFY_SOCKET"])
    except OSError:
        pass  # Nobody supervises it at the moment.
    select.select([], [], [], 0.05)
select.select([], [], [])
"""


@pytest.fixture
def home() -> Iterator[Path]:
    with public_directory() as place:  # The path of a socket in it must not be long.
        yield place


def configured(home: Path) -> str:
    (home / "program.py").write_text(PROGRAM.format(hangs=str(home / "hangs")))
    return f"""
[component.web]
command = ["{sys.executable}", "-IS", "{home / "program.py"}"]
watchdog = 1
limits = {{ core = 0 }}
"""


def told(daemon: Piesd) -> bool:
    return b"told 1000000" in daemon.ask("GET", "/v1/components/web/log").body


def test_one_that_hangs_is_aborted_and_its_reason_is_shown(home: Path) -> None:
    with piesd(home, configured(home)) as daemon:
        daemon.until(lambda: told(daemon))
        (home / "hangs").touch()
        daemon.until(lambda: daemon.row("web")["restarts"] == 1)
        (home / "hangs").unlink()
        last = daemon.row("web")["last-exit"]
        assert (last["stage"], last["message"]) == (
            "watchdog",
            "it did not say WATCHDOG=1 for 1 s",
        )
        assert "did not say WATCHDOG=1" in daemon.piesctl("why", "web")


def test_another_piesd_goes_on_watching_what_one_that_was_killed_has_started(
    home: Path,
) -> None:
    with piesd(home, configured(home)) as daemon:
        daemon.until(lambda: told(daemon))
        pid = daemon.row("web")["PID"]
        daemon.kill()
        daemon.again()
        assert daemon.row("web")["PID"] == pid
        (home / "hangs").touch()
        daemon.until(lambda: daemon.row("web")["restarts"] == 1)
        assert daemon.row("web")["last-exit"]["stage"] == "watchdog"
