"""Answers: JSON, and streams of server-sent events."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import trio
from quart import Response
from quart.wrappers.response import ResponseBody

from supervisor.model.errors import SupervisorError

HEARTBEAT = 15.0
"""Seconds of silence after which a stream says that it is still there."""

JSON = "application/json"
EVENTS = "text/event-stream"

T = TypeVar("T")

_LINE_ENDS = re.compile(rb"\r\n|\r|\n")


def json_answer(
    value: Any,
    status: int = 200,
    *,
    pretty: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return *value* as JSON."""
    body = msgspec.json.encode(value)
    if pretty:
        body = msgspec.json.format(body, indent=2) + b"\n"
    return Response(body, status, headers=dict(headers or {}), content_type=JSON)


def ok(message: str = "", status: int = 200, **more: Any) -> Response:
    """Return pies' "it is done"."""
    body: dict[str, Any] = {"status": "OK"}
    if message:
        body["message"] = message
    return json_answer(body | more, status)


class Reader(Protocol[T]):
    """Something that hands out batches: `next` waits for one, an empty one is the end."""

    def next(self) -> Awaitable[list[T]]:
        """Wait for a batch and return it. Safe to cancel."""


class EventStream(ResponseBody, Generic[T]):
    """The body of a stream of server-sent events.

    Not a generator: when the client goes away this is closed at once, and not when the garbage is
    collected.

    Args:
        enter: called when the stream begins; returns a context with the reader.
        render: one item as an event.
    """

    def __init__(
        self, enter: Callable[[], AbstractContextManager[Reader[T]]], render: Callable[[T], bytes]
    ) -> None:
        self._enter, self._render = enter, render
        self._reader: Reader[T] | None = None
        self._stack = ExitStack()

    async def __aenter__(self) -> EventStream[T]:
        try:
            self._reader = self._stack.enter_context(self._enter())
        except SupervisorError:
            # It was there when the request was checked, and is gone: the stream has ended.
            self._reader = None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def __aiter__(self) -> EventStream[T]:
        return self

    async def __anext__(self) -> bytes:
        if self._reader is None:
            raise StopAsyncIteration
        items: list[T] | None = None
        with trio.move_on_after(HEARTBEAT):
            items = await self._reader.next()
        if items is None:
            return b": still here\n\n"
        if not items:
            raise StopAsyncIteration
        return b"".join(self._render(item) for item in items)


def stream_answer(stream: EventStream[Any]) -> Response:
    """Return an answer that goes on for as long as there is something to say."""
    response = Response(stream, content_type=EVENTS)
    response.timeout = None
    return response


def sent_event(kind: str, data: bytes, number: str = "") -> bytes:
    """Return one server-sent event.

    Any of the three line ends of the format ends a line in *data*: it is then sent as several.
    """
    lines = [b"event: " + kind.encode()]
    if number:
        lines.append(b"id: " + number.encode())
    lines += [b"data: " + line for line in _LINE_ENDS.split(data)]
    return b"\n".join(lines) + b"\n\n"
