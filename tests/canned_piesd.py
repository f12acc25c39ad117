"""A daemon that answers what it was told to, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> str:
        return unquote(urlsplit(self.target).query)

    @property
    def parameters(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def selector(self) -> Any:
        """The selector, wherever it was written."""
        if self.body:
            return json.loads(self.body)
        given = self.parameters.get("selector")
        return json.loads(self.query if given is None else given)


@dataclass(frozen=True)
class Answer:
    """What is answered; `body` other than bytes is sent as JSON."""

    body: Any = field(default_factory=lambda: {"status": "OK"})
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    """End the connection in the middle of the body."""


Rule = Answer | Callable[[Asked], Answer]


class CannedPiesd:
    """Answers by `METHOD /path`, or by the method alone; 404 for everything else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[Asked] = []
        self.rules: dict[str, Rule] = {}

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    @property
    def orders(self) -> list[Asked]:
        """The requests that were not only questions."""
        return [asked for asked in self.asked if asked.method != "GET"]

    def on(self, what: str, body: Any = None, status: int = 200, **headers: str) -> None:
        """Answer *what* (`GET /programs`) so."""
        self.rules[what] = Answer({"status": "OK"} if body is None else body, status, headers)

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        rule = self.rules.get(f"{asked.method} {asked.path}") or self.rules.get(asked.method)
        if rule is None:
            text = f"The resource with id '{asked.path}' was not found"
            return Answer({"status": "ER", "message": text}, 404)
        return rule(asked) if callable(rule) else rule


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 64
    canned: CannedPiesd

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # The client may go at any time.
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        received = self.rfile.read(length)
        asked = Asked(self.command, self.path, dict(self.headers.items()), received)
        answer = self.server.canned.answer(asked)
        raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(raw) + 100 * answer.cut))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(raw)
        self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = _any  # noqa: N815  (the names http.server wants)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def canned_piesd(path: Path) -> Iterator[CannedPiesd]:
    """Run one on a UNIX socket at *path*."""
    canned = CannedPiesd(path)
    with _Server(str(path), _Handler) as server:
        server.canned = canned
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield canned
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def stale_socket(path: Path) -> Iterator[Path]:
    """Leave a UNIX socket behind that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    yield path
