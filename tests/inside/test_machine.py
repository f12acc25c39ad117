"""One component's life, as scripts of events."""

from __future__ import annotations

from signal import SIGCONT, SIGKILL, SIGTERM, SIGUSR1
from typing import Self

import pytest
from msgspec.structs import replace

from supervisor.engine.machine import LISTEN_AGAIN, step
from supervisor.model.component import Check, Component, InetAddress, Mode, Respawn
from supervisor.model.effects import Effect, Listen, Probe, Scope, Signal, Spawn, Unlisten
from supervisor.model.errors import IllegalEvent
from supervisor.model.events import (
    ComponentEvent,
    DeadlineReached,
    Exited,
    ListenerClosed,
    ListenFailed,
    Listening,
    Lower,
    NotReady,
    Ready,
    Release,
    Remove,
    Reset,
    Restart,
    SendSignal,
    Spawned,
    SpawnFailed,
    Start,
    Stop,
    TreeChanged,
    Unhealthy,
)
from supervisor.model.events import (
    Tested as Answered,  # pytest takes a class named Test… for its own.
)
from supervisor.model.state import Exit, Phase, State

WEB = Component(tag="web", argv=("web",))
ECHO = Component(
    tag="echo", argv=("cat",), mode=Mode.INETD, sockets=(InetAddress(host="127.0.0.1", port=7),)
)
SLOW = replace(WEB, ready=Check(kind="notify"))
NO = Exit(stage="start-condition", message="exited with 1")
FAILED = Exit(code=1, message="exited with 1")
DONE = Exit(code=0, message="exited with 0")
NO_PROGRAM = Exit(stage="exec", errno=2, message="exec /nowhere: No such file or directory")


class Life:
    """A component that is told one event after the other."""

    def __init__(self, spec: Component, state: State | None = None) -> None:
        self.spec, self.state = spec, state or State()
        self.effects: list[Effect] = []

    def at(self, now: float, *events: ComponentEvent) -> Self:
        for event in events:
            self.state, effects = step(self.spec.tag, self.spec, self.state, event, now)
            self.effects += effects
        return self

    def phase(self) -> Phase:
        return self.state.phase

    def running(self, now: float = 0.0, pid: int = 42) -> Self:
        """Start it (again) at *now*."""
        if self.state.phase is not Phase.WAITING:
            self.at(now, Start())
        return self.at(now, Release()).at(now, Spawned(self.state.generation, pid))


def signals(life: Life) -> list[int]:
    """Return the signals sent, without the SIGCONT that follows each stop signal."""
    return [sent.signum for sent in sent_by(life) if sent.signum != SIGCONT]


def sent_by(life: Life) -> list[Signal]:
    return [effect for effect in life.effects if isinstance(effect, Signal)]


def asked(generation: int, scope: Scope) -> list[Signal]:
    """Return what asks a child to stop."""
    return [Signal("web", generation, signum, scope) for signum in (SIGTERM, SIGCONT)]


def test_a_start_waits_for_its_release_and_then_spawns_generation_one() -> None:
    life = Life(WEB).at(0, Start())
    assert (life.state.phase, life.effects) == (Phase.WAITING, [])
    life.at(0, Release())
    assert life.phase() is Phase.STARTING
    assert life.effects == [Spawn("web", 1, WEB)]


def test_a_stop_that_is_ignored_ends_in_a_kill() -> None:
    life = Life(WEB).running().at(3, Stop(), Lower(WEB.stop_timeout))
    assert life.state.deadline == 3 + WEB.stop_timeout
    life.at(life.state.deadline, DeadlineReached())
    assert life.effects == [
        Spawn("web", 1, WEB),
        Signal("web", 1, SIGTERM, "group"),
        Signal("web", 1, SIGCONT, "group"),
        Signal("web", 1, SIGKILL, "tree"),
    ]


def test_a_kill_is_repeated_until_the_tree_is_gone() -> None:
    life = Life(WEB).running().at(0, Stop(), Lower(5)).at(5, DeadlineReached())
    again = life.state.deadline
    assert again is not None
    assert again > 5
    life.at(again, DeadlineReached()).at(again, Exited(1, Exit(signal=9)))
    assert life.phase() is Phase.STOPPED
    assert signals(life) == [SIGTERM, SIGKILL, SIGKILL]


