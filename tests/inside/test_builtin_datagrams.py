"""The built-in services over datagrams: what they answer, and whom they never answer."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from running import House, house
from supervisor.model.access import Acl, Rule
from supervisor.model.component import Component, InetAddress, Mode, UnixAddress
from supervisor.runtime import answering, listeners
from supervisor.runtime.answering import LONGEST, PER_SECOND, SOURCES, is_answerable, most
from supervisor.runtime.services import PATTERN
from supervisor.system.port import Datagram, SocketName

PLACE = InetAddress(host="127.0.0.1", port=1007, protocol="udp")
CLIENT = SocketName("192.0.2.1", 40000)


def internal(service: str, **fields: Any) -> Component:
    return Component(
        **{
            "tag": service,
            "mode": Mode.INETD,
            "argv": ("internal", service),
            "service": service,
            "internal": True,
            "sockets": (PLACE,),
            **fields,
        }
    )


async def answers(home: House, *asked: tuple[bytes, SocketName], **fields: Any) -> list[bytes]:
    """Send datagrams, and return what is answered in all."""
    for data, sender in asked:
        home.system.ask(PLACE, data, sender, **fields)
    await home.rest()
    return [data for _, data in home.system.replies]


async def test_echo_answers_with_what_it_got_to_who_sent_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([internal("echo")]) as home:
            other = SocketName("2001:db8::1", 40001)
            await answers(home, (b"hello", CLIENT), (b"", CLIENT), (b"x" * 9000, other))
            assert home.system.replies == [(CLIENT, b"hello"), (CLIENT, b""), (other, b"x" * 9000)]
            assert set(home.runner.engine.world.states) == {"echo"}


async def test_discard_answers_nothing(autojump_clock: trio.testing.MockClock) -> None:
    with trio.fail_after(60):
        async with house([internal("discard")]) as home:
            assert await answers(home, (b"hello", CLIENT)) == []


async def test_time_and_daytime_answer_even_an_empty_datagram(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([internal("time")]) as home:
            now = int(home.system.wall()) + 2_208_988_800
            assert await answers(home, (b"", CLIENT)) == [struct.pack("!I", now)]
        async with house([internal("daytime")]) as home:
            (text,) = await answers(home, (b"", CLIENT))
            assert len(text) == 26
            assert text.endswith(b"\r\n")


async def test_chargen_answers_with_as_many_characters_as_it_was_asked_with(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([internal("chargen")]) as home:
            found = await answers(home, (b"", CLIENT), (b"?" * 100, CLIENT), (b"?" * 9000, CLIENT))
            assert found == [b"", PATTERN[:100], PATTERN[:LONGEST]]


async def test_qotd_answers_with_as_much_as_the_request_is_worth(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    quote = tmp_path / "quote"
    quote.write_text("x" * 400)
    with trio.fail_after(60):
        async with house([internal("qotd")], qotd=str(quote)) as home:
            found = await answers(home, (b"", CLIENT), (b"?" * 100, CLIENT), (b"?" * 200, CLIENT))
            assert sorted(found, key=len) == [b"x" * 28, b"x" * 228, b"x" * 400]


async def test_a_quote_is_not_sent_from_a_socket_that_was_closed_meanwhile(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quote, go = tmp_path / "quote", trio.Event()
    quote.write_text("x")
    with trio.fail_after(60):
        async with house([internal("qotd")], qotd=str(quote)) as home:
            blocking = home.system.blocking

            async def slow(job: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
                await go.wait()
                return await blocking(job, *args, **kwargs)

            monkeypatch.setattr(home.system, "blocking", slow)
            await answers(home, (b"", CLIENT))
            await home.order("restart", "qotd")
            go.set()
            await home.rest()
            assert home.system.replies == []
            assert await answers(home, (b"", CLIENT)) == [b"x"]


def test_the_answer_is_at_most_twice_the_request_on_the_wire() -> None:
    for size in (0, 1, 100):
        four = Datagram(b"x" * size, CLIENT)
        assert (most(four) or 0) + 28 == 2 * (size + 28)
        six = Datagram(b"x" * size, SocketName("fe80::1%eth0", 40000))
        assert (most(six) or 0) + 48 == 2 * (size + 48)
    assert most(Datagram(b"", SocketName("/run/client"))) is None


OWN = [SocketName("127.0.0.1", 5000), SocketName("0.0.0.0", 6000), SocketName("/run/echo")]


@pytest.mark.parametrize(
    "sender",
    [
        *(SocketName("192.0.2.1", port) for port in (0, 7, 9, 13, 17, 19, 37, 53, 123, 1023)),
        SocketName("127.0.0.1", 5000),
        SocketName("192.0.2.1", 6000),
        SocketName("127.0.0.1", 6000),
        SocketName("/run/echo"),
        SocketName(""),
        SocketName("255.255.255.255", 40000),
        SocketName("224.0.0.1", 40000),
        SocketName("0.0.0.0", 40000),
        SocketName("0.1.2.3", 40000),
        SocketName("ff02::1%eth0", 40000),
        SocketName("::", 40000),
    ],
    ids=str,
)
def test_what_may_be_a_trick_is_not_answered(sender: SocketName) -> None:
    assert not is_answerable(Datagram(b"x", sender), OWN)


@pytest.mark.parametrize(
    "sender",
    [
        SocketName("192.0.2.1", 1024),
        SocketName("192.0.2.1", 5000),
        SocketName("127.0.0.1", 5001),
        SocketName("fe80::1%eth0", 40000),
        SocketName("/run/client"),
    ],
    ids=str,
)
def test_an_ordinary_client_is_answered(sender: SocketName) -> None:
    assert is_answerable(Datagram(b"x", sender), OWN)


async def test_what_was_sent_to_many_is_not_answered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([internal("echo")]) as home:
            assert await answers(home, (b"x", CLIENT), to_many=True) == []


async def test_two_sockets_of_ours_that_are_pointed_at_each_other_fall_silent_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    other = InetAddress(host="127.0.0.1", port=5000, protocol="udp")
    with trio.fail_after(60):
        async with house([internal("echo", sockets=(PLACE, other))]) as home:
            assert await answers(home, (b"x", SocketName(other.host, other.port))) == []


async def test_one_source_is_answered_so_often_a_second_and_others_are_still(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([internal("echo")]) as home:
            many = [(b"x", SocketName("192.0.2.1", 40000 + n)) for n in range(3 * PER_SECOND)]
            assert len(await answers(home, *many)) == PER_SECOND
            assert len(await answers(home, (b"x", SocketName("192.0.2.2", 4000)))) == PER_SECOND + 1
            await trio.sleep(1)
            home.system.replies.clear()
            assert len(await answers(home, *many)) == PER_SECOND


async def test_a_network_of_ipv6_is_one_source(autojump_clock: trio.testing.MockClock) -> None:
    with trio.fail_after(60):
        async with house([internal("echo")]) as home:
            many = [(b"x", SocketName(f"2001:db8::{n:x}", 4000)) for n in range(3 * PER_SECOND)]
            assert len(await answers(home, *many)) == PER_SECOND


async def test_a_flood_of_invented_sources_is_answered_within_bounds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([internal("echo")]) as home:
            many = [
                (b"x", SocketName(f"10.0.{n >> 8}.{n & 255}", 4000)) for n in range(SOURCES + 9)
            ]
            await answers(home, *many[:SOURCES])
            while home.system.waiting_datagrams(PLACE):
                await trio.sleep(listeners.REST)
            assert len(home.system.replies) == SOURCES
            assert len(await answers(home, *many[SOURCES : SOURCES + 9])) == SOURCES


async def test_a_flood_is_taken_in_parts_with_a_rest_after_each(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([internal("discard")]) as home:
            begun = trio.current_time()
            await answers(home, *[(b"x", CLIENT)] * (3 * listeners.DATAGRAMS))
            assert home.system.waiting_datagrams(PLACE) == 2 * listeners.DATAGRAMS
            while home.system.waiting_datagrams(PLACE):
                await trio.sleep(listeners.REST / 2)
            assert trio.current_time() - begun >= 2 * listeners.REST


async def test_an_acl_holds_for_datagrams_and_says_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    acl = Acl((Rule(allow=True, sources=("192.0.2.0/24",)), Rule(allow=False)))
    echo = internal("echo", acl=acl, access_denied_message="no")
    with trio.fail_after(60):
        async with house([echo]) as home:
            stranger = SocketName("198.51.100.1", 4000)
            assert await answers(home, (b"a", stranger), (b"b", CLIENT)) == [b"b"]
            assert home.kinds("echo") == ["listening"]


async def test_over_the_rate_datagrams_wait_until_the_minute_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(600):
        async with house([internal("echo", max_rate=3)]) as home:
            many = [(bytes([n]), CLIENT) for n in range(5)]
            assert await answers(home, *many) == [b"\0", b"\1", b"\2"]
            assert home.state("echo").paused
            await trio.sleep(59)
            assert len(home.system.replies) == 3
            await trio.sleep(2)
            assert await answers(home) == [b"\0", b"\1", b"\2", b"\3", b"\4"]


async def test_what_is_refused_does_not_count_for_the_rate(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([internal("echo", max_rate=1)]) as home:
            trick = SocketName("192.0.2.1", 19)
            assert await answers(home, (b"a", trick), (b"b", trick), (b"c", CLIENT)) == [b"c"]


async def test_connections_and_datagrams_have_their_places_in_one_component(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream = InetAddress(host="127.0.0.1", port=1007)
    with trio.fail_after(60):
        async with house([internal("echo", sockets=(stream, PLACE))]) as home:
            fd = home.system.connect(stream, sends=b"by stream")
            assert await answers(home, (b"by datagram", CLIENT)) == [b"by datagram"]
            assert bytes(home.system.answered[fd]) == b"by stream"


async def test_a_client_at_a_unix_socket_is_answered_in_full(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    place = UnixAddress(path="/run/qotd", kind="dgram")
    quote = tmp_path / "quote"
    quote.write_text("x" * 400)
    with trio.fail_after(60):
        async with house([internal("qotd", sockets=(place,))], qotd=str(quote)) as home:
            home.system.ask(place, b"", SocketName("/run/client"))
            home.system.ask(place, b"", SocketName(""))
            await home.rest()
            assert home.system.replies == [(SocketName("/run/client"), b"x" * 400)]


async def test_so_many_wait_for_a_file_and_no_more(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    quote = tmp_path / "quote"
    quote.write_text("x")
    with trio.fail_after(60):
        async with house([internal("qotd")], qotd=str(quote)) as home:
            go = trio.Event()
            blocking = home.system.blocking

            async def slow(job: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
                await go.wait()
                return await blocking(job, *args, **kwargs)

            home.system.blocking = slow  # type: ignore[method-assign]  # a dead file server
            many = [(b"", SocketName(f"10.0.0.{n}", 4000)) for n in range(answering.WAITING + 9)]
            assert await answers(home, *many) == []
            go.set()
            assert len(await answers(home)) == answering.WAITING
