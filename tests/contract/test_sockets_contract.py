"""What every `System` promises about sockets: the same for the simulated and the real one."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from fake_system import FakeSystem
from supervisor.model.component import InetAddress, SocketType, UnixAddress
from supervisor.system.linux import LinuxSystem
from supervisor.system.port import Connection, SocketName, System
from supervisor.system.sockets import KINDS


class Rig:
    """A system, a listener of it, and a client that has been accepted there."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.address = InetAddress(host="127.0.0.1", port=0)
        self.listener = system.listen(self.address)
        self.client: socket.socket | None = None

    async def come(self) -> Connection:
        """Let a client connect, and accept it."""
        if isinstance(self.system, FakeSystem):
            self.system.connect(self.address)
        else:
            self.client = socket.socket()
            self.client.settimeout(10)
            self.client.connect(self.system.names(self.listener)[0])
        await self.ready(self.listener)
        connection = self.system.accept(self.listener)
        assert connection is not None
        return connection

    async def ready(self, fd: int) -> None:
        """Wait until there is something at a descriptor."""
        seen = trio.Event()
        self.system.watch(fd, seen.set)
        await seen.wait()
        self.system.unwatch(fd)

    def send(self, fd: int, data: bytes) -> None:
        if isinstance(self.system, FakeSystem):
            self.system.say(fd, data)
        elif self.client is not None:
            self.client.sendall(data)

    def leave(self, fd: int) -> None:
        if isinstance(self.system, FakeSystem):
            self.system.leave(fd)
        elif self.client is not None:
            self.client.shutdown(socket.SHUT_WR)

    def heard(self, fd: int) -> bytes:
        """Return what the client has been told, up to its end."""
        if isinstance(self.system, FakeSystem):
            return self.system.told[fd]
        assert self.client is not None
        heard = b""
        while data := self.client.recv(100):
            heard += data
        return heard


@pytest.fixture(params=["fake", "real"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    system: System = FakeSystem() if request.param == "fake" else LinuxSystem()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.serve)
            rig = Rig(system)
            yield rig
            nursery.cancel_scope.cancel()
    if rig.client is not None:
        rig.client.close()
    if isinstance(system, LinuxSystem):
        system.dispose()


async def test_what_is_seen_is_left_and_what_is_taken_is_gone(rig: Rig) -> None:
    connection = await rig.come()
    fd, system = connection.fd, rig.system
    assert system.peek(fd, 10) is None
    rig.send(fd, b"hello world")
    await rig.ready(fd)
    assert system.peek(fd, 5) == system.peek(fd, 5) == b"hello"
    assert system.consume(fd, 6) == b"hello "
    assert system.consume(fd, 0) == b""
    assert system.peek(fd, 100) == b"world"
    assert system.consume(fd, 5) == b"world"
    assert system.peek(fd, 100) is None
    rig.leave(fd)
    await rig.ready(fd)
    assert system.peek(fd, 100) == b""
    system.close(fd)


async def test_a_farewell_reaches_the_client_whose_end_is_awaited(rig: Rig) -> None:
    connection = await rig.come()
    fd, system = connection.fd, rig.system
    rig.send(fd, b"nobody reads this")
    await rig.ready(fd)
    assert system.farewell(fd, b"no")
    assert rig.heard(fd) == b"no"
    assert system.read(fd, 100) == b"nobody reads this"
    assert system.read(fd, 100) is None
    rig.leave(fd)
    await rig.ready(fd)
    assert system.read(fd, 100) == b""
    system.close(fd)


async def test_without_a_message_there_is_nothing_to_wait_for(rig: Rig) -> None:
    connection = await rig.come()
    assert not rig.system.farewell(connection.fd, b"")
    assert rig.heard(connection.fd) == b""
    rig.system.close(connection.fd)


async def test_both_ends_of_a_connection_have_names(rig: Rig) -> None:
    connection = await rig.come()
    ours, theirs = rig.system.names(connection.fd)
    assert connection.peer == f"{theirs.address}:{theirs.port}"
    assert connection.address == theirs.address
    assert isinstance(ours, SocketName)
    assert ours.port
    rig.system.close(connection.fd)


@pytest.mark.parametrize("kind", ["stream", "dgram", "seqpacket"])
@pytest.mark.parametrize("place", ["file", "@abstract"])
async def test_a_listener_of_any_kind_may_be_opened_and_changed(
    rig: Rig, tmp_path: Path, kind: SocketType, place: str
) -> None:
    path = f"@{tmp_path}" if place.startswith("@") else str(tmp_path / place)
    address = UnixAddress(path=path, kind=kind)
    for blocking in (False, True):
        fd = rig.system.listen(address, 5, blocking=blocking)
        assert _is(rig, fd) == (kind, blocking)
        assert rig.system.leads_to(address, fd)
        rig.system.relisten(fd, 7, blocking=not blocking)
        assert _is(rig, fd) == (kind, not blocking)
        rig.system.unlisten(fd, address)


def _is(rig: Rig, fd: int) -> tuple[str, bool]:
    """Return of what kind a listener is, and whether it blocks."""
    if isinstance(rig.system, FakeSystem):
        return rig.system.listeners[fd].kind, rig.system.opened[fd][1]
    with socket.socket(fileno=socket.dup(fd)) as opened:
        name = next(name for name, number in KINDS.items() if number == opened.type)
        return name, os.get_blocking(fd)