def test_a_request_changes_what_is_wanted_and_not_what_is() -> None:
    life = Life(WEB).running().at(1, Stop("me", 7.0))
    assert (life.state.wanted, life.state.phase) == (False, Phase.RUNNING)
    assert life.state.wish is not None
    assert (life.state.wish.by, life.state.wish.action) == ("me", "stop")


def test_a_report_about_an_older_child_is_dropped() -> None:
    life = Life(WEB).running().at(1, Exited(1, FAILED)).running(1, pid=43)
    before = life.state
    life.at(2, Exited(1, FAILED), Spawned(1, 99), TreeChanged(1, ()))
    assert life.state == before


def test_an_end_by_itself_is_followed_by_a_new_child() -> None:
    life = Life(WEB).running().at(9, Exited(1, FAILED))
    assert (life.state.phase, life.state.restarts) == (Phase.WAITING, 1)
    assert life.state.last_exit == replace(FAILED, lasted=9.0)


def test_the_eleventh_start_within_two_minutes_is_put_off_for_five() -> None:
    life = Life(WEB)
    for second in range(10):
        life.running(second).at(second, Exited(life.state.generation, FAILED))
    assert (life.state.phase, life.state.throttled) == (Phase.SLEEPING, True)
    assert life.state.deadline == 9 + 300
    life.at(309, DeadlineReached())
    assert (life.state.phase, life.state.starts) == (Phase.WAITING, ())


def test_the_window_slides_so_a_slow_crash_loop_is_caught_too() -> None:
    spec = replace(WEB, respawn=Respawn(max=5, window=60))
    life = Life(spec)
    at = 0.0
    while life.state.phase is not Phase.SLEEPING:
        assert at < 100, "dying every 7 s never tripped a limit of 5 in 60 s"
        life.running(at).at(at + 7, Exited(life.state.generation, FAILED))
        at += 7
    assert life.state.generation == 5


def test_what_dies_seldom_never_sleeps() -> None:
    life = Life(WEB)
    for hour in range(50):
        life.running(hour * 3600).at(hour * 3600 + 20, Exited(life.state.generation, FAILED))
        assert life.phase() is Phase.WAITING


def test_a_precious_component_is_never_put_to_sleep_but_does_not_spin() -> None:
    life = Life(replace(WEB, precious=True))
    now, starts = 0.0, 0
    while now < 60:
        life.running(now).at(now, Exited(life.state.generation, FAILED))
        starts += 1
        if life.state.deadline is not None:
            assert (life.state.phase, life.state.throttled) == (Phase.SLEEPING, False)
            now = life.state.deadline
            life.at(now, DeadlineReached())
    assert starts == 10 + 59


def test_a_precious_component_that_ends_seldom_is_started_again_at_once() -> None:
    life = Life(replace(WEB, precious=True))
    for minute in range(60):
        life.running(minute * 60).at(minute * 60 + 30, Exited(life.state.generation, FAILED))
        assert life.phase() is Phase.WAITING


def test_the_delay_doubles_up_to_its_limit_and_begins_anew_after_a_stable_time() -> None:
    spec = replace(WEB, respawn=Respawn(max=1000, delay=1, delay_max=30, window=120))
    life = Life(spec)
    now, delays = 0.0, []
    for _ in range(8):
        life.running(now).at(now, Exited(life.state.generation, FAILED, chance=1.0))
        assert life.state.deadline is not None
        delays.append(life.state.deadline - now)
        now = life.state.deadline
        life.at(now, DeadlineReached())
    assert delays == [1, 2, 4, 8, 16, 30, 30, 30]
    life.running(now).at(now + 200, Exited(life.state.generation, FAILED, chance=1.0))
    assert life.state.deadline == now + 200 + 1


def test_the_jitter_takes_at_most_half_of_the_delay() -> None:
    spec = replace(WEB, respawn=Respawn(delay=8))
    for chance, delay in ((0.0, 4.0), (0.5, 6.0), (1.0, 8.0)):
        life = Life(spec).running(0).at(0, Exited(1, FAILED, chance=chance))
        assert life.state.deadline == delay


def test_a_start_ends_a_sleep_and_forgets_the_failures() -> None:
    life = Life(replace(WEB, respawn=Respawn(max=1))).running().at(0, Exited(1, FAILED))
    assert life.phase() is Phase.SLEEPING
    life.at(1, Start())
    assert (life.state.phase, life.state.starts, life.state.deadline) == (Phase.WAITING, (), None)


