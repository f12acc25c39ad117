"""The event feed: numbered, kept for a while, resumed from any number, a gap said aloud."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from asked import GUEST, ROOT, STRANGER, desk
from fake_system import Script
from running import house
from supervisor.control.feed import Cursor, Event, Feed
from supervisor.model.component import Component
from supervisor.model.errors import Forbidden
from supervisor.model.events import Order

WEB = Component(tag="web", argv=("web",))
DB = Component(tag="db", argv=("db",))
Clock = trio.testing.MockClock


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


async def read_all(cursor: Cursor) -> list[Event]:
    events: list[Event] = []
    while some := cursor.take():
        events += some
    return events


async def test_every_change_has_an_event_with_the_next_number(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([WEB]) as asked:
            cursor = asked.control.events(None, ROOT)
            asked.home.system.exit("web", 7)
            await asked.home.rest()
            events = cursor.take()
            assert kinds(events) == ["exited", "started"]
            assert [event.number for event in events] == [
                asked.control.feed.newest - 1,
                asked.control.feed.newest,
            ]
            assert events[0].text == "'web' exited with 7"
            assert (events[1].tag, events[1].status, events[1].active) == ("web", "running", True)
            assert cursor.take() == []


async def test_a_change_that_nobody_notes_is_an_event_all_the_same(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([WEB]) as asked:
            await asked.order("stop", "web", wait=5)
            cursor = asked.control.events(None, ROOT)
            asked.home.runner.post(Order("stop", ("web",), "again"))
            assert cursor.take() == [], "its status did not change"
            asked.home.system.default = Script(delayed=True)
            await asked.order("start", "web")
            (event,) = cursor.take()
            assert (event.kind, event.status, event.active) == ("changed", "stopped", True)


async def test_who_comes_back_goes_on_after_the_last_number(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            feed = Feed(home.runner)
            for n in range(10):
                feed.say("test", "info", str(n))
            first = feed.cursor(0).take(3)
            assert [event.text for event in first] == ["0", "1", "2"]
            rest = feed.cursor(first[-1].number).take()
            assert [event.text for event in rest] == [str(n) for n in range(3, 10)]


@pytest.mark.slow
async def test_a_reader_that_is_too_slow_gets_one_gap_and_then_all_that_is_kept(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            feed = Feed(home.runner)
            slow = feed.cursor(None)
            for n in range(100_000):
                feed.say("test", "info", str(n))
            events = await read_all(slow)
            assert kinds(events) == ["gap"] + ["test"] * 10_000
            assert events[1].text == "90000"
            assert events[-1].text == "99999"
            assert [event.number for event in events] == list(
                range(feed.oldest - 1, feed.newest + 1)
            )


@pytest.mark.slow
async def test_a_reader_that_is_fast_enough_misses_nothing(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            feed = Feed(home.runner)
            reader, seen = feed.cursor(None), list[str]()
            for n in range(100_000):
                feed.say("test", "info", str(n))
                if n % 9_000 == 0:
                    seen += [event.text for event in await read_all(reader)]
            seen += [event.text for event in await read_all(reader)]
            assert seen == [str(n) for n in range(100_000)]


async def test_numbers_of_another_life_meet_a_gap_and_not_other_events(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            earlier = Feed(home.runner)
            earlier.say("test", "info", "of the first life")
            await trio.sleep(1)
            feed = Feed(home.runner)
            feed.say("test", "info", "of the second life")
            assert kinds(feed.cursor(earlier.newest).take()) == ["gap", "test"]
            assert kinds(feed.cursor(feed.newest + 5).take()) == ["gap", "test"]
            assert kinds(feed.cursor(0).take()) == ["test"]


async def test_waiting_ends_with_the_next_event_and_can_be_given_up(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            feed = Feed(home.runner)
            cursor, got = feed.cursor(None), list[Event]()

            async def read() -> None:
                got.extend(await cursor.next())

            with trio.move_on_after(1) as patience:
                await cursor.next()
            assert patience.cancelled_caught
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await trio.testing.wait_all_tasks_blocked()
                feed.say("test", "info", "at last")
            assert [event.text for event in got] == ["at last"]


async def test_at_the_end_readers_get_what_is_left_and_then_nothing(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            feed = Feed(home.runner)
            behind, waiting = feed.cursor(None), feed.cursor(None)
            feed.say("test", "info", "the last word")
            await waiting.next()
            async with trio.open_nursery() as nursery:
                ended = trio.Event()

                async def wait() -> None:
                    assert await waiting.next() == []
                    ended.set()

                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                feed.close()
                await ended.wait()
            assert kinds(await behind.next()) == ["test"]
            assert await behind.next() == []


async def test_events_of_one_moment_come_in_the_order_of_the_configuration(
    autojump_clock: Clock,
) -> None:
    many = [Component(tag=f"c{n}", argv=("c",), enabled=False) for n in range(50)]
    with trio.fail_after(60):
        async with desk(many) as asked:
            asked.home.system.default = Script(delayed=True)
            cursor = asked.control.events(None, ROOT)
            asked.home.runner.post(Order("start", tuple(each.tag for each in many), "x"))
            events = cursor.take()
            assert {event.kind for event in events} == {"changed"}
            assert [event.tag for event in events] == [each.tag for each in many]


async def test_a_guest_may_read_events_and_a_stranger_may_not(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([WEB, DB]) as asked:
            asked.control.events(0, GUEST)
            with pytest.raises(Forbidden):
                asked.control.events(0, STRANGER)
