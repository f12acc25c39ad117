"""Go on with what another piesd has left: find out what is there, and take every piece up again.

What has ended meanwhile ends now, as far as the engine is concerned: the facts that are reported
are the same as ever, and so is what follows from them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from supervisor.engine import returning
from supervisor.engine.world import Connection
from supervisor.model.component import Mode
from supervisor.model.events import ComponentEvent, Happened, ListenerClosed, ListenFailed, Ready
from supervisor.runtime.launches import FIRST_PASSED
from supervisor.runtime.listeners import held_name, is_ours, place_name, unopened
from supervisor.system.port import Adopted, ListenError, Orphan, SocketName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supervisor.engine.memory import Memo, Memory
    from supervisor.model.component import Component, Key, Tag
    from supervisor.runtime.checks import Checks
    from supervisor.runtime.idle import IdleWatch
    from supervisor.runtime.listeners import ListenerBoard
    from supervisor.runtime.output import Outputs
    from supervisor.system.handover import Client
    from supervisor.system.port import System

log = logging.getLogger(__name__)


class Takeover:
    """Takes up children and listeners."""

    def __init__(
        self,
        system: System,
        outputs: Outputs,
        checks: Checks,
        listeners: ListenerBoard,
        idle: IdleWatch,
        handed: Mapping[str, int],
        clients: Mapping[str, Client],
    ) -> None:
        """Take what it works with, and the descriptors that were handed over, by their names."""
        self._system = system
        self._outputs = outputs
        self._checks = checks
        self._listeners = listeners
        self._idle = idle
        self._handed = {name: fd for name, fd in handed.items() if is_ours(name)}
        self._clients = clients
        self._facts: list[Happened] = []
        self.living: set[Tag] = set()
        """The components of which something lives, so that more of their output may come."""

    def take_up(
        self, memory: Memory, born: Mapping[Key, tuple[float, float]], now: float
    ) -> tuple[Memory, list[Happened]]:
        """Take up everything in *memory*; return what is left of it, and what is new since.

        Args:
            memory: with the engine's times.
            born: when each child was started, see `supervisor.system.port.Orphan`.
            now: the engine's time.
        """
        orphans = [
            Orphan(each.key, each.state.generation, each.state.pid, born.get(each.key, (0.0, 0.0)))
            for each in memory.memos
            if returning.has_processes(each)
        ]
        there = {each.key: each for each in self._system.adopt(orphans)}
        left: list[Memo] = []
        # Servers own the sockets of their listeners, so it must be known who is there.
        for each in memory.memos:
            adopted = there.get(each.key)
            client = isinstance(each.link, Connection) and not _is_served(each, adopted)
            if client and not self._hold(each):
                continue  # It is gone with whom it waited for.
            left.append(each if adopted is None else self._take_up(each, adopted, now))
        servers = {each.link.owner: each for each in left if isinstance(each.link, Connection)}
        for each in left:
            self._open(each, servers.get(each.key), there)
        for fd in self._handed.values():
            self._system.close(fd)
        return replace(memory, memos=tuple(left)), self._facts

    def _hold(self, memo: Memo) -> bool:
        """Hold a connection that waits, if it was handed over."""
        link = memo.link
        assert isinstance(link, Connection)
        name = held_name(link.number)
        if name not in self._handed or not returning.waits(memo):
            return False
        given = self._clients.get(name)
        client = None if given is None else SocketName(given.address, given.port)
        fd = self._handed.pop(name)
        self._listeners.hold_again(link.number, link.owner, fd, link.peer, link.address, client)
        return True

    # --- processes

    def _take_up(self, memo: Memo, adopted: Adopted, now: float) -> Memo:
        """Report what is new about a child, and look after one that is there."""
        ready = None
        if adopted.pid is not None or adopted.lost:
            self.living.add(memo.key.partition("#")[0])
            ready = self._look_after(memo, adopted.pid)
        state, event = returning.child(
            memo.state,
            adopted.pid,
            adopted.lost,
            now=now,
            at=self._system.wall(),
            chance=self._system.chance(),
        )
        for news in (event, ready):  # Of a start nobody may have heard yet: it runs, first of all.
            if news is not None:
                self._report(memo.key, news)
        return replace(memo, state=state)

    def _look_after(self, memo: Memo, pid: int | None) -> Ready | None:
        """Hear and watch what is there of a component; return what is new about its readiness."""
        key, spec, generation = memo.key, memo.spec, memo.state.generation
        try:
            self._outputs.descriptors(key, spec)
        except OSError as error:
            log.error("cannot read on what %r prints: %s", key, error.strerror)
        if pid is None:
            return None
        self._system.limit(key, spec.cgroup)
        self._outputs.started(key, pid)
        if "#" not in key:
            return self._checks.resume(
                key, generation, spec, ready=memo.state.ready, watchdog=memo.state.watchdog
            )
        if isinstance(memo.link, Connection) and not spec.owned:
            self._idle.serves(key, generation, spec, self._system.flow_of(key, generation))
        return None

    # --- sockets

    def _open(self, memo: Memo, server: Memo | None, there: Mapping[Key, Adopted]) -> None:
        """Have the sockets of a component again, if it had them."""
        key, spec, state = memo.key, memo.spec, memo.state
        if "#" in key or not spec.sockets:
            return
        handed = self._handed_over(spec)
        if not spec.listens:
            adopted = there.get(key)
            if handed is None and adopted is not None and adopted.pid is not None:
                handed = self._inherited(key, state.generation, spec)
            if handed is not None:
                self._listeners.restore(key, spec, handed)
            return
        if not state.listener:
            return
        event = returning.listener(state, self._system.wall())
        if isinstance(event, ListenerClosed):
            self._report(key, event)
            return
        number = None
        if server is not None and isinstance(server.link, Connection) and spec.owned:
            number = server.link.number
            if handed is None:
                handed = self._inherited(server.key, server.state.generation, spec)
        try:
            self._listeners.restore(key, spec, handed, server=number, asleep=state.throttled)
        except ListenError as error:
            why = unopened(error, self._system.wall())
            self._report(key, ListenFailed(state.generation, why, self._system.chance()))
            return
        if server is not None and number is not None:
            self._idle.owns(server.key, server.state.generation)
        if event is not None:
            self._report(key, event)

    def _handed_over(self, spec: Component) -> list[int] | None:
        """Return the sockets of *spec* that were handed over, if all were."""
        found: list[int] = []
        for address in spec.sockets:
            names = (place_name(address, number) for number in range(len(self._handed)))
            name = next((each for each in names if each in self._handed), None)
            if name is None:
                break
            fd = self._handed.pop(name)
            if not self._system.take_over(fd, address):
                self._system.close(fd)
                break
            found.append(fd)
        return self._all_or_none(found, spec)

    def _inherited(self, key: Key, generation: int, spec: Component) -> list[int] | None:
        """Return copies of the listening sockets that a child has, if it has them all."""
        if spec.mode is Mode.PASS_FD:
            return None  # As which descriptors it took them, it alone knows.
        first = FIRST_PASSED if spec.listen_fds else 0
        found: list[int] = []
        for number, address in enumerate(spec.sockets if spec.listen_fds else spec.sockets[:1]):
            fd = self._system.inherit(key, generation, first + number, address)
            if fd is None:
                break
            found.append(fd)
        return self._all_or_none(found, spec)

    def _all_or_none(self, found: list[int], spec: Component) -> list[int] | None:
        """Return *found* if these are all sockets of *spec*, and else close them."""
        if len(found) == len(spec.sockets):
            return found
        for fd, address in zip(found, spec.sockets, strict=False):
            self._system.unlisten(fd, address)
        return None

    def _report(self, key: Key, event: ComponentEvent) -> None:
        self._facts.append(Happened(key, event))


def _is_served(memo: Memo, adopted: Adopted | None) -> bool:
    """Return whether a connection has somebody who serves it, or had one till now."""
    if adopted is None:
        return False
    return adopted.pid is not None or bool(adopted.lost) or memo.state.pid is not None
