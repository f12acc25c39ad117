"""Idle connections and servers on the real kernel: what it tells, and what piesd does about it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import trio

from piesd_process import PATIENCE, Piesd, piesd
from places import free_port
from real_children import RealChildren
from supervisor.model.component import Address, InetAddress, UnixAddress
from supervisor.system import netdiag
from supervisor.system.arrivals import Arrivals
from supervisor.system.connections import flow
from supervisor.system.sockets import open_listener

pytestmark = pytest.mark.real

ADDRESSES: dict[str, Address] = {
    "tcp": InetAddress(host="127.0.0.1", port=0),
    "tcp6": InetAddress(host="::1", port=0),
    "all": InetAddress(host="0.0.0.0", port=0),
    "path": UnixAddress(path="socket"),
    "abstract": UnixAddress(path="@piesd-test"),
    "seqpacket": UnixAddress(path="packets", kind="seqpacket"),
}


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=sorted(ADDRESSES))
def listener(
    request: pytest.FixtureRequest, tmp_path: Path, clients: ExitStack
) -> tuple[socket.socket, Address]:
    address = ADDRESSES[request.param]
    if isinstance(address, UnixAddress):
        path = f"{address.path}-{os.getpid()}"
        path = path if address.abstract else str(tmp_path / path)
        address = UnixAddress(path=path, kind=address.kind)
        return clients.enter_context(open_listener(address)), address
    try:
        opened = clients.enter_context(open_listener(address))
    except Exception as error:  # noqa: BLE001 - It says why.
        pytest.skip(f"cannot listen: {error}")
    return opened, InetAddress(host=address.host, port=opened.getsockname()[1])


def connect(to: socket.socket) -> socket.socket:
    client = socket.socket(to.family, to.type)
    client.settimeout(PATIENCE)
    client.connect(to.getsockname())
    return client


def test_a_connection_counts_from_the_moment_it_waits_until_both_ends_are_gone(
    listener: tuple[socket.socket, Address], clients: ExitStack
) -> None:
    opened, address = listener
    assert netdiag.connections(address) == 0
    first = clients.enter_context(connect(opened))
    second = clients.enter_context(connect(opened))
    assert netdiag.connections(address) == 2
    served = clients.enter_context(opened.accept()[0])
    assert netdiag.connections(address) == 2
    second.close()
    assert netdiag.connections(address) == 2  # It is still in the queue, to be served.
    clients.enter_context(opened.accept()[0]).close()
    assert netdiag.connections(address) == 1
    served.shutdown(socket.SHUT_WR)
    assert netdiag.connections(address) == 1  # Its client may still have much to say.
    served.close()
    assert first.recv(1) == b""
    assert netdiag.connections(address) == 0


def test_connections_to_another_address_at_the_same_port_do_not_count(clients: ExitStack) -> None:
    one = clients.enter_context(open_listener(InetAddress(host="127.0.0.1", port=0)))
    port = one.getsockname()[1]
    clients.enter_context(open_listener(InetAddress(host="127.0.0.2", port=port)))
    clients.enter_context(connect(one))
    assert netdiag.connections(InetAddress(host="127.0.0.1", port=port)) == 1
    assert netdiag.connections(InetAddress(host="127.0.0.2", port=port)) == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_tells_how_long_a_connection_was_silent_that_another_holds(
    clients: ExitStack, host: str
) -> None:
    opened = clients.enter_context(open_listener(InetAddress(host=host, port=0)))
    client = clients.enter_context(connect(opened))
    served = opened.accept()[0]
    ends = flow(served.fileno())
    assert ends is not None
    double = clients.enter_context(served.dup())
    served.close()
    first = netdiag.quiet(ends)
    assert first is not None
    while (quiet := netdiag.quiet(ends)) is not None and quiet < first + 0.02:
        pass
    client.send(b"x")
    after = netdiag.quiet(ends)
    assert quiet is not None
    assert after is not None
    assert after < quiet
    client.close()
    double.close()
    assert netdiag.quiet(ends) is None
    # Who has the same ends later on is somebody else.
    assert netdiag.quiet(ends._replace(inode=1)) is None


def test_a_unix_socket_is_no_connection_of_tcp(clients: ExitStack) -> None:
    ours, _theirs = (clients.enter_context(each) for each in socket.socketpair())
    assert flow(ours.fileno()) is None


def test_a_visit_is_seen_afterwards_even_if_it_is_over(
    listener: tuple[socket.socket, Address], clients: ExitStack
) -> None:
    opened, _ = listener
    arrivals = Arrivals()
    clients.callback(arrivals.dispose)
    arrivals.ask(opened.fileno())
    assert not arrivals.came(opened.fileno())
    connect(opened).close()
    opened.accept()[0].close()
    assert arrivals.came(opened.fileno())
    arrivals.ask(opened.fileno())
    assert not arrivals.came(opened.fileno())


def test_a_datagram_is_a_visit_too(clients: ExitStack) -> None:
    address = InetAddress(host="127.0.0.1", port=0, protocol="udp")
    opened = clients.enter_context(open_listener(address))
    arrivals = Arrivals()
    clients.callback(arrivals.dispose)
    arrivals.ask(opened.fileno())
    client = clients.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    client.sendto(b"x", opened.getsockname())
    assert opened.recv(9) == b"x"
    assert arrivals.came(opened.fileno())


def test_a_listener_of_which_nothing_is_expected_any_more_can_be_closed(
    clients: ExitStack,
) -> None:
    arrivals = Arrivals()
    clients.callback(arrivals.dispose)
    address = InetAddress(host="127.0.0.1", port=free_port())
    for _ in range(200):
        opened = open_listener(address)
        arrivals.ask(opened.fileno())
        assert not arrivals.came(opened.fileno())
        arrivals.forget(opened.fileno())
        opened.close()


async def test_a_tree_is_stopped_when_sigstop_has_reached_all_of_it() -> None:
    with trio.fail_after(PATIENCE):
        async with RealChildren() as children:
            started = children.shell("sleep 1000 & echo up; wait", key="tree")
            assert await started.line() == "up"
            assert not children.system.is_stopped("tree", 1)
            children.system.signal("tree", 1, signal.SIGSTOP, "tree")
            while not children.system.is_stopped("tree", 1):
                await trio.lowlevel.checkpoint()
            children.system.signal("tree", 1, signal.SIGCONT, "tree")
            assert not children.system.is_stopped("tree", 1)


# --- piesd


def ask(port: int, text: bytes = b"hello\n") -> bytes:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(4096), b""))


def echoes(client: socket.socket) -> bool:
    try:
        client.sendall(b"x")
        return client.recv(1) == b"x"
    except (BrokenPipeError, ConnectionResetError):
        return False


def test_a_silent_connection_is_ended_and_one_that_talks_is_not(tmp_path: Path) -> None:
    port = free_port()
    config = f"""
