"""What holds the daemon together when a part of it fails."""

from __future__ import annotations

import sys

import pytest
import trio
import trio.testing

from supervisor.daemon import guarded, kept
from supervisor.executing import EX_UNAVAILABLE, execute_again
from supervisor.system.process_setup import remember_process


async def test_a_failing_leaf_is_reported_and_does_not_cancel_its_siblings(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    await guarded("the leaf", fails)
    assert "cannot go on with the leaf" in caplog.text


async def test_a_part_that_nobody_can_do_without_is_taken_up_again(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0
    running = trio.Event()

    async def fails_twice() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ZeroDivisionError
        running.set()
        await trio.sleep_forever()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept, "the inbox", fails_twice)
            await running.wait()
            nursery.cancel_scope.cancel()
    assert tries == 3
    assert caplog.text.count("cannot go on with the inbox") == 2


def test_a_piesd_that_cannot_be_executed_anew_ends_with_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert execute_again({}, remember_process()) == EX_UNAVAILABLE
    assert capsys.readouterr().err == (
        "piesd: cannot execute /nonexistent/python again: No such file or directory\n"
    )
