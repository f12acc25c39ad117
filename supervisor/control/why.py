"""Why a component is as it is: its gates, each with its answer, and one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from msgspec import UNSET, Struct, UnsetType

from supervisor.engine.describe import describe, view_block
from supervisor.engine.gates import GATES, Gate
from supervisor.model.state import Phase
from supervisor.runtime.errands import named

if TYPE_CHECKING:
    from supervisor.control.access import View
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
    enclosure: str
    """By which means its processes are found, wherever they go."""
    limits_lack: str | UnsetType = UNSET
    """Why the limits of its group are not in force."""
    drift: tuple[str, ...]
    """Configuration files that have changed since they were read."""


def explain(runner: Runner, key: Key, drift: tuple[str, ...], view: View) -> Why:
    """Return why *key* is as it is now, as far as *view* shows it."""
    world = runner.engine.world
    row = view.row(key, describe(world, key, trio.current_time(), runner.system.wall()))
    enclosure = runner.system.enclosure(key)
    return Why(
        tag=row.tag,
        status=row.status,
        summary=_summary(row, world.states[key].phase, world.specs[key].start_condition),
        wanted=row.wanted,
        blocked_by=row.blocked_by,
        gates=tuple(_gate(runner, gate, key, view) for gate in GATES),
        prerequisites=tuple(_neighbour(runner, tag) for tag in row.prerequisites),
        last_exit=row.last_exit,
        failures=row.failures,
        wish=None if row.wish is UNSET else row.wish,
        enclosure=enclosure.means,
        limits_lack=enclosure.lack or UNSET,
        drift=drift,
    )


def _gate(runner: Runner, gate: Gate, key: Key, view: View) -> GateView:
    name = gate.__name__.replace("_", "-")
    block = gate(runner.engine.world, key)
    if block is None:
        return GateView(gate=name, open=True)
    shown = view.block(block, view_block(block, trio.current_time(), runner.system.wall()))
    return GateView(
        gate=name, open=False, type=shown.type, message=shown.message, until=shown.until
    )


def _neighbour(runner: Runner, tag: str) -> NeighbourView:
    world = runner.engine.world
    if tag not in world.states:
        return NeighbourView(tag=tag, status=None, up=False)
    row = describe(world, tag, trio.current_time(), runner.system.wall())
    return NeighbourView(tag=tag, status=row.status, up=world.available(tag))


def _summary(row: Description, phase: Phase, condition: tuple[str, ...]) -> str:
    tag, since = row.tag, f"since {row.started_at}"
    if phase is Phase.RUNNING:
        pid = "" if row.pid is UNSET else f"PID {row.pid}, "
        running = f"{tag} is running ({pid}{since})"
        return f"{running}; {row.blocked_by.message}" if row.blocked_by else running
    if phase is Phase.LISTENING:
        return f"{tag} is listening on {row.url} ({since})"
    if phase is Phase.STARTING and condition:
        return f"{tag} is starting: its start condition {named(condition)} is asked"
    if phase is Phase.STARTING:
        return f"{tag} is starting"
    if row.blocked_by is None:
        return f"{tag} is about to start"
    until = f" (until {row.blocked_by.until})" if row.blocked_by.until else ""
    return f"{tag} is not running: {row.blocked_by.message}{until}"
