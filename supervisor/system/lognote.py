"""What is being written to a log just now, so that a successor knows whether it was.

Before each write the note says where in which file it goes, and what it consists of. Whoever finds
the note looks at the size of the file: the write was done, was not, or was cut off by a kill. What
was cut off is taken back to the end of a line, and written again by whoever has it.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from supervisor.system.footpath import Misled, parent_of, refuse_other_names

_HEAD: Final = struct.Struct("<8sQQQQQQQ")
"""A word to know it by; device, inode, offset and length of the write; within whose line the file
ends before it and after it; the number of parts."""
_PART: Final = struct.Struct("<7Q")
_WORD: Final = b"piesd 1\n"
_PAGE: Final = 4096
"""The note stays within a page: a kill cannot cut off such a write."""
MOST_PARTS: Final = (_PAGE - _HEAD.size) // _PART.size // 2 - 1
"""In one write. The other half is for what was found; and a rotation may cut a part in two."""


class Part(NamedTuple):
    """A stretch of one stream, as it stands in a log.

    `size` bytes of the stream, which end at the position `end`, are `length` bytes of the log, the
    last of them `tail` bytes of ours. Each line begins with a label of `label` bytes, but not the
    first if `begun` is 1: its beginning is in the part before. `stage` is the identity of the
    stream; 0 if that has none.
    """

    stage: int
    end: int
    size: int
    length: int
    tail: int
    label: int
    begun: int = 0

    def inside(self, block: bytes) -> int:
        """Return how many bytes of the stream are in *block*, the beginning of this part."""
        if self.label and block:
            lines = block.count(b"\n") + (not block.endswith(b"\n")) - self.begun
            return min(max(len(block) - self.label * lines, 0), self.size)
        before = self.length - self.tail - self.size
        return min(max(len(block) - before, 0), self.size)

    def done(self, size: int) -> Part:
        """Return what says that of this part *size* bytes of the stream are in the log."""
        return Part(self.stage, self.end - self.size + size, 0, 0, 0, 0)

    def rest(self, block: bytes) -> Part:
        """Return what is left of this part behind *block*."""
        size, length = self.size - self.inside(block), self.length - len(block)
        begun = int(not block.endswith(b"\n"))
        tail = min(self.tail, length)
        return self._replace(size=size, length=length, tail=tail, begun=begun)


class Found(NamedTuple):
    """What a note says about the time before this piesd.

    `done` has, for each stream, the position up to which it is in the log. `torn` is the stream
    within whose line the log ends, or 0; `file` is that log's device, inode and size.
    """

    done: dict[int, int]
    torn: int
    file: tuple[int, int, int]


NOTHING: Final = Found({}, 0, (0, 0, 0))


class LogNote:
    """The note about one log. Everything here may block, as the file system of the log may."""

    def __init__(self, directory: int, name: str) -> None:
        self._directory, self._name = directory, name
        self._fd = -1
        self._batch: list[tuple[Part, bytes]] = []
        self._torn = 0
        self._known: dict[int, int] = {}
        """How far streams came before, as long as their stages may not know it yet."""

    def find(self, path: str) -> Found:
        """Return what a predecessor has noted about the log at *path*; half a line is taken back.

        Raises:
            OSError: the note or the log cannot be looked at.
        """
        if self._fd < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self._name, flags, 0o600, dir_fd=self._directory)
        content = os.pread(self._fd, _PAGE, 0)
        if not content.startswith(_WORD):
            return NOTHING
        _, device, inode, offset, length, before, after, count = _HEAD.unpack_from(content)
        whole = _HEAD.size + count * _PART.size
        parts = [Part(*fields) for fields in _PART.iter_unpack(content[_HEAD.size : whole])]
        log = _open_log(path, device, inode) if inode else -1
        if log < 0:
            self._know(_positions(parts, b""))
            return Found(dict(self._known), 0, (0, 0, 0))
        try:
            written, size = _written(log, offset, length)
        finally:
            os.close(log)
        complete = len(written) == length
        self._torn = after if complete else 0 if written.endswith(b"\n") else before
        # What somebody else has written behind it begins a line of its own.
        torn = self._torn if size == offset + len(written) else 0
        self._know(_positions(parts, written))
        return Found(dict(self._known), torn, (device, inode, size))

    def _know(self, positions: dict[int, int]) -> None:
        newest = list(positions.items())[-MOST_PARTS:]
        self._known = dict(newest)

    def begin(self, parts: Sequence[Part], blocks: Sequence[bytes]) -> None:
        """Say what is going to be written, one block for each part."""
        self._batch = list(zip(parts, blocks, strict=True))
        for part in parts:
            known = self._known.get(part.stage)
            if known is not None and part.end - part.size >= known:
                del self._known[part.stage]  # Who goes on behind it knows it.

    def mark(self, device: int, inode: int, offset: int, done: int, length: int) -> None:
        """Note that *length* bytes come at *offset* of a file now, *done* are written already."""
        if self._fd < 0:
            return
        parts = list(self._parts(done, done + length))
        torn = self._torn_at(done), self._torn_at(done + length)
        head = _HEAD.pack(_WORD, device, inode, offset, length, *torn, len(parts))
        os.pwrite(self._fd, head + b"".join(_PART.pack(*part) for part in parts), 0)

    def _parts(self, done: int, end: int) -> Iterator[Part]:
        for stage, end_there in self._known.items():
            yield Part(stage, end_there, 0, 0, 0, 0)
        position = 0
        for part, block in self._batch:
            begin, position = position, position + part.length
            if position <= done:
                yield part.done(part.size)
            elif begin < done:
                first = block[: done - begin]
                yield part.done(part.inside(first))
                yield part.rest(first)
            elif begin < end:
                yield part

    def _torn_at(self, place: int) -> int:
        """Return within whose line the log ends at a place of what is written now."""
        position = 0
        for part, block in self._batch:
            begin, position = position, position + part.length
            if begin < place <= position:
                return 0 if block[place - begin - 1 : place - begin] == b"\n" else part.stage
        return self._torn

    def end(self, done: int) -> None:
        """Say that the write is over, of which *done* bytes are in the log."""
        self._torn = self._torn_at(done)
        self._batch = []

    def close(self) -> None:
        """Free the descriptor; the note stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _positions(parts: Sequence[Part], written: bytes) -> dict[int, int]:
    """Return how far each stream came with *written*, the beginning of what the parts became."""
    positions: dict[int, int] = {}
    for part in parts:
        mine, written = written[: part.length], written[part.length :]
        if mine or not part.length:
            size = part.size if len(mine) == part.length else part.inside(mine)
            end = part.end - part.size + size
            positions[part.stage] = max(end, positions.get(part.stage, 0))
    positions.pop(0, None)
    return positions


