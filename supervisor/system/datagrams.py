"""Sockets on which children tell how they are: datagrams to a path, as sd_notify sends them."""

from __future__ import annotations

import errno
import os
import socket
import stat

from supervisor.system.sockets import LONGEST_PATH, remove_socket

_LARGEST = 65536
"""Bytes of one message; what is longer is cut off. Source: sd_notify(3) wants far less."""


class Datagrams:
    """The notification sockets we hold, and their paths, which go with them."""

    def __init__(self) -> None:
        self._sockets: dict[int, tuple[socket.socket, str, tuple[int, int]]] = {}

    def open(self, path: str) -> int:
        """Open a socket; see `supervisor.system.port.System.notify_socket`.

        Raises:
            OSError: it cannot be opened. What is there and is no socket stays there.
        """
        if len(os.fsencode(path)) > LONGEST_PATH:
            reason = f"a socket's path has {LONGEST_PATH} bytes at most"
            raise OSError(errno.ENAMETOOLONG, reason, path)
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            _remove_old(path)
            opened.bind(path)
            status = os.lstat(path)
            # A component may run as anybody; whom the directory lets through is our owner's choice.
            os.chmod(path, 0o666)
        except OSError as error:
            opened.close()
            raise OSError(error.errno, error.strerror or str(error), path) from None
        fd = opened.fileno()
        self._sockets[fd] = opened, path, (status.st_dev, status.st_ino)
        return fd

    def receive(self, fd: int) -> bytes | None:
        """Read one datagram, None when there is nothing now. Descriptors sent along are closed.

        Raises:
            OSError: it is no socket of ours (EBADF), or the kernel has no memory.
        """
        held = self._sockets.get(fd)
        if held is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            return held[0].recv(_LARGEST)
        except BlockingIOError:
            return None

    def close(self, fd: int) -> bool:
        """Close a socket and remove its path; return False if it is none of these."""
        held = self._sockets.pop(fd, None)
        if held is None:
            return False
        opened, path, place = held
        opened.close()
        remove_socket(path, place)
        return True

    def dispose(self) -> None:
        """Close all of them."""
        for fd in list(self._sockets):
            self.close(fd)


def _remove_old(path: str) -> None:
    """Remove the socket of a predecessor. Whether anybody reads from it cannot be asked."""
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        return