def test_a_reset_wakes_a_sleeper_without_being_a_wish() -> None:
    life = Life(replace(WEB, respawn=Respawn(max=1))).running().at(0, Exited(1, FAILED))
    wish = life.state.wish
    life.at(1, Reset())
    assert (life.state.phase, life.state.wish) == (Phase.WAITING, wish)


def test_a_restart_is_no_failure() -> None:
    life = Life(replace(WEB, respawn=Respawn(max=1))).running()
    life.at(1, Restart(), Lower(5), Exited(1, Exit(signal=15)))
    assert (life.state.phase, life.state.restarts, life.state.renew) == (Phase.WAITING, 0, False)


def test_a_component_that_lost_its_prerequisite_waits_and_is_still_wanted() -> None:
    life = Life(WEB).running().at(1, Lower(5), Exited(1, Exit(signal=15)))
    assert (life.state.phase, life.state.wanted) == (Phase.WAITING, True)


def test_a_start_while_stopping_is_kept_for_afterwards() -> None:
    life = Life(WEB).running().at(1, Stop(), Lower(5), Start())
    assert life.phase() is Phase.STOPPING
    life.at(2, Exited(1, Exit(signal=15)))
    assert life.phase() is Phase.WAITING


@pytest.mark.parametrize("mode", [Mode.ONCE, Mode.STARTUP, Mode.SHUTDOWN])
@pytest.mark.parametrize("end", [DONE, FAILED])
def test_what_runs_once_is_finished_however_it_ends(mode: Mode, end: Exit) -> None:
    life = Life(replace(WEB, mode=mode)).running().at(1, Exited(1, end))
    assert life.phase() is Phase.FINISHED


def test_a_once_component_that_was_stopped_is_not_finished() -> None:
    life = Life(replace(WEB, mode=Mode.ONCE)).running()
    life.at(1, Stop(), Lower(5), Exited(1, Exit(signal=15)))
    assert life.phase() is Phase.STOPPED


def test_a_failed_start_says_which_step_failed_and_counts_as_a_start() -> None:
    life = Life(replace(WEB, respawn=Respawn(max=2)))
    life.at(0, Start(), Release(), SpawnFailed(1, NO_PROGRAM))
    assert (life.state.phase, life.state.last_exit) == (Phase.WAITING, NO_PROGRAM)
    life.at(0, Release(), SpawnFailed(2, NO_PROGRAM))
    assert life.phase() is Phase.SLEEPING


def test_what_outlives_its_leader_is_brought_down_before_a_new_child_starts() -> None:
    life = Life(WEB).running().at(1, Exited(1, FAILED, lost=(77,)))
    assert (life.state.phase, life.state.pid, life.state.lost) == (Phase.STOPPING, None, (77,))
    assert life.effects[-2:] == asked(1, "tree")
    life.at(2, TreeChanged(1, ()))
    assert (life.state.phase, life.state.restarts) == (Phase.WAITING, 1)


def test_stopped_means_that_the_whole_tree_is_gone() -> None:
    life = Life(WEB).running().at(1, Stop(), Lower(5), Exited(1, DONE, lost=(77, 78)))
    assert life.phase() is Phase.STOPPING
    assert life.effects[-2:] == asked(1, "lost")
    life.at(2, TreeChanged(1, (78,)))
    assert life.state.lost == (78,)
    assert life.state.deadline == 6
    life.at(6, DeadlineReached())
    assert life.effects[-1] == Signal("web", 1, SIGKILL, "tree")
    life.at(6, TreeChanged(1, ()))
    assert life.phase() is Phase.STOPPED


def test_a_stop_during_the_start_reaches_the_child_once_it_is_there() -> None:
    life = Life(WEB).at(0, Start(), Release(), Stop(), Lower(5), Spawned(1, 42))
    assert (life.state.phase, life.state.pid) == (Phase.STOPPING, 42)
    assert signals(life) == [SIGTERM, SIGTERM]
    life.at(1, Exited(1, Exit(signal=15)))
    assert life.phase() is Phase.STOPPED


def test_a_stop_during_a_start_that_fails_ends_stopped() -> None:
    life = Life(WEB).at(0, Start(), Release(), Stop(), Lower(5), SpawnFailed(1, NO_PROGRAM))
    assert life.phase() is Phase.STOPPED