def _written(log: int, offset: int, length: int) -> tuple[bytes, int]:
    """Return what of a write is in the log, cut to whole lines, and the log's size."""
    size = os.fstat(log).st_size
    data = _read(log, offset, min(max(size - offset, 0), length))
    if data and len(data) < length:
        data = data[: data.rfind(b"\n") + 1]
        size = offset + len(data)
        os.ftruncate(log, size)
    return data, size


def _read(log: int, offset: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := os.pread(log, size, offset)):
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return b"".join(parts)


def _open_log(path: str, device: int, inode: int) -> int:
    """Return a descriptor of the file that was written to, or -1 if it is gone.

    Somebody may have given it another name, but hardly another directory.
    """
    try:
        with parent_of(path) as (directory, log_name):
            for name in _candidates(directory, log_name, inode):
                fd = _open_same(directory, name, device, inode)
                if fd < 0:
                    continue
                try:
                    # It may be another file with the same inode: ours was removed in that case.
                    refuse_other_names(directory, fd, path)
                except Misled:
                    os.close(fd)
                    if name == log_name:
                        raise
                else:
                    return fd
    except FileNotFoundError:
        pass
    return -1


def _candidates(directory: int, log_name: str, inode: int) -> Iterator[str]:
    yield log_name
    listed = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        with os.scandir(listed) as entries:
            yield from [entry.name for entry in entries if entry.inode() == inode]
    finally:
        os.close(listed)


def _open_same(directory: int, name: str, device: int, inode: int) -> int:
    """Return a descriptor of the file of that name, or -1 if it is not the one that is meant."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        return -1
    except OSError as error:
        if error.errno == errno.ELOOP:
            return -1
        raise
    status = os.fstat(fd)
    if (status.st_dev, status.st_ino) == (device, inode) and stat.S_ISREG(status.st_mode):
        return fd
    os.close(fd)
    return -1
