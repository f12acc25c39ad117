"""What the runlevel makes of a reload: who leaves it, who enters it, and who stays outside.

The engine needs none of this: the rules see to it when the components have changed. It is for
people who ask what a reload does, or has done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from supervisor.engine.levelgates import levels_in_words
from supervisor.engine.modes import belongs
from supervisor.engine.plan import Change, with_dependents
from supervisor.engine.world import World
from supervisor.model.component import Component, Tag


def in_the_level(
    world: World, changes: Iterable[Change], new: Mapping[Tag, Component], configured: str
) -> tuple[Change, ...]:
    """Return *changes* as the runlevel has them.

    Args:
        world: as it is before the reload.
        changes: what the reload means without runlevels.
        new: the components that it leads to.
        configured: the first runlevel, as it is configured then.
    """
    if world.runlevel == "N" or world.boot_state == "boot":
        return tuple(changes)
    kept = world.init or (world.runlevel and configured)
    level = world.runlevel if kept else configured
    return tuple(
        _in_the_level(world, change, new[change.tag], level) if change.tag in new else change
        for change in changes
    )


def _in_the_level(world: World, change: Change, spec: Component, level: str) -> Change:
    tag, state = spec.tag, world.states.get(spec.tag)
    same = level == world.runlevel
    if same and (tag in world.by_hand or (change.action == "none" and state is not None)):
        return change
    if level and not belongs(spec, level):
        where = f"it belongs to {levels_in_words(spec.runlevels)}, the runlevel is {level}"
        if state is not None and state.live:
            stops = replace(change, action="stop", because=where)
            return with_dependents(stops, world.graph, world.is_kept)
        quiet = state is None or change.action == "none"
        return replace(change, action="none" if quiet else "live", because=where)
    if state is not None and state.wanted and not state.live and world.outside(tag):
        now = f"it belongs to runlevel {level} now" if level else "there are no runlevels any more"
        return replace(change, action="start", because=now)
    return change
