"""Why something does not run as far as runlevels and the boot are the reason."""

from __future__ import annotations

from itertools import islice

from supervisor.engine.modes import ALARMED, APART, BOOTING, ON_DEMAND
from supervisor.engine.world import World
from supervisor.model.component import Key, Mode, Tag
from supervisor.model.state import Block, Phase

NAMED = 5
"""How many are named in a sentence."""

GIVEN_UP = 3
"""Rounds of SIGKILL after which a change of the runlevel waits no longer for what leaves it."""

_WHEN = {
    Mode.CTRLALTDEL: "when Ctrl-Alt-Del is pressed",
    Mode.KBREQUEST: "when its key is pressed",
    Mode.POWERFAIL: "when the power fails",
    Mode.POWERWAIT: "when the power fails",
    Mode.POWERFAILNOW: "when the battery is nearly empty",
    Mode.POWEROKWAIT: "when the power is back",
}


def only_when_called(world: World, key: Key) -> Block | None:
    """Its mode says for what it is there, and that has not happened."""
    state, spec = world.states[key], world.specs[key]
    if state.wanted or state.wish is not None or not spec.enabled:
        return None
    if spec.mode in BOOTING:
        return Block(type="mode", message="it runs when the machine boots")
    if spec.mode is Mode.ONDEMAND:
        levels = " or ".join(level for level in spec.runlevels or ON_DEMAND if level in ON_DEMAND)
        return Block(type="mode", message=f"it runs on demand: runlevel {levels} asks for it")
    if spec.mode in ALARMED:
        return Block(type="mode", message=f"it runs {_WHEN[spec.mode]}")
    return None


def boot_first(world: World, key: Key) -> Block | None:
    """The machine is still booting."""
    mode = world.specs[key].mode
    if not world.boot_state or mode in APART or not world.is_component(key):
        return None
    if boot_allows(world, mode):
        return None
    if world.boot_state == "single":
        return Block(type="boot", message="it runs when the machine has left single-user mode")
    first = Mode.SYSINIT if world.boot_state == "sysinit" else Mode.BOOTWAIT
    tags = tuple(tag for tag in world.waited if world.specs[tag].mode is first)
    tags = tuple(tag for tag in tags if awaited(world, tag))
    return Block(
        type="boot", message=f"{first} components come first{_named(tags, len(tags))}", tags=tags
    )


def boot_allows(world: World, mode: Mode) -> bool:
    """Return whether components of *mode* may run in the present state of the boot."""
    match world.boot_state:
        case "sysinit":
            return mode is Mode.SYSINIT
        case "boot":
            return mode in BOOTING
        case "single":
            return mode not in (Mode.BOOT, Mode.BOOTWAIT) or world.booted
        case _:
            return True


def outside_runlevel(world: World, key: Key) -> Block | None:
    """It does not belong to the runlevel."""
    if not world.outside(key):
        return None
    spec = world.specs[key]
    if spec.mode is Mode.ONDEMAND:
        message = "it runs on demand in every runlevel but S"
    else:
        message = f"it belongs to {levels_in_words(spec.runlevels)}"
    return Block(type="runlevel", message=f"{message}, the runlevel is {world.runlevel}")


def levels_in_words(levels: str | None) -> str:
    """Return *levels* to stand in a sentence."""
    if levels is None:
        return "all runlevels"
    return f"runlevel{'s' if len(levels) > 1 else ''} {levels}" if levels else "no runlevel"


def wait_first(world: World, key: Key) -> Block | None:
    """Something that stands before it, and that is waited for, has not ended."""
    if not world.waited or not _takes_its_turn(world, key):
        return None
    place = world.graph.index.get(key, len(world.graph.index))
    for tag in world.waited:
        if world.graph.index[tag] >= place:
            return None
        if awaited(world, tag):
            message = f"{tag} comes first: its mode is {world.specs[tag].mode}"
            return Block(type="wait", message=message, tags=(tag,))
    return None


def awaited(world: World, tag: Tag) -> bool:
    """Return whether *tag*, whose end is waited for, runs or is about to."""
    state = world.states.get(tag)
    if state is None or world.outside(tag) or not boot_allows(world, world.specs[tag].mode):
        return False
    if state.phase is Phase.WAITING:
        return state.wanted and not world.unmet.get(tag, 0) and not world.is_full(tag)
    return state.live


def level_change(world: World, key: Key) -> Block | None:
    """What does not belong to the new runlevel goes down first."""
    if not world.leaving or not _takes_its_turn(world, key):
        return None
    tags = tuple(islice((tag for tag in world.leaving if is_leaving(world, tag)), NAMED))
    if not tags:
        return None
    more = _named(tags, len(world.leaving))
    message = f"what leaves runlevel {world.previous_runlevel} stops first{more}"
    return Block(type="runlevel-change", message=message, tags=tags)


def is_leaving(world: World, tag: Tag) -> bool:
    """Return whether *tag* is on its way out of the runlevel, and may still get there."""
    state = world.states.get(tag)
    return state is not None and state.live and world.outside(tag) and state.kills < GIVEN_UP


def _takes_its_turn(world: World, key: Key) -> bool:
    """Return whether *key* waits for others: an alarm does not, as it may be about them."""
    mode = world.specs[key].mode
    return world.is_component(key) and mode not in APART and mode not in ALARMED


def _named(tags: tuple[Tag, ...], count: int) -> str:
    """Return the first of *tags*, of which there are *count*, to stand at the end of a sentence."""
    more = f" and {count - NAMED} more" if count > NAMED else ""
    return f": {', '.join(tags[:NAMED])}{more}" if tags else ""
