"""Sinks that are slow, stuck or broken: children wait a little, then lines are lost and counted."""

import errno
import os
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from output_fakes import House, to, web
from supervisor.model.component import Output
from supervisor.runtime.ownlog import OwnLine
from supervisor.runtime.sinks import PATIENCE, SMALL_BUFFER
from supervisor.runtime.streams import READ, Lost

INHERIT = Output(kind="inherit")
LINE = b"%09d\n"
KIB = [b"%01023d\n" % number for number in range(20_000)]


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
async def house() -> AsyncIterator[House]:
    with trio.fail_after(3600):
        async with trio.open_nursery() as nursery:
            yield House(nursery)
            nursery.cancel_scope.cancel()


async def test_what_comes_during_a_write_goes_in_the_next_one(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.gate = trio.Event()
    house.system.write(out, b"first\n")
    await wait_all_tasks_blocked()
    for number in range(500):
        house.system.write(out, LINE % number)
    house.system.gate.set()
    await wait_all_tasks_blocked()
    assert house.log("/web").writes[0] == b"first\n"
    assert len(house.log("/web").writes) == 2


async def test_a_full_buffer_stops_the_reading_and_loses_nothing(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.gate = trio.Event()
    everything = b"".join(KIB[:3000])
    house.system.write(out, everything)
    await wait_all_tasks_blocked()
    assert len(house.system.pipes[out - 1]) >= len(everything) - 1024 * 1024 - READ
    await trio.sleep(PATIENCE - 1)
    house.system.gate.set()
    house.system.gate = None
    while house.system.pipes[out - 1]:
        await wait_all_tasks_blocked()
        house.system.pump()
    await wait_all_tasks_blocked()
    assert house.log("/web").data == everything
    assert house.outputs.lost("web")["stdout"] == Lost(0, 0)
    assert house.reports == []


async def test_a_stuck_sink_blocks_a_child_for_five_seconds_and_then_loses_lines(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.gate = trio.Event()
    everything = b"".join(KIB[:3000])
    house.system.write(out, everything)
    await trio.sleep(PATIENCE + 0.1)
    house.system.pump()
    assert not house.system.pipes[out - 1], "the child goes on"
    assert house.texts("output-lost") == [
        "cannot write /web: it has taken nothing for a while; dropping lines of 'web'"
    ]
    house.system.gate.set()
    house.system.gate = None
    await wait_all_tasks_blocked()
    lost = house.outputs.lost("web")["stdout"]
    assert lost.lines > 0
    assert lost.bytes == lost.lines * 1024
    marker = f"piesd: {lost.lines} lines ({lost.bytes} bytes) of 'web' were lost here\n".encode()
    assert house.log("/web").data == b"".join(KIB[: 3000 - lost.lines]) + marker
    assert house.texts("output-resumed") == [
        f"{lost.lines} lines ({lost.bytes} bytes) of 'web' were lost: /web"
    ]
    house.system.write(out, b"as before\n")
    await wait_all_tasks_blocked()
    assert house.log("/web").data.endswith(b"lost here\nas before\n")
    assert [row.text for row in house.outputs.tail("web", "stdout", 2)] == [
        KIB[2999][:-1],
        b"as before",
    ], "the lines in memory have no gap"


async def test_a_short_outage_costs_nothing(house: House, autojump_clock: MockClock) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.log("/web").error = full_disk()
    house.system.write(out, b"".join(KIB[:30]))
    await wait_all_tasks_blocked()
    assert house.texts("output-failed") == [
        "cannot write /web: No space left on device; holding lines of 'web' back"
    ]
    house.system.write(out, b"".join(KIB[30:60]))
    house.log("/web").error = None
    await trio.sleep(10)
    assert house.log("/web").data == b"".join(KIB[:60])
    assert house.texts("output-resumed") == ["/web can be written again; no line was lost"]
    assert house.texts("output-lost") == []


async def test_a_full_disk_costs_lines_that_are_counted_and_marked(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    log = house.log("/web")
    log.room = 100 * 1024 + 500
    house.system.write(out, b"".join(KIB[:200]))
    await wait_all_tasks_blocked()
    house.system.write(out, b"".join(KIB[200:400]))
    await trio.sleep(60)
    assert house.texts("output-lost") == [
        "cannot write /web: No space left on device; dropping lines of 'web'"
    ]
    log.room = None
    await trio.sleep(10)
    house.system.write(out, b"after\n")
    await wait_all_tasks_blocked()
    lost = house.outputs.lost("web")["stdout"]
    marker = f"piesd: {lost.lines} lines ({lost.bytes} bytes) of 'web' were lost here\n".encode()
    assert log.data == b"".join(KIB[: 400 - lost.lines]) + marker + b"after\n"
    assert lost == Lost(lost.lines, lost.lines * 1024)
    assert 200 <= lost.lines <= 300


async def test_a_log_that_cannot_be_opened_is_tried_again(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.open_error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    house.system.write(out, b"one\n")
    await trio.sleep(100)
    assert len(house.reports) == 1, "it is told once, not at each attempt"
    assert "cannot write /web: Permission denied" in house.reports[0][3]
    house.open_error = None
    await trio.sleep(5)
    assert house.log("/web").data == b"one\n"


async def test_reopening_tries_a_failed_log_at_once(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.log("/web").error = full_disk()
    house.system.write(out, b"one\n")
    await trio.sleep(60.5)
    house.log("/web").error = None
    now = trio.current_time()
    house.outputs.reopen()
    await wait_all_tasks_blocked()
    assert house.log("/web").data == b"one\n"
    assert trio.current_time() == now


async def test_reopening_reaches_every_open_log_and_only_those(
    house: House, autojump_clock: MockClock
) -> None:
    a, _ = house.outputs.descriptors("a", web(stdout=to("/a")))
    house.outputs.descriptors("b", web(stdout=to("/b")))
    house.system.write(a, b"a\n")
    await wait_all_tasks_blocked()
    house.outputs.reopen()
    await wait_all_tasks_blocked()
    assert house.log("/a").reopened == 1
    assert "/b" not in house.logs


async def test_a_reopening_that_fails_is_made_up_for(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.write(out, b"one\n")
    await wait_all_tasks_blocked()
    house.log("/web").error = full_disk()
    house.outputs.reopen()
    await wait_all_tasks_blocked()
    house.log("/web").error = None
    await trio.sleep(5)
    assert house.log("/web").reopened == 1


async def test_a_broken_log_does_not_disturb_its_neighbour(
    house: House, autojump_clock: MockClock
) -> None:
    bad, _ = house.outputs.descriptors("bad", web(stdout=to("/bad")))
    good, _ = house.outputs.descriptors("good", web(stdout=to("/good")))
    house.log("/bad").error = full_disk()
    for number in range(0, 10_000, 100):
        house.system.write(bad, b"".join(KIB[number : number + 100]))
        house.system.write(good, KIB[number])
        await wait_all_tasks_blocked()
        assert house.outputs._depot.size <= READ, "little is held for a log that fails"
    assert house.log("/good").data == b"".join(KIB[:10_000:100])
    assert not house.system.pipes[bad - 1], "the component with the broken log goes on, too"
    assert house.outputs.lost("good")["stdout"] == Lost(0, 0)
    assert house.outputs.lost("bad")["stdout"].lines > 9900 - READ // 1024


async def test_a_stuck_stdout_of_ours_blocks_nobody_for_good(
    house: House, autojump_clock: MockClock
) -> None:
    spec = web(stdout=INHERIT)
    ends = {tag: house.outputs.descriptors(tag, spec)[0] for tag in ("a", "b", "c")}
    house.own[-1] = house.logs["stuck"] = log = house.log("stuck")
    log.most = 0
    for number in range(0, 3000, 100):
        for end in ends.values():
            house.system.write(end, b"".join(KIB[number : number + 100]))
    await trio.sleep(PATIENCE + 1)
    house.system.pump()
    assert not any(house.system.pipes.values())
    log.most = 7777
    await trio.sleep(100)
    lines = log.data.splitlines()
    for tag in ends:
        lost = house.outputs.lost(tag)["stdout"]
        mine = [line for line in lines if line.startswith(tag.encode() + b" | ")]
        remarks = [line for line in mine if b"were lost here" in line]
        assert len(mine) - len(remarks) + lost.lines == 3000
        assert len(remarks) == (1 if lost.lines else 0)
        assert lost.bytes == 1024 * lost.lines
    assert len(lines) == sum(line[1:4] == b" | " for line in lines), "no line is torn"


async def test_a_stuck_sink_can_be_exchanged(house: House, autojump_clock: MockClock) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.gate = trio.Event()
    house.system.write(out, b"".join(KIB[:3000]))
    await wait_all_tasks_blocked()
    assert house.system.pipes[out - 1]
    house.outputs.retune("web", web(stdout=Output(kind="null")))
    house.system.pump()
    assert not house.system.pipes[out - 1]
    await trio.sleep(PATIENCE + 1)
    assert house.texts("output-lost") == []


async def test_children_that_end_while_the_buffer_is_full_lose_nothing(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.gate = trio.Event()
    house.system.write(out, b"".join(KIB[:1100]))
    house.outputs.drain("web")
    assert not house.system.pipes[out - 1]
    house.system.gate.set()
    await wait_all_tasks_blocked()
    assert house.log("/web").data == b"".join(KIB[:1100])


@pytest.mark.slow
async def test_all_buffers_together_are_bounded(house: House, autojump_clock: MockClock) -> None:
    house.system.gate = trio.Event()
    for number in range(100):
        out, _ = house.outputs.descriptors(f"c{number}", web(stdout=to(f"/{number}")))
        house.system.write(out, b"".join(KIB[:2000]))
    unread = sum(map(len, house.system.pipes.values()))
    held = 100 * 2000 * 1024 - unread
    assert held <= 64 * 1024 * 1024 + 100 * (SMALL_BUFFER + READ)


async def test_whatever_a_log_raises_ends_nothing(house: House, autojump_clock: MockClock) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.log("/web").error = RuntimeError("a bug")  # type: ignore[assignment] # on purpose
    house.system.write(out, b"one\n")
    await trio.sleep(2)
    assert "RuntimeError('a bug')" in house.texts("output-failed")[0]
    house.log("/web").error = None
    await trio.sleep(10)
    assert house.log("/web").data == b"one\n"


async def test_the_end_writes_everything_and_closes(
    house: House, autojump_clock: MockClock
) -> None:
    out, err = house.outputs.descriptors("web", web(stderr=INHERIT))
    follower = house.outputs.follow("web", {"stdout"})
    house.system.pipes[out - 1] += b"read\nunfinished"
    house.system.pipes[err - 1] += b"goodbye"
    await house.outputs.aclose()
    assert house.log("/web").data == b"read\nunfinished\n"
    assert house.own[-2].data == b"web | goodbye\n"
    assert (house.log("/web").closed, house.own[-2].closed) == (1, 1)
    assert len(house.system.closed) == 4
    assert [line.text async for lines in follower for line in lines] == [b"read", b"unfinished"]


async def test_the_end_does_not_wait_for_a_stuck_log(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web(stdout=INHERIT))
    stuck = house.own[-1] = house.log("stuck")
    stuck.most = 0
    house.system.write(out, b"never\nread\n")
    before = trio.current_time()
    await house.outputs.aclose(timeout=3)
    assert trio.current_time() - before <= 3.1
    assert house.texts("output-lost") == [
        "2 lines (11 bytes) of 'web' were lost: standard output: it was not written in time"
    ]
    await trio.sleep(10)
    assert house.texts("output-failed") == []


async def test_the_end_tries_a_failed_log_once_more(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.log("/web").error = full_disk()
    house.system.write(out, b"one\n")
    await trio.sleep(30.5)
    house.log("/web").error = None
    before = trio.current_time()
    await house.outputs.aclose()
    assert house.log("/web").data == b"one\n"
    assert trio.current_time() == before


async def test_the_end_gives_up_a_log_that_still_fails(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.log("/web").error = full_disk()
    house.system.write(out, b"one\n")
    await trio.sleep(30)
    before = trio.current_time()
    await house.outputs.aclose()
    assert trio.current_time() == before
    assert house.texts("output-lost") == [
        "1 line (4 bytes) of 'web' was lost: /web: No space left on device"
    ]
    assert house.texts("output-resumed") == []


async def test_nothing_runs_when_nothing_is_printed(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.write(out, b"one\n")
    await wait_all_tasks_blocked()
    before = house.system.jobs
    start = trio.lowlevel.current_statistics().tasks_living
    await trio.sleep(1000)
    assert house.system.jobs == before
    assert trio.lowlevel.current_statistics().tasks_living == start


async def test_our_own_log_goes_the_same_way_and_never_waits(
    house: House, autojump_clock: MockClock
) -> None:
    _, err = house.outputs.descriptors("web", web(stderr=INHERIT))
    house.system.write(err, b"half a ")
    house.outputs.write_own(OwnLine(b"piesd: hello\n"))
    house.system.write(err, b"line\n")
    await wait_all_tasks_blocked()
    assert house.own[-2].data == b"piesd: hello\nweb | half a line\n"


async def test_telling_of_a_loss_in_the_log_that_loses_comes_to_an_end(
    house: House, autojump_clock: MockClock
) -> None:
    house.heard = lambda text: house.outputs.write_own(OwnLine(text.encode() + b"\n"))
    log = house.own[-2] = house.log("stderr")
    _, err = house.outputs.descriptors("web", web(stderr=INHERIT))
    log.error = full_disk()
    for number in range(0, 1000, 100):
        house.system.write(err, b"".join(KIB[number : number + 100]))
        await wait_all_tasks_blocked()
    await trio.sleep(100)
    log.error = None
    await trio.sleep(100)
    assert b"of 'web' were lost" in log.data
    log.error = full_disk()
    house.system.write(err, b"never\n")
    await trio.sleep(100)
    told = len(house.reports)
    await house.outputs.aclose()
    assert len(house.reports) - told <= 4


async def test_a_broken_log_that_nobody_uses_any_more_is_given_up(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.log("/web").error = full_disk()
    house.system.write(out, b"one\n")
    house.outputs.forget("web")
    await trio.sleep(60)
    assert house.texts("output-lost") == [
        "1 line (4 bytes) of 'web' was lost: /web: No space left on device"
    ]
    jobs = house.system.jobs
    await trio.sleep(60)
    assert (house.system.jobs, house.log("/web").closed) == (jobs, 1)


async def test_a_log_that_breaks_while_its_buffer_is_full_lets_the_child_go_on_at_once(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.gate = trio.Event()
    house.system.write(out, b"".join(KIB[:3000]))
    await wait_all_tasks_blocked()
    assert house.system.pipes[out - 1]
    house.log("/web").error = full_disk()
    house.system.gate.set()
    await wait_all_tasks_blocked()
    house.system.pump()
    assert not house.system.pipes[out - 1]


async def test_reopening_reaches_a_log_that_is_just_being_opened(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.gate = trio.Event()
    house.system.write(out, b"one\n")
    await wait_all_tasks_blocked()
    house.outputs.reopen()
    house.system.gate.set()
    await wait_all_tasks_blocked()
    assert house.log("/web").reopened == 1


async def test_the_end_tries_our_own_log_once_more(house: House, autojump_clock: MockClock) -> None:
    house.own[-2] = house.log("stderr")
    house.log("stderr").error = full_disk()
    house.outputs.write_own(OwnLine(b"piesd: one\n"))
    await trio.sleep(28)
    house.log("stderr").error = None
    await house.outputs.aclose()
    assert house.log("stderr").data == b"piesd: one\n"


@pytest.mark.slow
async def test_a_thousand_forgotten_components_leave_nothing_behind(
    house: House, autojump_clock: MockClock
) -> None:
    for number in range(1000):
        tag = f"c{number}"
        out, _ = house.outputs.descriptors(tag, web(tag=tag, stdout=to(f"/{number}")))
        if number % 2:
            house.system.write(out, b"hello\n")
        house.outputs.forget(tag)
    await wait_all_tasks_blocked()
    assert not house.outputs._depot._sinks
    assert house.outputs._depot.size == 0
    assert sum(log.data == b"hello\n" for log in house.logs.values()) == 500


async def test_little_is_held_in_memory_for_a_log_that_fails(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.log("/web").error = full_disk()
    house.system.write(out, KIB[0])
    await wait_all_tasks_blocked()
    house.system.write(out, b"".join(KIB[1:1000]))
    assert house.outputs._depot.size <= 64 * 1024
    house.log("/web").error = None
    await trio.sleep(10)
    lost = house.outputs.lost("web")["stdout"].lines
    assert house.log("/web").data.startswith(b"".join(KIB[: 1000 - lost]) + b"piesd: ")
