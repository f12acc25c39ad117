"""Which descriptors are not for components, so that orders are still taken when all others are."""

from __future__ import annotations

import errno
import os
import resource
import sys
from typing import Final

_RESERVED: Final = 32
"""Descriptors that no component gets, so that orders are still taken when a thousand of them have
used up all others."""


def first_reserved(*, parts: int = 1) -> int:
    """Return the number from which on descriptors are not for components.

    Args:
        parts: how many times as many as usual are to be left.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    return limit - parts * min(_RESERVED, limit // 4)


def not_reserved(*descriptors: int) -> None:
    """Close *descriptors* and raise if one of them is not for components.

    Raises:
        OSError: EMFILE, as if the limit were that much lower.
    """
    if max(descriptors) >= first_reserved():
        for fd in descriptors:
            os.close(fd)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
