"""Tell whether a path lies on a local file system, without touching the path."""

from __future__ import annotations

import os
import re
import select

_REMOTE = (
    "9p",
    "afs",
    "autofs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "davfs",
    "fuse",
    "gfs2",
    "gluster",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "ocfs2",
    "orangefs",
    "panfs",
    "smb",
    "vboxsf",
    "virtiofs",
)
"""Beginnings of the names of file systems whose other end may be slow or gone."""

_MOST_REMEMBERED = 10_000


class Mounts:
    """The mount table, read again whenever the kernel says that it has changed.

    Only the text of a path is looked at: a symbolic link from a local to a remote file system
    counts as local, because following it is what might hang.
    """

    def __init__(self, table: str = "/proc/self/mountinfo") -> None:
        self._remote: dict[bytes, bool] = {}
        self._answers: dict[bytes, bool] = {}
        self._changed = select.poll()
        self._table = table
        self._fd = -1
        self._open()

    def local(self, *paths: bytes) -> bool:
        """Tell whether all of the full *paths* are on local file systems."""
        if self._fd < 0 and not self._open():
            return False
        if self._changed.poll(0):
            self._read()
        return all(map(self._is_local, paths))

    def _is_local(self, path: bytes) -> bool:
        answer = self._answers.get(path)
        if answer is None:
            answer = self._look(path)
            if len(self._answers) < _MOST_REMEMBERED:
                self._answers[path] = answer
        return answer

    def _open(self) -> bool:
        """Open the table. Without /proc nothing is known to be local, which costs speed alone."""
        try:
            self._fd = os.open(self._table, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        self._changed.register(self._fd, select.POLLPRI | select.POLLERR)
        self._read()
        return True

    def dispose(self) -> None:
        """Free the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _look(self, path: bytes) -> bool:
        place = os.path.normpath(path)
        while place not in self._remote:
            parent = os.path.dirname(place)
            if parent == place:
                return False  # No root in the table: a stripped-down /proc.
            place = parent
        return not self._remote[place]

    def _read(self) -> None:
        os.lseek(self._fd, 0, os.SEEK_SET)
        data = b""
        while part := os.read(self._fd, 65536):
            data += part
        self._answers.clear()
        self._remote = parse_mounts(data)


def parse_mounts(data: bytes) -> dict[bytes, bool]:
    """Return for each mount point of a mountinfo table whether it is remote.

    Where one is mounted over another, the later line wins. Source: proc_pid_mountinfo(5).
    """
    found: dict[bytes, bool] = {}
    for line in data.splitlines():
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        if len(fields) < 5 or not after:
            continue
        kind = after.split(b" ", 1)[0].decode("ascii", "replace")
        place = re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), fields[4])
        found[place] = kind.startswith(_REMOTE)
    return found
