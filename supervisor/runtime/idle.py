"""Find out that nobody needs a child: its connection is silent, or nobody comes to its listener.

Others hold the sockets, so the kernel is asked about them, and only when it may be time: for a
connection when it could have been silent for long enough, for a listener once in `idle-stop`. A
server whose listener was without a connection for the whole time between two looks is idle.

It is held by SIGSTOP for the last look, so that it cannot accept anybody whom it would then take
along: who comes from now on waits in the queue, which is ours, for the next server.
"""

from __future__ import annotations

import logging
from functools import partial
from signal import SIGCONT, SIGSTOP
from typing import TYPE_CHECKING, Final

import trio

from supervisor.model.events import Idle

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.model.component import Address, Component, Key
    from supervisor.runtime.listeners import ListenerBoard
    from supervisor.runtime.tasks import Tasks
    from supervisor.system.port import Flow, System

log = logging.getLogger(__name__)

MOMENT: Final = 0.001
"""Seconds between two looks whether SIGSTOP has reached all processes of a server."""

LOOKS: Final = 100

GRAIN: Final = 0.01
"""Seconds by which the kernel's clock for connections may be behind ours."""


class _Watch:
    def __init__(self, key: Key, generation: int) -> None:
        self.key, self.generation = key, generation
        self.scope = trio.CancelScope()
        self.changed = trio.Event()
        """How long it may be idle is something else now."""

    @property
    def owner(self) -> Key:
        return self.key.partition("#")[0]


class IdleWatch:
    """Watches the children that serve connections, and reports `Idle`."""

    def __init__(
        self,
        system: System,
        tasks: Tasks,
        listeners: ListenerBoard,
        happened: Callable[[Key, Idle], None],
    ) -> None:
        self._system = system
        self._tasks = tasks
        self._listeners = listeners
        self._happened = happened
        self._watches: dict[Key, _Watch] = {}
        self._unable = False

    def serves(self, key: Key, generation: int, spec: Component, flow: Flow | None) -> None:
        """Watch a child that serves the connection *flow*."""
        if flow is not None and spec.idle_timeout:
            self._begin(key, generation, partial(self._connection, spec.idle_timeout, flow))

    def owns(self, key: Key, generation: int) -> None:
        """Watch a child that owns the listener."""
        self._begin(key, generation, self._server)

    def end(self, key: Key) -> None:
        """The child has ended."""
        watch = self._watches.pop(key, None)
        if watch is not None:
            watch.scope.cancel()
            for opened in self._listeners.opened(watch.owner):
                self._system.expect_no_more(opened.fd)

    def retune(self, key: Key) -> None:
        """The component *key* has changed."""
        for watch in self._watches.values():
            if watch.owner == key:
                watch.changed.set()

    def _begin(self, key: Key, generation: int, watching: Callable[[_Watch], object]) -> None:
        watch = self._watches[key] = _Watch(key, generation)

        async def run() -> None:
            with watch.scope:
                try:
                    await watching(watch)  # type: ignore[misc]
                except OSError as error:
                    self._do_without(error)

        self._tasks.start(f"the idleness of {key}", run)

    def _do_without(self, error: OSError) -> None:
        if not self._unable:
            self._unable = True
            what = (
                "cannot ask the kernel about connections, so idle-timeout and idle-stop do nothing"
            )
            log.warning("%s: %s", what, error.strerror or error)

    # --- one connection

    async def _connection(self, seconds: float, flow: Flow, watch: _Watch) -> None:
        due = trio.current_time() + seconds
        while True:
            await trio.sleep_until(due + GRAIN)
            quiet = self._system.quiet(flow)
            if quiet is None:
                return  # It is over; what the child still has to do is its own affair.
            if quiet >= seconds:
                self._report(watch, seconds)
                return
            due = trio.current_time() + seconds - quiet

    # --- a server with a listener

    async def _server(self, watch: _Watch) -> None:
        empty = False
        """Whether there was no connection at the last look."""
        self._expect(watch)
        while self._listeners.opened(watch.owner):
            seconds = self._listeners.idle_stop(watch.owner)
            with trio.move_on_after(seconds or float("inf")):
                await watch.changed.wait()
                watch.changed = trio.Event()
                continue
            if empty and self._nobody(watch) and await self._dismiss(watch, seconds):
                return
            self._expect(watch)
            empty = self._nobody(watch)

    def _expect(self, watch: _Watch) -> None:
        for opened in self._listeners.opened(watch.owner):
            self._system.expect(opened.fd)

    def _nobody(self, watch: _Watch) -> bool:
        """Return whether nobody is there, and nobody came since `_expect`."""
        return not any(
            self._system.came(opened.fd) or self._at(opened.address, watch)
            for opened in self._listeners.opened(watch.owner)
        )

    def _at(self, address: Address, watch: _Watch) -> int:
        """Return how many are being served who came to *address*."""
        if address.kind != "dgram":
            return self._system.connections(address)
        # There are no connections; whoever serves somebody for longer has a process for that.
        return len(self._system.processes(watch.key, watch.generation)) - 1

    async def _dismiss(self, watch: _Watch, seconds: float) -> bool:
        """Report that a server is idle, unless somebody comes at the last moment."""
        dismissed = False
        self._system.signal(watch.key, watch.generation, SIGSTOP, "tree")
        try:
            for _ in range(LOOKS):
                if self._system.is_stopped(watch.key, watch.generation):
                    dismissed = self._nobody(watch)
                    break
                await trio.sleep(MOMENT)
            if dismissed:
                self._report(watch, seconds)
        finally:
            if not dismissed:
                self._system.signal(watch.key, watch.generation, SIGCONT, "tree")
        return dismissed

    def _report(self, watch: _Watch, seconds: float) -> None:
        self._happened(watch.key, Idle(watch.generation, f"idle for {seconds:g} s"))
