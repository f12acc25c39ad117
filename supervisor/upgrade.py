"""Let the program that is on disk now take everything over, without one component noticing it.

It is tried first: in a process of its own it reads the configuration and what is known, and must
find nothing to do. Then we come to rest, answer what was asked, and execute it in our place.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import trio

import supervisor
from supervisor.engine.engine import Engine
from supervisor.executing import PATIENCE, own_command
from supervisor.model.effects import Effect, Note, Record, Retune
from supervisor.model.errors import CannotUpgrade
from supervisor.model.events import Apply
from supervisor.runtime.ledger import Kept, translated
from supervisor.system import handover
from supervisor.system.handover import Client, Handover

if TYPE_CHECKING:
    from supervisor.engine.plan import Plan
    from supervisor.foothold import Foothold
    from supervisor.runtime.runner import Runner
    from supervisor.survival import Survival

REST: Final = 5.0
"""Seconds in which starts that are under way have to come to their end."""

REHEARSE: Final = "--rehearse-takeover"

_HERE: Final = os.path.dirname(os.path.dirname(os.path.realpath(supervisor.__file__)))
"""Where our package was when we began, also if a link leads elsewhere now."""

_MOMENT: Final = 0.02


class Upgrade:
    """Prepares the take-over, and hands over."""

    def __init__(self, runner: Runner, survival: Survival, foothold: Foothold) -> None:
        self._runner = runner
        self._survival = survival
        self._foothold = foothold
        self._busy = False
        self._copies: dict[str, int] = {}
        self._clients: dict[str, Client] = {}
        self.wanted = trio.Event()
        """Set when all is prepared."""

    async def prepare(self) -> None:
        """Rehearse, and come to rest.

        Raises:
            CannotUpgrade: it is better not to; the text says why.
        """
        if self._busy:
            raise CannotUpgrade("cannot execute piesd anew: that is under way already")
        self._busy = True
        try:
            await self._rehearse()
            self._runner.listeners.rest(True)
            await self._rest()
            self._collect()
        except BaseException:
            self._give_up()
            raise

    async def _rehearse(self) -> None:
        if not self._survival.write():
            raise CannotUpgrade("cannot execute piesd anew: its ledger cannot be written")
        # What is not process 1 must be told that it is to read what that reads.
        first = ("--init",) if os.getpid() == 1 else ()
        argv = (*own_command(), REHEARSE, *first)
        errand = self._runner.run_errand("piesd#rehearsal", argv)
        with trio.move_on_after(PATIENCE):
            await errand.ended.wait()
        self._runner.end_errand(errand)
        if errand.exit is None:
            why = f"its rehearsal took more than {PATIENCE:g} s"
        elif errand.exit.ok:
            return
        else:
            why = errand.last_line or errand.exit.message
        raise CannotUpgrade(f"cannot execute piesd anew: {why}")

    async def _rest(self) -> None:
        """Have nothing under way that another program could not go on with."""
        await self._comes_to_rest()
        if what := self.stirs():
            raise CannotUpgrade(f"cannot execute piesd anew: {what}; try again later")

    async def _comes_to_rest(self) -> None:
        """Wait for that, but not for long."""
        with trio.move_on_after(REST):
            while self.stirs():  # noqa: ASYNC110 - Nobody tells when nothing is to do.
                await trio.sleep(_MOMENT)

    def stirs(self) -> str:
        """Return what is under way that must come to its end before, if anything is."""
        for key in self._runner.engine.world.starting():
            return f"{key!r} is being started"
        return self._runner.stirs()

    def _collect(self) -> None:
        """Keep copies of all files that are handed over."""
        held = self._runner.listeners.everything()
        files = {**self._foothold.files(), **{name: fd for name, (fd, _) in held.items()}}
        try:
            for name, fd in files.items():
                self._copies[name] = handover.copied(fd)
        except OSError as error:
            raise CannotUpgrade(f"cannot execute piesd anew: {error.strerror}") from None
        self._clients = {
            name: Client(client.address, client.port)
            for name, (_, client) in held.items()
            if client is not None
        }

    def _give_up(self) -> None:
        """Go on as before."""
        while self._copies:
            os.close(self._copies.popitem()[1])
        self._runner.listeners.rest(False)
        self._busy = False

    async def hand_over(self) -> Handover:
        """Return everything. From here on nothing happens any more."""
        # Something may have ended, or been asked for, since we had come to rest.
        await self._comes_to_rest()
        self._runner.halt()
        return Handover(
            records=tuple(self._survival.records()),
            descriptors=dict(self._copies),
            clients=self._clients,
            command=tuple(own_command(resolved=True)),
            directory=_HERE,
        )


def rehearse(kept: Kept | None, plan: Plan) -> list[Effect]:
    """Return what a piesd would do that takes over *kept* with *plan*; nothing is as it should be.

    Nobody is disturbed: it is a rehearsal on paper.
    """
    if kept is None:
        return []
    engine = Engine(shutdown_timeout=plan.daemon.shutdown_timeout)
    memory = translated(kept.memory, 0.0)
    now = max((each.state.since for each in memory.memos), default=0.0)
    engine.world.init = bool(memory.general.boot_state)
    engine.recall(memory, now)
    apply = Apply(
        plan.components,
        plan.daemon.shutdown_timeout,
        "the take-over",
        0.0,
        plan.daemon.runlevel,
        plan.daemon.max_starting,
    )
    effects = engine.handle(apply, now)
    return [each for each in effects if not isinstance(each, Note | Retune | Record)]
