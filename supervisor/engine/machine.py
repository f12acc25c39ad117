"""One component: every transition from one phase to another, in one table."""

from __future__ import annotations

from signal import SIGABRT, SIGCONT, SIGKILL
from typing import assert_never

from msgspec.structs import replace

from supervisor.engine.modes import ONE_RUN
from supervisor.engine.room import lacks_room, pause
from supervisor.engine.slots import needs_slot
from supervisor.engine.throttle import after_end, recent
from supervisor.model.component import Component, Key
from supervisor.model.effects import (
    Effect,
    Listen,
    Pause,
    Probe,
    Resume,
    Scope,
    Signal,
    Spawn,
    Unlisten,
)
from supervisor.model.errors import IllegalEvent
from supervisor.model.events import (
    ComponentEvent,
    DeadlineReached,
    Excused,
    Exited,
    Hung,
    Idle,
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
    Taken,
    Tested,
    TreeChanged,
    Unhealthy,
    WatchdogSet,
)
from supervisor.model.state import Excuse, Exit, NoRoom, Phase, State, Wish

KILL_AGAIN = 1.0
"""Seconds after a SIGKILL until the tree is looked at and killed again: it may have forked."""

SLOT_HELD = 30.0
"""Seconds after which what does not come up lets others start, see `supervisor.engine.slots`."""

MINUTE = 60.0
"""Seconds in which `max_rate` connections are taken."""

LISTEN_AGAIN = 1.0
"""Seconds that pass at least before a listener that could not be opened is tried again."""

CHECKS = ("ready", "health", "watchdog")
"""The stages of an end that a check of ours caused, see `Exit`."""

CORRELATED = 5.0
"""Seconds between a failure and that of a prerequisite which are taken to have one cause: it may
lose its connections long before we hear of its end, as while it writes a core."""

IDLE = "idle"
"""The stage of an end that had no other cause than that nobody needed it any more."""

_TRYING = frozenset({Phase.WAITING, Phase.STARTING})
"""The phases in which it is still known that there was no room."""

_FACTS = (
    Spawned,
    SpawnFailed,
    Exited,
    TreeChanged,
    Tested,
    Ready,
    NotReady,
    Unhealthy,
    Hung,
    WatchdogSet,
    Idle,
    Listening,
    ListenFailed,
    ListenerClosed,
)

Step = tuple[State, tuple[Effect, ...]]


