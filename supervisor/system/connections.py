"""What piesd itself does with an accepted connection, which is a bare descriptor to it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

from supervisor.system.port import Flow, SocketName


@contextlib.contextmanager
def as_socket(fd: int) -> Iterator[socket.socket]:
    """Use a descriptor as a socket for a while, and leave it open."""
    borrowed = socket.socket(fileno=fd)
    try:
        yield borrowed
    finally:
        borrowed.detach()


def farewell(fd: int, message: bytes) -> bool:
    """Say *message* and that this is all; see `supervisor.system.port.System.farewell`."""
    with as_socket(fd) as connection:
        connection.setblocking(False)
        try:
            if message:
                connection.send(message, socket.MSG_NOSIGNAL)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            return False  # It is gone, or has stopped listening to us.
        return bool(message)


def peek(fd: int, most: int) -> bytes | None:
    """Look at what a connection has for us: None when that is nothing yet, `b""` at its end."""
    with as_socket(fd) as connection:
        try:
            return connection.recv(most, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""


def consume(fd: int, count: int) -> bytes:
    """Take *count* bytes that are there."""
    with as_socket(fd) as connection:
        return connection.recv(count, socket.MSG_DONTWAIT) if count else b""


def take(fd: int, most: int) -> bytes | None:
    """Take what a connection has for us: None when that is nothing yet, `b""` at its end."""
    with as_socket(fd) as connection:
        try:
            return connection.recv(most, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""


def send(fd: int, data: bytes) -> int:
    """Send as much of *data* as goes now; return how many bytes that were.

    Raises:
        OSError: the client is gone.
    """
    with as_socket(fd) as connection:
        try:
            return connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0


def names(fd: int) -> tuple[SocketName, SocketName]:
    """Return where a connection is at our end, and at the other."""
    with as_socket(fd) as connection:
        ends = []
        for ask in (connection.getsockname, connection.getpeername):
            try:
                ends.append(name_of(ask()))
            except OSError:
                ends.append(SocketName(""))
        return ends[0], ends[1]


def flow(fd: int) -> Flow | None:
    """Return which TCP connection that is; see `supervisor.system.port.System.flow`."""
    ours, theirs = names(fd)
    if ours.port is None or theirs.port is None:
        return None
    return Flow(ours, theirs, os.fstat(fd).st_ino)


def name_of(name: object) -> SocketName:
    """Return what Python calls the name of a socket as ours."""
    if isinstance(name, tuple):
        return SocketName(str(name[0]), int(name[1]))
    if isinstance(name, str | bytes):
        text = os.fsdecode(name)
        return SocketName(f"@{text[1:]}" if text.startswith("\0") else text)
    return SocketName("")
