"""Reach files through directories that others may write to, and end nowhere else.

A component often owns the directory of its log, its socket or its pid file. Where piesd is root,
whoever may write there could lead it anywhere by a link: to append to, to remove, or to read for it
what it may not touch itself. So a symbolic link counts only if it is root's or ours, and what is
done to a file is done to a name in a directory that is held open: nobody can change the way to it
in between. Source: openat(2), "Rationale for openat()"; path_resolution(7).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from collections.abc import Iterator
from typing import Final

_STEP: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

_MOST_LINKS: Final = 40
"""As many as the kernel follows. Source: path_resolution(7)."""


class Misled(OSError):
    """Somebody else could have made this, to have us do something to a file that is not theirs."""


@contextlib.contextmanager
def parent_of(path: str) -> Iterator[tuple[int, str]]:
    """Hold the directory of *path* open; give its descriptor and the name of the file in it.

    The name itself is not looked at.

    Raises:
        Misled: a link of somebody else is on the way.
        OSError: the directory cannot be reached.
    """
    directory, name = os.path.split(path)
    fd = _walk(directory or ".", path)
    try:
        yield fd, name
    finally:
        os.close(fd)


def open_for_appending(path: str, mode: int, *, more_flags: int = 0) -> int:
    """Open a file to append to it; a new one has *mode*. A link is no file.

    Raises:
        Misled: somebody else could have it that we write to something else.
        OSError: it cannot be opened.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
    # Opening a FIFO that nobody reads must fail, not wait.
    flags |= os.O_NONBLOCK | more_flags
    with parent_of(path) as (directory, name):
        fd = os.open(name, flags, mode, dir_fd=directory)
        try:
            refuse_other_names(directory, fd, path)
        except OSError:
            os.close(fd)
            raise
    return fd


def open_for_reading(path: str, *, follow: bool = True) -> int:
    """Open a file to read it, without waiting for anybody.

    Args:
        path: which.
        follow: whether it may be a link, of root or of us.

    Raises:
        Misled: somebody else could have it that we read something else.
        OSError: it cannot be opened.
    """
    with parent_of(_real(path) if follow else path) as (directory, name):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        fd = os.open(name or ".", flags, dir_fd=directory)
        try:
            refuse_other_names(directory, fd, path)
        except OSError:
            os.close(fd)
            raise
    return fd


def open_directory(path: str) -> int:
    """Return a descriptor (O_PATH) of a directory, to which no link of somebody else leads.

    Raises:
        Misled, OSError
    """
    return _walk(path, path)


def refuse_other_names(directory: int, fd: int, path: str) -> None:
    """Refuse a file with several names where others may have given it the one that we know.

    Whoever can make hard links (protected_hardlinks in proc(5) is not everywhere) needs no right
    to the file for it.

    Args:
        directory: in which it was opened.
        fd: the file.
        path: what the complaint is about.

    Raises:
        Misled
    """
    status = os.fstat(fd)
    several = stat.S_ISREG(status.st_mode) and status.st_nlink > 1
    if several and not ours_alone(os.fstat(directory)):
        reason = "it has other names (hard links), and others could have given it this one"
        raise Misled(errno.EMLINK, reason, path)


def trusted(uid: int) -> bool:
    """Return whether what belongs to *uid* is as good as ours: root's, or ours."""
    return uid in (0, os.geteuid()) or uid == _nobody_at_all()


def ours_alone(status: os.stat_result) -> bool:
    """Return whether nobody but root and we can make files in the directory of that *status*."""
    return trusted(status.st_uid) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _walk(directory: str, path: str) -> int:
    """Return a descriptor of *directory*; *path* is what the complaint is about."""
    fd = os.open("/" if directory.startswith("/") else ".", _STEP | os.O_DIRECTORY)
    left = [part for part in directory.split("/") if part][::-1]
    links = 0
    try:
        while left:
            part = left.pop()
            following = os.open(part, _STEP, dir_fd=fd)
            status = os.fstat(following)
            if not stat.S_ISLNK(status.st_mode):
                os.close(fd)
                fd = following
                continue
            try:
                target = _read_link(following, status, part, path)
            finally:
                os.close(following)
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            left += [each for each in target.split("/") if each][::-1]
            if target.startswith("/"):
                os.close(fd)
                fd = os.open("/", _STEP | os.O_DIRECTORY)
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    except OSError as error:
        os.close(fd)
        if isinstance(error, Misled):
            raise
        raise OSError(error.errno, error.strerror, path) from None
    return fd


def _read_link(link: int, status: os.stat_result, name: str, path: str) -> str:
    if not trusted(status.st_uid):
        reason = f"the symbolic link {name!r} on the way belongs to uid {status.st_uid}: "
        reason += "it is not followed, as it could lead anywhere; name the real path"
        raise Misled(errno.ELOOP, reason, path)
    return os.readlink("", dir_fd=link)


def _real(path: str) -> str:
    """Return *path* without a link as its last part, whoever else's links may be before it."""
    for _ in range(_MOST_LINKS):
        with parent_of(path) as (directory, name):
            try:
                link = os.open(name or ".", _STEP, dir_fd=directory)
            except OSError as error:
                raise OSError(error.errno, error.strerror, path) from None
            try:
                status = os.fstat(link)
                if not stat.S_ISLNK(status.st_mode):
                    return path
                target = _read_link(link, status, name, path)
            finally:
                os.close(link)
        path = os.path.join(os.path.dirname(path), target)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


@functools.cache
def _nobody_at_all() -> int:
    """Return the uid that stands for all that a user namespace does not have; -1 without one.

    Nobody in here can become one of those, and all of the system may belong to them.
    Source: user_namespaces(7), "Unmapped user and group IDs".
    """
    try:
        with open("/proc/sys/kernel/overflowuid", encoding="ascii") as file:
            overflow = int(file.read())
        with open("/proc/self/uid_map", encoding="ascii") as file:
            ranges = [tuple(map(int, line.split())) for line in file]
    except (OSError, ValueError):
        return -1
    known = any(first <= overflow < first + count for first, _, count in ranges)
    return -1 if known else overflow
