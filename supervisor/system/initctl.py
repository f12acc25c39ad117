"""Speak the protocol of sysvinit's telinit and shutdown: records of 384 bytes in a FIFO.

Source: initreq.h of sysvinit, and `struct init_request` there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
from typing import NamedTuple

SIZE = 384
MAGIC = 0x03091969
RUNLVL, POWERFAIL, POWERFAILNOW, POWEROK, SETENV = 1, 2, 3, 4, 6

PATHS = ("/run/initctl", "/dev/initctl")
"""Where programs look: sysvinit since 2.89, and what is older (or pies)."""

_HEADER = struct.Struct("=iiii")
_DATA = SIZE - _HEADER.size
MOST_ENVIRONMENT = _DATA - 1
"""Bytes of all `NAME=VALUE` of one record, with one more for the end of each."""
_MAGIC = struct.pack("=i", MAGIC)
_BLOCK = 65536
_GONE = (
    0x00000004 | 0x00000400 | 0x00000800
)  # IN_ATTRIB (its link count), IN_DELETE_SELF, MOVE_SELF


class Request(NamedTuple):
    """One record. `sleeptime` are the seconds between SIGTERM and SIGKILL."""

    command: int
    runlevel: str = ""
    sleeptime: int = 0
    variables: tuple[str, ...] = ()
    """`NAME=VALUE`, or `NAME` for one to be removed."""


def pack(request: Request) -> bytes:
    """Return *request* as a record.

    Raises:
        ValueError: the variables are too long for one.
    """
    data = b"".join(os.fsencode(each) + b"\0" for each in request.variables)
    if len(data) > MOST_ENVIRONMENT:
        most = MOST_ENVIRONMENT - len(request.variables)
        raise ValueError(f"the variables are too long: together at most {most} bytes")
    level = ord(request.runlevel) if request.runlevel else 0
    header = _HEADER.pack(MAGIC, request.command, level, request.sleeptime)
    return header + data.ljust(_DATA, b"\0")


def unpack(block: bytes) -> Request:
    """Return what a whole record says."""
    _, command, level, sleeptime = _HEADER.unpack_from(block)
    variables: tuple[str, ...] = ()
    if command == SETENV:
        data = block[_HEADER.size :].split(b"\0\0", 1)[0]
        variables = tuple(os.fsdecode(each) for each in data.split(b"\0") if each)
    return Request(command, chr(level) if 32 < level < 127 else "", sleeptime, variables)


def requests(data: bytes) -> tuple[list[Request], int]:
    """Return the records in *data*, all that was there to read, and how many bytes are none.

    A writer's record comes in one piece. So what is not whole will not become so, and where a new
    one begins within one, the old one was cut off.
    """
    found: list[Request] = []
    lost, place = 0, 0
    while place < len(data):
        begin = data.find(_MAGIC, place)
        if begin < 0:
            return found, lost + len(data) - place
        lost += begin - place
        following = data.find(_MAGIC, begin + 1, begin + SIZE)
        if following >= 0 or begin + SIZE > len(data):
            place = following if following >= 0 else len(data)
            lost += place - begin
            continue
        found.append(unpack(data[begin : begin + SIZE]))
        place = begin + SIZE
    return found, lost


class Fifo:
    """The FIFO at *path*, which we hold open for reading and writing: it never has an end."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = -1

    def open(self) -> None:
        """Make it, whatever else is there, and open it.

        Raises:
            OSError: that cannot be done.
        """
        self.close()
        try:
            is_fifo = stat.S_ISFIFO(os.lstat(self.path).st_mode)
        except FileNotFoundError:
            os.mkfifo(self.path, 0o600)
        else:
            if not is_fifo:
                os.unlink(self.path)
                os.mkfifo(self.path, 0o600)
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self.path, flags)
        try:
            if not stat.S_ISFIFO(os.fstat(fd).st_mode):
                raise OSError(f"{self.path} is no FIFO any more")
            os.fchmod(fd, 0o600)
        except OSError:
            os.close(fd)
            raise
        self.fd = fd

    @property
    def current(self) -> bool:
        """Whether what we have open is what others find there."""
        try:
            return self.fd >= 0 and os.path.samestat(os.fstat(self.fd), os.lstat(self.path))
        except OSError:
            return False

    def read(self) -> bytes:
        """Return all that is there to read now."""
        blocks = []
        with contextlib.suppress(BlockingIOError):
            while block := os.read(self.fd, _BLOCK):
                blocks.append(block)
        return b"".join(blocks)

    def close(self) -> None:
        """Close it; the file stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def link_others(path: str) -> None:
    """Let the other names of the FIFO lead to *path*, where nothing else has them."""
    for other in PATHS:
        if other != path and not os.path.lexists(other):
            with contextlib.suppress(OSError):
                os.symlink(path, other)


def watch_removal(path: str) -> int:
    """Return a descriptor that is readable once *path* was removed or renamed; -1 without.

    Source: inotify(7). A file that is open and loses its name tells that as a changed attribute.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd >= 0 and libc.inotify_add_watch(fd, os.fsencode(path), _GONE) < 0:
            os.close(fd)
            return -1
    except (OSError, AttributeError):
        return -1
    return fd


def send(requests_: tuple[Request, ...], path: str | None = None) -> str:
    """Write records to *path*, or to the first of the usual places where an init listens.

    Returns:
        Where they were written.

    Raises:
        OSError: they cannot be written.
        ValueError: a request does not fit into a record.
    """
    data = b"".join(pack(each) for each in requests_)
    wanted = (path,) if path else PATHS
    failure: OSError | None = None
    for place in wanted:
        try:
            # Without waiting for a reader: without one there is no init that listens (ENXIO).
            fd = os.open(place, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            failure = failure or error
            continue
        try:
            if not stat.S_ISFIFO(os.fstat(fd).st_mode):
                raise OSError(0, "is no FIFO", place)
            os.write(fd, data)  # Below PIPE_BUF, so in one piece.
        finally:
            os.close(fd)
        return place
    assert failure is not None
    raise failure
