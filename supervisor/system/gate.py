"""Hold a forked child back just before its program, so that its limits can be set from outside.

Limits belong to a whole process, and no code of ours runs between fork and exec. So the first
file that the child tries to execute is one on which we hold a lease: the kernel makes whoever
opens it wait until we give the lease up. The file names an interpreter that does not exist, so the
attempt then fails as that for a file that is missing, and the child goes on to its program: with
its arguments, its environment and its own report of what goes wrong. No helper comes between, and
the caller can make sure that the program was not yet executing (see `Verdict.hear`).

Source: fcntl(2) on F_SETLEASE; memfd_create(2).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from types import TracebackType

_TEXT = b"#!/dev/null/-\n"
"""A script whose interpreter cannot exist: ENOTDIR, which execvp(3) takes for "look further"."""

_MFD_EXEC = 0x10
"""Since Linux 6.3; an older kernel refuses what it does not know, and makes every file so."""


class Gate:
    """A file that cannot be executed before `open`.

    Raises:
        OSError: this kernel has no such file or no leases on it.
    """

    def __init__(self) -> None:
        writer = _make_file()
        try:
            os.write(writer, _TEXT)
            # What somebody has open for writing cannot be executed, and nobody but the owner of
            # the lease may have the file open at all.
            self._fd = os.open(f"/proc/self/fd/{writer}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(writer)
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            # Else we would get a SIGIO when the child comes to the gate, and die of it.
            fcntl.fcntl(self._fd, fcntl.F_SETOWN, 0)
        except OSError:
            os.close(self._fd)
            raise

    @property
    def path(self) -> bytes:
        """The file, as a child finds it that was forked while this was shut."""
        return b"/proc/self/fd/%d" % self._fd

    def open(self) -> None:
        """Let the child go on."""
        if self._fd >= 0:
            # The child has a copy of the descriptor, so that closing ours is not enough.
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Gate:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.open()


def _make_file() -> int:
    try:
        return os.memfd_create("gate", os.MFD_CLOEXEC | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create("gate", os.MFD_CLOEXEC)
