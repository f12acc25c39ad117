"""What the system's own supervisor hears from us, the instance lock and the pid file."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from supervisor.model.errors import AlreadyRunning
from supervisor.system.locks import InstanceLock, PidFile
from supervisor.system.notify import Notifier

pytestmark = pytest.mark.real


@pytest.fixture
def hearing(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.setblocking(False)
        yield made


def test_each_state_is_one_datagram(hearing: socket.socket) -> None:
    notifier = Notifier(hearing.getsockname())
    assert notifier.ready("5 components\nrunning")
    assert hearing.recv(1000) == b"READY=1\nSTATUS=5 components running"
    assert notifier.reloading()
    first, second = hearing.recv(1000).split(b"\n")
    assert first == b"RELOADING=1"
    assert second.startswith(b"MONOTONIC_USEC=")
    assert int(second.partition(b"=")[2]) > 0
    for say, said in (
        (notifier.stopping, b"STOPPING=1"),
        (notifier.watchdog, b"WATCHDOG=1"),
        (lambda: notifier.status("all is well"), b"STATUS=all is well"),
    ):
        assert say()
        assert hearing.recv(1000) == said
    notifier.close()
    assert not notifier.ready()


def test_an_abstract_socket_is_meant_by_an_at_sign() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract:
        abstract.bind(f"\0piesd-test-{os.getpid()}")
        notifier = Notifier(f"@piesd-test-{os.getpid()}")
        assert notifier.ready()
        assert abstract.recv(100) == b"READY=1"
        notifier.close()


def test_nobody_there_is_no_error_and_nothing_blocks(
    hearing: socket.socket, tmp_path: Path
) -> None:
    assert not Notifier().ready()
    assert not Notifier("vsock:2:1234").ready()
    lonely = Notifier(str(tmp_path / "missing"))
    assert not lonely.ready()
    lonely.close()
    deaf = Notifier(hearing.getsockname())
    while deaf.watchdog():
        pass  # Until the queue of the one who does not listen is full.
    deaf.close()


async def test_what_must_not_be_lost_is_said_again_until_it_is_heard(
    hearing: socket.socket,
) -> None:
    notifier = Notifier(hearing.getsockname())
    while notifier.watchdog():
        pass  # Until the queue of the one who does not listen is full.
    assert not notifier.reloading()
    assert not notifier.ready("all is well")
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(notifier.serve)
            while (said := hearing.recv(1000)) == b"WATCHDOG=1":
                await trio.lowlevel.wait_readable(hearing)
            nursery.cancel_scope.cancel()
    assert said == b"READY=1\nSTATUS=all is well"
    notifier.close()


def test_what_is_meant_for_us_is_taken_out_of_the_environment(hearing: socket.socket) -> None:
    environ = {
        "NOTIFY_SOCKET": hearing.getsockname(),
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    notifier = Notifier.from_environ(environ)
    assert environ == {"HOME": "/"}
    assert notifier.watchdog_interval() == 15.0
    notifier.close()


@pytest.mark.parametrize(("usec", "pid"), [("0", ""), ("x", ""), ("30000000", "1"), (None, None)])
def test_a_watchdog_that_is_not_ours_is_none(
    hearing: socket.socket, usec: str | None, pid: str | None
) -> None:
    environ = {"NOTIFY_SOCKET": hearing.getsockname()}
    if usec is not None and pid is not None:
        environ |= {"WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    notifier = Notifier.from_environ(environ)
    assert notifier.watchdog_interval() is None
    notifier.close()


# --- locks


def test_the_second_of_one_name_is_told_who_is_first(tmp_path: Path) -> None:
    first, second = (InstanceLock(str(tmp_path), "web") for _ in range(2))
    first.acquire()
    with pytest.raises(AlreadyRunning) as caught:
        second.acquire()
    assert str(caught.value) == (
        f"cannot start 'web': it is already running as process {os.getpid()} ({first.path})"
    )
    InstanceLock(str(tmp_path), "other").acquire()
    first.release()
    assert not os.path.exists(first.path)
    first.release()
    second.acquire()
    assert Path(second.path).read_text() == f"{os.getpid()}\n"
    second.release()


def test_the_death_of_the_owner_frees_the_lock(tmp_path: Path) -> None:
    program = (
        "import sys, os; sys.path.insert(0, sys.argv[1])\n"
        "from supervisor.system.locks import InstanceLock\n"
        "InstanceLock(sys.argv[2], 'web').acquire()\n"
        "print('locked', flush=True); sys.stdin.read()\n"
    )
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", program, root, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"locked\n"
        lock = InstanceLock(str(tmp_path), "web")
        with pytest.raises(AlreadyRunning, match=f"as process {owner.pid} "):
            lock.acquire()
        owner.kill()
    lock.acquire()
    lock.release()


def test_a_lock_on_a_file_that_was_just_removed_is_worth_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner ends, and removes the file, between our open and our lock."""
    lock, real = InstanceLock(str(tmp_path), "web"), os.open
    opened: list[int] = []

    def removed_at_first(path: str, flags: int, mode: int) -> int:
        opened.append(real(path, flags, mode))
        if len(opened) == 1:
            os.unlink(path)
        return opened[-1]

    monkeypatch.setattr(os, "open", removed_at_first)
    lock.acquire()
    assert len(opened) == 2
    with pytest.raises(AlreadyRunning):
        InstanceLock(str(tmp_path), "web").acquire()
    lock.release()


def test_a_lock_removed_by_hand_is_not_removed_again_when_it_is_anothers(tmp_path: Path) -> None:
    first, second = (InstanceLock(str(tmp_path), "web") for _ in range(2))
    first.acquire()
    os.unlink(first.path)
    second.acquire()
    first.release()
    assert os.path.exists(second.path)
    second.release()


def test_a_pid_file_is_written_as_a_whole_and_removed_only_if_it_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "piesd.pid"
    path.write_text("99999999 and a long old content\n")
    pid_file = PidFile(str(path))
    pid_file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    assert os.listdir(tmp_path) == ["piesd.pid"]
    pid_file.remove()
    assert not path.exists()
    pid_file.remove()
    path.write_text("1\n")
    pid_file.remove()
    assert path.exists()


def test_a_pid_file_that_cannot_be_put_in_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "piesd.pid").mkdir()
    with pytest.raises(OSError, match=r"piesd\.pid"):
        PidFile(str(tmp_path / "piesd.pid")).write()
    assert os.listdir(tmp_path) == ["piesd.pid"]
