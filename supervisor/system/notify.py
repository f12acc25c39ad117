"""Tell the system's own supervisor how piesd is: the sd_notify protocol."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

import trio

log = logging.getLogger(__name__)

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

_FOR_NOW: Final = frozenset((errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM))
"""Why something cannot be sent that can be sent later: a full queue, no memory."""

AGAIN: Final = 0.5
"""Seconds until it is tried again."""


class Notifier:
    """Sends states to NOTIFY_SOCKET, and does nothing where there is none.

    Sending never blocks and never raises: nobody's mood up there may stop a component. What must
    not be lost is owed where it cannot be sent for now, and sent by `serve`.

    Source: sd_notify(3), sd_watchdog_enabled(3).
    """

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self._watchdog = watchdog
        self._socket: socket.socket | None = None
        self._address: str | bytes = b""
        self._owed: tuple[str, ...] = ()
        self._owing = trio.Event()
        if not address:
            return
        if address[0] not in "/@":
            log.warning("cannot notify %s: only UNIX sockets are known", address)
            return
        # A leading @ stands for the zero byte of the abstract name space.
        self._address = b"\0" + os.fsencode(address[1:]) if address[0] == "@" else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str] | None = None) -> Notifier:
        """Take what is meant for us out of *environ* (piesd's own), so that no child gets it."""
        environ = os.environ if environ is None else environ
        address, usec, pid = (environ.pop(name, None) for name in _VARIABLES)
        watchdog = None
        if usec and usec.isdigit() and int(usec) > 0 and pid in (None, "", str(os.getpid())):
            watchdog = int(usec) / 1e6
        return cls(address, watchdog)

    @property
    def active(self) -> bool:
        """Whether anybody listens."""
        return self._socket is not None

    def watchdog_interval(self) -> float | None:
        """Return the seconds from one `watchdog` to the next: half of what is allowed."""
        return None if self._watchdog is None or self._socket is None else self._watchdog / 2

    def ready(self, status: str = "") -> bool:
        """Say that the start, or a reload, is over."""
        return self._tell("READY=1", *self._status(status))

    def reloading(self, status: str = "") -> bool:
        """Say that a reload begins; `ready` ends it."""
        now = time.monotonic_ns() // 1000
        return self._tell("RELOADING=1", f"MONOTONIC_USEC={now}", *self._status(status))

    def stopping(self, status: str = "") -> bool:
        """Say that the shutdown begins."""
        return self._tell("STOPPING=1", *self._status(status))

    def status(self, status: str) -> bool:
        """Say in one line what is going on."""
        return self._send(*self._status(status))

    def watchdog(self) -> bool:
        """Say that we are alive."""
        return self._send("WATCHDOG=1")

    def close(self) -> None:
        """Free the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @staticmethod
    def _status(status: str) -> tuple[str, ...]:
        return (f"STATUS={' '.join(status.split())}",) if status else ()

    async def serve(self) -> None:
        """Send what is owed, as soon as it can be sent; for ever."""
        while True:
            await self._owing.wait()
            await trio.sleep(AGAIN)
            if self._owed:
                self._tell(*self._owed)
            if not self._owed:
                self._owing = trio.Event()

    def _tell(self, *states: str) -> bool:
        """Send what must not be lost; return whether it was sent. What was owed is old now."""
        self._owed = ()
        return self._send(*states, owed=True)

    def _send(self, *states: str, owed: bool = False) -> bool:
        """Return whether it was sent."""
        if self._socket is None or not states:
            return False
        try:
            self._socket.sendto("\n".join(states).encode(), self._address)
        except OSError as error:
            log.debug("cannot notify %r: %s", self._address, error)
            if owed and error.errno in _FOR_NOW:
                self._owed = states
                self._owing.set()
            return False
        return True
