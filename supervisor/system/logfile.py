"""Append to a log file: whole lines, rotation at a size, and no surprise when the disk is full."""

from __future__ import annotations

import errno
import logging
import os
import re
import select
import stat
import time
from collections.abc import Callable

from supervisor.system.footpath import Misled, open_for_appending, parent_of
from supervisor.system.rotation import OldFiles
from supervisor.system.sockets import make_directory

log = logging.getLogger(__name__)

_PATIENCE = 1.0
"""Seconds to wait for the reader of a pipe before its lines are given up."""

_LOOK_EVERY = 1.0
"""Seconds between looks whether somebody moved or deleted the file."""

_SEARCHED = 4096

_STREAM = re.compile(
    r"/dev/std(?P<name>out|err)|(?:/dev/fd|/proc/(?P<pid>self|\d+)/fd)/(?P<fd>\d+)"
)
"""What is a descriptor that somebody has open: we ourselves, or the process of that number."""

_STREAM_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


AboutTo = Callable[[int, int, int, int, int], None]
"""Device, inode and size of a file, how much of what is given is written, how much comes now."""


class CannotWrite(OSError):
    """Not everything was written. `written` bytes of what was given are in the file."""

    def __init__(self, error: OSError, written: int) -> None:
        super().__init__(error.errno, error.strerror, error.filename)
        self.written = written


class LogFile:
    """One file that one writer appends to. Everything here may block.

    Only a regular file is rotated: PATH becomes PATH.1, that PATH.2 … up to `rotate_keep`; with
    0 nothing is kept. It is rotated between lines, so that none is torn; only a line that is
    itself longer than `rotate_size` is cut.

    Args:
        rotate_size: bytes after which the file is rotated, 0 for never.
        compress: whether the old files become PATH.1.gz ….
        own_directory: whether the directory is made if it is missing.
    """

    def __init__(
        self,
        path: str,
        rotate_size: int = 0,
        rotate_keep: int = 5,
        *,
        compress: bool = False,
        own_directory: bool = False,
    ) -> None:
        self.path, self.rotate_size = path, rotate_size
        self._own_directory = own_directory
        self.old = OldFiles(path, rotate_keep, compress=compress)
        self._fd = -1
        self._regular = False
        self._tidied = False
        self._size = 0
        self._line_start = 0
        """Where the last line begins; equal to the size when that line is complete."""
        self._looked_at = 0.0
        self._closed: tuple[int, int, int] | None = None
        """Device, inode and size of what we closed."""
        self._goes_on = False
        """It was a predecessor who closed it."""
        self.about_to: AboutTo | None = None
        """Called before each write to a regular file, and before that is moved out of the way."""

    def write(self, blocks: list[bytes]) -> int:
        """Append *blocks*; return how many bytes that were, which is all of them.

        Raises:
            CannotWrite: the disk is full, the reader of a pipe is gone or asleep, … . Half a line
                is taken back where that is possible.
        """
        data = memoryview(b"".join(blocks))
        written = 0
        try:
            self._open_current()
            while written < len(data):
                count = self._fitting(data[written:])
                if count == 0:
                    self._tell(written, 0)
                    self._rotate()
                    continue
                self._tell(written, count)
                written += self._append(data[written : written + count])
        except CannotWrite as error:
            raise CannotWrite(error, written + error.written) from None
        except OSError as error:
            raise CannotWrite(error, written) from None
        return written

    def _tell(self, done: int, length: int) -> None:
        if self.about_to is not None and self._regular:
            status = os.fstat(self._fd)
            self.about_to(status.st_dev, status.st_ino, status.st_size, done, length)

    def go_on(self, file: tuple[int, int, int]) -> None:
        """Take the line that *file* (device, inode, size) ends within as one that we began."""
        self._closed, self._goes_on = file, True

    def reopen(self) -> None:
        """Open the file anew, because somebody has moved it. The next write does it."""
        self._close()

    def close(self) -> None:
        """Close it; a later write opens it again."""
        self._close()
        self.old.close()
        self._tidied = False

    def _close(self) -> None:
        if self._fd >= 0:
            if self._regular:
                status = os.fstat(self._fd)
                self._closed = (status.st_dev, status.st_ino, self._size)
            os.close(self._fd)
            self._fd = -1

    # --- opening

    def _open_current(self) -> None:
        """Have the file open that the path names now."""
        now = time.monotonic()
        if self._fd >= 0 and self._regular and now - self._looked_at >= _LOOK_EVERY:
            self._looked_at = now
            try:
                moved = not os.path.samestat(os.lstat(self.path), os.fstat(self._fd))
            except OSError:
                moved = True
            if moved:
                self._close()
        if self._fd < 0:
            self._open()
            self._looked_at = now
        if self._regular and not self._tidied:
            self._tidied = True
            self.old.tidy()

    def _open(self) -> None:
        if self._own_directory:
            make_directory(os.path.dirname(self.path))
        self._fd = _open_patiently(self.path)
        status = os.fstat(self._fd)
        # What somebody else has open is never ours to rotate, whatever stands behind it.
        self._regular = stat.S_ISREG(status.st_mode) and not _STREAM.fullmatch(self.path)
        known, self._closed = self._closed, None
        if known == (status.st_dev, status.st_ino, status.st_size):
            self._size = status.st_size
            if self._goes_on:
                self._goes_on = False
                self._line_start = self._last_line()
            return  # Nothing has happened to it: a line that we began goes on.
        self._size = self._line_start = status.st_size if self._regular else 0
        if self._regular and self._size and not self._ends_a_line():
            # A predecessor was cut off. Its half line must not become the head of ours.
            self._size += os.write(self._fd, b"\n")
            self._line_start = self._size

    def _last_line(self) -> int:
        """Return where the line begins that the file ends within."""
        fd = self._open_to_look()
        try:
            end = self._size
            while end > 0:
                begin = max(end - _SEARCHED, 0)
                found = os.pread(fd, end - begin, begin).rfind(b"\n")
                if found >= 0:
                    return begin + found + 1
                end = begin
            return 0
        finally:
            os.close(fd)

    def _ends_a_line(self) -> bool:
        try:
            fd = self._open_to_look()
        except OSError:
            return True  # We may write it and not read it: then nobody knows.
        try:
            return os.pread(fd, 1, self._size - 1) == b"\n"
        finally:
            os.close(fd)

    def _open_to_look(self) -> int:
        with parent_of(self.path) as (directory, name):
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            return os.open(name, flags, dir_fd=directory)

    # --- rotating

    def _fitting(self, data: memoryview) -> int:
        """Return how much of *data* goes into the present file; 0 means: rotate first."""
        if not self._regular or self.rotate_size <= 0:
            return len(data)
        room = self.rotate_size - self._size
        if len(data) <= room:
            return len(data)
        line = bytes(data).find(b"\n") + 1
        begun = self._size - self._line_start
        if room > 0:
            cut = bytes(data[:room]).rfind(b"\n") + 1
            if cut:
                return cut
        if begun == 0 and self._size:
            return 0
        # Here a line is already begun in this file, or the file is empty: the line's rest belongs
        # here too, unless it is longer than a whole file.
        rest = line or len(data)
        if begun + rest <= self.rotate_size:
            return rest
        return max(min(rest, self.rotate_size - begun), 0)

    def _rotate(self) -> None:
        """Move the file out of the way; when that is impossible, go on with it."""
        self._close()
        try:
            self.old.take_in()
        except FileNotFoundError:
            pass  # Somebody else has moved it: that will do.
        except OSError as error:
            log.warning("cannot rotate %s: %s; it goes on growing", self.path, error.strerror)
            self._open()
            self._size = self._line_start = 0  # Try again after as much again.
            return
        self._open()

    # --- writing

    def _append(self, data: memoryview) -> int:
        """Write all of *data*.

        Raises:
            CannotWrite: only part of it, whole lines if the file is regular.
        """
        done = 0
        try:
            while done < len(data):
                done += self._write_some(data[done:])
        except OSError as error:
            done = self._take_back(data, done) if self._regular and done else done
            self._note(data[:done])
            raise CannotWrite(error, done) from None
        self._note(data)
        return done

    def _write_some(self, data: memoryview) -> int:
        if self._regular:
            return os.write(self._fd, data)
        # A descriptor that we share with others may be in blocking mode, so ask first and write no
        # more than surely fits.
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        if not poll.poll(_PATIENCE * 1000):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), self.path)
        return os.write(self._fd, data[: select.PIPE_BUF])

    def _note(self, data: memoryview) -> None:
        end = _end_of_lines(data)
        if end:
            self._line_start = self._size + end
        self._size += len(data)

    def _take_back(self, data: memoryview, done: int) -> int:
        """Remove half a line from the end of the file; return what remains of *data* there."""
        whole = _end_of_lines(data[:done])
        try:
            if os.fstat(self._fd).st_size == self._size + done:  # Nobody else appends to it.
                os.ftruncate(self._fd, self._size + whole)
                return whole
        except OSError:
            pass  # Then the half line stays.
        return done


