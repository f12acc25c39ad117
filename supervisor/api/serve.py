"""Serve control on sockets: accept, know the peer, keep within the limits, end in good order."""

from __future__ import annotations

import errno
import logging
import socket
import struct
import sys
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from supervisor.api.app import create_app
from supervisor.api.connection import Connection
from supervisor.api.limits import Limits
from supervisor.api.peer import Peer
from supervisor.api.tls import greet, make_context
from supervisor.control.identity import Origin

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from supervisor.control.control import Control
    from supervisor.model.settings import ControlSettings

log = logging.getLogger(__name__)

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_BREATH = 0.1
"""Seconds until the next accept when the system has run out of something: nothing tells when it
has some again."""

_LEAST_SILENCE = 1.0
"""Seconds that a client has in any case to ask something, however many others there are."""


async def serve(
    control: Control,
    sockets: Sequence[socket.socket],
    *,
    limits: Limits | None = None,
    more: trio.MemoryReceiveChannel[socket.socket] | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer for *control* on *sockets* until cancelled.

    Then no connection is accepted any more, those who follow something get their end, and answers
    under way have a short grace.

    On TCP sockets TLS is spoken if there is a certificate in the settings of *control*. It is read
    here, and anew at each reload of the configuration; one that cannot be used refuses the reload.

    Raises:
        ConfigRejected: the certificate cannot be used.

    Args:
        control: what is asked; it is closed at the end.
        sockets: listening stream sockets, UNIX or TCP; closed at the end, paths left alone.
        limits: what clients may cost.
        more: further sockets that come while it is under way.
        task_status: told when all sockets are served.
    """
    server = _Server(control, limits or Limits())
    (await server.get_ready(control.settings))()
    control.configuration.prepare.append(server.get_ready)
    async with trio.open_nursery() as nursery:
        connections: trio.Nursery = await nursery.start(server.keep_connections)
        try:
            async with trio.open_nursery() as doors:
                for each in sockets:
                    door = _Door(server, each, connections)
                    doors.start_soon(door.serve)
                task_status.started()
                if more is not None:
                    async for each in more:
                        doors.start_soon(_Door(server, each, connections).serve)
        finally:
            control.configuration.prepare.remove(server.get_ready)
            control.close()
            server.closing.set()


class _Server:
    """What all sockets have in common."""

    def __init__(self, control: Control, limits: Limits) -> None:
        self.limits = limits
        self.tls: ssl.SSLContext | None = None
        self._blocking = control.blocking
        self.app = create_app(control, limits)
        self.closing = trio.Event()
        self.connections: dict[Connection, None] = {}
        self.context = WorkerContext(None)
        self.config = Config()
        self.config.errorlog = log
        self.config.include_server_header = False
        self.config.h11_max_incomplete_size = limits.header
        # Who polls for a month keeps its connection: what a client may cost is bounded by `limits`.
        self.config.keep_alive_max_requests = sys.maxsize

    async def get_ready(self, settings: ControlSettings) -> Callable[[], None]:
        """Read the certificate of *settings*; return what has new connections use it.

        Raises:
            ConfigRejected
        """
        context = None
        if settings.tls is not None:
            context = await self._blocking(make_context, settings.tls)

        def go_over() -> None:
            self.tls = context

        return go_over

    async def keep_connections(
        self, *, task_status: trio.TaskStatus[trio.Nursery] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Hold the nursery of the connections, which lives on for a grace when we are cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.shield = True
            task_status.started(nursery)
            await self.closing.wait()  # Set by `serve` whatever happens.
            nursery.cancel_scope.deadline = trio.current_time() + self.limits.grace
            await self.context.terminated.set()
            for connection in tuple(self.connections):
                if connection.waits_for_request:
                    connection.drop()


class _Door:
    """One listening socket and its connections."""

    def __init__(self, server: _Server, listening: socket.socket, nursery: trio.Nursery) -> None:
        self._server, self._nursery = server, nursery
        self._socket = trio.socket.from_stdlib_socket(listening)
        self._unix = listening.family == socket.AF_UNIX
        name = listening.getsockname()
        self._where = str(name) if self._unix else str(name[0])
        self._connections: dict[Connection, None] = {}
        self._stirred = trio.Event()
        self._short = False
        """The latest accept failed: the system has run out of something."""

    async def serve(self) -> None:
        """Accept until cancelled. A socket that breaks takes no other with it."""
        with self._socket:
            try:
                while True:
                    await self._accept()
            except OSError as error:
                log.error("cannot accept on %s any more: %s", self._where, error)

    async def _room(self) -> None:
        """Wait until there may be one connection more.

        Whoever has not asked anything makes room, the one who has been silent longest before all
        others: a crowd that only connects keeps nobody out.
        """
        while len(self._connections) >= self._server.limits.connections:
            self._stirred = trio.Event()
            longest = self._longest_silent()
            until = inf if longest is None else longest.silent_since + _LEAST_SILENCE
            if longest is not None and until <= trio.current_time():
                longest.drop()
                until = inf
            with trio.move_on_at(until):
                await self._stirred.wait()  # Every connection ends or falls silent some day.

    def _longest_silent(self) -> Connection | None:
        silent = [each for each in self._connections if each.waits_for_request]
        return min(silent, key=lambda each: each.silent_since, default=None)

    async def _accept(self) -> None:
        try:
            accepted, address = await self._socket.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                await self._exhausted(error)
                return
            if error.errno in (errno.EBADF, errno.EINVAL, errno.ENOTSOCK):
                raise
            return  # The client has gone already, or its network: accept(2), "Error handling".
        self._short = False
        try:
            await self._room()
        except trio.Cancelled:
            accepted.close()
            raise
        self._nursery.start_soon(self._serve_one, accepted, address)

    async def _exhausted(self, error: OSError) -> None:
        """Have the one who has been silent longest give back a descriptor, and pause."""
        if not self._short:  # Told once, and not ten times a second.
            log.warning("cannot accept a connection on %s: %s", self._where, error.strerror)
        self._short = True
        longest = self._longest_silent()
        if longest is not None and longest.silent_since + _LEAST_SILENCE <= trio.current_time():
            longest.drop()
        await trio.sleep(_BREATH)

    async def _serve_one(self, accepted: trio.socket.SocketType, address: object) -> None:
        server = self._server
        try:
            stream = trio.SocketStream(accepted)
            connection = Connection(
                server.app,
                server.config,
                server.context,
                stream,
                partial(self._greet, address),
                server.limits,
                self._stir,
            )
        except OSError:
            accepted.close()
            return
        self._connections[connection] = server.connections[connection] = None
        try:
            await connection.run()
        except Exception:
            log.exception("a bug: a connection on %s failed", self._where)
        finally:
            del self._connections[connection], server.connections[connection]
            self._stir()

    def _stir(self) -> None:
        """Look again for room: a connection has ended, or waits for a request."""
        self._stirred.set()

    async def _greet(
        self, address: object, stream: trio.SocketStream
    ) -> tuple[trio.abc.Stream, Peer]:
        """Find out how a client came, and speak TLS with it where that is configured.

        Raises:
            OSError, trio.BrokenResourceError: it has gone, or does not speak TLS.
        """
        if self._unix:
            size = struct.calcsize("3i")
            credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            _, uid, _ = struct.unpack("3i", credentials)
            return stream, Peer(Origin(address=self._where, uid=uid))
        assert isinstance(address, tuple)
        host, port = address[:2]
        local = stream.socket.getsockname()[0]
        context = self._server.tls
        if context is None:
            return stream, Peer(Origin(address=host, port=port), local)
        try:
            inside, name = await greet(stream, context)
        except trio.BrokenResourceError as error:
            # The client is only told that it was cut off. Anybody can bring this about.
            log.debug("cannot speak TLS with %s: %s", host, error.__cause__ or error)
            raise
        origin = Origin(address=host, port=port, certificate=name, secure=True)
        return inside, Peer(origin, local)