def step(  # noqa: C901, PLR0915 - It is one table.
    key: Key, spec: Component, state: State, event: ComponentEvent, now: float
) -> Step:
    """Return the state after *event* and what must be done about it.

    *now* is monotonic seconds. Pure: the same arguments always give the same result.

    Raises:
        IllegalEvent: *event* makes no sense in this phase; that is a bug of ours.
    """
    if isinstance(event, _FACTS) and event.generation != state.generation:
        return state, ()  # A report about an older child.
    phase = state.phase
    match event:  # They are looked at in turn: what happens a thousand times a second comes first.
        # --- rules: what the engine concludes
        case Release() if phase is Phase.WAITING:
            return _release(key, spec, state, now)
        case Lower(patience) if phase in (Phase.STARTING, Phase.RUNNING, Phase.LISTENING):
            stopping = replace(
                _enter(state, Phase.STOPPING, now), lowered=True, deadline=now + patience
            )
            if state.listener:
                return replace(stopping, deadline=None), (Unlisten(key, state.generation),)
            return stopping, _ask(key, spec, state, spec.stop_scope)

        # --- facts: they change what is
        case Spawned(_, None) if not spec.internal:
            raise IllegalEvent(key, state, event)
        case Spawned(_, pid, at) if phase is Phase.STARTING:
            running = _enter(state, Phase.RUNNING, now)
            ready = spec.ready is None
            deadline = None if ready else now + SLOT_HELD
            running = replace(running, ready=ready, deadline=deadline, room=None)
            return replace(running, pid=pid, started_at=at, born=now), ()
        case Spawned(_, pid, at) if phase is Phase.STOPPING and state.pid is None:
            # It was asked to stop while its start was under way, maybe before it could be
            # signalled at all.
            told = _ask(key, spec, state, spec.stop_scope)
            return replace(state, pid=pid, started_at=at, born=now), told
        case Exited(_, exit, lost, chance) if phase in (Phase.RUNNING, Phase.STOPPING):
            ended = _cause(state, replace(exit, lasted=now - state.born))
            state = replace(state, pid=None, last_exit=ended, lost=lost, ready=False)
            if not lost:
                return _ended(spec, state, now, chance), ()
            return _clear_up(key, spec, state, now)
        case TreeChanged(_, lost, chance) if phase is Phase.STOPPING:
            state = replace(state, lost=lost)
            if lost or state.pid is not None:
                return state, ()
            return _ended(spec, state, now, chance), ()
        case SpawnFailed(_, exit, chance) if (
            phase is Phase.STARTING and not _overtaken(state) and lacks_room(key, spec, exit)
        ):
            return _put_off(state, exit, now, chance), ()
        case SpawnFailed(_, exit, chance) if phase in (Phase.STARTING, Phase.STOPPING):
            return _ended(spec, replace(state, last_exit=exit), now, chance), ()
        case Tested() if phase is Phase.STOPPING or (phase is Phase.STARTING and _overtaken(state)):
            return _ended(spec, replace(state, lowered=True), now, 0.5), ()
        case Tested(_, None) if phase is Phase.STARTING:
            return _launch(key, spec, state)
        case Tested(_, Exit() as exit) if phase is Phase.STARTING and lacks_room(key, spec, exit):
            return _put_off(state, exit, now, 0.5), ()
        case Tested(_, Exit() as exit) if phase is Phase.STARTING:
            refused = _enter(state, Phase.STOPPED, now)
            return replace(refused, refused=exit.message or "no", last_exit=exit), ()
        case Ready() if phase is Phase.RUNNING:
            return replace(state, ready=True, deadline=None), ()
        case NotReady(_, message) if phase is Phase.RUNNING and not state.ready:
            return _fail(key, spec, state, now, Exit(stage="ready", message=message))
        case Unhealthy(_, message) if phase is Phase.RUNNING:
            return _fail(key, spec, state, now, Exit(stage="health", message=message))
        case Hung(_, message) if phase is Phase.RUNNING:
            # Not its stop signal: what hangs does nothing orderly, and its core says where it is.
            why = Exit(stage="watchdog", message=message)
            return _fail(key, spec, state, now, why, SIGABRT)
        case WatchdogSet(_, seconds):
            return replace(state, watchdog=seconds), ()
        case Idle(_, message) if phase is Phase.RUNNING:
            return _dismiss(key, spec, state, now, message)
        case Idle() if phase is Phase.STOPPING:
            # Whoever found out may have held it, and it is to end.
            return state, (Signal(key, state.generation, SIGCONT, "tree"),)
        case Ready() | NotReady() | Unhealthy() | Hung() | Idle() if phase is not Phase.STARTING:
            return state, ()  # What watched the child had not heard of its end yet.
        case Listening(_, at) if phase is Phase.STARTING:
            listening = _enter(state, Phase.LISTENING, now)
            return replace(listening, started_at=at, ready=True), ()
        case Listening() if phase is Phase.STOPPING:
            # It was to be closed before we had heard that it is open; its end is on the way.
            return state, ()
        case ListenFailed(_, exit, chance) if phase in (
            Phase.STARTING,
            Phase.LISTENING,
            Phase.STOPPING,
        ):
            state = replace(state, last_exit=exit)
            return _ended(spec, state, now, chance, at_least=LISTEN_AGAIN), ()
        case ListenerClosed() if phase is Phase.STOPPING:
            return _ended(spec, state, now, 0.5), ()
        case Taken():
            return _take(key, spec, state, now) if phase is Phase.LISTENING else (state, ())
        case DeadlineReached() if phase is Phase.LISTENING:
            return replace(state, deadline=None, throttled=False, taken=0), (Resume(key),)
        case DeadlineReached() if phase is Phase.STOPPING:
            again = replace(state, kills=state.kills + 1, deadline=now + KILL_AGAIN)
            return again, (Signal(key, state.generation, SIGKILL, "tree"),)
        case DeadlineReached() if phase is Phase.WAITING and state.room is not None:
            return _tried_now(state), ()
        case DeadlineReached() if _rises(state) and state.deadline is not None:
            return replace(state, deadline=None), ()
        case DeadlineReached() if phase is Phase.SLEEPING:
            return _wait(state, now), ()

        # --- a rule that seldom applies
        case Excused():
            return _excused(state, now), ()

        # --- requests: they change what is wanted
        case Start(by, at):
            wish = Wish("start", by, at)
            if phase in (Phase.STOPPED, Phase.FINISHED, Phase.SLEEPING):
                return _wait(_forgiven(state), now, wanted=True, wish=wish), ()
            # What is going down comes up again afterwards, even if it was to run only once.
            return replace(
                _tried_now(state),
                wanted=True,
                wish=wish,
                renew=state.renew or phase is Phase.STOPPING,
            ), ()
        case Restart(by, at):
            wish = Wish("restart", by, at)
            if state.live:
                return replace(state, wanted=True, renew=True, wish=wish, failures=0), ()
            if phase in (Phase.STOPPED, Phase.FINISHED, Phase.SLEEPING):
                return _wait(_forgiven(state), now, wanted=True, wish=wish), ()
            return replace(_tried_now(state), wanted=True, wish=wish), ()
        case Stop(by, at):
            wish = Wish("stop", by, at)
            state = replace(state, wanted=False, renew=False, wish=wish, refused="")
            if phase in (Phase.WAITING, Phase.SLEEPING):
                return _enter(state, Phase.STOPPED, now), ()
            return state, ()
        case Remove():
            state = replace(state, wanted=False, renew=False, removed=True)
            if phase in (Phase.WAITING, Phase.SLEEPING, Phase.FINISHED):
                return _enter(state, Phase.STOPPED, now), ()
            return state, ()
        case Reset():
            state = _tried_now(_forgiven(state))
            if phase is Phase.SLEEPING or (phase is Phase.STOPPED and state.refused):
                return _wait(state, now), ()
            return state, ()
        case SendSignal(signum):
            if state.pid is None:
                raise IllegalEvent(key, state, event)
            return state, (Signal(key, state.generation, signum, "group"),)

        case (
            Release()
            | Lower()
            | Spawned()
            | SpawnFailed()
            | Exited()
            | TreeChanged()
            | Tested()
            | Ready()
            | NotReady()
            | Unhealthy()
            | Hung()
            | Idle()
            | Listening()
            | ListenFailed()
            | ListenerClosed()
            | DeadlineReached()
        ):
            raise IllegalEvent(key, state, event)
        case _:
            assert_never(event)  # A new kind of event does not type-check until it is handled.


