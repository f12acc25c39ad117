"""Lines as messages: the exact bytes for syslog and the journal, whatever a line has in it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.model.component import Output
from supervisor.model.settings import SyslogSettings
from supervisor.runtime import messages
from supervisor.runtime.journal import MOST as MOST_JOURNAL
from supervisor.runtime.journal import entries
from supervisor.runtime.messages import (
    AT_ONCE,
    FACILITIES,
    PRIORITIES,
    MessageCourier,
    Origin,
    Pack,
    Record,
    Wire,
    origin_of,
    pieces,
)
from supervisor.runtime.syslog import harmless, packets, program
from supervisor.system.logfile import CannotWrite
from supervisor.system.syslog import syslog_place

WEB = Origin("web", "web", "stdout", FACILITIES["local3"], PRIORITIES["err"], 42)
AT = 1_793_836_354.9  # 4 November 2026, 23:52:34 UTC


@pytest.fixture(autouse=True)
def greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def whole(origin: Origin, line: bytes, *, host: str = "", most: int = 1024) -> bytes:
    (packet,) = packets(origin, AT, line, host=host, most=most)
    return packet


# --- RFC 3164


def test_a_message_on_this_host_has_no_host_name() -> None:
    assert whole(WEB, b"hello, world") == b"<155>Nov  4 23:52:34 web[42]: hello, world"


def test_a_message_by_udp_has_one() -> None:
    assert whole(WEB, b"hello", host="tiny") == b"<155>Nov  4 23:52:34 tiny web[42]: hello"


def test_a_pid_that_is_not_known_is_left_out() -> None:
    assert whole(WEB._replace(pid=0), b"hello") == b"<155>Nov  4 23:52:34 web: hello"


def test_an_empty_line_is_an_empty_message() -> None:
    assert whole(WEB, b"") == b"<155>Nov  4 23:52:34 web[42]: "


def test_the_time_is_that_of_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XXX-3:30")
    time.tzset()
    assert b">Nov  5 03:22:34 " in whole(WEB, b"hello")


def test_words_become_the_numbers_of_the_rfc() -> None:
    assert [
        FACILITIES[word] for word in ("user", "daemon", "auth", "authpriv", "mail", "cron")
    ] == [
        1,
        3,
        4,
        10,
        2,
        9,
    ]
    assert [FACILITIES[f"local{n}"] for n in range(8)] == list(range(16, 24))
    words = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]
    assert [PRIORITIES[word] for word in words] == list(range(8))


@pytest.mark.parametrize(
    ("tag", "shown"),
    [
        ("web:2", "web_2"),
        ("a b[c]", "a_b_c_"),
        ("mail.in-1@x", "mail.in-1@x"),
        ("x" * 40, "x" * 32),
    ],
)
def test_a_tag_is_one_word_of_32_characters(tag: str, shown: str) -> None:
    assert program(tag) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"\x1b[31mred\x07\x00", rb"\x1b[31mred\x07\x00"),
        (b"dos\r", b"dos"),
        (b"over\rwritten", rb"over\x0dwritten"),
        (b"a\tb", b"a\tb"),
        (b"\x7f", rb"\x7f"),
        ("caf\u00e9 \u2615".encode(), "caf\u00e9 \u2615".encode()),
        (b"\xff\xfe", rb"\xff\xfe"),
        ("\u009b31m".encode(), rb"\x9b31m"),
    ],
)
def test_control_characters_are_shown_and_not_sent(line: bytes, shown: bytes) -> None:
    assert harmless(line) == shown


def test_a_long_line_is_several_messages_with_the_same_header() -> None:
    line = b"0123456789" * 250
    parts = list(packets(WEB, AT, line, host="tiny", most=1024))
    head = b"<155>Nov  4 23:52:34 tiny web[42]: "
    assert len(parts) == 3
    assert all(part.startswith(head) and len(part) <= 1024 for part in parts)
    assert b"".join(part.removeprefix(head) for part in parts) == line


@given(text=st.text(max_size=60), most=st.integers(4, 20))
def test_no_character_is_cut_in_two(text: str, most: int) -> None:
    parts = list(pieces(text.encode("utf-8", "replace"), most))
    assert "".join(part.decode() for part in parts) == text.encode("utf-8", "replace").decode()
    assert all(0 < len(part) <= most for part in parts if text)


@given(line=st.binary(max_size=3000))
def test_whatever_a_line_is_its_messages_are_short_and_on_one_line(line: bytes) -> None:
    for packet in packets(WEB, AT, line.replace(b"\n", b""), host="tiny"):
        assert len(packet) <= 1024
        text = packet.decode()
        assert all(char == "\t" or char.isprintable() or ord(char) >= 160 for char in text)


@pytest.mark.parametrize(
    ("dev", "place"),
    [
        ("/dev/log", "/dev/log"),
        ("192.0.2.1", ("192.0.2.1", 514)),
        ("192.0.2.1:5140", ("192.0.2.1", 5140)),
    ],
)
def test_a_device_is_a_path_or_an_address(dev: str, place: object) -> None:
    assert syslog_place(dev) == place


@pytest.mark.parametrize("dev", ["log.example", "192.0.2.1:0", "192.0.2.1:no-such-service", ""])
def test_a_device_that_is_neither_says_so(dev: str) -> None:
    with pytest.raises(OSError, match=r"neither|the port|nobody knows"):
        syslog_place(dev)


# --- whose lines they are


def test_what_is_not_said_comes_from_the_settings_and_the_stream() -> None:
    settings = SyslogSettings(facility="MAIL")
    nothing = Output(kind="syslog")
    assert origin_of("web", "stdout", nothing, settings, 7) == Origin(
        "web", "web", "stdout", 2, 6, 7
    )
    assert origin_of("web", "stderr", nothing, settings, 7) == Origin(
        "web", "web", "stderr", 2, 3, 7
    )
    said = Output(kind="syslog", facility="Local0", priority="Alert")
    assert origin_of("web", "stderr", said, settings, 0) == Origin("web", "web", "stderr", 16, 1, 0)


# --- the journal


def test_an_entry_of_the_journal_has_its_fields() -> None:
    assert list(entries(WEB, AT, b"hello \x1b[1m=\xff")) == [
        b"MESSAGE=hello \x1b[1m=\xff\n"
        b"PRIORITY=3\n"
        b"SYSLOG_IDENTIFIER=web\n"
        b"PIESD_COMPONENT=web\n"
        b"PIESD_STREAM=stdout\n"
        b"SYSLOG_PID=42\n"
    ]


def test_our_own_entries_are_of_nobody_but_us() -> None:
    assert list(entries(Origin("piesd", pid=1), AT, b"hello")) == [
        b"MESSAGE=hello\nPRIORITY=6\nSYSLOG_IDENTIFIER=piesd\nSYSLOG_PID=1\n"
    ]


def test_a_newline_in_a_field_makes_it_binary() -> None:
    (entry,) = entries(Origin("two\nlines"), AT, b"hello")
    assert b"SYSLOG_IDENTIFIER\n\x09\0\0\0\0\0\0\0two\nlines\n" in entry


def test_a_line_that_is_too_long_for_the_journal_is_cut() -> None:
    line = b"x" * (MOST_JOURNAL * 2 + 1)
    parts = [entry.split(b"\n")[0].removeprefix(b"MESSAGE=") for entry in entries(WEB, AT, line)]
    assert [len(part) for part in parts] == [MOST_JOURNAL, MOST_JOURNAL, 1]


# --- sending


class FakeWire:
    """A connection with room for so many messages."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.room = 1_000_000
        self.grows_by = 0
        self.error: OSError | None = None
        self.closed = 0

    def send(self, packet: bytes) -> bool:
        if self.error is not None:
            raise self.error
        if self.room <= 0:
            return False
        self.room -= 1
        self.sent.append(packet)
        return True

    def wait(self) -> bool:
        self.room += self.grows_by
        return self.grows_by > 0

    def close(self) -> None:
        self.closed += 1


