"""Write down what `who`, `runlevel` and `last` tell: records in utmp and wtmp.

As sysvinit does it, files that are not there are not made. Source: utmp(5), <bits/utmp.h>.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from typing import NamedTuple

UTMP = "/run/utmp"
WTMP = "/var/log/wtmp"
RUN_LVL, BOOT_TIME, INIT_PROCESS, DEAD_PROCESS = 1, 2, 5, 8

_WIDE = ("aarch64", "riscv64", "loongarch64")
"""Machines on which glibc has always had 64-bit times there."""
_LAYOUT = struct.Struct(
    "=hxxi32s4s32s256shhqqq16s20s4x"
    if os.uname().machine in _WIDE
    else "=hxxi32s4s32s256shhiii16s20s"
)


class Entry(NamedTuple):
    """One record. `id` tells it from others in utmp, where there is one record for each."""

    kind: int
    id: str
    pid: int = 0
    line: str = ""
    user: str = ""
    code: int = 0
    signal: int = 0

    def pack(self, now: float) -> bytes:
        """Return the record as it stands in the files."""
        seconds, rest = divmod(now, 1)
        texts = (self.line, self.id, self.user, os.uname().release)
        line, name, user, host = (os.fsencode(text) for text in texts)
        when = (int(seconds), int(rest * 1e6))
        ended = (self.signal, self.code)
        kind = (self.kind, self.pid)
        return _LAYOUT.pack(*kind, line, name, user, host, *ended, 0, *when, b"", b"")


def boot() -> Entry:
    """Return the record of a boot."""
    return Entry(BOOT_TIME, "~~", 0, "~", "reboot")


def runlevel(level: str, previous: str) -> Entry:
    """Return the record of a runlevel; the one before is `N` where there was none."""
    number = ord(level or "N") + 256 * (0 if previous in ("", "N") else ord(previous))
    return Entry(RUN_LVL, "~~", number, "~", "runlevel")


def write(entry: Entry, utmp: str = UTMP, wtmp: str = WTMP) -> list[str]:
    """Write *entry* to both files; return a sentence for each that it could not be written to.

    It may block: on a lock, or on a file system.
    """
    record = entry.pack(time.time())
    problems = []
    for path, job in ((utmp, _replace), (wtmp, _append)):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(f"cannot write to {path}: {error.strerror}")
            continue
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX)
            job(fd, entry, record)
        except OSError as error:
            problems.append(f"cannot write to {path}: {error.strerror}")
        finally:
            os.close(fd)
    return problems


def _append(fd: int, _entry: Entry, record: bytes) -> None:
    size = os.fstat(fd).st_size
    # A record that was cut off would shift all that come after it.
    os.pwrite(fd, record, size - size % _LAYOUT.size)


def _replace(fd: int, entry: Entry, record: bytes) -> None:
    """Write over the record that this one follows, or behind the last."""
    if entry.kind == BOOT_TIME:
        os.ftruncate(fd, 0)  # Nobody who was here before the boot is here now.
    size = os.fstat(fd).st_size
    data = os.pread(fd, size, 0)
    for place in range(0, size - _LAYOUT.size + 1, _LAYOUT.size):
        kind, _, _, name = _LAYOUT.unpack_from(data, place)[:4]
        if _follows(entry, kind, name.rstrip(b"\0")):
            os.pwrite(fd, record, place)
            return
    os.pwrite(fd, record, size - size % _LAYOUT.size)


def _follows(entry: Entry, kind: int, name: bytes) -> bool:
    """Tell whether *entry* takes the place of such a record. Source: getutid(3)."""
    if entry.kind in (RUN_LVL, BOOT_TIME):
        return kind == entry.kind
    return 5 <= kind <= 8 and name == os.fsencode(entry.id)[:4]
