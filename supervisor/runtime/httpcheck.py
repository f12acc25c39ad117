"""Get the status of one HTTP answer: no body, no redirects, no trust needed.

Of an `https` URL the certificate is not checked: what is asked is whether the program answers, the
request holds no secret, and a program is mostly checked under a name that is not its certificate's.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import SplitResult, urlsplit

import h11
import trio

from supervisor.model.plaintext import told_url
from supervisor.runtime.network import reason

_PORTS: Final = {"http": 80, "https": 443}
_READ: Final = 16 * 1024

Connect = Callable[[str], Awaitable[trio.socket.SocketType]]


async def get(url: str, connect: Connect) -> str | None:
    """Return None if *url* answers with 2xx or 3xx, else why not. The caller has the clock."""
    try:
        status, words = await _status(urlsplit(url), connect)
    except (OSError, ValueError, trio.BrokenResourceError, h11.ProtocolError) as error:
        return f"GET {told_url(url)}: {_why(error.__cause__ or error)}"
    if 200 <= status < 400:
        return None
    return f"GET {told_url(url)}: {status} {words}".rstrip()


async def _status(url: SplitResult, connect: Connect) -> tuple[int, str]:
    if url.scheme not in _PORTS or not url.hostname:
        raise ValueError("it is neither http://HOST… nor https://HOST…")
    port = url.port or _PORTS[url.scheme]
    raw = await connect(f"{url.hostname}:{port}")
    stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = trio.SocketStream(raw)
    try:
        if url.scheme == "https":
            assert isinstance(stream, trio.SocketStream)
            stream = trio.SSLStream(stream, _trusting(), server_hostname=url.hostname)
        return await _ask(url, stream)
    finally:
        raw.close()


async def _ask(
    url: SplitResult, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]
) -> tuple[int, str]:
    http = h11.Connection(h11.CLIENT)
    request = h11.Request(
        method="GET",
        target=(url.path or "/") + (f"?{url.query}" if url.query else ""),
        headers=[
            ("Host", url.netloc.rpartition("@")[2]),
            ("User-Agent", "piesd"),
            ("Accept", "*/*"),
            ("Connection", "close"),
        ],
    )
    sent = (http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b"")
    await stream.send_all(sent)
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            data = await stream.receive_some(_READ)
            if not data:
                raise ValueError("the connection was closed without an answer")
            http.receive_data(bytes(data))
        elif isinstance(event, h11.Response):
            return event.status_code, _words(event)


def _why(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return reason(error)


def _words(response: h11.Response) -> str:
    """Return what the server says beside its number, or what the number means."""
    try:
        usual = HTTPStatus(response.status_code).phrase
    except ValueError:
        usual = ""
    return bytes(response.reason).decode("ascii", "replace") or usual


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