def test_a_signal_goes_to_the_group_of_a_running_child() -> None:
    life = Life(WEB).running().at(1, SendSignal(SIGUSR1))
    assert life.effects[-1] == Signal("web", 1, SIGUSR1, "group")


def test_a_removed_component_ends_stopped_even_if_it_failed() -> None:
    life = Life(WEB).running().at(1, Remove(), Lower(5), Exited(1, FAILED))
    assert (life.state.phase, life.state.removed) == (Phase.STOPPED, True)


def test_a_listener_opens_listens_and_closes() -> None:
    life = Life(ECHO).at(0, Start(), Release(), Listening(1, 5.0))
    assert life.phase() is Phase.LISTENING
    life.at(1, Stop(), Lower(5), ListenerClosed(1))
    assert life.phase() is Phase.STOPPED
    assert life.effects == [Listen("echo", 1, ECHO), Unlisten("echo", 1)]


def test_a_listener_that_cannot_open_is_tried_again_after_a_moment() -> None:
    busy = Exit(stage="bind", errno=98, message="bind 127.0.0.1:7: Address already in use")
    life = Life(ECHO).at(0, Start(), Release(), ListenFailed(1, busy))
    assert (life.state.phase, life.state.deadline) == (Phase.SLEEPING, LISTEN_AGAIN)


def test_a_stop_for_the_leader_alone_reaches_the_rest_when_the_leader_is_gone() -> None:
    life = Life(replace(WEB, stop_scope="leader")).running().at(1, Stop(), Lower(5))
    assert life.effects[-2:] == asked(1, "leader")
    life.at(2, Exited(1, DONE, lost=(77,)))
    assert life.effects[-2:] == asked(1, "tree")


def test_a_start_condition_is_asked_before_each_start() -> None:
    spec = replace(WEB, start_condition=("test", "-e", "/x"))
    life = Life(spec).at(0, Start(), Release())
    assert (life.state.phase, life.effects) == (Phase.STARTING, [Probe("web", 1, spec)])
    life.at(1, Answered(1))
    assert life.effects[-1] == Spawn("web", 1, spec)
    life.at(1, Spawned(1, 42)).at(2, Exited(1, FAILED), Release())
    assert life.effects[-1] == Probe("web", 2, spec)


def test_a_start_condition_that_says_no_leaves_it_stopped_and_still_wanted() -> None:
    life = Life(replace(WEB, start_condition=("false",))).at(0, Start(), Release())
    life.at(1, Answered(1, NO))
    assert (life.state.phase, life.state.wanted) == (Phase.STOPPED, True)
    assert (life.state.refused, life.state.last_exit) == ("exited with 1", NO)


@pytest.mark.parametrize("again", [Start(), Restart(), Reset()])
def test_whatever_asks_for_a_refused_component_tries_again(again: ComponentEvent) -> None:
    life = Life(replace(WEB, start_condition=("false",))).at(0, Start(), Release())
    life.at(1, Answered(1, NO)).at(2, again)
    assert (life.state.phase, life.state.refused) == (Phase.WAITING, "")


def test_a_stop_forgets_that_a_start_was_refused() -> None:
    life = Life(replace(WEB, start_condition=("false",))).at(0, Start(), Release())
    life.at(1, Answered(1, NO)).at(2, Stop())
    assert (life.state.phase, life.state.refused) == (Phase.STOPPED, "")


@pytest.mark.parametrize("answer", [None, NO])
def test_a_stop_while_the_start_condition_is_asked_starts_nothing(answer: Exit | None) -> None:
    life = Life(replace(WEB, start_condition=("slow",))).at(0, Start(), Release())
    life.at(1, Stop(), Lower(5))
    assert signals(life) == [SIGTERM]
    life.at(2, Answered(1, answer))
    assert (life.state.phase, life.state.refused) == (Phase.STOPPED, "")
    assert not any(isinstance(effect, Spawn) for effect in life.effects)


def test_the_start_condition_of_a_listener_is_asked_before_it_opens() -> None:
    spec = replace(ECHO, start_condition=("test",))
    life = Life(spec).at(0, Start(), Release()).at(1, Answered(1))
    assert life.effects == [Probe("echo", 1, spec), Listen("echo", 1, spec)]


def test_a_child_is_ready_when_it_runs_unless_it_has_to_say_so() -> None:
    assert Life(WEB).running().state.ready
    life = Life(SLOW).running()
    assert not life.state.ready
    assert life.at(1, Ready(1)).state.ready
    assert not life.at(2, Exited(1, FAILED)).state.ready