def three(_origin: Origin, _at: float, line: bytes) -> list[bytes]:
    return [line[:1], line[1:2], line[2:]]


def courier_to(wire: FakeWire, pack: Pack = three) -> MessageCourier:
    def connect() -> tuple[Wire, Pack]:
        return wire, pack

    return MessageCourier(connect)


def test_a_line_counts_once_all_of_its_messages_went_and_none_goes_twice() -> None:
    wire = FakeWire()
    courier = courier_to(wire)
    wire.room = 4
    assert courier.write([Record(WEB, AT, b"abc\ndef\n")]) == 4
    wire.room = 1
    assert courier.write([Record(WEB, AT, b"def\n")]) == 0
    wire.room = 9
    assert courier.write([Record(WEB, AT, b"def\nghi\n")]) == 8
    assert b"".join(wire.sent) == b"abcdefghi"


def test_a_moment_without_room_is_waited_out() -> None:
    wire = FakeWire()
    wire.room, wire.grows_by = 0, 1
    assert courier_to(wire).write([Record(WEB, AT, b"abc\ndef\n")]) == 8


def test_a_failure_says_how_much_went() -> None:
    wire = FakeWire()

    def pack(_origin: Origin, _at: float, line: bytes) -> list[bytes]:
        if line == b"bad":
            wire.error = ConnectionRefusedError(111, "Connection refused")
        return [line]

    courier = courier_to(wire, pack)
    with pytest.raises(CannotWrite) as caught:
        courier.write([Record(WEB, AT, b"good\n"), Record(WEB, AT, b"bad\n")])
    assert caught.value.written == 5


def test_one_write_is_so_many_lines_at_most() -> None:
    wire = FakeWire()
    courier = courier_to(wire, lambda _origin, _at, line: [line])
    lines = b"x\n" * (AT_ONCE * 2)
    assert courier.write([Record(WEB, AT, lines)]) == 2 * AT_ONCE


def test_one_write_is_soon_over_and_takes_one_line_at_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(messages, "TURN", -1.0)
    wire = FakeWire()
    courier = courier_to(wire)
    assert courier.write([Record(WEB, AT, b"abc\ndef\n")]) == 4


def test_reopening_connects_anew() -> None:
    wires: list[FakeWire] = []

    def connect() -> tuple[Wire, Pack]:
        wires.append(FakeWire())
        return wires[-1], three

    courier = MessageCourier(connect)
    courier.write([Record(WEB, AT, b"abc\n")])
    courier.reopen()
    assert (len(wires), wires[0].closed) == (1, 1)
    courier.write([Record(WEB, AT, b"def\n")])
    assert [b"".join(wire.sent) for wire in wires] == [b"abc", b"def"]
    courier.close()
    courier.close()
    assert wires[1].closed == 1
