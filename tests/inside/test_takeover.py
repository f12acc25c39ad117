"""A runner that goes on with what another has left."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from fake_system import Script
from running import House, house
from supervisor.model.component import Check, Component
from supervisor.model.events import Apply
from supervisor.model.state import Phase

FD = Check(kind="fd", fd=3)


@pytest.mark.parametrize("check", [FD, Check(kind="notify")])
async def test_what_was_being_started_runs_and_then_is_as_ready_as_can_be_known(
    check: Check, autojump_clock: trio.testing.MockClock
) -> None:
    """It runs, and the other piesd had not heard of it: it may have said since that it is ready."""
    web = Component(tag="web", argv=("web",), ready=check)

    def undecided(home: House) -> None:
        home.system.scripts["web"] = Script(delayed=True)

    async with house([web], undecided) as before:
        memory = before.runner.engine.memory()
        children = before.system.children
        before.runner.halt()
        assert before.phase("web") is Phase.STARTING
        async with trio.open_nursery() as nursery:
            later = House(nursery, 5.0)
            later.system.children = children
            nursery.start_soon(later.system.serve)
            nursery.start_soon(later.runner.run)
            later.runner.take_up(memory, {})
            later.runner.post(Apply((web,), 5.0))
            later.runner.tell_news()
            await later.rest()
            assert later.phase("web") is Phase.RUNNING
            assert later.state("web").ready is (check is FD)
            assert [note for note in later.notes if note.level == "error"] == []
            nursery.cancel_scope.cancel()
