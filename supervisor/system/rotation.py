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
from typing import Final

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
        with self._moving:
            last = 0
            while self._forms(last + 1):
                last += 1
            for number in range(last, 0, -1):
                for form in self._forms(number):
                    if number >= self.keep:
                        os.unlink(self._name(number, form))
                    else:
                        os.replace(self._name(number, form), self._name(number + 1, form))
            if self.keep > 0:
                os.replace(self.path, self._name(1))
            else:
                os.unlink(self.path)
        self._compress_what_is_plain()

    def _forms(self, number: int) -> list[str]:
        return [form for form in ("", ".gz") if os.path.lexists(self._name(number, form))]

    def _name(self, number: int, form: str = "") -> str:
        return f"{self.path}.{number}{form}"

    # --- compressing

    def tidy(self) -> None:
        """Remove what an interrupted compression left, and take it up again."""
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)
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
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
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

    @property
    def _temporary(self) -> str:
        return f"{self.path}.gz.tmp"

    def _plain(self) -> int:
        """Return the number of the oldest file that is to be compressed, 0 if there is none."""
        found = 0
        with self._moving:
            number = 1
            while number <= self.keep and (forms := self._forms(number)):
                # Whatever else has that name is not ours.
                if "" in forms and stat.S_ISREG(os.lstat(self._name(number)).st_mode):
                    found = number
                number += 1
        return found

    def _compress(self, number: int) -> None:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            source = os.open(self._name(number), flags)
        except FileNotFoundError:
            return  # It was shifted just now; the next look finds it again.
        try:
            status = os.fstat(source)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            target = os.open(self._temporary, flags, stat.S_IMODE(status.st_mode))
            try:
                if self._copy(source, target):
                    _look_alike(target, status)
                    os.fsync(target)
            finally:
                os.close(target)
            if self._stop:
                os.unlink(self._temporary)
            else:
                self._replace(status)
        finally:
            os.close(source)

    def _copy(self, source: int, target: int) -> bool:
        """Return whether all of it was copied, rather than given up."""
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        while chunk := os.read(source, _CHUNK):
            if self._stop:
                return False
            _write(target, packer.compress(chunk))
        _write(target, packer.flush())
        return True

    def _replace(self, status: os.stat_result) -> None:
        """Put the compressed file in the place of the plain one, which may have another number."""
        with self._moving:
            for number in range(1, self.keep + 1):
                name = self._name(number)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.lstat(name), status):
                        os.replace(self._temporary, f"{name}.gz")
                        os.unlink(name)
                        return
            os.unlink(self._temporary)  # It was too old in the meantime.


def _look_alike(target: int, status: os.stat_result) -> None:
    """Give a compressed file owner, permissions and times of the plain one."""
    with contextlib.suppress(PermissionError):  # Only root may give files away.
        os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
