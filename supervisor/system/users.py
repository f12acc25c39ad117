"""Turn the names of a user and of groups into the numbers a child runs with."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import time
from typing import NamedTuple


class Identity(NamedTuple):
    """Who a child is. `name` is None when the component names no user, only groups.

    `changed` is False when this is what piesd is anyway: then nothing has to be switched.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str | None
    home: str
    shell: str
    changed: bool


class NoIdentity(Exception):
    """A name means nothing, or we may not become it. `stage` is `user` or `groups`."""

    def __init__(self, stage: str, number: int, message: str) -> None:
        super().__init__(message)
        self.stage, self.number, self.message = stage, number, message


def find_user(name: str) -> pwd.struct_passwd:
    """Return the account called *name*; digits may be its number. May block.

    Raises:
        NoIdentity: there is none.
    """
    try:
        return pwd.getpwnam(name)
    except KeyError:
        if name.isascii() and name.isdigit():
            uid = int(name)
            try:
                return pwd.getpwuid(uid)
            except (KeyError, OverflowError):
                pass
        raise NoIdentity("user", errno.ENOENT, f"user '{name}': no such user") from None


def find_group(name: str) -> int:
    """Return the number of the group called *name*; digits are their own number. May block.

    Raises:
        NoIdentity: there is none.
    """
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        if name.isascii() and name.isdigit():
            return int(name)
        raise NoIdentity("groups", errno.ENOENT, f"group '{name}': no such group") from None


def resolve(user: str | None, groups: tuple[str, ...], allgroups: bool) -> Identity:
    """Look the names up. May block on a directory service.

    The primary group is that of *user*; *groups* come beside it, and with *allgroups* every
    group the user is in.

    Raises:
        NoIdentity: there is no such user or group, or we may not become it.
    """
    uid, gid = os.geteuid(), os.getegid()
    name, home, shell = None, "", ""
    if user is not None:
        account = find_user(user)
        uid, gid, name = account.pw_uid, account.pw_gid, account.pw_name
        home, shell = account.pw_dir or "/", account.pw_shell or "/bin/sh"
    extra = {find_group(group) for group in groups}
    if allgroups and name is not None:
        extra.update(os.getgrouplist(name, gid))
    extra.discard(gid)
    wanted = (gid, *sorted(extra))
    changed = _must_change(uid, gid, extra, user)
    return Identity(uid, gid, wanted, name, home, shell, changed)


def _must_change(uid: int, gid: int, extra: set[int], user: str | None) -> bool:
    ours = set(os.getgroups())
    if os.geteuid() == 0:
        same = uid == os.getuid() == 0 and gid == os.getgid() == os.getegid()
        return not (same and ours - {gid} == extra)
    if uid != os.geteuid():
        raise NoIdentity(
            "user", errno.EPERM, f"user '{user}': {os.strerror(errno.EPERM)} (piesd is not root)"
        )
    if missing := sorted(extra - ours - {os.getegid()}):
        numbers = ", ".join(map(str, missing))
        raise NoIdentity(
            "groups",
            errno.EPERM,
            f"groups {numbers}: {os.strerror(errno.EPERM)} (piesd is not root)",
        )
    return False


class Users:
    """Remembers identities for a few seconds, so that a burst of starts asks once.

    Only what was found is remembered: a user made just now is found by the next start.
    """

    def __init__(self, seconds: float = 5.0) -> None:
        self._seconds = seconds
        self._known: dict[tuple[str | None, tuple[str, ...], bool], tuple[float, Identity]] = {}

    def cached(self, user: str | None, groups: tuple[str, ...], allgroups: bool) -> Identity | None:
        """Return a fresh remembered identity, or None."""
        known = self._known.get((user, groups, allgroups))
        if known is None or time.monotonic() - known[0] >= self._seconds:
            return None
        return known[1]

    def remember(
        self, user: str | None, groups: tuple[str, ...], allgroups: bool, identity: Identity
    ) -> None:
        """Remember what `resolve` found."""
        self._known[user, groups, allgroups] = (time.monotonic(), identity)
