"""One component: every transition from one phase to another, in one table."""

from __future__ import annotations

from signal import SIGKILL
from typing import assert_never

from msgspec.structs import replace

from supervisor.engine.throttle import after_end, recent
from supervisor.model.component import Component, Key, Mode
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
from supervisor.model.state import Phase, State, Wish

KILL_AGAIN = 1.0
"""Seconds after a SIGKILL until the tree is looked at and killed again: it may have forked."""

LISTEN_AGAIN = 1.0
"""Seconds that pass at least before a listener that could not be opened is tried again."""

_FACTS = (Spawned, SpawnFailed, Exited, TreeChanged, Listening, ListenFailed, ListenerClosed)

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
    match event:
        # --- requests: they change what is wanted
        case Start(by, at):
            wish = Wish("start", by, at)
            if phase in (Phase.STOPPED, Phase.FINISHED, Phase.SLEEPING):
                return _wait(state, now, wanted=True, wish=wish, starts=(), failures=0), ()
            # What is going down comes up again afterwards, even if it was to run only once.
            return replace(
                state, wanted=True, wish=wish, renew=state.renew or phase is Phase.STOPPING
            ), ()
        case Restart(by, at):
            wish = Wish("restart", by, at)
            if state.live:
                return replace(state, wanted=True, renew=True, wish=wish, failures=0), ()
            if phase in (Phase.STOPPED, Phase.FINISHED, Phase.SLEEPING):
                return _wait(state, now, wanted=True, wish=wish, starts=(), failures=0), ()
            return replace(state, wanted=True, wish=wish), ()
        case Stop(by, at):
            state = replace(state, wanted=False, renew=False, wish=Wish("stop", by, at))
            if phase in (Phase.WAITING, Phase.SLEEPING):
                return _enter(state, Phase.STOPPED, now), ()
            return state, ()
        case Remove():
            state = replace(state, wanted=False, renew=False, removed=True)
            if phase in (Phase.WAITING, Phase.SLEEPING, Phase.FINISHED):
                return _enter(state, Phase.STOPPED, now), ()
            return state, ()
        case Reset():
            state = replace(state, starts=(), failures=0)
            if phase is Phase.SLEEPING:
                return _wait(state, now), ()
            return state, ()
        case SendSignal(signum):
            if state.pid is None:
                raise IllegalEvent(key, state, event)
            return state, (Signal(key, state.generation, signum, "group"),)

        # --- rules: what the engine concludes
        case Release() if phase is Phase.WAITING:
            return _release(key, spec, state, now)
        case Lower(patience) if phase in (Phase.STARTING, Phase.RUNNING, Phase.LISTENING):
            stopping = replace(
                _enter(state, Phase.STOPPING, now), lowered=True, deadline=now + patience
            )
            if state.listener:
                return replace(stopping, deadline=None), (Unlisten(key, state.generation),)
            return stopping, (Signal(key, state.generation, spec.stop_signal, "group"),)

        # --- facts: they change what is
        case Spawned(generation, pid, at) if phase is Phase.STARTING:
            running = _enter(state, Phase.RUNNING, now)
            return replace(running, pid=pid, started_at=at, born=now), ()
        case Spawned(generation, pid, at) if phase is Phase.STOPPING and state.pid is None:
            # It was asked to stop while its start was under way, maybe before it could be
            # signalled at all.
            told = Signal(key, generation, spec.stop_signal, "group")
            return replace(state, pid=pid, started_at=at, born=now), (told,)
        case SpawnFailed(_, exit, chance) if phase in (Phase.STARTING, Phase.STOPPING):
            return _ended(spec, replace(state, last_exit=exit), now, chance), ()
        case Exited(generation, exit, lost, chance) if phase in (Phase.RUNNING, Phase.STOPPING):
            ended = replace(exit, lasted=now - state.born)
            state = replace(state, pid=None, last_exit=ended, lost=lost)
            if not lost:
                return _ended(spec, state, now, chance), ()
            return _clear_up(key, spec, state, now)
        case TreeChanged(generation, lost, chance) if phase is Phase.STOPPING:
            state = replace(state, lost=lost)
            if lost or state.pid is not None:
                return state, ()
            return _ended(spec, state, now, chance), ()
        case Listening(_, at) if phase is Phase.STARTING:
            return replace(_enter(state, Phase.LISTENING, now), started_at=at), ()
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
        case DeadlineReached() if phase is Phase.STOPPING:
            again = replace(state, kills=state.kills + 1, deadline=now + KILL_AGAIN)
            return again, (Signal(key, state.generation, SIGKILL, "tree"),)
        case DeadlineReached() if phase is Phase.SLEEPING:
            return _wait(state, now), ()

        case (
            Release()
            | Lower()
            | Spawned()
            | SpawnFailed()
            | Exited()
            | TreeChanged()
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
    return replace(state, phase=phase, since=now, deadline=None, throttled=False)


def _wait(state: State, now: float, **fields: object) -> State:
    """Enter WAITING, ready for a new child."""
    waiting = _enter(state, Phase.WAITING, now)
    return replace(waiting, pid=None, lost=(), lowered=False, renew=False, kills=0, **fields)


def _release(key: Key, spec: Component, state: State, now: float) -> Step:
    """Start child or listener number generation + 1."""
    generation = state.generation + 1
    state = replace(
        _enter(state, Phase.STARTING, now),
        generation=generation,
        listener=spec.socket is not None,
        starts=(*recent(state.starts, spec.respawn, now), now),
    )
    if spec.socket is not None:
        return state, (Listen(key, generation, spec),)
    return state, (Spawn(key, generation, spec),)


def _clear_up(key: Key, spec: Component, state: State, now: float) -> Step:
    """Bring down what the leader left behind: the component is not down before that is gone."""
    if state.kills:
        return state, (Signal(key, state.generation, SIGKILL, "tree"),)
    if state.phase is Phase.STOPPING:
        # Its group has had the signal already; a second one would hurry those who are at it.
        return state, (Signal(key, state.generation, spec.stop_signal, "lost"),)
    stopping = replace(
        _enter(state, Phase.STOPPING, now),
        deadline=now + spec.stop_timeout,
    )
    return stopping, (Signal(key, state.generation, spec.stop_signal, "tree"),)


def _ended(
    spec: Component, state: State, now: float, chance: float, *, at_least: float = 0.0
) -> State:
    """Decide what becomes of a component of which nothing is left."""
    state = replace(state, pid=None, lost=())
    by_itself = not (state.lowered or state.renew)
    if state.removed:
        return _enter(state, Phase.STOPPED, now)
    if by_itself and spec.mode in (Mode.ONCE, Mode.STARTUP, Mode.SHUTDOWN):
        return _enter(state, Phase.FINISHED, now)
    if not state.wanted:
        return _enter(state, Phase.STOPPED, now)
    if not by_itself:
        return _wait(state, now)
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
        restarts=state.restarts + 1,
    )
    if verdict.until is None:
        return again
    return replace(again, phase=Phase.SLEEPING, deadline=verdict.until, throttled=verdict.throttled)
