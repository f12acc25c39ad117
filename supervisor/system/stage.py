"""Where the output of one stream is between its pipe and its log: a file in memory.

What is moved from a pipe to a file by splice(2) has left the one and is in the other in a single
system call. Whenever piesd is killed, every byte is in exactly one of both, and the size of the
file says how far it came. A second number, written when a log has taken something, says what is
not needed any more; its memory is given back.

The file begins with a header: an identity, and how much of what follows has reached its log.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import struct
from typing import Final

from supervisor.system.reserve import not_reserved

log = logging.getLogger(__name__)

_HEADER: Final = struct.Struct("<8sQQQ")
"""A word to know it by, the identity, what is settled, and whether that ends within a line."""
_WORD: Final = b"piesd 1\n"
_BODY: Final = 4096
"""Where the output begins: a page of its own for the header."""
_PAGE: Final = 4096
_GIVE_BACK: Final = 256 * 1024
_SPLICE_NONBLOCK: Final = 2
_PUNCH: Final = 1 | 2
"""FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE. Source: fallocate(2)."""

_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Stage:
    """The output of one stream that has left its pipe.

    Positions count the bytes that ever came through it. The file is open only while there is
    something in it that is not settled: most components print rarely, and descriptors are few.

    `left` is what a predecessor had not settled, and `midline` whether that goes on with a line
    that was begun.
    """

    def __init__(self, directory: int, name: str) -> None:
        """Look for what a predecessor has left.

        Raises:
            OSError: it cannot be read.
        """
        self.identity = 0
        self.size = 0
        self.settled = 0
        self.midline = False
        self.left = b""
        self._directory = directory
        self._name = name
        self._fd = -1
        self._given_back = 0
        self._resting = False
        """What comes now is not kept here, until what is here has reached its log."""
        self._told = False
        with contextlib.suppress(FileNotFoundError):
            self._fd = os.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
            self._find()

    def _find(self) -> None:
        try:
            word, identity, settled, midline = _HEADER.unpack(os.pread(self._fd, _HEADER.size, 0))
        except struct.error:
            word = identity = settled = midline = 0  # Its maker was killed before the header.
        if word != _WORD:
            self.remove()
            return
        self.identity, self.settled, self.midline = identity, settled, bool(midline)
        self.size = max(os.fstat(self._fd).st_size - _BODY, settled)
        self._given_back = settled
        self.left = self._read(settled, self.size - settled)
        self._rest()

    def _read(self, position: int, size: int) -> bytes:
        parts = []
        while size > 0 and (part := os.pread(self._fd, size, _BODY + position)):
            parts.append(part)
            position, size = position + len(part), size - len(part)
        return b"".join(parts)

    def take(self, pipe: int, most: int) -> bytes | None:
        """Take what is in *pipe*: None if there is nothing now, `b""` at the end.

        Where it cannot be kept (no memory, no descriptors) it is taken all the same.

        Raises:
            OSError: the pipe cannot be read.
        """
        if not self._resting:
            try:
                self._open()
                count = os.splice(
                    pipe,
                    self._fd,
                    most,
                    offset_dst=_BODY + self.size,
                    flags=_SPLICE_NONBLOCK,
                )
            except BlockingIOError:
                self._rest()
                return None
            except OSError as error:
                self._resting = self.settled < self.size
                self._complain(error)
            else:
                self.size += count
                self._told = False
                return self._read_back(count)
        try:
            return os.read(pipe, most)
        except BlockingIOError:
            return None

    def _read_back(self, count: int) -> bytes | None:
        """Return the last *count* bytes, which have left their pipe and are here alone."""
        for last in (False, True):
            try:
                return self._read(self.size - count, count)
            except OSError as error:
                if last:
                    text = "lost %d bytes of output: cannot read %s: %s"
                    log.error(text, count, self._name, error.strerror)
        self.size -= count
        self._rest()
        return None

    def _complain(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            text = "cannot keep output in %s: %s; if piesd is killed now, some of it may be lost"
            log.warning(text, self._name, error.strerror)

    def settle(self, position: int, *, midline: bool) -> None:
        """Note that all before *position* has reached its log.

        Args:
            position: never less than before.
            midline: it ends within a line.
        """
        if position <= self.settled and midline == self.midline:
            return
        self.settled, self.midline = position, midline
        if self._fd < 0:
            return
        self._write_header()
        everything = self.settled == self.size
        if everything or self.settled - self._given_back >= _GIVE_BACK:
            end = _BODY + self.settled & -_PAGE
            begin = _BODY + self._given_back & -_PAGE
            if end > begin:
                _fallocate(self._fd, _PUNCH, begin, end - begin)
            self._given_back = self.settled
        if everything:
            self._resting = False
            self._rest()

    def _open(self) -> None:
        if self._fd >= 0:
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._name, flags, 0o600, dir_fd=self._directory)
        not_reserved(fd)
        self._fd = fd
        if not self.identity:
            self.identity = int.from_bytes(os.urandom(7)) or 1
            self._write_header()

    def _write_header(self) -> None:
        # A write within a page is done or not done, also for one who is killed.
        header = _HEADER.pack(_WORD, self.identity, self.settled, self.midline)
        os.pwrite(self._fd, header, 0)

    def _rest(self) -> None:
        if self._fd >= 0 and self.settled == self.size:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """Leave it as it is for a successor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def set_aside(self) -> None:
        """Leave the name to another stage; what is here still has to reach its log."""
        if self.identity:
            name = f"{self._name}.{self.identity:x}"
            with contextlib.suppress(FileNotFoundError):
                os.rename(self._name, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            self._name = name

    def remove(self) -> None:
        """Nobody needs it any more."""
        self.close()
        self.identity = self.size = self.settled = 0
        with contextlib.suppress(OSError):
            os.unlink(self._name, dir_fd=self._directory)
