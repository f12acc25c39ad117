"""Starts for which the system has no room now: nobody's failure, and tried again."""

from __future__ import annotations

import errno

from supervisor.model.component import Component, Key
from supervisor.model.state import Exit

FIRST_PAUSE = 0.5
"""Seconds until the first new try; they double with each that is in vain."""

LONGEST_PAUSE = 30.0

_NO_ROOM = {
    errno.EMFILE: "nofile",
    errno.ENFILE: "",
    errno.EAGAIN: "nproc",
    errno.ENOMEM: "as",
}
"""What the system says, and which limit of the component itself makes it say so."""

_OURS = frozenset({"fork", "stdin", "stdout", "stderr"})
"""The stages of a start in which the limits of the component are not in force yet."""


def lacks_room(key: Key, spec: Component, why: Exit) -> bool:
    """Return whether the start of a component failed because the system has no room for it.

    A connection is not kept waiting, and a command is tried again by who wants it.
    """
    limit = _NO_ROOM.get(why.errno or 0)
    if limit is None or key != spec.tag:
        return False
    return why.stage in _OURS or limit not in spec.limits


def pause(tries: int, chance: float) -> float:
    """Return the seconds to wait after so many tries in vain, spread for the many."""
    return min(FIRST_PAUSE * 2.0 ** min(tries - 1, 10), LONGEST_PAUSE) * (0.5 + chance / 2)
