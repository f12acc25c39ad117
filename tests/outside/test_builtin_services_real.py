"""The built-in services and TCPMUX of a real piesd, by every kind of socket, byte for byte."""

from __future__ import annotations

import os
import pwd
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from piesd_process import PATIENCE, Piesd, piesd
from supervisor.runtime.answering import PER_SECOND
from supervisor.runtime.services import PATTERN

pytestmark = pytest.mark.real

ME = pwd.getpwuid(os.geteuid()).pw_name

_HOSTS = {"echo": 2, "discard": 3, "time": 4, "daytime": 5, "chargen": 6, "qotd": 7}
"""The last number of the loopback address at which each service is, at any free port."""


def _internal(service: str, tag: str, sockets: list[str], more: str = "") -> str:
    urls = ", ".join(f'"{each}"' for each in sockets)
    head = f'[component.{tag}]\nmode = "inetd"\ninternal = true\nservice = "{service}"\n'
    return f"{head}socket = [{urls}]\n{more}"


def _everything(home: Path) -> str:
    parts = []
    for service, host in _HOSTS.items():
        both = [f"inet://127.0.0.{host}:0", f"inet+udp://127.0.0.{host}:0"]
        six = ["inet6://[::1]:0", "inet6+udp://[::1]:0"] if service == "echo" else []
        stream = [f"unix://{home}/{service}"]
        parts.append(_internal(service, service, both + six + stream))
        for kind in ("dgram", "seqpacket"):
            place = [f"unix://{home}/{service}.{kind}"]
            kinds = f'socket-type = "{kind}"\n'
            parts.append(_internal(service, f"{service}-{kind}", place, kinds))
    return "".join(parts)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Piesd]:
    home = tmp_path_factory.mktemp("served")
    with piesd(home, _everything(home)) as daemon:
        yield daemon


def _port(daemon: Piesd, host: str, kind: socket.SocketKind) -> int:
    """Return the port that a listener of piesd was given by the kernel."""
    found = [
        each.laddr.port
        for each in psutil.Process(daemon.pid).net_connections("inet")
        if (each.type, each.laddr.ip, each.raddr) == (kind, host, ())
    ]
    assert len(found) == 1, (host, kind, found)
    return int(found[0])


WAYS = [
    (socket.AF_INET, socket.SOCK_STREAM),
    (socket.AF_INET, socket.SOCK_DGRAM),
    (socket.AF_UNIX, socket.SOCK_STREAM),
    (socket.AF_UNIX, socket.SOCK_DGRAM),
    (socket.AF_UNIX, socket.SOCK_SEQPACKET),
]
BY_EVERY_WAY = pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way[0].name}-{way[1].name}")
STREAMS = pytest.mark.parametrize("way", [WAYS[0], WAYS[2]], ids=["tcp", "unix"])


@contextmanager
def _client(
    daemon: Piesd, service: str, way: tuple[socket.AddressFamily, socket.SocketKind]
) -> Iterator[socket.socket]:
    """Connect to a service; at a UNIX socket for datagrams under a name of our own."""
    family, kind = way
    place: Any = (f"127.0.0.{_HOSTS[service]}", 0)
    with ExitStack() as stack, socket.socket(family, kind) as client:
        client.settimeout(PATIENCE)
        if family == socket.AF_UNIX:
            name = {socket.SOCK_STREAM: "", socket.SOCK_DGRAM: ".dgram"}.get(kind, ".seqpacket")
            place = str(daemon.home / f"{service}{name}")
            if kind == socket.SOCK_DGRAM:
                own = daemon.home / f"client{id(client)}"
                client.bind(str(own))
                stack.callback(own.unlink)
        else:
            place = (place[0], _port(daemon, place[0], kind))
        client.connect(place)
        yield client


