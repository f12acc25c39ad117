"""The watchdog of one child: it has to say again and again that it is well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

OVERSLEPT: Final = 1.0
"""Seconds after which it was us who did not look in time."""


class Watchdog:
    """Counts from when the child is ready; what it says before that changes no more than the time.

    `seconds` is what it has, 0 for ever.

    Args:
        seconds: what it has been told that it has.
        hear: hears what the child has said by now and nobody has heard.
        changed: called with what the child has changed that to.
        hangs: called with the reason when it is to be given up.
    """

    def __init__(
        self,
        seconds: float,
        *,
        hear: Callable[[], None],
        changed: Callable[[float], None],
        hangs: Callable[[str], None],
    ) -> None:
        self.seconds = seconds
        self._hear, self._changed, self._hangs = hear, changed, hangs
        self._last = 0.0
        self._woken = trio.Event()
        self._known = False
        self._triggered = False

    # --- what the child says

    def fed(self) -> None:
        """Count anew."""
        self._last = trio.current_time()

    def set(self, seconds: float) -> None:
        """Count anew, to *seconds*."""
        self.seconds = seconds
        self.fed()
        self._changed(seconds)
        self._woken.set()

    def triggered(self) -> None:
        """Give it up, at once or as soon as it is known to run."""
        self._triggered = True
        if self._known:
            self._hangs("it said WATCHDOG=trigger")

    # --- what we do

    def begin(self) -> None:
        """The child runs."""
        self._known = True
        if self._triggered:
            self._hangs("it said WATCHDOG=trigger")

    async def watch(self) -> None:
        """The child is ready: return when it hangs, and that has been said."""
        self.fed()
        while True:
            due = self._last + self.seconds if self.seconds else float("inf")
            if trio.current_time() < due:
                self._woken = trio.Event()
                with trio.move_on_at(due):
                    await self._woken.wait()
                continue
            late = trio.current_time() > due + OVERSLEPT
            self._hear()
            if self._last + self.seconds > trio.current_time() or not self.seconds:
                continue
            if not late:
                self._hangs(f"it did not say WATCHDOG=1 for {self.seconds:g} s")
                return
            # We were held up, or stopped together with it: nobody can say what it would have said.
            self.fed()
