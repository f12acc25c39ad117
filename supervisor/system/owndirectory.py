"""A directory that is for ourselves alone, and what file system it is on."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from typing import Final

_TMPFS: Final = 0x01021994
"""Source: statfs(2)."""


def open_own_directory(path: str) -> int:
    """Make *path* if it is missing, and return a descriptor of it. Its parent must be there.

    Raises:
        OSError: it cannot be made, it is a link, or others have a part in it.
    """
    with contextlib.suppress(FileExistsError):  # What is there is looked at below, ours or not.
        os.mkdir(path, 0o700)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(fd)
    if status.st_uid not in (0, os.geteuid()):
        reason = f"it belongs to uid {status.st_uid}"
    elif stat.S_IMODE(status.st_mode) & 0o077:
        reason = "others may get into it; it should have the mode 0700"
    else:
        return fd
    os.close(fd)
    raise PermissionError(errno.EPERM, reason, path)


def is_in_memory(directory: str) -> bool:
    """Return whether a directory is on a tmpfs: what is written there never waits for a disk."""
    room = (ctypes.c_long * 64)()  # More than a struct statfs, whose first member is the kind.
    return ctypes.CDLL(None).statfs(os.fsencode(directory), room) == 0 and room[0] == _TMPFS
