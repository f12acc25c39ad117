"""TLS on TCP sockets: the certificate as configured, and what a client's certificate says."""

# ruff: noqa: PLC0415  Who has no certificate loads no TLS.

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from supervisor.model.errors import ConfigRejected, Problem

if TYPE_CHECKING:
    import ssl

    from supervisor.model.settings import Tls


def make_context(tls: Tls) -> ssl.SSLContext:
    """Return what the certificate and the key of *tls* make of a connection. May block.

    Raises:
        ConfigRejected: one of the files cannot be used.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load(tls.cert, tls.key, lambda: context.load_cert_chain(tls.cert, tls.key, password=_nobody))
    if tls.client_ca is not None:
        ca = tls.client_ca
        context.verify_mode = ssl.CERT_REQUIRED
        _load(ca, "", lambda: context.load_verify_locations(cafile=ca))
    return context


async def greet(
    stream: trio.SocketStream, context: ssl.SSLContext
) -> tuple[trio.SSLStream[trio.SocketStream], str | None]:
    """Shake hands; return the stream inside, and the name in the client's certificate.

    Raises:
        trio.BrokenResourceError: the client does not speak TLS, or has no good certificate.
    """
    inner = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
    await inner.do_handshake()
    return inner, _common_name(inner.getpeercert())


def _load(first: str, second: str, load: Callable[[], None]) -> None:
    """Call *load*, which reads these files.

    Raises:
        ConfigRejected
    """
    names = f"{first} and {second}" if second else first
    key = "control.tls"
    try:
        load()
    except _ssl_error() as error:
        reason = getattr(error, "reason", "") or str(error)
        what = f"cannot speak TLS with this: {reason}"
        raise ConfigRejected([Problem(names, 0, key, what)]) from None
    except OSError as error:
        what = f"cannot speak TLS with this: {error.strerror or error}"
        raise ConfigRejected([Problem(names, 0, key, what)]) from None


def _ssl_error() -> type[OSError]:
    """Return the error of TLS, which is an `OSError` whose text helps nobody."""
    import ssl

    return ssl.SSLError


def _nobody() -> str:
    """Return the pass phrase of an encrypted key: there is nobody to type it."""
    return ""


def _common_name(certificate: Any) -> str | None:
    """Return the common name of a certificate, as `SSLSocket.getpeercert` describes it."""
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName" and value:
                return str(value)
    return None