def _all(client: socket.socket) -> bytes:
    """Return everything up to the end."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def _answer(client: socket.socket, asked: bytes = b"") -> bytes:
    """Return what a service says that says it once."""
    if client.type == socket.SOCK_DGRAM:
        client.send(asked)
        return client.recv(65536)
    return _all(client)


# --- each service by each way


@BY_EVERY_WAY
def test_echo(served: Piesd, way: Any) -> None:
    with _client(served, "echo", way) as client:
        client.send(b"hello\r\n")
        assert client.recv(100) == b"hello\r\n"
        client.send(bytes(range(256)))
        assert client.recv(1000) == bytes(range(256))
        if way[1] != socket.SOCK_DGRAM:
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b""


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_echo_over_ipv6(served: Piesd, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET6, kind) as client:
        client.settimeout(PATIENCE)
        client.connect(("::1", _port(served, "::1", kind)))
        client.send(b"hello")
        assert client.recv(100) == b"hello"


@STREAMS
def test_echo_of_much_more_than_any_buffer_holds(served: Piesd, way: Any) -> None:
    sent = os.urandom(4_000_000)
    with _client(served, "echo", way) as client:
        got, rest = b"", memoryview(sent)
        client.setblocking(False)
        deadline = time.monotonic() + PATIENCE
        while len(got) < len(sent):
            assert time.monotonic() < deadline
            with suppress(BlockingIOError):
                rest = rest[client.send(rest) :] if rest else rest
            with suppress(BlockingIOError):
                got += client.recv(1_000_000)
        assert got == sent


@BY_EVERY_WAY
def test_discard(served: Piesd, way: Any) -> None:
    with _client(served, "discard", way) as client:
        for _ in range(100):
            client.send(b"x" * 1000)
        if way[1] != socket.SOCK_DGRAM:
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b""


@BY_EVERY_WAY
def test_time(served: Piesd, way: Any) -> None:
    with _client(served, "time", way) as client:
        before = int(time.time())
        (told,) = struct.unpack("!I", _answer(client))
        assert before <= told - 2_208_988_800 <= time.time()


@BY_EVERY_WAY
def test_daytime(served: Piesd, way: Any) -> None:
    with _client(served, "daytime", way) as client:
        before = int(time.time())
        told = _answer(client).decode()
        assert told.endswith("\r\n")
        assert len(told) == 26
        at = datetime.strptime(told.strip(), "%a %b %d %H:%M:%S %Y").astimezone()
        assert before <= at.timestamp() <= time.time()


@BY_EVERY_WAY
def test_chargen(served: Piesd, way: Any) -> None:
    with _client(served, "chargen", way) as client:
        if way[1] == socket.SOCK_DGRAM:
            assert _answer(client, b"?" * 100) == PATTERN[:100]
            return
        got = b""
        while len(got) < 3 * len(PATTERN):
            got += client.recv(8192)
        assert got == (PATTERN * 5)[: len(got)]
    tag = "chargen" if way[1] == socket.SOCK_STREAM else "chargen-seqpacket"
    served.until(lambda: len(served.rows(tag)) == 1, "the end of that connection")


@BY_EVERY_WAY
def test_qotd(served: Piesd, way: Any) -> None:
    quote = served.home / "state" / "piesd.qotd"
    quote.parent.mkdir(exist_ok=True)
    quote.write_text("To be,\nor not to be.\n")
    with _client(served, "qotd", way) as client:
        assert _answer(client, b"?" * 100) == b"To be,\r\nor not to be.\r\n"


def test_qotd_from_the_file_that_the_configuration_names_or_nothing(tmp_path: Path) -> None:
    place = f"unix://{tmp_path}/qotd"
    config = f'[daemon]\nqotd-file = "{tmp_path}/quote"\n{_internal("qotd", "qotd", [place])}'
    with piesd(tmp_path, config) as daemon:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(tmp_path / "qotd"))
            assert _all(client) == b""
        (tmp_path / "quote").write_text("now")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(tmp_path / "qotd"))
            assert _all(client) == b"now"
        daemon.until(lambda: f"{tmp_path}/quote: No such file" in daemon.log)


def test_what_a_client_is_told_reaches_it_even_if_it_has_said_something(served: Piesd) -> None:
    with _client(served, "time", WAYS[0]) as client:
        client.send(b"unread" * 1000)
        assert len(_all(client)) == 4


# --- as components


def test_a_connection_has_a_row_without_pid_and_ends_with_its_component(tmp_path: Path) -> None:
    place = f"unix://{tmp_path}/echo"
    with piesd(tmp_path, _internal("echo", "echo", [place])) as daemon:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(tmp_path / "echo"))
            client.send(b"x")
            assert client.recv(10) == b"x"
            _, row = daemon.rows("echo")
            assert row["status"] == "running"
            assert "PID" not in row
            assert "is running (since" in daemon.piesctl("why", "echo#1")
            assert "running" in daemon.piesctl("list")
            assert daemon.order("DELETE", {"op": "component", "arg": "echo"}).status == 200
            assert client.recv(10) == b""
        assert daemon.row("echo")["status"] == "stopped"


READER = """
import os, sys

while True:  # It is ended from outside.
    for number in map(int, sys.argv[1:]):
        os.read(number, 8192)
