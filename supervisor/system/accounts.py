"""The users of this machine: names and groups of numbers, and whether a password is theirs."""

from __future__ import annotations

import grp
import os
import pwd

from supervisor.system import pam, shadow


class LinuxAccounts:
    """Asks the user database, the shadow file and PAM. Everything here may block.

    What it returns for a number has a name and groups.
    """

    def of_uid(self, uid: int) -> tuple[str, frozenset[str]] | None:
        """Return name and groups of *uid*."""
        try:
            account = pwd.getpwuid(uid)
        except (KeyError, OverflowError):
            return None
        return account.pw_name, _groups(account)

    def groups(self, user: str) -> frozenset[str]:
        """Return the names of the groups of *user*."""
        try:
            return _groups(pwd.getpwnam(user))
        except (KeyError, ValueError):
            return frozenset()

    def check_system(self, user: str, password: str) -> bool:
        """Return whether the shadow file says that this is the password of *user*."""
        return shadow.check(user, password)

    def check_pam(self, service: str, user: str, password: str) -> bool:
        """Return whether PAM says so."""
        return pam.check(service, user, password)


def _groups(account: pwd.struct_passwd) -> frozenset[str]:
    names = set()
    for gid in os.getgrouplist(account.pw_name, account.pw_gid):
        try:
            names.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue  # A number that has no name cannot be meant by a rule.
    return frozenset(names)
