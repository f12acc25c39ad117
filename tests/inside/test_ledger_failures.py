"""A ledger that cannot be written: told once, tried again, and told when it works again."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

import pytest
import trio
import trio.testing

from simulation import Simulation
from supervisor.engine.memory import Memory
from supervisor.model.component import Component
from supervisor.runtime.ledger import GROWTH, RETRY, Head, Ledger, keep_trying, read
from supervisor.system.ledgerfile import LedgerFile

HEAD = Head(version="1", life="life", system="here", shift=0.0)


class File(LedgerFile):
    """One in memory, on a disk that may be full or broken."""

    def __init__(self) -> None:
        super().__init__("/run/x.ledger")
        self.records: list[bytes] = []
        self.refuses: int | None = None
        self.refuses_anew: int | None = None
        self.tries = 0

    def begin(self, records: Iterable[bytes]) -> None:
        self.tries += 1
        found = list(records)
        self._refuse(self.refuses or self.refuses_anew)
        self.records = found
        self.size = sum(map(len, found))

    def append(self, record: bytes) -> None:
        self.tries += 1
        self._refuse(self.refuses)
        self.records.append(record)
        self.size += len(record)

    def _refuse(self, number: int | None) -> None:
        if number is not None:
            raise OSError(number, os.strerror(number))


class Kept:
    """A simulation and its ledger."""

    def __init__(self, count: int = 3) -> None:
        tags = [f"c{number}" for number in range(count)]
        self.sim = Simulation([Component(tag=tag, argv=(tag,)) for tag in tags])
        self.file = File()
        self.told: list[tuple[str, str]] = []
        self.ledger = Ledger(
            self.file, self.sim.engine, HEAD, lambda: self.sim.now, self._note_down
        )
        self.ledger.begin()
        self.sim.after = lambda: self.ledger.observe(self.sim.engine.changed)
        self.sim.boot().settle()

    def _note_down(self, kind: str, _level: object, text: str) -> None:
        self.told.append((kind, text))

    def is_right(self) -> bool:
        kept = read(self.file.records, "here")
        assert kept is not None
        return _sorted(kept.memory) == _sorted(self.sim.engine.memory())


def _sorted(memory: Memory) -> list[object]:
    return [memory.general, *sorted(memory.memos, key=lambda memo: memo.key)]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
async def test_it_is_told_once_and_tried_again_though_nothing_happens(
    number: int, autojump_clock: trio.testing.MockClock
) -> None:
    kept = Kept()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_trying, kept.ledger)
        kept.file.refuses = number
        for _ in range(100):
            kept.sim.order("restart", "c0").settle()
        assert kept.file.tries < 20
        await trio.sleep(10 * RETRY)
        assert [kind for kind, _ in kept.told] == ["ledger-failed"]
        assert kept.told[0][1] == (
            f"cannot write the ledger /run/x.ledger: {os.strerror(number)}; until that works "
            "again, a piesd that takes over would go by what was true before"
        )
        kept.file.refuses = None
        await trio.sleep(2 * RETRY)
        assert kept.told[1:] == [("ledger-written", "the ledger /run/x.ledger is written again")]
        assert kept.is_right()
        kept.sim.order("restart", "c1").settle()
        assert kept.is_right()
        nursery.cancel_scope.cancel()


def test_what_cannot_be_written_anew_for_its_length_is_appended_to() -> None:
    kept = Kept()
    kept.file.refuses_anew = errno.ENOSPC
    kept.ledger.least = 0
    before = kept.file.size
    while kept.file.size < 3 * GROWTH * before:
        kept.sim.order("restart", "c0").settle()
    assert kept.is_right()
    assert [kind for kind, _ in kept.told] == ["ledger-grows"]
    kept.file.refuses_anew = None
    while kept.file.size > GROWTH * before:
        kept.sim.order("restart", "c0").settle()
    assert kept.is_right()


def test_what_was_handed_over_in_vain_changes_nothing() -> None:
    kept = Kept()
    kept.sim.order("stop", "c0").settle()
    handed = kept.ledger.everything()
    assert read(handed, "here") is not None
    kept.sim.order("start", "c0").settle()
    assert kept.is_right()
