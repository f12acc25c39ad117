"""Sockets on which children tell how they are: datagrams to a path, as sd_notify sends them."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
import struct
from collections.abc import Callable
from typing import NamedTuple

from supervisor.system.sockets import LONGEST_PATH, remove_socket

_LARGEST = 65536
"""Bytes of one message; what is longer is cut off. Source: sd_notify(3) wants far less."""


_CREDENTIALS = struct.Struct("3i")
"""pid, uid, gid. Source: unix(7), SCM_CREDENTIALS."""

log = logging.getLogger(__name__)

Speaks = Callable[[int, int], bool]
"""Whether a process of that number, of the user of that number, is to be heard."""


class _Held(NamedTuple):
    socket: socket.socket
    path: str
    place: tuple[int, int]
    speaks: Speaks


class Datagrams:
    """The notification sockets we hold, and their paths, which go with them."""

    def __init__(self) -> None:
        self._sockets: dict[int, _Held] = {}

    def open(self, path: str, speaks: Speaks) -> int:
        """Open a socket; see `supervisor.system.port.System.notify_socket`.

        *speaks* is asked about senders other than root and our own user.

        Raises:
            OSError: it cannot be opened. What is there and is no socket stays there.
        """
        if len(os.fsencode(path)) > LONGEST_PATH:
            reason = f"a socket's path has {LONGEST_PATH} bytes at most"
            raise OSError(errno.ENAMETOOLONG, reason, path)
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            _remove_old(path)
            opened.bind(path)
            status = os.lstat(path)
            # A component may run as anybody. Who it is that writes, the kernel says each time.
            os.chmod(path, 0o666)
        except OSError as error:
            opened.close()
            raise OSError(error.errno, error.strerror or str(error), path) from None
        fd = opened.fileno()
        self._sockets[fd] = _Held(opened, path, (status.st_dev, status.st_ino), speaks)
        return fd

    def receive(self, fd: int) -> bytes | None:
        """Read one datagram, None when there is nothing now; of a stranger, an empty one.

        There is no room for descriptors that are sent along: the kernel closes them.

        Raises:
            OSError: it is no socket of ours (EBADF), or the kernel has no memory.
        """
        held = self._sockets.get(fd)
        if held is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            data, more, _, _ = held.socket.recvmsg(_LARGEST, socket.CMSG_SPACE(_CREDENTIALS.size))
        except BlockingIOError:
            return None
        for level, kind, content in more:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid, uid, _ = _CREDENTIALS.unpack(content)
                if uid in (0, os.geteuid()) or held.speaks(pid, uid):
                    return data
                log.debug("process %d of uid %d is not heard on %s", pid, uid, held.path)
        return b""

    def close(self, fd: int) -> bool:
        """Close a socket and remove its path; return False if it is none of these."""
        held = self._sockets.pop(fd, None)
        if held is None:
            return False
        held.socket.close()
        remove_socket(held.path, held.place)
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
