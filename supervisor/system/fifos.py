"""Pipes with names, which keep what is in them for the next piesd.

Who reads such a pipe may die at any time: its writer has it open for reading too, so it gets no
SIGPIPE, and goes on until the pipe is full. Whoever opens it by its name then finds all of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from supervisor.system.reserve import not_reserved

PIPE_SIZE: Final = 1024 * 1024
_LARGEST: Final = 1 << 30
"""What the kernel can be asked for at all is a little more."""
_CAP_SYS_RESOURCE: Final = 24
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
_BOTH: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


def anonymous() -> tuple[int, int]:
    """Return a pipe without a name: a non-blocking read end, and one that reads and writes.

    Raises:
        OSError: there are no descriptors left.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    # Without /proc the writer gets SIGPIPE when we die. Nothing else depends on it.
    with contextlib.suppress(FileNotFoundError, PermissionError):
        both = os.open(f"/proc/self/fd/{reader}", os.O_RDWR | os.O_CLOEXEC)
        os.dup2(both, writer, inheritable=False)
        os.close(both)
    not_reserved(reader, writer)
    os.set_blocking(reader, False)
    return reader, writer


def named(directory: int, name: str) -> tuple[int, int]:
    """Return the pipe of that name, made if it is missing: as `anonymous` otherwise.

    Args:
        directory: a descriptor of a directory that is ours alone.

    Raises:
        OSError: it cannot be made, or there are no descriptors left.
    """
    _make(directory, name)
    writer = os.open(name, _BOTH, dir_fd=directory)
    try:
        reader = os.open(name, _READ, dir_fd=directory)
    except OSError:
        os.close(writer)
        raise
    not_reserved(reader, writer)
    return reader, writer


def _make(directory: int, name: str) -> None:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        pass
    else:
        if stat.S_ISFIFO(status.st_mode) and status.st_uid in (0, os.geteuid()):
            return
        os.unlink(name, dir_fd=directory)
    os.mkfifo(name, 0o600, dir_fd=directory)


class Room:
    """Makes pipes larger, without using up what the kernel gives an ordinary user.

    Once a user's pipes have more than `pipe-user-pages-soft` together, every new one, in whatever
    program, has a page or two. So ours take half of that at most. Source: pipe(7).
    """

    def __init__(self, size: int = PIPE_SIZE) -> None:
        self._size = min(size, _LARGEST)
        self._left = _allowance()

    def enlarge(self, pipe: int) -> None:
        """Give *pipe* its size, if there is room for that."""
        more = self._size - fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
        if more == 0 or (more > 0 and self._left is not None and more > self._left):
            return
        # Above pipe-max-size for an ordinary user, or too small for what is in it: it stays.
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, self._size)
            if self._left is not None:
                self._left -= max(more, 0)


def _allowance() -> int | None:
    """Return how many bytes larger all pipes together may become; None for any number."""
    try:
        status = Path("/proc/self/status").read_text()
        effective = next(row for row in status.splitlines() if row.startswith("CapEff:"))
        if int(effective.split()[1], 16) >> _CAP_SYS_RESOURCE & 1:
            return None
        pages = int(Path("/proc/sys/fs/pipe-user-pages-soft").read_text())
    except (OSError, StopIteration, ValueError):
        return 0
    return None if pages == 0 else pages * os.sysconf("SC_PAGESIZE") // 2
