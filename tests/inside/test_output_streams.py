"""Pipes, lines, rings and followers: what a child prints is there, whole, once and in order."""

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from output_fakes import House, to, web
from supervisor.model.component import Output
from supervisor.runtime.followers import AT_ONCE, Line
from supervisor.runtime.streams import LONGEST_LINE, READ, Lost

INHERIT = Output(kind="inherit")
NULL = Output(kind="null")


@pytest.fixture
async def house() -> AsyncIterator[House]:
    with trio.fail_after(600):
        async with trio.open_nursery() as nursery:
            yield House(nursery)
            nursery.cancel_scope.cancel()


def texts(lines: list[Line]) -> list[bytes]:
    return [line.text for line in lines]


async def test_what_a_child_prints_is_in_the_file_and_in_the_ring(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.write(out, b"one\ntwo\n")
    await wait_all_tasks_blocked()
    assert house.log("/web").data == b"one\ntwo\n"
    assert house.outputs.tail("web", "stdout", 10) == [
        Line("stdout", 1, b"one"),
        Line("stdout", 2, b"two"),
    ]


async def test_the_next_generation_gets_the_same_pipe(
    house: House, autojump_clock: MockClock
) -> None:
    assert house.outputs.descriptors("web", web()) == house.outputs.descriptors("web", web())
    assert len(house.system.pipes) == 2


async def test_stderr_to_stdout_is_one_pipe(house: House, autojump_clock: MockClock) -> None:
    out, err = house.outputs.descriptors("web", web(stderr=Output(kind="stdout")))
    assert out == err
    assert len(house.system.pipes) == 1


async def test_connections_share_the_stderr_of_their_listener(
    house: House, autojump_clock: MockClock
) -> None:
    echo = web(tag="echo", stderr=to("/echo"))
    first = house.outputs.descriptors("echo#1", echo)
    second = house.outputs.descriptors("echo#2", echo)
    assert first == second
    assert first[0] == first[1]
    house.system.write(first[1], b"hello\n")
    house.outputs.forget("echo#1")
    house.system.write(first[1], b"again\n")
    house.outputs.drain("echo#2")
    await wait_all_tasks_blocked()
    assert house.log("/echo").data == b"hello\nagain\n"
    assert texts(house.outputs.tail("echo#2", "stderr", 9)) == [b"hello", b"again"]


async def test_no_descriptors_left_is_the_callers_to_handle_and_can_be_tried_again(
    house: House, autojump_clock: MockClock
) -> None:
    house.system.most_pipes = 1
    with pytest.raises(OSError, match="Too many open files"):
        house.outputs.descriptors("web", web())
    house.system.most_pipes = None
    out, err = house.outputs.descriptors("web", web())
    assert out != err
    assert len(house.system.pipes) == 2


async def test_a_line_waits_for_its_newline_before_the_file_gets_it(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.write(out, b"one\ntw")
    await wait_all_tasks_blocked()
    assert house.log("/web").data == b"one\n"
    assert texts(house.outputs.tail("web", "stdout", 10)) == [b"one", b"tw"]
    house.system.write(out, b"o\nth")
    await wait_all_tasks_blocked()
    assert house.log("/web").data == b"one\ntwo\n"


async def test_drain_reads_what_was_not_read_and_ends_the_last_line(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.pipes[out - 1] += b"last words" * 20_000
    house.outputs.drain("web")
    house.system.write(out, b"first words\n")
    await wait_all_tasks_blocked()
    assert house.log("/web").data == b"last words" * 20_000 + b"\nfirst words\n"


async def test_drain_without_output_writes_nothing(house: House, autojump_clock: MockClock) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.outputs.drain("web")
    house.system.write(out, b"whole\n")
    house.outputs.drain("web")
    house.outputs.drain("nobody")
    await wait_all_tasks_blocked()
    assert house.log("/web").data == b"whole\n"


async def test_drain_ends_with_a_writer_that_never_does(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())

    def endless(_fd: int, most: int) -> bytes:
        return b"y" * most

    house.system.read = endless  # type: ignore[assignment] # A grandchild that goes on.
    house.outputs.drain("web")
    del house.system.read
    house.system.write(out, b"\n")
    await wait_all_tasks_blocked()
    assert house.log("/web").data.count(b"\n") == 1, "the grandchild's line was not cut"


async def test_a_line_without_end_is_shown_in_pieces_and_written_whole(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    long = bytes(range(33, 127)) * 1500
    house.system.write(out, b"short\n" + long + b"\nshort\n")
    await wait_all_tasks_blocked()
    assert house.log("/web").data == b"short\n" + long + b"\nshort\n"
    pieces = texts(house.outputs.tail("web", "stdout", 100))
    assert pieces[0] == pieces[-1] == b"short"
    assert b"".join(pieces[1:-1]) == long
    assert all(0 < len(piece) <= LONGEST_LINE + READ for piece in pieces)


@pytest.mark.parametrize("ending", [b"\n", b""])
async def test_a_line_that_is_exactly_a_piece_has_no_empty_line_after_it(
    house: House, autojump_clock: MockClock, ending: bytes
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.write(out, b"x" * 65536)
    house.system.write(out, ending)
    house.outputs.drain("web")
    house.system.write(out, b"next\n")
    await wait_all_tasks_blocked()
    assert house.log("/web").data == b"x" * 65536 + b"\nnext\n"
    assert texts(house.outputs.tail("web", "stdout", 9)) == [b"x" * 65536, b"next"]


async def test_inherited_lines_carry_the_tag_and_are_never_torn(
    house: House, autojump_clock: MockClock
) -> None:
    spec = web(stdout=INHERIT, stderr=INHERIT)
    a_out, a_err = house.outputs.descriptors("a", spec)
    b_out, _ = house.outputs.descriptors("b", spec)
    house.system.write(a_out, b"one\ntw")
    house.system.write(b_out, b"eins\n\nzwei\n")
    house.system.write(a_out, b"o\n")
    house.system.write(a_err, b"oops\n")
    await wait_all_tasks_blocked()
    assert house.own[-1].data == b"a | one\nb | eins\nb | \nb | zwei\na | two\n"
    assert house.own[-2].data == b"a | oops\n"


async def test_two_components_share_one_file_line_by_line(
    house: House, autojump_clock: MockClock
) -> None:
    a, _ = house.outputs.descriptors("a", web())
    b, _ = house.outputs.descriptors("b", web())
    house.system.write(a, b"a1\na")
    house.system.write(b, b"b1\n")
    house.system.write(a, b"2\n")
    house.system.write(a, b"A" * (READ + 5000))
    house.system.write(b, b"b2\n")
    house.system.write(a, b"end\n")
    await wait_all_tasks_blocked()
    first, rest = b"A" * READ, b"A" * 5000  # Too long to be held together.
    assert house.log("/web").data == b"a1\nb1\na2\n" + first + b"\nb2\n" + rest + b"end\n"
    assert len(house.opened) == 1


async def test_null_keeps_lines_in_memory_only(house: House, autojump_clock: MockClock) -> None:
    out, _ = house.outputs.descriptors("web", web(stdout=NULL))
    house.system.write(out, b"hello\n")
    await wait_all_tasks_blocked()
    assert texts(house.outputs.tail("web", "stdout", 9)) == [b"hello"]
    assert house.system.jobs == 0


async def test_a_new_target_applies_to_the_running_child(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.write(out, b"old\n")
    house.outputs.retune("web", web(stdout=to("/new")))
    house.system.write(out, b"new\n")
    await wait_all_tasks_blocked()
    assert (house.log("/web").data, house.log("/web").closed) == (b"old\n", 1)
    assert (house.log("/new").data, house.log("/new").closed) == (b"new\n", 0)


async def test_a_new_rotation_of_the_same_file_opens_it_anew(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.write(out, b"old\n")
    await wait_all_tasks_blocked()
    house.outputs.retune("web", web(stdout=to("/web", rotate_size=100)))
    house.system.write(out, b"new\n")
    await wait_all_tasks_blocked()
    assert [settings.rotate_size for settings in house.opened] == [0, 100]
    assert house.log("/web").data == b"old\nnew\n"


async def test_the_same_settings_again_change_nothing(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.write(out, b"one\n")
    await wait_all_tasks_blocked()
    house.outputs.retune("web", web())
    await wait_all_tasks_blocked()
    assert (house.log("/web").closed, len(house.opened)) == (0, 1)


async def test_forgetting_writes_the_rest_and_gives_everything_back(
    house: House, autojump_clock: MockClock
) -> None:
    out, err = house.outputs.descriptors("web", web())
    house.system.pipes[out - 1] += b"unread"
    house.outputs.forget("web")
    await wait_all_tasks_blocked()
    assert house.log("/web").data == b"unread\n"
    assert house.log("/web").closed == 1
    assert sorted(house.system.closed) == sorted([out - 1, out, err - 1, err])
    assert not house.system.watched
    assert house.outputs.tail("web", "stdout", 9) == []
    assert house.outputs.lost("web") == {}


async def test_both_streams_together_come_in_the_order_of_arrival(
    house: House, autojump_clock: MockClock
) -> None:
    out, err = house.outputs.descriptors("web", web())
    for number in range(20):
        house.system.write(err if number % 3 else out, b"%d\n" % number)
    house.system.write(out, b"unfinished")
    merged = texts(house.outputs.tail("web", None, 11))
    assert merged == [b"%d" % number for number in range(10, 20)] + [b"unfinished"]


async def test_a_follower_gets_the_backlog_and_then_every_line_once(
    house: House, autojump_clock: MockClock
) -> None:
    out, err = house.outputs.descriptors("web", web())
    house.system.write(out, b"1\n2\n3\npart")
    seen: list[Line] = []
    with house.outputs.follow("web", {"stdout"}, backlog=2) as follower:
        house.system.write(out, b"ial\n")
        house.system.write(err, b"not asked for\n")
        house.system.write(out, b"5\n")
        house.outputs.forget("web")
        async for lines in follower:
            seen += lines
    assert [(line.number, line.text) for line in seen] == [
        (2, b"2"),
        (3, b"3"),
        (4, b"partial"),
        (5, b"5"),
    ]
    assert not follower.dropped


async def test_a_follower_may_come_before_the_first_line(
    house: House, autojump_clock: MockClock
) -> None:
    seen: list[bytes] = []
    async with trio.open_nursery() as nursery:
        follower = house.outputs.follow("web")

        @nursery.start_soon
        async def read() -> None:
            async for lines in follower:
                seen.extend(texts(lines))

        await wait_all_tasks_blocked()
        out, _ = house.outputs.descriptors("web", web())
        house.system.write(out, b"first\n")
        await wait_all_tasks_blocked()
        assert seen == [b"first"]
        house.outputs.forget("web")


async def test_a_slow_follower_is_dropped_with_a_remark_and_nobody_waits(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    slow = house.outputs.follow("web")
    with house.outputs.follow("web") as gone:
        pass
    line = b"x" * 1023 + b"\n"
    for _ in range(50):
        house.system.write(out, line * 50)
        await wait_all_tasks_blocked()
    assert house.log("/web").data == line * 2500
    assert slow.dropped
    assert not gone.dropped
    seen = [line async for lines in slow for line in lines]
    assert [line.number for line in seen[:-1]] == list(range(1, len(seen)))
    assert 900 <= len(seen) <= 1024 + 1
    assert seen[-1].number == 0
    assert b"too slow" in seen[-1].text


async def test_a_follower_that_keeps_up_is_never_dropped(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    block = (b"x" * 1023 + b"\n") * 60
    with house.outputs.follow("web") as follower:
        for _ in range(50):
            house.system.write(out, block)
            assert len(await anext(follower)) == 60
    assert not follower.dropped


async def test_a_follower_is_given_a_few_hundred_lines_at_once_at_most(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.write(out, b"".join(b"%d\n" % number for number in range(1000)))
    seen: list[Line] = []
    with house.outputs.follow("web", backlog=1000) as follower:
        house.system.write(out, b"".join(b"%d\n" % number for number in range(1000, 6000)))
        house.outputs.forget("web")
        async for lines in follower:
            assert 0 < len(lines) <= AT_ONCE
            seen += lines
    assert [(line.number, line.text) for line in seen] == [
        (number + 1, b"%d" % number) for number in range(6000)
    ]


async def test_nothing_is_counted_as_lost_when_nothing_is(
    house: House, autojump_clock: MockClock
) -> None:
    out, _ = house.outputs.descriptors("web", web())
    house.system.write(out, b"hello\n" * 100_000)
    await wait_all_tasks_blocked()
    assert house.outputs.lost("web") == {"stdout": Lost(0, 0), "stderr": Lost(0, 0)}
    assert house.reports == []
