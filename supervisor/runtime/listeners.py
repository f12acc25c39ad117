"""The listening sockets of inetd components, and the connections that wait for their child."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import trio
from msgspec import Struct

from supervisor.model.component import Address, Component, Key
from supervisor.model.events import Accepted, ListenerClosed, ListenFailed, Listening
from supervisor.model.state import Exit
from supervisor.system.port import ListenError, System

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Connections accepted in one go from one listener, before the others get their turn."""

PAUSE = 1.0
"""Seconds for which accepting pauses when no descriptor is to be had. Nothing is lost meanwhile:
the connections stay in the kernel's queue."""


class _Open(Struct, frozen=True):
    sockets: tuple[tuple[int, Address], ...]
    generation: int


class ListenerBoard:
    """Opens and closes listeners, accepts, and holds accepted connections until they are taken."""

    def __init__(
        self,
        system: System,
        happened: Callable[[Key, Listening | ListenFailed | ListenerClosed], None],
        accepted: Callable[[Accepted], None],
    ) -> None:
        self._system = system
        self._happened = happened
        self._accepted = accepted
        self._open: dict[Key, _Open] = {}
        self._connections: dict[int, int] = {}
        self._count = 0
        self._paused: dict[Key, float] = {}
        self._pause = trio.Event()

    def open(self, key: Key, generation: int, spec: Component) -> None:
        """Open the listener of *key* and report `Listening` or `ListenFailed`."""
        sockets: list[tuple[int, Address]] = []
        try:
            for address in spec.sockets:
                sockets.append((self._system.listen(address), address))
        except ListenError as error:
            for fd, address in sockets:
                self._system.unlisten(fd, address)
            why = Exit(
                stage=error.stage,
                errno=error.error.errno,
                message=error.message,
                at=self._system.wall(),
            )
            self._happened(key, ListenFailed(generation, why, self._system.chance()))
            return
        self._open[key] = _Open(tuple(sockets), generation)
        self._watch(key)
        self._happened(key, Listening(generation, self._system.wall()))

    def close(self, key: Key, generation: int) -> None:
        """Close the listener of *key*, if it is open, and report `ListenerClosed`."""
        listener = self._open.pop(key, None)
        if listener is not None:
            for fd, address in listener.sockets:
                self._system.unwatch(fd)
                self._system.unlisten(fd, address)
        self._paused.pop(key, None)
        self._happened(key, ListenerClosed(generation))

    def take(self, connection: int) -> int:
        """Return the descriptor of a connection; it is the caller's from now on."""
        return self._connections.pop(connection)

    def refuse(self, connection: int) -> None:
        """Close a connection that nobody serves."""
        self._system.close(self._connections.pop(connection))

    def forget(self, key: Key) -> None:
        """Close what is still held for *key*, a connection that was forgotten before its start."""
        _, mark, number = key.rpartition("#")
        if mark and int(number) in self._connections:
            self.refuse(int(number))

    def _watch(self, key: Key) -> None:
        for fd, _ in self._open[key].sockets:
            self._system.watch(fd, partial(self._accept, key, fd))

    def _accept(self, key: Key, fd: int) -> None:
        for _ in range(AT_ONCE):
            try:
                connection = self._system.accept(fd)
            except OSError as error:
                for each, _address in self._open[key].sockets:
                    self._system.unwatch(each)
                self._paused[key] = trio.current_time() + PAUSE
                self._pause.set()
                log.error("cannot accept for %r, pausing: %s", key, error.strerror)
                return
            if connection is None:
                return
            self._count += 1
            self._connections[self._count] = connection.fd
            self._accepted(Accepted(key, self._count, connection.peer, self._system.wall()))
            if key not in self._open:
                return

    async def run(self) -> None:
        """Take up listeners again whose pause is over, until cancelled."""
        while True:
            await self._pause.wait()
            self._pause = trio.Event()
            while self._paused:
                await trio.sleep_until(min(self._paused.values()))
                now = trio.current_time()
                for key in [key for key, until in self._paused.items() if until <= now]:
                    del self._paused[key]
                    if key in self._open:
                        self._watch(key)