def _enter(state: State, phase: Phase, now: float) -> State:
    """Enter *phase*: whatever the old phase waited for is void."""
    state = replace(state, phase=phase, since=now, deadline=None, throttled=False, ready=False)
    return state if phase in _TRYING or state.room is None else replace(state, room=None)


def _wait(state: State, now: float, **fields: object) -> State:
    """Enter WAITING, ready for a new child."""
    waiting = replace(_enter(state, Phase.WAITING, now), refused="")
    return replace(waiting, pid=None, lost=(), lowered=False, renew=False, kills=0, **fields)


def _tried_now(state: State) -> State:
    """Return *state* with nothing to wait for before it is tried again, if it only has to wait."""
    return replace(state, deadline=None) if state.phase is Phase.WAITING else state


def _put_off(state: State, why: Exit, now: float, chance: float) -> State:
    """Wait until the system may have room, and count nothing."""
    tries = state.room.tries + 1 if state.room is not None else 1
    waiting = _wait(state, now, starts=state.starts[:-1])
    return replace(waiting, deadline=now + pause(tries, chance), room=NoRoom(tries, why.message))


def _rises(state: State) -> bool:
    """Return whether it is on its way up."""
    return state.phase is Phase.STARTING or (state.phase is Phase.RUNNING and not state.ready)


def _forgiven(state: State) -> State:
    """Forget that it ever failed."""
    return replace(state, starts=(), failures=0, excuse=None)


def _excused(state: State, now: float) -> State:
    """Take back the failures of the last moments; one that sleeps because of them is awake."""
    excuse = state.excuse
    if excuse is None or now - excuse.at > CORRELATED:
        return state
    present = state.starts[-1:] if state.live else ()
    state = replace(state, starts=(*excuse.starts, *present), failures=excuse.failures, excuse=None)
    return _wait(state, now) if state.phase is Phase.SLEEPING else state


def _release(key: Key, spec: Component, state: State, now: float) -> Step:
    """Start child or listener number generation + 1, if its start condition lets us."""
    state = replace(
        _enter(state, Phase.STARTING, now),
        generation=state.generation + 1,
        listener=False,
        watchdog=None,
        deadline=now + SLOT_HELD if key == spec.tag and needs_slot(spec) else None,
        starts=(*recent(state.starts, spec.respawn, now), now),
    )
    if spec.start_condition:
        return state, (Probe(key, state.generation, spec),)
    return _launch(key, spec, state)


def _launch(key: Key, spec: Component, state: State) -> Step:
    if spec.listens:
        return replace(state, listener=True), (Listen(key, state.generation, spec),)
    return state, (Spawn(key, state.generation, spec),)


