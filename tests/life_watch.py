"""Somebody who looks at the processes all the time, whatever else is done meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path

from lives import Sighting, doubles, sightings

PAUSE = 0.03


class Watch:
    """Looks from a thread of its own. What is wrong without any doubt is in `faults`."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.faults: list[str] = []
        self.looks = 0
        self.seen: set[tuple[int, int]] = set()
        """PID and start of every process there ever was."""
        self.down: dict[str, int] = {}
        """The components that are not to be started, and their generations so far."""
        self.latest: dict[str, int] = {}
        self.loose: frozenset[str] = frozenset()
        """Whose generations may begin anew, because they were removed."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def leave(self) -> None:
        self._over.set()
        self._thread.join()

    def forget_all_but(self, tags: Collection[str]) -> None:
        """Forget the generations of what is gone: what comes back begins anew."""
        self.latest = {key: number for key, number in self.latest.items() if key in tags}

    def _watch(self) -> None:
        while not self._over.wait(PAUSE):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - Whatever it is, it is told.
                self.faults.append(repr(error))

    def look(self) -> list[Sighting]:
        """Look once, and return what is there."""
        seen = sightings(self._home)
        for key, processes in doubles(seen).items():
            self.faults.append(f"{key} lives twice: {processes}")
        for one in seen:
            if one.serves:
                continue
            if one.generation > self.down.get(one.key, one.generation):
                self.faults.append(f"{one} was started, though it is not wanted")
            if one.generation < self.latest.get(one.key, 0) and one.key not in self.loose:
                self.faults.append(f"{one}: there was {self.latest[one.key]} before")
            self.latest[one.key] = one.generation
        self.seen.update((one.pid, one.started) for one in seen)
        self.looks += 1
        return seen
