"""Readiness and health of children, on a simulated system under a virtual clock."""

from __future__ import annotations

import errno
from base64 import urlsafe_b64encode
from hashlib import blake2s
from signal import SIGKILL, SIGTERM
from typing import Any

import trio
import trio.testing
from msgspec.structs import replace

from fake_system import Script
from running import House, house
from supervisor.model.component import Check, Component, Environment, Respawn
from supervisor.model.events import Apply
from supervisor.model.state import Phase
from supervisor.runtime.checks import STATUS_EVERY

DB = "127.0.0.1:5432"
REFUSED = f"connect to {DB}: Connection refused"


def web(**more: Any) -> Component:
    return Component(tag="web", argv=("web",), respawn=Respawn(max=1, sleep=1000), **more)


def tcp(**more: Any) -> Check:
    return Check(kind="tcp", target=DB, **more)


def sick(home: House) -> None:
    home.network.answers[DB] = REFUSED


def well(home: House) -> None:
    home.network.answers[DB] = None


def path_of(home: House) -> str:
    return dict(home.system.launches[-1].environ)["NOTIFY_SOCKET"]


# --- readiness by trying


async def test_a_component_without_a_check_is_ready_as_soon_as_it_runs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([web()]) as home:
            assert home.state("web").ready
            assert home.system.launches[0].extra == home.system.launches[0].environ == ()


async def test_it_is_ready_with_the_first_try_that_succeeds_and_not_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(1000):
        async with house([web(ready=tcp(interval=2))], sick) as home:
            await trio.sleep(3)
            assert home.phase("web") is Phase.RUNNING
            assert not home.state("web").ready
            well(home)
            await trio.sleep(2)
            assert home.state("web").ready
            await trio.sleep(100)
            assert [at for at, _ in home.network.tries] == [0, 2, 4]


