"""What a program finds in its environment about its connection. Source: pies.md section 2.5."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from supervisor.model.component import SocketType
    from supervisor.system.port import SocketName, System

PATIENCE: Final = 2.0
"""Seconds that a name server has; then the program starts without the names."""

THREADS: Final = 16
"""Lookups at a time; a name server that does not answer holds no other thread."""

_NAMES: Final = ("LOCALHOST", "REMOTEHOST")


def variables(
    ours: SocketName,
    theirs: SocketName,
    hosts: tuple[str, str] = ("", ""),
    kind: SocketType = "stream",
) -> tuple[tuple[str, str], ...]:
    """Return names and values.

    Args:
        ours: our end of the connection.
        theirs: the client's.
        hosts: the names of both, empty where there is none.
        kind: the type of a UNIX socket.
    """
    if ours.port is None:
        return (("PROTO", "UNIX"), ("SOCKTYPE", kind.upper()))
    found = [
        ("PROTO", "TCP"),
        ("SOCKTYPE", "STREAM"),
        ("LOCALIP", ours.address),
        ("LOCALPORT", str(ours.port)),
    ]
    if theirs.port is not None:
        found += [("REMOTEIP", theirs.address), ("REMOTEPORT", str(theirs.port))]
    return (*found, *((name, host) for name, host in zip(_NAMES, hosts, strict=True) if host))


class Hosts:
    """Looks up the names of addresses."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._threads = trio.CapacityLimiter(THREADS)

    async def of(self, ours: SocketName, theirs: SocketName | None) -> tuple[str, str]:
        """Return the names of both ends, empty where there is none, or none in time."""
        found = ["", ""]

        async def look_up(number: int, name: SocketName | None) -> None:
            if name is not None and name.port is not None:
                found[number] = await trio.to_thread.run_sync(
                    _host, name.address, abandon_on_cancel=True, limiter=self._threads
                )

        with trio.move_on_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look_up, 0, ours)
                nursery.start_soon(look_up, 1, theirs)
        return found[0], found[1]


def _host(address: str) -> str:
    try:
        return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
    except OSError:
        return ""
