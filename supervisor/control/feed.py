"""The numbered event feed: what happened, kept for a while, to be read from any number on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import trio
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from supervisor.engine.describe import rfc3339, status_of

if TYPE_CHECKING:
    from supervisor.control.access import View
    from supervisor.model.component import Component, Key, Tag
    from supervisor.model.effects import Note
    from supervisor.model.state import State, Status
    from supervisor.runtime.runner import Runner

KEPT = 10_000
"""Events that are kept for those who come back."""

BATCH = 500
"""Events handed out at once, so that somebody who reads ten thousand holds up nobody."""


_EACH = 1000
"""Numbers for each millisecond, where numbers are moments. They stay below 2**53."""

_SHORT = {
    "reloaded": "the configuration was reloaded",
    "reload-rejected": "the configuration was not reloaded: it has problems",
}
"""What of piesd as a whole is told to those who may not see everything."""


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


class Entry(Struct, frozen=True, gc=False):
    """What is kept of an event: most are never read, so that making one has to be cheap.

    `at` is Unix time, `spec` is what the component was then. `status` is None where there was
    nothing that has one.
    """

    number: int
    revision: int
    at: float
    moment: int
    kind: str
    level: str
    text: str
    key: Key | None
    status: Status | None
    active: bool
    pid: int | None
    spec: Component | None

    @property
    def tag(self) -> Tag:
        """The component that it is about, empty for piesd as a whole."""
        return (self.key or "").partition("#")[0]

    @property
    def event(self) -> Event:
        """The event as it is told."""
        tag, _, connection = (self.key or "").partition("#")
        known = self.status is not None
        return Event(
            number=self.number,
            revision=self.revision,
            at=rfc3339(self.at),
            kind=self.kind,
            level=self.level,
            text=self.text,
            tag=tag or UNSET,
            connection=int(connection) if connection.isdigit() else UNSET,
            status=self.status.value if self.status is not None else UNSET,
            active=self.active if known else UNSET,
            pid=UNSET if self.pid is None else self.pid,
        )


class Feed:
    """The latest events. Nobody who reads is ever waited for: readers come and take.

    Numbers go on from the clock's milliseconds at the start, not from 1, so that somebody who comes
    back to a piesd that was started anew meets a gap and not other events of the same numbers.
    """

    def __init__(self, runner: Runner, kept: int = KEPT) -> None:
        self._runner = runner
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._specs: dict[Tag, Component] = {}
        """The latest specification of each component, until its end was told."""
        self._shown: dict[Key, tuple[Status, bool]] = {}
        self._readers = trio.lowlevel.ParkingLot()
        self._closed = False
        self.dropped = self._moment = self.now()
        """Until when events are not kept."""
        self.newest = self._moment
        """The number of the latest event; of none, as long as there is none."""
        runner.observe(self._observed)

    @property
    def oldest(self) -> int:
        """The number of the oldest event that is kept, or of the next if none is."""
        return self.newest - len(self._entries) + 1

    def say(self, kind: str, level: str, text: str) -> None:
        """Add an event about piesd as a whole."""
        self._add(kind, level, text, None)
        self._readers.unpark_all()

    def close(self) -> None:
        """Nothing more will come: readers get what is left and then their end."""
        self._closed = True
        self._readers.unpark_all()

    def cursor(self, since: int | None, view: Callable[[], View] | None = None) -> Cursor:
        """Return a reader of the events after number *since*.

        None stands for the newest: only what is yet to come. 0 stands for everything that is kept.
        *view* returns what the reader may see, whenever it is asked; without, that is everything.
        """
        if view is None or view().caller.trusted:
            return Cursor(self, since, view)
        return VeiledCursor(self, since, view)

    def after(self, number: int, most: int) -> list[Entry]:
        """Return what is kept after *number*, at most *most* of it."""
        start = max(number - self.oldest + 1, 0)
        return list(islice(self._entries, start, start + most))

    def is_known(self, tag: str) -> bool:
        """Return whether there is such a component now."""
        return tag in self._runner.engine.world.specs

    def gap(self, number: int, text: str) -> Event:
        """Return an event that says that others are missing; those that follow come after it."""
        return Event(
            number=number,
            revision=self._runner.engine.revision,
            at=rfc3339(self._runner.system.wall()),
            kind="gap",
            level="warning",
            text=text,
        )

    def now(self) -> int:
        """Return the moment, as entries have it."""
        return int(self._runner.system.wall() * 1000)

    async def wait(self) -> bool:
        """Wait for something new; return False at the end. Who gives up may just be cancelled."""
        if self._closed:
            return False
        await self._readers.park()
        return True

    def _observed(self, _: int, changed: frozenset[Key], notes: Sequence[Note]) -> None:
        for note in notes:
            self._add(note.kind, note.level, note.text, note.key)
        told = {note.key for note in notes}
        world = self._runner.engine.world
        for key in changed if len(changed) < 2 else sorted(changed, key=world.position):
            state = world.states.get(key)
            now = None if state is None else _public(state)
            if "#" not in key and key in world.specs:
                self._specs[key] = world.specs[key]
            if now == self._shown.get(key):
                continue
            if now is None:
                del self._shown[key]
                if key not in told:
                    self._add("forgotten", "debug", f"{key!r} is not there any more", key)
                self._specs.pop(key, None)
            else:
                self._shown[key] = now
                if key not in told:
                    self._add("changed", "debug", f"{key!r} is {now[0]}", key)
        if self._readers and (notes or changed):
            self._readers.unpark_all()

    def _add(self, kind: str, level: str, text: str, key: Key | None) -> None:
        self.newest += 1
        at = self._runner.system.wall()
        self._moment = max(self._moment, int(at * 1000))
        engine = self._runner.engine
        state = spec = None
        if key is not None:
            state = engine.world.states.get(key)
            spec = self._specs.get(key.partition("#")[0])
        status, active, pid = (None, False, None) if state is None else (*_public(state), state.pid)
        if len(self._entries) == self._entries.maxlen:
            self.dropped = self._entries[0].moment
        self._entries.append(
            Entry(
                self.newest,
                engine.revision,
                at,
                self._moment,
                kind,
                level,
                text,
                key,
                status,
                active,
                pid,
                spec,
            )
        )


class Cursor:
    """A place in the feed, moved forward by reading. Safe to cancel at any time."""

    def __init__(self, feed: Feed, since: int | None, view: Callable[[], View] | None) -> None:
        self._feed, self._view = feed, view
        self._position = feed.newest
        """The number of the last entry that was looked at."""
        if since is not None:
            self._position = feed.oldest - 1 if since == 0 else since

    def take(self, most: int = BATCH) -> list[Event]:
        """Return what is there after the last event taken, maybe nothing; never waits."""
        events = self._gap()
        view = None if self._view is None else self._view()
        while entries := self._feed.after(self._position, most):
            self._position = entries[-1].number
            events += self._seen(entries, view)
            if events:
                break
        return events

    async def next(self) -> list[Event]:
        """Wait until there is something and return it; an empty list is the end."""
        while True:
            await trio.lowlevel.checkpoint()
            if events := self.take():
                return events
            if not await self._feed.wait():
                return []

    def _gap(self) -> list[Event]:
        """Say if events are missing between the last one and those that are kept."""
        number, feed = self._position, self._feed
        oldest = feed.oldest
        if oldest - 1 <= number <= feed.newest:
            return []
        self._position = oldest - 1
        if number > feed.newest:
            text = f"no event has number {number}: piesd was started anew; what is kept follows"
        else:
            text = f"the events after {number} and before {oldest} are not kept any more"
        return [feed.gap(oldest - 1, text)]

    def _seen(self, entries: Sequence[Entry], view: View | None) -> list[Event]:
        if view is None or not view.hidden:
            return [entry.event for entry in entries]
        return [
            replace(entry.event, text=view.text(entry.text))
            for entry in entries
            if _is_seen(self._feed, entry, view)
        ]


class VeiledCursor(Cursor):
    """The place of somebody from whom things may be hidden.

    Numbers in a row would tell how much has happened that is not shown. So an event has the number
    of its moment, or the next one after the event shown before; they are computed when they are
    asked for, from what is shown alone.
    """

    def __init__(self, feed: Feed, since: int | None, view: Callable[[], View]) -> None:
        super().__init__(feed, 0, view)
        self._number = 0
        """The number of the last event that was shown."""
        self._said = ""
        if since != 0:
            self._wind(since, view())

    def _wind(self, since: int | None, view: View) -> None:
        """Go to the place after number *since*; None: after all that there is."""
        feed = self._feed
        if since is not None and since < feed.dropped * _EACH:
            self._said = f"some events after {since} are not kept any more"
            return
        if since is not None and since > (feed.now() + 1) * _EACH + KEPT:
            self._said = f"no event has number {since}: piesd was started anew"
            return
        position = self._position
        for entry in feed.after(position, KEPT):
            if _is_seen(feed, entry, view):
                number = self._next(entry)
                if since is not None and number > since:
                    break
                self._number = number
            position = entry.number
        self._position = position
        self._number = max(self._number, since or 0)

    def _next(self, entry: Entry) -> int:
        return max(self._number + 1, entry.moment * _EACH)

    def _gap(self) -> list[Event]:
        if super()._gap():
            self._said = f"some events after {self._number} are not kept any more"
        if not self._said:
            return []
        said, self._said = self._said, ""
        return [replace(self._feed.gap(self._number, said), revision=self._number)]

    def _seen(self, entries: Sequence[Entry], view: View | None) -> list[Event]:
        events = []
        for entry in entries:
            if view is not None and _is_seen(self._feed, entry, view):
                self._number = number = self._next(entry)
                text = entry.text if entry.tag else _SHORT.get(entry.kind, entry.text)
                events.append(
                    replace(entry.event, number=number, revision=number, text=view.text(text))
                )
        return events


def _is_seen(feed: Feed, entry: Entry, view: View) -> bool:
    tag = entry.tag
    if not tag:
        return True
    if feed.is_known(tag):
        return view.sees(tag)
    return view.caller.trusted if entry.spec is None else view.would_see(entry.spec)


def _public(state: State) -> tuple[Status, bool]:
    return status_of(state.phase), state.wanted