def _take(key: Key, spec: Component, state: State, now: float) -> Step:
    """Count a connection; when there were enough for this minute, pause until it is over."""
    fresh = not state.taken or now - state.minute >= MINUTE
    begun, taken = (now, 1) if fresh else (state.minute, state.taken + 1)
    counted = replace(state, minute=begun, taken=taken)
    if not spec.max_rate or taken < spec.max_rate or state.throttled:
        return counted, ()
    return replace(counted, throttled=True, deadline=begun + MINUTE), (Pause(key),)


def _overtaken(state: State) -> bool:
    """Return whether the start that is under way is not what is wanted any more."""
    return state.renew or state.removed or not state.wanted


def _ask(
    key: Key, spec: Component, state: State, scope: Scope, signum: int | None = None
) -> tuple[Effect, ...]:
    """Ask the child to stop; what SIGSTOP holds could not obey before it goes on."""
    return (
        Signal(key, state.generation, signum or spec.stop_signal, scope),
        Signal(key, state.generation, SIGCONT, scope),
    )


def _fail(
    key: Key, spec: Component, state: State, now: float, why: Exit, signum: int | None = None
) -> Step:
    """Bring down a child that runs and does not do its work: that is a failure of its own."""
    failed = replace(
        _enter(state, Phase.STOPPING, now),
        last_exit=replace(why, lasted=now - state.born),
        deadline=now + spec.stop_timeout,
    )
    return failed, _ask(key, spec, state, spec.stop_scope, signum)


def _dismiss(key: Key, spec: Component, state: State, now: float, why: str) -> Step:
    """Bring down a child that nobody needs: that is as good as an order."""
    stopping = replace(
        _enter(state, Phase.STOPPING, now),
        wanted=False,
        lowered=True,
        last_exit=Exit(stage=IDLE, message=why, lasted=now - state.born),
        deadline=now + spec.stop_timeout,
    )
    asked = _ask(key, spec, state, spec.stop_scope)
    return stopping, (*asked, Signal(key, state.generation, SIGCONT, "tree"))


def _cause(state: State, end: Exit) -> Exit:
    """Return why the child of *state* ended: *end*, unless we found a reason ourselves."""
    cause = state.last_exit
    if state.phase is not Phase.STOPPING or cause is None:
        return end
    if cause.stage != IDLE and (state.lowered or cause.stage not in CHECKS):
        return end
    return replace(cause, at=end.at, lasted=end.lasted, cpu=end.cpu, peak=end.peak)


def _clear_up(key: Key, spec: Component, state: State, now: float) -> Step:
    """Bring down what the leader left behind: the component is not down before that is gone."""
    if state.kills:
        return state, (Signal(key, state.generation, SIGKILL, "tree"),)
    if state.phase is Phase.STOPPING:
        # Its group has had the signal already; a second one would hurry those who are at it.
        return state, _ask(key, spec, state, "lost" if spec.stop_scope == "group" else "tree")
    stopping = replace(
        _enter(state, Phase.STOPPING, now),
        deadline=now + spec.stop_timeout,
    )
    return stopping, _ask(key, spec, state, "tree")


def _ended(
    spec: Component, state: State, now: float, chance: float, *, at_least: float = 0.0
) -> State:
    """Decide what becomes of a component of which nothing is left."""
    state = replace(state, pid=None, lost=())
    by_itself = not (state.lowered or state.renew)
    if state.removed:
        return _enter(state, Phase.STOPPED, now)
    if by_itself and spec.mode in ONE_RUN:
        return _enter(state, Phase.FINISHED, now)
    if not state.wanted:
        return _enter(state, Phase.STOPPED, now)
    if not by_itself:
        # A run that we have ended is neither a failure nor one of the starts that are too many.
        return _wait(state, now, starts=state.starts[:-1])
    excuse = state.excuse
    if excuse is None or now - excuse.at > CORRELATED:
        excuse = Excuse(now, state.starts[:-1], state.failures)
    lasted = state.last_exit.lasted if state.last_exit else 0.0
    verdict = after_end(
        spec.respawn,
        state.starts,
        state.failures,
        lasted,
        now,
        chance=chance,
        precious=spec.precious,
        at_least=at_least,
    )
    again = _wait(
        state,
        now,
        starts=verdict.starts,
        failures=verdict.failures,
        excuse=excuse,
        room=None,
        restarts=state.restarts + 1,
    )
    if verdict.until is None:
        return again
    return replace(again, phase=Phase.SLEEPING, deadline=verdict.until, throttled=verdict.throttled)
