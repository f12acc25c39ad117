"""What outlives piesd: the ledger it keeps, and the one that another has left behind."""

from __future__ import annotations

import logging
import os
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

import trio

from supervisor import __version__
from supervisor.model.effects import Note
from supervisor.model.errors import CannotGoOn
from supervisor.model.events import Apply
from supervisor.runtime.ledger import (
    Head,
    Kept,
    Ledger,
    Unusable,
    keep_trying,
    read,
    translated,
)
from supervisor.system.ledgerfile import LedgerFile, read_records

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from supervisor.model.component import Tag
    from supervisor.model.effects import Level
    from supervisor.runtime.runner import Runner
    from supervisor.system.handover import Client

_MOMENT = 0.02

log = logging.getLogger("supervisor")


class Survival:
    """The ledger of this instance: read at the start, kept until the end.

    `life` is the part of its markers that is common to all children: that of the piesd before us,
    if we go on with what it has left.
    """

    def __init__(
        self, directory: str, instance: str, records: Sequence[bytes] | None = None
    ) -> None:
        """Read what another piesd has left.

        Args:
            directory: the runtime directory.
            instance: our name.
            records: what it has handed over, where it has not just left a ledger.

        Raises:
            CannotGoOn: there is something, and we do not understand it.
        """
        self._file = LedgerFile(os.path.join(directory, f"{instance}.ledger"))
        self._ledger: Ledger | None = None
        self._system = _this_system()
        self._kept = self._read(records)
        self.life = secrets.token_hex(8) if self._kept is None else self._kept.head.life

    @property
    def left(self) -> Kept | None:
        """What another piesd has left."""
        return self._kept

    def _read(self, records: Sequence[bytes] | None) -> Kept | None:
        path = self._file.path
        try:
            records = read_records(path) if records is None else records
            return read(records, self._system)
        except OSError as error:
            why = error.strerror or str(error)
        except Unusable as error:
            why = str(error)
        raise CannotGoOn(
            f"cannot go on with what another piesd has left behind: {path}: {why}; to start all "
            "the same, end its components, then remove that file"
        )

    def begin(
        self, runner: Runner, handed: Mapping[str, int], clients: Mapping[str, Client]
    ) -> Set[Tag] | None:
        """Take up what was left, and keep the ledger from now on.

        Args:
            runner: takes it up.
            handed: the descriptors that were handed over, see `Handover`.
            clients: where the connections among them come from.

        Returns:
            The components of which something lives; None if nothing was left at all.
        """
        shift = time.clock_gettime(time.CLOCK_MONOTONIC) - trio.current_time()
        head = Head(version=__version__, life=self.life, system=self._system, shift=shift)
        ledger = Ledger(self._file, runner.engine, head, _boottime, partial(_tell, runner))
        kept, self._kept, living = self._kept, None, None
        if kept is not None:
            memory = translated(kept.memory, kept.head.shift - shift)
            living = runner.take_up(memory, kept.born, handed, clients)
            ledger.adopt(kept.born)
            live = sum(state.live for state in runner.engine.world.states.values())
            log.info("going on with what another piesd has left: %d live", live)
        ledger.begin()
        runner.keep = ledger.observe
        self._ledger = ledger
        return living

    async def serve(self) -> None:
        """Try again to write what could not be written; for ever, once there is a ledger."""
        if self._ledger is not None:
            await keep_trying(self._ledger)

    async def end_what_was_left(self, runner: Runner) -> None:
        """Stop all that was taken up, in order; return when there is nothing any more."""
        log.info("stopping what another piesd has left, as --adopt=no asks")
        runner.post(Apply((), runner.engine.shutdown_timeout, "--adopt=no"))
        runner.tell_news()
        while runner.engine.world.states:  # noqa: ASYNC110 - It happens once, and takes a while.
            await trio.sleep(_MOMENT)
        runner.engine.begin_anew()

    def write(self) -> bool:
        """Write everything anew; whether that could be done."""
        return self._ledger is not None and self._ledger.begin()

    def records(self) -> list[bytes]:
        """Return everything as one who takes over is to be told it."""
        return [] if self._ledger is None else self._ledger.everything()

    def end(self) -> None:
        """There is nothing left to go on with."""
        self._file.remove()


def _tell(runner: Runner, kind: str, level: Level, text: str) -> None:
    runner.tell(Note(None, kind, level, text))


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _this_system() -> str:
    """Return what tells this boot of the machine, and this PID namespace, from others."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""  # Without /proc nobody can be found, either.
