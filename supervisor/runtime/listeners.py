"""Listeners: who waits at them, and the connections that wait for their child."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from supervisor.model.access import Subject
from supervisor.model.events import Accepted, ListenerClosed, ListenFailed, Listening, Taken
from supervisor.model.state import Exit
from supervisor.runtime.answering import Answers
from supervisor.runtime.farewells import Farewells
from supervisor.runtime.reception import Reception, asks_for_names
from supervisor.runtime.sockets import Opened, SocketStock, same_place
from supervisor.system.port import Connection, ListenError, SocketName, System

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Set

    from supervisor.model.component import Address, Component, Key, SocketType, Tag
    from supervisor.runtime.quotes import Quotes
    from supervisor.runtime.tasks import Tasks

log = logging.getLogger(__name__)

AT_ONCE: Final = 16
"""Connections accepted in one go from one listener, before the others get their turn."""

PAUSE: Final = 1.0
"""Seconds for which accepting pauses when no descriptor is to be had. Nothing is lost meanwhile:
the connections stay in the kernel's queue."""


DATAGRAMS: Final = 64
"""Datagrams answered in one go for one listener; if there are more, it rests."""

REST: Final = 0.02
"""Seconds of that rest, so that a flood of datagrams leaves the loop idle most of the time."""


def unopened(error: ListenError, at: float) -> Exit:
    """Return why a listener could not be opened, which was tried at the Unix time *at*."""
    return Exit(stage=error.stage, errno=error.error.errno, message=error.message, at=at)


def place_name(address: Address, number: int) -> str:
    """Return the name under which a listening socket is handed over."""
    return f"listen:{address.url}:{number}"


def held_name(number: int) -> str:
    """Return the name under which a connection is handed over that nobody serves yet."""
    return f"held:{number}"


def is_ours(name: str) -> bool:
    """Return whether what is handed over under *name* belongs to the listeners."""
    return name.startswith(("listen:", "held:"))


class _Listener(NamedTuple):
    spec: Component
    sockets: tuple[Opened, ...]


class _Held(NamedTuple):
    """What is accepted and not served yet: a connection, or (without `fd`) the listener itself.

    `client` is where it comes from, if that is not what the connection itself says.
    """

    key: Key
    fd: int | None
    client: SocketName | None = None
    peer: str = ""
    subject: Subject = Subject()


