"""One event to one machine: what every decision comes down to, and what follows at once."""

from __future__ import annotations

from msgspec.structs import replace

from supervisor.engine.initenv import dressed
from supervisor.engine.machine import IDLE, step
from supervisor.engine.notes import note_for
from supervisor.engine.world import Command, Connection, Link, World
from supervisor.model.component import Address, Key, Tag
from supervisor.model.effects import CommandEnded, Effect, Forget, LetGo, Level, Note, Spawn
from supervisor.model.errors import IllegalEvent
from supervisor.model.events import ComponentEvent, DeadlineReached, Start
from supervisor.model.state import Exit, Phase


class Core:
    """The world, the time, and the effects collected so far for the event that is being handled."""

    def __init__(self) -> None:
        self.world = World()
        self.now = 0.0
        self.effects: list[Effect] = []
        self.vacated: dict[Key, tuple[Address, ...]] = {}
        """The addresses that were given up while the event is handled."""

    def copy(self) -> Core:
        """Return a core that goes on from the same states and shares nothing that changes."""
        double = Core()
        double.world, double.now = self.world.copy(), self.now
        return double

    def begin(self, now: float) -> None:
        """Begin to handle an event at monotonic time *now*."""
        self.now, self.effects, self.vacated = now, [], {}
        self.world.changed.clear()

    def note(self, key: Key | None, kind: str, level: Level, text: str) -> None:
        """Collect something for people."""
        self.effects.append(Note(key, kind, level, text))

    def tell(self, key: Key, event: ComponentEvent) -> None:
        """Let the machine of *key* take *event*, and collect what follows.

        An event that is illegal (a bug of ours) becomes a note and changes nothing.
        """
        world = self.world
        old, spec = world.states[key], world.specs[key]
        try:
            new, effects = step(key, spec, old, event, self.now)
        except IllegalEvent as bug:
            self.note(key, "bug", "error", str(bug))
            return
        link = world.links.get(key)
        if world.init:
            effects = tuple(dressed(world, effect) for effect in effects)
        self.effects.extend(effects if link is None else _linked(effects, link))
        world.put(key, new)
        if link is None:
            if new.generation != old.generation:
                # A reload may change what is configured while this start is under way.
                world.occupy(key, spec.sockets)
            self._keep_places(key)
        note = note_for(key, spec, old, new, event, self.now)
        if note is not None:
            well = note.level == "info" and note.kind in ("started", "finished")
            if well and isinstance(link, Connection):
                # There may be thousands a second, and all that is to be told is that all is well.
                note = replace(note, level="debug")
            self.effects.append(note)
        # What belongs to a component runs once: what waits after it has run will not run again.
        served = link is not None and (new.phase is not Phase.WAITING or new.generation > 0)
        if not new.live and (new.removed or served):
            self.forget(key)

    def tell_deadlines(self) -> None:
        """Tell everybody whose deadline has come."""
        for key in self.world.due(self.now):
            if key in self.world.states:
                self.tell(key, DeadlineReached())

    def want(self, tag: Tag) -> None:
        """Make *tag* wanted because the configuration says so: that is nobody's wish."""
        wish = self.world.states[tag].wish
        self.tell(tag, Start())
        self.world.put(tag, replace(self.world.states[tag], wish=wish))

    def forget(self, key: Key) -> None:
        """Forget what is down for good; a listener only after its last connection."""
        world = self.world
        if world.connections.get(key):
            return
        link, last = world.links.get(key), world.states[key].last_exit
        if isinstance(link, Command):
            never = Exit(stage="stopped", message="was stopped before it began")
            self.effects.append(CommandEnded(key, last or never))
        world.forget(key)
        self.effects.append(Forget(key))
        if not isinstance(link, Connection):
            return
        listener = world.states.get(link.owner)
        if listener is None:
            return
        if last is not None and world.specs[link.owner].owned:
            # It has no entity of its own any more, and what became of it is worth knowing.
            if last.stage == IDLE:
                last = replace(last, message=f"{last.message}; the next connection starts it")
            listener = replace(listener, last_exit=last)
            world.put(link.owner, listener)
        self._keep_places(link.owner)
        world.dirty.add(link.owner)
        if listener.removed and not listener.live:
            self.forget(link.owner)

    def _keep_places(self, key: Key) -> None:
        """Note whose the addresses of a component are, now that something of it has changed."""
        world = self.world
        state, spec, held = world.states[key], world.specs[key], world.holdings.get(key)
        if held is None or state.phase is Phase.STARTING:
            return
        if state.listener:
            closed = state.phase is Phase.STOPPING or not state.live
            if closed and not (spec.owned and world.connections.get(key)):
                self.vacated[key] = world.vacate(key)
        elif not state.live and (state.phase is Phase.STOPPED or held != spec.sockets):
            # Until then they are kept for its next child, so that clients wait for that.
            self.effects.append(LetGo(key))
            self.vacated[key] = world.vacate(key)


def _linked(effects: tuple[Effect, ...], link: Link) -> list[Effect]:
    """Return *effects*; a child gets the connection, or the text, that it is there for."""
    connection = link.number if isinstance(link, Connection) else None
    text = link.text if isinstance(link, Command) else None
    return [
        replace(effect, connection=connection, text=text) if isinstance(effect, Spawn) else effect
        for effect in effects
    ]
