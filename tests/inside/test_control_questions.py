"""Questions: why, alive, output, the instance, and who is who."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec import UNSET

from asked import GUEST, ROOT, STRANGER, desk
from fake_system import Script
from running import House
from supervisor.control.logs import LogReader
from supervisor.model.component import Component, InetAddress, Mode, Respawn
from supervisor.model.errors import BadRequest, Forbidden, NotFound, ShuttingDown
from supervisor.model.groups import GroupFigures, Pressure
from supervisor.model.settings import SourceFile
from supervisor.model.state import Stage

DB = Component(tag="db", argv=("db",), respawn=Respawn(max=1, sleep=300))
WEB = Component(tag="web", argv=("web",), prerequisites=("db",))
OFF = Component(tag="off", argv=("off",), enabled=False)
ONE = Component(tag="w:1", argv=("w",), template="w", instance=1)
TWO = Component(tag="w:2", argv=("w",), template="w", instance=2)
ECHO = Component(
    tag="echo", argv=("cat",), mode=Mode.INETD, sockets=(InetAddress(host="127.0.0.1", port=7),)
)
Clock = trio.testing.MockClock


# --- why


async def test_why_says_in_one_sentence_how_it_is(autojump_clock: Clock) -> None:
    with trio.fail_after(600):
        async with desk([DB, WEB, OFF, ECHO]) as asked:

            async def summary(tag: str) -> str:
                return (await asked.control.why(tag, ROOT)).summary

            assert await summary("web") == (
                f"web is running (PID {asked.pid('web')}, since 2023-11-14T22:13:20.000Z)"
            )
            assert (await summary("echo")).startswith("echo is listening on inet+tcp://127.0.0.1:7")
            assert await summary("off") == (
                "off is not running: it is disabled in the configuration"
            )
            asked.home.system.exit("db", 1)
            await asked.home.rest()
            assert (await summary("db")).startswith("db is not running: it sleeps: 1 starts within")
            assert (await summary("web")).startswith(
                "web is not running: prerequisite db is sleeping (until 2023-11-14T22:18:20"
            )
            await asked.order("stop", "web")
            assert await summary("web") == (
                "web is not running: it was stopped by root of the tests"
            )


async def test_why_tells_how_its_processes_are_found_and_which_limits_do_not_hold(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(600):
        async with desk([DB, OFF]) as asked:
            asked.home.system.lacks["db"] = "there is no controller 'memory'"
            found = await asked.control.why("db", ROOT)
            assert found.enclosure == "process group, session, subreaper and marker"
            assert found.limits_lack == "there is no controller 'memory'"
            assert (await asked.control.why("off", ROOT)).limits_lack is UNSET


async def test_why_tells_of_a_start_condition_that_takes_its_time(autojump_clock: Clock) -> None:
    slow = Component(tag="web", argv=("web",), enabled=False, start_condition=("test", "-f", "/x"))
    with trio.fail_after(600):
        async with desk([slow]) as asked:
            await asked.order("start", "web", wait=None)
            answer = await asked.control.why("web", ROOT)
            assert answer.summary == ("web is starting: its start condition `test -f /x` is asked")


async def test_why_shows_every_gate_with_its_answer(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            await asked.order("stop", "db", wait=5)
            answer = await asked.control.why("web", ROOT)
            closed = [gate for gate in answer.gates if not gate.open]
            assert [gate.gate for gate in closed] == ["prerequisite-down"]
            assert answer.blocked_by is not None
            assert closed[0].message == answer.blocked_by.message
            assert answer.wanted
            assert [(each.tag, each.status, each.up) for each in answer.prerequisites] == [
                ("db", "stopped", False)
            ]
            stopped = await asked.control.why("db", ROOT)
            assert stopped.wish is not None
            assert (stopped.wish["action"], stopped.wish["by"]) == ("stop", ROOT.name)
            assert stopped.last_exit is not None


async def test_why_shows_configuration_files_that_have_changed(
    autojump_clock: Clock, tmp_path: Path
) -> None:
    file = tmp_path / "a.toml"
    file.write_text("one")
    with trio.fail_after(60):
        async with desk([DB], files=[SourceFile(str(file), "")]) as asked:
            assert (await asked.control.why("db", ROOT)).drift == ()
            file.write_text("another")
            assert (await asked.control.why("db", ROOT)).drift == (str(file),)


async def test_why_is_for_one_component_that_exists(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([ONE, TWO, DB]) as asked:
            with pytest.raises(NotFound):
                await asked.control.why("nobody", ROOT)
            with pytest.raises(BadRequest, match="there are 2"):
                await asked.control.why("w", ROOT)


# --- alive


async def test_alive_is_up_down_or_down_for_so_many_seconds(autojump_clock: Clock) -> None:
    with trio.fail_after(600):
        async with desk([DB, OFF, ECHO]) as asked:
            alive = asked.control.alive
            assert alive("db", GUEST).up
            assert alive("echo", GUEST).up, "a listener that listens is up"
            assert (alive("off", GUEST).up, alive("off", GUEST).retry_after) == (False, None)
            asked.home.system.exit("db", 1)
            await asked.home.rest()
            await trio.sleep(100)
            assert (alive("db", GUEST).up, alive("db", GUEST).retry_after) == (False, 200)
            with pytest.raises(NotFound):
                alive("nobody", GUEST)
            with pytest.raises(Forbidden):
                alive("db", STRANGER)


@pytest.mark.parametrize("mode", [Mode.ONCE, Mode.STARTUP])
async def test_what_has_finished_is_not_alive(mode: Mode, autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([Component(tag="made", argv=("make",), mode=mode)]) as asked:
            assert asked.control.alive("made", GUEST).up
            asked.home.system.exit("made", 0)
            await asked.home.rest()
            alive = asked.control.alive("made", GUEST)
            assert (alive.up, alive.retry_after) == (False, None)


async def test_a_template_is_alive_when_all_its_instances_are(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([ONE, TWO]) as asked:
            assert asked.control.alive("w", GUEST).up
            await asked.order("stop", "w:2", wait=5)
            assert not asked.control.alive("w", GUEST).up
            assert asked.control.alive("w:1", GUEST).up


# --- output


def printing(home: House) -> None:
    home.system.scripts["db"] = Script(prints=b"one\ntwo\n")


async def read(reader: LogReader, count: int) -> list[tuple[int, bytes]]:
    lines: list[tuple[int, bytes]] = []
    while len(lines) < count:
        some = await reader.next()
        assert some, "it has ended"
        lines += [(line.number, line.text) for line in some]
    return lines


async def test_the_last_lines_and_those_to_come_without_a_gap(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB], printing) as asked:
            tail = asked.control.log_tail("db", None, 1, ROOT)
            assert [line.text for line in tail] == [b"two"]
            with asked.control.log_follow("db", None, 10, None, ROOT) as reader:
                assert await read(reader, 2) == [(1, b"one"), (2, b"two")]
                asked.home.system.write("db", b"three\n")
                assert await read(reader, 1) == [(3, b"three")]


async def test_a_reader_of_output_goes_on_where_it_was(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB], printing) as asked:
            with asked.control.log_follow("db", None, 0, {"stdout": 1}, ROOT) as reader:
                assert await read(reader, 1) == [(2, b"two")]


async def test_a_reader_that_was_away_too_long_is_told_how_much_it_missed(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB], printing) as asked:
            asked.home.system.write("db", b"".join(b"%d\n" % n for n in range(3, 3001)))
            await asked.home.rest()
            with asked.control.log_follow("db", None, 0, {"stdout": 2}, ROOT) as reader:
                (first, *rest) = await read(reader, 1001)
                assert first == (0, b"piesd: 1998 lines before this one are not kept any more")
                assert rest[0] == (2001, b"2001")


async def test_a_reader_of_another_life_gets_all_that_there_is(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB], printing) as asked:
            with asked.control.log_follow("db", None, 0, {"stdout": 900}, ROOT) as reader:
                assert await read(reader, 2) == [(1, b"one"), (2, b"two")]
                asked.home.system.write("db", b"three\n")
                assert await read(reader, 1) == [(3, b"three")]


async def test_followers_of_output_get_their_end_when_control_closes(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB], printing) as asked:
            with asked.control.log_follow("db", None, 10, None, ROOT) as reader:
                asked.control.close()
                assert len(await read(reader, 2)) == 2
                assert await reader.next() == []


async def test_output_is_for_administrators_and_of_components_that_exist(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB], printing) as asked:
            for caller in (GUEST, STRANGER):
                with pytest.raises(Forbidden):
                    asked.control.log_tail("db", None, 1, caller)
                with pytest.raises(Forbidden):
                    asked.control.log_follow("db", None, 1, None, caller)
            with pytest.raises(NotFound):
                asked.control.log_follow("nobody", None, 1, None, ROOT)


# --- the instance


async def test_a_shutdown_can_be_asked_twice(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            await asked.control.shutdown(ROOT)
            await asked.control.shutdown(ROOT)
            await asked.home.runner.ended.wait()
            assert asked.home.runner.code == 0
            assert asked.hooked == []


async def test_to_be_executed_anew_is_a_shutdown_that_the_daemon_knows_about(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            await asked.control.reexec(ROOT)
            assert asked.hooked == ["reexec"]
            await asked.home.runner.ended.wait()


async def test_a_shutdown_is_not_turned_into_a_restart(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            await asked.control.shutdown(ROOT)
            with pytest.raises(ShuttingDown):
                await asked.control.reexec(ROOT)
            assert asked.hooked == []


async def test_a_guest_looks_and_does_not_touch(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            assert asked.control.about(GUEST).pid == 42
            for attempt in (asked.control.shutdown, asked.control.reexec):
                with pytest.raises(Forbidden):
                    await attempt(GUEST)
            assert asked.home.runner.engine.stage is Stage.NORMAL


# --- usage


async def test_usage_tells_what_the_kernel_counts_for_a_group(autojump_clock: Clock) -> None:
    with trio.fail_after(600):
        async with desk([DB, ONE]) as asked:
            figures = GroupFigures(4096, Pressure(cpu=1.5))
            asked.home.system.group_figures["db"] = figures
            used = await asked.control.usage(["db", "w:1"], ROOT)
            assert used["db"].group == figures
            assert used["w:1"].group is None


async def test_measuring_many_lets_others_have_their_turn(autojump_clock: Clock) -> None:
    many = [Component(tag=f"c{n}", argv=("c",)) for n in range(100)]
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    with trio.fail_after(600):
        async with desk(many) as asked, trio.open_nursery() as nursery:
            nursery.start_soon(take_turns)
            await asked.control.usage([one.tag for one in many], ROOT)
            # A turn for each look but one or two, by the order in which trio takes tasks up.
            assert turns > len(many) / 2
            nursery.cancel_scope.cancel()
