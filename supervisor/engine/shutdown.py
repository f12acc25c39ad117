"""The end of everything: two stages, each with a budget of time that its levels share."""

from __future__ import annotations

from copy import copy

from msgspec.structs import replace

from supervisor.engine.core import Core
from supervisor.engine.gates import blocked_by
from supervisor.engine.world import GOING_DOWN, Command
from supervisor.model.component import Key, Mode
from supervisor.model.effects import End
from supervisor.model.events import Stop
from supervisor.model.state import Phase, Stage

LAST_GRACE = 1.0
"""Seconds a shutdown component gets between its signal and its SIGKILL, at the very end."""

GIVE_UP = 5.0
"""Seconds after the end of a stage's budget when even what SIGKILL did not end is left behind."""


class Ending:
    """Brings everything down, and says when piesd is to end.

    `timeout` are the seconds for each of the two stages. `due` is when the present stage has used
    up its budget. `hurried` says that nothing is waited for any more, not even for dependents.
    """

    def __init__(self, core: Core, timeout: float) -> None:
        self.timeout = timeout
        self.due: float | None = None
        self.hurried = False
        self._core = core
        self._give_up = False
        self._code = 0

    def copy(self, core: Core) -> Ending:
        """Return one in the same state for *core*."""
        double = copy(self)
        double._core = core  # noqa: SLF001 - It is one of us.
        return double

    def begin(self, by: str, code: int) -> None:
        """Begin to bring everything down, unless that is under way."""
        core, world = self._core, self._core.world
        if world.stage in GOING_DOWN:
            return
        self._code = code
        self.due = core.now + self.timeout
        core.note(None, "shutdown", "info", f"shutting down{f': {by}' if by else ''}")
        world.enter(Stage.STOPPING)
        # What is going down already has no more time than what begins to now.
        for key, state in list(world.states.items()):
            # What was killed already is killed again when its own deadline says so.
            if state.phase is Phase.STOPPING and state.deadline is not None and not state.kills:
                latest = core.now + self.patience(key)
                world.put(key, replace(state, deadline=min(state.deadline, latest)))

    def judge(self, key: Key) -> None:
        """Begin where the end of *key*, which has just come, is the end of piesd."""
        world = self._core.world
        state, spec = world.states.get(key), world.specs.get(key)
        if state is None or spec is None or world.stage not in (Stage.STARTUP, Stage.NORMAL):
            return
        asleep = state.phase is Phase.SLEEPING and state.throttled
        if not asleep and state.phase is not Phase.FINISHED:
            return
        failed = state.last_exit is None or not state.last_exit.ok
        code = state.last_exit.status_code if state.last_exit else 1
        starting = world.stage is Stage.STARTUP and spec.mode is Mode.STARTUP
        if spec.essential:
            self.begin(f"the end of {key!r}, which is essential", code)
        elif spec.required and starting and failed:
            self.begin(f"the failure of {key!r}, which is required", code)

    def hurry(self) -> None:
        """Kill what is left, as somebody is tired of waiting."""
        if self._core.world.stage not in (Stage.STOPPING, Stage.LAST):
            return
        self._core.note(None, "hurry", "warning", "killing what is left, as asked")
        self._kill_the_rest()
        if not self._give_up:
            self._stage_over()

    def look_at_the_time(self) -> None:
        """End the present stage if its budget is used up."""
        if self.due is not None and self.due <= self._core.now:
            self._stage_over()

    def patience(self, key: Key) -> float:
        """Return how long *key* may take to go down.

        At the shutdown the levels share what is left of one budget: what sits on n levels of
        prerequisites leaves n shares for them.
        """
        if self.hurried:
            return 0.0
        world = self._core.world
        most = world.specs[key].stop_timeout
        if self.due is None:
            return most
        if world.stage is Stage.LAST:
            return min(most, LAST_GRACE)
        link = world.links.get(key)
        level = world.graph.depth.get(link.owner if link else key, 0)
        if isinstance(link, Command):
            level = 0  # It needs nobody and nobody needs it: it has all the time that there is.
        return min(most, max(self.due - self._core.now, 0.0) / (level + 1))

    def advance(self) -> bool:
        """Enter the next stage if this one is over; return whether something may start now."""
        world = self._core.world
        if world.live:
            return False
        if world.stage is Stage.STOPPING:
            self._begin_last()
            return True
        # The program that sends a mail is yet to come: there is a letter to be written before.
        to_tell = world.untried_mails and not self._give_up
        if world.stage is Stage.LAST and not self._last_waiting() and not to_tell:
            self._finish()
        return False

    def _kill_the_rest(self) -> None:
        """Wait for nothing any more, and for no dependent to go first."""
        core, world = self._core, self._core.world
        self.hurried = True
        for key, state in list(world.states.items()):
            # What was killed already is killed again when its own deadline says so.
            if state.phase is Phase.STOPPING and state.deadline is not None and not state.kills:
                world.put(key, replace(state, deadline=core.now))
        world.dirty.update(world.states)
        core.tell_deadlines()

    def _stage_over(self) -> None:
        """The budget of this stage of the shutdown is used up."""
        core, world = self._core, self._core.world
        if self._give_up:
            text = "processes that SIGKILL does not end are left behind"
            core.note(None, "left-behind", "error", text)
            self._finish()
            return
        self._give_up = True
        self.due = core.now + GIVE_UP
        if world.stage is Stage.LAST:
            for key, state in list(world.states.items()):
                if state.live:
                    core.tell(key, Stop("the end of the shutdown"))
        elif not self.hurried:
            self._kill_the_rest()

    def _begin_last(self) -> None:
        """Enter the stage of the shutdown components."""
        world = self._core.world
        self._give_up = self.hurried = False
        self.due = self._core.now + self.timeout
        world.enter(Stage.LAST)
        for tag in list(world.states):
            spec = world.specs[tag]
            if spec.mode is Mode.SHUTDOWN and spec.enabled:
                self._core.want(tag)

    def _last_waiting(self) -> bool:
        world = self._core.world
        return any(
            state.phase is Phase.WAITING and blocked_by(world, key) is None
            for key, state in world.states.items()
            if world.specs[key].mode is Mode.SHUTDOWN
        )

    def _finish(self) -> None:
        if self._core.world.stage is not Stage.ENDED:
            self.due = None
            self._core.world.enter(Stage.ENDED)
            self._core.effects.append(End(self._code))
