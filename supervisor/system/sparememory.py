"""Memory of our own for when the system has none for us.

Without it, one that is refused some pages cannot even take a signal: what lies under us allocates,
too, and can do nothing where it fails. Small things are allocated where there is room, and the C
library gives none back by itself; so room that we had once is ours for as long as it is.
"""

from __future__ import annotations

import ctypes
from typing import Final

SIZE: Final = 4 << 20
"""Bytes. No page of it is touched before it is needed."""

_PIECE: Final = 64 << 10
"""What is larger than 128 KiB would come from elsewhere, and return there."""
_TRIM_THRESHOLD: Final = -1  # Source: <malloc.h>.


def keep_spare_memory() -> None:
    """See that there is room. Where the C library is another than GNU's there is none."""
    try:
        libc = ctypes.CDLL(None)
        mallopt, allocate, free = libc.mallopt, libc.malloc, libc.free
    except (OSError, AttributeError):
        return
    allocate.restype, allocate.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    free.restype, free.argtypes = None, (ctypes.c_void_p,)
    mallopt(_TRIM_THRESHOLD, 2 * SIZE)
    pieces = [allocate(_PIECE) for _ in range(SIZE // _PIECE)]
    for piece in pieces:
        free(piece)
