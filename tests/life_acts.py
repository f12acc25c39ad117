"""What can happen to a piesd and its components, drawn by luck; after each act the model is asked.

Each act has a luck of its own, made of the seed and its number: so the same seed brings the same
acts, though not the same moments.
"""

from __future__ import annotations

import fnmatch
import json
import os
import random
import re
import select
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from life_model import Model, Row
from life_plans import COUNT, Plan, first_plan
from life_watch import Watch
from lives import Sighting, sightings
from piesd_process import PATIENCE, Answer, Piesd
from supervisor.system.proctable import is_same

MOST_CLIENTS = 10
YEAR = 365 * 86400.0
BAD = ("this is a bug", "kind=bug", "Traceback", "left behind")
NOISE = [
    b"GET\r\n\r\n",
    b"\0\xff\r\n\r\n",
    b"GET /programs HTTP/1.1\r\n\r\n",
    b"GET /programs HTTP/9.9\r\nHost: x\r\n\r\n",
    b"POST /programs HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{{{{",
    b"POST /programs HTTP/1.1\r\nHost: x\r\nContent-Length: 400\r\n\r\n{",
    b"POST /programs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"DELETE /programs?selector=%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PUT /conf/runtime HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]",
    b"GET /programs HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
]
WRONG = ['{"op":"nothing"}', "{", '{"op":"not"}', '{"op":"status","arg":"up"}', "[1]", '"x"']
FAULTS = ["what = 1\n", 'prerequisites = ["nobody"]\n', 'mode = "often"\n', "= = =\n"]


CLOCK = """
import mmap, struct, time

with open({path!r}, "rb") as file:
    shift = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
real = time.time
time.time = lambda: real() + struct.unpack("d", shift)[0]
"""
"""What Python executes at its start: the wall clock of that process is off by what a file says.

The clock of the machine is nobody's to set. Of what piesd knows about the wall clock, this is all.
"""


class WallClock:
    """The wall clock of all piesd of a test, which jumps when told."""

    def __init__(self, home: Path) -> None:
        self._path = home / "shift"
        self._site = home / "site"
        self._site.mkdir()
        (self._site / "sitecustomize.py").write_text(CLOCK.format(path=str(self._path)))
        self.set(0.0)

    @property
    def environ(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self._site)}

    def set(self, shift: float) -> None:
        with self._path.open("r+b" if self._path.exists() else "wb") as file:
            file.write(struct.pack("d", shift))


