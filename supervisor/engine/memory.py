"""What must be known to go on where another piesd stopped, as one value.

Times in it are those of the engine that is to go on: whoever kept it translates them.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from supervisor.engine.world import Link, World
from supervisor.model.component import Address, Component, Key, Tag
from supervisor.model.state import Excuse, Stage, State


class Memo(Struct, frozen=True, kw_only=True):
    """What is known of one entity. `held` are the addresses that it has, or kept for its child."""

    key: Key
    spec: Component
    state: State
    link: Link | None = None
    held: tuple[Address, ...] = ()


class General(Struct, frozen=True, kw_only=True):
    """What is known beside the entities; the fields are those of `World` with these names.

    `max_starting` belongs to its slots.

    `first` is the runlevel that is entered when the boot is over, where somebody has named one.
    """

    stage: Stage = Stage.NEW
    commands_ever: int = 0
    runlevel: str = ""
    previous_runlevel: str = "N"
    boot_state: str = ""
    initdefault: str = ""
    booted: bool = False
    max_starting: int = 0
    by_hand: frozenset[Tag] = frozenset()
    leaving: tuple[Tag, ...] = ()
    first: str = ""


class Memory(Struct, frozen=True, kw_only=True):
    """Everything: in the order of the configuration, what belongs to a component behind all."""

    general: General
    memos: tuple[Memo, ...] = ()


def memo(world: World, key: Key) -> Memo:
    """Return what is to be known of *key*."""
    return Memo(
        key=key,
        spec=world.specs[key],
        state=world.states[key],
        link=world.links.get(key),
        held=world.holdings.get(key, ()),
    )


def general(world: World, first: str) -> General:
    """Return what is to be known beside the entities."""
    return General(
        stage=world.stage,
        commands_ever=world.commands_ever,
        runlevel=world.runlevel,
        previous_runlevel=world.previous_runlevel,
        boot_state=world.boot_state,
        initdefault=world.initdefault,
        booted=world.booted,
        max_starting=world.slots.most,
        by_hand=frozenset(world.by_hand),
        leaving=tuple(world.leaving),
        first=first,
    )


def shifted(state: State, by: float) -> State:
    """Return *state* with its times on a clock that shows *by* seconds more."""
    return replace(
        state,
        deadline=None if state.deadline is None else state.deadline + by,
        since=state.since + by,
        born=state.born + by,
        starts=_shifted(state.starts, by),
        excuse=None if state.excuse is None else _later(state.excuse, by),
        minute=state.minute + by,
    )


def _later(excuse: Excuse, by: float) -> Excuse:
    return replace(excuse, at=excuse.at + by, starts=_shifted(excuse.starts, by))


def _shifted(times: tuple[float, ...], by: float) -> tuple[float, ...]:
    return tuple(time + by for time in times)


def recall(world: World, memory: Memory) -> None:
    """Let *world*, in which nothing is configured, be as *memory* says. No rule is applied."""
    known = memory.general
    for name in General.__struct_fields__:
        if name not in ("by_hand", "leaving", "first", "max_starting"):
            setattr(world, name, getattr(known, name))
    # One that was killed while it brought everything down is followed by one that is to run.
    world.stage = Stage.NORMAL if known.stage not in (Stage.NEW, Stage.STARTUP) else known.stage
    world.slots.most = known.max_starting
    world.by_hand = set(known.by_hand)
    world.leaving = dict.fromkeys(known.leaving)
    for each in memory.memos:
        world.specs[each.key], world.states[each.key] = each.spec, each.state
        world.changed.add(each.key)
        if each.link is not None:
            world.link(each.key, each.link)
        if each.held:
            world.occupy(each.key, each.held)
    world.rebuild()
    world.expect_deadlines()
