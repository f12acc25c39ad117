"""The numbered event feed: what happened, kept for a while, to be read from any number on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import trio
from msgspec import UNSET, Struct, UnsetType

from supervisor.engine.describe import rfc3339, status_of

if TYPE_CHECKING:
    from supervisor.model.component import Key
    from supervisor.model.effects import Note
    from supervisor.model.state import State
    from supervisor.runtime.runner import Runner

KEPT = 10_000
"""Events that are kept for those who come back."""

BATCH = 500
"""Events handed out at once, so that somebody who reads ten thousand holds up nobody."""


class Event(Struct, frozen=True, kw_only=True):
    """One thing that happened. `kind` is stable for scripts, `text` is for people.

    `status` and `active` are those after the event, of the component `tag`; an event without a tag
    is about piesd as a whole. The kind `gap` says that events were missed.
    """

    number: int
    revision: int
    at: str
    kind: str
    level: str
    text: str
    tag: str | UnsetType = UNSET
    connection: int | UnsetType = UNSET
    status: str | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    pid: int | UnsetType = UNSET


class Feed:
    """The latest events. Nobody who reads is ever waited for: readers come and take.

    Numbers go on from the clock's milliseconds at the start, not from 1, so that somebody who comes
    back to a piesd that was started anew meets a gap and not other events of the same numbers.
    """

    def __init__(self, runner: Runner, kept: int = KEPT) -> None:
        self._runner = runner
        self._events: deque[Event] = deque(maxlen=kept)
        self._shown: dict[Key, tuple[str, bool]] = {}
        self._readers = trio.lowlevel.ParkingLot()
        self._closed = False
        self.newest = int(runner.system.wall() * 1000)
        """The number of the latest event; of none, as long as there is none."""
        runner.observe(self._observed)

    @property
    def oldest(self) -> int:
        """The number of the oldest event that is kept, or of the next if none is."""
        return self.newest - len(self._events) + 1

    def say(self, kind: str, level: str, text: str) -> None:
        """Add an event about piesd as a whole."""
        self._add(kind, level, text, None)
        self._readers.unpark_all()

    def close(self) -> None:
        """Nothing more will come: readers get what is left and then their end."""
        self._closed = True
        self._readers.unpark_all()

    def cursor(self, since: int | None) -> Cursor:
        """Return a reader of the events after number *since*.

        None stands for the newest: only what is yet to come. 0 stands for everything that is kept.
        """
        if since is None:
            return Cursor(self, self.newest)
        return Cursor(self, self.oldest - 1 if since == 0 else since)

    def after(self, number: int, most: int) -> list[Event]:
        """Return the events after *number*, at most *most* of them, a gap said aloud."""
        oldest = self.oldest
        if number > self.newest:
            text = f"no event has number {number}: piesd was started anew; what is kept follows"
            return [self._gap(oldest - 1, text), *islice(self._events, 0, most)]
        if number < oldest - 1:
            text = f"the events after {number} and before {oldest} are not kept any more"
            return [self._gap(oldest - 1, text), *islice(self._events, 0, most)]
        start = number - oldest + 1
        return list(islice(self._events, start, start + most))

    async def wait(self) -> bool:
        """Wait for something new; return False at the end. Who gives up may just be cancelled."""
        if self._closed:
            return False
        await self._readers.park()
        return True

    def _gap(self, number: int, text: str) -> Event:
        return Event(
            number=number,
            revision=self._runner.engine.revision,
            at=rfc3339(self._runner.system.wall()),
            kind="gap",
            level="warning",
            text=text,
        )

    def _observed(self, _: int, changed: frozenset[Key], notes: Sequence[Note]) -> None:
        told: set[Key] = set()
        for note in notes:
            self._add(note.kind, note.level, note.text, note.key)
            if note.key is not None:
                told.add(note.key)
        world = self._runner.engine.world
        for key in sorted(changed, key=world.position):
            state = world.states.get(key)
            now = None if state is None else _public(state)
            if now == self._shown.get(key):
                continue
            if now is None:
                del self._shown[key]
                if key not in told:
                    self._add("forgotten", "debug", f"{key!r} is not there any more", key)
            else:
                self._shown[key] = now
                if key not in told:
                    self._add("changed", "debug", f"{key!r} is {now[0]}", key)
        if notes or changed:
            self._readers.unpark_all()

    def _add(self, kind: str, level: str, text: str, key: Key | None) -> None:
        self.newest += 1
        state = None if key is None else self._runner.engine.world.states.get(key)
        tag, _, connection = (key or "").partition("#")
        status, active = (UNSET, UNSET) if state is None else _public(state)
        event = Event(
            number=self.newest,
            revision=self._runner.engine.revision,
            at=rfc3339(self._runner.system.wall()),
            kind=kind,
            level=level,
            text=text,
            tag=tag or UNSET,
            connection=int(connection) if connection else UNSET,
            status=status,
            active=active,
            pid=UNSET if state is None or state.pid is None else state.pid,
        )
        self._events.append(event)


class Cursor:
    """A place in the feed, moved forward by reading. Safe to cancel at any time."""

    def __init__(self, feed: Feed, number: int) -> None:
        self._feed, self._number = feed, number

    def take(self, most: int = BATCH) -> list[Event]:
        """Return what is there after the last event taken, maybe nothing; never waits."""
        events = self._feed.after(self._number, most)
        if events:
            self._number = events[-1].number
        return events

    async def next(self) -> list[Event]:
        """Wait until there is something and return it; an empty list is the end."""
        while True:
            await trio.lowlevel.checkpoint()
            if events := self.take():
                return events
            if not await self._feed.wait():
                return []


def _public(state: State) -> tuple[str, bool]:
    return status_of(state.phase).value, state.wanted
