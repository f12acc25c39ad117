"""The loop wakes, also while the kernel has no memory for the byte that wakes it."""

from __future__ import annotations

import errno
import os
import signal
import socket
from typing import Any

import pytest
import trio
import trio.testing

from supervisor.system.wakeup import wake_for_sure

pytestmark = pytest.mark.real


class Failing:
    """A socket that fails to send as often as it is said."""

    def __init__(self, inner: socket.socket, number: int, times: int) -> None:
        self.inner, self.number, self.left = inner, number, times

    def send(self, data: bytes) -> int:
        if self.left:
            self.left -= 1
            raise OSError(self.number, os.strerror(self.number))
        return self.inner.send(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def fail(number: int, times: int) -> Failing:
    sure: Any = trio.lowlevel.current_trio_token()._reentry_queue.wakeup.write_sock
    sure.inner = Failing(sure.inner, number, times)
    return sure.inner  # type: ignore[no-any-return]  # what was just put there


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENOBUFS])
async def test_what_a_thread_has_to_say_arrives(
    number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with trio.fail_after(30):
        trio.lowlevel.spawn_system_task(wake_for_sure)
        await trio.testing.wait_all_tasks_blocked()
        failing = fail(number, 3)
        assert await trio.to_thread.run_sync(lambda: "said") == "said"
        assert failing.left == 0
    assert capfd.readouterr().err == ""


async def test_a_signal_is_no_end_and_arrives() -> None:
    with trio.fail_after(30), trio.open_signal_receiver(signal.SIGUSR1) as received:
        trio.lowlevel.spawn_system_task(wake_for_sure)
        await trio.testing.wait_all_tasks_blocked()
        failing = fail(errno.ENOBUFS, 1)
        signal.raise_signal(signal.SIGUSR1)
        assert await anext(received) == signal.SIGUSR1
        assert failing.left == 0
