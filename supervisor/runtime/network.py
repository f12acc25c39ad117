"""One try to reach something over the network: a connection, or the status of an HTTP answer."""

from __future__ import annotations

import importlib
import os
import socket
from array import array
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

if TYPE_CHECKING:
    from supervisor.system.port import System

THREADS: Final = 4
"""Worker threads that a name server which does not answer can hold at most."""


class Network(Protocol):
    """What checks ask; a try returns None if it is good, else why not. The caller has the clock."""

    async def tcp(self, target: str) -> str | None:
        """Connect to `HOST:PORT`, or to the UNIX socket of that path."""

    async def http(self, url: str) -> str | None:
        """Get *url* and want a status of 2xx or 3xx."""

    async def pass_on(self, path: str, fds: tuple[int, ...]) -> str | None:
        """Hand descriptors over through the UNIX socket *path*; they stay ours, too."""


class RealNetwork:
    """The network as it is. Everything can be cancelled, a lookup by leaving it to its thread."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._lookups = trio.CapacityLimiter(THREADS)
        self._httpcheck: Any = None

    async def tcp(self, target: str) -> str | None:
        """Connect to `HOST:PORT`, or to the UNIX socket of that path."""
        try:
            (await self.connect(target)).close()
        except OSError as error:
            return f"connect to {target}: {reason(error)}"
        return None

    async def http(self, url: str) -> str | None:
        """Get *url* and want a status of 2xx or 3xx."""
        if self._httpcheck is None:
            # Most configurations have no such check: what it needs is loaded by the first one.
            self._httpcheck = await self._system.blocking(
                importlib.import_module, "supervisor.runtime.httpcheck"
            )
        answer: str | None = await self._httpcheck.get(url, self.connect)
        return answer

    async def pass_on(self, path: str, fds: tuple[int, ...]) -> str | None:
        """Hand descriptors over through the UNIX socket *path*; they stay ours, too.

        Source: SCM_RIGHTS in unix(7); the data beside them is one byte.
        """
        try:
            with await self.connect(path) as program:
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds).tobytes())
                await program.sendmsg([b"\0"], [rights])
        except OSError as error:
            return f"{path}: {reason(error)}"
        return None

    async def connect(self, target: str) -> trio.socket.SocketType:
        """Return a connected socket; of several addresses the first that answers.

        Raises:
            OSError: none did; the reason is that of the last.
        """
        if target.startswith("/"):
            return await _connect(socket.AF_UNIX, target)
        host, _, port = target.rpartition(":")
        last: OSError | None = None
        for family, address in await self._addresses(host.strip("[]"), port):
            try:
                return await _connect(family, address)
            except OSError as error:
                last = error
        raise last or OSError(f"{host} has no address")

    async def _addresses(self, host: str, port: str) -> list[tuple[int, tuple[object, ...]]]:
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=numeric)
        except socket.gaierror:
            found = await trio.to_thread.run_sync(
                lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM),
                abandon_on_cancel=True,
                limiter=self._lookups,
            )
        return [(family, address) for family, _, _, _, address in found]


async def _connect(family: int, address: object) -> trio.socket.SocketType:
    connecting = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        await connecting.connect(address)
        connecting.getpeername()
    except BaseException:
        connecting.close()
        raise
    return connecting


def reason(error: BaseException) -> str:
    """Return in the system's words why something on the network failed."""
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
        return os.strerror(error.errno)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
