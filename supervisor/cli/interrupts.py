"""What Ctrl-C does to piesctl.

Python raises KeyboardInterrupt between two of its own steps. A signal that arrives just before a
long wait in the kernel is therefore noticed after that wait, which may be an hour. So piesctl dies
of SIGINT as a C program does, except where a terminal must be given back: there it waits in short
turns.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TURN = 0.3
"""Seconds of the longest wait within `tidily`."""


def die_at_once() -> None:
    """From now on SIGINT ends the process, unless it was started with that signal ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def tidily() -> Iterator[None]:
    """Have KeyboardInterrupt raised inside, for what must not be left as it is."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
