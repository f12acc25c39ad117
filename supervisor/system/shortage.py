"""Tell what the system was short of from what is a mistake of ours."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

SHORT: Final = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EAGAIN, errno.EIO)
)
"""What any call may say, whoever makes it."""


def why(error: BaseException) -> str:
    """Return what was short, or wrong, in the words of the system if it has some."""
    return getattr(error, "strerror", None) or str(error) or "out of memory"


def shortage(error: BaseException) -> OSError | None:
    """Return what the system was short of where *error*, or what is behind it, came from that."""
    for leaf in _leaves(error):
        if isinstance(leaf, OSError) and leaf.errno in SHORT:
            return leaf
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    elif error.__cause__ is not None:
        yield from _leaves(error.__cause__)
    else:
        yield error
