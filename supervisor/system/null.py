"""Open /dev/null, or something as empty where there is none, as early in a boot."""

from __future__ import annotations

import fcntl
import os

_NULL = "/dev/null"


def open_null() -> int:
    """Return a close-on-exec descriptor that reads as empty.

    Without /dev/null it is an empty file that stays so: what is written to it is an error.

    Raises:
        OSError: there are no descriptors left.
    """
    try:
        return os.open(_NULL, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        fd = os.memfd_create("null", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW)
        return fd


def has_null() -> bool:
    """Tell whether there is a /dev/null."""
    return os.path.exists(_NULL)
