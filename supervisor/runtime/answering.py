"""The built-in services over datagrams, and what keeps others from being harmed with them.

The sender of a datagram is whoever somebody says it is. So what answers everybody can be made to
flood a third party, or to talk with another such service for ever.
"""

from __future__ import annotations

import logging
from functools import partial
from ipaddress import IPv4Network, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final

import trio

from supervisor.model.access import Subject, allows
from supervisor.runtime import services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from supervisor.model.component import Component
    from supervisor.runtime.quotes import Quotes
    from supervisor.runtime.tasks import Tasks
    from supervisor.system.port import Datagram, SocketName, System

log = logging.getLogger(__name__)

FIRST_PORT: Final = 1024
"""Below it are services, which would answer our answer. Source: inetd of OpenBSD."""

PER_SECOND: Final = 20
"""Answers to one source within a second: one IPv4 address, or one network of IPv6. What talks with
another service loses a datagram here, and then both are silent."""

SOURCES: Final = 1024
"""Sources that are answered within a second."""

WAITING: Final = 64
"""Datagrams at a time whose answer has to be read from a file."""

LONGEST: Final = 512
"""Characters of an answer of chargen. Source: RFC 864."""

HEADERS: Final = {4: 28, 6: 48}
"""Bytes that IP and UDP put before each datagram."""

_HERE: Final = IPv4Network("0.0.0.0/8")
_ALL: Final = ip_address("255.255.255.255")


class Answers:
    """Answers datagrams for `internal` components."""

    def __init__(self, system: System, tasks: Tasks, quotes: Quotes) -> None:
        self._system = system
        self._tasks = tasks
        self._quotes = quotes
        self._second = 0.0
        self._answered: dict[str, int] = {}
        self._waiting = 0

    def answer(
        self,
        spec: Component,
        fd: int,
        asked: Datagram,
        own: Iterable[SocketName],
        is_open: Callable[[], bool],
    ) -> bool:
        """Answer *asked*, which came to the socket *fd*; return whether it was let in.

        Args:
            spec: whose socket it is.
            fd: the socket.
            asked: what came.
            own: all sockets of ours that take datagrams.
            is_open: whether the socket is still ours, after others had their turn.
        """
        address = asked.sender.address if asked.sender.port is not None else asked.ours
        if not allows(spec.acl, Subject(address=address)):
            return False
        if spec.service == "discard":
            return True
        if not is_answerable(asked, own) or not self._within_rate(asked.sender):
            return False
        if spec.service != "qotd":
            self._reply(fd, asked, self._text(spec.service, asked.data))
        elif self._waiting < WAITING:
            self._waiting += 1
            self._tasks.start("a quote by datagram", partial(self._quote, fd, asked, is_open))
        return True

    def _text(self, service: str | None, data: bytes) -> bytes:
        match service:
            case "echo":
                return data
            case "chargen":
                return services.PATTERN[: min(len(data), LONGEST)]
            case "time":
                return services.time(self._system.wall())
            case "daytime":
                return services.daytime(self._system.wall())
            case _:
                raise ValueError(f"there is no {service!r} over datagrams")

    async def _quote(self, fd: int, asked: Datagram, is_open: Callable[[], bool]) -> None:
        try:
            text = await self._quotes.get()
        finally:
            self._waiting -= 1
        if is_open():
            self._reply(fd, asked, text)

    def _reply(self, fd: int, asked: Datagram, text: bytes) -> None:
        """Send *text*, or as much of it as makes no more traffic than twice the request."""
        self._system.reply(fd, asked, text[: most(asked)])

    def _within_rate(self, sender: SocketName) -> bool:
        now = trio.current_time()
        if now - self._second >= 1.0:
            self._second = now
            self._answered.clear()
        source = _source(sender)
        count = self._answered.get(source, 0)
        if count >= PER_SECOND or (not count and len(self._answered) >= SOURCES):
            return False
        self._answered[source] = count + 1
        return True


def most(asked: Datagram) -> int | None:
    """Return how long an answer may be, None for any length.

    On the wire it is at most twice as long as the request, whose headers count: they are all that
    a client of the RFCs sends. Nobody can lie about who has sent something to a UNIX socket.
    """
    if asked.sender.port is None:
        return None
    return 2 * len(asked.data) + HEADERS[ip_address(_bare(asked.sender.address)).version]


def is_answerable(asked: Datagram, own: Iterable[SocketName]) -> bool:
    """Return whether an answer to *asked* would go to one who can have asked."""
    sender = asked.sender
    if not sender.address or asked.to_many or any(_is_at(sender, each) for each in own):
        return False
    if sender.port is None:
        return True
    if sender.port < FIRST_PORT:
        return False
    address = ip_address(_bare(sender.address))
    odd = address.is_multicast or address.is_unspecified or address == _ALL
    return not odd and address not in _HERE


def _is_at(sender: SocketName, own: SocketName) -> bool:
    """Return whether *sender* is a socket of ours, or has to be taken for one."""
    if sender.port != own.port:
        return False
    return own.address in ("0.0.0.0", "::") or _bare(own.address) == _bare(sender.address)


def _source(sender: SocketName) -> str:
    """Return who is counted as one."""
    if sender.port is None:
        return sender.address
    address = ip_address(_bare(sender.address))
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return sender.address


def _bare(address: str) -> str:
    return address.partition("%")[0]
