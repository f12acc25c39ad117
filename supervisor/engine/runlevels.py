"""The life of the machine: its boot, its runlevels, and what happens to it.

What is wanted stays what people and the configuration want; the runlevel decides, like a
prerequisite, whether it may run. See docs/decisions/0007-runlevels.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy

from msgspec.structs import replace

from supervisor.engine.core import Core
from supervisor.engine.initenv import MOST_VARIABLES
from supervisor.engine.levelgates import awaited, is_leaving
from supervisor.engine.modes import (
    ALARMED,
    ALARMS,
    APART,
    BOOTING,
    CALLED,
    LEVELS,
    ON_DEMAND,
    ONE_RUN,
)
from supervisor.engine.world import World
from supervisor.model.component import Component, Key, Mode, Tag
from supervisor.model.effects import Record
from supervisor.model.events import Alarm, Order, SetRunlevel, SetVariable, Stop
from supervisor.model.state import Phase, Stage

FALLBACK = "3"
"""The runlevel of an init process for which none is configured: multiuser, by custom."""

SINGLE = "S"
"""The runlevel of a single user."""


class Levels:
    """Boots the machine, changes its runlevel, and starts what is called for.

    Where no runlevel is configured, and piesd is no init process, it does nothing at all.
    """

    def __init__(
        self, core: Core, *, init: bool, runlevel: str, environment: Mapping[str, str]
    ) -> None:
        """Begin with a machine that has not booted.

        Args:
            init: whether piesd is the init process of this machine or container.
            runlevel: the first runlevel, where it is not the configured one.
            environment: variables for all components of an init process.
        """
        self._core = core
        self._first = runlevel
        self._awaited: frozenset[Tag] = frozenset()
        """Who was waited for when that was looked at last."""
        self._patience: float | None = None
        """How long what leaves may take, as whoever asked for the latest change says."""
        core.world.init = init
        core.world.environ = dict(environment)

    def copy(self, core: Core) -> Levels:
        """Return one in the same state for *core*."""
        double = copy(self)
        double._core = core  # noqa: SLF001 - It is one of us.
        return double

    @property
    def first(self) -> str:
        """The runlevel to be entered after the boot, where somebody has named one."""
        return self._first

    def recall(self, first: str) -> None:
        """Go on where another has stopped; the world is as it left it."""
        self._first = first
        world = self._core.world
        self._awaited = frozenset(tag for tag in world.waited if awaited(world, tag))

    # --- the configuration

    def configure(self, runlevel: str) -> None:
        """Take *runlevel* as the configured one; that is not a reason to change it now."""
        world = self._core.world
        world.initdefault = runlevel
        if world.init or world.stage not in (Stage.STARTUP, Stage.NORMAL):
            return
        if runlevel and not world.runlevel:
            world.booted = True
            self._enter(runlevel, "a reload")
        elif not runlevel and world.runlevel:
            world.runlevel, world.previous_runlevel, world.boot_state = "", "N", ""
            world.by_hand.clear()
            world.look_again()

    def begin(self) -> None:
        """Begin to boot, if that is what there is to do."""
        world = self._core.world
        if world.init or world.initdefault:
            world.runlevel, world.boot_state = "N", "sysinit"

    def by_itself(self, spec: Component) -> bool:
        """Return whether *spec* runs without being asked for when piesd starts."""
        if not spec.enabled or spec.mode is Mode.SHUTDOWN or spec.mode in CALLED:
            return False
        return spec.mode not in BOOTING or bool(self._core.world.boot_state)

    # --- what happens

    def asked(self, event: SetRunlevel) -> None:
        """Go over to another runlevel, or start what is on demand."""
        core, world = self._core, self._core.world
        level = event.level.upper() if event.level in ("s", "S") else event.level
        by = f", as {event.by} asks" if event.by else ""
        if reason := self._refusal(level):
            text = f"cannot go to runlevel {event.level!r}: {reason}"
            core.note(None, "runlevel-refused", "warning", text)
        elif level in ON_DEMAND:
            self._demand(level, by)
        elif world.boot_state in ("", "sysinit", "boot"):
            self._first = level
            core.note(None, "runlevel", "info", f"the first runlevel will be {level}{by}")
        elif level == world.runlevel:
            world.look_again()
            self._hasten(event.patience)
            core.note(None, "runlevel", "info", f"the runlevel is {level} already{by}")
        else:
            self._patience = event.patience
            self._go(level, by)
            self._hasten(event.patience)

    def patience(self, key: Key) -> float | None:
        """Return how long *key* may take to go down where a change of the level says so.

        That is for what leaves, and for what goes down because it needs what leaves.
        """
        world = self._core.world
        if not world.leaving:
            return None
        link = world.links.get(key)
        leaves = world.outside(link.owner if link else key) or bool(world.unmet.get(key, 0))
        return self._patience if leaves else None

    def _hasten(self, patience: float | None) -> None:
        """Let what is leaving already take no longer than *patience* from now on."""
        core, world = self._core, self._core.world
        if patience is None:
            return
        for tag in world.leaving:
            state = world.states[tag]
            # What was killed already is killed again when its own deadline says so.
            if state.phase is Phase.STOPPING and state.deadline is not None and not state.kills:
                due = min(state.deadline, core.now + patience)
                world.put(tag, replace(state, deadline=due))

    def _refusal(self, level: str) -> str:
        """Return why there is no going to *level*, if that is so."""
        world = self._core.world
        if len(level) != 1 or level not in LEVELS + ON_DEMAND:
            return "there is no such runlevel: it is one of 0 to 9, S, a, b and c"
        if world.stage in (Stage.STOPPING, Stage.LAST, Stage.ENDED):
            return "piesd is shutting down"
        if not (world.init or world.runlevel or world.initdefault):
            return "no runlevel is configured; 'runlevel' in [daemon] would be one"
        return ""

    def _demand(self, level: str, by: str) -> None:
        core, world = self._core, self._core.world
        tags = [
            tag
            for tag in self._components()
            if world.specs[tag].mode is Mode.ONDEMAND
            and world.specs[tag].enabled
            and level in (world.specs[tag].runlevels or "")
        ]
        what = f": {', '.join(map(repr, tags))}" if tags else ": there is nothing of the kind"
        core.note(None, "on-demand", "info", f"starting what is on demand {level}{what}{by}")
        for tag in tags:
            core.want(tag)

    def alarm(self, event: Alarm) -> None:
        """Run what is there for this case, even if it has run before."""
        core, world = self._core, self._core.world
        tags = [
            tag
            for tag in self._components()
            if world.specs[tag].mode in ALARMS[event.kind] and not self._put_off(tag)
        ]
        going = world.stage in (Stage.STARTUP, Stage.NORMAL) and bool(world.runlevel)
        what = f"running {', '.join(map(repr, tags))}" if tags else "nothing is configured for it"
        if not going:
            what = "nothing is run for it now"
        core.note(None, "alarm", "info", f"{event.kind}: {what}")
        for tag in tags if going else ():
            core.want(tag)

    def _put_off(self, tag: Tag) -> bool:
        """Return whether people, or the configuration, do not want *tag* to run."""
        state, spec = self._core.world.states[tag], self._core.world.specs[tag]
        if state.wanted:
            return False
        return state.wish is not None or not spec.enabled

    def set_variable(self, event: SetVariable) -> None:
        """Change the environment of what an init process starts from now on."""
        environ = self._core.world.environ
        if event.value is None:
            environ.pop(event.name, None)
        elif event.name in environ or len(environ) < MOST_VARIABLES:
            environ[event.name] = event.value
        else:
            text = f"cannot set {event.name[:40]!r}: there are {MOST_VARIABLES} variables already"
            self._core.note(None, "variable-refused", "warning", text)

    def ordered(self, order: Order) -> None:
        """Let what people start run outside of its runlevels, until these change.

        With what they start goes what it needs.
        """
        world = self._core.world
        if not world.runlevel or order.action not in ("start", "restart"):
            return
        tags = {key for key in order.keys if key in world.states and world.is_component(key)}
        tags.update(*(world.graph.all_prerequisites(tag) for tag in tags))
        taken = {tag for tag in tags if tag in world.states and world.outside(tag)}
        if taken:
            world.by_hand |= taken
            world.look_again()

    # --- what follows

    def advance(self) -> bool:
        """Do what the state of the machine calls for; return whether something may start now."""
        world = self._core.world
        if world.stage is not Stage.NORMAL:
            return False
        moved = self._boot_on() if world.boot_state else False
        waited = before = self._awaited
        if world.waited or before:
            waited = self._awaited = frozenset(tag for tag in world.waited if awaited(world, tag))
        if before - waited or self._all_have_left():
            waiting = [key for key, state in world.states.items() if state.phase is Phase.WAITING]
            world.dirty.update(waiting)
            world.changed.update(waiting)
            return bool(waiting) or moved
        return moved

    def _all_have_left(self) -> bool:
        """Return whether the last of what leaves the runlevel has just gone."""
        world = self._core.world
        if not world.leaving:
            return False
        for tag in [tag for tag in world.changed if tag in world.leaving]:
            if not is_leaving(world, tag):
                del world.leaving[tag]
        return not world.leaving

    def _boot_on(self) -> bool:
        """Go on with the boot if its present state is over."""
        core, world = self._core, self._core.world
        match world.boot_state:
            case "sysinit" if not self._awaits(Mode.SYSINIT):
                if world.init:
                    core.effects.append(Record("boot"))
                if self._target() == SINGLE:
                    self._enter(SINGLE, "")
                else:
                    self._boot()
                return True
            case "boot" if not self._awaits(Mode.BOOTWAIT):
                level, self._first = self._target(), ""
                self._enter(level, "")
                return True
            case "single" if world.init and self._single_is_over():
                self._first = ""
                level = self._target()
                if level != SINGLE:
                    self._patience = None
                    self._go(level, ", as the single user has left")
                    return True
        return False

    def _target(self) -> str:
        """Return the runlevel to be entered after the boot."""
        return self._first or self._core.world.initdefault or FALLBACK

    def _awaits(self, mode: Mode) -> bool:
        world = self._core.world
        return any(world.specs[tag].mode is mode and awaited(world, tag) for tag in world.waited)

    def _single_is_over(self) -> bool:
        """Return whether what ran for the single user has ended, and nothing else is left."""
        world, done = self._core.world, False
        for tag in self._components():
            state, spec = world.states[tag], world.specs[tag]
            if spec.mode in BOOTING:
                continue
            if state.live or (state.phase is Phase.WAITING and not world.outside(tag)):
                return False
            own = spec.runlevels is not None and SINGLE in spec.runlevels
            done = done or (own and spec.mode in ONE_RUN and state.phase is Phase.FINISHED)
        return done

    def _go(self, level: str, by: str) -> None:
        """Go to *level*, by way of the boot if that was left out for a single user."""
        if level != SINGLE and not self._core.world.booted:
            self._first = level
            self._boot()
        else:
            self._enter(level, by)

    def _boot(self) -> None:
        world = self._core.world
        world.boot_state, world.booted = "boot", True
        self._leave()

    def _enter(self, level: str, by: str) -> None:
        core, world = self._core, self._core.world
        world.previous_runlevel, world.runlevel = world.runlevel or "N", level
        world.boot_state = "single" if level == SINGLE else "normal"
        was = "" if world.previous_runlevel == "N" else f" from {world.previous_runlevel}"
        core.note(None, "runlevel", "info", f"entering runlevel {level}{was}{by}")
        if world.init:
            core.effects.append(Record("runlevel", level, world.previous_runlevel))
        self._leave()

    def _leave(self) -> None:
        """Let everybody see whether they still belong; what does not begins anew another time."""
        core, world = self._core, self._core.world
        world.by_hand.clear()
        world.look_again()
        for tag in self._components():
            state, spec = world.states[tag], world.specs[tag]
            if not state.wanted or spec.mode in BOOTING | APART | ALARMED:
                continue
            if world.outside(tag) and spec.mode is Mode.ONDEMAND:
                core.tell(tag, Stop())
                world.put(tag, replace(world.states[tag], wish=None))
            elif state.refused or (
                world.outside(tag) and state.phase in (Phase.FINISHED, Phase.SLEEPING)
            ):
                core.want(tag)
        world.leaving = {tag: None for tag in self._components() if is_leaving(world, tag)}

    def _components(self) -> list[Tag]:
        world: World = self._core.world
        return [key for key in world.ordered() if world.is_component(key)]
