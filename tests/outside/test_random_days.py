"""Orders, reloads, kills and connections at random: what must hold afterwards, holds."""

from __future__ import annotations

import os
import random
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from piesd_process import Piesd, piesd, with_marker

pytestmark = [pytest.mark.real, pytest.mark.slow]

COUNT = 12
PEOPLE = 4
DEEDS = 60
"""What each of the people does before the end."""

DAYS = 2

KINDS = {
    "plain": 'command = "sleep {seconds}"\n',
    "deaf": "shell = true\ncommand = \"trap '' TERM; exec sleep {seconds}\"\n",
    "leaves": 'shell = true\ncommand = "setsid sleep {seconds} & exec sleep {seconds}"\n',
    "daemonises": 'mode = "once"\nshell = true\ncommand = "(setsid sleep {seconds} &) ; exit 3"\n',
    "startup": 'mode = "startup"\nshell = true\ncommand = "exit 0"\n',
    "shutdown": 'mode = "shutdown"\nshell = true\ncommand = "exit {seconds}"\n',
    "listener": 'mode = "inetd"\ncommand = "cat"\nsocket = "unix://{home}/{tag}.sock"\n',
    "short": 'command = "sleep 0.05"\nrespawn = {{ max = 1000 }}\n',
    "missing": 'command = "/nowhere/x"\nrespawn = {{ max = 20, delay = 0.05 }}\n',
    "several": 'command = "sleep {seconds}"\ninstances = {few}\n',
    "disabled": 'command = "sleep {seconds}"\nenabled = false\n',
}
_AT_THE_ENDS = ("startup", "shutdown")


def configuration(luck: random.Random, home: Path) -> str:
    """Return a valid configuration of some of twelve components, each of some kind."""
    text = f'[daemon]\nshutdown-timeout = 3\n[defaults]\nenv = {{ DAY = "{home}" }}\n'
    text += "stop-timeout = 0.3\n"
    possible: list[str] = []
    for number in range(COUNT):
        if luck.random() < 0.2:
            continue
        tag, kind = f"c{number}", luck.choice(list(KINDS))
        table = KINDS[kind].format(
            seconds=luck.choice([1_000_000, 1_000_001]), home=home, tag=tag, few=luck.randint(1, 4)
        )
        text += f"[component.{tag}]\n{table}"
        if kind not in _AT_THE_ENDS:
            if possible and luck.random() < 0.4:
                text += f'prerequisites = ["{luck.choice(possible)}"]\n'
            possible.append(tag)
    return text


class Person:
    """Somebody who does one thing after another."""

    def __init__(
        self, daemon: Piesd, luck: random.Random, stack: ExitStack, *, edits: bool
    ) -> None:
        self.daemon, self.luck, self.stack, self.edits = daemon, luck, stack, edits
        self.deeds: list[Callable[[], object]] = [
            self.order,
            self.order,
            self.order,
            self.kill,
            self.kill,
            self.connect,
            self.ask,
            self.signal,
        ]

    def live(self) -> None:
        for _ in range(DEEDS):
            deed = self.luck.choice(self.deeds)
            if self.edits and self.luck.random() < 0.2:
                deed = self.edit
            deed()

    def order(self) -> None:
        selector = self.luck.choice(
            [
                True,
                {"op": "glob", "arg": f"c{self.luck.randrange(COUNT)}*"},
                {"op": "mode", "arg": "respawn"},
                {"op": "status", "arg": "running"},
                {"op": "dependent-of", "arg": f"c{self.luck.randrange(COUNT)}"},
            ]
        )
        method = self.luck.choice(["PUT", "DELETE", "POST"])
        answer = self.daemon.order(method, selector, self.luck.choice([None, None, 0.2]))
        assert answer.status in (200, 504), answer.body

    def kill(self) -> None:
        processes = with_marker(f"DAY={self.daemon.home}")
        if processes:
            with suppress(ProcessLookupError):
                number = self.luck.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
                os.kill(self.luck.choice(processes), number)

    def connect(self) -> None:
        for path in self.daemon.home.glob("c*.sock"):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(1)
            with suppress(OSError):
                client.connect(str(path))
                client.sendall(b"x")
            if self.luck.random() < 0.5:
                client.close()
            else:
                self.stack.enter_context(client)

    def ask(self) -> None:
        tag = f"c{self.luck.randrange(COUNT)}"
        for path in ("/programs?usage=true", f"/v1/diag/why/{tag}", f"/v1/components/{tag}/log"):
            assert self.daemon.ask("GET", path).status in (200, 400, 404)

    def signal(self) -> None:
        tag, name = f"c{self.luck.randrange(COUNT)}", self.luck.choice(["HUP", "KILL", "CONT"])
        answer = self.daemon.ask("PUT", f"/v1/components/{tag}/signal/{name}")
        assert answer.status in (200, 202, 404, 409), answer.body

    def edit(self) -> None:
        self.daemon.write(configuration(self.luck, self.daemon.home))
        answer = self.daemon.ask("PUT", "/conf/runtime")
        assert answer.status == 200, answer.body


def seed_of(day: int) -> int:
    """Return what the luck of a day begins with.

    CI gives the same verdict for the same commit, as far as real processes let it.
    """
    return day if os.environ.get("CI") else random.randrange(10**6)


@pytest.mark.parametrize("day", range(1, DAYS + 1))
def test_after_a_random_day_all_is_stopped_by_one_order_and_nothing_is_left(
    tmp_path: Path, day: int
) -> None:
    seed = seed_of(day)
    print(f"the seed of this day is {seed}")
    mark = f"DAY={tmp_path}"
    with piesd(tmp_path, configuration(random.Random(seed), tmp_path)) as daemon:
        with ExitStack() as stack:
            people = [
                Person(daemon, random.Random(f"{seed}/{number}"), stack, edits=number == 0)
                for number in range(PEOPLE)
            ]
            with ThreadPoolExecutor(PEOPLE) as pool:
                for future in [pool.submit(person.live) for person in people]:
                    future.result()
        assert daemon.order("DELETE", True, 25).json == {"status": "OK"}
        statuses = {row["status"] for row in daemon.rows()}
        assert statuses <= {"stopped", "finished"}, daemon.rows()
        assert with_marker(mark) == []
        assert list(tmp_path.glob("c*.sock")) == []
        # And all that can run is brought up again by another.
        assert daemon.order("PUT", True, None).status == 200
        daemon.until(
            lambda: all(
                row["status"] in ("running", "listener", "finished", "sleeping")
                or (row["blocked-by"] or {}).get("type") not in (None, "stopped")
                for row in daemon.rows()
                if "sleep 0.05" not in row["command"]
            ),
            "everything is up, or says why not",
        )
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_end() == 0
        assert with_marker(mark) == []
        for word in ("kind=bug", "this is a bug", "Traceback", "left behind"):
            assert word not in daemon.log, daemon.log
