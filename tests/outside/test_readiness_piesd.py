"""Readiness and health as an operator meets them: a real piesd, piesctl, and real programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from piesd_process import PATIENCE, Piesd, piesd

pytestmark = pytest.mark.real

SLOW = """
import os, socket
open({gate!r}).read()
if os.fork() == 0:
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.sendto(b"STATUS=recovered\\nREADY=1", os.environ["NOTIFY_SOCKET"])
    os._exit(0)
os.wait()
open({forever!r}).read()
"""


def waiting(daemon: Piesd, *words: str) -> subprocess.Popen[str]:
    program = "import sys; from supervisor.cli.piesctl import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PIESD_URL": f"unix://{daemon.socket}"},
    )


def test_what_needs_it_and_whoever_waits_for_it_wait_until_it_is_ready(tmp_path: Path) -> None:
    gate, forever = str(tmp_path / "gate"), str(tmp_path / "forever")
    os.mkfifo(gate)
    os.mkfifo(forever)
    program = tmp_path / "slow.py"
    program.write_text(SLOW.format(gate=gate, forever=forever))
    config = f"""
[component.db]
command = ["{sys.executable}", "-IS", "{program}"]
ready = "notify"
disable = true

[component.web]
command = "sleep 1000"
prerequisites = ["db"]
disable = true
"""
    with (
        piesd(tmp_path, config) as daemon,
        waiting(daemon, "start", "web", "--wait", "60") as start,
    ):
        daemon.until_status("db", "running")
        row = daemon.until(lambda: daemon.row("web")["active"] and daemon.row("web"))
        assert row["status"] == "stopped"
        assert row["blocked-by"]["type"] == "prerequisite"
        assert "db" in row["blocked-by"]["message"]
        assert daemon.row("db")["ready"] is False
        assert "READY=1 on NOTIFY_SOCKET" in daemon.piesctl("why", "db")
        assert "READY=1 on NOTIFY_SOCKET" in daemon.piesctl("why", "web")
        assert "awaits READY=1" in daemon.piesctl("list")
        assert start.poll() is None
        Path(gate).write_text("go")
        said, _ = start.communicate(timeout=PATIENCE)
        assert start.returncode == 0, said
        assert daemon.row("db")["ready"] is True
        assert daemon.row("web")["status"] == "running"
        assert "'db' says: recovered" in daemon.ask("GET", "/v1/events?follow=false").body.decode()


def test_what_never_becomes_ready_sleeps_in_the_end_and_says_why(tmp_path: Path) -> None:
    config = f"""
[component.never]
command = "sleep 1000"
ready = {{tcp = "{tmp_path}/nowhere", timeout = 1, interval = 0.1}}
respawn = {{max = 1, window = 100, sleep = 1000}}
"""
    with piesd(tmp_path, config) as daemon:
        row = daemon.until_status("never", "sleeping")
        assert row["restarts"] == 1
        assert row["last-exit"]["stage"] == "ready"
        reason = f"last try: connect to {tmp_path}/nowhere: No such file or directory"
        assert reason in row["last-exit"]["message"]
        assert reason in daemon.piesctl("why", "never")
        assert reason in daemon.ask("GET", "/v1/events?follow=false").body.decode()


def test_what_fails_its_health_check_is_restarted_with_the_reason(tmp_path: Path) -> None:
    well = tmp_path / "well"
    well.touch()
    config = f"""
[component.web]
command = "sleep 1000"
health = {{exec = "ls {well}", interval = 0.1, failures = 2}}
"""
    with piesd(tmp_path, config) as daemon:
        first = daemon.until_status("web", "running")["PID"]
        well.unlink()
        row = daemon.until(lambda: daemon.row("web")["restarts"] and daemon.row("web"))
        well.touch()
        assert row["last-exit"]["stage"] == "health"
        assert "the health check failed 2 times in a row" in row["last-exit"]["message"]
        assert "No such file or directory" in row["last-exit"]["message"]
        assert daemon.until_status("web", "running")["PID"] != first
        events = daemon.ask("GET", "/v1/events?follow=false").body.decode()
        assert "the health check failed 2 times in a row" in events
