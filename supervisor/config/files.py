"""Read the bytes of a configuration file, and say why that cannot be done."""

from __future__ import annotations

import errno
import os
import stat

LARGEST = 16 * 1024 * 1024
"""Bytes of one file. A configuration is written by people; more than this is a mistake."""

DEEPEST = 32
"""Files that include one another in a chain."""

Identity = tuple[int, int]
"""Device and inode."""


def contents(path: str) -> tuple[bytes, Identity]:
    """Return the bytes of a regular file and which file it is.

    Raises:
        OSError: it cannot be read, is not a regular file, or is too large.
        ValueError: *path* has a null character.
    """
    # Without O_NONBLOCK, opening a FIFO would wait for somebody to write into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        if status.st_size > LARGEST:
            raise OSError(errno.EFBIG, f"Larger than {LARGEST // 1024**2} MiB")
        return stream.read(LARGEST), (status.st_dev, status.st_ino)


def reason(error: OSError | ValueError) -> str:
    """Return why something could not be read, without the name of the file."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def shown(path: str) -> str:
    """Return *path* so that it can be printed and sent: names need not be UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")
