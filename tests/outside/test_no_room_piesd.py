"""No process and no descriptor to be had for a real piesd, and then there are again."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from piesd_process import Piesd, piesd
from places import public_directory
from supervisor.system.linux import LinuxSystem
from supervisor.system.shortage import shortage
from unprivileged import unprivileged

pytestmark = pytest.mark.real

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


def test_too_few_descriptors_to_begin_with_are_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "piesd.toml").write_text(CONFIG)
    few = ("sh", "-c", 'ulimit -n 20; exec "$@"', "sh")
    done = subprocess.run(
        [*few, sys.executable, "-m", "supervisor", "-c", str(tmp_path / "piesd.toml")],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        timeout=30,
    )
    assert done.returncode == 69
    (line,) = done.stderr.splitlines()
    assert line.startswith("piesd: cannot start: ")


SHORT_OF_MEMORY = """
import errno, importlib, os
load, left = importlib.import_module, [2]
def load_later(name, *more):
    if name == "supervisor.api.serve" and left[0]:
        left[0] -= 1
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    return load(name, *more)
importlib.import_module = load_later
"""


def test_what_answers_requests_is_loaded_when_it_can_be_read(home: Path) -> None:
    (home / "sitecustomize.py").write_text(SHORT_OF_MEMORY)
    with piesd(home, CONFIG, environ={"PYTHONPATH": str(home)}) as daemon:
        assert daemon.until_status("neighbour", "running")
        daemon.until(lambda: "cannot answer requests yet: Cannot allocate memory" in daemon.log)


async def test_a_thread_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    run, left = trio.to_thread.run_sync, [2]

    async def short_of_threads(*args: Any, **how: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise RuntimeError("can't start new thread")
        return await run(*args, **how)

    monkeypatch.setattr(trio.to_thread, "run_sync", short_of_threads)
    system = LinuxSystem()
    try:
        assert await system.blocking(lambda: "done") == "done"
        left[0] = 100
        with pytest.raises(BlockingIOError):
            await system.blocking(lambda: "never")
    finally:
        system.dispose()


def test_what_was_short_is_found_behind_other_errors() -> None:
    short = OSError(errno.ENFILE, "Too many open files in system")
    internal = RuntimeError("internal")
    internal.__cause__ = ExceptionGroup("many", [AssertionError(), short])
    assert shortage(internal) is short
    assert shortage(ExceptionGroup("many", [AssertionError(), OSError(errno.EBADF, "")])) is None
