"""piesd is killed again and again at random moments, under load: that costs nothing.

`make chaos` does it at length; the run that everybody does is short. Each prints its seed.
"""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from checked_lines import WRITER, expect_whole
from lives import doubles, sightings
from piesd_process import Piesd, piesd
from supervisor.system.proctable import read_process

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.usefixtures("nothing_is_left"),
]

LONG = bool(os.environ.get("CHAOS"))
KILLS = 100 if LONG else 4
STEADY = 150 if LONG else 30
OTHERS = 10 if LONG else 3
LINES = 2000 if LONG else 200
"""That each writer writes in a second."""
"""Of each kind that is always on the move."""

SEED = int(os.environ.get("CHAOS_SEED") or random.randrange(10**6))


KINDS = {
    "steady": 'command = "sleep 1000000"\n',
    "quick": 'shell = true\ncommand = "exec sleep 0.{some}"\nrespawn = {{ max = 100000 }}\n',
    "failing": 'shell = true\ncommand = "exit 3"\nrespawn = {{ max = 3, sleep = 1 }}\n',
    "deaf": (
        "shell = true\n"
        "command = \"trap '' TERM; while :; do sleep 0.1; done\"\nstop-timeout = 0.3\n"
    ),
    "leaves": 'shell = true\ncommand = "setsid sleep 1000001 & exec sleep 0.{some}"\n'
    "respawn = {{ max = 100000 }}\nstop-timeout = 0.3\n",
    "echo": 'mode = "inetd"\ncommand = "cat"\nsocket = "unix://{home}/{tag}.sock"\n',
    "writer": 'command = "{python} {home}/writer.py"\nstdout = "{home}/{tag}.log"\n',
    "job": 'mode = "once"\ncommand = "sleep 1000002"\n',
}


def configuration(home: Path) -> str:
    text = f'[daemon]\nshutdown-timeout = 10\n[defaults]\nenv = {{ CHAOS = "{home}" }}\n'
    for kind, table in KINDS.items():
        for number in range(STEADY if kind == "steady" else OTHERS):
            tag = f"{kind}{number}"
            filled = table.format(some=number % 10, home=home, tag=tag, python=sys.executable)
            text += f"[component.{tag}]\n{filled}"
            if kind == "steady" and number % 3:
                text += f'prerequisites = ["steady{number - 1}"]\n'
    return text


class Load:
    """Orders, and clients who stay and want an answer until the end."""

    def __init__(self, home: Path, luck: random.Random) -> None:
        self._home, self._luck = home, luck
        self.clients: list[socket.socket] = []
        self.daemon: Piesd | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._give_orders)
        self._thread.start()

    def _give_orders(self) -> None:
        """Stop and start what may be; whoever was killed meanwhile does not answer."""
        while not self._over.is_set():
            tag = f"{self._luck.choice(['deaf', 'leaves', 'quick'])}{self._luck.randrange(OTHERS)}"
            method = self._luck.choice(["PUT", "DELETE", "POST"])
            with suppress(OSError, ValueError, AssertionError, HTTPException):
                if self.daemon is not None:
                    self.daemon.order(method, {"op": "tag", "arg": tag}, None)
            select.select([], [], [], 0.02)

    def come(self) -> None:
        """Have another client that is served from now on, until the end."""
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(30)
        client.connect(str(self._home / f"echo{self._luck.randrange(OTHERS)}.sock"))
        client.sendall(b"first")
        assert client.recv(100) == b"first"
        self.clients.append(client)

    def ask(self) -> None:
        """All who were ever served are served still."""
        for client in self.clients:
            client.sendall(b"again")
            assert client.recv(100) == b"again"

    def leave(self) -> None:
        self._over.set()
        self._thread.join()
        for client in self.clients:
            client.close()


def test_kills_cost_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    luck = random.Random(SEED)
    with capsys.disabled():
        print(f"\nchaos: {KILLS} kills, seed {SEED}")
    took: list[float] = []
    (tmp_path / "writer.py").write_text(WRITER.format(lines=LINES))
    with piesd(tmp_path, configuration(tmp_path)) as daemon:
        load = Load(tmp_path, luck)
        try:
            daemon.until(lambda: all_steady_run(daemon), "everything runs")
            steady = steady_processes(tmp_path)
            for _ in range(KILLS):
                load.daemon = daemon
                load.come()
                select.select([], [], [], luck.uniform(0, 0.3))
                daemon.kill()
                select.select([], [], [], luck.choice([0, 0, luck.uniform(0, 0.5)]))
                begun = time.monotonic()
                daemon.again()
                took.append(time.monotonic() - begun)
                expect_no_doubles(daemon, tmp_path)
                assert steady_processes(tmp_path) == steady
                load.ask()
            load.daemon = None
        finally:
            load.leave()
        assert steady_processes(tmp_path) == steady
        assert {row["restarts"] for row in daemon.rows() if row["tag"].startswith("steady")} == {0}
        known = {row["PID"] for row in daemon.rows() if row.get("PID")}
        daemon.until(lambda: not strangers(daemon, tmp_path), "everything belongs to somebody")
        assert known
        assert daemon.order("DELETE", True, 30).json == {"status": "OK"}
        try:
            daemon.until(lambda: not sightings(tmp_path), "nothing is left")
        except AssertionError:
            left = [(one, read_process(one.pid)) for one in sightings(tmp_path)]
            raise AssertionError(f"left: {left}; log:\n{daemon.log}") from None
        for word in ("kind=bug", "this is a bug", "Traceback"):
            assert word not in daemon.log, daemon.log
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_end() == 0
        written = [expect_whole(tmp_path / f"writer{number}.log") for number in range(OTHERS)]
        assert all(written)
    with capsys.disabled():
        print(f"chaos: ready again after {sorted(took)[len(took) // 2]:.2f} s (median)")
        print(f"chaos: {sum(written)} lines of {len(written)} writers are whole")


def all_steady_run(daemon: Piesd) -> bool:
    rows = [row for row in daemon.rows() if row["tag"].startswith(("steady", "job", "writer"))]
    return all(row["status"] == "running" for row in rows)


def steady_processes(home: Path) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for one in sightings(home):
        if one.key.startswith(("steady", "job", "writer")):
            found.setdefault(one.key, []).append((one.pid, one.started))
    return found


def expect_no_doubles(daemon: Piesd, home: Path) -> None:
    """Of no component do two generations live at once."""
    daemon.until(lambda: not doubles(sightings(home)), "no component runs twice")


def strangers(daemon: Piesd, home: Path) -> set[str]:
    """Return of which components something lives that piesd takes for down."""
    down = {row["tag"] for row in daemon.rows() if row["status"] in ("stopped", "finished")}
    return {one.tag for one in sightings(home)} & down
