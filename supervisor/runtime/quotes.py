"""The quote of the day: a file, read anew for each who asks, and never by the event loop."""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from supervisor.runtime.tasks import Tasks
    from supervisor.system.port import System

log = logging.getLogger(__name__)

MOST: Final = 512
"""Characters of a quote. Source: RFC 865."""


class Quotes:
    """Reads the quote. Those who ask while it is being read share what is found."""

    def __init__(self, system: System, tasks: Tasks, path: str | None) -> None:
        self._system = system
        self._tasks = tasks
        self._path = path
        self._complaint = ""
        self._reading: _Reading | None = None

    async def get(self) -> bytes:
        """Return the quote as it is sent; nothing, and a line in the log, if there is none."""
        if self._path is None:
            return b""
        if self._reading is None:
            self._reading = _Reading()
            self._tasks.start("the quote of the day", self._read)
        reading = self._reading
        # Whoever asks can be stopped meanwhile; a thread cannot, if the file is on a dead server.
        await reading.done.wait()
        return reading.text

    async def _read(self) -> None:
        reading, path = self._reading, self._path
        assert reading is not None
        assert path is not None
        try:
            reading.text = as_sent(await self._system.blocking(_contents, path))
            self._complaint = ""
        except OSError as error:
            self._complain(f"cannot read the quote of the day: {path}: {error.strerror}")
        finally:
            self._reading = None
            reading.done.set()

    def _complain(self, what: str) -> None:
        """Tell *what* is wrong once, and not to everybody who asks."""
        if what != self._complaint:
            log.warning(what)
        self._complaint = what


class _Reading:
    def __init__(self) -> None:
        self.done = trio.Event()
        self.text = b""


def as_sent(text: bytes) -> bytes:
    """Return *text* with CR LF for each line feed, cut where it is too long.

    Source: pies.md section 2.5.
    """
    characters = text.decode("utf-8", "surrogateescape").replace("\n", "\r\n")
    return characters[:MOST].encode("utf-8", "surrogateescape")


def _contents(path: str) -> bytes:
    """Return as much of a file as can be needed.

    Raises:
        OSError: it cannot be read.
    """
    # A FIFO must not keep us until somebody writes to it.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(None, "is not a regular file")
        return os.read(fd, 4 * MOST)
    finally:
        os.close(fd)
