"""Waiting until everything that an order concerned has come to rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from supervisor.engine.engine import is_settled
from supervisor.engine.gates import blocked_by, dependents_live, not_ready
from supervisor.model.errors import NotSettled, ShuttingDown
from supervisor.model.state import Phase, Stage

if TYPE_CHECKING:
    from supervisor.control.access import View
    from supervisor.engine.world import World
    from supervisor.model.component import Key
    from supervisor.model.effects import Note
    from supervisor.model.events import Action
    from supervisor.runtime.runner import Runner

GOING_DOWN = frozenset({Stage.STOPPING, Stage.LAST, Stage.ENDED})
"""The stages in which nothing is started any more."""

_UP = (Phase.RUNNING, Phase.LISTENING)
_NAMED = 5


class _Wait:
    """One order that is waited for: what has not settled yet."""

    def __init__(self, action: Action, pending: dict[Key, int]) -> None:
        self.action, self.pending = action, pending
        self.over = trio.Event()
        self.hopeless = False


class Settling:
    """Waits for orders to settle; it is woken by the changes themselves."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._waits: set[_Wait] = set()
        runner.observe(self._observed)

    async def wait(
        self, action: Action, generations: Mapping[Key, int], seconds: float, view: View
    ) -> None:
        """Return when every key has settled.

        Args:
            action: what was ordered.
            generations: the generation of each key when it was ordered.
            seconds: how long at most.
            view: of the one who waits, and is told why it was in vain.

        Raises:
            NotSettled: the time was up; it names what has not settled, and why.
            ShuttingDown: nothing will be started any more, so the rest never settles.
        """
        wait = _Wait(action, dict(generations))
        self._look(wait, wait.pending)
        if wait.pending:
            self._waits.add(wait)
            try:
                with trio.move_on_after(seconds):
                    await wait.over.wait()
            finally:
                self._waits.discard(wait)
        if wait.hopeless:
            raise ShuttingDown(f"cannot wait for the {action}: piesd is shutting down")
        if wait.pending:
            raise self._not_settled(wait.pending, seconds, view)

    def _observed(self, _: int, changed: frozenset[Key], notes: Sequence[Note]) -> None:
        for wait in self._waits:
            self._look(wait, changed)

    def _look(self, wait: _Wait, changed: frozenset[Key] | dict[Key, int]) -> None:
        engine = self._runner.engine
        states = engine.world.states
        # Few keys change at a time, and thousands may be waited for.
        for key in [key for key in changed if key in wait.pending]:
            if is_settled(states.get(key), wait.action, wait.pending[key]):
                del wait.pending[key]
        if wait.pending and wait.action != "stop" and engine.stage in GOING_DOWN:
            wait.hopeless = True
        if wait.hopeless or not wait.pending:
            wait.over.set()

    def _not_settled(self, keys: Mapping[Key, int], seconds: float, view: View) -> NotSettled:
        world = self._runner.engine.world
        tags = list(dict.fromkeys(key.partition("#")[0] for key in keys))
        reasons = [f"{key}: {why_not_settled(world, key, view)}" for key in list(keys)[:_NAMED]]
        if len(keys) > _NAMED:
            reasons.append(f"and {len(keys) - _NAMED} more")
        return NotSettled(tags, seconds, reasons)


def why_not_settled(world: World, key: Key, view: View) -> str:
    """Return in a few words what *key* waits for, as far as *view* shows it."""
    state = world.states[key]
    if state.phase in _UP:
        block = dependents_live(world, key) or not_ready(world, key)
    else:
        block = blocked_by(world, key)
    return view.message(block) if block else f"it is {state.phase}"
