"""What a request may cost, and an application that gets whole requests only."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from msgspec import Struct

from supervisor.api.errors import HeaderTooLarge, Internal, TooLarge, error_body, status_of
from supervisor.model.errors import BadRequest, SupervisorError

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]


class Limits(Struct, frozen=True, kw_only=True):
    """Bytes, seconds and connections. Source: control-api.md section 3."""

    header: int = 16 * 1024
    """The request line and the header together."""
    body: int = 1024 * 1024
    connections: int = 256
    """For each socket."""
    arrival: float = 60.0
    """From the first byte of a request (or the beginning of the connection) to its last."""
    keep_alive: float = 60.0
    """How long a connection may stay open with nothing asked."""
    sending: float = 60.0
    """How long a client may take to read what it has asked for, or one part of a stream."""
    grace: float = 2.0
    """At the end of piesd, for answers that are on their way."""
    linger: float = 2.0
    """After our last byte, for a client to read it and to stop sending."""


class LimitedApp:
    """An ASGI application around another, which it only calls with requests that have arrived.

    The body is gathered first, so that nothing is begun for a request that never ends, and one
    that is too long is refused before it is read.
    """

    def __init__(self, app: App, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            self._check_header(scope)
            body = await self._gather(scope, receive)
        except SupervisorError as error:
            await _answer(scope, send, error)
            return
        if body is None:
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, _Replay(body, receive), watched)
        except Exception:
            if begun:
                raise  # All that is left to do is to end the connection.
            log.exception("a bug: %s %s failed", scope["method"], scope["path"])
            await _answer(scope, send, Internal())

    def _check_header(self, scope: Scope) -> None:
        for name, value in scope["headers"]:
            if name == b"host" and not _is_host(value):
                raise BadRequest("cannot read the request: its Host is no name of a host")
        size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        size += sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if size > self._limits.header:
            raise HeaderTooLarge(self._limits.header)

    async def _gather(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the whole body, or None if the client has gone.

        Raises:
            TooLarge
        """
        most = self._limits.body
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > most:
                raise TooLarge(most)
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > most:
                raise TooLarge(most)
            if not message.get("more_body", False):
                return bytes(body)


def _is_host(value: bytes) -> bool:
    """Return whether that can follow `Host:`; what werkzeug cannot take is not handed to it.

    Source: RFC 9110 section 7.2, RFC 3986 section 3.2.2; RFC 1035 section 2.3.4 for the lengths.
    """
    found = _HOST.fullmatch(value)
    if found is None:
        return False
    name: bytes = found["name"]
    return not name or all(0 < len(each) < 64 for each in name.removesuffix(b".").split(b"."))


_HOST = re.compile(rb"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?")


class _Replay:
    """Hands on a body that was gathered, and then whatever else comes: the client's leaving."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            message: Message = await self._receive()
            return message
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


async def _answer(scope: Scope, send: Send, error: SupervisorError) -> None:
    body = error_body(scope["path"], error)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # What is left of the request is not read, so nothing can follow it.
        (b"connection", b"close"),
    ]
    start = {"type": "http.response.start", "status": status_of(error), "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})