def test_a_child_that_is_not_ready_in_time_is_brought_down_and_that_is_its_own_failure() -> None:
    life = Life(replace(SLOW, respawn=Respawn(max=2))).running()
    life.at(60, NotReady(1, "nothing came in 60 s"))
    assert life.phase() is Phase.STOPPING
    assert life.effects[-2:] == asked(1, "group")
    life.at(61, Exited(1, Exit(signal=15, message="killed by SIGTERM", at=7.0, cpu=0.5)))
    assert (life.state.phase, life.state.failures) == (Phase.WAITING, 1)
    assert life.state.last_exit == Exit(
        stage="ready", message="nothing came in 60 s", at=7.0, lasted=61.0, cpu=0.5
    )
    life.running(61).at(70, NotReady(2, "again"), Exited(2, Exit(signal=15)))
    assert (life.state.phase, life.state.throttled) == (Phase.SLEEPING, True)


def test_a_child_that_is_unwell_is_replaced_with_the_reason() -> None:
    life = Life(WEB).running().at(9, Unhealthy(1, "health check failed 3 times: refused"))
    life.at(10, Exited(1, DONE))
    assert life.phase() is Phase.WAITING
    assert life.state.last_exit is not None
    assert (life.state.last_exit.stage, life.state.last_exit.code) == ("health", None)


def test_a_child_that_is_unwell_and_does_not_go_is_killed() -> None:
    life = Life(WEB).running().at(9, Unhealthy(1, "refused"))
    assert life.state.deadline == 9 + WEB.stop_timeout
    life.at(14, DeadlineReached())
    assert life.effects[-1] == Signal("web", 1, SIGKILL, "tree")


def test_an_old_failed_check_is_not_the_reason_of_a_later_end() -> None:
    life = Life(WEB).running().at(1, Unhealthy(1, "refused"), Exited(1, DONE))
    life.running(2).at(3, Restart(), Lower(5), Exited(2, Exit(signal=15, message="killed")))
    assert life.state.last_exit is not None
    assert life.state.last_exit.signal == 15


def test_a_check_that_fails_after_the_child_is_ready_is_about_its_health_alone() -> None:
    life = Life(SLOW).running().at(1, Ready(1), NotReady(1, "late"))
    assert (life.state.phase, life.state.ready) == (Phase.RUNNING, True)


@pytest.mark.parametrize("late", [Ready(1), NotReady(1, "x"), Unhealthy(1, "x")])
def test_what_a_check_says_about_a_child_that_is_gone_is_no_news(late: ComponentEvent) -> None:
    life = Life(SLOW).running().at(1, Exited(1, FAILED))
    before = life.state
    assert life.at(2, late).state == before
    life.running(3)
    assert life.at(4, late).state.ready is False


@pytest.mark.parametrize(
    ("phase", "event"),
    [
        (Phase.STARTING, Ready(0)),
        (Phase.STOPPED, Answered(0)),
        (Phase.STOPPED, Release()),
        (Phase.STOPPED, Lower(5)),
        (Phase.RUNNING, Spawned(0, 5)),
        (Phase.WAITING, Exited(0, FAILED)),
        (Phase.RUNNING, DeadlineReached()),
        (Phase.RUNNING, ListenerClosed(0)),
        (Phase.STOPPED, SendSignal(1)),
    ],
)
def test_an_impossible_event_is_told_and_leaves_the_state(
    phase: Phase, event: ComponentEvent
) -> None:
    with pytest.raises(IllegalEvent, match="cannot apply"):
        step("web", WEB, State(phase=phase), event, 0.0)


def test_only_what_piesd_serves_itself_runs_without_a_pid() -> None:
    served = Life(replace(WEB, internal=True)).at(0, Start(), Release(), Spawned(1, None))
    assert (served.phase(), served.state.pid) == (Phase.RUNNING, None)
    with pytest.raises(IllegalEvent):
        Life(WEB).at(0, Start(), Release(), Spawned(1, None))
    asked = Life(replace(WEB, internal=True)).at(0, Start(), Release(), Stop(), Lower(5))
    asked.at(1, Spawned(1, None), Exited(1, Exit(signal=SIGTERM, message="was ended")))
    assert asked.phase() is Phase.STOPPED
