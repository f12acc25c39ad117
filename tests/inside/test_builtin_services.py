"""The services that piesd has itself, by the virtual clock: what they say, hold, and give up."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from running import House, house
from supervisor.model.component import Component, ExitAction, InetAddress, Mode
from supervisor.model.state import Phase
from supervisor.runtime import services, tcpmux, turns
from supervisor.runtime.quotes import as_sent
from supervisor.runtime.services import CHUNK, PATTERN

PLACE = InetAddress(host="127.0.0.1", port=1)


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


def below(tag: str, **fields: Any) -> Component:
    return Component(
        **{
            "tag": tag,
            "mode": Mode.INETD,
            "argv": ("/bin/serve",),
            "service": tag,
            "tcpmux_master": "tcpmux",
            "prerequisites": ("tcpmux",),
            **fields,
        }
    )


async def until(home: House, fact: Callable[[], Any]) -> None:
    """Let everything move, without moving the clock, until *fact* holds."""
    while not fact():
        await home.rest()


def said(home: House, fd: int) -> bytes:
    return bytes(home.system.answered.get(fd, b""))


async def test_echo_sends_back_what_comes_and_ends_with_its_client(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([internal("echo")]) as home:
            fd = home.system.connect(PLACE, sends=b"hello")
            await home.rest()
            assert said(home, fd) == b"hello"
            assert home.phase("echo#1") is Phase.RUNNING
            assert home.state("echo#1").pid is None
            home.system.say(fd, b", world")
            home.system.leave(fd)
            await home.rest()
            assert said(home, fd) == b"hello, world"
            assert "echo#1" not in home.runner.engine.world.states
            assert fd not in home.system.descriptors
            assert not home.system.launches
            assert home.kinds("echo#1") == ["started", "finished"]


async def test_a_client_that_reads_nothing_is_held_little_of_and_given_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(600):
        async with house([internal("echo")]) as home:
            fd = home.system.connect(PLACE, sends=b"x" * 5 * CHUNK)
            home.system.room[fd] = 0
            begun = trio.current_time()
            await home.rest()
            assert len(home.system.sent[fd]) == 4 * CHUNK
            while "echo#1" in home.runner.engine.world.states:
                await trio.sleep(1)
            assert trio.current_time() - begun == pytest.approx(services.PATIENCE, abs=1.1)
            assert fd not in home.system.descriptors
            assert "read nothing for 60 s" in home.texts("finished")[0]


async def test_a_client_that_reads_slowly_is_served_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(600):
        async with house([internal("echo")]) as home:
            fd = home.system.connect(PLACE, sends=b"abc")
            home.system.room[fd] = 0
            for _ in range(3):
                await trio.sleep(services.PATIENCE - 1)
                home.system.make_room(fd, 1)
            await home.rest()
            assert said(home, fd) == b"abc"


async def test_a_client_on_whose_connection_nothing_goes_either_way_is_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(600):
        async with house([internal("echo", idle_timeout=30)]) as home:
            fd = home.system.connect(PLACE, sends=b"hello")
            await trio.sleep(29)
            home.system.say(fd, b"again")
            await trio.sleep(29)
            assert home.phase("echo#1") is Phase.RUNNING
            await trio.sleep(2)
            assert fd not in home.system.descriptors
            assert home.texts("idle") == ["'echo#1' is stopping: idle for 30 s"]
            gone = home.system.connect(PLACE)
            home.system.leave(gone)
            await trio.sleep(60)
            assert len(home.texts("idle")) == 1
            assert set(home.runner.engine.world.states) == {"echo"}


async def test_discard_takes_everything_and_says_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([internal("discard")]) as home:
            fd = home.system.connect(PLACE, sends=b"x" * 3 * CHUNK)
            await until(home, lambda: fd not in home.system.sent)
            assert home.phase("discard#1") is Phase.RUNNING
            home.system.leave(fd)
            await home.rest()
            assert said(home, fd) == b""
            assert fd not in home.system.descriptors


async def test_chargen_goes_at_the_pace_of_its_client_and_ends_when_that_is_gone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def prepare(home: House) -> None:
        home.system.default_room = 10

    with trio.fail_after(60):
        async with house([internal("chargen")], prepare) as home:
            fd = home.system.connect(PLACE, sends=b"thrown away")
            await home.rest()
            assert said(home, fd) == PATTERN[:10]
            home.system.make_room(fd, 2 * len(PATTERN))
            await home.rest()
            assert said(home, fd) == (PATTERN * 3)[: 2 * len(PATTERN) + 10]
            home.system.hang_up(fd)
            await home.rest()
            assert fd not in home.system.descriptors
            assert home.kinds("chargen#1") == ["started", "finished"]


def test_the_pattern_of_chargen_is_that_of_the_rfc() -> None:
    lines = PATTERN.split(b"\r\n")
    assert lines.pop() == b""
    assert lines[0] == bytes(range(32, 104))
    assert lines[1] == bytes(range(33, 105))
    assert lines[94] == b"~" + bytes(range(32, 103))
    assert {len(line) for line in lines} == {72}
    assert len(lines) == 95


async def test_time_and_daytime_say_it_once_and_wait_for_the_client_to_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    other = replace(PLACE, port=2)
    components = [internal("time"), internal("daytime", sockets=(other,))]
    with trio.fail_after(60):
        async with house(components) as home:
            wall = home.system.wall()
            first, second = home.system.connect(PLACE), home.system.connect(other)
            await home.rest()
            (seconds,) = struct.unpack("!I", said(home, first))
            assert seconds == int(wall) + 2_208_988_800
            text = said(home, second).decode()
            assert text.endswith("\r\n")
            told = datetime.strptime(text.strip(), "%a %b %d %H:%M:%S %Y").astimezone()
            assert told == datetime.fromtimestamp(int(wall), UTC)
            assert home.system.told[first] == b""
            assert first in home.system.descriptors
            home.system.leave(first)
            await home.rest()
            assert first not in home.system.descriptors
            await trio.sleep(services.LINGER)
            await home.rest()
            assert second not in home.system.descriptors


def test_the_time_is_right_at_the_epochs_of_the_rfc_and_goes_round() -> None:
    assert services.time(0) == struct.pack("!I", 2_208_988_800)
    assert services.time(-1_297_728_000) == struct.pack("!I", 911_260_800)
    assert services.time(2**32 - 2_208_988_800 + 5) == struct.pack("!I", 5)


async def test_qotd_says_what_the_file_says_now(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    quote = tmp_path / "quote"
    with trio.fail_after(60):
        async with house([internal("qotd")], qotd=str(quote)) as home:
            quote.write_text("first\nsecond\n")
            fd = home.system.connect(PLACE)
            await home.rest()
            assert said(home, fd) == b"first\r\nsecond\r\n"
            quote.write_text("other")
            fd = home.system.connect(PLACE)
            await home.rest()
            assert said(home, fd) == b"other"


async def test_a_quote_that_is_missing_is_nothing_and_told_once(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(60):
        async with house([internal("qotd")], qotd=str(tmp_path / "quote")) as home:
            for _ in range(3):
                fd = home.system.connect(PLACE)
                home.system.leave(fd)
                await home.rest()
                assert said(home, fd) == b""
                assert fd not in home.system.descriptors
    assert len(caplog.messages) == 1
    assert "No such file" in caplog.text


def test_a_quote_is_cut_at_512_characters_after_its_line_feeds_are_two() -> None:
    assert as_sent(b"a\nb") == b"a\r\nb"
    assert as_sent(b"\n" * 300) == b"\r\n" * 256
    assert as_sent(b"x" * 511 + b"\n") == b"x" * 511 + b"\r"
    assert as_sent("\u00e9".encode() * 600) == "\u00e9".encode() * 512
    assert as_sent(b"\xff\n") == b"\xff\r\n"


async def test_busy_clients_leave_the_loop_idle_between_their_turns(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(600):
        async with house([internal("discard")]) as home:
            first, second = (home.system.connect(PLACE, sends=b"x" * 50 * CHUNK) for _ in range(2))
            begun = trio.current_time()
            await home.rest()
            assert first in home.system.sent
            left = [len(home.system.sent[fd]) // CHUNK for fd in (first, second)]
            assert abs(left[0] - left[1]) <= 1
            assert sum(left) == pytest.approx(100 - turns.AHEAD, abs=1)
            while home.system.sent:
                await trio.sleep(turns.EACH)
            took = trio.current_time() - begun
            assert took == pytest.approx(sum(left) * turns.EACH, rel=0.1)


async def test_a_stop_ends_the_clients_of_a_listener_and_of_nobody_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    other = replace(PLACE, port=2)
    components = [internal("echo"), internal("discard", sockets=(other,))]
    with trio.fail_after(60):
        async with house(components) as home:
            fd, spared = home.system.connect(PLACE), home.system.connect(other)
            await home.rest()
            await home.order("stop", "echo")
            assert home.phase("echo") is Phase.STOPPED
            assert "echo#1" not in home.runner.engine.world.states
            assert fd not in home.system.descriptors
            assert spared in home.system.descriptors
            assert home.phase("discard#2") is Phase.RUNNING
            assert not home.system.signals
            await home.shut_down()
            assert spared not in home.system.descriptors


async def test_the_limits_of_a_listener_hold_for_what_piesd_serves(
    autojump_clock: trio.testing.MockClock,
) -> None:
    echo = internal("echo", max_instances=1, max_instances_message="full\n")
    with trio.fail_after(60):
        async with house([echo]) as home:
            home.system.connect(PLACE)
            second = home.system.connect(PLACE)
            await home.rest()
            assert home.system.told[second] == b"full\n"
            assert home.state("echo").refused_clients == 1


async def test_an_exit_action_follows_each_client(
    autojump_clock: trio.testing.MockClock,
) -> None:
    action = ExitAction(codes=(0,), exec=("/bin/count",))
    with trio.fail_after(60):
        async with house([internal("echo", exit_actions=(action,))]) as home:
            home.system.leave(home.system.connect(PLACE))
            await home.rest()
            (launch,) = home.system.launches
            assert launch.spec.argv == ("/bin/count",)


async def test_one_client_that_breaks_a_service_breaks_it_for_itself_alone(
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = services.echo

    async def echo(client: services.Client) -> None:
        if await client.receive() == b"bad":
            raise RuntimeError("as a bug would")
        await broken(client)

    monkeypatch.setattr(services, "echo", echo)
    with trio.fail_after(60):
        async with house([internal("echo")]) as home:
            good = home.system.connect(PLACE, sends=b"good")
            bad = home.system.connect(PLACE, sends=b"bad")
            await home.rest()
            assert bad not in home.system.descriptors
            home.system.say(good, b"more")
            await home.rest()
            assert said(home, good) == b"more"
    assert "this is a bug in piesd" in caplog.text


# --- tcpmux


MUX = internal("tcpmux")


async def test_a_named_service_gets_the_connection_and_what_follows_the_line(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([MUX, below("Finger")]) as home:
            fd = home.system.connect(PLACE, sends=b"fin")
            await home.rest()
            assert home.phase("tcpmux#1") is Phase.RUNNING
            home.system.say(fd, b"GER\r\nwho\r\n")
            await home.rest()
            assert said(home, fd) == b""
            (launch,) = home.system.launches
            assert (launch.key, launch.stdin) == ("Finger#2", fd)
            assert bytes(home.system.sent[fd]) == b"who\r\n"
            assert home.phase("Finger#2") is Phase.RUNNING
            assert "tcpmux#1" not in home.runner.engine.world.states
            assert not home.system.told
            home.system.exit("Finger#2")
            await home.rest()
            assert "Finger#2" not in home.runner.engine.world.states


@pytest.mark.parametrize("line", [b"finger\n", b"FINGER\r\n"])
async def test_piesd_says_yes_for_a_service_that_is_plus(
    autojump_clock: trio.testing.MockClock, line: bytes
) -> None:
    with trio.fail_after(60):
        async with house([MUX, below("finger", tcpmux_plus=True)]) as home:
            fd = home.system.connect(PLACE, sends=line)
            await home.rest()
            assert said(home, fd) == b"+go\r\n"
            assert home.phase("finger#2") is Phase.RUNNING


@pytest.mark.parametrize("line", [b"ftp\r\n", b"\r\n", b"fing\r\n", b"finger \r\n", b"\xff\xfe\n"])
async def test_an_unknown_service_is_refused(
    autojump_clock: trio.testing.MockClock, line: bytes
) -> None:
    with trio.fail_after(60):
        async with house([MUX, below("finger")]) as home:
            fd = home.system.connect(PLACE, sends=line)
            home.system.leave(fd)
            await home.rest()
            assert said(home, fd) == b"-no such service\r\n"
            assert not home.system.launches
            assert fd not in home.system.descriptors


async def test_help_names_those_that_are_there_now(
    autojump_clock: trio.testing.MockClock,
) -> None:
    components = [MUX, below("one"), below("two", service="Zwei"), below("three")]
    with trio.fail_after(60):
        async with house(components) as home:
            await home.order("stop", "one")
            fd = home.system.connect(PLACE, sends=b"HELP\r\n")
            home.system.leave(fd)
            await home.rest()
            assert said(home, fd) == b"Zwei\r\nthree\r\n"
            fd = home.system.connect(PLACE, sends=b"one\r\n")
            await home.rest()
            assert said(home, fd) == b"-no such service\r\n"


async def test_a_client_that_names_nothing_in_time_is_let_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([MUX]) as home:
            fd = home.system.connect(PLACE, sends=b"fin")
            await trio.sleep(tcpmux.PATIENCE - 1)
            home.system.say(fd, b"g")
            await trio.sleep(1.5)
            assert said(home, fd) == b"-no service was named within 10 s\r\n"
            home.system.leave(fd)
            await home.rest()
            assert fd not in home.system.descriptors


async def test_a_name_without_end_is_refused_before_more_of_it_is_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([MUX, below("n" * 255)]) as home:
            fd = home.system.connect(PLACE, sends=b"n" * 255 + b"\r\n")
            await home.rest()
            assert home.system.launches[0].stdin == fd
            fd = home.system.connect(PLACE, sends=b"n" * 256)
            await home.rest()
            assert said(home, fd) == b"-a name has 255 bytes at most\r\n"


async def test_a_client_that_leaves_before_it_has_named_anything_is_forgotten(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([MUX]) as home:
            fd = home.system.connect(PLACE, sends=b"fin")
            home.system.leave(fd)
            await home.rest()
            assert said(home, fd) == b""
            assert fd not in home.system.descriptors
            assert home.kinds("tcpmux#1") == ["started", "finished"]


async def test_the_limits_of_a_subordinate_are_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limited = below("finger", max_instances=1, max_instances_message="full\r\n")
    with trio.fail_after(60):
        async with house([MUX, limited]) as home:
            home.system.connect(PLACE, sends=b"finger\r\n")
            await home.rest()
            second = home.system.connect(PLACE, sends=b"finger\r\n")
            await home.rest()
            assert home.system.told[second] == b"full\r\n"
            assert home.state("finger").refused_clients == 1
            assert home.state("tcpmux").refused_clients == 0


async def test_a_subordinate_over_its_rate_is_unknown_until_the_minute_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(600):
        async with house([MUX, below("finger", max_rate=1)]) as home:
            home.system.connect(PLACE, sends=b"finger\r\n")
            await home.rest()
            assert home.state("finger").paused
            second = home.system.connect(PLACE, sends=b"finger\r\n")
            await home.rest()
            assert said(home, second) == b"-no such service\r\n"
            await trio.sleep(61)
            third = home.system.connect(PLACE, sends=b"finger\r\n")
            await home.rest()
            assert home.system.launches[-1].stdin == third


async def test_a_master_that_stops_takes_its_subordinates_along(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([MUX, below("finger")]) as home:
            home.system.connect(PLACE, sends=b"finger\r\n")
            waiting = home.system.connect(PLACE)
            await home.rest()
            await home.order("stop", "tcpmux")
            assert home.phase("tcpmux") is Phase.STOPPED
            assert home.phase("finger") is Phase.WAITING
            assert [sent.key for sent in home.system.signals if sent.signum == SIGTERM] == [
                next(launch.key for launch in home.system.launches)
            ]
            assert waiting not in home.system.descriptors
            assert set(home.runner.engine.world.states) == {"tcpmux", "finger"}
