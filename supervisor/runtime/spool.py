"""Letters on disk, so that none is lost when piesd is started anew: one file for each.

Everything here blocks and is done in a worker thread, in the order in which it was asked for.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from supervisor.runtime.mail import Letter

if TYPE_CHECKING:
    from supervisor.system.port import System

log = logging.getLogger(__name__)

_SUFFIX: Final = ".json"
_UNFINISHED: Final = ".new"


class Spool:
    """The letters in one directory, which is made when it is needed."""

    def __init__(self, system: System, directory: str) -> None:
        self._system = system
        self._directory = directory
        self._jobs: list[tuple[str, Letter | None]] = []
        self._news = trio.Event()
        self._done: trio.Event | None = None
        self._failed = False

    def keep(self, letter: Letter) -> None:
        """Write *letter*, soon."""
        self._add(letter.name, letter)

    def drop(self, letter: Letter) -> None:
        """Remove *letter*, soon."""
        self._add(letter.name, None)

    def _add(self, name: str, letter: Letter | None) -> None:
        self._jobs.append((name, letter))
        if self._done is None:
            self._done = trio.Event()
        self._news.set()

    async def load(self, most: int) -> list[Letter]:
        """Return the oldest *most* letters that are there."""
        return await self._system.blocking(_load, self._directory, most)

    async def serve(self) -> None:
        """Do what is asked for, until cancelled."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            while self._jobs:
                jobs, self._jobs = self._jobs, []
                self._told(await self._system.blocking(_work, self._directory, jobs))
            if self._done is not None:
                self._done.set()
                self._done = None

    async def settled(self) -> None:
        """Return when everything asked for so far is on disk; whoever calls has a deadline."""
        if self._done is not None:
            await self._done.wait()

    def _told(self, failure: str) -> None:
        if failure and not self._failed:
            log.error("cannot keep mail on disk, it is in memory only: %s", failure)
        self._failed = bool(failure)


def _work(directory: str, jobs: list[tuple[str, Letter | None]]) -> str:
    """Write and remove files; return what went wrong last, if anything did."""
    failure = ""
    last = dict(jobs)  # What was written and removed since need not be written at all.
    for name, letter in last.items():
        path = os.path.join(directory, name + _SUFFIX)
        try:
            if letter is None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            else:
                os.makedirs(directory, mode=0o700, exist_ok=True)
                _write(path, msgspec.json.encode(letter))
        except OSError as error:
            failure = f"{path}: {error.strerror}"
    return failure


def _write(path: str, data: bytes) -> None:
    """Put *data* into a file of ours alone; it is there as a whole or not at all."""
    unfinished = path + _UNFINISHED
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise


def _load(directory: str, most: int) -> list[Letter]:
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    except OSError as error:
        log.error("cannot read the mail that waits in %s: %s", directory, error.strerror)
        return []
    letters: list[Letter] = []
    for name in names:
        path = os.path.join(directory, name)
        if name.endswith(_UNFINISHED):
            with contextlib.suppress(OSError):
                os.unlink(path)
        elif name.endswith(_SUFFIX) and len(letters) < most:
            try:
                with open(path, "rb") as file:
                    letters.append(msgspec.json.decode(file.read(), type=Letter))
            except (OSError, msgspec.MsgspecError) as error:
                log.error("cannot read the mail in %s; it stays there: %s", path, error)
    return letters