[component.cat]
mode = "inetd"
socket = "inet://127.0.0.1:{port}"
command = "cat"
idle-timeout = 1.5
"""
    with piesd(tmp_path, config) as daemon:
        silent = socket.create_connection(("127.0.0.1", port), PATIENCE)
        talking = socket.create_connection(("127.0.0.1", port), PATIENCE)
        with silent, talking:
            silent.setblocking(False)
            ended, said_at, pause = False, time.monotonic(), 0.0
            while not ended:
                if not echoes(talking):
                    pause = max(pause, time.monotonic() - said_at)
                    assert pause > 1, "it has talked all the time"
                    pytest.skip(f"this machine let us say nothing for {pause:.1f} s")
                pause, said_at = max(pause, time.monotonic() - said_at), time.monotonic()
                try:
                    assert silent.recv(1) == b""
                    ended = True
                except BlockingIOError:
                    pass
            daemon.until(lambda: "'cat#1' stopped" in daemon.log)
            assert "'cat#1' is stopping: idle for 1.5 s" in daemon.log
            assert talking.recv(1) == b""  # Nor may it be silent for so long.


SERVER = """
import os, signal, socket, sys

def stop(*_):
    with open(sys.argv[1]) as gate:  # Until somebody has written there.
        gate.read()
    os._exit(0)

