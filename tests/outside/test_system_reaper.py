"""What is reported of children that have ended, while others go on ending under our eyes."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator

import pytest

from supervisor.system.port import Reaped
from supervisor.system.process_setup import remember_process
from supervisor.system.proctable import ProcessTable
from supervisor.system.reaper import Reaper, _End
from supervisor.system.trees import Forest

USAGE = resource.getrusage(resource.RUSAGE_SELF)
LEADER = 999_999_999
"""Higher than any PID can be, so that there is no such process."""


class NoLauncher:
    """A launcher of which no start is under way."""

    slow_starts = 0

    def ended(self, pid: int) -> None:
        pass


@pytest.fixture
def reaper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reaper]:
    table = ProcessTable()
    forest = Forest(table, "test", "boot", remember_process().environ.get("PIESD_MARKER", ""))
    forest.plant("web", 1, LEADER)
    made = Reaper(forest, NoLauncher(), lambda: 0.0)  # type: ignore[arg-type]  # all it asks
    yield made
    table.dispose()


def raised(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the signals that we send ourselves."""
    numbers: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", numbers.append)
    return numbers


def test_a_tree_is_not_gone_before_a_look_that_nothing_disturbed(
    reaper: Reaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = raised(monkeypatch)
    strangers = iter(range(LEADER + 1, LEADER + 100))
    first: list[_End] = [(LEADER, 0, USAGE)]
    # Each time that we look, somebody of whom we know nothing ends: a parent that has forked.
    monkeypatch.setattr(reaper, "_ends", lambda: [*first, (next(strangers), 0, USAGE)])
    assert reaper.reap() == []
    assert numbers == [signal.SIGCHLD]
    first.clear()
    assert reaper.reap() == []
    assert numbers == [signal.SIGCHLD] * 2  # And so it is looked at again.
    monkeypatch.setattr(reaper, "_ends", list)
    (report,) = reaper.reap()
    assert isinstance(report, Reaped)
    assert (report.key, report.generation, report.exit.code, report.lost) == ("web", 1, 0, ())
    assert reaper.reap() == []
    assert len(numbers) == 2


def test_the_end_of_a_leader_alone_is_reported_at_once(
    reaper: Reaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = raised(monkeypatch)
    ends = iter([[(LEADER, 3 << 8, USAGE)], []])
    monkeypatch.setattr(reaper, "_ends", lambda: next(ends))
    (report,) = reaper.reap()
    assert isinstance(report, Reaped)
    assert report.exit.code == 3
    assert numbers == []


def test_where_there_is_no_child_left_nothing_is_looked_at(
    reaper: Reaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[_End] = [(LEADER, 0, USAGE)]

    def wait4(pid: int, options: int) -> _End:
        if not ends:
            raise ChildProcessError
        return ends.pop()

    monkeypatch.setattr(os, "wait4", wait4)
    monkeypatch.setattr(reaper._forest, "survey", lambda: pytest.fail("a look at /proc"))
    (report,) = reaper.reap()
    assert isinstance(report, Reaped)
    assert (report.key, report.lost) == ("web", ())
    assert reaper.reap() == []