class ListenerBoard:
    """Opens and closes listeners, accepts, and holds accepted connections until they are taken."""

    def __init__(
        self,
        system: System,
        tasks: Tasks,
        happened: Callable[[Key, Listening | ListenFailed | ListenerClosed | Taken], None],
        accepted: Callable[[Accepted], None],
        quotes: Quotes,
    ) -> None:
        self._system = system
        self._happened = happened
        self._accepted = accepted
        self._stock = SocketStock(system)
        self._farewells = Farewells(system)
        self._answers = Answers(system, tasks, quotes)
        self._reception = Reception(system, tasks, self._arrived)
        self._open: dict[Key, _Listener] = {}
        self._held: dict[int, _Held] = {}
        self._count = 0
        self._asleep: set[Key] = set()
        """Listeners at which nobody is accepted because the engine says so."""
        self._served: set[Key] = set()
        """Listeners that a server has, or is going to have."""
        self._paused: dict[Key, float] = {}
        self._resting = False
        """Nobody is accepted at all, as somebody else is going to."""
        self._wake = trio.Event()

    # --- listeners that wait for clients

    def open(self, key: Key, generation: int, spec: Component) -> None:
        """Open the listener of *key* and report `Listening` or `ListenFailed`."""
        self.let_go(key, frozenset(spec.sockets))  # Its children may have had them till now.
        try:
            sockets = self._stock.open(spec)
        except ListenError as error:
            why = unopened(error, self._system.wall())
            self._happened(key, ListenFailed(generation, why, self._system.chance()))
            return
        self._open[key] = _Listener(spec, sockets)
        self._watch(key)
        self._happened(key, Listening(generation, self._system.wall()))

    def restore(
        self,
        key: Key,
        spec: Component,
        found: Sequence[int] | None = None,
        *,
        server: int | None = None,
        asleep: bool = False,
    ) -> None:
        """Be open again, as one was for *key* that another piesd had.

        Args:
            key: whose listener it is.
            spec: what it was opened for.
            found: its sockets, if somebody has kept them; they belong to us from now on.
            server: the number under which a server has it.
            asleep: nobody is accepted yet.

        Raises:
            ListenError: a socket could not be opened.
        """
        sockets = self._stock.open(spec) if found is None else self._stock.take_over(spec, found)
        self._open[key] = _Listener(spec, sockets)
        if server is not None:
            self._served.add(key)
            self._held[server] = _Held(key, None)
        if asleep:
            self._asleep.add(key)
        if spec.listens:
            self._watch(key)

    def close(self, key: Key, generation: int, keep: Set[Address] = frozenset()) -> None:
        """Close the listener of *key*, if it is open, and report `ListenerClosed`."""
        self.let_go(key, keep)
        self._happened(key, ListenerClosed(generation))

    def retune(self, key: Key, spec: Component) -> None:
        """Go by *spec* from now on, of which only live fields have changed."""
        listener = self._open.get(key)
        if listener is not None:
            self._open[key] = _Listener(spec, listener.sockets)

    def pause(self, key: Key) -> None:
        """Accept nobody for *key*."""
        self._asleep.add(key)
        self._unwatch(key)

    def resume(self, key: Key) -> None:
        """Accept again for *key*."""
        self._asleep.discard(key)
        self._watch(key)

    # --- sockets that belong to the children of a component

    def hold(self, key: Key, spec: Component) -> tuple[int, ...]:
        """Return the descriptors on which a child of *key* listens; they stay ours.

        They are kept from child to child, so that clients wait while there is none.

        Raises:
            ListenError: one of them could not be opened; then there is none.
        """
        kept = self._open.get(key)
        if (
            kept is not None
            and same_place(kept.sockets, spec)
            and self._stock.leads_to(kept.sockets)
        ):
            return tuple(opened.fd for opened in kept.sockets)
        if kept is not None:
            self.let_go(key, frozenset(spec.sockets))
        if not spec.sockets:
            return ()
        self._open[key] = _Listener(spec, self._stock.open(spec))
        return self.descriptors(key)

    def let_go(self, key: Key, keep: Set[Address] = frozenset()) -> None:
        """Close the sockets of *key*, but for those that somebody is going to use again."""
        listener = self._open.pop(key, None)
        if listener is not None:
            self._stock.close(listener.sockets, keep)
            if keep:
                self._wake.set()
        self._asleep.discard(key)
        self._served.discard(key)
        self._paused.pop(key, None)

    def give_up(self, addresses: Set[Address]) -> None:
        """Close what was put aside for *addresses*."""
        self._stock.close_parked(addresses)

    def descriptors(self, key: Key) -> tuple[int, ...]:
        """Return the descriptors of the listener of *key*, none if it is closed."""
        return tuple(opened.fd for opened in self.opened(key))

    def opened(self, key: Key) -> tuple[Opened, ...]:
        """Return the sockets of the listener of *key*, none if it is closed."""
        listener = self._open.get(key)
        return () if listener is None else listener.sockets

    def idle_stop(self, key: Key) -> float:
        """Return for how long a server may have an open listener to which nobody comes; 0: ever."""
        return self._open[key].spec.idle_stop

    # --- connections

    def take(self, connection: int) -> int:
        """Return the descriptor of a connection; it is the caller's from now on."""
        fd = self.look_at(connection)
        del self._held[connection]
        return fd

    def look_at(self, connection: int) -> int:
        """Return the descriptor of a connection, which stays ours."""
        fd = self._held[connection].fd
        if fd is None:
            raise ValueError(f"{connection} is a listener and no connection")
        return fd

    def client(self, connection: int) -> SocketName | None:
        """Return where a connection comes from, if a balancer has said so."""
        return self._held[connection].client

    def kind(self, connection: int) -> SocketType:
        """Return the type of the socket at which a connection was accepted."""
        listener = self._open.get(self._held[connection].key)
        sockets = listener.spec.sockets if listener is not None else ()
        return sockets[0].kind if sockets else "stream"

    def owner(self, connection: int) -> Key:
        """Return whose listener has the connection of that number, or is it."""
        return self._held[connection].key

    def subordinates(self, master: Tag) -> tuple[Component, ...]:
        """Return those that get their clients from *master* and take some now."""
        return tuple(
            listener.spec
            for key, listener in self._open.items()
            if listener.spec.tcpmux_master == master and key not in self._asleep
        )

    def count_from(self, number: int) -> None:
        """Number the connections from *number* + 1 on: those before have been here."""
        self._count = max(self._count, number)

    def pass_on(self, connection: int, tag: Tag) -> None:
        """Let a connection be one that has come to *tag*, and ask what is to become of it."""
        held = self._held.pop(connection)
        self._arrived(tag, held.fd, held.peer, held.subject, held.client)

    def refuse(self, connection: int, message: str = "") -> None:
        """Close a connection that nobody serves, and tell the client why."""
        held = self._held.pop(connection)
        if held.fd is None:
            self._served.discard(held.key)
            self._watch(held.key)
            return
        self._farewells.say(held.fd, message)
        self._wake.set()

    def forget(self, key: Key) -> None:
        """Free what is still held for *key*: a connection before its start, or a whole listener."""
        _, mark, number = key.rpartition("#")
        if mark and int(number) in self._held:
            self.refuse(int(number))
        elif not mark:
            self.let_go(key)

    def _watch(self, key: Key) -> None:
        listener = self._open.get(key)
        closed = key in self._asleep or key in self._served or key in self._paused
        if listener is None or closed or self._resting:
            return
        for opened in listener.sockets:
            ready = self._offer if listener.spec.owned else self._accept
            if listener.spec.internal and opened.address.kind == "dgram":
                ready = self._answer
            self._system.watch(opened.fd, partial(ready, key, opened.fd))

    def _unwatch(self, key: Key) -> None:
        for fd in self.descriptors(key):
            self._system.unwatch(fd)

    def _offer(self, key: Key, _fd: int) -> None:
        """Somebody waits: whoever serves gets the listener, and we look away until it has ended."""
        self._served.add(key)
        self._unwatch(key)
        self._arrived(key, None, "", Subject(), None)

    def _accept(self, key: Key, fd: int) -> None:
        for _ in range(AT_ONCE):
            try:
                connection = self._system.accept(fd)
            except OSError as error:
                self._rest(key, PAUSE)
                log.error("cannot accept for %r, pausing: %s", key, error.strerror)
                return
            if connection is None:
                return
            self._receive(key, connection)
            if key not in self._open or key in self._asleep:
                return

    def _answer(self, key: Key, fd: int) -> None:
        """Answer some of the datagrams that are there."""
        listener = self._open[key]
        own = [
            self._system.names(opened.fd)[0]
            for each in self._open.values()
            for opened in each.sockets
            if opened.address.kind == "dgram"
        ]

        def is_open() -> bool:
            present = self._open.get(key)
            return present is not None and present.sockets is listener.sockets

        for _ in range(DATAGRAMS):
            try:
                asked = self._system.receive_from(fd)
            except OSError as error:
                log.error("cannot take a datagram for %r: %s", key, error.strerror)
                return
            if asked is None:
                return
            taken = self._answers.answer(listener.spec, fd, asked, own, is_open)
            if taken and listener.spec.max_rate:
                self._happened(key, Taken())
            if not is_open() or key in self._asleep:
                return
        self._rest(key, REST)

    def _rest(self, key: Key, seconds: float) -> None:
        """Accept nothing for *key* for a while."""
        self._unwatch(key)
        self._paused[key] = trio.current_time() + seconds
        self._wake.set()

    def _receive(self, key: Key, connection: Connection) -> None:
        spec = self._open[key].spec
        others = self.subordinates(key) if spec.service == "tcpmux" else ()
        names = any(asks_for_names(each.acl) for each in (spec, *others))
        self._reception.receive(key, spec, connection, names=names)

    def _arrived(
        self, key: Key, fd: int | None, peer: str, subject: Subject, client: SocketName | None
    ) -> None:
        """Ask what is to become of a connection."""
        self._count += 1
        self._held[self._count] = _Held(key, fd, client, peer, subject)
        self._accepted(Accepted(key, self._count, peer, self._system.wall(), subject))

    # --- handing over

    def rest(self, resting: bool) -> None:
        """Accept nobody for a while: who comes waits; or accept again."""
        self._resting = resting
        for key in self._open:
            if resting:
                self._unwatch(key)
            else:
                self._watch(key)

    def asks(self) -> bool:
        """Return whether somebody has been accepted whom the engine has not heard of yet."""
        return self._reception.asks()

    def everything(self) -> dict[str, tuple[int, SocketName | None]]:
        """Return what is open here, by name, and whose connection it is, if a balancer said so.

        `listen:URL:N` is the N-th socket of that address, `held:N` a connection that waits.
        """
        found: dict[str, tuple[int, SocketName | None]] = {}
        for opened in self._stock.everything(each.sockets for each in self._open.values()):
            number = 0
            while (name := place_name(opened.address, number)) in found:
                number += 1
            found[name] = opened.fd, None
        for number, held in self._held.items():
            if held.fd is not None:
                found[held_name(number)] = held.fd, held.client
        return found

    def hold_again(
        self, number: int, key: Key, fd: int, peer: str, address: str, client: SocketName | None
    ) -> None:
        """Have a connection again that waits, as another piesd had it under *number*."""
        self._held[number] = _Held(key, fd, client, peer, Subject(address=address))

    # --- time

    async def run(self) -> None:
        """Take up listeners whose pause is over, close what has had its time, until cancelled."""
        while True:
            self._wake = trio.Event()
            with trio.move_on_at(self._deadline()):
                await self._wake.wait()
            now = trio.current_time()
            self._farewells.close_late()
            self._stock.close_forgotten()
            for key in [key for key, until in self._paused.items() if until <= now]:
                del self._paused[key]
                self._watch(key)

    def _deadline(self) -> float:
        pauses = min(self._paused.values(), default=float("inf"))
        return min(pauses, self._farewells.deadline(), self._stock.deadline())
