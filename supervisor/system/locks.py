"""Keep two piesd of one name apart: the instance lock, and the pid file for everybody else."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time

from supervisor.model.errors import AlreadyRunning
from supervisor.system.footpath import parent_of
from supervisor.system.proctable import ProcessInfo, read_process


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _began_at(info: ProcessInfo) -> float:
    """Return when a process began, as Unix time."""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - info.started / os.sysconf("SC_CLK_TCK")
    return time.time() - age


class InstanceLock:
    """An exclusive lock on DIRECTORY/INSTANCE.lock; the file holds the owner's pid.

    The kernel drops the lock when the owner dies, however it dies. The file is for us alone: who
    may open it, if only to read, could hold the lock and keep the next piesd from starting.
    """

    def __init__(self, directory: str, instance: str) -> None:
        self.path = os.path.join(directory, f"{instance}.lock")
        self._instance = instance
        self._fd = -1

    @property
    def fd(self) -> int:
        """The descriptor that holds the lock, -1 for none; a copy of it holds it as well."""
        return self._fd

    def acquire(self, handed: int | None = None) -> None:
        """Take the lock, at once or not at all.

        Args:
            handed: a descriptor with which another program of this process has it.

        Raises:
            AlreadyRunning: another process has it.
            OSError: the file cannot be opened.
        """
        if handed is not None and self._is_current(handed):
            self._fd = handed
            return
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self.path, flags, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
                os.close(fd)
                raise AlreadyRunning(
                    f"cannot start {self._instance!r}: it is already running"
                    + (f" as process {owner}" if owner else "")
                    + f" ({self.path})"
                ) from None
            if self._is_current(fd):
                break
            os.close(fd)  # Its owner removed it between our open and our lock.
        with contextlib.suppress(PermissionError):  # Of root's; we may write it all the same.
            os.fchmod(fd, 0o600)  # Earlier versions made it readable for all.
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        self._fd = fd

    def release(self) -> None:
        """Remove the file and give the lock up; nothing happens if it is not held."""
        if self._fd < 0:
            return
        if self._is_current(self._fd):
            with contextlib.suppress(OSError):  # Who may no longer remove it, leaves it: unlocked.
                os.unlink(self.path)
        os.close(self._fd)
        self._fd = -1

    def _is_current(self, fd: int) -> bool:
        try:
            named = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(fd))


_SLACK = 2.0
"""Seconds by which the times of files and of processes may differ."""


class PidFile:
    """A file with our pid, for scripts and for pies' rule that two must not use the same."""

    def __init__(self, path: str) -> None:
        self.path = path

    def check(self, *, force: bool = False) -> None:
        """Refuse to start where the file names another living process, unless *force*.

        A number that has been given anew since the file was written names nobody: that process
        began later than the file. Content that is no number does not count either.

        Raises:
            AlreadyRunning: it does, and who that is.
        """
        owner = None if force else self.owner()
        if owner is not None:
            raise AlreadyRunning(
                f"cannot start: the pid file {self.path} names process {owner}, which is alive; "
                "stop that first, or say --force if it is something else"
            )

    def owner(self) -> int | None:
        """Return the living process, not this one, that the file names, or None."""
        pid, written = self._read()
        if pid <= 0 or pid == os.getpid():
            return None
        info = read_process(pid)
        if info is None:
            return pid if _exists(pid) else None  # Where /proc hides other people's processes.
        return pid if info.alive and _began_at(info) <= written + _SLACK else None

    def write(self) -> None:
        """Write the pid; a reader sees the old content or the whole new one.

        Raises:
            OSError: it cannot be written, and is not there from before we executed ourselves anew.
        """
        try:
            self._replace()
        except OSError:
            if not self._is_ours():
                raise

    def _replace(self) -> None:
        with parent_of(self.path) as (directory, name):
            temporary = f"{name}.{os.getpid()}.tmp"
            # Nothing that somebody else has put there, a link to a file of ours say, is written to.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            fd = os.open(temporary, flags, 0o644, dir_fd=directory)
            try:
                try:
                    os.write(fd, b"%d\n" % os.getpid())
                finally:
                    os.close(fd)
                os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            except OSError:
                os.unlink(temporary, dir_fd=directory)
                raise

    def remove(self) -> None:
        """Remove the file if it is still ours."""
        if self._is_ours():
            # Who has become somebody else may not; then the next start takes it over.
            with contextlib.suppress(OSError), parent_of(self.path) as (directory, name):
                os.unlink(name, dir_fd=directory)

    def _is_ours(self) -> bool:
        return self._read()[0] == os.getpid()

    def _read(self) -> tuple[int, float]:
        """Return the number in the file, and when it was written; 0 where there is none.

        A FIFO that nobody writes to must not hold us up.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                status = os.fstat(fd)
                text = os.read(fd, 32) if stat.S_ISREG(status.st_mode) else b""
            finally:
                os.close(fd)
            return int(text.decode("ascii").strip()), status.st_mtime
        except (OSError, ValueError):
            return 0, 0.0
