"""Start conditions: a command decides whether a component may start."""

from __future__ import annotations

import errno
from collections.abc import Callable
from signal import SIGKILL
from typing import Any

import trio
import trio.testing
from msgspec.structs import replace

from fake_system import Script
from running import House, house
from supervisor.model.component import Component, Output
from supervisor.model.events import Apply
from supervisor.model.state import Exit, Phase
from supervisor.runtime.conditions import LIMIT

WEB = Component(tag="web", argv=("web",), start_condition=("test", "-f", "/x y"), user="nobody")
CONDITION = "web#condition"


def says(**script: Any) -> Callable[[House], None]:
    def prepare(home: House) -> None:
        home.system.scripts[CONDITION] = Script(**script)

    return prepare


def last_exit(home: House) -> Exit:
    last = home.state("web").last_exit
    assert last is not None
    return last


async def test_code_0_lets_the_component_start(autojump_clock: trio.testing.MockClock) -> None:
    with trio.fail_after(60):
        async with house([WEB], says(exits=0)) as home:
            condition, program = home.system.launches
            assert (condition.key, condition.spec.argv) == (CONDITION, WEB.start_condition)
            assert condition.spec.user == "nobody"
            assert (program.key, program.generation) == ("web", 1)
            assert home.phase("web") is Phase.RUNNING
            assert set(home.runner.engine.world.states) == {"web"}


async def test_another_code_leaves_it_stopped_with_the_reason_and_a_start_tries_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB], says(exits=1)) as home:
            assert home.phase("web") is Phase.STOPPED
            message = "the start condition `test -f '/x y'` ended with code 1"
            assert (last_exit(home).stage, last_exit(home).message) == ("start-condition", message)
            says(exits=0)(home)
            await home.order("start", "web")
            assert home.phase("web") is Phase.RUNNING


async def test_what_it_prints_goes_to_the_stderr_of_its_component(
    autojump_clock: trio.testing.MockClock,
) -> None:
    spec = replace(WEB, stderr=Output(kind="file", path="/err"))
    with trio.fail_after(60):
        # The line has no end: what the component prints later is not glued to it.
        async with house([spec], says(prints=b"no x", exits=1)) as home:
            assert home.logs["/err"].data == b"no x\n"


async def test_a_condition_that_cannot_be_run_says_why(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fails = ("exec", errno.ENOENT, "exec test: No such file or directory")
    with trio.fail_after(60):
        async with house([WEB], says(fails=fails)) as home:
            assert last_exit(home).errno == errno.ENOENT
            assert last_exit(home).message.endswith(
                "could not be run: exec test: No such file or directory"
            )


async def test_a_condition_that_a_signal_ends_is_no_yes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            home.system.exit(CONDITION, signum=SIGKILL)
            await home.rest()
            assert last_exit(home).message.endswith("was killed by SIGKILL")


async def test_a_condition_that_takes_too_long_is_killed_and_says_no(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(200):
        async with house([WEB]) as home:
            await trio.sleep(LIMIT - 1)
            assert home.phase("web") is Phase.STARTING
            await trio.sleep(2)
            await home.rest()
            assert home.phase("web") is Phase.STOPPED
            assert last_exit(home).message.endswith("took longer than 60 s and was killed")
            assert not home.system.children


async def test_a_component_whose_condition_runs_is_down_only_when_nothing_of_it_is_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            really = home.system.signal
            home.system.signal = lambda *_: 0  # type: ignore[method-assign]  # it hangs
            await home.order("stop", "web")
            assert home.phase("web") is Phase.STOPPING
            home.system.signal = really  # type: ignore[method-assign]  # it can be killed now
            await trio.sleep(2)
            await home.rest()
            assert home.phase("web") is Phase.STOPPED
            assert not home.system.children
            assert [launch.key for launch in home.system.launches] == [CONDITION]


async def test_what_a_condition_leaves_behind_is_gone_before_the_component_starts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def prepare(home: House) -> None:
        home.system.scripts[CONDITION] = Script(exits=0, leaves=2)

    with trio.fail_after(60):
        async with house([WEB], prepare) as home:
            await home.rest()
            assert list(home.system.children) == [("web", 1)]
            assert [(s.key, s.scope) for s in home.system.signals] == [(CONDITION, "tree")]


async def test_a_stop_and_a_start_ask_anew(autojump_clock: trio.testing.MockClock) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            await home.order("stop", "web")
            await home.order("start", "web")
            home.system.exit(CONDITION, 0)
            await home.rest()
            assert [(launch.key, launch.generation) for launch in home.system.launches] == [
                (CONDITION, 1),
                (CONDITION, 2),
                ("web", 2),
            ]
            assert home.phase("web") is Phase.RUNNING


async def test_a_delayed_start_of_a_condition_can_be_called_off(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB], says(delayed=True)) as home:
            really = home.system.signal
            home.system.signal = lambda *_: 0  # type: ignore[method-assign]  # nobody is there yet
            await home.order("stop", "web")
            home.system.signal = really  # type: ignore[method-assign]  # now there is
            home.system.decide(CONDITION)
            await home.rest()
            assert home.phase("web") is Phase.STOPPED
            assert not home.system.children


async def test_a_shutdown_waits_for_no_condition(autojump_clock: trio.testing.MockClock) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            begun = trio.current_time()
            await home.shut_down()
            assert trio.current_time() == begun
            assert not home.system.children


async def test_a_new_condition_is_asked_after_a_reload(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB], says(exits=1)) as home:
            home.system.scripts[CONDITION] = Script(exits=0)
            home.runner.post(Apply((replace(WEB, start_condition=("true",)),), 5.0))
            await home.rest()
            assert home.phase("web") is Phase.RUNNING


async def test_no_process_for_a_condition_is_no_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def none_left(home: House) -> None:
        def launch(*_: object) -> None:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

        home.system.launch = launch  # type: ignore[assignment,method-assign]  # no process to be had

    with trio.fail_after(60):
        async with house([WEB], none_left) as home:
            assert home.phase("web") is Phase.WAITING
            [told] = home.texts("no-room")
            assert "Resource temporarily unavailable" in told
