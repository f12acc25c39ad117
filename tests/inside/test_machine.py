"""One component's life, as scripts of events."""

from __future__ import annotations

from signal import SIGKILL, SIGTERM, SIGUSR1
from typing import Self

import pytest
from msgspec.structs import replace

from supervisor.engine.machine import LISTEN_AGAIN, step
from supervisor.model.component import Component, InetAddress, Mode, Respawn
from supervisor.model.effects import Effect, Listen, Signal, Spawn, Unlisten
from supervisor.model.errors import IllegalEvent
from supervisor.model.events import (
    ComponentEvent,
    DeadlineReached,
    Exited,
    ListenerClosed,
    ListenFailed,
    Listening,
    Lower,
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
)
from supervisor.model.state import Exit, Phase, State

WEB = Component(tag="web", argv=("web",))
ECHO = Component(
    tag="echo", argv=("cat",), mode=Mode.INETD, socket=InetAddress(host="127.0.0.1", port=7)
)
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
    return [effect.signum for effect in life.effects if isinstance(effect, Signal)]


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


def test_a_precious_component_is_never_put_to_sleep() -> None:
    life = Life(replace(WEB, precious=True))
    for _ in range(100):
        life.running(1).at(1, Exited(life.state.generation, FAILED))
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
    assert life.effects[-1] == Signal("web", 1, SIGTERM, "tree")
    life.at(2, TreeChanged(1, ()))
    assert (life.state.phase, life.state.restarts) == (Phase.WAITING, 1)


def test_stopped_means_that_the_whole_tree_is_gone() -> None:
    life = Life(WEB).running().at(1, Stop(), Lower(5), Exited(1, DONE, lost=(77, 78)))
    assert life.phase() is Phase.STOPPING
    assert life.effects[-1] == Signal("web", 1, SIGTERM, "lost")
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


@pytest.mark.parametrize(
    ("phase", "event"),
    [
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
