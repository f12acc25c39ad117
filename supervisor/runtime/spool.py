"""Letters on disk, so that none is lost when piesd is started anew: one file for each.

Everything here blocks and is done in a worker thread, in the order in which it was asked for.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import stat
from typing import TYPE_CHECKING, Final

import msgspec
import trio
from msgspec.structs import replace

from supervisor.runtime.mail import Letter
from supervisor.system.sockets import check_directory, make_directory

if TYPE_CHECKING:
    from supervisor.system.port import System

log = logging.getLogger(__name__)

_SUFFIX: Final = ".json"
_UNFINISHED: Final = ".new"

AGAIN: Final = 60.0
"""Seconds until what could not be done is tried again."""


Jobs = dict[str, Letter | None]
"""For each name the letter to be written, or None if its file is to be removed."""


class Spool:
    """The letters in one directory, which is made when it is needed.

    What fails is tried again with whatever comes next, after a while, and at the end.
    """

    def __init__(self, system: System, directory: str) -> None:
        self._system = system
        self._directory = directory
        self._jobs: Jobs = {}
        self._undone: Jobs = {}
        self._news = trio.Event()
        self._done: trio.Event | None = None

    def keep(self, letter: Letter) -> None:
        """Write *letter*, soon."""
        self._jobs[letter.name] = letter
        self._wake()

    def drop(self, letter: Letter) -> None:
        """Remove *letter*, soon."""
        self._jobs[letter.name] = None
        self._wake()

    @property
    def unkept(self) -> int:
        """How many letters could not be written."""
        return sum(letter is not None for letter in self._undone.values())

    def _wake(self) -> None:
        if self._done is None:
            self._done = trio.Event()
        self._news.set()

    async def load(self, most: int) -> list[Letter]:
        """Return the oldest *most* letters that are there."""
        return await self._system.blocking(_load, self._directory, most)

    async def serve(self) -> None:
        """Do what is asked for, until cancelled."""
        while True:
            with trio.move_on_after(AGAIN if self._undone else math.inf):
                await self._news.wait()
            self._news = trio.Event()
            await self._work_off()
            while self._jobs:
                await self._work_off()
            if self._done is not None:
                self._done.set()
                self._done = None

    async def settled(self) -> None:
        """Return when everything asked for so far is on disk; whoever calls has a deadline.

        What failed before is tried once more.
        """
        if self._undone:
            self._wake()
        if self._done is not None:
            await self._done.wait()

    async def _work_off(self) -> None:
        # What was written and removed since need not be written at all.
        jobs, self._jobs = {**self._undone, **self._jobs}, {}
        undone, failure = await self._system.blocking(_work, self._directory, jobs)
        if failure and not self._undone:
            log.error("cannot keep mail on disk, it is in memory only: %s", failure)
        elif self._undone and not failure:
            log.info("mail can be kept on disk again: %s", self._directory)
        self._undone = undone


def _work(directory: str, jobs: Jobs) -> tuple[Jobs, str]:
    """Write and remove files; return what could not be done, and why the last of that."""
    undone: Jobs = {}
    failure = ""
    for name, letter in jobs.items():
        path = os.path.join(directory, name + _SUFFIX)
        try:
            if letter is None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            else:
                make_directory(directory)
                _check(directory)
                _write(path, msgspec.json.encode(letter))
        except OSError as error:
            undone[name] = letter
            failure = f"{path}: {error.strerror}"
    return undone, failure


def _write(path: str, data: bytes) -> None:
    """Put *data* into a file of ours alone; it is there as a whole or not at all."""
    unfinished = path + _UNFINISHED
    with contextlib.suppress(FileNotFoundError):
        os.unlink(unfinished)  # What was interrupted; or a link, which is not written through.
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
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


def _check(directory: str) -> None:
    """Refuse a directory into which somebody else could put letters for us to send.

    Raises:
        OSError: it is one, or it is not there.
    """
    check_directory(directory, {os.geteuid()}, "state-directory")


def _load(directory: str, most: int) -> list[Letter]:
    try:
        _check(directory)
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
                letter = msgspec.json.decode(_read(path), type=Letter)
                # It goes by the name of its file, or it could never be removed.
                letters.append(replace(letter, name=name.removesuffix(_SUFFIX)))
            except (OSError, msgspec.MsgspecError) as error:
                log.error("cannot read the mail in %s; it stays there: %s", path, error)
    return letters


def _read(path: str) -> bytes:
    """Return what is in *path*, a plain file: the reader of a pipe would wait for ever."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file", path)
        with open(fd, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(fd)
