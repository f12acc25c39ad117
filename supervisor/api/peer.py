"""Who is at the other end of a connection, and what a browser must not be made to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import Struct

from supervisor.control.identity import NOBODY, Caller, Origin, is_loopback
from supervisor.model.errors import Forbidden

if TYPE_CHECKING:
    from werkzeug.datastructures import Headers

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_BROWSER = ("Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest")


class Peer(Struct, frozen=True):
    """The other end: how it came, or who it is where that is settled already.

    `local_host` is the address of a TCP socket of ours, None for UNIX sockets.
    """

    origin: Origin | Caller
    local_host: str | None = None


_STRANGER = Peer(NOBODY)


def peer_of(scope: Mapping[str, Any]) -> Peer:
    """Return who sent the request of this ASGI scope."""
    state = scope.get("state") or {}
    peer = state.get("peer")
    return peer if isinstance(peer, Peer) else _STRANGER


def check_host(peer: Peer, host: str) -> None:
    """Refuse a request to a loopback socket that was sent to a name from elsewhere.

    A page whose name suddenly resolves to 127.0.0.1 (DNS rebinding) is of the same origin as we
    are for the browser; only `Host` tells. Without `Host` there is no browser.

    Raises:
        Forbidden
    """
    if peer.local_host is None or not is_loopback(peer.local_host) or not host:
        return
    name = _host_name(host)
    if name in ("localhost", peer.local_host) or is_loopback(name):
        return
    error = Forbidden(f"cannot answer for the host {host[:80]!r}: this socket is a loopback socket")
    error.hint = "Use localhost, or the address itself."
    raise error


def check_origin(method: str, headers: Headers) -> None:
    """Refuse a request that changes something and was sent by a web page from elsewhere.

    A request passes if its `Origin` is our own; or if it has none and nothing else says that a
    browser sent it; or if, without an `Origin`, its body is declared to be JSON, which a form
    cannot do. A foreign `Origin` is refused whatever the type of the body: browsers ask before they
    send JSON elsewhere, and we never agree, but there is no reason to rely on that alone.

    Raises:
        Forbidden
    """
    if method in _SAFE:
        return
    origin = headers.get("Origin")
    if origin is not None:
        if _same_origin(origin, headers.get("Host", "")):
            return
        raise _foreign(f"it was sent by a page of {origin[:80]!r}")
    site = headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        raise _foreign("it was sent by a page of another site")
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or not any(name in headers for name in _BROWSER):
        return
    raise _foreign("a browser sent it, and not as application/json")


def _foreign(why: str) -> Forbidden:
    return Forbidden(f"cannot accept the request: {why}")


def _same_origin(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:  # A bracket that is not closed.
        return False
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc == host


def _host_name(host: str) -> str:
    """Return the host of `name:port`, `[::1]:port` or a bare name, in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""
