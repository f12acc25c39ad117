"""Who we are at a daemon that asks: the names and passwords in `~/.netrc`. Source: netrc(5)."""

from __future__ import annotations

import netrc
import os
import stat
from typing import TYPE_CHECKING

from supervisor.client.connection import Password
from supervisor.client.errors import BadFile
from supervisor.client.place import InetPlace

if TYPE_CHECKING:
    from supervisor.client.place import Place


def netrc_path() -> str:
    """Return where the file is: in $HOME, else in the home directory that the system knows."""
    return os.path.join(os.path.expanduser("~"), ".netrc")


def credentials_for(place: Place, path: str) -> Password | None:
    """Return what the file says for the daemon at *place*, or None.

    A daemon at a TCP socket is the `machine` of that name or address, or the `default`. One at a
    UNIX socket knows us by our uid, so only an entry for the machine `localhost` speaks of it: a
    `default` for somebody else's FTP servers must not take that identity from us.

    Raises:
        BadFile: the file is there and cannot be used. Who needs no password can do without.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadFile(f"cannot use {path}: it is not a regular file")
        # By the number of the descriptor, so that what is read is what was looked at.
        found = netrc.netrc(f"/proc/self/fd/{descriptor}")
    except netrc.NetrcParseError as error:
        raise BadFile(f"cannot use {path}: line {error.lineno}: {error.msg}") from error
    except (UnicodeDecodeError, OSError) as error:
        raise BadFile(f"cannot use {path}: {error}") from error
    finally:
        os.close(descriptor)
    entry = _entry(found, place)
    if entry is None or not entry[0]:
        return None
    _check(path, status)
    return Password(entry[0], entry[2] or "")


def _entry(found: netrc.netrc, place: Place) -> tuple[str, str | None, str | None] | None:
    if isinstance(place, InetPlace):
        return found.authenticators(place.host)
    return found.hosts.get("localhost")


def _check(path: str, status: os.stat_result) -> None:
    """Refuse a file with passwords that others can read or have written."""
    if status.st_uid not in {os.getuid(), 0}:
        raise BadFile(f"cannot use {path}: it belongs to uid {status.st_uid}, and not to you")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = stat.S_IMODE(status.st_mode)
        raise BadFile(
            f"cannot use {path}: it has passwords, and its mode {mode:04o} lets others at them",
            f"chmod 600 {path}",
        )
