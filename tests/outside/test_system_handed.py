"""Descriptors that single children are handed, and sockets on which they tell how they are."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from real_children import RealChildren, subreaping
from supervisor.system import seats, spawn
from supervisor.system.linux import LinuxSystem
from supervisor.system.process_setup import close_others_on_exec

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True, scope="module")
def orphans_become_ours() -> Iterator[None]:
    with subreaping():
        yield


@pytest.fixture(params=["sealed", "unsealed", "gated", "user", "slow"])
async def children(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RealChildren]:
    """Every way to start a child."""
    if request.param == "slow":
        monkeypatch.setattr(spawn, "FORK_EXEC", None)
    with trio.fail_after(30):
        async with RealChildren() as made:
            if request.param == "sealed":
                # What started us may have left descriptors that children would inherit.
                made.system._launcher._sealed = close_others_on_exec()
            start = made.start
            if request.param == "gated":
                made.start = lambda *a, **k: start(*a, limits={"core": 0}, **k)  # type: ignore[method-assign]
            elif request.param == "user":
                made.start = lambda *a, **k: start(*a, user=str(os.geteuid()), **k)  # type: ignore[method-assign]
            yield made


def identities() -> list[tuple[int, int] | None]:
    """Return what sits on each low number."""

    def identity(fd: int) -> tuple[int, int] | None:
        try:
            return (os.fstat(fd).st_dev, os.fstat(fd).st_ino)
        except OSError:
            return None

    return [identity(fd) for fd in range(3, 10)]


async def test_each_number_is_the_descriptor_that_was_meant(children: RealChildren) -> None:
    before = identities()
    pipes = [children.system.pipe() for _ in range(3)]
    # The descriptors themselves may have low numbers, even each other's.
    extra = ((3, pipes[0][1]), (4, pipes[1][1]), (9, pipes[2][1]))
    started = children.shell(
        "echo three >&3; echo four >&4; exec 1>&9; ls /proc/$$/fd", extra=extra
    )
    await started.pid()
    for _, writer in pipes:
        children.system.close(writer)
    told = [b"", b"", b""]
    for n, (reader, _) in enumerate(pipes):
        os.set_blocking(reader, True)
        while data := await trio.to_thread.run_sync(os.read, reader, 1000):
            told[n] += data
        children.system.close(reader)
    assert told[:2] == [b"three\n", b"four\n"]
    # Nothing else came with them.
    assert sorted(told[2].split()) == [b"0", b"1", b"2", b"3", b"4", b"9"]
    assert identities() == before


async def test_what_had_the_number_here_is_untouched_and_not_inherited(
    children: RealChildren,
) -> None:
    mine = os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC)
    kept = os.dup(6)
    os.dup2(mine, 6, inheritable=False)
    reader, writer = children.system.pipe()
    try:
        started = children.shell("readlink /proc/$$/fd/6; ls /proc/$$/fd", extra=((6, writer),))
        assert (await started.line()).startswith("pipe:")
        assert (await started.output()).split() == ["0", "1", "2", "6"]
        assert os.readlink("/proc/self/fd/6") == "/dev/zero"
        assert not os.get_inheritable(6)
        started = children.shell("ls /proc/$$/fd", "next")
        assert (await started.output()).split() == ["0", "1", "2"]
    finally:
        os.dup2(kept, 6, inheritable=False)
        for fd in (mine, kept, reader, writer):
            os.close(fd)


async def test_a_failed_start_leaves_the_numbers_as_they_were(children: RealChildren) -> None:
    before = identities()
    reader, writer = children.system.pipe()
    failed = await children.start(argv=("/no/such",), extra=((3, writer),)).failure()
    assert failed.exit.stage == "exec"
    children.system.close(writer)
    os.set_blocking(reader, True)
    assert await trio.to_thread.run_sync(os.read, reader, 10) == b""  # Nobody holds it any more.
    children.system.close(reader)
    assert identities() == before


def test_piesd_keeps_the_numbers_free_before_anything_else_can_sit_there() -> None:
    text = (
        "import os\n"
        "from supervisor.system.process_setup import prepare_process\n"
        "os.closerange(3, 10)\n"
        "prepare_process()\n"
        "print(*(os.get_inheritable(fd) for fd in range(3, 10)), os.dup(0) > 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", text],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.split() == ["False"] * 7 + ["True"], done.stderr


def test_free_numbers_are_taken_once_and_closed_ones_given_back() -> None:
    seats.reserve()
    before = set(os.listdir("/proc/self/fd"))
    seats.reserve()
    assert set(os.listdir("/proc/self/fd")) == before
    kept = os.dup(7)
    os.close(7)
    null = os.open("/dev/null", os.O_RDONLY)  # It gets the number 7 itself.
    assert null == 7
    high = os.dup(null)
    os.close(7)
    with seats.taken(((7, high),)):
        assert os.get_inheritable(7)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(7)
    os.dup2(kept, 7, inheritable=False)
    os.close(high)
    os.close(kept)


async def test_a_text_is_the_input_of_a_child_whatever_its_length() -> None:
    with trio.fail_after(30):
        async with RealChildren() as children:
            fd = children.system.text(b"x" * 300_000)
            started = children.start(argv=("/usr/bin/wc", "-c"), stdin=fd)
            children.system.close(fd)
            assert (await started.line()).strip() == "300000"


async def test_the_leader_alone_can_be_signalled() -> None:
    with trio.fail_after(30):
        async with RealChildren() as children:
            script = "sleep 1000 & echo $!; trap 'exit 5' TERM; echo ready; wait"
            started = children.shell(script)
            other = int(await started.line())
            assert await started.line() == "ready"
            assert children.system.signal("c", 1, signal.SIGTERM, "leader") == 1
            ended = await children.reaped()
            assert ended.exit.code == 5
            assert ended.lost == (other,)


# --- notification sockets


@pytest.fixture
def system() -> Iterator[LinuxSystem]:
    made = LinuxSystem()
    yield made
    made.dispose()


def test_everybody_may_write_and_the_path_goes_with_the_socket(
    system: LinuxSystem, tmp_path: Path
) -> None:
    path = tmp_path / "notify"
    before = os.umask(0o077)
    try:
        fd = system.notify_socket(str(path), "a", 1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert not os.get_inheritable(fd)
    system.close(fd)
    assert not path.exists()


def test_an_old_socket_is_replaced_and_anything_else_is_left(
    system: LinuxSystem, tmp_path: Path
) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as old:
        old.bind(str(path))
    fd = system.notify_socket(str(path), "a", 1)
    system.close(fd)
    path.write_text("mine")
    with pytest.raises(OSError, match="in use") as caught:
        system.notify_socket(str(path), "a", 1)
    assert caught.value.errno == errno.EADDRINUSE
    assert caught.value.filename == str(path)
    assert path.read_text() == "mine"


def test_a_path_that_no_socket_can_have_is_refused(system: LinuxSystem, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="107 bytes") as caught:
        system.notify_socket(str(tmp_path / ("x" * 108)), "a", 1)
    assert caught.value.errno == errno.ENAMETOOLONG
    with pytest.raises(OSError, match="No such file"):
        system.notify_socket(str(tmp_path / "none" / "x"), "a", 1)


def test_descriptors_that_are_sent_along_are_not_kept(system: LinuxSystem, tmp_path: Path) -> None:
    fd = system.notify_socket(str(tmp_path / "n"), "a", 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.connect(str(tmp_path / "n"))
        before = set(os.listdir("/proc/self/fd"))
        socket.send_fds(client, [b"FDSTORE=1"], [0])
        assert system.receive(fd) == b"FDSTORE=1"
        assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(OSError, match="Bad file"):
        system.receive(0)


def test_the_paths_of_notification_sockets_go_with_the_system(tmp_path: Path) -> None:
    system = LinuxSystem()
    system.notify_socket(str(tmp_path / "n"), "a", 1)
    system.dispose()
    assert not (tmp_path / "n").exists()
