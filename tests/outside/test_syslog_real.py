"""Real children whose lines go to real sockets in place of syslog and the journal."""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from real_output import at_home
from supervisor.model.component import Component, Output
from supervisor.model.settings import SyslogSettings
from supervisor.runtime import ownlog, syslog
from supervisor.runtime.messages import Origin, Record
from supervisor.runtime.ownlog import OwnLine, OwnPlace
from supervisor.system.syslog import MessageSocket

pytestmark = pytest.mark.real

NULL = Output(kind="null")
SYSLOG = Output(kind="syslog", facility="local0", priority="notice")
DATE = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d:\d\d"

COUNT = "for number in range(int(sys.argv[1])): print('line', number)"


def program(tag: str = "web", **more: Output) -> Component:
    streams = {"stdout": SYSLOG, "stderr": NULL, **more}
    return Component(tag=tag, argv=(tag,), stdout=streams["stdout"], stderr=streams["stderr"])


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a directory whose name is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="piesd-") as directory:
        yield Path(directory)


class Collector:
    """A socket that collects datagrams: what /dev/log is to syslogd."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(60)
        self.path = path

    def take(self) -> bytes:
        return self.socket.recv(100_000)

    async def next(self) -> bytes:
        return await trio.to_thread.run_sync(self.take)

    def gather(self, count: int) -> list[bytes]:
        return [self.take() for _ in range(count)]

    def go(self) -> None:
        self.socket.close()
        self.path.unlink()


@pytest.fixture
def collector(place: Path) -> Iterator[Collector]:
    one = Collector(place / "log")
    yield one
    one.socket.close()


def at(path: Path) -> SyslogSettings:
    return SyslogSettings(dev=str(path))


def text(packet: bytes) -> bytes:
    return packet.partition(b"]: ")[2]


# --- /dev/log


async def test_the_bytes_of_each_line_are_those_of_the_rfc(collector: Collector) -> None:
    async with at_home(syslog=at(collector.path)) as house:
        spec = program(stderr=Output(kind="syslog"))
        child = house.start(["/bin/sh", "-c", "echo hello; printf 'a\\033b' >&2"], spec)
        await trio.to_thread.run_sync(child.wait)
        house.outputs.drain("web")
        packets = sorted(await trio.to_thread.run_sync(collector.gather, 2))
        pid = b"%d" % child.pid
        assert re.fullmatch(rb"<133>" + DATE + rb" web\[" + pid + rb"\]: hello", packets[0])
        assert re.fullmatch(rb"<27>" + DATE + rb" web\[" + pid + rb"\]: a\\x1bb", packets[1])


async def test_ten_thousand_lines_are_ten_thousand_messages_in_their_order(
    collector: Collector,
) -> None:
    async with at_home(syslog=at(collector.path)) as house, trio.open_nursery() as nursery:
        got: list[bytes] = []

        @nursery.start_soon
        async def gather() -> None:
            got.extend(await trio.to_thread.run_sync(collector.gather, 10_000))

        await house.run([sys.executable, "-c", "import sys\n" + COUNT, "10000"], program())
    assert [text(packet) for packet in got] == [b"line %d" % number for number in range(10_000)]
    assert house.outputs.lost("web") == {}


async def test_a_reader_that_does_not_read_delays_neither_the_child_nor_its_neighbour(
    collector: Collector, place: Path
) -> None:
    async with at_home(syslog=at(collector.path)) as house:
        # Nobody reads: that they end at all is the point.
        await house.run([sys.executable, "-c", "import sys\n" + COUNT, "10000"], program())
        file = Output(kind="file", path=str(place / "file"))
        await house.run(["/bin/echo", "hello"], program("neighbour", stdout=file))
        await house.outputs._depot._sinks[str(place / "file")].settled()
        assert (place / "file").read_bytes() == b"hello\n"
        assert house.reports == []
        got = await trio.to_thread.run_sync(collector.gather, 10_000)
        assert [text(packet) for packet in got] == [b"line %d" % n for n in range(10_000)]


async def test_a_syslog_that_goes_away_and_comes_back_gets_every_line(place: Path) -> None:
    first = Collector(place / "log")
    async with at_home(syslog=at(first.path)) as house:
        await house.run(["/bin/echo", "one"], program())
        assert text(await first.next()) == b"one"
        first.go()
        await house.run(["/bin/echo", "two"], program())
        await house.reported("cannot write syslog at")
        second = Collector(place / "log")
        await house.run(["/bin/echo", "three"], program())
        house.outputs.reopen()  # As SIGUSR1 does; it would be tried again by itself, too.
        assert [text(await second.next()) for _ in range(2)] == [b"two", b"three"]
        await house.reported("no line was lost")
    second.socket.close()


async def test_a_syslog_that_is_not_there_yet_is_waited_for(place: Path) -> None:
    async with at_home(syslog=at(place / "log")) as house:
        await house.run(["/bin/echo", "early"], program())
        assert "No such file or directory" in await house.reported("cannot write syslog at")
        late = Collector(place / "log")
        assert text(await late.next()) == b"early"
    late.socket.close()


async def test_a_restart_of_syslog_between_two_lines_is_not_even_noticed(place: Path) -> None:
    one = Collector(place / "log")
    async with at_home(syslog=at(one.path)) as house:
        for number in range(3):
            await house.run(["/bin/echo", f"{number}"], program())
            assert text(await one.next()) == b"%d" % number
            one.go()
            one = Collector(place / "log")
        assert house.reports == []
    one.socket.close()


async def test_reopening_finds_the_socket_that_has_the_name_now(place: Path) -> None:
    old = Collector(place / "log")
    async with at_home(syslog=at(old.path)) as house:
        await house.run(["/bin/echo", "1"], program())
        assert text(await old.next()) == b"1"
        (place / "log").unlink()  # The old one is still open, and still takes everything.
        new = Collector(place / "log")
        await house.run(["/bin/echo", "2"], program())
        assert text(await old.next()) == b"2"
        house.outputs.reopen()
        await house.run(["/bin/echo", "3"], program())
        assert text(await new.next()) == b"3"
    old.socket.close()
    new.socket.close()


async def test_a_long_line_is_cut_and_none_of_it_is_lost(collector: Collector) -> None:
    async with at_home(syslog=at(collector.path)) as house:
        await house.run([sys.executable, "-c", "print('0123456789' * 2000)"], program())
        packets = [await collector.next() for _ in range(3)]
    assert all(len(packet) <= syslog.MOST_LOCAL for packet in packets)
    assert b"".join(text(packet) for packet in packets) == b"0123456789" * 2000


# --- a stream in its place


def read_until(connection: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        chunk = connection.recv(65536)
        assert chunk, data
        data += chunk
    return data


async def test_a_stream_is_used_where_there_are_no_datagrams(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(place / "log"))
        listener.listen()
        async with at_home(syslog=at(place / "log")) as house:
            await house.run(["/bin/sh", "-c", "echo one; echo; echo three"], program())
            connection, _ = await trio.to_thread.run_sync(listener.accept)
            with connection:
                data = await trio.to_thread.run_sync(read_until, connection, b"three\0")
    messages = data.split(b"\0")
    assert [text(message) for message in messages] == [b"one", b"", b"three", b""]
    assert all(message.startswith(b"<133>") for message in messages[:-1])


@pytest.fixture
def stream(place: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(place / "log"))
        listener.listen()
        listener.settimeout(60)
        yield listener


def message(number: int) -> bytes:
    return b"%05d " % number + b"x" * 7000


def fill(wire: MessageSocket) -> int:
    """Send until there is no room; return the number of the message that did not go."""
    number = 0
    while wire.send(message(number)):
        number += 1
    return number


def test_no_message_is_torn_on_a_stream_that_is_full(stream: socket.socket) -> None:
    wire = MessageSocket(stream.getsockname())
    stuck = fill(wire)
    connection, _ = stream.accept()
    with connection:
        data = b""
        while not wire.send(message(stuck)):
            data += connection.recv(10_000)
        data += read_until(connection, b"x\0")
    wire.close()
    assert data.split(b"\0") == [*map(message, range(stuck + 1)), b""]


def test_a_message_that_was_given_up_is_ended_before_the_next(stream: socket.socket) -> None:
    wire = MessageSocket(stream.getsockname())
    stuck = fill(wire)
    connection, _ = stream.accept()
    with connection:
        data = b""
        while not wire.send(b"next"):
            data += connection.recv(10_000)
        data += read_until(connection, b"next\0")
    wire.close()
    messages = data.split(b"\0")
    assert messages[-2:] == [b"next", b""]
    assert messages[:stuck] == [*map(message, range(stuck))]
    assert messages[stuck:-2] in ([], [message(stuck)])


def test_a_message_that_was_begun_is_sent_whole_to_the_next_collector(
    stream: socket.socket,
) -> None:
    wire = MessageSocket(stream.getsockname())
    stuck = fill(wire)
    connection, _ = stream.accept()
    connection.close()
    assert wire.send(message(stuck))
    again, _ = stream.accept()
    with again:
        assert read_until(again, b"\0") == message(stuck) + b"\0"
    wire.close()


# --- UDP


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.settimeout(60)
        yield server


async def test_by_udp_a_message_has_the_name_of_the_host(udp: socket.socket) -> None:
    settings = SyslogSettings(dev=f"127.0.0.1:{udp.getsockname()[1]}")
    async with at_home(syslog=settings) as house:
        child = house.start([sys.executable, "-c", "print('a' * 1500)"], program())
        await trio.to_thread.run_sync(child.wait)
        house.outputs.drain("web")
        packets = [await trio.to_thread.run_sync(udp.recv, 65536) for _ in range(2)]
    host = re.escape(socket.gethostname().split(".")[0].encode())
    head = rb"<133>" + DATE + rb" " + host + rb" web\[%d\]: " % child.pid
    assert all(re.fullmatch(head + rb"a+", packet) for packet in packets)
    assert len(packets[0]) == 1024
    assert sum(packet.partition(b"]: ")[2].count(b"a") for packet in packets) == 1500


async def test_a_port_where_nobody_listens_is_found_out_and_tried_again(
    udp: socket.socket,
) -> None:
    # A server that is connected to somebody else refuses us, and keeps the port for the other one.
    udp.connect(("127.0.0.1", 9))
    port = udp.getsockname()[1]
    async with at_home(syslog=SyslogSettings(dev=f"127.0.0.1:{port}")) as house:
        await house.run(["/bin/echo", "held back"], program())
        await house.reported("Connection refused; holding lines of 'web' back")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            server.bind(("127.0.0.1", port))
            server.settimeout(60)
            assert text(await trio.to_thread.run_sync(server.recv, 65536)) == b"held back"
        await house.reported("no line was lost")


# --- the journal


async def test_an_entry_of_the_journal_arrives_with_its_fields(collector: Collector) -> None:
    async with at_home(journal=str(collector.path)) as house:
        spec = program(stdout=Output(kind="journal"))
        child = house.start(["/bin/echo", "hello"], spec)
        await trio.to_thread.run_sync(child.wait)
        house.outputs.drain("web")
        assert await collector.next() == (
            b"MESSAGE=hello\nPRIORITY=6\nSYSLOG_IDENTIFIER=web\nPIESD_COMPONENT=web\n"
            b"PIESD_STREAM=stdout\nSYSLOG_PID=%d\n" % child.pid
        )


async def test_the_longest_entry_of_the_journal_fits(collector: Collector) -> None:
    async with at_home(journal=str(collector.path)) as house:
        spec = program(stdout=Output(kind="journal"))
        await house.run([sys.executable, "-c", "print('x' * 60000)"], spec)
        entries = [await collector.next() for _ in range(2)]
    messages = [entry.split(b"\n")[0].removeprefix(b"MESSAGE=") for entry in entries]
    assert [len(message) for message in messages] == [48 * 1024, 60000 - 48 * 1024]


# --- our own log


def test_before_the_loop_our_own_lines_go_to_syslog_at_once(collector: Collector) -> None:
    place = OwnPlace("syslog", at(collector.path), "main")
    ownlog.direct(place)(OwnLine(b"not here\n", b"hello\nagain\n", 4))
    head = rb"<28>" + DATE + rb" main\[%d\]: " % os.getpid()
    assert re.fullmatch(head + b"hello", collector.take())
    assert re.fullmatch(head + b"again", collector.take())


def test_before_the_loop_a_missing_syslog_gives_our_lines_to_standard_error(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ownlog.direct(OwnPlace("syslog", at(place / "none")))(OwnLine(b"here\n", b"hello\n"))
    ownlog.direct(OwnPlace("journal"), str(place / "none"))(OwnLine(b"and here\n", b"hello\n"))
    assert capfd.readouterr().err == "here\nand here\n"


async def test_within_the_loop_they_go_there_from_every_thread(collector: Collector) -> None:
    own = OwnPlace("syslog", at(collector.path), "main")
    async with at_home(own_log=own) as house:
        house.outputs.write_own(OwnLine(b"", b"one\n"))
        await house.system.blocking(house.outputs.write_own, OwnLine(b"", b"two\n"))
        assert [text(await collector.next()) for _ in range(2)] == [b"one", b"two"]


async def test_without_syslog_standard_error_has_them(place: Path) -> None:
    reader, writer = os.pipe()
    own = OwnPlace("syslog", at(place / "none"))
    async with at_home(own_log=own, own_stderr_fd=writer) as house:
        house.outputs.write_own(OwnLine(b"piesd: hello\n", b"hello\n"))
        await trio.lowlevel.wait_readable(reader)
        assert os.read(reader, 100) == b"piesd: hello\n"
    os.close(reader)
    os.close(writer)


def test_a_line_that_comes_after_the_loop_is_on_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def give() -> None:
        async with at_home() as house:
            houses.append(house.outputs)

    houses: list[object] = []
    trio.run(give)
    outputs = houses[0]
    thread = threading.Thread(target=outputs.write_own, args=(OwnLine(b"late\n"),))  # type: ignore[attr-defined]
    thread.start()
    thread.join(60)
    assert "late\n" in capfd.readouterr().err


# --- what cannot be


def test_a_path_that_is_too_long_for_a_socket_is_an_error_like_any_other(place: Path) -> None:
    courier = syslog.courier(f"{place}/{'x' * 200}")
    with pytest.raises(OSError, match="File name too long"):
        courier.write([Record(Origin("web"), 0.0, b"hello\n")])
