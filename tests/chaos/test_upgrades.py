"""piesd is executed anew again and again, under load: no client and no component notices."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from checked_lines import WRITER, expect_whole
from crowd import Crowd, connect
from piesd_process import piesd

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.usefixtures("nothing_is_left"),
]

LONG = bool(os.environ.get("CHAOS"))
TIMES = 50 if LONG else 3
STEADY = 200 if LONG else 20


def configuration(home: Path) -> str:
    writer = f'command = "{sys.executable} {home}/writer.py"\nstdout = "{home}/writer.log"\n'
    echo = f'mode = "inetd"\ncommand = "cat"\nsocket = "unix://{home}/echo.sock"\n'
    text = f"[component.writer]\n{writer}[component.echo]\n{echo}"
    text += '[component.failing]\ncommand = "false"\nrespawn = { max = 3, sleep = 100000 }\n'
    text += '[component.a]\ncommand = "sleep 1000000"\n'
    for number in range(STEADY):
        text += f'[component.c{number}]\ncommand = "sleep 1000000"\nprerequisites = ["a"]\n'
    return text


def test_nobody_notices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "writer.py").write_text(WRITER.format(lines=2000 if LONG else 200))
    with piesd(tmp_path, configuration(tmp_path)) as daemon:
        daemon.until(lambda: sum(row["status"] == "running" for row in daemon.rows()) > STEADY)
        daemon.until_status("failing", "sleeping")
        own = ("tag", "PID", "status", "restarts")
        before = [[row.get(name) for name in own] for row in daemon.rows()]
        client = connect(tmp_path / "echo.sock")
        crowd = Crowd(daemon, tmp_path / "echo.sock")
        try:
            for _ in range(TIMES):
                assert daemon.ask("PUT", "/instance/PID", {"keep": True}).status == 200
                daemon.wait_ready()
                client.sendall(b"still")
                assert client.recv(5) == b"still"
        finally:
            crowd.leave()
        client.close()
        assert crowd.failures == []
        daemon.until(lambda: len(daemon.rows("echo")) == 1)
        assert [[row.get(name) for name in own] for row in daemon.rows()] == before
        daemon.end()
        lines = expect_whole(tmp_path / "writer.log")
        assert "this is a bug" not in daemon.log, daemon.log
    with capsys.disabled():
        print(f"\nchaos: {TIMES} times anew, {crowd.served} clients, {crowd.asked} requests,")
        print(f"chaos: {lines} lines whole, and nobody turned away")
