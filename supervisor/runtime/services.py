"""What the built-in services say: to a client that is connected, and to a datagram."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from supervisor.runtime.turns import Turns
    from supervisor.system.port import System

CHUNK: Final = 65536
"""Bytes held for a client at most."""

PATIENCE: Final = 60.0
"""Seconds for which a client may take nothing of what it is sent."""

LINGER: Final = 2.0
"""Seconds for a client to go after it has been told everything."""

EPOCH: Final = 2_208_988_800
"""Seconds from 1900 to 1970. Source: RFC 868."""

_PRINTING: Final = bytes(range(32, 127))
_LINE: Final = 72
PATTERN: Final = b"".join(
    (_PRINTING * 2)[first : first + _LINE] + b"\r\n" for first in range(len(_PRINTING))
)
"""What chargen says, once round. Source: RFC 864, the popular pattern."""


class NotReadError(Exception):
    """A client did not take what it asked for."""


class Client:
    """A connection that is served here.

    All clients take turns, so that no number of them delays anything else.
    """

    def __init__(self, system: System, fd: int, turns: Turns) -> None:
        self.fd = fd
        self.system = system
        self.turns = turns
        self.active_at = trio.current_time()
        """When a byte went last, either way."""

    async def receive(self) -> bytes:
        """Return what the client has sent, `b""` at its end."""
        while True:
            await self.system.readable(self.fd)
            async with self.turns.turn():
                data = self.system.take(self.fd, CHUNK)
            if data is not None:
                self.active_at = trio.current_time()
                return data

    async def send(self, data: bytes) -> None:
        """Send all of *data*.

        Raises:
            NotReadError: the client takes nothing.
            OSError: it is gone.
        """
        while data:
            data = data[await self.send_some(data) :]

    async def send_some(self, data: bytes) -> int:
        """Send as much of *data* as goes; return how many bytes that were. Raises as `send`."""
        with trio.move_on_after(PATIENCE):
            while True:
                async with self.turns.turn():
                    count = self.system.send(self.fd, data)
                if count:
                    self.active_at = trio.current_time()
                    return count
                await self.system.writable(self.fd)
        raise NotReadError

    async def finish(self) -> None:
        """Tell the client that this is all, and let it read that.

        A connection that is closed with something unread in it is reset, and what was sent last
        is lost.
        """
        self.system.farewell(self.fd, b"")
        with trio.move_on_after(LINGER):
            while await self.receive():
                pass


async def echo(client: Client) -> None:
    """Send back what comes. Source: RFC 862."""
    while data := await client.receive():
        await client.send(data)


async def discard(client: Client) -> None:
    """Throw away what comes. Source: RFC 863."""
    while await client.receive():
        pass


async def chargen(client: Client) -> None:
    """Send characters as fast as the client takes them, until it goes. Source: RFC 864."""
    twice, at = PATTERN * 2, 0
    while True:
        at = (at + await client.send_some(twice[at : at + len(PATTERN)])) % len(PATTERN)
        client.system.take(client.fd, CHUNK)


def time(wall: float) -> bytes:
    """Return Unix time *wall* as a machine wants it. Source: RFC 868."""
    return (int(wall + EPOCH) % (1 << 32)).to_bytes(4, "big")


def daytime(wall: float) -> bytes:
    """Return Unix time *wall* as a person reads it here. Source: RFC 867, and inetd's form."""
    return datetime.fromtimestamp(wall, UTC).astimezone().ctime().encode() + b"\r\n"
