"""Syslog and the journal as sinks, times in files, and our own log beyond standard error."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from output_fakes import House, to, web
from supervisor.model.component import Output
from supervisor.model.settings import SyslogSettings
from supervisor.runtime.messages import Origin
from supervisor.runtime.ownlog import OwnLine, OwnPlace
from supervisor.runtime.ownsink import OwnSink
from supervisor.runtime.sinks import PATIENCE

SYSLOG = Output(kind="syslog")
JOURNAL = Output(kind="journal")
SAME = Output(kind="stdout")


def refused() -> OSError:
    return OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


@pytest.fixture
async def house() -> AsyncIterator[House]:
    with trio.fail_after(3600):
        async with trio.open_nursery() as nursery:
            yield House(nursery)
            nursery.cancel_scope.cancel()


@pytest.fixture
async def lodge() -> AsyncIterator[House]:
    """Outputs whose own log goes to syslog."""
    place = OwnPlace("syslog", SyslogSettings(facility="local1"), "pies")
    with trio.fail_after(3600):
        async with trio.open_nursery() as nursery:
            yield House(nursery, own_log=place)
            nursery.cancel_scope.cancel()


def own(text: str, priority: int = 6) -> OwnLine:
    return OwnLine(f"12:00:00 piesd: {text}\n".encode(), f"{text}\n".encode(), priority)


# --- components


async def test_each_line_is_a_message_of_its_component_stream_and_moment(
    house: House, autojump_clock: MockClock
) -> None:
    out, err = house.outputs.descriptors("web", web(stdout=SYSLOG, stderr=SYSLOG))
    house.outputs.started("web", 4677)
    house.system.write(out, b"one\ntw")
    house.system.now += 5
    house.system.write(out, b"o\n")
    house.system.write(err, b"oops\n")
    await wait_all_tasks_blocked()
    first = Origin("web", "web", "stdout", 3, 6, 4677)
    assert house.courier().records == [
        (first, house.system.now - 5, b"one"),
        (first, house.system.now, b"two"),
        (first._replace(stream="stderr", priority=3), house.system.now, b"oops"),
    ]


async def test_together_both_streams_are_one_with_one_priority(
    house: House, autojump_clock: MockClock
) -> None:
    out, err = house.outputs.descriptors("web", web(stdout=SYSLOG, stderr=SAME))
    assert out == err
    house.system.write(err, b"oops\n")
    await wait_all_tasks_blocked()
    assert [origin.priority for origin, _, _ in house.courier().records] == [6]


async def test_apart_each_stream_goes_its_own_way(house: House, autojump_clock: MockClock) -> None:
    out, err = house.outputs.descriptors("web", web(stdout=JOURNAL, stderr=SYSLOG))
    house.system.write(out, b"out\n")
    house.system.write(err, b"err\n")
    await wait_all_tasks_blocked()
    assert house.courier("journal", "/run/systemd/journal/socket").lines == [b"out"]
    assert house.courier().lines == [b"err"]


async def test_all_who_go_to_one_syslog_share_one_connection_whatever_their_priority(
    house: House, autojump_clock: MockClock
) -> None:
    debug = Output(kind="syslog", facility="local7", priority="debug")
    a, _ = house.outputs.descriptors("a", web(stdout=SYSLOG))
    b, _ = house.outputs.descriptors("b", web(stdout=debug))
    house.system.write(a, b"a\n")
    house.system.write(b, b"b\n")
    await wait_all_tasks_blocked()
    assert list(house.couriers) == [("syslog", "/dev/log")]
    seen = [
        (origin.tag, origin.facility, origin.priority) for origin, _, _ in house.courier().records
    ]
    assert seen == [("a", 3, 6), ("b", 23, 7)]


async def test_the_pid_is_that_of_the_latest_child(house: House, autojump_clock: MockClock) -> None:
    spec = web(stdout=SYSLOG)
    out, _ = house.outputs.descriptors("web", spec)
    for pid in (10, 11):
        house.outputs.descriptors("web", spec)
        house.system.write(out, b"early\n")
        house.outputs.started("web", pid)
        house.system.write(out, b"hello\n")
    house.outputs.descriptors("web#1", spec)
    house.outputs.started("web#1", 12)
    house.system.write(out, b"hello\n")
    await wait_all_tasks_blocked()
    assert [origin.pid for origin, _, _ in house.courier().records] == [0, 10, 0, 11, 11]


async def test_a_new_priority_applies_to_the_running_child(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web(stdout=SYSLOG))
    house.system.write(out, b"one\n")
    house.outputs.retune("web", web(stdout=Output(kind="syslog", priority="debug")))
    house.system.write(out, b"two\n")
    await wait_all_tasks_blocked()
    assert [origin.priority for origin, _, _ in house.courier().records] == [6, 7]


@pytest.mark.parametrize("kind", ["file", "inherit", "null", "journal"])
async def test_the_running_child_moves_from_syslog_to_anything_and_back(
    house: House, autojump_clock: MockClock, kind: str
) -> None:
    other = {"file": to("/web"), "journal": JOURNAL}.get(kind, Output(kind=kind))  # type: ignore[arg-type] # Literals.
    out, _ = house.outputs.descriptors("web", web(stdout=SYSLOG))
    house.system.write(out, b"1\n")
    house.outputs.retune("web", web(stdout=other))
    house.system.write(out, b"2\n")
    await wait_all_tasks_blocked()
    assert house.courier().closed == 1, "nobody uses it any more"
    house.outputs.retune("web", web(stdout=SYSLOG))
    house.system.write(out, b"3\n")
    await wait_all_tasks_blocked()
    assert house.courier().lines == [b"1", b"3"]
    assert [line.text for line in house.outputs.tail("web", None, 9)] == [b"1", b"2", b"3"]


async def test_another_syslog_is_used_by_those_who_run(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web(stdout=SYSLOG))
    house.outputs.descriptors("file", web(tag="file"))
    house.system.write(out, b"1\n")
    house.outputs.use_syslog(SyslogSettings(dev="192.0.2.1", facility="user"))
    house.system.write(out, b"2\n")
    await wait_all_tasks_blocked()
    assert (house.courier().lines, house.courier().closed) == ([b"1"], 1)
    ((origin, _, line),) = house.courier("syslog", "192.0.2.1").records
    assert (origin.facility, line) == (1, b"2")


async def test_reopening_connects_to_collectors_anew(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web(stdout=SYSLOG))
    house.system.write(out, b"1\n")
    await wait_all_tasks_blocked()
    house.outputs.reopen()
    await wait_all_tasks_blocked()
    assert house.courier().reopened == 1


async def test_a_line_without_end_reaches_a_collector_in_pieces(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web(stdout=SYSLOG))
    house.system.write(out, b"x" * 100_000 + b"\n")
    await wait_all_tasks_blocked()
    assert b"".join(house.courier().lines) == b"x" * 100_000


async def test_a_short_absence_of_syslog_costs_nothing(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web(stdout=SYSLOG))
    house.courier().error = refused()
    house.system.write(out, b"one\n")
    await trio.sleep(30)
    assert house.texts("output-failed") == [
        "cannot write syslog at /dev/log: Connection refused; holding lines of 'web' back"
    ]
    house.courier().error = None
    await trio.sleep(5)
    assert house.courier().lines == [b"one"]
    assert house.texts("output-resumed") == [
        "syslog at /dev/log can be written again; no line was lost"
    ]


async def test_what_a_long_absence_costs_is_counted_and_told_at_its_place(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web(stdout=SYSLOG))
    house.courier().error = refused()
    for number in range(20):
        house.system.write(out, b"".join(b"%09d\n" % (number * 1000 + n) for n in range(1000)))
        await wait_all_tasks_blocked()
    house.courier().error = None
    await trio.sleep(10)
    house.system.write(out, b"after\n")
    await wait_all_tasks_blocked()
    lost = house.outputs.lost("web")["stdout"]
    assert lost.lines > 10_000
    assert lost.bytes == 10 * lost.lines
    kept = [b"%09d" % number for number in range(20_000 - lost.lines)]
    remark = f"piesd: {lost.lines} lines ({lost.bytes} bytes) of 'web' were lost here".encode()
    assert house.courier().lines == [*kept, remark, b"after"]


@pytest.mark.slow
async def test_a_collector_that_takes_little_at_a_time_gets_everything(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web(stdout=SYSLOG))
    house.courier().most = 7
    lines = [b"%d" % number for number in range(10_000)]
    house.system.write(out, b"\n".join(lines) + b"\n")
    await wait_all_tasks_blocked()
    assert house.courier().lines == lines
    assert house.reports == []


async def test_progress_ends_the_trouble_though_more_is_waiting(
    house: House, autojump_clock: MockClock
) -> None:
    sent_by_then: list[int] = []
    out, _ = house.outputs.descriptors("web", web(stdout=SYSLOG))
    house.courier().error = refused()
    house.system.write(out, b"x\n" * 1000)
    await trio.sleep(10)
    house.heard = lambda _: sent_by_then.append(len(house.courier().lines))
    house.courier().error = None
    house.courier().most = 1
    await trio.sleep(5)
    assert sent_by_then == [1]
    assert house.texts("output-resumed")[0].endswith("no line was lost")
    assert len(house.courier().lines) == 1000


async def test_a_stuck_collector_delays_its_component_for_five_seconds_and_nobody_else(
    house: House, autojump_clock: MockClock
) -> None:
    stuck, _ = house.outputs.descriptors("stuck", web(tag="stuck", stdout=SYSLOG))
    good, _ = house.outputs.descriptors("good", web(tag="good"))
    house.courier().most = 0
    house.system.write(stuck, b"x" * 1023 + b"\n")
    for _ in range(3000):
        house.system.write(stuck, b"x" * 1023 + b"\n")
    house.system.write(good, b"good\n")
    await trio.sleep(1)
    assert house.log("/web").data == b"good\n"
    await trio.sleep(PATIENCE)
    house.system.pump()
    assert not house.system.pipes[stuck - 1]
    assert len(house.texts("output-lost")) == 1


# --- times in files


async def test_each_line_of_a_file_begins_with_its_time_if_that_is_asked_for(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web(stdout=to("/web", timestamps=True)))
    house.system.now = 1_793_836_354.9  # A half is a half in binary, too: no rounding here.
    house.system.write(out, b"one\n\ntw")
    house.system.now = 1_793_836_355.0
    house.system.write(out, b"o\n")
    await wait_all_tasks_blocked()
    assert house.log("/web").data == (
        b"2026-11-04T23:52:34.900Z one\n2026-11-04T23:52:34.900Z \n2026-11-04T23:52:35.000Z two\n"
    )


async def test_times_come_and_go_with_a_running_child(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.now = 1_793_836_355.0
    house.system.write(out, b"1\n" + b"x" * 65536)
    house.outputs.retune("web", web(stdout=to("/web", timestamps=True)))
    house.system.write(out, b"y\n2\n")
    house.outputs.retune("web", web())
    house.system.write(out, b"3\n")
    await wait_all_tasks_blocked()
    stamp = b"2026-11-04T23:52:35.000Z "
    assert house.log("/web").data == (
        b"1\n" + b"x" * 65536 + b"\n" + stamp + b"y\n" + stamp + b"2\n3\n"
    )


async def test_lost_lines_are_counted_without_their_times(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web(stdout=to("/web", timestamps=True)))
    house.log("/web").error = refused()
    for _ in range(100):
        house.system.write(out, b"x" * 1023 + b"\n")
    await trio.sleep(30)
    lost = house.outputs.lost("web")["stdout"]
    assert lost.lines > 30
    assert lost.bytes == lost.lines * 1024


# --- our own log


async def test_our_own_log_goes_to_syslog_with_its_priority_and_our_pid(
    lodge: House, autojump_clock: MockClock
) -> None:
    lodge.outputs.write_own(own("hello"))
    lodge.outputs.write_own(own("oh", 3)._replace(component="web"))
    await wait_all_tasks_blocked()
    assert [(origin, line) for origin, _, line in lodge.courier().records] == [
        (Origin("pies", "", "", 17, 6, os.getpid()), b"hello"),
        (Origin("pies", "web", "", 17, 3, os.getpid()), b"oh"),
    ]
    assert not lodge.own


async def test_what_syslog_does_not_take_of_ours_goes_to_standard_error(
    lodge: House, autojump_clock: MockClock
) -> None:
    lodge.heard = lambda text: lodge.outputs.write_own(own(text, 4))
    lodge.courier().error = refused()
    lodge.outputs.write_own(own("one"))
    lodge.outputs.write_own(own("two"))
    await wait_all_tasks_blocked()
    lodge.outputs.write_own(own("three"))
    await wait_all_tasks_blocked()
    assert lodge.own[-2].data.decode().splitlines() == [
        "12:00:00 piesd: one",
        "12:00:00 piesd: two",
        "12:00:00 piesd: cannot write syslog at /dev/log: Connection refused; our own log goes to "
        "standard error",
        "12:00:00 piesd: three",
    ]
    lodge.courier().error = None
    lodge.outputs.write_own(own("four"))
    await wait_all_tasks_blocked()
    assert lodge.courier().lines == [
        b"four",
        b"syslog at /dev/log can be written again; standard error has what is missing there",
    ]


async def test_a_syslog_that_takes_nothing_keeps_our_own_log_for_five_seconds_at_most(
    lodge: House, autojump_clock: MockClock
) -> None:
    lodge.courier().most = 0
    lodge.outputs.write_own(own("one"))
    await trio.sleep(PATIENCE - 1)
    assert not lodge.own
    await trio.sleep(1.1)
    assert lodge.own[-2].data == b"12:00:00 piesd: one\n"
    lodge.outputs.write_own(own("two"))
    await wait_all_tasks_blocked()
    assert lodge.own[-2].data.endswith(b"two\n"), "the next one is not kept"
    lodge.courier().most = None
    lodge.outputs.write_own(own("three"))
    await wait_all_tasks_blocked()
    assert lodge.courier().lines == [b"three"]


async def test_a_flood_of_ours_at_a_stuck_syslog_is_not_kept_in_memory(
    lodge: House, autojump_clock: MockClock
) -> None:
    lodge.system.gate = trio.Event()
    for number in range(5000):
        lodge.outputs.write_own(own(f"{number:0100}"))
    lodge.system.gate.set()
    await wait_all_tasks_blocked()
    assert len(lodge.courier().lines) < 700
    assert len(lodge.courier().lines) + lodge.own[-2].data.count(b"\n") == 5000


async def test_the_end_pours_out_what_syslog_has_not_taken_of_ours(
    lodge: House, autojump_clock: MockClock
) -> None:
    lodge.courier().most = 0
    lodge.outputs.write_own(own("last words"))
    await lodge.outputs.aclose(timeout=2)
    assert lodge.own[-2].data == b"12:00:00 piesd: last words\n"
    assert (lodge.courier().closed, lodge.own[-2].closed) == (1, 1)


async def test_a_bug_of_the_courier_is_told_and_costs_no_line_of_ours(
    lodge: House, autojump_clock: MockClock
) -> None:
    lodge.heard = lambda text: lodge.outputs.write_own(own(text, 4))
    lodge.courier().error = RuntimeError("a bug")  # type: ignore[assignment] # On purpose.
    lodge.outputs.write_own(own("one"))
    await wait_all_tasks_blocked()
    lines = lodge.own[-2].data.decode().splitlines()
    assert lines[0] == "12:00:00 piesd: one"
    assert "RuntimeError('a bug'); our own log goes to standard error" in lines[1]


async def test_a_bug_of_the_sink_is_told_and_costs_no_line_of_ours(
    lodge: House, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(_self: OwnSink, _written: int) -> None:
        raise RuntimeError("a bug")

    lodge.heard = lambda text: lodge.outputs.write_own(own(text, 4))
    monkeypatch.setattr(OwnSink, "_consume", bug)
    lodge.outputs.write_own(own("one"))
    await wait_all_tasks_blocked()
    lines = lodge.own[-2].data.decode().splitlines()
    assert lines == [
        "12:00:00 piesd: one",
        "12:00:00 piesd: cannot write syslog at /dev/log: a bug: RuntimeError('a bug')",
    ]


async def test_a_reopening_alone_does_not_say_that_syslog_is_back(
    lodge: House, autojump_clock: MockClock
) -> None:
    lodge.courier().error = refused()
    lodge.outputs.write_own(own("one"))
    await wait_all_tasks_blocked()
    lodge.outputs.reopen()
    await wait_all_tasks_blocked()
    assert lodge.courier().reopened == 1
    assert lodge.texts("output-resumed") == []


async def test_what_a_component_prints_never_stands_before_our_own_lines(
    lodge: House, autojump_clock: MockClock
) -> None:
    out, _ = lodge.outputs.descriptors("web", web(stdout=SYSLOG))
    stuck = lodge.courier()
    stuck.most = 0
    lodge.system.write(out, b"x\n" * 1000)
    await wait_all_tasks_blocked()
    lodge.couriers.clear()
    lodge.outputs.write_own(own("ours"))
    await wait_all_tasks_blocked()
    assert (stuck.lines, lodge.courier().lines) == ([], [b"ours"])
