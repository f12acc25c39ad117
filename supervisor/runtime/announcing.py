"""How a child says by itself that it is ready: a newline on a descriptor, or a datagram."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.model.component import Key
    from supervisor.system.port import System

log = logging.getLogger(__name__)

AT_ONCE: Final = 16
"""Datagrams that are read in one go, before everybody else gets a turn."""

QUEUED: Final = 1024
"""Datagrams that are read before it is said that one did not come: more than a queue mostly holds.
Source: unix(7), `max_dgram_qlen`."""

LONGEST_STATUS: Final = 500


class Hearer(Protocol):
    """What a child may say about its watchdog."""

    def fed(self) -> None:
        """It is well."""

    def triggered(self) -> None:
        """It hangs, and knows it."""

    def set(self, seconds: float) -> None:
        """It wants to be given so long from now on; 0: for ever."""


class Voice(Protocol):
    """One child's way to say something; made before the child, closed when it has ended.

    `extra` and `environ` are what the child is started with, see `Launch`.
    """

    extra: tuple[tuple[int, int], ...]
    environ: tuple[tuple[str, str], ...]

    def launched(self) -> None:
        """The child has its own copies now, or there is none."""

    async def ready(self, limit: trio.CancelScope) -> str | None:
        """Return None once it has said so, or why it never will. *limit* may be put off by it."""

    def close(self) -> None:
        """Give everything back."""


class ReadyPipe:
    """A pipe whose other end is a descriptor of the child; a newline in it says: ready."""

    def __init__(self, system: System, number: int) -> None:
        self._system = system
        self._number = number
        self._reader, self._writer = system.pipe()
        self.extra: tuple[tuple[int, int], ...] = ((number, self._writer),)
        self.environ: tuple[tuple[str, str], ...] = ()
        self._heard = trio.Event()
        self._answer: str | None = None
        try:
            system.watch(self._reader, self._read)
        except OSError:
            self.launched()
            system.close(self._reader)
            raise

    def _read(self) -> None:
        data = self._system.read(self._reader, 4096)
        if data is None or (data and b"\n" not in data):
            return
        if not data:
            self._answer = f"it closed descriptor {self._number} without a newline on it"
        # Read no more. It stays open: a child that goes on writing must not get a SIGPIPE.
        self._system.unwatch(self._reader)
        self._heard.set()

    def launched(self) -> None:
        """Close our copy of the child's end, so that its closing can be seen."""
        if self._writer >= 0:
            self._system.close(self._writer)
            self._writer = -1

    async def ready(self, limit: trio.CancelScope) -> str | None:
        """Return None after a newline, a reason after the end; *limit* stays as it is."""
        del limit
        await self._heard.wait()
        return self._answer

    def close(self) -> None:
        """Close both ends."""
        self.launched()
        self._system.unwatch(self._reader)
        self._system.close(self._reader)


class NotifySocket:
    """The socket whose path is the child's NOTIFY_SOCKET.

    `READY=1`, `STATUS=…`, `STOPPING=1`, `EXTEND_TIMEOUT_USEC=…`, `WATCHDOG=1`, `WATCHDOG=trigger`
    and `WATCHDOG_USEC=…` are understood; the rest (`MAINPID`, `FDSTORE` …) is nobody's. Source:
    sd_notify(3).
    """

    def __init__(
        self,
        system: System,
        path: str,
        key: Key,
        generation: int,
        *,
        status: Callable[[str], None],
        stopping: Callable[[], None],
        watchdog: Hearer,
    ) -> None:
        self._system = system
        self._status, self._stopping, self._watchdog = status, stopping, watchdog
        self.extra: tuple[tuple[int, int], ...] = ()
        self.environ: tuple[tuple[str, str], ...] = (("NOTIFY_SOCKET", path),)
        self._ready = trio.Event()
        self._extended = 0.0
        self._limit: trio.CancelScope | None = None
        self._fd = system.notify_socket(path, key, generation)
        try:
            system.watch(self._fd, self._read)
        except OSError:
            system.close(self._fd)
            raise

    def launched(self) -> None:
        """Nothing of ours is the child's: it opens the socket by its path."""

    async def ready(self, limit: trio.CancelScope) -> str | None:
        """Return once it has said READY=1; EXTEND_TIMEOUT_USEC puts *limit* off."""
        self._limit = limit
        self._put_off()
        await self._ready.wait()
        self._limit = None
        return None

    def hear(self) -> None:
        """Hear what has been said by now and nobody has heard."""
        for _ in range(QUEUED // AT_ONCE):
            if self._heard_all():
                return

    def _read(self) -> None:
        self._heard_all()

    def _heard_all(self) -> bool:
        """Hear some of what has been said; whether that was all."""
        for _ in range(AT_ONCE):
            datagram = self._system.receive(self._fd)
            if datagram is None:
                return True
            for line in datagram.decode("utf-8", "replace").split("\n"):
                self._hear(*line.partition("=")[::2])
        return False

    def _hear(self, name: str, value: str) -> None:
        match name:
            case "READY" if value == "1":
                self._ready.set()
            case "STATUS":
                text = "".join(c if c.isprintable() else " " for c in value[:LONGEST_STATUS])
                self._status(text.strip())
            case "STOPPING" if value == "1":
                self._stopping()
            case "EXTEND_TIMEOUT_USEC" if value.isascii() and value.isdigit():
                self._extended = trio.current_time() + int(value[:18]) / 1e6
                self._put_off()
            case "WATCHDOG" if value == "1":
                self._watchdog.fed()
            case "WATCHDOG" if value == "trigger":
                self._watchdog.triggered()
            case "WATCHDOG_USEC" if value.isascii() and value.isdigit():
                self._watchdog.set(int(value[:18]) / 1e6)
            case _:
                pass

    def _put_off(self) -> None:
        if self._limit is not None:
            self._limit.deadline = max(self._limit.deadline, self._extended)

    def close(self) -> None:
        """Hear what is left, then remove the socket."""
        with contextlib.suppress(OSError):
            self._read()
        self._system.unwatch(self._fd)
        self._system.close(self._fd)
