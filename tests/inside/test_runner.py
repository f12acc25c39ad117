"""The runner between the engine and a simulated operating system, under a virtual clock."""

from __future__ import annotations

import errno
import os
from signal import SIGCONT, SIGKILL, SIGTERM

import pytest
import trio
import trio.testing

from fake_system import Script
from running import House, house
from supervisor.model.component import (
    Component,
    ExitAction,
    InetAddress,
    Mode,
    Output,
    Respawn,
)
from supervisor.model.effects import Effect
from supervisor.model.events import (
    Apply,
    Boot,
    EngineEvent,
    Happened,
    Order,
    RunCommand,
    Spawned,
    TimePassed,
)
from supervisor.model.settings import MailSettings
from supervisor.model.state import Phase
from supervisor.runtime.listeners import PAUSE
from supervisor.runtime.runner import SLICE
from supervisor.system.port import Launch, ListenError, Report

WEB = Component(tag="web", argv=("web",))
PORT = InetAddress(host="127.0.0.1", port=7)
ECHO = Component(tag="echo", argv=("cat",), mode=Mode.INETD, sockets=(PORT,))


async def test_a_component_that_dies_comes_back_under_another_pid(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            first = home.runner.engine.world.states["web"].pid
            home.system.exit("web", 7)
            await home.rest()
            state = home.runner.engine.world.states["web"]
            assert state.phase is Phase.RUNNING
            assert state.pid not in (None, first)
            assert state.last_exit is not None
            assert state.last_exit.code == 7


async def test_a_sleeper_wakes_up_when_its_time_has_come_and_not_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    web = Component(tag="web", argv=("web",), respawn=Respawn(max=1, sleep=300))
    with trio.fail_after(1000):
        async with house([web]) as home:
            home.system.exit("web", 1)
            await home.rest()
            assert home.phase("web") is Phase.SLEEPING
            await trio.sleep(299)
            assert home.kinds("web")[-1] == "sleeping"
            await trio.sleep(2)
            assert home.kinds("web")[-1] == "started"


async def test_a_child_that_ignores_the_stop_signal_is_killed_at_its_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def deaf(home: House) -> None:
        home.system.scripts["web"] = Script(ignores=frozenset({SIGTERM}))

    with trio.fail_after(60):
        async with house([WEB], deaf) as home:
            begun = trio.current_time()
            await home.order("stop", "web")
            assert home.phase("web") is Phase.STOPPING
            await trio.sleep(WEB.stop_timeout + 0.1)
            await home.rest()
            assert home.runner.engine.world.states["web"].phase == Phase.STOPPED
            sent = [sent.signum for sent in home.system.signals if sent.signum != SIGCONT]
            assert sent == [SIGTERM, SIGKILL]
            assert trio.current_time() - begun < WEB.stop_timeout + 1


async def test_one_slow_stop_delays_nobody_else(autojump_clock: trio.testing.MockClock) -> None:
    def deaf(home: House) -> None:
        home.system.scripts["slow"] = Script(ignores=frozenset({SIGTERM}))

    others = [Component(tag=f"c{n}", argv=("c",)) for n in range(100)]
    slow = Component(tag="slow", argv=("slow",), stop_timeout=10)
    with trio.fail_after(60):
        async with house([slow, *others], deaf) as home:
            await home.order("stop", "slow")
            begun = trio.current_time()
            for other in others:
                await home.order("restart", other.tag)
                assert home.phase(other.tag) is Phase.RUNNING
            assert trio.current_time() == begun
            assert home.phase("slow") is Phase.STOPPING


async def test_a_failed_start_names_step_and_reason(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def broken(home: House) -> None:
        missing = "chdir to /srv/web: No such file or directory"
        home.system.scripts["web"] = Script(fails=("chdir", errno.ENOENT, missing))

    web = Component(tag="web", argv=("web",), respawn=Respawn(max=1))
    with trio.fail_after(60):
        async with house([web], broken) as home:
            text = next(note.text for note in home.notes if note.kind == "start-failed")
            assert text.startswith(
                "cannot start 'web': chdir to /srv/web: No such file or directory"
            )
            assert home.phase("web") is Phase.SLEEPING


async def test_no_descriptor_for_its_output_is_a_failed_start_and_nothing_worse(
    autojump_clock: trio.testing.MockClock,
) -> None:
    other = Component(tag="other", argv=("other",))

    def no_pipes(home: House) -> None:
        real = home.system.pipe
        calls = 0

        def pipe() -> tuple[int, int]:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return real()

        home.system.pipe = pipe  # type: ignore[method-assign]  # the first fails

    web = Component(tag="web", argv=("web",), respawn=Respawn(max=1))
    with trio.fail_after(60):
        async with house([web, other], no_pipes) as home:
            assert home.phase("other") is Phase.RUNNING
            assert home.phase("web") is Phase.WAITING
            [told] = home.texts("no-room")
            assert "cannot start 'web': stdout: Too many open files" in told
            await trio.sleep(1)
            assert home.phase("web") is Phase.RUNNING


async def test_what_a_child_printed_last_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    web = Component(
        tag="web", argv=("web",), mode=Mode.ONCE, stdout=Output(kind="file", path="/log")
    )
    with trio.fail_after(60):
        async with house([web]) as home:
            home.system.write("web", b"first\nlast words")
            home.system.exit("web", 0)
            await home.rest()
            assert home.logs["/log"].data == b"first\nlast words\n"
            lines = [line.text for line in home.outputs.tail("web", "stdout", 10)]
            assert lines == [b"first", b"last words"]


async def test_each_connection_is_given_to_a_child_and_closed_on_our_side(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([ECHO]) as home:
            assert home.phase("echo") is Phase.LISTENING
            fd = home.system.connect(PORT)
            await home.rest()
            launch = home.system.launches[-1]
            assert (launch.key, launch.stdin, launch.stdout) == ("echo#1", fd, fd)
            assert fd not in home.system.descriptors
            home.system.exit("echo#1", 0)
            await home.rest()
            assert "echo#1" not in home.runner.engine.world.states


async def test_a_refused_connection_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    one = Component(tag="echo", argv=("cat",), mode=Mode.INETD, sockets=(PORT,), max_instances=1)
    with trio.fail_after(60):
        async with house([one]) as home:
            home.system.connect(PORT)
            second = home.system.connect(PORT)
            await home.rest()
            assert second not in home.system.descriptors
            assert "refused" in home.kinds("echo")


async def test_no_free_descriptor_pauses_accepting_and_loses_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([ECHO]) as home:
            home.system.accept_failures.append(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
            home.system.connect(PORT)
            await home.rest()
            assert not home.system.launches
            await trio.sleep(PAUSE * 2)
            await home.rest()
            assert [launch.key for launch in home.system.launches] == ["echo#1"]


async def test_a_port_in_use_is_told_and_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def busy(home: House) -> None:
        error = OSError(errno.EADDRINUSE, "Address already in use")
        text = "bind inet+tcp://127.0.0.1:7: Address already in use"
        home.system.listen_failures[PORT.url] = ListenError("bind", error, text)

    with trio.fail_after(60):
        async with house([ECHO], busy) as home:
            assert home.phase("echo") is Phase.SLEEPING
            assert "Address already in use" in home.notes[0].text
            home.system.listen_failures.clear()
            await trio.sleep(5)
            await home.rest()
            assert home.runner.engine.world.states["echo"].phase == Phase.LISTENING


async def test_stopping_a_listener_frees_its_address(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([ECHO]) as home:
            await home.order("stop", "echo")
            assert not home.system.listeners
            await home.order("start", "echo")
            assert home.phase("echo") is Phase.LISTENING


async def test_the_shutdown_leaves_neither_child_nor_listener(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB, ECHO]) as home:
            home.system.connect(PORT)
            await home.rest()
            await home.shut_down()
            assert home.runner.code == 0
            assert not home.system.children
            assert not home.system.listeners


@pytest.mark.slow
async def test_much_work_is_cut_into_slices() -> None:
    """The real clock runs here: what is looked at is who gets a turn, not how long it takes."""
    many = [Component(tag=f"c{n}", argv=("c",)) for n in range(2000)]
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            home = House(nursery, 5.0)
            nursery.start_soon(home.system.serve)
            nursery.start_soon(other)
            nursery.start_soon(home.runner.run)
            home.runner.post(Apply(tuple(many), 5.0))
            home.runner.post(Boot())
            while len(home.system.launches) < len(many):
                before, launched = turns, len(home.system.launches)
                await home.runner.handled()
                assert turns > before or len(home.system.launches) > launched
            nursery.cancel_scope.cancel()
    assert turns > 1, f"2,000 starts were done in one go of more than {SLICE} s"


async def test_a_flood_from_one_place_is_cut_into_slices_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            handle, handled = home.runner.engine.handle, 0

            def slow(event: EngineEvent, now: float) -> list[Effect]:
                nonlocal handled
                handled += 1
                autojump_clock.jump(SLICE / 3)
                return handle(event, now)

            home.runner.engine.handle = slow  # type: ignore[method-assign]  # it takes its time
            for _ in range(100):
                home.runner.post(TimePassed())
            assert handled < 10
            await home.runner.handled()
            assert handled == 100


async def test_what_is_due_is_done_although_there_is_always_something_else_to_do(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Components that end at once are enough to keep piesd busy for good."""

    def deaf(home: House) -> None:
        home.system.scripts["web"] = Script(ignores=frozenset({SIGTERM}))

    with trio.fail_after(600):
        async with house([WEB], deaf) as home:
            await home.order("stop", "web")
            handle, more = home.runner.engine.handle, 500
            stale = Happened("web", Spawned(0, 1, 0.0))

            def endless(event: EngineEvent, now: float) -> list[Effect]:
                nonlocal more
                if event is stale and more:
                    more -= 1
                    autojump_clock.jump(WEB.stop_timeout / 100)
                    home.runner.post(stale)
                return handle(event, now)

            home.runner.engine.handle = endless  # type: ignore[method-assign]  # never without work
            home.runner.post(stale)
            while home.phase("web") is Phase.STOPPING and more:
                await trio.lowlevel.checkpoint()
            assert [sent.signum for sent in home.system.signals][-1] == SIGKILL
            assert more, "it was done when there was nothing else to do"


async def test_a_bug_in_the_engine_drops_the_event_and_nothing_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            handle = home.runner.engine.handle

            def broken(*_: object) -> None:
                raise ZeroDivisionError

            home.runner.engine.handle = broken  # type: ignore[assignment,method-assign]  # a bug
            home.runner.post(Happened("web", Spawned(1, 1)))
            home.runner.engine.handle = handle  # type: ignore[method-assign]  # mended
            home.system.exit("web", 1)
            await home.rest()
            assert home.phase("web") is Phase.RUNNING


async def test_what_was_posted_is_handled_though_the_inbox_is_never_empty() -> None:
    # By the real clock: a virtual one stands still while there is work, and no slice would end.
    hopeless = Component(tag="hopeless", argv=("x",), precious=True, enabled=False)
    too_many, launches = 3_000, 0
    async with house([hopeless]) as home:
        home.system.scripts["hopeless"] = Script(fails=("exec", errno.ENOENT, "exec x: no"))
        really = home.system.launch

        def counted(launch: Launch, report: Report) -> None:
            nonlocal launches
            launches += 1
            if launches == too_many:
                home.system.scripts.clear()
            really(launch, report)

        home.system.launch = counted  # type: ignore[method-assign]  # it goes on failing
        home.runner.post(Order("start", ("hopeless",)))
        await home.runner.handled()
        home.runner.post(Order("stop", ("hopeless",)))
        await home.runner.handled()
        assert 0 < launches < too_many
        assert home.phase("hopeless") is Phase.STOPPED


async def test_a_bug_in_a_start_is_a_failed_start_and_costs_nobody_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def broken(home: House) -> None:
        launch = home.system.launch

        def buggy(order: Launch, report: Report) -> None:
            if order.key == "web":
                raise ZeroDivisionError
            launch(order, report)

        home.system.launch = buggy  # type: ignore[assignment,method-assign]  # a bug in the system room

    web = Component(tag="web", argv=("web",), respawn=Respawn(max=1))
    other = Component(tag="other", argv=("other",))
    with trio.fail_after(60):
        async with house([web, other], broken) as home:
            assert home.phase("other") is Phase.RUNNING
            assert home.phase("web") is Phase.SLEEPING
            last = home.runner.engine.world.states["web"].last_exit
            assert last is not None
            assert "ZeroDivisionError" in last.message


# --- commands and mail


FAILS = Component(
    tag="web",
    argv=("web",),
    exit_actions=(ExitAction(codes=(78,), notify=("ops@example.org",)),),
)


async def test_a_command_reads_the_text_that_it_was_given(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            before = set(home.system.descriptors)
            home.runner.post(RunCommand("web", "mailer", ("cat",), text="Grüße\n"))
            await home.rest()
            launch = home.system.launches[-1]
            assert launch.key.startswith("web#mailer")
            assert home.system.stdin_text(launch) == "Grüße\n".encode()
            assert launch.stdin not in home.system.descriptors
            home.system.exit(launch.key, 0)
            await home.rest()
            assert launch.key not in home.runner.engine.world.states
            assert home.system.descriptors >= before


async def test_no_memory_for_the_text_of_a_command_is_its_failure_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:

            def text(_: bytes) -> int:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

            home.system.text = text  # type: ignore[assignment,method-assign]  # there are none left
            home.runner.post(RunCommand("web", "mailer", ("cat",), text="x"))
            await home.rest()
            assert home.phase("web") is Phase.RUNNING
            assert len(home.system.launches) == 1


async def test_an_exit_action_sends_a_letter_by_the_mailer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(3600):
        async with house([FAILS]) as home:
            home.system.exit("web", 78)
            await home.rest()
            mailer = next(one for one in home.system.launches if "#mailer" in one.key)
            assert mailer.spec.argv == ("sendmail", "-oi", "ops@example.org")
            assert b"Subject: Component web exited with 78." in home.system.stdin_text(mailer)
            home.system.exit(mailer.key, 75)
            await home.rest()
            assert home.outbox.waiting == 1
            await trio.sleep(61)
            again = home.system.launches[-1]
            assert again.key not in (mailer.key, "web")
            home.system.exit(again.key, 0)
            await home.rest()
            assert home.outbox.waiting == 0


async def test_an_exit_action_sends_a_letter_by_smtp(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([FAILS]) as home:
            home.outbox.retune(MailSettings(smtp="relay"))
            home.system.exit("web", 78)
            await home.rest()
            assert [letter.to for letter in home.letters] == [("ops@example.org",)]


async def test_an_observer_that_fails_costs_nobody_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with trio.fail_after(60):
        async with house([WEB], lambda home: home.runner.observe(broken)) as home:
            home.system.exit("web", 1)
            await home.rest()
            assert home.phase("web") is Phase.RUNNING
