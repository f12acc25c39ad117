"""The TCP port service multiplexer: a client names a service, and gets it. Source: RFC 1078."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from supervisor.model.component import Component
    from supervisor.runtime.listeners import ListenerBoard
    from supervisor.runtime.services import Client

PATIENCE: Final = 10.0
"""Seconds for a client to name a service."""

LONGEST: Final = 255
"""Bytes of that name."""


class TooLongError(Exception):
    """What the client sends is no name."""


class Mux:
    """Asks clients what they want, and passes them on to who has that."""

    def __init__(self, listeners: ListenerBoard) -> None:
        self._listeners = listeners

    async def serve(self, connection: int, client: Client) -> bool:
        """Return whether the client has been passed on."""
        try:
            with trio.fail_after(PATIENCE):
                name = await _line(client)
        except trio.TooSlowError:
            await client.send(f"-no service was named within {PATIENCE:g} s\r\n".encode())
            return False
        except TooLongError:
            await client.send(f"-a name has {LONGEST} bytes at most\r\n".encode())
            return False
        if name is None:
            return False
        there = self._listeners.subordinates(self._listeners.owner(connection))
        if name == "help":
            await client.send(_help(there))
            return False
        found = next((each for each in there if _name(each).casefold() == name), None)
        if found is None:
            await client.send(b"-no such service\r\n")
            return False
        if found.tcpmux_plus:
            await client.send(b"+go\r\n")
        self._listeners.pass_on(connection, found.tag)
        return True


async def _line(client: Client) -> str | None:
    """Take one line, and not a byte more: the rest is for who serves. None: the client has gone.

    Raises:
        TooLongError: it does not end in time.
    """
    line = b""
    while not line.endswith(b"\n"):
        await client.system.readable(client.fd)
        async with client.turns.turn():
            seen = client.system.peek(client.fd, LONGEST + 2)
            if seen == b"":
                return None
            if seen is not None:
                line += client.system.consume(client.fd, seen.find(b"\n") + 1 or len(seen))
        if len(line.rstrip(b"\r\n")) > LONGEST:
            raise TooLongError
    return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape").casefold()


def _name(spec: Component) -> str:
    return spec.service or spec.tag


def _help(there: tuple[Component, ...]) -> bytes:
    lines = "".join(f"{_name(each)}\r\n" for each in there)
    return lines.encode("utf-8", "surrogateescape")
