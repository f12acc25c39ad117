"""What an order would do: the same engine, run against an operating system that obeys at once."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from supervisor.engine.engine import Engine
from supervisor.engine.world import World
from supervisor.model.component import Key
from supervisor.model.effects import Effect, Listen, Probe, Signal, Spawn, Unlisten
from supervisor.model.events import (
    ComponentEvent,
    EngineEvent,
    Exited,
    Happened,
    ListenerClosed,
    Listening,
    Order,
    Ready,
    Spawned,
    Tested,
)
from supervisor.model.state import Exit

_MOST_EVENTS = 100_000
"""More than any order causes; a rule that went in circles would end here and not hang."""


class Rehearsed(Struct, frozen=True):
    """One thing that would be done: `start`, `stop` or `signal`, to whom, and why."""

    tag: str
    action: str
    because: str


def rehearse(double: Engine, order: Order, now: float) -> tuple[Rehearsed, ...]:
    """Return what *order* would do now, in the order in which it would be done.

    The engine is told that every child starts, becomes ready, and ends as soon as it is asked to.
    Modes that end by themselves are taken as running on, start conditions as fulfilled.

    Args:
        double: a copy (`Engine.copy`), used up by this. As it shares nothing that changes with
            the original, this may run in a worker thread.
    """
    steps: list[Rehearsed] = []
    pending: deque[EngineEvent] = deque([order])
    for _ in range(_MOST_EVENTS):
        if not pending:
            break
        for effect in double.handle(pending.popleft(), now):
            done = _step(double.world, order, effect)
            if done is not None:
                steps.append(done)
            if order.action != "signal":
                pending.extend(_obedient(effect))
    return tuple(steps)


def _step(world: World, order: Order, effect: Effect) -> Rehearsed | None:
    match effect:
        case Spawn(key) | Listen(key):
            return Rehearsed(_tag(world, key), "start", _because(order, key))
        case Signal(_, _, signal.SIGCONT, _) if order.action != "signal":
            return None  # It goes with the stop signal.
        case Signal(key, _, _, "group" | "leader") if order.action != "signal":
            return Rehearsed(_tag(world, key), "stop", _because(order, key))
        case Signal(key, _, signum):
            return Rehearsed(_tag(world, key), "signal", f"signal {signum} was asked for")
        case Unlisten(key):
            return Rehearsed(_tag(world, key), "stop", _because(order, key))
        case _:
            return None


def _tag(world: World, key: Key) -> str:
    link = world.links.get(key)
    return link.owner if link else key


def _because(order: Order, key: Key) -> str:
    if key in order.keys:
        return f"a {order.action} was asked for"
    return f"the {order.action} of {_short(order.keys)} needs it"


def _short(keys: Iterable[Key]) -> str:
    names = sorted({key.split("#")[0] for key in keys})
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _obedient(effect: Effect) -> list[EngineEvent]:
    """Return what an operating system that does everything at once would report."""
    events: tuple[ComponentEvent, ...]
    match effect:
        case Probe(key, generation):
            events = (Tested(generation),)
        case Spawn(key, generation):
            events = (Spawned(generation, 1), Ready(generation))
        case Listen(key, generation):
            events = (Listening(generation),)
        case Unlisten(key, generation):
            events = (ListenerClosed(generation),)
        case Signal(_, _, signal.SIGCONT, _):
            return []
        case Signal(key, generation, signum, "group" | "leader"):
            events = (Exited(generation, Exit(signal=signum, message="was stopped")),)
        case _:
            return []
    return [Happened(key, event) for event in events]
