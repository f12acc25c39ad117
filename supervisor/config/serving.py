"""What the keys of one component that are about sockets mean together."""

from __future__ import annotations

import os

from supervisor.config import keys
from supervisor.config.addresses import BadAddress, parse_address
from supervisor.config.fields import Fields, Key
from supervisor.config.host import Host
from supervisor.config.meanings import Meanings, misspelt
from supervisor.config.tables import Node, did_you_mean, quoted
from supervisor.config.unhonoured import Way, refuse
from supervisor.model.component import Address, Check, Mode, Tag, UnixAddress
from supervisor.model.errors import Problem

WAIT_RATE = 256
"""Servers a minute that are started with `wait` where `max-rate` says nothing: one that does not
take its datagram would be started again at once, for ever. Source: inetd(8), option -R."""

PASS_AGAIN = 0.1
"""Seconds from one try to hand a socket over to the next."""

_DATAGRAMS = frozenset({"echo", "discard", "time", "daytime", "chargen", "qotd"})
"""The built-in services that there are for datagrams."""

MOST_PASSED = 32
"""Sockets that a child can be given under numbers of their own, see `system.seats`."""


class Serving:
    """What the keys about sockets mean, given what the others do."""

    def __init__(self, one: Meanings, mode: Mode | None, table: Node, host: Host) -> None:
        self.one, self.mode, self.table, self.host = one, mode, table, host
        self.fields: Fields = one.fields
        self.problems: list[Problem] = one.problems
        self.listening = mode in keys.LISTENING

    def refuse_what_it_cannot_honour(self, sockets: tuple[Address, ...]) -> None:
        """Refuse keys that mean something in this mode, and not together with the others."""
        if not self.listening or self.mode is None:
            return
        way = Way(
            mode=self.mode,
            sockets=sockets,
            wait=self.wait(),
            internal=self.internal(),
            subordinate=self.master() is not None,
            listen_fds=self.listen_fds(),
            on_demand=self.on_demand(),
            sockenv=self._flag(keys.SOCKENV),
        )
        refuse(way, self.one)
        demand = self.fields.node(keys.ON_DEMAND)
        both = {keys.ON_DEMAND.name, keys.IDLE_STOP.name} <= self.one.own
        if way.on_demand and both and demand is not None and demand.value is False:
            what = "contradicts 'idle-stop', after which the next connection starts it"
            self.problems.append(demand.problem(what))

    # --- where

    def sockets(self) -> tuple[Address, ...]:
        """Return where it listens."""
        if not self.listening:
            return ()
        node = self.fields.node(keys.SOCKET)
        if self.master() is not None:
            if node is not None:
                what = "has no place beside 'tcpmux-master', which hands connections over"
                self.problems.append(node.problem(what))
            return ()
        if node is None and not misspelt(keys.SOCKET, self.table):
            what = f"the key 'socket' is missing: mode {self.mode} needs it"
            self.problems.append(self.table.problem(what))
        base, kind = self.fields.given(keys.CHDIR), self.fields.given(keys.SOCKET_TYPE)
        found: list[Address] = []
        for each in self.fields.given(keys.SOCKET) or ():
            try:
                address = parse_address(str(each.value), self.host, base, kind)
            except BadAddress as error:
                self.problems.append(each.problem(str(error)))
                continue
            found.append(address)
            self._check_type(address, each)
        if node is not None:
            self._check_number(len(found), node)
        return tuple(found)

    def _check_type(self, address: Address, node: Node) -> None:
        """Refuse datagrams where there is nobody to take them."""
        service = self.fields.given(keys.SERVICE)
        if self.internal():
            if address.kind == "dgram" and service is not None and service not in _DATAGRAMS:
                self.problems.append(node.problem(f"there is no {service} over datagrams"))
        elif address.kind == "dgram" and self.mode is Mode.INETD and not self.wait():
            what = "datagrams have no connections: they need 'wait = true'"
            self.problems.append(node.problem(what))

    def _check_number(self, count: int, node: Node) -> None:
        """Refuse more sockets than can be handed over in the way that is asked for."""
        if self.listen_fds():
            if count > MOST_PASSED:
                what = f"at most {MOST_PASSED} sockets can be handed over"
                self.problems.append(node.problem(what))
        elif count > 1 and (self.mode is not Mode.INETD or self.wait()):
            what = f"mode {self.mode} hands over one socket"
            if self.mode is not Mode.PASS_FD:
                what = "several sockets cannot be standard input: they need 'listen-fds = true'"
            self.problems.append(node.problem(what))

    # --- how

    def wait(self) -> bool:
        """Return whether a server owns the listening sockets.

        An internal service for datagrams is written with `wait`, and is no server.

        Source: inetd.conf(5).
        """
        return self._flag(keys.WAIT) and not self.internal() and self.master() is None

    def internal(self) -> bool:
        """Return whether piesd serves it itself."""
        return self._flag(keys.INTERNAL)

    def listen_fds(self) -> bool:
        """Return whether sockets are handed over as systemd does it."""
        return self._flag(keys.LISTEN_FDS)

    def on_demand(self) -> bool:
        """Return whether a server is started by its first connection."""
        idle = self.fields.given(keys.IDLE_STOP) is not None
        return self.mode is Mode.ACCEPT and (self._flag(keys.ON_DEMAND) or idle)

    def idle_stop(self) -> float:
        """Return after how many seconds without a connection a server is stopped; 0: never."""
        seconds = self.fields.given(keys.IDLE_STOP) if self.listening else None
        return seconds or 0.0

    def idle_timeout(self, sockets: tuple[Address, ...]) -> float:
        """Return after how many silent seconds a connection is ended; 0: never."""
        node, seconds = self.fields.node(keys.IDLE_TIMEOUT), self.fields.given(keys.IDLE_TIMEOUT)
        if node is None or seconds is None or self.mode is not Mode.INETD:
            return 0.0
        what = ""
        if self.wait():
            what = "is about one connection, and with 'wait' a server has them all: see 'idle-stop'"
        elif any(isinstance(address, UnixAddress) for address in sockets) and not self.internal():
            what = "is about TCP: nothing tells when a byte last went through a UNIX socket"
        if what and keys.IDLE_TIMEOUT.name in self.one.own:
            self.problems.append(node.problem(what))
        return 0.0 if what else seconds

    def names(self, sockets: tuple[Address, ...]) -> tuple[str, ...]:
        """Return the names of the sockets, checking that there is one for each."""
        node, names = self.fields.node(keys.SOCKET_NAMES), self.fields.given(keys.SOCKET_NAMES)
        if node is None or not names or not self.listening:
            return ()
        if len(names) != len(sockets) and sockets:
            what = f"must be one name for each socket: there are {len(sockets)}"
            self.problems.append(node.problem(what))
        if any(":" in name or not name.isprintable() for name in names):
            self.problems.append(node.problem("a name of a socket has no colon in it"))
        return names

    def max_rate(self) -> int:
        """Return the most connections a minute, 0 for no limit."""
        given = self.fields.given(keys.MAX_RATE)
        if given is None:
            return WAIT_RATE if self.wait() else 0
        return given

    def ready(self) -> Check | None:
        """Return what must be the case before it is up: what it says, or that it has its socket."""
        if self.mode is not Mode.PASS_FD:
            return self._own_ready() if self.mode is not Mode.INETD else None
        timeout = self.fields.need(keys.PASS_FD_TIMEOUT)
        target = self._pass_fd_socket() or ""
        return Check(kind="pass-fd", target=target, timeout=timeout, interval=PASS_AGAIN)

    def _own_ready(self) -> Check | None:
        """Return the check that is asked for, whose descriptor must not be that of a socket."""
        node, check = self.fields.node(keys.READY), self.fields.given(keys.READY)
        if node is not None and check is not None and check.kind == "fd" and self.listen_fds():
            sockets = self.fields.given(keys.SOCKET)
            last = 2 + (len(sockets) if sockets else 0)
            if check.fd <= last:
                what = f"the descriptors from 3 to {last} are the sockets: take a later one"
                self.problems.append(node.problem(what))
        return check

    def _pass_fd_socket(self) -> str | None:
        """Return the full path of the program's own socket."""
        node, path = self.fields.node(keys.PASS_FD_SOCKET), self.fields.given(keys.PASS_FD_SOCKET)
        if node is None and not misspelt(keys.PASS_FD_SOCKET, self.table):
            what = "the key 'pass-fd-socket' is missing: mode pass-fd needs it"
            self.problems.append(self.table.problem(what))
        if node is None or path is None or os.path.isabs(path):
            return path
        base = self.fields.given(keys.CHDIR)
        if base is None and not self.fields.wrong(keys.CHDIR):
            what = f"must be a full path where 'chdir' is not set, not {quoted(path)}"
            self.problems.append(node.problem(what))
        return os.path.join(base or "/", path)

    # --- what piesd does itself

    def master(self) -> Tag | None:
        """Return who hands connections over to it."""
        return self.fields.given(keys.TCPMUX_MASTER) if self.mode is Mode.INETD else None

    def tcpmux_plus(self) -> bool:
        """Return whether piesd tells the client that the service was found."""
        plus, plain = self._flag(keys.TCPMUXPLUS), self._flag(keys.TCPMUX)
        for key, said in ((keys.TCPMUXPLUS, plus), (keys.TCPMUX, plain)):
            node = self.fields.node(key) or self.fields.node(keys.FLAGS)
            if said and node is not None and self.mode is Mode.INETD:
                if self.master() is None and not self.fields.wrong(keys.TCPMUX_MASTER):
                    self.problems.append(node.problem(f"'{key.name}' needs a 'tcpmux-master'"))
                elif plus and plain and key is keys.TCPMUX:
                    self.problems.append(node.problem("contradicts 'tcpmuxplus'"))
        return plus

    def service(self) -> str | None:
        """Return the name of the service, checking that there is such a thing."""
        if self.mode is not Mode.INETD:
            return None
        node, name = self.fields.node(keys.SERVICE), self.fields.given(keys.SERVICE)
        if self.internal():
            if node is None:
                what = "the key 'service' is missing: 'internal' needs it"
                self.problems.append(self.table.problem(what))
            elif name is not None and name not in keys.SERVICES:
                hint = did_you_mean(name, keys.SERVICES)
                self.problems.append(node.problem(f"no such built-in service{hint}"))
        elif self.master() is None and node is not None and name is not None:
            what = "means nothing without 'internal' or 'tcpmux-master'"
            self.problems.append(node.problem(what))
        return name or (self.table_tag() if self.master() is not None else None)

    def table_tag(self) -> Tag:
        """Return the tag under which the table was written."""
        return self.table.key.removeprefix("component.").strip('"')

    def _flag(self, key: Key[bool]) -> bool:
        return self.listening and self.one.flag(key)
