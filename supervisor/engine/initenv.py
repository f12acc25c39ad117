"""The environment that an init process gives to everything that it starts."""

from __future__ import annotations

from fnmatch import fnmatchcase

from msgspec.structs import replace

from supervisor.engine.world import World
from supervisor.model.effects import Effect, Probe, Spawn

COMPUTED = ("RUNLEVEL", "PREVLEVEL")
"""The variables that say what the runlevel is: nobody can set them."""

MOST_VARIABLES = 256
"""More would one day be too much for any program to be executed with."""


def environment(world: World) -> dict[str, str]:
    """Return the variables, those that are computed included. Source: pies.md section 6."""
    levels = {"RUNLEVEL": world.runlevel or "N", "PREVLEVEL": world.previous_runlevel}
    return {**world.environ, **levels}


def dressed(world: World, effect: Effect) -> Effect:
    """Return *effect*, and where it starts a process, with these variables for it.

    They count as if they had been in piesd's own environment: what the configuration lets through
    from there, and what it says itself, stays as it is.
    """
    if not isinstance(effect, Spawn | Probe):
        return effect
    base = effect.spec.env_base
    let_through = {
        name: value
        for name, value in environment(world).items()
        if _passes(name, value, base.keep, otherwise=not (base.clear or base.keep))
        and not _passes(name, value, base.unset, otherwise=False)
    }
    base = replace(base, set={**let_through, **base.set})
    return replace(effect, spec=replace(effect.spec, env_base=base))


def _passes(name: str, value: str, patterns: tuple[str, ...], *, otherwise: bool) -> bool:
    """Return whether one of *patterns* (`NAME`, or `NAME=VALUE`) fits, or *otherwise*."""
    for pattern in patterns:
        wanted, equals, exact = pattern.partition("=")
        if fnmatchcase(name, wanted) and (not equals or exact == value):
            return True
    return otherwise
