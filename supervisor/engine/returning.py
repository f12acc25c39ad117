"""What an engine that goes on for another is told about what is there of each entity now.

The facts are those that it would have been told at the time, so nothing else follows from them.
"""

from __future__ import annotations

from msgspec.structs import replace

from supervisor.engine.memory import Memo
from supervisor.model.events import (
    ComponentEvent,
    Exited,
    ListenerClosed,
    Listening,
    Spawned,
    SpawnFailed,
    TreeChanged,
)
from supervisor.model.state import UNOBSERVED, Exit, Phase, State

_UNSEEN = "ended while no piesd was there, so nobody knows how"


def has_processes(memo: Memo) -> bool:
    """Return whether there was, or was just going to be, a process."""
    return memo.state.live and not memo.state.listener and not memo.spec.internal


def waits(memo: Memo) -> bool:
    """Return whether a connection has nobody yet who serves it."""
    return memo.state.phase is Phase.WAITING


def child(
    state: State, pid: int | None, lost: tuple[int, ...], *, now: float, at: float, chance: float
) -> tuple[State, ComponentEvent | None]:
    """Return the state to go on with, and what is new about the child, if anything is.

    Args:
        state: of one that has processes.
        pid: the leader, if it lives.
        lost: what has outlived it.
        now: the engine's time.
        at: Unix time.
        chance: a random number in [0, 1).
    """
    generation = state.generation
    if state.phase is Phase.STARTING:
        if pid is None:
            return _begun_anew(state, now), None
        return state, Spawned(generation, pid, at)
    if state.pid is None and not state.lost:
        # It was asked to stop while its start was under way.
        if pid is not None:
            return state, Spawned(generation, pid, at)
        gone = Exit(stage="stopped", message="was stopped before it began", at=at)
        return state, SpawnFailed(generation, gone, chance)
    if state.pid is None:
        return state, TreeChanged(generation, lost, chance)
    if pid is None:
        how = Exit(stage=UNOBSERVED, message=_UNSEEN, at=at)
        return state, Exited(generation, how, lost, chance)
    return state, None


def listener(state: State, at: float) -> Listening | ListenerClosed | None:
    """Return what is new about a listener, if anything is, when it is open again if it is to be."""
    match state.phase:
        case Phase.STOPPING:
            return ListenerClosed(state.generation)
        case Phase.STARTING:
            return Listening(state.generation, at)
        case _:
            return None


def _begun_anew(state: State, now: float) -> State:
    """Return *state* for one whose start was under way and of which nothing is there.

    It is wanted as before, and its start was no failure of its own.
    """
    return replace(
        state,
        phase=Phase.WAITING if state.wanted and not state.removed else Phase.STOPPED,
        since=now,
        deadline=None,
        pid=None,
        listener=False,
        renew=False,
        lowered=False,
        starts=state.starts[:-1],
    )
