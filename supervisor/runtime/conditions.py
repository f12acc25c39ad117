"""Start conditions: a command that decides, each time anew, whether a component may start."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from supervisor.model.events import Tested
from supervisor.model.state import Exit
from supervisor.runtime.errands import Errand, Errands, named, outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.model.component import Component, Key
    from supervisor.runtime.tasks import Tasks

LIMIT: Final = 60.0
"""Seconds a start condition may take. Somebody waits for the start that it decides about."""

STAGE: Final = "start-condition"


class Conditions:
    """Runs start conditions, and reports each as `Tested` exactly once.

    The report comes when nothing of the command is left: a component that is down has no process.
    """

    def __init__(
        self,
        errands: Errands,
        tasks: Tasks,
        happened: Callable[[Key, Tested], None],
        wall: Callable[[], float],
    ) -> None:
        self._errands = errands
        self._tasks = tasks
        self._happened = happened
        self._wall = wall
        self._running: dict[Key, tuple[int, trio.CancelScope]] = {}

    def probe(self, key: Key, generation: int, spec: Component) -> None:
        """Run the start condition of *spec* and report what it says."""
        scope = trio.CancelScope()
        self._running[key] = generation, scope
        job = partial(self._test, key, generation, spec, scope)
        self._tasks.start(f"the start condition of {key}", job)

    def abort(self, key: Key, generation: int) -> bool:
        """Kill the start condition of this generation; return whether it was running."""
        running, scope = self._running.get(key, (None, None))
        if scope is None or running != generation:
            return False
        scope.cancel()
        return True

    async def _test(
        self, key: Key, generation: int, spec: Component, scope: trio.CancelScope
    ) -> None:
        name = f"the start condition {named(spec.start_condition)}"
        try:
            why = await self._verdict(key, generation, spec, scope, name)
        except Exception:
            self._report(key, generation, self._refusal(f"{name} met a bug in piesd"))
            raise
        self._report(key, generation, why)

    def _report(self, key: Key, generation: int, why: Exit | None) -> None:
        self._running.pop(key, None)
        self._happened(key, Tested(generation, why))

    async def _verdict(
        self, key: Key, generation: int, spec: Component, scope: trio.CancelScope, name: str
    ) -> Exit | None:
        errand: Errand | None = None
        with scope, trio.move_on_after(LIMIT) as limit:
            errand = self._errands.start(f"{key}#condition", generation, spec, spec.start_condition)
            await errand.gone.wait()
        if errand is None:
            return self._refusal(f"{name} was not run: the start was called off")
        self._errands.kill(errand)
        await errand.gone.wait()  # The kernel ends what SIGKILL has hit, and `reap` reports it.
        if scope.cancelled_caught:
            return self._refusal(f"{name} was killed: the start was called off")
        if limit.cancelled_caught:
            return self._refusal(f"{name} took longer than {LIMIT:g} s and was killed")
        end = errand.exit
        if end is not None and end.code == 0:
            return None
        text = f"{name} {outcome(end)}" if end is not None else name
        return self._refusal(text, None if end is None else end.errno)

    def _refusal(self, message: str, errno: int | None = None) -> Exit:
        return Exit(stage=STAGE, errno=errno, message=message, at=self._wall())
