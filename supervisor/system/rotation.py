"""The old files of a log: numbered, shifted by one at each rotation, compressed beside the writer.

PATH.1 is the youngest. An old file may be compressed (PATH.1.gz) or not, whatever the settings were
when it was made. Compression runs in a thread of its own, because the log goes on meanwhile: files
may be shifted under it, so it finds the file that it has read again by its inode.

A power cut or a kill at any moment costs nothing: PATH.gz.tmp becomes PATH.N.gz when it is complete
and on the disk, and only then PATH.N goes. What was left undone is done at the next opening.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from supervisor.system.footpath import parent_of

log = logging.getLogger(__name__)

_LEVEL: Final = 6
_GZIP: Final = 16 + zlib.MAX_WBITS
_CHUNK: Final = 256 * 1024


class OldFiles:
    """The numbered files of the log at *path*, of which *keep* may be there."""

    def __init__(self, path: str, keep: int, *, compress: bool) -> None:
        self.path, self.keep, self.compress = path, keep, compress
        self._thread: threading.Thread | None = None
        self._moving = threading.Lock()
        """Held while names change: by a rotation, and at the end of a compression."""
        self._more = False
        """A rotation wants another look for files to be compressed."""
        self._stop = False

    # --- rotating

    def take_in(self) -> None:
        """Make the log itself the youngest of the old files; it has to be closed.

        Raises:
            FileNotFoundError: somebody else has moved it.
            OSError: it stays where it is.
        """
        with self._moving, self._here() as here:
            last = 0
            while here.forms(last + 1):
                last += 1
            for number in range(last, 0, -1):
                for form in here.forms(number):
                    if number >= self.keep:
                        here.unlink(here.name(number, form))
                    else:
                        here.replace(here.name(number, form), here.name(number + 1, form))
            if self.keep > 0:
                here.replace(here.log_name, here.name(1))
            else:
                here.unlink(here.log_name)
        self._compress_what_is_plain()

    # --- compressing

    def tidy(self) -> None:
        """Remove what an interrupted compression left, and take it up again."""
        self._remove_unfinished()
        self._compress_what_is_plain()

    def _compress_what_is_plain(self) -> None:
        """Let a thread compress every old file that is not; returns at once."""
        if not self.compress or self.keep <= 0:
            return
        with self._moving:
            self._more = True
            if self._thread is None and not self._stop:
                self._thread = threading.Thread(
                    target=self._compress_all, name=f"compress {self.path}", daemon=True
                )
                self._thread.start()

    def settle(self) -> None:
        """Return when nothing is being compressed."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def close(self) -> None:
        """Give up what is being compressed; its plain file stays for the next time."""
        self._stop = True
        self.settle()
        self._stop = False

    def _compress_all(self) -> None:
        try:
            while self._go_on():
                while not self._stop and (number := self._plain()):
                    self._compress(number)
        except Exception as error:  # noqa: BLE001 - Whatever it is, the log itself goes on.
            self._remove_unfinished()
            reason = getattr(error, "strerror", None) or repr(error)
            log.warning(
                "cannot compress the old files of %s: %s; they stay as they are until the next "
                "rotation",
                self.path,
                reason,
            )
            with self._moving:
                self._thread = None

    def _go_on(self) -> bool:
        with self._moving:
            more, self._more = self._more and not self._stop, False
            if not more:
                self._thread = None
            return more

    def _remove_unfinished(self) -> None:
        with contextlib.suppress(OSError), self._here() as here:
            here.unlink(here.temporary)

    def _plain(self) -> int:
        """Return the number of the oldest file that is to be compressed, 0 if there is none."""
        found = 0
        with self._moving, self._here() as here:
            number = 1
            while number <= self.keep and (forms := here.forms(number)):
                if "" in forms and here.fits(number):
                    found = number
                number += 1
        return found

    @contextlib.contextmanager
    def _here(self) -> Iterator[_Directory]:
        with parent_of(self.path) as (directory, log_name):
            yield _Directory(directory, log_name)

    def _compress(self, number: int) -> None:
        # The whole of it happens in one directory, whatever the path leads to meanwhile.
        with self._here() as here:
            try:
                source = here.open(here.name(number), os.O_RDONLY | os.O_NONBLOCK)
            except FileNotFoundError:
                return  # It was shifted just now; the next look finds it again.
            try:
                self._compress_into(here, source)
            finally:
                os.close(source)

    def _compress_into(self, here: _Directory, source: int) -> None:
        status = os.fstat(source)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        target = here.open(here.temporary, flags, _permissions(status))
        try:
            if self._copy(source, target):
                _look_alike(target, status)
                os.fsync(target)
        finally:
            os.close(target)
        if self._stop:
            here.unlink(here.temporary)
        else:
            self._replace(here, status)

    def _copy(self, source: int, target: int) -> bool:
        """Return whether all of it was copied, rather than given up."""
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        while chunk := os.read(source, _CHUNK):
            if self._stop:
                return False
            _write(target, packer.compress(chunk))
        _write(target, packer.flush())
        return True

    def _replace(self, here: _Directory, status: os.stat_result) -> None:
        """Put the compressed file in the place of the plain one, which may have another number."""
        with self._moving:
            for number in range(1, self.keep + 1):
                name = here.name(number)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(here.stat(name), status):
                        here.replace(here.temporary, f"{name}.gz")
                        here.unlink(name)
                        return
            here.unlink(here.temporary)  # It was too old in the meantime.


class _Directory(NamedTuple):
    """The directory of a log, held open: others may write to it, and change the way to it."""

    fd: int
    log_name: str

    @property
    def temporary(self) -> str:
        return f"{self.log_name}.gz.tmp"

    def name(self, number: int, form: str = "") -> str:
        return f"{self.log_name}.{number}{form}"

    def forms(self, number: int) -> list[str]:
        """Return in which forms there is an old file of that number."""
        found = []
        for form in ("", ".gz"):
            with contextlib.suppress(OSError):
                self.stat(self.name(number, form))
                found.append(form)
        return found

    def fits(self, number: int) -> bool:
        """Return whether a plain file is ours to be compressed, and not just of that name.

        Of one with other names, others may have given it this one.
        """
        status = self.stat(self.name(number))
        return stat.S_ISREG(status.st_mode) and status.st_nlink == 1

    def stat(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(name, flags, mode, dir_fd=self.fd)

    def unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self.fd)

    def replace(self, name: str, other: str) -> None:
        os.replace(name, other, src_dir_fd=self.fd, dst_dir_fd=self.fd)


def _permissions(status: os.stat_result) -> int:
    """Return what a copy by us may have: no bits that lend out the rights of its owner."""
    return stat.S_IMODE(status.st_mode) & 0o777


def _look_alike(target: int, status: os.stat_result) -> None:
    """Give a compressed file owner, permissions and times of the plain one."""
    with contextlib.suppress(PermissionError):  # Only root may give files away.
        os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, _permissions(status))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
