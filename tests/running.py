"""A real runner on the simulated operating system, for tests under trio's virtual clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from fake_system import FakeSystem
from supervisor.engine.engine import Engine
from supervisor.model.component import Component, Output
from supervisor.model.effects import Note
from supervisor.model.events import Apply, Boot, Order, Shutdown
from supervisor.model.state import Phase
from supervisor.runtime.output import Outputs
from supervisor.runtime.runner import Runner


class Memory:
    """A log target that keeps what it is given."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, blocks: list[bytes]) -> int:
        self.data += b"".join(blocks)
        return sum(map(len, blocks))

    def reopen(self) -> None: ...

    def close(self) -> None: ...


class House:
    """A runner and what it runs on. `logs` holds what went to each file, `own` to our stdout."""

    def __init__(self, nursery: trio.Nursery, shutdown_timeout: float) -> None:
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
        self.runner = Runner(Engine(shutdown_timeout=shutdown_timeout), self.system, self.outputs)
        self.runner.observe(lambda _revision, _changed, notes: self.notes.extend(notes))
        self._child = trio.Event()
        self.system.on_child = self._child_ended

    def _child_ended(self) -> None:
        self._child.set()

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

    def phase(self, key: str) -> Phase:
        return self.runner.engine.world.states[key].phase

    def kinds(self, key: str | None) -> list[str]:
        return [note.kind for note in self.notes if note.key == key]


@asynccontextmanager
async def house(
    components: Sequence[Component],
    prepare: Callable[[House], None] = lambda _: None,
    *,
    shutdown_timeout: float = 5.0,
) -> AsyncIterator[House]:
    """Run *components*; *prepare* may write the scripts of their programs first."""
    async with trio.open_nursery() as nursery:
        home = House(nursery, shutdown_timeout)
        prepare(home)
        for task in (
            home.system.serve,
            home.runner.run,
            home.runner.listeners.run,
            home.reap,
        ):
            nursery.start_soon(task)
        home.runner.post(Apply(tuple(components), shutdown_timeout))
        home.runner.post(Boot(home.system.wall()))
        await home.rest()
        yield home
        nursery.cancel_scope.cancel()
