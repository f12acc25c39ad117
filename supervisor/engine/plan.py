"""The validated whole, and the difference between two of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_type_hints

from msgspec import Meta, Struct

from supervisor.engine.graph import Graph
from supervisor.engine.modes import ALARMED, BOOTING, CALLED
from supervisor.model.component import LIVE, NEXT_START, Component, Mode, Tag
from supervisor.model.errors import Problem
from supervisor.model.settings import ControlSettings, DaemonSettings, SourceFile


class Plan(Struct, frozen=True, kw_only=True):
    """A configuration that was found right, in the order in which it was written."""

    components: tuple[Component, ...]
    daemon: DaemonSettings
    control: ControlSettings
    files: tuple[SourceFile, ...]
    warnings: tuple[Problem, ...] = ()


class Change(Struct, frozen=True, kw_only=True):
    """What going over to a new plan means for one component.

    `keys` are the configuration keys that differ, `dependents` those that go down and come back
    because of it.
    """

    tag: Tag
    action: Literal["none", "live", "restart", "start", "stop"]
    keys: tuple[str, ...] = ()
    dependents: tuple[Tag, ...] = ()
    because: str = ""


_FIELDS = tuple(Component.__struct_fields__)


def _marked(mark: Meta) -> frozenset[str]:
    hints = get_type_hints(Component, include_extras=True).items()
    return frozenset(name for name, hint in hints if mark in getattr(hint, "__metadata__", ()))


_LIVE_FIELDS = _marked(LIVE)
_NEXT_START_FIELDS = _marked(NEXT_START)
_LATER = {
    Mode.SHUTDOWN: "at the shutdown",
    Mode.STARTUP: "at the next start",
    **dict.fromkeys(BOOTING, "at the next boot"),
    **dict.fromkeys(CALLED, "when it is called for"),
}
"""When components of these modes run, which do not simply run."""
_RUNS_ON = BOOTING | ALARMED | {Mode.WAIT}
"""The modes whose components are in the middle of something that is not to be done twice."""
_OF_LISTENER = frozenset({"sockets", "backlog", "wait"})
_NOT_KEYS = frozenset({"source", "template", "instance"})
"""Where a component was written is no reason to do anything."""

_KEY_NAMES = {
    "sockets": "socket",
    "argv": "command",
    "env_base": "env",
    "exit_actions": "on-exit",
    "stop_scope": "siggroup",
}


def changed_fields(old: Component, new: Component) -> tuple[str, ...]:
    """Return the names of the fields of `Component` in which the two differ."""
    return tuple(
        name
        for name in _FIELDS
        if name not in _NOT_KEYS and getattr(old, name) != getattr(new, name)
    )


def needs_new_child(new: Component, fields: Sequence[str]) -> bool:
    """Return whether a change of these fields takes effect only in a new child.

    The children of an inetd component are made anew for each connection, so of a listener that
    stays one only its sockets matter, and who accepts at them.
    """
    if new.mode is Mode.INETD and "mode" not in fields:
        return not _OF_LISTENER.isdisjoint(fields)
    if new.expandenv and "command" in fields:
        return True  # Its words are made of the text, in which quotation marks count.
    return any(name not in _LIVE_FIELDS | _NEXT_START_FIELDS for name in fields)


def difference(
    old: Sequence[Component],
    new: Sequence[Component],
    is_kept: Callable[[Tag], bool],
    is_put_off: Callable[[Tag], bool],
) -> tuple[Change, ...]:
    """Return what going from *old* to *new* means for every component, in *new*'s order.

    Removed components come first. *is_kept* tells whether a component has a child or a listener
    now, and is to have it: one that has none, or is going down for good, needs no restart, whatever
    changed. *is_put_off* tells whether it should have one and is not tried at present, because that
    went wrong: what changed may have mended it.
    """
    before = {component.tag: component for component in old}
    after = {component.tag: component for component in new}
    graph = Graph({tag: component.prerequisites for tag, component in before.items()})
    changes = [
        with_dependents(
            Change(tag=tag, action="stop", because="it is no longer configured"), graph, is_kept
        )
        for tag in before
        if tag not in after
    ]
    for tag, component in after.items():
        change = _change(before.get(tag), component, is_kept, is_put_off)
        changes.append(with_dependents(change, graph, is_kept))
    return tuple(changes)


def _change(
    old: Component | None,
    new: Component,
    is_kept: Callable[[Tag], bool],
    is_put_off: Callable[[Tag], bool],
) -> Change:
    tag = new.tag
    if old is None:
        if not new.enabled:
            return Change(tag=tag, action="none", because="it is new, and disabled")
        later = _LATER.get(new.mode)
        if later is not None:
            return Change(tag=tag, action="none", because=f"it is new, and runs {later}")
        return Change(tag=tag, action="start", because="it is new")
    fields = changed_fields(old, new)
    keys = tuple(dict.fromkeys(_KEY_NAMES.get(name, name.replace("_", "-")) for name in fields))
    if not fields:
        return Change(tag=tag, action="none", because="nothing of it changed")
    if (now := _change_of_call(old, new)) is not None:
        return Change(tag=tag, action=now[0], keys=keys, because=now[1])
    # What was started by hand while it was disabled is up already: then the rest decides.
    if "enabled" in fields and not (new.enabled and is_kept(tag)):
        action: Literal["start", "stop"] = "start" if new.enabled else "stop"
        because = "it is no longer disabled" if new.enabled else "it is disabled now"
        return Change(tag=tag, action=action, keys=keys, because=because)
    other_child = needs_new_child(new, fields)
    next_start = not _NEXT_START_FIELDS.isdisjoint(fields)
    if is_put_off(tag) and (other_child or next_start) and new.mode not in ALARMED:
        because = "it could not be started, or ended too often, and is tried again with these"
        return Change(tag=tag, action="start", keys=keys, because=because)
    if not other_child:
        return Change(tag=tag, action="live", keys=keys, because="these take effect at once")
    if not is_kept(tag):
        return Change(tag=tag, action="live", keys=keys, because="it has no child to replace")
    if new.mode in _RUNS_ON:
        return Change(tag=tag, action="live", keys=keys, because="these are for its next run")
    return Change(tag=tag, action="restart", keys=keys, because="these need a new child")


def _change_of_call(old: Component, new: Component) -> tuple[Literal["start", "stop"], str] | None:
    """Return what to do where one that ran by itself runs when called for now, or the reverse."""
    called = new.mode in CALLED
    if called == (old.mode in CALLED):
        if called and "enabled" in changed_fields(old, new):
            return "stop", "it runs when it is called for" if new.enabled else "it is disabled now"
        return None
    if called:
        return "stop", f"it runs {_LATER[new.mode]} now"
    return ("start", "it runs by itself now") if new.enabled and new.mode not in _LATER else None


def with_dependents(change: Change, graph: Graph, is_kept: Callable[[Tag], bool]) -> Change:
    """Return *change* with those who go down because of it."""
    if change.action not in ("restart", "stop") or change.tag not in graph.index:
        return change
    touched = graph.in_order(tag for tag in graph.all_dependents(change.tag) if is_kept(tag))
    return Change(
        tag=change.tag,
        action=change.action,
        keys=change.keys,
        dependents=tuple(touched),
        because=change.because,
    )
