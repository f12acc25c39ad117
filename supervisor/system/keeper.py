"""What outlives piesd of its children's output, in a directory that is ours alone.

There is a pipe and a stage for each stream, and a note for each log. Nothing of it must ever wait
for a disk: so it is in the runtime directory if that is on a tmpfs, as /run is, or else in
/dev/shm. Where there is no tmpfs at all there are only pipes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from supervisor.system.fdstore import DescriptorStore
from supervisor.system.fifos import PIPE_SIZE, Room, anonymous, named
from supervisor.system.lognote import LogNote
from supervisor.system.owndirectory import is_in_memory, open_own_directory
from supervisor.system.stage import Stage

log = logging.getLogger(__name__)

SHARED_MEMORY: Final = "/dev/shm"
_LONGEST: Final = 200
_STAGE: Final = ".stage"
_NOTE: Final = ".note"
_STORED: Final = "output."
"""How names in the store of descriptors begin."""


class Keeper:
    """Keeps the output of one instance's children.

    Where that is impossible, pipes are without names and the rest is not there; `lack` says why.

    Args:
        runtime_directory: that of the instance.
        instance: its name.
        pipe_size: how large pipes are to be.
        memory: where else there is a tmpfs.
        store: who holds pipes when neither we nor a child does.
    """

    def __init__(
        self,
        runtime_directory: str,
        instance: str,
        pipe_size: int = PIPE_SIZE,
        memory: str = SHARED_MEMORY,
        store: DescriptorStore | None = None,
    ) -> None:
        self._store = DescriptorStore() if store is None else store
        self._opened: set[str] = set()
        self.lack = ""
        self.pipe_size = pipe_size
        self._room = Room(pipe_size)
        self._directory = -1
        self._in_memory = False
        self._told = False
        self._known: dict[str, Stage] = {}
        self._path = os.path.join(runtime_directory, f"{instance}.output")
        try:
            self._in_memory = is_in_memory(runtime_directory)
            if not self._in_memory and is_in_memory(memory):
                self._in_memory = True
                place = hashlib.sha256(os.fsencode(os.path.abspath(self._path))).hexdigest()[:16]
                self._path = os.path.join(memory, f"piesd.{os.geteuid()}.{place}")
            self._directory = open_own_directory(self._path)
        except OSError as error:
            self._in_memory = False
            self.lack = f"{error.filename}: {error.strerror}"
        else:
            if not self._in_memory:
                self.lack = f"neither {runtime_directory} nor {memory} is on a tmpfs"

    # --- for one stream

    def pipe(self, name: str) -> tuple[int, int]:
        """Return the pipe of that name, with what is in it.

        Its read end is non-blocking; the other one is for the child, and reads as well as writes,
        so that the child can go on when we are gone.

        Raises:
            OSError: there are no descriptors left.
        """
        file = _file_name(name)
        try:
            ends = named(self._directory, file) if self._directory >= 0 else anonymous()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            if not self._told:
                self._told = True
                text = "cannot keep a pipe for %s: %s; what is in it is lost if piesd is killed"
                log.warning(text, name, error.strerror)
            ends = anonymous()
        else:
            if self._directory >= 0:
                self._opened.add(file)
                self._store.keep(f"{_STORED}{file}", ends[0])
        self._room.enlarge(ends[0])
        return ends

    def stage(self, name: str) -> Stage | None:
        """Return what keeps a stream between its pipe and its log, if anything does."""
        if not self._in_memory:
            return None
        try:
            if name in self._known:  # Somebody who was forgotten is back before all was written.
                self._known[name].set_aside()
            stage = self._known[name] = Stage(self._directory, f"{_file_name(name)}{_STAGE}")
        except OSError as error:
            log.warning("cannot keep the output of %s: %s", name, error.strerror)
            return None
        return stage

    def forget(self, name: str) -> None:
        """Remove the pipe of that name. Its stage goes by itself."""
        file = _file_name(name)
        if file in self._opened:
            self._opened.discard(file)
            self._store.drop(f"{_STORED}{file}")
            self._remove(file)

    # --- for logs

    def note(self, path: str) -> LogNote | None:
        """Return the note about the log at *path*, if there can be one."""
        if not self._in_memory:
            return None
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
        return LogNote(self._directory, f"{digest}{_NOTE}")

    # --- all of it

    def kept(self, name: str) -> bool:
        """Return whether a predecessor has left anything of the stream of that name."""
        file = _file_name(name)
        return _is_there(self._directory, file) or _is_there(self._directory, f"{file}{_STAGE}")

    def tidy(self, later: Iterable[str] = ()) -> None:
        """Remove what a predecessor has left of streams that nobody has opened by now.

        These are those of components that are not there any more: nobody knows where it belongs.

        Args:
            later: the names of streams that could not be opened, and will be.
        """
        spared = {_file_name(name) for name in later} | self._opened
        for name, fd in self._store.taken(_STORED):
            os.close(fd)  # Ours are open, and the store has its own.
            if name.removeprefix(_STORED) not in spared:
                self._store.drop(name)
        stages = {f"{_file_name(name)}{_STAGE}" for name in self._known}
        for name in self._names():
            if name.removesuffix(_STAGE) in spared or name in stages or name.endswith(_NOTE):
                continue
            if _holds_something(self._directory, name):
                log.warning("output in %s is dropped: its component is gone", name)
            self._remove(name)

    def clear(self) -> None:
        """Remove everything: the output of all children has reached its logs, or is lost."""
        for name in self._names():
            self._remove(name)
        if self._directory >= 0:
            with contextlib.suppress(OSError):
                os.rmdir(self._path)

    def _names(self) -> list[str]:
        """Return what is there; nothing where there is no descriptor to look with."""
        if self._directory >= 0:
            with contextlib.suppress(OSError):
                return os.listdir(self._directory)
        return []

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._directory)

    def close(self) -> None:
        """Free the descriptor; everything stays for a successor."""
        if self._directory >= 0:
            os.close(self._directory)
        self._directory, self._in_memory = -1, False


def _is_there(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True


def _holds_something(directory: int, name: str) -> bool:
    try:
        if _STAGE in name:
            stage = Stage(directory, name)
            stage.close()
            return bool(stage.left)
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=directory)
    except OSError:
        return False
    try:
        return bool(os.read(fd, 1))
    except OSError:
        return False
    finally:
        os.close(fd)


def _file_name(name: str) -> str:
    """Return *name* as that of a file; a long one by its hash."""
    quoted = quote(name, safe="")
    if len(quoted) <= _LONGEST:
        return quoted
    return hashlib.sha256(name.encode()).hexdigest()
