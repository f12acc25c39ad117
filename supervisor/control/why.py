"""Why a component is as it is: its gates, each with its answer, and one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from msgspec import UNSET, Struct, UnsetType

from supervisor.engine.describe import describe, why
from supervisor.model.state import Phase

if TYPE_CHECKING:
    from supervisor.model.component import Key
    from supervisor.model.description import BlockView, Description, ExitView
    from supervisor.runtime.runner import Runner


class GateView(Struct, frozen=True, kw_only=True):
    """One gate: `open`, or closed for the reason that `message` gives."""

    gate: str
    open: bool
    type: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    until: str | UnsetType | None = UNSET


class NeighbourView(Struct, frozen=True, kw_only=True):
    """A prerequisite, and how it is; `status` is null if it is not configured."""

    tag: str
    status: str | None
    up: bool


class Why(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Everything that decides whether a component runs."""

    tag: str
    status: str
    summary: str
    wanted: bool
    blocked_by: BlockView | None
    gates: tuple[GateView, ...]
    prerequisites: tuple[NeighbourView, ...]
    last_exit: ExitView | None
    failures: int
    wish: dict[str, str] | None
    drift: tuple[str, ...]
    """Configuration files that have changed since they were read."""


def explain(runner: Runner, key: Key, drift: tuple[str, ...]) -> Why:
    """Return why *key* is as it is now."""
    world = runner.engine.world
    now, wall = trio.current_time(), runner.system.wall()
    row = describe(world, key, now, wall)
    return Why(
        tag=row.tag,
        status=row.status,
        summary=_summary(row, world.states[key].phase),
        wanted=row.wanted,
        blocked_by=row.blocked_by,
        gates=tuple(_gate(name, block) for name, block in why(world, key, now, wall)),
        prerequisites=tuple(_neighbour(runner, tag) for tag in row.prerequisites),
        last_exit=row.last_exit,
        failures=row.failures,
        wish=None if row.wish is UNSET else row.wish,
        drift=drift,
    )


def _gate(name: str, block: BlockView | None) -> GateView:
    if block is None:
        return GateView(gate=name, open=True)
    return GateView(
        gate=name, open=False, type=block.type, message=block.message, until=block.until
    )


def _neighbour(runner: Runner, tag: str) -> NeighbourView:
    world = runner.engine.world
    if tag not in world.states:
        return NeighbourView(tag=tag, status=None, up=False)
    row = describe(world, tag, trio.current_time(), runner.system.wall())
    return NeighbourView(tag=tag, status=row.status, up=world.available(tag))


def _summary(row: Description, phase: Phase) -> str:
    tag, since = row.tag, f"since {row.started_at}"
    if phase is Phase.RUNNING:
        return f"{tag} is running (PID {row.pid}, {since})"
    if phase is Phase.LISTENING:
        return f"{tag} is listening on {row.url} ({since})"
    if phase is Phase.STARTING:
        return f"{tag} is starting"
    if row.blocked_by is None:
        return f"{tag} is about to start"
    until = f" (until {row.blocked_by.until})" if row.blocked_by.until else ""
    return f"{tag} is not running: {row.blocked_by.message}{until}"
