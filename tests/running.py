"""A real runner: on the simulated system under trio's virtual clock, or on the real system."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from fake_system import FakeSystem
from real_children import RealChildren, subreaping
from supervisor.engine.engine import Engine
from supervisor.model.component import Component, Output
from supervisor.model.effects import Note
from supervisor.model.events import Apply, Boot, Order, Shutdown
from supervisor.model.settings import MailSettings
from supervisor.model.state import Phase, State
from supervisor.runtime.mail import Facts, Letter
from supervisor.runtime.outbox import Delivery, Outbox
from supervisor.runtime.output import Outputs
from supervisor.runtime.runner import Runner
from supervisor.system.port import System


class Memory:
    """A log target that keeps what it is given."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, blocks: list[bytes]) -> int:
        self.data += b"".join(blocks)
        return sum(map(len, blocks))

    def reopen(self) -> None: ...

    def close(self) -> None: ...


class FakeNetwork:
    """What checks meet: `answers` says for each target why it is not well; None if it is.

    What has no answer hangs. `tries` holds the time and the target of each try, `passed` the
    descriptors that were handed over.
    """

    def __init__(self) -> None:
        self.answers: dict[str, str | None] = {}
        self.tries: list[tuple[float, str]] = []
        self.passed: list[tuple[int, ...]] = []

    async def tcp(self, target: str) -> str | None:
        self.tries.append((trio.current_time(), target))
        if target not in self.answers:
            await trio.sleep_forever()
        return self.answers[target]

    async def http(self, url: str) -> str | None:
        return await self.tcp(url)

    async def pass_on(self, path: str, fds: tuple[int, ...]) -> str | None:
        self.passed.append(fds)
        return await self.tcp(path)


class House:
    """A runner and what it runs on. `logs` holds what went to each file, `own` to our stdout.

    Mail goes by the program `sendmail` unless `outbox.settings` say otherwise; what goes by SMTP
    lands in `letters`.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        shutdown_timeout: float,
        *,
        init: bool = False,
        qotd: str | None = None,
    ) -> None:
        self.system = FakeSystem()
        self.logs: dict[str, Memory] = {}
        self.own = Memory()
        self.notes: list[Note] = []
        self.outputs = Outputs(
            self.system,
            nursery,
            lambda kind, level, key, text: self.notes.append(Note(key, kind, level, text)),
            self._open_log,
            open_own=lambda _: self.own,
        )
        self.network = FakeNetwork()
        self.letters: list[Letter] = []
        facts = Facts(instance="tested", version="1.2.3", host="here")
        self.outbox = Outbox(self.system, MailSettings(), facts, None, deliver=self._deliver)
        self.runner = Runner(
            Engine(shutdown_timeout=shutdown_timeout, init=init),
            self.system,
            self.outputs,
            outbox=self.outbox,
            notify_prefix="/run/x/notify.",
            network=self.network,
            qotd=qotd,
        )
        self.runner.observe(lambda _revision, _changed, notes: self.notes.extend(notes))
        self._child = trio.Event()
        self.system.on_child = self._child_ended

    def _child_ended(self) -> None:
        self._child.set()

    async def _deliver(self, server: str, letter: Letter, host: str) -> Delivery:
        self.letters.append(letter)
        return Delivery()

    def _open_log(self, settings: Output) -> Memory:
        return self.logs.setdefault(settings.path or "", Memory())

    async def reap(self) -> None:
        """What the daemon does on SIGCHLD."""
        while True:
            await self._child.wait()
            self._child = trio.Event()
            self.runner.reap()

    async def rest(self) -> None:
        """Return when nothing moves any more, without moving the clock."""
        await trio.testing.wait_all_tasks_blocked()
        await self.runner.handled()
        await trio.testing.wait_all_tasks_blocked()

    async def order(self, action: str, *keys: str) -> None:
        self.runner.post(Order(action, keys, "me"))  # type: ignore[arg-type]  # tests pass literals
        await self.rest()

    async def shut_down(self) -> None:
        self.runner.post(Shutdown("me"))
        await self.runner.ended.wait()

    def state(self, key: str) -> State:
        return self.runner.engine.world.states[key]

    def phase(self, key: str) -> Phase:
        return self.state(key).phase

    def texts(self, kind: str) -> list[str]:
        """Return what notes of this kind say."""
        return [note.text for note in self.notes if note.kind == kind]

    def kinds(self, key: str | None) -> list[str]:
        return [note.kind for note in self.notes if note.key == key]


@asynccontextmanager
async def house(
    components: Sequence[Component],
    prepare: Callable[[House], None] = lambda _: None,
    *,
    shutdown_timeout: float = 5.0,
    init: bool = False,
    runlevel: str = "",
    qotd: str | None = None,
) -> AsyncIterator[House]:
    """Run *components*; *prepare* may write the scripts of their programs first."""
    async with trio.open_nursery() as nursery:
        home = House(nursery, shutdown_timeout, init=init, qotd=qotd)
        prepare(home)
        for task in (
            home.system.serve,
            home.runner.run,
            home.runner.listeners.run,
            home.outbox.serve,
            home.reap,
        ):
            nursery.start_soon(task)
        home.runner.post(Apply(tuple(components), shutdown_timeout, runlevel=runlevel))
        home.runner.post(Boot(home.system.wall()))
        await home.rest()
        yield home
        nursery.cancel_scope.cancel()


class RealHouse:
    """A runner with real children. `notes` are what it told, `outbox` has letters on disk."""

    def __init__(
        self,
        nursery: trio.Nursery,
        children: RealChildren,
        outbox: Outbox | None,
        notify_prefix: str | None,
    ) -> None:
        self.notes: list[Note] = []
        self._changed = trio.Event()
        self.own = Memory()
        self.outputs = Outputs(
            children.system,
            nursery,
            lambda kind, level, key, text: self.notes.append(Note(key, kind, level, text)),
            open_own=lambda _: self.own,
        )
        self.runner = Runner(
            Engine(), children.system, self.outputs, outbox=outbox, notify_prefix=notify_prefix
        )
        self.runner.observe(self._observed)
        children.on_child = self.runner.reap

    def _observed(self, _revision: int, _changed: frozenset[str], notes: Sequence[Note]) -> None:
        self.notes.extend(notes)
        self._changed.set()

    def state(self, key: str) -> State:
        return self.runner.engine.world.states[key]

    async def until(self, fact: Callable[[], bool]) -> None:
        """Return when *fact* holds, which only something that the runner tells can bring about."""
        while not fact():
            self._changed = trio.Event()
            await self._changed.wait()


@asynccontextmanager
async def real_house(
    components: Sequence[Component],
    *,
    notify_prefix: str | None = None,
    make_outbox: Callable[[System], Outbox] | None = None,
) -> AsyncIterator[RealHouse]:
    """Run *components* for real; nothing of them is left afterwards."""
    with subreaping():  # What leaves its session can be seen only as a child of ours.
        async with RealChildren() as children, trio.open_nursery() as nursery:
            outbox = make_outbox(children.system) if make_outbox else None
            home = RealHouse(nursery, children, outbox, notify_prefix)
            nursery.start_soon(home.runner.run)
            if outbox is not None:
                nursery.start_soon(outbox.serve)
            home.runner.post(Apply(tuple(components), 5.0))
            home.runner.post(Boot(children.system.wall()))
            await home.runner.handled()
            yield home
            home.runner.post(Shutdown("the test"))
            await home.runner.ended.wait()
            nursery.cancel_scope.cancel()