"""


def test_two_hundred_busy_streams_do_not_hold_up_a_respawn(tmp_path: Path) -> None:
    config = (
        _internal("chargen", "chargen", ["inet://127.0.0.6:0"])
        + "[component.short]\ncommand = 'sleep 1000'\n"
    )
    with piesd(tmp_path, config) as daemon, ExitStack() as stack:
        place = ("127.0.0.6", _port(daemon, "127.0.0.6", socket.SOCK_STREAM))
        clients = [stack.enter_context(socket.create_connection(place)) for _ in range(200)]
        daemon.until(lambda: len(daemon.rows("chargen")) == 201)
        numbers = [client.fileno() for client in clients]
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, *map(str, numbers)], pass_fds=numbers
        )
        try:
            pid = daemon.until_status("short", "running")["PID"]
            begun = time.monotonic()
            os.kill(pid, 9)
            daemon.until(
                lambda: daemon.row("short").get("PID", pid) != pid, "a new child beside the streams"
            )
            # They are read until the end, so this was not for want of streams.
            assert time.monotonic() - begun < PATIENCE / 2
        finally:
            reader.kill()
            reader.wait()


# --- datagrams that are tricks


def _forge(sender: tuple[str, int], place: tuple[str, int], data: bytes) -> bytes:
    """Return an IPv4 packet with a datagram that says to come from *sender*."""
    datagram = struct.pack("!HHHH", sender[1], place[1], 8 + len(data), 0) + data
    ends = socket.inet_aton(sender[0]) + socket.inet_aton(place[0])
    # The length and the check sum are filled in by the kernel, raw(7).
    return struct.pack("!BBHHHBBH", 0x45, 0, 0, 1, 0, 64, socket.IPPROTO_UDP, 0) + ends + datagram


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may forge a datagram")
def test_two_sockets_that_are_pointed_at_each_other_fall_silent(tmp_path: Path) -> None:
    places = ["inet+udp://127.0.0.2:0", "inet+udp://127.0.0.3:0"]
    with piesd(tmp_path, _internal("echo", "echo", places)) as daemon:
        one, two = (
            (host, _port(daemon, host, socket.SOCK_DGRAM)) for host in ("127.0.0.2", "127.0.0.3")
        )
        _expect_silence(one, two, answered=0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may forge a datagram")
def test_two_piesds_that_are_pointed_at_each_other_fall_silent(tmp_path: Path) -> None:
    homes = [tmp_path / "one", tmp_path / "two"]
    with ExitStack() as stack:
        places = []
        for home, host in zip(homes, ("127.0.0.2", "127.0.0.3"), strict=True):
            home.mkdir()
            config = _internal("echo", "echo", [f"inet+udp://{host}:0"])
            daemon = stack.enter_context(piesd(home, config))
            places.append((host, _port(daemon, host, socket.SOCK_DGRAM)))
        _expect_silence(places[0], places[1], answered=4 * PER_SECOND)


def _expect_silence(one: tuple[str, int], two: tuple[str, int], answered: int) -> None:
    """Forge a datagram between two services, and count what they say to each other.

    As long as they talk, one of them has a datagram before it whenever it is asked something: so
    they are silent when both have answered others and said nothing meanwhile.
    """
    with (
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as forger,
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as sniffer,
    ):
        sniffer.setblocking(False)
        forger.sendto(_forge(two, one, b"loop"), (one[0], 0))
        said = more = 0
        for host in range(1, 250):
            for place in (one, two):
                _ping(f"127.0.1.{host}", place)
            more = sum(packet.endswith(b"loop") for packet in _packets(sniffer))
            said += more
            if not more:
                break
        assert not more, "they talk for ever"
        assert 1 <= said <= 1 + answered


def _ping(host: str, place: tuple[str, int]) -> None:
    """Be answered by a service: it has worked off by then what was there before."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.bind((host, 0))
        client.sendto(b"ping", place)
        assert client.recv(100) == b"ping"


def _packets(sniffer: socket.socket) -> Iterator[bytes]:
    with suppress(BlockingIOError):
        while True:
            yield sniffer.recv(65536)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has the low ports")
def test_a_service_that_asks_is_not_answered(served: Piesd) -> None:
    place = ("127.0.0.2", _port(served, "127.0.0.2", socket.SOCK_DGRAM))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        service.bind(("127.0.0.9", 19))
        service.setblocking(False)
        client.settimeout(PATIENCE)
        client.bind(("127.0.0.9", 0))
        service.sendto(b"trick", place)
        client.sendto(b"honest", place)
        assert client.recv(100) == b"honest"
        with pytest.raises(BlockingIOError):
            service.recv(100)


def test_a_wildcard_socket_answers_from_the_address_that_alone_was_asked(tmp_path: Path) -> None:
    with piesd(tmp_path, _internal("echo", "echo", ["inet+udp://0.0.0.0:0"])) as daemon:
        port = _port(daemon, "0.0.0.0", socket.SOCK_DGRAM)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            client.sendto(b"to many", ("127.255.255.255", port))
            client.sendto(b"to one", ("127.0.0.99", port))
            assert client.recvfrom(10) == (b"to one", ("127.0.0.99", port))


# --- tcpmux


