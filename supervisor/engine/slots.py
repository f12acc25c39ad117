"""How many components may be on their way up at once, and who is next.

On its way up is what is being started, or runs and is not ready yet. Whoever has waited longest is
next; those that wait since the same moment come in the order of the configuration.
"""

from __future__ import annotations

import heapq

from supervisor.model.component import Component, Key
from supervisor.model.state import Phase, State

Position = tuple[int, int, int]


def needs_slot(spec: Component) -> bool:
    """Return whether a start of *spec* costs more than the opening of a socket."""
    return not (spec.listens or spec.internal)


class Slots:
    """The slots, who has one, and who waits for one. `most` is 0 for any number."""

    def __init__(self) -> None:
        self.most = 0
        self.taken: dict[Key, None] = {}
        self._queue: list[tuple[float, Position, Key]] = []
        self._queued: dict[Key, float] = {}

    def copy(self) -> Slots:
        """Return the same, sharing nothing that changes."""
        double = Slots()
        double.most, double.taken = self.most, self.taken.copy()
        double._queue, double._queued = self._queue.copy(), self._queued.copy()
        return double

    @property
    def full(self) -> bool:
        """Whether nobody may start now."""
        return 0 < self.most <= len(self.taken)

    def count(self, key: Key, spec: Component, state: State) -> None:
        """Note whether the component *key* is on its way up.

        One that does not get there gives its slot back at its deadline, see `SLOT_HELD`.
        """
        rising = state.phase is Phase.STARTING or (state.phase is Phase.RUNNING and not state.ready)
        if rising and state.deadline is not None and needs_slot(spec):
            self.taken[key] = None
        else:
            self.taken.pop(key, None)

    def wait(self, key: Key, since: float, position: Position) -> None:
        """Let *key* wait for its turn."""
        if self._queued.get(key) != since:
            self._queued[key] = since
            heapq.heappush(self._queue, (since, position, key))

    def next(self) -> Key | None:
        """Return who may start now, and let it wait no more; None if nobody may."""
        while self._queue and not self.full:
            since, _, key = heapq.heappop(self._queue)
            if self._queued.get(key) == since:
                del self._queued[key]
                return key
        return None

    def clear(self) -> None:
        """Forget who has a slot and who waits."""
        self.taken, self._queue, self._queued = {}, [], {}

    def forget(self, key: Key) -> None:
        """Forget *key*."""
        self.taken.pop(key, None)
        self._queued.pop(key, None)
