"""What a transition means to a person: one line for the log and the event feed."""

from __future__ import annotations

from supervisor.engine.machine import CHECKS, IDLE
from supervisor.engine.modes import ONE_RUN
from supervisor.model.component import Component, Key
from supervisor.model.effects import Level, Note
from supervisor.model.events import (
    ComponentEvent,
    DeadlineReached,
    Excused,
    Hung,
    Idle,
    ListenFailed,
    NotReady,
    SpawnFailed,
    Tested,
    Unhealthy,
)
from supervisor.model.state import Exit, Phase, State

_BAD_NEWS: frozenset[type[ComponentEvent]] = frozenset(
    {SpawnFailed, ListenFailed, NotReady, Unhealthy, Hung, Tested}
)
"""What is never good, but for a start condition that says yes."""

_FAILED_CHECKS: dict[type[NotReady | Unhealthy | Hung], str] = {
    NotReady: "not-ready",
    Unhealthy: "unhealthy",
    Hung: "hung",
}
"""What it is called that a check has failed."""


def note_for(
    key: Key, spec: Component, old: State, new: State, event: ComponentEvent, now: float
) -> Note | None:
    """Return what to tell about the step from *old* to *new*, or None if that is nothing."""
    if type(event) in _BAD_NEWS and (bad := _bad_news(key, spec, old, new, event, now)) is not None:
        return bad
    if new.kills > old.kills:
        target = "what is left of it" if new.pid is None else f"PID {new.pid}"
        return Note(key, "killed", "warning", f"{key!r} did not stop in time: SIGKILL to {target}")
    if new.paused and not old.paused:
        text = f"{key!r} pauses: {spec.max_rate} connections within a minute are enough"
        return Note(key, "paused", "warning", text)
    if new.phase is old.phase:
        if new.ready and not old.ready:
            return Note(key, "ready", "info", f"{key!r} is ready after {now - new.born:.1f} s")
        return None
    match new.phase:
        case Phase.RUNNING:
            pid = "" if new.pid is None else f", PID {new.pid}"
            return Note(key, "started", "info", f"{key!r} started{pid}")
        case Phase.LISTENING:
            urls = ", ".join(address.url for address in spec.sockets)
            where = f"on {urls}" if urls else f"by way of {spec.tcpmux_master!r}"
            return Note(key, "listening", "info", f"{key!r} listens {where}")
        case Phase.STOPPING if new.lost and not new.lowered:
            left = ", ".join(str(pid) for pid in new.lost)
            text = f"{key!r} {_how(new.last_exit)}; its processes {left} are brought down"
            return Note(key, "exited", "warning", text)
        case Phase.STOPPING:
            return _stopping(key, event)
        case Phase.WAITING if old.phase is Phase.SLEEPING:
            return _awake(key, event)
        case Phase.STOPPED | Phase.FINISHED | Phase.SLEEPING | Phase.WAITING if old.live:
            return _end(key, spec, old, new, now)
        case Phase.STOPPED:
            return Note(key, "stopped", "info", f"{key!r} is stopped")
        case _:
            return None


def _bad_news(
    key: Key, spec: Component, old: State, new: State, event: ComponentEvent, now: float
) -> Note | None:
    """Return what to tell about something that has not gone well."""
    if new is old:
        return None
    if isinstance(event, SpawnFailed | ListenFailed | Tested):
        return _not_started(key, event, new, now)
    if isinstance(event, NotReady | Unhealthy | Hung):
        again = new.wanted and not new.removed and spec.mode not in ONE_RUN
        kind = _FAILED_CHECKS[type(event)]
        verb = "restarting" if again else "bringing down"
        return Note(key, kind, "error", f"{verb} {key!r}: {event.message}")
    return None


def _not_started(
    key: Key, event: SpawnFailed | ListenFailed | Tested, new: State, now: float
) -> Note | None:
    """Tell that a start has come to nothing."""
    if new.phase is Phase.WAITING and new.room is not None and new.deadline is not None:
        again = f"next try in {new.deadline - now:.1f} s"
        text = f"cannot start {key!r} now: {new.room.message}; {again}"
        return Note(key, "put-off", "debug", text)
    if isinstance(event, Tested):
        text = f"{key!r} is not started: {new.refused}"
        return Note(key, "not-started", "warning", text) if new.refused else None
    verb = "start" if isinstance(event, SpawnFailed) else "listen for"
    text = f"cannot {verb} {key!r}: {event.exit.message}{_outlook(new, now)}"
    return Note(key, "start-failed", "error", text)


def _awake(key: Key, event: ComponentEvent) -> Note | None:
    """Tell that it does not sleep any more, where nobody has asked for that."""
    if isinstance(event, Excused):
        text = f"the end of {key!r} does not count: what it needs went down with it"
        return Note(key, "excused", "info", text)
    if isinstance(event, DeadlineReached):
        return Note(key, "retry", "info", f"{key!r} is tried again")
    return None


def _stopping(key: Key, event: ComponentEvent) -> Note:
    """Tell that it is asked to go."""
    if isinstance(event, Idle):
        return Note(key, IDLE, "info", f"{key!r} is stopping: {event.message}")
    return Note(key, "stopping", "info", f"{key!r} is stopping")


def _end(key: Key, spec: Component, old: State, new: State, now: float) -> Note:
    """Tell that nothing of it is left, and what happens now."""
    if old.lowered or (old.phase is Phase.STOPPING and old.lost == () and old.pid is None):
        verb = "stopped" if new.phase is Phase.STOPPED else "is down"
        return Note(key, "stopped", "info", f"{key!r} {verb}")
    checked = new.last_exit is not None and new.last_exit.stage in CHECKS
    if checked and new.phase is not Phase.FINISHED and not new.throttled:
        # That it failed, and why, was told when it was asked to go.
        return Note(key, "stopped", "info", f"{key!r} is down{_outlook(new, now)}")
    level: Level = "info" if new.last_exit is not None and new.last_exit.ok else "error"
    kind = "exited"
    if new.phase is Phase.FINISHED:
        kind = "finished"
    elif new.phase is Phase.SLEEPING and new.throttled:
        kind = "sleeping"
    return Note(key, kind, level, f"{key!r} {_how(new.last_exit)}{_outlook(new, now)}")


def _how(last: Exit | None) -> str:
    if last is not None and last.stage in (*CHECKS, IDLE):
        return f"was brought down: {last.message}"
    return last.message if last is not None and last.message else "ended"


def _outlook(new: State, now: float) -> str:
    if new.phase is Phase.SLEEPING and new.deadline is not None:
        wait = new.deadline - now
        if new.throttled:
            return f"; it was started too often and sleeps for {wait:.0f} s"
        return f"; next try in {wait:.1f} s"
    return ""