class Life:
    """A piesd, everything that happens to it, and what must hold meanwhile."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home, self.seed = home, seed
        self.first = first_plan(random.Random(f"{seed}/plan"))
        self.model = Model(self.first)
        self.clock = WallClock(home)
        self.history: list[str] = []
        self.counts: Counter[str] = Counter()
        self.longest_rest = 0.0
        self._begun = time.monotonic()
        self.daemon = Piesd(home, self.first.text(home), environ=self.clock.environ).wait_ready()
        self._written = self.first
        self._watch = Watch(home)
        self._clients: list[socket.socket] = []
        self._halted: dict[tuple[int, int], Sighting] = {}
        self._read = 0
        self._acts: list[tuple[Callable[[random.Random], object], int]] = [
            (self.order, 40),
            (self.end_component, 30),
            (self.halt_component, 8),
            (self.thaw_component, 6),
            (self.signal, 4),
            (self.come, 6),
            (self.go, 3),
            (self.reload, 12),
            (self.write_only, 2),
            (self.reload_wrong, 3),
            (self.make_noise, 5),
            (self.ask_wrong, 3),
            (self.ask, 5),
            (self.jump, 5),
            (self.pause, 10),
            (self.halt_piesd, 4),
            (self.kill_piesd, 5),
            (self.kill_in_order, 2),
            (self.upgrade, 3),
            (self.kill_in_upgrade, 1),
            (self.begin_afresh, 1),
        ]

    # --- driving

    def act(self, number: int) -> None:
        """Let act *number* happen, and look at what came of it."""
        luck = random.Random(f"{self.seed}/{number}")
        acts, weights = zip(*self._acts, strict=True)
        (deed,) = luck.choices(acts, weights)
        name = deed.__name__
        self.counts[name] += 1
        self.history.append(f"{number} {name}")
        if (told := deed(luck)) is not None:
            self.history[-1] += f": {told}"
        self.look()

    def look(self) -> list[Row]:
        """Ask for all rows: they are as they must be, at this moment."""
        self._expect_no_faults()
        rows = self.daemon.rows()
        self.counts["looks"] += 1
        self.model.check(rows, time.monotonic() - self._begun)
        for row in rows:
            if row["status"] == "stopped" and row["blocked-by"] is None and "peer" not in row:
                self._expect_reason(row["tag"])
        self._forbid(rows)
        return rows

    def _expect_reason(self, tag: str) -> None:
        answer = self.daemon.ask("GET", f"/v1/diag/why/{quote(tag)}")
        if answer.status == 200:  # Else it was removed, and is gone now.
            assert "about to start" not in answer.json["summary"], answer.json

    def _forbid(self, rows: list[Row]) -> None:
        """From now on nobody starts what is not wanted."""
        self._watch.loose = frozenset(self.model.leaving)
        for row in rows:
            if "peer" not in row and not row["wanted"]:
                self._watch.down.setdefault(row["tag"], row["generation"])

    def _allow(self) -> None:
        """Something is about to be wanted again."""
        self._watch.down.clear()

    def _expect_no_faults(self) -> None:
        assert not self._watch.faults, self._watch.faults
        with (self.home / "piesd.log").open("rb") as log:
            log.seek(self._read)
            new = log.read()
        self._read += new.rfind(b"\n") + 1
        lines = new.decode(errors="replace").splitlines()
        bad = [number for number, line in enumerate(lines) if any(word in line for word in BAD)]
        assert not bad, "\n".join(lines[max(bad[0] - 5, 0) : bad[0] + 40])

    def rest(self) -> None:
        """Do nothing, until everything is as it must be in the end."""
        self._thaw_all()
        for client in self._clients:
            client.close()
        self._clients.clear()
        begun = time.monotonic()
        unrest: list[str] = []

        def rests() -> bool:
            nonlocal unrest
            unrest = []  # What is wrong with a row ends it at once, see below.
            rows = self.look()
            unrest = self.model.unrest(rows, sightings(self.home))
            unrest += [f"zombie {pid}" for pid in self._zombies()]
            return not unrest

        try:
            self.daemon.until(rests, "rest")
        except AssertionError:
            if not unrest:
                raise
            raise AssertionError("\n".join(["it does not come to rest:", *unrest])) from None
        self.longest_rest = max(self.longest_rest, time.monotonic() - begun)
        self.counts["rests"] += 1
        self.history.append("rest")
        self._watch.forget_all_but(self.model.plan.parts.keys() - self.model.leaving)
        self.model.rested()
        self._bury()
        self._expect_whys()

    def _zombies(self) -> list[int]:
        children = psutil.Process(self.daemon.pid).children()
        return [child.pid for child in children if _is_zombie(child)]

    def _bury(self) -> None:
        """Wait for those who became our children when their piesd was killed."""
        for child in psutil.Process().children():
            if child.pid != self.daemon.pid and _is_zombie(child):
                os.waitpid(child.pid, os.WNOHANG)

    def _expect_whys(self) -> None:
        """Everything that does not run says why, by one gate at least."""
        for tag in self.model.plan.parts:
            answer = self.daemon.ask("GET", f"/v1/diag/why/{quote(tag)}").json
            if answer["status"] in ("running", "listener") or "is starting" in answer["summary"]:
                continue
            assert answer["blocked-by"], answer
            closed = [gate["type"] for gate in answer["gates"] if not gate["open"]]
            assert answer["blocked-by"]["type"] in closed, answer

    def steady(self) -> dict[str, set[tuple[int, int]]]:
        """Return the processes of what does not come and go by itself."""
        found: dict[str, set[tuple[int, int]]] = {}
        for one in sightings(self.home):
            if not one.serves and not self.model.restless(one.key):
                found.setdefault(one.key, set()).add((one.pid, one.started))
        return found

    def descriptors(self) -> Counter[str]:
        """Return what piesd has open, without the numbers by which that differs each time.

        The pipes of components are looked at here: each has two at most, of two ends each, and has
        them from its first need of them on.
        """
        found: Counter[str] = Counter()
        for entry in Path(f"/proc/{self.daemon.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found[re.sub("[0-9]{5,}", "N", os.readlink(entry))] += 1
        pipes = [name for name in found if re.search(r"/c[0-9]+[^/]*\.std(out|err)$", name)]
        assert all(found.pop(name) <= 2 for name in pipes), f"{pipes} of {found}"
        return found

    def begin_anew(self) -> None:
        """Be as at the beginning: everything is started anew, and every listener has served."""
        self._apply(self.first)
        self.give("restart", True, None)
        self.rest()
        self.come(random.Random(0))
        self.rest()

    @property
    def figures(self) -> str:
        """What was done and seen, in one line."""
        counts = ", ".join(f"{number} {name}" for name, number in sorted(self.counts.items()))
        seen = f"{len(self._watch.seen)} processes in {self._watch.looks} looks at all"
        return f"{counts}; {seen}; at rest after {self.longest_rest:.1f} s at most"

    def leave(self) -> None:
        self._thaw_all()
        self._watch.leave()
        for client in self._clients:
            client.close()
        self.daemon.end()

    # --- people

    def order(self, luck: random.Random) -> str:
        selector, tags = self._selection(luck)
        action = luck.choice(["start", "start", "stop", "stop", "restart"])
        wait = luck.choice([None, None, None, 0.1, 20.0 if action == "stop" else 0.3])
        answer = self.give(action, selector, wait, tags)
        return f"{action} {json.dumps(selector)} wait {wait}: {answer.status}"

    def give(
        self, action: str, selector: Any, wait: float | None, tags: set[str] | None = None
    ) -> Answer:
        """Give an order, and expect what was promised when it has been waited for."""
        if action != "stop":
            self._allow()
        waits = "" if wait is None else f"&wait={wait}"
        where = f"/v1/components?action={action}&selector={quote(json.dumps(selector))}{waits}"
        answer = self.daemon.ask("PUT", where)
        assert answer.status in (200, 202, 504), answer.body
        if answer.status != 504:
            matched = set(answer.json["matched"]) & self.model.plan.parts.keys()
            assert tags is None or matched == tags, f"{selector}: {matched}, not {tags}"
            tags = matched
        elif tags is None:
            tags = set(self.model.plan.parts) if selector is True else set()
            self.model.unsure.update(self.model.plan.parts)
        promised = action == "stop" and wait is not None and wait > 1
        assert answer.status == 200 or not promised, answer.body
        self.model.order(action, tags)
        self.model.unsure.update(self._unsure_of(selector, tags))
        if promised and self.model.unsure.isdisjoint(tags):
            below = {each for tag in tags for each in self.model.plan.dependents_of(tag)}
            left = [one for one in sightings(self.home) if one.tag in tags | below]
            assert not left, f"{left} outlive the stop of {tags}"
        return answer

    def _unsure_of(self, selector: Any, tags: set[str]) -> set[str]:
        """Return those of which a connection may have been meant, and not the listener."""
        if selector is True or selector["op"] not in ("status", "active"):
            return set()
        return {tag for tag in tags if self.model.plan.parts[tag].kind.listens}

    def _selection(self, luck: random.Random) -> tuple[Any, set[str] | None]:
        """Draw a selector; return it, and what it matches as far as we know."""
        plan = self.model.plan
        tag = luck.choice([*plan.parts, f"c{luck.randrange(COUNT)}"])
        number = luck.randrange(COUNT)
        mode = luck.choice(["respawn", "once", "inetd"])
        status = luck.choice(["running", "stopped", "sleeping", "finished"])
        known = {tag} & plan.parts.keys()
        choices: list[tuple[Any, set[str] | None]] = [
            (True, set(plan.parts)),
            ({"op": "status", "arg": status}, None),
            ({"op": "active"}, None),
            *[({"op": "component", "arg": tag}, known if ":" in tag else None)] * 4,
            (
                {"op": "glob", "arg": f"c{number}*"},
                {each for each in plan.parts if fnmatch.fnmatchcase(each, f"c{number}*")},
            ),
            (
                {"op": "mode", "arg": mode},
                {each for each, part in plan.parts.items() if part.kind.mode == mode},
            ),
        ]
        if tag in plan.parts:
            choices += [
                ({"op": "dependent-of", "arg": tag}, plan.dependents_of(tag)),
                ({"op": "prerequisite-of", "arg": tag}, plan.needed_by(tag)),
            ]
        return luck.choice(choices)

    def reload(self, luck: random.Random) -> str:
        return self._apply(self._written.changed(luck))

    def _apply(self, plan: Plan) -> str:
        self._allow()
        self._written = plan
        self.daemon.write(plan.text(self.home))
        answer = self.daemon.ask("PUT", "/conf/runtime")
        assert answer.status == 200, answer.body
        self.model.reload(plan)
        changes = [each for each in answer.json["changes"] if each["action"] != "none"]
        return ", ".join(f"{each['action']} {each['tag']} {each['keys']}" for each in changes)

    def write_only(self, luck: random.Random) -> None:
        """Write another configuration: the next reload reads it, or the next piesd."""
        self._written = self._written.changed(luck)
        self.daemon.write(self._written.text(self.home))

    def reload_wrong(self, luck: random.Random) -> None:
        """A reload that is refused changes nothing."""
        text = self._written.changed(luck).text(self.home)
        self.daemon.write(f"{text}[component.wrong]\n{luck.choice(FAULTS)}")
        answer = self.daemon.ask("PUT", "/conf/runtime")
        assert 400 <= answer.status < 500, answer.body
        self.daemon.write(self._written.text(self.home))

    def make_noise(self, luck: random.Random) -> None:
        """Send what is no request; a bug of ours would be the answer 500."""
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            client.settimeout(PATIENCE)
            client.connect(str(self.daemon.socket))
            client.sendall(luck.choice([*NOISE, luck.randbytes(200)]))
            client.shutdown(socket.SHUT_WR)
            answer = client.recv(100)
            assert not answer.startswith(b"HTTP/1.1 5"), answer

    def ask_wrong(self, luck: random.Random) -> None:
        where = luck.choice(["/programs?selector=", "/v1/components?action=stop&selector="])
        method = "PUT" if where.startswith("/v1") else luck.choice(["GET", "PUT", "DELETE"])
        answer = self.daemon.ask(method, where + quote(luck.choice(WRONG)))
        assert 400 <= answer.status < 500, answer.body

    def ask(self, luck: random.Random) -> None:
        tag = quote(luck.choice([*self.model.plan.parts, "nobody"]))
        for path in (f"/v1/components/{tag}?usage=true", f"/v1/components/{tag}/log", "/v1/plan"):
            answer = self.daemon.ask("GET", path)
            assert answer.status in (200, 404), answer.body

    def signal(self, luck: random.Random) -> None:
        tag = quote(luck.choice([*self.model.plan.parts, "nobody"]))
        name = luck.choice(["HUP", "KILL", "CONT", "STOP"])
        answer = self.daemon.ask("PUT", f"/v1/components/{tag}/signal/{name}")
        assert answer.status in (200, 202, 404, 409), answer.body

    def come(self, luck: random.Random) -> None:
        """Be a client that stays."""
        for path in sorted(self.home.glob("c*.sock")):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(1)
            with suppress(OSError):
                client.connect(str(path))
                client.sendall(b"x")
            self._clients.append(client)
        while len(self._clients) > MOST_CLIENTS:
            self.go(luck)

    def go(self, luck: random.Random) -> None:
        if self._clients:
            self._clients.pop(luck.randrange(len(self._clients))).close()

    # --- accidents

    def _victim(self, luck: random.Random) -> Sighting | None:
        seen = sightings(self.home)
        return seen[int(luck.random() * len(seen))] if seen else None

    def end_component(self, luck: random.Random) -> str:
        """Kill one process of a component: its first one, or another."""
        victim = self._victim(luck)
        number = luck.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
        _kill(victim, number)
        return f"{number.name} {victim}"

    def halt_component(self, luck: random.Random) -> str:
        victim = self._victim(luck)
        if victim is not None:
            self._halted[victim.pid, victim.started] = victim
        _kill(victim, signal.SIGSTOP)
        return str(victim)

    def thaw_component(self, luck: random.Random) -> str:
        if not self._halted:
            return "none"
        victim = self._halted.pop(luck.choice(list(self._halted)))
        _kill(victim, signal.SIGCONT)
        return str(victim)

    def _thaw_all(self) -> None:
        # Some were halted by way of the API.
        for one in sightings(self.home):
            _kill(one, signal.SIGCONT)
        self._halted.clear()

    def jump(self, luck: random.Random) -> str:
        shift = luck.choice([YEAR, -YEAR, 3600.0, -3600.0, 5.0, -5.0, 0.0])
        self.clock.set(shift)
        return f"{shift}"

    def pause(self, luck: random.Random) -> None:
        select.select([], [], [], luck.choice([0.01, 0.05, 0.3]))

    def halt_piesd(self, luck: random.Random) -> str:
        """Hold piesd, and let accidents happen meanwhile; maybe it does not even live on."""
        told = []
        self.daemon.signal(signal.SIGSTOP)
        try:
            told += [self.end_component(luck) for _ in range(luck.randint(0, 3))]
            self.pause(luck)
            if luck.random() < 0.2:
                told.append(f"killed {self.kill_piesd(luck)}")
        finally:
            self.daemon.signal(signal.SIGCONT)
        return "; ".join(told)

    def kill_piesd(self, luck: random.Random) -> str:
        """Kill it; accidents happen while there is none; the next one goes on."""
        before = self._calm_processes(luck)
        told = self._another(luck)
        if not told and before is not None:
            self._expect_untouched(before)
        return "; ".join(told)

    def _another(self, luck: random.Random) -> list[str]:
        """Let there be another piesd, which has read what is written now."""
        self.daemon.kill()
        self._allow()
        told = [self.end_component(luck) for _ in range(luck.choice([0, 0, 0, 1, 2]))]
        self.daemon.again()
        if self._written is not self.model.plan:
            self.model.reload(self._written)
        return told

    def kill_in_order(self, luck: random.Random) -> str:
        """Kill it while it obeys: only the next one knows how far it has come."""
        self._allow()
        selector, tags = self._selection(luck)
        action = luck.choice(["start", "stop", "restart"])
        path = f"/v1/components?action={action}&selector={quote(json.dumps(selector))}"
        with self._asked("PUT", path):
            select.select([], [], [], luck.choice([0, 0.001, 0.003, 0.01, 0.05]))
            told = self._another(luck)
        self.model.unsure.update(self.model.plan.parts)
        return f"{action} {json.dumps(selector)} {tags}; {told}"

    def kill_in_upgrade(self, luck: random.Random) -> str:
        """Kill it while it gives way to another, or is that already."""
        delay = luck.uniform(0, 2)
        with self._asked("PUT", "/instance/PID", b'{"keep": true}'):
            select.select([], [], [], delay)
            return f"after {delay:.2f} s; {self._another(luck)}"

    @contextmanager
    def _asked(self, method: str, path: str, body: bytes = b"") -> Iterator[None]:
        """Ask for something, and wait for no answer."""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(self.daemon.socket))
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            yield

    def begin_afresh(self, luck: random.Random) -> str:
        """Let it end, or end what it finds: then everything is as the configuration says."""
        way = luck.choice(["end", "reboot", "no adoption"])
        before = sightings(self.home)
        self._allow()
        self._thaw_all()
        self.model.leaving |= self.model.plan.parts.keys()
        self._watch.loose = frozenset(self.model.leaving)
        match way:
            case "end":
                self.daemon.signal(signal.SIGTERM)
                assert self.daemon.wait_end() == 0
                left = sightings(self.home)
                assert not left, f"{left} outlive piesd"
                self.daemon.again()
            case "reboot":
                self.daemon.forget_told()
                assert self.daemon.ask("PUT", "/instance/PID").status == 200
                self.daemon.wait_ready()
            case _:
                self.daemon.kill()
                self.daemon.again("--adopt=no")
        self.model.begin_afresh(self._written)
        both = set(before) & set(sightings(self.home))
        assert not both, f"{both} outlive everything"
        return way

    def upgrade(self, luck: random.Random) -> str:
        """Let it execute itself anew; it refuses if the configuration is another one."""
        before = self._calm_processes(luck)
        self.daemon.forget_told()
        answer = self.daemon.ask("PUT", "/instance/PID", {"keep": True})
        if answer.status == 200:
            self.daemon.wait_ready()
            self.counts["upgraded"] += 1
            if before is not None:
                self._expect_untouched(before)
        else:
            assert 400 <= answer.status < 500, answer.body
        return answer.body.decode()

    def _calm_processes(self, luck: random.Random) -> dict[str, set[tuple[int, int]]] | None:
        """Wait for rest, sometimes: then nothing may happen to anybody by what comes."""
        if luck.random() < 0.7 or self._written is not self.model.plan or self._frozen():
            return None
        self.rest()
        return self.steady()

    def _frozen(self) -> bool:
        return psutil.Process(self.daemon.pid).status() == psutil.STATUS_STOPPED

    def _expect_untouched(self, before: dict[str, set[tuple[int, int]]]) -> None:
        after = self.steady()
        assert after == before, f"{before}, and then {after}"
        self.counts["untouched"] += 1


def _kill(victim: Sighting | None, number: int) -> None:
    """Send a signal to that process, unless it is gone, or another has its number by now."""
    if victim is None:
        return
    with suppress(ProcessLookupError):
        fd = os.pidfd_open(victim.pid)
        try:
            if is_same(victim.pid, victim.started):
                signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)


def _is_zombie(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return False


@contextmanager
def life(home: Path, seed: int) -> Iterator[Life]:
    """Begin a life, and tell its latest acts if something of it was not as it must be."""
    one = Life(home, seed)
    try:
        yield one
    except BaseException as error:
        (home / "history").write_text("\n".join(one.history))
        last = "\n".join(one.history[-30:])
        error.add_note(f"seed {seed}; the latest of {len(one.history)} acts:\n{last}")
        raise
    finally:
        one.leave()
