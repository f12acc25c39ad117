"""Make piesd itself somebody else, once it has opened what only root may open."""

from __future__ import annotations

import os
from collections.abc import MutableMapping, Sequence
from typing import ClassVar

from supervisor.model.errors import SupervisorError
from supervisor.system.users import Identity, NoIdentity, resolve


class CannotBecome(SupervisorError):
    """piesd cannot run as the user and the groups that its configuration names."""

    code: ClassVar[str] = "cannot-become"


def become(
    user: str | None,
    group: tuple[str, ...] = (),
    allgroups: bool = False,
    environ: MutableMapping[str, str] | None = None,
    *,
    taking: Sequence[str] = (),
) -> Identity | None:
    """Run as *user* with *group* as supplementary groups, for good; None if nothing is asked.

    Called by the main thread before any other thread is there. The names are resolved as those of
    a component. HOME, USER, LOGNAME and SHELL of *environ* (ours if not given) become those of the
    user, since components that name no user inherit them.

    The files *taking* are given to the user first, and stay given if it then fails.

    From then on other processes of that user may signal piesd, but not trace it: it may know keys
    that only root may read.

    Raises:
        CannotBecome: a name means nothing, or we may not; nothing has changed then.
    """
    if user is None and not group:
        return None
    try:
        identity = resolve(user, group, allgroups)
    except NoIdentity as error:
        raise CannotBecome(f"cannot run piesd as asked: {error.message}") from None
    if identity.changed:
        _give(taking, identity.uid)
        _switch(identity)
    if identity.name is not None:
        environ = os.environ if environ is None else environ
        environ["USER"] = environ["LOGNAME"] = identity.name
        environ["HOME"] = identity.home
        environ["SHELL"] = identity.shell
    return identity


def _give(paths: Sequence[str], uid: int) -> None:
    for path in paths:
        try:
            os.chown(path, uid, -1, follow_symlinks=False)
        except OSError as error:
            raise CannotBecome(
                f"cannot run piesd as asked: giving {path} to uid {uid}: {error.strerror}"
            ) from None


def _switch(identity: Identity) -> None:
    """Change groups, group and user, in this order: the last takes the right to the others."""
    before = os.getgroups()
    step = f"groups {' '.join(map(str, identity.groups))}"
    try:
        os.setgroups(identity.groups)
        step = f"group {identity.gid}"
        os.setresgid(identity.gid, identity.gid, identity.gid)
        step = f"user '{identity.name or identity.uid}'"
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        _undo(before)
        raise CannotBecome(f"cannot run piesd as asked: {step}: {error.strerror}") from None


def _undo(groups: list[int]) -> None:
    try:
        os.setresgid(0, 0, 0)
        os.setgroups(groups)
    except OSError:
        return  # Then the first step was refused already, and there is nothing to undo.