def _end_of_lines(data: memoryview) -> int:
    """Return where the last whole line ends. It is near the end: not all has to be copied."""
    end = len(data)
    while end > 0:
        begin = max(end - _SEARCHED, 0)
        found = bytes(data[begin:end]).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _open_patiently(path: str) -> int:
    """Open *path* for appending.

    While a child is forked, our limit of open files is for a moment that of the child: "too many
    open files" is then not true, and a second try finds it so.
    """
    for attempt in range(20):
        try:
            return _open(path)
        except OSError as error:
            if error.errno != errno.EMFILE or attempt == 19:
                raise
            time.sleep(0.005)
    raise AssertionError("unreachable")


def own_descriptor(path: str) -> int | None:
    """Return the descriptor of ours that *path* is a name of, such as 1 for /dev/stdout."""
    stream = _STREAM.fullmatch(path)
    if stream is None or stream["pid"] not in (None, "self", str(os.getpid())):
        return None
    return {"out": 1, "err": 2}[stream["name"]] if stream["name"] else int(stream["fd"])


def _open(path: str) -> int:
    own = own_descriptor(path)
    if own is not None:
        # What stands behind /dev/stdout may be a socket, which cannot be opened, or a file, which
        # opened anew would be written from its beginning.
        return os.dup(own)
    if _STREAM.fullmatch(path):
        # The kernel resolves this link itself, and nobody can have it lead anywhere else.
        return os.open(path, _STREAM_FLAGS)
    return _open_named(path)


def _open_named(path: str) -> int:
    try:
        return open_for_appending(path, 0o640)
    except Misled:
        raise
    except OSError as error:
        reason = _REASONS.get((error.errno or 0, _kind(path)))
        if reason is None:
            raise
        raise OSError(error.errno, reason, path) from None


_REASONS = {
    (errno.ELOOP, stat.S_IFLNK): "it is a symbolic link, which is not followed: name the file",
    (errno.ENXIO, stat.S_IFIFO): "nobody reads this pipe",
    (errno.ENXIO, stat.S_IFSOCK): "it is a socket: for that of syslog, write syslog:PRIORITY",
}
"""What the words of the system leave in the dark."""


def _kind(path: str) -> int:
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except OSError:
        return 0
