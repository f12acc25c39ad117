"""One HTTP exchange with a daemon, and what its failure means."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import stat
from base64 import b64encode
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import TYPE_CHECKING

from supervisor.client.errors import BadAddress, Unreachable
from supervisor.client.place import InetPlace, Place, UnixPlace, neighbours

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Password:
    """A name and a password, for HTTP Basic."""

    user: str
    password: str

    def header(self) -> str:
        """Return what to send as `Authorization`."""
        return "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()

    def __repr__(self) -> str:
        return f"Password({self.user!r}, …)"


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token."""

    token: str

    def header(self) -> str:
        """Return what to send as `Authorization`."""
        return f"Bearer {self.token}"

    def __repr__(self) -> str:
        return "Token(…)"


Credentials = Password | Token


@dataclass(frozen=True, slots=True)
class Trust:
    """Paths of PEM files: whose certificates are believed, and what we show ourselves.

    Without *ca* those are believed that the system believes. *key* may be in the file *cert*.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Telling:
    """Who is told of the dialogue, and whether of all of it or of the first lines alone.

    Credentials are not told.
    """

    line: Callable[[str], None]
    whole: bool = False

    def head(self, sign: str, first: str, headers: Mapping[str, str]) -> None:
        """Tell the first line of a request or an answer, and what is said with it."""
        self.line(f"{sign} {first}")
        if self.whole:
            for name, value in headers.items():
                shown = f"{value.split()[0]} …" if name == "Authorization" else value
                self.line(f"{sign} {name}: {shown}")
            self.line(sign)

    def body(self, sign: str, data: bytes) -> None:
        """Tell a piece of a body."""
        if self.whole:
            for line in data.decode("utf-8", "replace").splitlines():
                self.line(f"{sign} {line}")


class _UnixConnection(HTTPConnection):
    """An HTTP connection over a UNIX socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("piesd", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Exchange:
    """A request that is on its way, and its answer when it has come.

    Raises:
        Unreachable: at once, or from any method, when there is no answer to be had.
    """

    def __init__(
        self,
        place: Place,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float,
        trust: Trust | None = None,
        telling: Telling | None = None,
    ) -> None:
        self._place, self._timeout = place, timeout
        self._telling = telling or Telling(lambda _: None)
        self._response: HTTPResponse | None = None
        self._http: HTTPConnection
        match place:
            case UnixPlace(path):
                self._http = _UnixConnection(path, timeout)
            case InetPlace(host, port, tls, source):
                here = (source, 0) if source else None
                self._http = (
                    HTTPSConnection(
                        host,
                        port,
                        timeout=timeout,
                        source_address=here,
                        context=_context(trust or Trust()),
                    )
                    if tls
                    else HTTPConnection(host, port, timeout=timeout, source_address=here)
                )
        try:
            self._http.connect()
        except OSError as exc:
            self._http.close()
            raise _cannot_connect(place, exc, timeout) from exc
        # http.client lets the socket go once it knows that the connection ends with the answer;
        # the answer goes on reading from it.
        self._socket = self._http.sock
        self._telling.head(">", f"{method} {target}", headers or {})
        self._telling.body(">", body or b"")
        try:
            self._http.request(method, target, body=body, headers=dict(headers or {}))
        except BrokenPipeError:
            pass  # A daemon that refuses a large body answers before it has read it all.
        except (OSError, HTTPException) as exc:
            self.close()
            raise self._lost(exc) from exc

    def ready(self, seconds: float) -> bool:
        """Wait at most *seconds* for the answer to begin; return whether it has."""
        if self._response is not None:
            return True
        # What TLS has read already no longer makes its socket readable.
        pending = getattr(self._socket, "pending", None)
        if pending is not None and pending():
            return True
        readable, _, _ = select.select([self._socket], [], [], seconds)
        return bool(readable)

    def response(self) -> HTTPResponse:
        """Return the answer as soon as its header is there. Its body may still be coming."""
        if self._response is None:
            try:
                self._response = self._http.getresponse()
            except (OSError, HTTPException) as exc:
                self.close()
                raise self._lost(exc) from exc
            first = f"{self._response.status} {self._response.reason}"
            self._telling.head("<", first, dict(self._response.headers))
        return self._response

    def read(self) -> bytes:
        """Return the whole body."""
        try:
            data = self.response().read()
        except (OSError, HTTPException) as exc:
            raise self._lost(exc) from exc
        else:
            self._telling.body("<", data)
            return data
        finally:
            self.close()

    def read_line(self) -> bytes:
        """Return the next line of the body with its end, or `b""` when there is no more."""
        try:
            line = self.response().readline()
        except (OSError, HTTPException) as exc:
            self.close()
            raise self._lost(exc) from exc
        self._telling.body("<", line)
        return line

    def patient(self) -> None:
        """From now on wait for the body without a deadline: the caller or the daemon ends it."""
        self._socket.settimeout(None)

    def close(self) -> None:
        """Drop the connection. What was ordered stays ordered."""
        if self._response is not None:
            self._response.close()
        self._http.close()

    def _lost(self, exc: OSError | HTTPException) -> Unreachable:
        if isinstance(exc, TimeoutError):
            return Unreachable(
                Unreachable.NO_ANSWER,
                f"cannot get an answer: {self._place} has not answered for {self._timeout:g} s",
                "piesd may be stopped or overloaded",
            )
        if isinstance(exc, OSError | IncompleteRead):
            return Unreachable(
                Unreachable.LOST,
                f"cannot get an answer: the connection to {self._place} was lost: {_reason(exc)}",
                "piesd may have ended; its log tells",
            )
        return Unreachable(
            Unreachable.NOT_PIESD,
            f"cannot understand the answer: {self._place} does not speak HTTP",
            "give the address of piesd's control socket (--url)",
        )


def _context(trust: Trust) -> ssl.SSLContext:
    """Return how to speak TLS.

    Raises:
        Unreachable: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=trust.ca)
        if trust.cert is not None:
            context.load_cert_chain(trust.cert, trust.key)
    except OSError as exc:
        names = ", ".join(name for name in (trust.ca, trust.cert, trust.key) if name is not None)
        raise Unreachable(
            Unreachable.NO_RIGHT,
            f"cannot speak TLS: {names}: {_reason(exc)}",
            "give certificates and keys as PEM files",
        ) from exc
    return context


def _reason(exc: BaseException) -> str:
    if isinstance(exc, ssl.SSLError):
        return getattr(exc, "verify_message", "") or exc.reason or str(exc)
    return exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)


def _cannot_connect(place: Place, exc: OSError, timeout: float) -> Unreachable | BadAddress:
    if isinstance(exc, TimeoutError):
        return Unreachable(
            Unreachable.NO_ANSWER,
            f"cannot connect to {place}: no answer for {timeout:g} s",
            "piesd may be stopped or overloaded",
        )
    match place:
        case UnixPlace(path):
            return _cannot_connect_unix(path, exc)
        case InetPlace() if isinstance(exc, ssl.SSLCertVerificationError):
            return Unreachable(
                Unreachable.NOT_PIESD,
                f"cannot trust {place}: {_reason(exc)}",
                "name the certificate of the authority that has signed it in SSL_CERT_FILE",
            )
        case InetPlace() if isinstance(exc, ssl.SSLError):
            return Unreachable(
                Unreachable.NOT_PIESD,
                f"cannot speak TLS with {place}: {_reason(exc)}",
                "without a certificate piesd is at http://",
            )
        case InetPlace():
            return Unreachable(
                Unreachable.NOT_RUNNING,
                f"cannot connect to {place}{_from(place)}: {_reason(exc)}",
                "start piesd with that socket, or say where it is (--url)",
            )


def _cannot_connect_unix(path: str, exc: OSError) -> Unreachable | BadAddress:
    if isinstance(exc, PermissionError):
        return Unreachable(
            Unreachable.NO_RIGHT,
            f"cannot use {path}: you (uid {os.getuid()}) have no right to it{_owner(path)}",
            "run piesctl as that user or as root, or give the socket a mode and a group",
        )
    if exc.errno == errno.EAGAIN:
        return Unreachable(
            Unreachable.NO_ANSWER,
            f"cannot connect to {path}: as many as may wait there are waiting already",
            "piesd may be stopped or overloaded",
        )
    if exc.errno in {errno.ENOENT, errno.ENOTDIR}:
        others = neighbours(path)
        there = f"; there are: {', '.join(others)} (--instance NAME)" if others else ""
        return Unreachable(
            Unreachable.NOT_RUNNING,
            f"cannot find {path}: piesd is not running, or its socket is elsewhere",
            f"start piesd, or say where it is (--url, --instance){there}",
        )
    if exc.errno == errno.ECONNREFUSED and _is_something_else(path):
        return BadAddress(f"unix://{path}", "it is no socket")
    if exc.errno == errno.ECONNREFUSED:
        return Unreachable(
            Unreachable.STALE,
            f"cannot connect to {path}: it is left over and nobody listens on it; "
            "piesd has died or was killed",
            "start piesd again: it replaces the socket",
        )
    # "AF_UNIX path too long" comes without an errno.
    return BadAddress(f"unix://{path}", _reason(exc))


def _from(place: InetPlace) -> str:
    return f" from {place.source}" if place.source else ""


def _owner(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f" (owner uid {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o})"


def _is_something_else(path: str) -> bool:
    try:
        return not stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