signal.signal(signal.SIGTERM, stop)
listener = socket.socket(fileno=0)
while True:
    client, _ = listener.accept()
    with client:
        while client.recv(4096):
            pass
        client.sendall(b"%d" % os.getpid())
"""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "gate")
    return tmp_path / "gate"


@pytest.fixture(params=["tcp", "unix"])
def server(request: pytest.FixtureRequest, tmp_path: Path, gate: Path) -> tuple[str, socket.socket]:
    program = tmp_path / "server.py"
    program.write_text(dedent(SERVER))
    client = socket.socket(socket.AF_INET if request.param == "tcp" else socket.AF_UNIX)
    url = f"inet://127.0.0.1:{free_port()}"
    if request.param == "unix":
        url = f"unix://{tmp_path}/listener"
    return (
        f"""
[component.server]
mode = "accept"
socket = "{url}"
command = ["{sys.executable}", "{program}", "{gate}"]
idle-stop = 0.2
stop-timeout = 60
""",
        client,
    )


def place(config: str) -> tuple[str, int] | str:
    url = config.partition('socket = "')[2].partition('"')[0]
    _, _, rest = url.partition("://")
    if url.startswith("unix"):
        return rest
    host, _, port = rest.rpartition(":")
    return host, int(port)


def talk(config: str) -> int:
    """Ask the server who it is."""
    where = place(config)
    with socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET) as client:
        client.settimeout(PATIENCE)
        client.connect(where)
        client.shutdown(socket.SHUT_WR)
        return int(b"".join(iter(lambda: client.recv(99), b"")))


def test_a_server_that_is_idle_is_stopped_and_who_comes_meanwhile_gets_the_next(
    tmp_path: Path, server: tuple[str, socket.socket], gate: Path
) -> None:
    config, client = server
    with piesd(tmp_path, config) as daemon, client:
        first = talk(config)
        daemon.until(lambda: "'server#1' is stopping: idle for 0.2 s" in daemon.log)
        client.settimeout(PATIENCE)
        client.connect(place(config))
        client.shutdown(socket.SHUT_WR)
        with gate.open("w"):
            pass  # Now the first one may end.
        assert int(client.recv(99)) not in (0, first)
        assert daemon.rows("server")[0]["last-exit"]["message"] == (
            "idle for 0.2 s; the next connection starts it"
        )
        assert "idle for 0.2 s; the next connection starts it" in daemon.piesctl("why", "server")
        _let_end(daemon, gate)


def test_a_server_with_a_connection_is_not_idle_however_silent(
    tmp_path: Path, server: tuple[str, socket.socket], gate: Path
) -> None:
    config, client = server
    with piesd(tmp_path, config) as daemon, client:
        client.settimeout(PATIENCE)
        client.connect(place(config))
        pid = daemon.until(lambda: _server(daemon).get("PID"))
        # That is five looks, and no more than two were needed.
        daemon.until(lambda: _server(daemon).get("uptime", 0) > 1)
        client.shutdown(socket.SHUT_WR)
        assert int(client.recv(99)) == pid
        client.close()
        daemon.until(lambda: "'server#1' is stopping: idle for 0.2 s" in daemon.log)
        _let_end(daemon, gate)


def _server(daemon: Piesd) -> dict[str, Any]:
    """Return the row of the server that runs, an empty one if there is none."""
    return next((row for row in daemon.rows("server") if "PID" in row), {})


def _let_end(daemon: Piesd, gate: Path) -> None:
    """Stop the server and let it end, that it need not be killed."""
    daemon.order("DELETE", {"op": "component", "arg": "server"}, wait=None)
    if _server(daemon):
        with gate.open("w"):
            pass
