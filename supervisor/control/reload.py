"""The configuration: which files, what a reload would change, and the reload itself."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import trio
from msgspec import Struct, structs

from supervisor.config.sources import READERS, syntax_of
from supervisor.control.drift import Signatures, drifted, plan_files, sign
from supervisor.control.settle import GOING_DOWN
from supervisor.engine.levelplan import in_the_level
from supervisor.engine.plan import Change, Plan, difference
from supervisor.model.errors import (
    BadRequest,
    NotFound,
    ShuttingDown,
    SupervisorError,
    TooManyRestarts,
)
from supervisor.model.events import Apply
from supervisor.model.settings import ControlSettings, SourceFile

if TYPE_CHECKING:
    from supervisor.control.about import Hooks
    from supervisor.control.access import View
    from supervisor.control.feed import Feed
    from supervisor.control.identity import Caller
    from supervisor.runtime.runner import Runner

Load = Callable[[Sequence[SourceFile]], Plan]

Prepare = Callable[[ControlSettings], Awaitable[Callable[[], None]]]
"""Gets ready for other settings and returns what goes over to them; what it raises refuses them."""

_WORDS = {
    "restart": "to restart",
    "start": "to start",
    "stop": "to stop",
    "live": "changed in place",
}
_KEY_NAMES = {"sockets": "socket"}
_LIVE_SETTINGS = frozenset({"shutdown_timeout", "runlevel", "max_starting"})
_AT_ONCE = frozenset({"acl", "admin_acl", "user_acl", "providers", "realm", "tls", "anonymous"})
"""Settings of the control interface that hold for the next request after a reload."""


class Reloaded(Struct, frozen=True, kw_only=True):
    """What a reload does, or would do. `notes` are remarks for people."""

    changes: tuple[Change, ...]
    applied: bool
    notes: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """All of it in one line."""
        counts = dict.fromkeys(_WORDS, 0)
        for change in self.changes:
            if change.action in counts:
                counts[change.action] += 1
        parts = [f"{count} {_WORDS[word]}" for word, count in counts.items() if count]
        return "; ".join([", ".join(parts) or "nothing changed", *self.notes])


class Configuration:
    """The files of the configuration and the plan that was read from them last.

    Args:
        load: reads files and returns the plan, or raises `ConfigRejected`; it may block.
        files: what is read at a reload; people may change the list.
    """

    def __init__(self, runner: Runner, feed: Feed, hooks: Hooks, *, plan: Plan, load: Load) -> None:
        self._runner, self._feed, self._hooks = runner, feed, hooks
        self._load = load
        self.prepare: list[Prepare] = []
        """Who has to be asked, and then told, when the settings of control change."""
        self.plan = plan
        self.files = plan.files
        self._signatures: Signatures = sign(plan_files(plan))
        # The one lock of the house. It protects no state of the engine: it lets a reload be read,
        # compared and applied before the next one is read, so that two that come together are
        # applied in the order in which they were read. No order ever waits for it.
        self._turn = trio.Lock()

    # --- the list of files

    def listed(self) -> tuple[SourceFile, ...]:
        """Return the list; a file that was named without a syntax has that of its name.

        A directory has none: each of its files goes by its own name.
        """
        return tuple(
            structs.replace(each, syntax=each.syntax or syntax_of(each.file) or "")
            for each in self.files
        )

    def add(self, source: SourceFile) -> None:
        """Add *source* to the list; a reload reads it."""
        if not os.path.isabs(source.file):
            error = BadRequest(f"cannot add {source.file!r}: it is a relative path")
            error.hint = "Give the full path: piesd need not be in the directory that you are in."
            raise error
        if source.syntax not in ("", *READERS):
            error = BadRequest(f"cannot add {source.file!r}: unknown syntax {source.syntax!r}")
            error.hint = f"Known: {', '.join(READERS)}."
            raise error
        others = [known for known in self.files if known.file != source.file]
        self.files = (*others, source)

    def remove(self, names: Iterable[str]) -> None:
        """Take these off the list: all of them, or none if one of them is not on it."""
        gone = set(names)
        for name in gone:
            if all(known.file != name for known in self.files):
                raise NotFound(name)
        self.files = tuple(known for known in self.files if known.file not in gone)

    def clear(self) -> None:
        """Empty the list."""
        self.files = ()

    # --- what differs

    async def preview(self, view: View) -> Reloaded:
        """Return what a reload would do now, as far as *view* shows it.

        Raises:
            ConfigRejected
        """
        plan, _ = await self._read()
        return self._as_seen(self._compare(plan), plan, view)

    async def drift(self, view: View) -> tuple[str, ...]:
        """Return the files that have changed since the configuration was read.

        Files that only tell of components that *view* does not show are left out.
        """
        shown = {source.file for source in self.plan.files}
        shown.update(each.source.file for each in self.plan.components if view.sees(each.tag))
        files = await self._runner.system.blocking(drifted, self._signatures)
        return tuple(file for file in files if file in shown)

    def _as_seen(self, reloaded: Reloaded, plan: Plan, view: View) -> Reloaded:
        """Return *reloaded* without what *view* does not show, be it there now or in *plan*."""
        unseen = {each.tag for each in plan.components if not view.would_see(each)} | view.hidden
        if not unseen:
            return reloaded
        changes = tuple(
            structs.replace(
                change, dependents=tuple(tag for tag in change.dependents if tag not in unseen)
            )
            for change in reloaded.changes
            if change.tag not in unseen
        )
        return structs.replace(reloaded, changes=changes)

    def _compare(self, plan: Plan) -> Reloaded:
        world = self._runner.engine.world
        old = [
            world.specs[key]
            for key in world.ordered()
            if key not in world.links and not world.states[key].removed
        ]
        changes = difference(old, plan.components, world.is_kept, world.is_put_off)
        after = {each.tag: each for each in plan.components}
        changes = in_the_level(world, changes, after, plan.daemon.runlevel)
        notes = [str(warning) for warning in plan.warnings]
        if settings := _changed_settings(self.plan, plan):
            notes.append(
                f"{', '.join(settings)}: these take effect when piesd itself is executed anew"
            )
        if at_once := _differing(self.plan.control, plan.control, _AT_ONCE):
            notes.append(f"{', '.join(map(_control_key, at_once))}: for the next request")
        return Reloaded(changes=changes, applied=False, notes=tuple(notes))

    # --- the reload

    async def reload(
        self,
        caller: Caller,
        view: View,
        *,
        max_restarts: int | None = None,
        dry_run: bool = False,
    ) -> Reloaded:
        """Read the files, check them, and go over to what they say; or change nothing.

        Whoever asked may go away: what was begun is carried through.

        Raises:
            ConfigRejected, TooManyRestarts, ShuttingDown
        """
        if dry_run:
            plan, _ = await self._read()
            reloaded = self._compare(plan)
            _check_restarts(reloaded.changes, max_restarts)
            return self._as_seen(reloaded, plan, view)
        # Shielded, because a dropped connection must not cut a reload in two. It ends: reading
        # files is awaited to its end anyway, and those before us in the queue do the same.
        with trio.CancelScope(shield=True):
            async with self._turn:
                reloaded = await self._announced(caller, max_restarts)
        return self._as_seen(reloaded, self.plan, view)

    async def _announced(self, caller: Caller, max_restarts: int | None) -> Reloaded:
        self._hooks.reloading()
        try:
            return await self._reload(caller, max_restarts)
        except SupervisorError as error:
            self._feed.say("reload-rejected", "error", str(error))
            raise
        finally:
            self._hooks.ready(self._status())

    async def _reload(self, caller: Caller, max_restarts: int | None) -> Reloaded:
        plan, signatures = await self._read()
        go_over = [await prepare(plan.control) for prepare in self.prepare]
        await self._runner.handled()
        if self._runner.engine.stage in GOING_DOWN:
            raise ShuttingDown("cannot reload: piesd is shutting down")
        reloaded = self._compare(plan)
        _check_restarts(reloaded.changes, max_restarts)
        # From the comparison to here nothing was awaited: what is applied is what was compared.
        apply = Apply(
            plan.components,
            plan.daemon.shutdown_timeout,
            caller.name,
            self._runner.system.wall(),
            plan.daemon.runlevel,
            plan.daemon.max_starting,
        )
        self._runner.post(apply)
        self.plan, self._signatures = plan, signatures
        for step in go_over:
            step()
        await self._runner.handled()
        reloaded = structs.replace(reloaded, applied=True)
        text = f"the configuration was reloaded by {caller.name}: {reloaded.message}"
        self._feed.say("reloaded", "info", text)
        return reloaded

    async def _read(self) -> tuple[Plan, Signatures]:
        return await self._runner.system.blocking(self._read_blocking, self.files)

    def _read_blocking(self, files: tuple[SourceFile, ...]) -> tuple[Plan, Signatures]:
        # What the files look like is taken first: one that is written while it is being read then
        # counts as changed.
        before = sign(source.file for source in files)
        plan = self._load(files)
        rest = sign(file for file in plan_files(plan) if file not in before)
        return plan, {**rest, **before}

    def _status(self) -> str:
        return f"{len(self.plan.components)} components"


def restarts(changes: Iterable[Change]) -> frozenset[str]:
    """Return the tags that *changes* bring down and up again, dependents included."""
    changes = tuple(changes)
    down = {change.tag for change in changes if change.action == "stop"}
    again = {change.tag for change in changes if change.action == "restart"}
    for change in changes:
        if change.action == "restart":
            again.update(change.dependents)
    return frozenset(again - down)


def _check_restarts(changes: Iterable[Change], most: int | None) -> None:
    if most is not None and (count := len(restarts(changes))) > most:
        raise TooManyRestarts(count, most)


def _changed_settings(old: Plan, new: Plan) -> list[str]:
    """Return the keys of piesd itself that differ, as `[daemon] log-level`."""
    return [
        f"[{table}] {_KEY_NAMES.get(name, name.replace('_', '-'))}"
        for table, before, after in (
            ("daemon", old.daemon, new.daemon),
            ("control", old.control, new.control),
        )
        for name in _differing(before, after)
        if name not in _LIVE_SETTINGS and not (table == "control" and name in _AT_ONCE)
    ]


def _control_key(name: str) -> str:
    key = "identity-provider" if name == "providers" else name.replace("_", "-")
    return f"[control] {key}"


def _differing(before: Any, after: Any, among: Collection[str] | None = None) -> list[str]:
    return [
        name
        for name in before.__struct_fields__
        if (among is None or name in among) and getattr(before, name) != getattr(after, name)
    ]
