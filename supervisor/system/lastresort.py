"""End the process even if a thread of it hangs in the kernel, as on a dead network mount."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


def exit_anyway(after: float, code: int, clean: Callable[[], None]) -> Callable[[], None]:
    """End the process with *code* in *after* seconds, having called *clean* from another thread.

    trio waits for its worker threads, and a write to a dead server never ends: without this,
    piesd would outlive everything it supervised.

    Returns:
        What calls it off.
    """

    def end() -> None:
        try:
            clean()
        finally:
            os._exit(code)

    timer = threading.Timer(after, end)
    timer.daemon = True
    timer.start()
    return timer.cancel
