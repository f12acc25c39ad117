"""Descriptors that systemd holds for us while nobody of us is there.

What is stored there comes back with the next start of the service, whatever became of us. Source:
sd_pid_notify_with_fds(3), sd_listen_fds(3), FileDescriptorStoreMax= in systemd.service(5).
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
from collections import deque
from collections.abc import Iterator, MutableMapping
from typing import Final

_FIRST: Final = 3
_ABOVE_SEATS: Final = 35
"""Low numbers are for children, see `supervisor.system.seats`."""
VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "FDSTORE")


class DescriptorStore:
    """Stores descriptors by names, and does nothing where there is no store.

    Nothing blocks: what does not get through at once goes with the next that is stored.

    Args:
        address: that of the service manager's socket; empty if there is none.
        taken: what came back, each with its name.
    """

    def __init__(self, address: str = "", taken: tuple[tuple[str, int], ...] = ()) -> None:
        self._taken = list(taken)
        self._waiting: deque[tuple[str, int]] = deque()
        self._socket: socket.socket | None = None
        if address[:1] in ("/", "@"):
            self._address = b"\0" + os.fsencode(address[1:]) if address[0] == "@" else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str] | None = None) -> DescriptorStore:
        """Take what came back, and what is meant for us, out of *environ* (piesd's own).

        This has to be done before anything else opens or closes a descriptor.
        """
        environ = os.environ if environ is None else environ
        address = environ.get("NOTIFY_SOCKET", "")
        pid, count, names, most = (environ.pop(name, "") for name in VARIABLES)
        taken = []
        if pid == str(os.getpid()) and count.isdigit():
            called = names.split(":")
            for number in range(int(count)):
                with contextlib.suppress(OSError):
                    fd = fcntl.fcntl(_FIRST + number, fcntl.F_DUPFD_CLOEXEC, _ABOVE_SEATS)
                    os.close(_FIRST + number)
                    taken.append((called[number] if number < len(called) else "unknown", fd))
        return cls(address if most.isdigit() and int(most) else "", tuple(taken))

    @property
    def active(self) -> bool:
        """Whether there is a store."""
        return self._socket is not None

    def taken(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Hand out what came back under names that begin so; each is the caller's to close."""
        mine = [one for one in self._taken if one[0].startswith(prefix)]
        self._taken = [one for one in self._taken if one not in mine]
        yield from mine

    def keep(self, name: str, fd: int) -> None:
        """Have a descriptor kept under a name, besides what is kept under it already.

        The same open file once more is no second one.

        Args:
            name: up to 255 printable characters of ASCII, without a colon.
            fd: stays the caller's; it may be closed at once.
        """
        if self._socket is not None:
            self._waiting.append((name, os.dup(fd)))
            self.flush()

    def drop(self, name: str) -> None:
        """Have nothing kept under that name any more."""
        if self._socket is not None:
            self._waiting.append((name, -1))
            self.flush()

    def flush(self) -> None:
        """Send what could not be sent before."""
        while self._waiting:
            name, fd = self._waiting[0]
            try:
                self._send(name, fd)
            except BlockingIOError:
                return
            except OSError:
                pass  # Nobody is there.
            self._waiting.popleft()
            if fd >= 0:
                os.close(fd)

    def _send(self, name: str, fd: int) -> None:
        assert self._socket is not None
        if fd < 0:
            self._socket.sendto(f"FDSTOREREMOVE=1\nFDNAME={name}".encode(), self._address)
            return
        # A pipe without a writer is not to be dropped: what is in it is what it is kept for.
        text = f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0".encode()
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
        self._socket.sendmsg([text], [rights], 0, self._address)

    def close(self) -> None:
        """Free what is ours. The store keeps what it has."""
        for _, fd in (*self._taken, *self._waiting):
            if fd >= 0:
                os.close(fd)
        self._taken.clear()
        self._waiting.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
