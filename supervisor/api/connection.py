"""One connection: hypercorn's HTTP/1.1 with a deadline on everything that a client can delay."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Any

import h11
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import ConnectionState

from supervisor.api.errors import RequestTimeout, error_body, status_of
from supervisor.model.errors import BadRequest, SupervisorError

if TYPE_CHECKING:
    from hypercorn.config import Config
    from hypercorn.trio.worker_context import WorkerContext
    from hypercorn.typing import H11SendableEvent

    from supervisor.api.limits import App, Limits
    from supervisor.api.peer import Peer

log = logging.getLogger(__name__)

_READ = 16 * 1024
"""Bytes read at once: with more, a header could pass that is longer than it may be."""

Greet = Callable[[trio.SocketStream], Awaitable[tuple[trio.abc.Stream, "Peer"]]]
"""Meets a client: returns the stream to speak over, and who is there."""

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}

_TWO_ENDS = frozenset({b"content-length", b"transfer-encoding"})
"""Where a request with both ends for us, another may begin for a proxy in front of us.

Source: RFC 9112 section 6.3.
"""

_UNFINISHED = (h11.IDLE, h11.SEND_BODY)
"""States of a client whose request has not wholly arrived."""


class _Protocol(H11Protocol):
    """Hypercorn's HTTP/1.1, without the ways out of it.

    An offered upgrade (to HTTP/2 without TLS, to a web socket) is not taken, as RFC 9110 section
    7.8 allows: our limits are for this protocol.
    """

    connection: h11.Connection

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        if {name for name, _ in request.headers} >= _TWO_ENDS:
            await self.refuse(
                BadRequest("cannot read the request: it says in two ways how long it is")
            )
            await self.send(Closed())
            return
        self.stream = HTTPStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1

    async def _send_error_response(self, status_code: int) -> None:
        """Answer something that is no HTTP, or a header that is too long; h11 knows the status."""
        error = BadRequest("cannot read the request: it is not HTTP/1.1, or its header is too long")
        await self.refuse(error, status_code)

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        if isinstance(event, h11.Response) and not event.reason:
            phrase = _PHRASES.get(event.status_code, b"")
            event = h11.Response(
                status_code=event.status_code, headers=event.headers.raw_items(), reason=phrase
            )
        await super()._send_h11_event(event)

    async def refuse(self, error: SupervisorError, status: int = 400) -> None:
        """Answer *error* if nothing was answered yet; the connection ends with it."""
        if self.connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = error_body("/", error)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


class _Tasks:
    """What hypercorn wants of a task group: the application runs in it, once for each request."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def spawn_app(
        self, app: App, config: Config, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        """Run *app* for one request; return where its messages go."""
        put, take = trio.open_memory_channel[Any](config.max_app_queue_size)
        self._nursery.start_soon(self._run, app, scope, take, send)

        async def deliver(message: Any) -> None:
            # The application may have answered before it has read everything.
            with suppress(*_GONE):
                await put.send(message)

        return deliver

    def spawn(self, func: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Run *func* beside the application."""
        self._nursery.start_soon(func, *args)

    async def _run(
        self,
        app: App,
        scope: Any,
        take: trio.MemoryReceiveChannel[Any],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        with take:
            try:
                await app(scope, take.receive, send)
            except Exception:
                log.exception("a bug: %s %s failed", scope["method"], scope["path"])
        # Ends the answer if the application has not: the connection is closed then.
        await send(None)


class Connection:
    """One client, from the accepted stream to its end.

    Nothing here waits for the client without a deadline, but for the next event of a stream.
    *answered* is called whenever a request was answered and the connection is kept.
    """

    def __init__(
        self,
        app: App,
        config: Config,
        context: WorkerContext,
        stream: trio.SocketStream,
        greet: Greet,
        limits: Limits,
        answered: Callable[[], None],
    ) -> None:
        self._app, self._config, self._context = app, config, context
        self._socket, self._greet, self._limits = stream, greet, limits
        self._stream: trio.abc.Stream = stream
        self._peer: Peer
        self._scope, self._talking = trio.CancelScope(), trio.CancelScope()
        self._reading = trio.CancelScope()
        self._sending = trio.Lock()
        self._tell_answered = answered
        self._answered = trio.Event()
        self._idle = False
        """Between two requests."""
        self.silent_since = trio.current_time()
        """When it began to wait for the request that has not arrived yet."""
        self._deadline = inf
        self._protocol: _Protocol | None = None

    @property
    def waits_for_request(self) -> bool:
        """True while nothing was asked, or not to its end."""
        return self._protocol is None or self._protocol.connection.their_state in _UNFINISHED

    def drop(self) -> None:
        """End it now. What was ordered stays ordered."""
        self._scope.cancel()

    async def run(self) -> None:
        """Serve the client until it, or we, have had enough."""
        try:
            with self._scope:
                if not await self._meet():
                    return
                async with trio.open_nursery() as nursery:
                    await self._talk(nursery)
                    nursery.cancel_scope.cancel()
        finally:
            self._socket.socket.close()

    async def _meet(self) -> bool:
        """Find out who is there, with TLS where that is spoken; return whether it is anybody."""
        with trio.move_on_after(self._limits.arrival):
            try:
                self._stream, self._peer = await self._greet(self._socket)
            except (*_GONE, OSError):
                return False
            return True
        return False

    async def _talk(self, nursery: trio.Nursery) -> None:
        # Hypercorn hands the application on to its tasks, and both are ours.
        tasks: Any = _Tasks(nursery)
        app: Any = self._app
        self._protocol = protocol = _Protocol(
            app,
            self._config,
            self._context,
            tasks,
            ConnectionState({"peer": self._peer}),
            self._stream is not self._socket,
            None,
            None,
            self._send,
        )
        with self._talking:
            await self._read(protocol)
        if self._talking.cancelled_caught:
            await self._linger()

    # --- reading

    async def _read(self, protocol: _Protocol) -> None:
        """Read until the client sends no more. When we end it, `_talking` is cancelled."""
        self._deadline = trio.current_time() + self._limits.arrival
        while True:
            data = None
            with trio.CancelScope(deadline=self._deadline) as self._reading:
                try:
                    data = await self._stream.receive_some(_READ)
                except _GONE:
                    return
            if data is None:
                await self._too_slow(protocol)
            elif data:
                await self._arrived(protocol, bytes(data))
            else:
                await self._half_closed(protocol)
                return

    async def _arrived(self, protocol: _Protocol, data: bytes) -> None:
        if self._idle:
            self._idle = False
            self._deadline = trio.current_time() + self._limits.arrival
        self._answered = trio.Event()
        await protocol.handle(RawData(data))
        if not self.waits_for_request:
            self._deadline = inf

    async def _too_slow(self, protocol: _Protocol) -> None:
        if not self._idle:
            error = RequestTimeout(self._limits.arrival)
            await protocol.refuse(error, status_of(error))
        self._talking.cancel()
        await trio.lowlevel.checkpoint()

    async def _half_closed(self, protocol: _Protocol) -> None:
        """The client sends no more. It may still read: let an answer that is under way get out."""
        if not self.waits_for_request and not self._idle:
            with trio.move_on_after(self._limits.linger):
                await self._answered.wait()
        await protocol.handle(Closed())

    async def _linger(self) -> None:
        """Let the client read our last words: a socket closed with unread input destroys them.

        Source: RFC 9112 section 9.6.
        """
        with trio.move_on_after(self._limits.linger):
            with suppress(*_GONE, trio.BusyResourceError):
                # Below TLS, where there is: it has no end for one direction.
                await self._socket.send_eof()
                while await self._socket.receive_some(64 * 1024):
                    pass

    # --- what hypercorn tells us

    async def _send(self, event: Event) -> None:
        match event:
            case RawData():
                await self._write(event.data)
            case Closed():
                self._answered.set()
                self._talking.cancel()
            case Updated(idle=True):
                self._idle = True
                self._answered.set()
                self._tell_answered()
                self.silent_since = trio.current_time()
                self._deadline = self.silent_since + self._limits.keep_alive
                self._reading.deadline = self._deadline
            case _:
                pass

    async def _write(self, data: bytes) -> None:
        async with self._sending:
            with trio.move_on_after(self._limits.sending) as patience:
                try:
                    await self._stream.send_all(data)
                except _GONE:
                    self.drop()
        if patience.cancelled_caught:
            self.drop()
        await trio.lowlevel.checkpoint_if_cancelled()
