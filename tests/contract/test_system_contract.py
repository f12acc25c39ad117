"""What every `System` promises: the same tests for the simulated and the real one."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from fake_system import FakeSystem, Script
from real_children import RealChildren, subreaping
from supervisor.model.component import Component, InetAddress, UnixAddress
from supervisor.system.linux import LinuxSystem
from supervisor.system.port import (
    Launch,
    Launched,
    LaunchFailed,
    ListenError,
    Reaped,
    System,
    TreeReport,
)

TERM, KILL = int(signal.SIGTERM), int(signal.SIGKILL)

SHELL = {
    # Each says that it is ready: only then are its traps in place.
    "closes 3": "echo ready; echo told >&3; exec sleep 1000",
    "lives": "echo ready; exec sleep 1000",
    "exits 7": "echo ready; exit 7",
    "ignores TERM": "trap '' TERM; echo ready; while :; do sleep 1000; done",
    "answers TERM": "trap 'exit 3' TERM; echo ready; while :; do sleep 1000 & wait; done",
    "leaves one": "setsid sleep 1000 & sleep 0; while ! [ -e /proc/$!/fd ]; do :; done; "
    'while read -r a b c d e f x < /proc/$!/stat; [ "$f" = $$ ]; do :; done; echo ready; exit 0',
}
SCRIPTS = {
    "lives": Script(prints=b"ready\n"),
    "exits 7": Script(prints=b"ready\n", exits=7),
    "ignores TERM": Script(prints=b"ready\n", ignores=frozenset({TERM})),
    "answers TERM": Script(prints=b"ready\n", catches=frozenset({TERM}), catch_code=3),
    "leaves one": Script(prints=b"ready\n", exits=0, leaves=1),
    "closes 3": Script(prints=b"ready\n"),
    "missing": Script(fails=("exec", errno.ENOENT, "exec /no/such: No such file or directory")),
    "bad chdir": Script(
        fails=("chdir", errno.ENOENT, "chdir to /no/such: No such file or directory")
    ),
}


class Talk(NamedTuple):
    """A client: it closes its end, and tells what it has been sent."""

    leave: Callable[[], None]
    heard: Callable[[], bytes]


class Rig:
    """One system and what a test needs around it."""

    system: System

    def __init__(self) -> None:
        self.news: list[Reaped | TreeReport] = []
        self._child_ended = trio.Event()

    def spec(self, behaviour: str) -> Component:
        raise NotImplementedError

    def connect(self, address: InetAddress | UnixAddress) -> None:
        raise NotImplementedError

    def talk(self, address: UnixAddress, data: bytes) -> Talk:
        """Connect and send *data*."""
        raise NotImplementedError

    def address(self, tmp_path: Path) -> UnixAddress:
        return UnixAddress(path=str(tmp_path / "s"))

    def hand(self, key: str, number: int, data: bytes) -> None:
        """Have a simulated child write what a real one writes by itself."""

    def tell(self, path: str, data: bytes) -> None:
        """Send a datagram to *path*, as a child would."""
        raise NotImplementedError

    def start(
        self,
        key: str,
        behaviour: str,
        generation: int = 1,
        *,
        stdin: int | None = None,
        extra: tuple[tuple[int, int], ...] = (),
    ) -> Running:
        reader, writer = self.system.pipe()
        running = Running(self, reader)
        launch = Launch(
            key=key,
            generation=generation,
            spec=self.spec(behaviour),
            stdin=stdin,
            stdout=writer,
            stderr=writer,
            extra=extra,
        )
        self.system.launch(launch, running.reported)
        self.system.close(writer)
        return running

    def told(self) -> None:
        """Note that a child has ended, as a signal handler does."""
        self._child_ended.set()

    async def next(self) -> Reaped | TreeReport:
        """Wait for the next report of `reap`."""
        while not self.news:
            self.news = self.system.reap()
            if not self.news:
                await self._child_ended.wait()
                self._child_ended = trio.Event()
        return self.news.pop(0)


class Running:
    """A launch and its output."""

    def __init__(self, rig: Rig, reader: int) -> None:
        self.rig, self.reader = rig, reader
        self.reports: list[Launched | LaunchFailed] = []
        self._reported = trio.Event()

    def reported(self, report: Launched | LaunchFailed) -> None:
        self.reports.append(report)
        self._reported.set()

    async def report(self) -> Launched | LaunchFailed:
        await self._reported.wait()
        return self.reports[0]

    async def read(self) -> bytes:
        """Return the next output, `b""` at its end."""
        system, readable = self.rig.system, trio.Event()
        while (data := system.read(self.reader, 100)) is None:
            system.watch(self.reader, readable.set)
            await readable.wait()
            system.unwatch(self.reader)
            readable = trio.Event()
        return data

    async def ready(self) -> int:
        """Wait until the program has said that it is ready; return its pid."""
        report = await self.report()
        assert isinstance(report, Launched)
        assert await self.read() == b"ready\n"
        return report.pid


class FakeRig(Rig):
    def __init__(self) -> None:
        super().__init__()
        self.system = self.fake = FakeSystem()
        self.fake.on_child = self.told

    def spec(self, behaviour: str) -> Component:
        self.fake.scripts[behaviour] = SCRIPTS[behaviour]
        return Component(tag=behaviour, argv=("/simulated",))

    def connect(self, address: InetAddress | UnixAddress) -> None:
        self.fake.connect(address, peer="uid=0 pid=1")

    def talk(self, address: UnixAddress, data: bytes) -> Talk:
        fd = self.fake.connect(address, peer="uid=0 pid=1", sends=data)
        return Talk(lambda: self.fake.leave(fd), lambda: bytes(self.fake.answered[fd]))

    def hand(self, key: str, number: int, data: bytes) -> None:
        self.fake.hand(key, number, data)

    def tell(self, path: str, data: bytes) -> None:
        self.fake.notify(path, data)


class RealRig(Rig):
    def __init__(self, system: LinuxSystem) -> None:
        super().__init__()
        self.system = system
        self.clients: list[socket.socket] = []

    def spec(self, behaviour: str) -> Component:
        if behaviour == "missing":
            return Component(tag="x", argv=("/no/such",))
        if behaviour == "bad chdir":
            return Component(tag="x", argv=("/bin/true",), chdir="/no/such")
        return Component(tag="x", argv=("/bin/sh", "-c", SHELL[behaviour]))

    def connect(self, address: InetAddress | UnixAddress) -> None:
        assert isinstance(address, UnixAddress)
        client = socket.socket(socket.AF_UNIX)
        client.connect(address.path)
        self.clients.append(client)

    def talk(self, address: UnixAddress, data: bytes) -> Talk:
        self.connect(address)
        client = self.clients[-1]
        client.sendall(data)
        return Talk(lambda: client.shutdown(socket.SHUT_WR), lambda: client.recv(1000))

    def tell(self, path: str, data: bytes) -> None:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        client.sendto(data, path)
        self.clients.append(client)


@asynccontextmanager
async def fake_rig() -> AsyncIterator[Rig]:
    rig = FakeRig()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.system.serve)
        yield rig
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def real_rig(children_files: bool | None) -> AsyncIterator[Rig]:
    async with RealChildren(children_files=children_files) as children:
        rig = RealRig(children.system)
        children.on_child = rig.told
        yield rig
        for client in rig.clients:
            client.close()


@pytest.fixture(scope="module", autouse=True)
def orphans_become_ours() -> Iterator[None]:
    with subreaping():
        yield


@pytest.fixture(params=["fake", "real", "real-without-children-files"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    if request.param == "fake":
        made = fake_rig()
    else:
        made = real_rig(False if request.param.endswith("files") else None)
    with trio.fail_after(60):
        async with made as rig:
            yield rig


async def test_a_launch_is_reported_once_and_its_end_with_its_code(rig: Rig) -> None:
    running = rig.start("a", "exits 7")
    pid = await running.ready()
    ended = await rig.next()
    assert isinstance(ended, Reaped)
    assert (ended.key, ended.generation, ended.exit.code, ended.lost) == ("a", 1, 7, ())
    assert ended.exit.message == "exited with 7"
    assert running.reports == [Launched("a", 1, pid)]


async def test_a_missing_program_is_reported_with_stage_and_errno_and_leaves_no_end(
    rig: Rig,
) -> None:
    running = rig.start("a", "missing")
    report = await running.report()
    assert isinstance(report, LaunchFailed)
    assert (report.exit.stage, report.exit.errno) == ("exec", errno.ENOENT)
    assert report.exit.message.startswith("exec /no/such: No such file or directory")
    assert await running.read() == b""
    assert rig.system.processes("a", 1) == ()
    # The next end is that of somebody else.
    await rig.start("b", "exits 7").ready()
    ended = await rig.next()
    assert ended.key == "b"


async def test_a_directory_that_does_not_exist_is_told_as_such(rig: Rig) -> None:
    report = await rig.start("a", "bad chdir").report()
    assert isinstance(report, LaunchFailed)
    assert (report.exit.stage, report.exit.errno) == ("chdir", errno.ENOENT)
    assert report.exit.message == "chdir to /no/such: No such file or directory"


async def test_a_signal_ends_a_child_that_does_not_mind_it(rig: Rig) -> None:
    await rig.start("a", "lives").ready()
    assert rig.system.signal("a", 1, TERM, "group") == 1
    ended = await rig.next()
    assert isinstance(ended, Reaped)
    assert (ended.exit.signal, ended.exit.code) == (TERM, None)
    assert ended.exit.message == "killed by SIGTERM"


async def test_a_child_may_answer_a_signal_with_a_code(rig: Rig) -> None:
    await rig.start("a", "answers TERM").ready()
    rig.system.signal("a", 1, TERM, "group")
    ended = await rig.next()
    assert isinstance(ended, Reaped)
    assert ended.exit.code == 3


async def test_a_deaf_child_lives_until_it_is_killed(rig: Rig) -> None:
    pid = await rig.start("a", "ignores TERM").ready()
    rig.system.signal("a", 1, TERM, "group")
    assert rig.system.processes("a", 1)[0] == pid
    rig.system.signal("a", 1, KILL, "tree")
    ended = await rig.next()
    assert isinstance(ended, Reaped)
    assert ended.exit.signal == KILL


async def test_signals_reach_only_the_child_and_generation_that_are_named(rig: Rig) -> None:
    await rig.start("a", "lives", generation=2).ready()
    await rig.start("b", "lives").ready()
    assert rig.system.signal("a", 1, KILL, "tree") == 0
    assert rig.system.signal("c", 1, KILL, "group") == 0
    assert rig.system.signal("b", 1, KILL, "group") == 1
    ended = await rig.next()
    assert (ended.key, ended.generation) == ("b", 1)
    assert len(rig.system.processes("a", 2)) == 1


async def test_a_signal_to_the_leader_ends_the_child_and_not_what_it_leaves(rig: Rig) -> None:
    await rig.start("a", "lives").ready()
    assert rig.system.signal("a", 1, TERM, "leader") == 1
    ended = await rig.next()
    assert isinstance(ended, Reaped)
    assert ended.exit.signal == TERM
    await rig.start("b", "leaves one").ready()
    left = await rig.next()
    assert isinstance(left, Reaped)
    assert rig.system.signal("b", 1, KILL, "leader") == 0
    assert rig.system.processes("b", 1) == left.lost
    rig.system.signal("b", 1, KILL, "tree")


async def test_a_child_has_further_descriptors_under_the_numbers_asked_for(rig: Rig) -> None:
    reader, writer = rig.system.pipe()
    running = rig.start("a", "closes 3", extra=((3, writer),))
    rig.system.close(writer)
    await running.ready()
    rig.hand("a", 3, b"told\n")
    assert await Running(rig, reader).read() == b"told\n"
    # It holds the descriptor for as long as it lives.
    assert rig.system.read(reader, 10) is None
    rig.system.signal("a", 1, KILL, "tree")
    await rig.next()
    assert await Running(rig, reader).read() == b""
    rig.system.close(reader)


@pytest.mark.parametrize("size", [0, 10, 200_000])
async def test_a_text_can_be_read_to_its_end_whatever_its_length(rig: Rig, size: int) -> None:
    text = b"x" * size
    fd = rig.system.text(text)
    read = b""
    while data := rig.system.read(fd, 70_000):
        read += data
    assert read == text
    rig.system.close(fd)


async def test_a_datagram_is_received_whole_and_once(rig: Rig, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    fd = rig.system.notify_socket(path, "a", 1)
    assert rig.system.receive(fd) is None
    arrived = trio.Event()
    rig.system.watch(fd, arrived.set)
    rig.tell(path, b"READY=1\nSTATUS=up")
    rig.tell(path, b"STOPPING=1")
    await arrived.wait()
    assert rig.system.receive(fd) == b"READY=1\nSTATUS=up"
    assert rig.system.receive(fd) == b"STOPPING=1"
    assert rig.system.receive(fd) is None
    rig.system.close(fd)
    rig.system.close(rig.system.notify_socket(path, "a", 1))  # The path is free again.


async def test_what_outlives_the_leader_is_reported_and_can_be_killed(rig: Rig) -> None:
    running = rig.start("a", "leaves one")
    pid = await running.ready()
    ended = await rig.next()
    assert isinstance(ended, Reaped)
    assert ended.exit.code == 0
    assert len(ended.lost) == 1
    assert ended.lost != (pid,)
    assert rig.system.processes("a", 1) == ended.lost
    assert rig.system.signal("a", 1, KILL, "lost") == 1
    gone = await rig.next()
    assert gone == TreeReport("a", 1, ())
    assert rig.system.processes("a", 1) == ()
    assert rig.system.signal("a", 1, KILL, "tree") == 0


async def test_output_stays_open_while_somebody_of_the_tree_holds_it(rig: Rig) -> None:
    running = rig.start("a", "leaves one")
    await running.ready()
    await rig.next()
    assert rig.system.read(running.reader, 100) is None
    rig.system.signal("a", 1, KILL, "tree")
    await rig.next()
    assert await running.read() == b""


async def test_many_ends_are_collected_by_one_reap(rig: Rig) -> None:
    for n in range(20):
        await rig.start(f"c{n}", "lives").ready()
    for n in range(20):
        assert rig.system.signal(f"c{n}", 1, TERM, "group") == 1
    ends = {(await rig.next()).key for _ in range(20)}
    assert ends == {f"c{n}" for n in range(20)}
    assert rig.system.reap() == []


async def test_a_read_of_an_empty_pipe_is_none_and_of_a_closed_one_is_the_end(rig: Rig) -> None:
    reader, writer = rig.system.pipe()
    assert rig.system.read(reader, 10) is None
    rig.system.close(writer)
    assert rig.system.read(reader, 10) == b""
    rig.system.close(reader)


async def test_a_watch_is_called_again_while_there_is_more_and_not_after_unwatch(rig: Rig) -> None:
    running = rig.start("a", "lives")
    calls, twice = 0, trio.Event()

    def ready() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            rig.system.unwatch(running.reader)
            twice.set()
            return
        assert rig.system.read(running.reader, 3) == b"rea"

    rig.system.watch(running.reader, ready)
    await twice.wait()
    for _ in range(5):
        await trio.lowlevel.checkpoint()
    assert calls == 2
    rig.system.unwatch(running.reader)


async def test_a_watcher_that_raises_loses_its_watch_and_disturbs_nobody(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = rig.system.pipe(), rig.system.pipe()
    rig.system.close(first[1])
    rig.system.close(second[1])
    calls, seen = [], trio.Event()

    def bad() -> None:
        calls.append(1)
        raise RuntimeError("broken")

    rig.system.watch(first[0], bad)
    rig.system.watch(second[0], seen.set)
    await seen.wait()
    for _ in range(5):
        await trio.lowlevel.checkpoint()
    assert len(calls) == 1


async def test_a_listener_gives_each_connection_once(rig: Rig, tmp_path: Path) -> None:
    address = rig.address(tmp_path)
    fd = rig.system.listen(address)
    assert rig.system.accept(fd) is None
    knocked = trio.Event()
    rig.system.watch(fd, knocked.set)
    rig.connect(address)
    await knocked.wait()
    connection = rig.system.accept(fd)
    assert connection is not None
    assert connection.peer.startswith("uid=")
    assert rig.system.accept(fd) is None
    rig.system.close(connection.fd)
    rig.system.unlisten(fd, address)
    rig.system.unlisten(rig.system.listen(address), address)


async def test_what_is_said_on_a_connection_comes_once_and_then_its_end(
    rig: Rig, tmp_path: Path
) -> None:
    address = rig.address(tmp_path)
    listener = rig.system.listen(address)
    client = rig.talk(address, b"hello")
    knocked = trio.Event()
    rig.system.watch(listener, knocked.set)
    await knocked.wait()
    connection = rig.system.accept(listener)
    assert connection is not None
    fd = connection.fd
    await rig.system.readable(fd)
    assert rig.system.take(fd, 2) == b"he"
    assert rig.system.take(fd, 100) == b"llo"
    assert rig.system.take(fd, 100) is None
    await rig.system.writable(fd)
    assert rig.system.send(fd, b"answer") == 6
    client.leave()
    await rig.system.readable(fd)
    assert rig.system.take(fd, 100) == b""
    assert client.heard() == b"answer"
    rig.system.close(fd)
    rig.system.unlisten(listener, address)


async def test_an_address_that_is_listened_on_already_is_refused(rig: Rig, tmp_path: Path) -> None:
    address = rig.address(tmp_path)
    fd = rig.system.listen(address)
    with pytest.raises(ListenError) as caught:
        rig.system.listen(address)
    assert caught.value.stage == "bind"
    assert caught.value.error.errno == errno.EADDRINUSE
    assert caught.value.message == f"bind {address.url}: is in use by another process"
    rig.system.unlisten(fd, address)


async def test_a_blocking_job_returns_and_raises_as_it_is(rig: Rig) -> None:
    assert await rig.system.blocking(os.path.join, "a", "b") == "a/b"
    with pytest.raises(ZeroDivisionError):
        await rig.system.blocking(divmod, 1, 0)
