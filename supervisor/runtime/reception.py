"""Who a client is, found out before anything is decided about it."""

from __future__ import annotations

import logging
from functools import partial
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

import trio

from supervisor.model.access import Acl, Subject
from supervisor.runtime.proxyheader import BadHeaderError, Client, parse, wanted
from supervisor.system.accounts import LinuxAccounts
from supervisor.system.port import SocketName
from supervisor.system.sockets import host_and_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from supervisor.model.component import Component, Key
    from supervisor.runtime.tasks import Tasks
    from supervisor.system.port import Connection, System

log = logging.getLogger(__name__)

PATIENCE: Final = 5.0
"""Seconds for finding out who a client is; then it is not served."""

MOST: Final = 256
"""Clients of one listener about whom something is being found out at a time. Who comes then takes
the place of the one that has had most time: whoever says nothing is in the way of his like only."""


class Reception:
    """Receives connections: most at once, and in a task those about which something is asked."""

    def __init__(
        self,
        system: System,
        tasks: Tasks,
        arrived: Callable[[Key, int, str, Subject, SocketName | None], None],
    ) -> None:
        self._system = system
        self._tasks = tasks
        self._arrived = arrived
        self._asking: dict[Key, dict[int, trio.CancelScope]] = {}
        """Of each listener, the connections of such clients, oldest first."""

    def asks(self) -> bool:
        """Return whether something is just being found out about somebody."""
        return bool(self._asking)

    def receive(self, key: Key, spec: Component, connection: Connection, *, names: bool) -> None:
        """Pass *connection* on to where it is decided about, with who is there.

        *names*: some rule is going to ask for the names of the client.
        """
        if spec.proxy_protocol and _is_within(connection.address, spec.proxy_protocol):
            self._ask(key, connection, partial(self._read_header, key, connection))
        elif connection.uid is not None and names:
            self._ask(key, connection, partial(self._look_up, key, connection))
        else:
            subject = Subject(address=connection.address)
            self._arrived(key, connection.fd, connection.peer, subject, None)

    def _ask(self, key: Key, connection: Connection, job: Callable[[], Awaitable[bool]]) -> None:
        """Have *job* find something out and pass the connection on; False: it could not."""
        asking = self._asking.setdefault(key, {})
        if len(asking) >= MOST:
            asking.pop(next(iter(asking))).cancel()
            log.warning("%r: too many clients at a time: the oldest is not served", key)
        scope = trio.CancelScope(deadline=trio.current_time() + PATIENCE)
        asking[connection.fd] = scope

        async def ask() -> None:
            passed_on = False
            try:
                with scope:
                    passed_on = await job()
            finally:
                if asking.get(connection.fd) is scope:
                    del asking[connection.fd]
                if not passed_on:
                    self._system.close(connection.fd)

        self._tasks.start(f"a client of {key}", ask)

    async def _look_up(self, key: Key, connection: Connection) -> bool:
        """Find out the names of a client on a UNIX socket."""
        assert connection.uid is not None
        known = await self._system.blocking(LinuxAccounts().of_uid, connection.uid)
        user, groups = known or (f"#{connection.uid}", frozenset())
        subject = Subject(user=user, groups=groups, address=connection.address)
        self._arrived(key, connection.fd, connection.peer, subject, None)
        return True

    async def _read_header(self, key: Key, connection: Connection) -> bool:
        """Read what the balancer says about its client."""
        try:
            client = await self._header(connection.fd)
        except (BadHeaderError, OSError) as error:
            what = "%r: no header of the PROXY protocol from %s: %s"
            log.warning(what, key, connection.peer, error)
            return False
        if client.address is None:
            subject = Subject(address=connection.address)
            self._arrived(key, connection.fd, connection.peer, subject, None)
        else:
            there = SocketName(client.address, client.port)
            subject = Subject(address=client.address)
            self._arrived(key, connection.fd, host_and_port(there), subject, there)
        return True

    async def _header(self, fd: int) -> Client:
        """Take the header, and not a byte more, from a connection.

        Raises:
            BadHeaderError: what comes is none.
        """
        readable, header = trio.Event(), b""
        # What belongs to the header is taken, so that the descriptor is readable only by more.
        self._system.watch(fd, lambda: readable.set())  # noqa: PLW0108 - The event is replaced.
        try:
            while True:
                seen = self._system.peek(fd, 4096)
                if seen == b"":
                    raise BadHeaderError("the connection was closed")
                if seen is not None:
                    count = wanted(header, seen)
                    header += self._system.consume(fd, count)
                    client = parse(header)
                    if client is not None:
                        return client
                await readable.wait()
                readable = trio.Event()
        finally:
            self._system.unwatch(fd)


def _is_within(address: str, networks: tuple[str, ...]) -> bool:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(parsed in ip_network(network) for network in networks)


def asks_for_names(acl: Acl | None) -> bool:
    """Return whether a rule of *acl* is about who a client is, and not where it comes from."""
    return acl is not None and any(
        rule.who != "all" or any(map(asks_for_names, rule.also)) for rule in acl.rules
    )
