"""A piesd with a few components, an ordinary day for it, and a look whether all is as it was."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil

from lives import doubles, sightings
from piesd_process import Piesd

STEADY = ("steady", "leaning")
RUNNING = frozenset({*STEADY, "victim", "changing", "worker"})

_TABLES = """
[defaults]
env = {{ CHAOS = "{home}" }}
[component.steady]
command = "sleep 1000000"
[component.leaning]
command = "sleep 1000000"
prerequisites = ["steady"]
[component.victim]
shell = true
command = "echo $$; exec sleep 1000000"
stdout = "{home}/victim.log"
respawn = {{ max = 100000 }}
[component.changing]
command = "sleep 1000000"
env = {{ TURN = "{turn}", CHAOS = "{home}" }}
[component.worker]
command = "sleep 1000000"
[component.echo]
mode = "inetd"
command = "cat"
socket = "unix://{home}/echo.sock"
"""

BAD_WORDS = (
    "this is a bug",
    "kind=bug",
    "Traceback",
    "Exception ignored",
    "internal error",
    "is given up",
)

SOON = 5.0
"""Seconds in which a single answer should be there while something fails."""


def configuration(home: Path, turn: int = 0) -> str:
    return _TABLES.format(home=home, turn=turn)


class Wrong(AssertionError):
    """Something is not as it has to be after a day."""


class Day:
    """What happens to a piesd on a day, and what has to be true in the evening."""

    def __init__(self, daemon: Piesd) -> None:
        self.daemon, self.home = daemon, daemon.home
        self.turn = 0
        self._read = 0
        self.patience = SOON
        self.until(self._all_run, "everything runs")
        self._steady = {tag: self._pid(tag) for tag in STEADY}

    # --- what happens

    def live(self) -> None:
        """Do a bit of everything. Who asks may be left without an answer."""
        self.turn += 1
        for step in (self._list, self._kill, self._talk, self._reload, self._stop, self._start):
            with suppress(OSError, HTTPException, ValueError, KeyError, Wrong):
                step()

    def _list(self) -> None:
        self._ask("GET", "/programs")

    def _kill(self) -> None:
        pid = self._pid("victim")
        os.kill(pid, signal.SIGKILL)
        self.until(
            lambda: self._pid("victim") not in (pid, None), "victim runs again", self.patience
        )

    def _talk(self) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(self.patience)
            client.connect(str(self.home / "echo.sock"))
            client.sendall(b"hello")
            if client.recv(10) != b"hello":
                raise Wrong("no echo")

    def _reload(self) -> None:
        self.daemon.write(configuration(self.home, self.turn))
        self._ask("PUT", "/conf/runtime")

    def _stop(self) -> None:
        self._ask("DELETE", '/programs?selector={"op":"tag","arg":"worker"}&wait=2')

    def _start(self) -> None:
        self._ask("PUT", '/programs?selector={"op":"tag","arg":"worker"}&wait=2')

    # --- what is

    def expect_all_well(self) -> None:
        """Look at everything, now that nothing fails any more.

        Raises:
            Wrong: something is not as it has to be.
        """
        self.until(self._reloaded, "the configuration is read")
        self.until(self._started, "worker is started")
        self.until(self._all_run, "everything runs again")
        self.until(self._echoes, "echo answers")
        self.until(lambda: not doubles(sightings(self.home)), "no component runs twice")
        self.until(self._nobody_unknown, "every process belongs to somebody")
        self.until(self._logged, "what victim said is in its log")
        for tag, pid in self._steady.items():
            if self._pid(tag) != pid:
                raise Wrong(f"{tag} was {pid} and is {self._pid(tag)}")
        self._expect_new_turn()
        for word in BAD_WORDS:
            if word in self.daemon.log:
                raise Wrong(f"{word!r} in the log")

    def forget_log(self) -> None:
        """Have `log` begin here."""
        self._read = len(self.daemon.log)

    @property
    def log(self) -> str:
        """What piesd wrote since `forget_log`."""
        return self.daemon.log[self._read :]

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.daemon.pid}/fd"))

    def _reloaded(self) -> bool:
        return self._status("PUT", "/conf/runtime") == 200

    def _started(self) -> bool:
        path = '/programs?selector={"op":"tag","arg":"worker"}&wait=20'
        return self._status("PUT", path) == 200

    def _all_run(self) -> bool:
        running = {row["tag"] for row in self._rows() if row["status"] == "running"}
        return running.issuperset(RUNNING)

    def _echoes(self) -> bool:
        try:
            self._talk()
        except (OSError, Wrong):
            return False
        return True

    def _nobody_unknown(self) -> bool:
        known = {row.get("PID") for row in self._rows()}
        live = sightings(self.home)
        return all(one.pid in known for one in live) and {one.tag for one in live} >= RUNNING

    def _logged(self) -> bool:
        with suppress(OSError):
            lines = (self.home / "victim.log").read_text().split()
            return bool(lines) and lines[-1] == str(self._pid("victim"))
        return False

    def _expect_new_turn(self) -> None:
        environment = psutil.Process(self._pid("changing")).environ()
        if environment["TURN"] != str(self.turn):
            raise Wrong(f"changing is of turn {environment['TURN']}, and it is {self.turn}")

    # --- asking

    def until(self, fact: Callable[[], Any], what: str, patience: float = 15.0) -> None:
        """Ask until *fact* is true; who asks may be left without an answer now and then."""
        deadline = time.monotonic() + patience
        while True:
            with suppress(OSError, HTTPException, ValueError, KeyError):
                if fact():
                    return
            if self.daemon.process.poll() is not None:
                raise Wrong(f"piesd has ended with {self.daemon.process.returncode}")
            if time.monotonic() >= deadline:
                raise Wrong(f"never: {what}")
            select.select([], [], [], 0.01)

    def _pid(self, tag: str) -> int:
        (row,) = (row for row in self._rows() if row["tag"] == tag)
        return int(row["PID"])

    def _rows(self) -> list[dict[str, Any]]:
        return self._ask("GET", "/programs").json  # type: ignore[no-any-return]  # a list

    def _status(self, method: str, path: str) -> int:
        return int(self._ask(method, path).status)

    def _ask(self, method: str, path: str) -> Any:
        return self.daemon.ask(method, path.replace('"', "%22"), patience=self.patience)
