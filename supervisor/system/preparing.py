"""What a start does to files before there is a child: read secrets, remove what is in the way."""

from __future__ import annotations

import errno
import os
import stat

from supervisor.model.component import Component
from supervisor.system.footpath import open_for_reading, parent_of
from supervisor.system.program import CannotSpawn

_MOST = 1 << 20
"""Bytes of a file whose contents become a variable; the kernel takes no more than 128 KiB."""


def touched(spec: Component) -> list[str]:
    """Return the paths that `prepare` goes to."""
    return [*spec.env_base.files.values(), *spec.env.files.values(), *_removed(spec)]


def prepare(spec: Component) -> dict[str, str]:
    """Read the files that the environment of *spec* needs, then remove those in the way.

    May block. A file that is to be removed and is missing is no error, and a symbolic link is
    removed itself.

    Returns:
        The contents of the files, by path, without the final newline.

    Raises:
        CannotSpawn: with the stage `env` or `remove-file`, and the path; never with contents.
    """
    contents = {
        path: _read(name, path)
        for rules in (spec.env_base, spec.env)
        for name, path in rules.files.items()
    }
    for path in _removed(spec):
        _remove(path)
    return contents


def _removed(spec: Component) -> list[str]:
    """Return what is removed: a relative path is one in the directory of the child."""
    return [os.path.join(spec.chdir or "", path) for path in spec.remove_file]


def _read(name: str, path: str) -> str:
    try:
        data = read_regular(path)
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None) or errno.EINVAL
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotSpawn("env", number, f"env {name}: file {path}: {reason}") from None
    if b"\0" in data:
        reason = "a zero byte in it, which no variable can have"
        raise CannotSpawn("env", errno.EINVAL, f"env {name}: file {path}: {reason}")
    return os.fsdecode(data.removesuffix(b"\n"))


def read_regular(path: str) -> bytes:
    """Return the contents of the regular file *path*, of at most 1 MiB.

    Raises:
        OSError: it cannot be read, is something else, or is longer.
    """
    fd = open_for_reading(path)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        data = b""
        while len(data) <= _MOST and (more := os.read(fd, _MOST + 1 - len(data))):
            data += more
    finally:
        os.close(fd)
    if len(data) > _MOST:
        raise OSError(errno.EFBIG, "it is longer than 1 MiB")
    return data


def _remove(path: str) -> None:
    try:
        with parent_of(path) as (directory, name):
            os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None) or errno.EINVAL
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotSpawn("remove-file", number, f"remove-file {path}: {reason}") from None