@pytest.fixture(scope="module")
def muxed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Piesd]:
    home = tmp_path_factory.mktemp("muxed")
    below = '[component.{}]\nmode = "inetd"\ntcpmux-master = "mux"\n{}\n'
    config = (
        _internal("tcpmux", "mux", ["inet://127.0.0.8:0", f"unix://{home}/mux"])
        + below.format("cat", 'service = "Copy"\ntcpmuxplus = true\ncommand = "cat"')
        + below.format(
            "own",
            "service = 'own'\ntcpmux = true\nshell = true\n"
            "command = '''printf '+hello from me\\r\\n'; exec cat'''",
        )
        + below.format(
            "one",
            'service = "one"\ntcpmuxplus = true\ncommand = "cat"\n'
            'max-instances = 1\nmax-instances-message = "full\\r\\n"',
        )
        + below.format(
            "env",
            'service = "env"\ntcpmux = true\nsockenv = true\nshell = true\n'
            "command = '''echo $REMOTEIP $LOCALPORT'''",
        )
        + below.format(
            "mine",
            f'service = "mine"\ntcpmux = true\ncommand = "echo +yes"\nacl = ["deny user {ME}"]\n'
            'access-denied-message = "not for you"',
        )
        + below.format("off", 'service = "off"\ncommand = "cat"\nenabled = false')
    )
    with piesd(home, config) as daemon:
        daemon.until_status("mine", "listener")
        yield daemon


@contextmanager
def _mux(daemon: Piesd, family: socket.AddressFamily = socket.AF_INET) -> Iterator[socket.socket]:
    with socket.socket(family) as client:
        client.settimeout(PATIENCE)
        host = "127.0.0.8"
        if family == socket.AF_UNIX:
            client.connect(str(daemon.home / "mux"))
        else:
            client.connect((host, _port(daemon, host, socket.SOCK_STREAM)))
        yield client


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])
@pytest.mark.parametrize(
    ("name", "yes"),
    [(b"copy\r\n", b"+go\r\n"), (b"COPY\n", b"+go\r\n"), (b"own\r\n", b"+hello from me\r\n")],
)
def test_a_service_is_reached_by_its_name_with_all_that_follows(
    muxed: Piesd, family: socket.AddressFamily, name: bytes, yes: bytes
) -> None:
    with _mux(muxed, family) as client:
        client.sendall(name + b"first\r\n")
        client.sendall(b"second")
        client.shutdown(socket.SHUT_WR)
        assert _all(client) == yes + b"first\r\nsecond"


def test_a_name_may_come_in_pieces(muxed: Piesd) -> None:
    with _mux(muxed) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (b"c", b"op", b"y\r", b"\nrest"):
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        assert _all(client) == b"+go\r\nrest"


@pytest.mark.parametrize("name", [b"none\r\n", b"off\r\n", b"cat\r\n", b"\r\n", b"x" * 5000])
def test_what_is_unknown_is_refused(muxed: Piesd, name: bytes) -> None:
    with _mux(muxed) as client:
        client.sendall(name)
        answer = _all(client)
        assert answer.startswith(b"-")
        assert answer.endswith(b"\r\n")


def test_help_names_what_there_is(muxed: Piesd) -> None:
    with _mux(muxed) as client:
        client.sendall(b"HELP\r\n")
        assert _all(client) == b"Copy\r\nown\r\none\r\nenv\r\nmine\r\n"


def test_a_subordinate_knows_the_users_of_its_master_and_keeps_them_out(muxed: Piesd) -> None:
    with _mux(muxed) as stranger, _mux(muxed, socket.AF_UNIX) as known:
        stranger.sendall(b"mine\r\n")
        assert _all(stranger) == b"+yes\n"
        known.sendall(b"mine\r\n")
        assert _all(known) == b"not for you"


def test_a_subordinate_has_limits_of_its_own(muxed: Piesd) -> None:
    with _mux(muxed) as first, _mux(muxed) as second:
        first.sendall(b"one\r\nx")
        assert first.recv(5, socket.MSG_WAITALL) == b"+go\r\n"
        assert first.recv(1) == b"x"
        second.sendall(b"one\r\n")
        assert _all(second) == b"+go\r\nfull\r\n"


def test_a_subordinate_learns_who_its_client_is(muxed: Piesd) -> None:
    with _mux(muxed) as client:
        port = client.getpeername()[1]
        client.sendall(b"env\r\n")
        assert _all(client) == f"127.0.0.1 {port}\n".encode()


def test_the_program_has_the_row_and_the_master_has_none_any_more(muxed: Piesd) -> None:
    with _mux(muxed) as client:
        client.sendall(b"copy\r\n")
        assert client.recv(5, socket.MSG_WAITALL) == b"+go\r\n"
        muxed.until(lambda: any("PID" in row for row in muxed.rows("cat")))
        muxed.until(lambda: len(muxed.rows("mux")) == 1)
