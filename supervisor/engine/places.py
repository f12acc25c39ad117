"""Whose sockets stay open from one owner to the next, so that no client is refused meanwhile."""

from __future__ import annotations

from copy import copy

from msgspec.structs import replace

from supervisor.engine.core import Core
from supervisor.engine.world import GOING_DOWN
from supervisor.model.component import Address, Key, Tag
from supervisor.model.effects import Effect, GiveUp, LetGo, Listen, Unlisten
from supervisor.model.events import Apply, EngineEvent, Happened, Listening, Spawned

_TAKING_UP = frozenset({Listening, Spawned})
_CLOSING: frozenset[type[Effect]] = frozenset({Unlisten, LetGo})


class Places:
    """Decides which sockets are put aside when they close, and which of those are given up."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._kept: set[Address] = set()
        """Where a socket is put aside, as far as nobody has said that it has taken that up."""

    def copy(self, core: Core) -> Places:
        """Return one in the same state for *core*."""
        double = copy(self)
        double._core, double._kept = core, set(self._kept)  # noqa: SLF001 - It is one of us.
        return double

    def settle(self, event: EngineEvent) -> None:
        """Complete the effects of *event*, after all else that follows from it."""
        if self._kept and isinstance(event, Happened) and type(event.event) in _TAKING_UP:
            # Not those of its specification: the child may be of the one before.
            self._kept.difference_update(self._core.world.holdings.get(event.key, ()))
        self._close_before_opening()
        if self._kept and (isinstance(event, Apply) or self._somebody_stays_down()):
            self._give_up()

    def _close_before_opening(self) -> None:
        """Put listeners that open last: one that closes may free the address that they need."""
        effects = self._core.effects
        if _CLOSING.isdisjoint(map(type, effects)):
            return
        closed = {effect.key for effect in effects if isinstance(effect, Unlisten | LetGo)}
        for number, effect in enumerate(effects):
            if isinstance(effect, Unlisten | LetGo):
                keep = self._needed_again(effect.key)
                self._kept |= keep
                effects[number] = replace(effect, keep=keep)
        effects.sort(key=lambda effect: isinstance(effect, Listen) and effect.key not in closed)

    def _give_up(self) -> None:
        """Close what is put aside where nobody is going to listen any more."""
        stale = frozenset(address for address in self._kept if not self._is_needed(address))
        if stale:
            self._kept -= stale
            self._core.effects.append(GiveUp(stale))

    def _somebody_stays_down(self) -> bool:
        """Return whether what has changed leaves somebody down who was to come by himself."""
        world = self._core.world
        return world.stage in GOING_DOWN or any(
            key not in world.states or not world.states[key].wanted or world.states[key].removed
            for key in world.changed
        )

    def _needed_again(self, key: Key) -> frozenset[Address]:
        """Return the addresses of *key*, which closes, where somebody is going to listen again."""
        world = self._core.world
        closing = self._core.vacated.get(key) or world.holdings.get(key, ())
        return frozenset(address for address in closing if self._is_needed(address))

    def _is_needed(self, address: Address) -> bool:
        """Return whether somebody is going to listen there without anybody doing anything."""
        world = self._core.world
        return world.stage not in GOING_DOWN and any(
            self._comes_by_itself(tag) and address in world.specs[tag].sockets
            for tag in world.claims.get(address.url, ())
        )

    def _comes_by_itself(self, tag: Tag) -> bool:
        """Return whether nobody has to do anything for *tag* to be up."""
        states = self._core.world.states
        return all(
            each in states and states[each].wanted and not states[each].removed
            for each in (tag, *self._core.world.graph.all_prerequisites(tag))
        )