async def test_what_never_becomes_ready_is_brought_down_with_the_last_reason(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(1000):
        async with house([web(ready=tcp(timeout=30))], sick) as home:
            await trio.sleep(31)
            await home.rest()
            last = home.state("web").last_exit
            assert last is not None
            assert last.stage == "ready"
            assert f"awaited {DB} for 30 s; last try: {REFUSED}" in last.message
            assert len(home.network.tries) == 30


async def test_what_swallows_a_try_does_not_use_up_the_time_of_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(1000):
        async with house([web(ready=tcp(timeout=60))]) as home:
            await trio.sleep(14)
            well(home)
            await trio.sleep(0.5)
            assert not home.state("web").ready
            await trio.sleep(1)
            assert home.state("web").ready


async def test_what_is_swallowed_to_the_end_has_a_reason_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(1000):
        async with house([web(ready=tcp(timeout=12))]) as home:
            await trio.sleep(13)
            await home.rest()
            last = home.state("web").last_exit
            assert last is not None
            assert last.message.endswith(f"last try: {DB} did not answer within 3 s")


async def test_a_check_ends_with_its_child_and_begins_anew_with_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    spec = replace(web(ready=tcp(interval=10)), respawn=Respawn(delay=0))
    with trio.fail_after(1000):
        async with house([spec], sick) as home:
            home.system.exit("web", 1)
            await home.rest()
            await home.order("stop", "web")
            tries = len(home.network.tries)
            assert tries == 2
            await trio.sleep(100)
            assert len(home.network.tries) == tries


async def test_what_needs_a_component_waits_for_it_to_be_ready(
    autojump_clock: trio.testing.MockClock,
) -> None:
    app = Component(tag="app", argv=("app",), prerequisites=("web",))
    with trio.fail_after(1000):
        async with house([web(ready=tcp()), app], sick) as home:
            await trio.sleep(5)
            assert home.phase("app") is Phase.WAITING
            well(home)
            await trio.sleep(2)
            await home.rest()
            assert home.phase("app") is Phase.RUNNING


async def test_a_bug_in_one_check_disturbs_no_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    good = Component(tag="good", argv=("good",), ready=Check(kind="http", target="http://good/"))

    def buggy(home: House) -> None:
        home.network.answers["http://good/"] = None
        home.network.tcp = None  # type: ignore[assignment,method-assign]  # a bug

        async def http(url: str) -> str | None:
            return home.network.answers[url]

        home.network.http = http  # type: ignore[method-assign]  # it used tcp

    with trio.fail_after(1000):
        async with house([web(ready=tcp()), good], buggy) as home:
            await trio.sleep(5)
            assert home.state("good").ready
            assert home.phase("web") is Phase.RUNNING


# --- a newline on a descriptor


async def test_a_newline_on_its_descriptor_says_that_it_is_ready(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([web(ready=Check(kind="fd", fd=4))]) as home:
            assert [number for number, _ in home.system.launches[0].extra] == [4]
            home.system.hand("web", 4, b"not yet")
            await home.rest()
            assert not home.state("web").ready
            home.system.hand("web", 4, b"\n")
            await home.rest()
            assert home.state("web").ready


async def test_no_newline_in_time_is_not_ready(autojump_clock: trio.testing.MockClock) -> None:
    with trio.fail_after(60):
        async with house([web(ready=Check(kind="fd", timeout=7))]) as home:
            await trio.sleep(8)
            await home.rest()
            last = home.state("web").last_exit
            assert last is not None
            assert "awaited a newline on descriptor 3 for 7 s" in last.message


async def test_the_pipe_is_closed_with_the_child_and_when_there_is_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fd = web(ready=Check(kind="fd"))
    with trio.fail_after(60):
        async with house([fd]) as home:
            home.system.scripts["web"] = Script(fails=("exec", errno.ENOENT, "no"))
            home.system.exit("web", 1)
            await home.rest()
            await home.order("stop", "web")
            # Two pipes of its output, of which both ends are ours, and nothing else.
            assert len(home.system.descriptors) == 4


# --- notification

FIRST = f"/run/x/notify.{urlsafe_b64encode(blake2s(b'web', digest_size=6).digest()).decode()}.1"
"""The path for the first child of "web": another piesd has to find it."""


async def test_ready_on_its_socket_says_that_it_is_ready(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([web(ready=Check(kind="notify"))]) as home:
            assert path_of(home) == FIRST
            home.system.notify(path_of(home), b"STATUS=loading\nMAINPID=7\nWATCHDOG=1\n\n=")
            await home.rest()
            assert not home.state("web").ready
            home.system.notify(path_of(home), b"READY=0")
            home.system.notify(path_of(home), b"READY=1\nSTATUS=here")
            await home.rest()
            assert home.state("web").ready
            assert home.runner.checks.status("web") == "here"


async def test_each_child_has_a_socket_of_its_own_that_goes_with_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    spec = replace(web(ready=Check(kind="notify")), respawn=Respawn())
    with trio.fail_after(60):
        async with house([spec]) as home:
            first = path_of(home)
            home.system.exit("web", 1)
            await home.rest()
            assert path_of(home) != first
            assert list(home.system.notify_paths.values()) == [path_of(home)]
            await home.order("stop", "web")
            assert not home.system.notify_paths


async def test_more_time_is_given_to_who_asks_for_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(1000):
        async with house([web(ready=Check(kind="notify", timeout=10))]) as home:
            home.system.notify(path_of(home), b"EXTEND_TIMEOUT_USEC=1000000")
            await trio.sleep(9)
            home.system.notify(path_of(home), b"EXTEND_TIMEOUT_USEC=20000000")
            await trio.sleep(19)
            assert home.phase("web") is Phase.RUNNING
            await trio.sleep(2)
            await home.rest()
            last = home.state("web").last_exit
            assert last is not None
            assert "awaited READY=1 on its notification socket for 29 s" in last.message


async def test_a_socket_that_cannot_be_made_is_a_failed_start(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def no_room(home: House) -> None:
        error = OSError(errno.ENAMETOOLONG, "a socket's path has 107 bytes at most", "/run/x/n")
        home.system.notify_failures[FIRST] = error

    with trio.fail_after(60):
        async with house([web(ready=Check(kind="notify"))], no_room) as home:
            last = home.state("web").last_exit
            assert last is not None
            assert (last.stage, last.errno) == ("ready", errno.ENAMETOOLONG)
            assert "107 bytes at most: /run/x/n" in last.message


async def test_a_status_is_told_at_most_once_a_second_and_the_last_one_always(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([web(ready=Check(kind="notify"))]) as home:
            for number in range(5):
                home.system.notify(path_of(home), f"STATUS={number} \x1b[2J done".encode())
                await home.rest()
            assert home.texts("status") == ["'web' says: 0  [2J done"]
            await trio.sleep(STATUS_EVERY + 0.1)
            assert home.texts("status")[1:] == ["'web' says: 4  [2J done"]


# --- health


async def test_health_is_asked_every_interval_once_it_is_ready(
    autojump_clock: trio.testing.MockClock,
) -> None:
    spec = web(ready=Check(kind="notify"), health=tcp(interval=10))
    with trio.fail_after(1000):
        async with house([spec], well) as home:
            await trio.sleep(25)
            assert not home.network.tries
            home.system.notify(path_of(home), b"READY=1")
            await trio.sleep(31)
            assert [at for at, _ in home.network.tries] == [35, 45, 55]


async def test_several_failures_in_a_row_restart_it_with_the_reason(
    autojump_clock: trio.testing.MockClock,
) -> None:
    spec = web(health=tcp(interval=10, failures=3))
    with trio.fail_after(1000):
        async with house([spec], sick) as home:
            pid = home.state("web").pid
            await trio.sleep(21)
            assert home.state("web").pid == pid
            await trio.sleep(10)
            await home.rest()
            last = home.state("web").last_exit
            assert last is not None
            assert last.stage == "health"
            assert "the health check failed 3 times in a row; last: " + REFUSED in last.message
            assert home.state("web").pid != pid
            assert len(home.texts("health-failing")) == 1


async def test_one_success_forgives_all_failures(autojump_clock: trio.testing.MockClock) -> None:
    spec = web(health=tcp(interval=10, failures=3))
    with trio.fail_after(1000):
        async with house([spec], sick) as home:
            pid = home.state("web").pid
            await trio.sleep(1)
            for _ in range(5):
                sick(home)
                await trio.sleep(20)
                well(home)
                await trio.sleep(10)
            assert home.state("web").pid == pid
            assert len(home.texts("health-recovered")) == 5


async def test_no_answer_within_the_timeout_is_a_failure(
    autojump_clock: trio.testing.MockClock,
) -> None:
    spec = web(health=tcp(interval=10, timeout=4, failures=1))
    with trio.fail_after(1000):
        async with house([spec]) as home:
            await trio.sleep(15)
            await home.rest()
            last = home.state("web").last_exit
            assert last is not None
            assert f"failed once; last: {DB} did not answer within 4 s" in last.message


async def test_another_health_check_is_taken_up_without_a_new_child(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(1000):
        async with house([web()], well) as home:
            pid = home.state("web").pid
            for check in (tcp(interval=10), tcp(interval=5)):
                home.runner.post(Apply((web(health=check),), 5.0))
                await trio.sleep(11)
            times = [at for at, _ in home.network.tries]
            assert times == [10, 16, 21]
            home.runner.post(Apply((web(),), 5.0))
            await trio.sleep(100)
            assert len(home.network.tries) == len(times)
            assert home.state("web").pid == pid


async def test_what_says_that_it_is_stopping_is_not_asked_how_it_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    spec = web(ready=Check(kind="notify"), health=tcp(interval=10))
    with trio.fail_after(1000):
        async with house([spec], sick) as home:
            home.system.notify(path_of(home), b"READY=1")
            await home.rest()
            home.system.notify(path_of(home), b"STOPPING=1")
            await trio.sleep(100)
            assert not home.network.tries
            assert home.phase("web") is Phase.RUNNING


# --- a command


EXEC = Check(kind="exec", argv=("pg_isready", "-q"))


async def test_a_check_runs_as_its_component_but_is_not_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    spec = web(
        ready=EXEC,
        user="nobody",
        chdir="/srv",
        env=Environment(set={"A": "b"}),
        program="/bin/web",
        remove_file=("/run/web.pid",),
        start_condition=(),
    )
    with trio.fail_after(60):
        async with house([spec]) as home:
            launch = home.system.launches[-1]
            assert launch.key.startswith("web#check")
            ran = launch.spec
            assert ran.argv == EXEC.argv
            assert (ran.program, ran.remove_file, ran.ready) == (None, (), None)
            assert (ran.user, ran.chdir, ran.env) == (spec.user, spec.chdir, spec.env)
            assert set(home.runner.engine.world.states) == {"web"}


async def test_code_0_is_good_and_anything_else_is_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([web(ready=EXEC)]) as home:
            home.system.write("web#check1", b"no response\n\n")
            home.system.exit("web#check1", 2)
            await trio.sleep(1.5)
            home.system.exit("web#check2", 0)
            await home.rest()
            assert home.state("web").ready
            await home.order("stop", "web")
            assert len(home.system.descriptors) == 4


async def test_a_command_may_wait_for_what_is_awaited(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([web(ready=replace(EXEC, timeout=30))]) as home:
            await trio.sleep(29)
            home.system.exit("web#check1", 0)
            await home.rest()
            assert home.state("web").ready
            assert len(home.system.launches) == 2


async def test_why_a_command_said_no_is_told_with_its_last_line(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([web(ready=replace(EXEC, timeout=0.9))]) as home:
            home.system.write("web#check1", b"first\nno response\n\n")
            home.system.exit("web#check1", 2)
            await trio.sleep(2)
            await home.rest()
            last = home.state("web").last_exit
            assert last is not None
            assert last.message.endswith("last try: `pg_isready -q` ended with code 2: no response")


async def test_a_command_that_cannot_be_run_says_why(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def missing(home: House) -> None:
        home.system.scripts["web#check1"] = Script(
            fails=("exec", errno.ENOENT, "exec pg_isready: No such file or directory")
        )

    with trio.fail_after(60):
        async with house([web(ready=replace(EXEC, timeout=0.5))], missing) as home:
            await trio.sleep(1)
            await home.rest()
            last = home.state("web").last_exit
            assert last is not None
            assert "could not be run: exec pg_isready: No such file" in last.message


async def test_a_command_that_takes_too_long_is_killed_with_all_of_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def lingering(home: House) -> None:
        home.system.scripts["web#check1"] = Script(ignores=frozenset({SIGTERM}), leaves=1)

    health = replace(EXEC, interval=10, timeout=5, failures=2)
    with trio.fail_after(60):
        async with house([web(health=health)], lingering) as home:
            await trio.sleep(16)
            await home.rest()
            assert {(s.key, s.signum, s.scope) for s in home.system.signals} == {
                ("web#check1", SIGKILL, "tree")
            }
            assert not [name for name in home.system.children if "#" in name[0]]
            assert home.phase("web") is Phase.RUNNING


async def test_what_a_command_leaves_behind_is_killed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def leaving(home: House) -> None:
        home.system.scripts["web#check1"] = Script(exits=0, leaves=2)

    with trio.fail_after(60):
        async with house([web(ready=EXEC)], leaving) as home:
            await home.rest()
            assert home.state("web").ready
            assert list(home.system.children) == [("web", 1)]


async def test_a_command_ends_with_the_child_that_it_asks_about(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([web(ready=EXEC)]) as home:
            await home.order("stop", "web")
            assert not home.system.children
            assert len(home.system.descriptors) == 4
            assert home.phase("web") is Phase.STOPPED


async def test_a_command_that_not_even_sigkill_ends_is_not_started_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    health = replace(EXEC, interval=10, timeout=5, failures=3)
    with trio.fail_after(1000):
        async with house([web(health=health)]) as home:
            really = home.system.signal

            def no_use(key: str, generation: int, signum: int, scope: Any) -> int:
                return 0 if "#check" in key else really(key, generation, signum, scope)

            home.system.signal = no_use  # type: ignore[method-assign]  # it hangs in the kernel
            await trio.sleep(31)
            await home.rest()
            checks = [one.key for one in home.system.launches if "#check" in one.key]
            assert checks == ["web#check1"]
            last = home.state("web").last_exit
            assert last is not None
            assert "of the last try has not ended, though it was killed" in last.message
            home.system.signal = really  # type: ignore[method-assign]  # it is back
            await trio.sleep(2)
            assert ("web#check1", 1) not in home.system.children


async def test_at_the_end_nothing_of_a_check_is_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([web(ready=EXEC)]) as home:
            await home.shut_down()
            await home.rest()
            assert not home.system.children
