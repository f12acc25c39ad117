"""Sockets of those who collect log messages: a UNIX path, by datagrams or a stream, or UDP."""

from __future__ import annotations

import errno
import os
import select
import socket
from typing import Final

Place = str | tuple[str, int]
"""The full path of a UNIX socket, or an IPv4 address and a port for UDP."""

NAP: Final = 0.25
"""Seconds that a write waits for room before it returns with what went."""

_GONE: Final = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ENOTCONN,
        errno.EPIPE,
        errno.EDESTADDRREQ,
        errno.ENOENT,
    }
)
"""What a restart of the collector looks like from here: a new connection may help."""


class MessageSocket:
    """A connection to a collector, made by the first message and anew when it was lost.

    A UNIX socket is tried with datagrams and then as a stream, as syslog(3) does. On a stream each
    message ends with a zero byte. Only `wait` blocks.

    UDP promises nothing: what is lost on the way nobody can count. Only a port where nobody listens
    is found out, from the answer of its host.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._socket: socket.socket | None = None
        self._stream = False
        self._begun = b""
        self._rest = b""
        """What a stream has not taken yet of the message that it has begun to take."""

    def send(self, packet: bytes) -> bool:
        """Send one message; return False if there is no room for it now.

        Offer the same message again then: a stream may have taken a part of it.

        Raises:
            OSError: nobody is there to take it.
        """
        known = self._socket is not None
        try:
            return self._try(packet)
        except OSError as error:
            self._drop()
            if not known or error.errno not in _GONE:
                raise
        try:
            return self._try(packet)  # The collector may have been restarted since.
        except OSError:
            self._drop()
            raise

    def wait(self, timeout: float = NAP) -> bool:
        """Return whether there is room within *timeout* seconds."""
        if self._socket is None:
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        return bool(poll.poll(timeout * 1000))

    def close(self) -> None:
        """Close the connection; the next message makes a new one."""
        self._drop()

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._rest = b""

    # --- connecting

    def _connected(self) -> socket.socket:
        if self._socket is None:
            if isinstance(self.place, str):
                self._socket = self._unix(self.place)
            else:
                self._socket = _connect(socket.AF_INET, socket.SOCK_DGRAM, self.place)
        return self._socket

    def _unix(self, path: str) -> socket.socket:
        try:
            connection = _connect(socket.AF_UNIX, socket.SOCK_DGRAM, path)
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise
            connection = _connect(socket.AF_UNIX, socket.SOCK_STREAM, path)
            self._stream = True
        else:
            self._stream = False
        return connection

    # --- sending

    def _try(self, packet: bytes) -> bool:
        connection = self._connected()
        if self._stream:
            return self._append(connection, packet + b"\0")
        try:
            connection.send(packet, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return False
            raise
        # A refusal comes back behind the message that was refused; on the loopback at once.
        if connection.family == socket.AF_INET and (
            number := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        ):
            raise OSError(number, os.strerror(number))
        return True

    def _append(self, connection: socket.socket, message: bytes) -> bool:
        # Whoever began another one has given it up. It is ended all the same, for the next's sake.
        if self._rest and self._begun != message and not self._flush(connection):
            return False
        if not self._rest:
            self._begun = self._rest = message
        if self._flush(connection):
            return True
        if self._rest == self._begun:
            self._rest = b""  # Nothing of it went.
        return False

    def _flush(self, connection: socket.socket) -> bool:
        """Send what is left of the message that was begun; return whether all of it went."""
        while self._rest:
            try:
                count = connection.send(self._rest, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            self._rest = self._rest[count:]
        return True


def _connect(family: socket.AddressFamily, kind: socket.SocketKind, place: Place) -> socket.socket:
    connection = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        connection.connect(place)
    except OSError as error:
        connection.close()
        if error.errno is None:  # Python's own refusal of a path that is too long.
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)) from None
        raise
    return connection


def syslog_place(dev: str) -> Place:
    """Return the place that the configuration means by *dev*: a full path, or `IPv4[:PORT]`.

    PORT is a number or the name of a service, 514 if it is missing. Looks up names in files of the
    system, so it may block.

    Raises:
        OSError: it is neither, or nobody knows the service.

    Source: pies.md section 1.6.
    """
    if dev.startswith("/"):
        return dev
    host, _, service = dev.partition(":")
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        reason = "neither a full path nor an IPv4 address"
        raise OSError(errno.EINVAL, reason, dev) from None
    return host, _port(service, dev)


def _port(service: str, dev: str) -> int:
    if not service:
        return 514
    if service.isascii() and service.isdigit():
        port = int(service)
        if not 0 < port < 65536:
            raise OSError(errno.EINVAL, "the port is not between 1 and 65535", dev)
        return port
    try:
        return socket.getservbyname(service, "udp")
    except OSError:
        raise OSError(errno.EINVAL, f"nobody knows the service {service!r}", dev) from None
