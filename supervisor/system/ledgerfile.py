"""A file of records that survives the death of whoever writes it, at any moment.

Each record is appended by one write(2): what was written is in the page cache and does not die with
us. A record that was cut short, or that does not carry its own checksum, ends what is read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import zlib
from collections.abc import Iterable

from supervisor.system.footpath import open_for_reading

_HEAD = struct.Struct("<II")
"""Length and checksum of what follows."""

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


class LedgerFile:
    """The records of one piesd.

    Args:
        path: where; the directory must be one in which nobody else may make files.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = 0
        """Bytes in it, 0 while it is not open."""
        self._fd = -1

    def begin(self, records: Iterable[bytes]) -> None:
        """Replace whatever is there by *records*, in one step.

        Raises:
            OSError: it stays as it was, and can be appended to as before.
        """
        fresh = f"{self.path}.new"
        fd = _create(fresh)
        try:
            data = b"".join(map(_framed, records))
            _write(fd, data)
            os.rename(fresh, self.path)
        except OSError:
            os.close(fd)
            os.unlink(fresh)
            raise
        self.close()
        self._fd, self.size = fd, len(data)

    def append(self, record: bytes) -> None:
        """Add one record.

        Raises:
            OSError: it is not there, and nothing that follows would be read: `begin` anew.
        """
        data = _framed(record)
        _write(self._fd, data)
        self.size += len(data)

    def close(self) -> None:
        """Close it; what is in it stays."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self.size = -1, 0

    def remove(self) -> None:
        """Close and remove it: there is nothing to go on with."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def read_records(path: str) -> list[bytes]:
    """Return the records in *path*, none if there is no such file.

    Raises:
        OSError: it cannot be read, or it belongs to somebody else.
    """
    try:
        fd = open_for_reading(path, follow=False)
    except FileNotFoundError:
        return []
    with open(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()):
            raise OSError(errno.EPERM, "it is not a file of ours", path)
        data = file.read()
    records: list[bytes] = []
    place = 0
    while place + _HEAD.size <= len(data):
        length, checksum = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        record = data[place : place + length]
        if len(record) != length or zlib.crc32(record) != checksum:
            break
        records.append(record)
        place += length
    return records


def _create(path: str) -> int:
    """Open *path* as a new file that only we can read."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # Left by one that was killed while it began.
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)


def _framed(record: bytes) -> bytes:
    return _HEAD.pack(len(record), zlib.crc32(record)) + record


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
