"""What people see of an entity, computed from its state: nothing of it is stored."""

from __future__ import annotations

from datetime import UTC, datetime
from errno import errorcode
from functools import lru_cache
from signal import Signals

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from supervisor.engine.gates import GATES, blocked_by, not_ready, over_rate
from supervisor.engine.graph import Graph
from supervisor.engine.world import Command, Connection, World
from supervisor.model.component import Component, Key, Mode, Output
from supervisor.model.description import BlockView, Description, ExitView
from supervisor.model.state import Block, Exit, Phase, State, Status

_STATUS = {
    Phase.STOPPED: Status.STOPPED,
    Phase.WAITING: Status.STOPPED,
    Phase.STARTING: Status.STOPPED,
    Phase.RUNNING: Status.RUNNING,
    Phase.STOPPING: Status.STOPPING,
    Phase.SLEEPING: Status.SLEEPING,
    Phase.FINISHED: Status.FINISHED,
    Phase.LISTENING: Status.LISTENER,
}


def status_of(phase: Phase) -> Status:
    """Return the public word for *phase*. Source: pies.md section 2.2."""
    return _STATUS[phase]


def rfc3339(at: float) -> str:
    """Return Unix time *at* as people and scripts read it, in UTC to the millisecond."""
    seconds, microseconds = divmod(round(at * 1_000_000), 1_000_000)
    return f"{_to_the_second(seconds)}.{microseconds // 1000:03}Z"


@lru_cache(maxsize=8)
def _to_the_second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def describe(world: World, key: Key, now: float, wall: float) -> Description:
    """Return the row of *key*.

    Args:
        now: monotonic seconds, as the engine was told.
        wall: Unix time at the same moment.
    """
    spec, state = world.specs[key], world.states[key]
    link = world.links.get(key)
    tag = link.owner if link else key
    phase = state.phase
    up = phase in (Phase.RUNNING, Phase.LISTENING)
    block = not_ready(world, key) or over_rate(world, key) if up else blocked_by(world, key)
    return Description(
        tag=tag,
        type="command" if isinstance(link, Command) else "component",
        mode=_mode(world, key),
        status=(Status.SLEEPING if state.paused else _STATUS[phase]).value,
        active=state.wanted,
        pid=UNSET if state.pid is None else state.pid,
        url=spec.sockets[0].url if spec.sockets else UNSET,
        service=spec.service or UNSET,
        master=spec.tcpmux_master or UNSET,
        runlevels=UNSET if spec.runlevels is None else spec.runlevels,
        wakeup_time=_seconds_until(state, now),
        argv=spec.argv,
        command=spec.command,
        blocked_by=view_block(block, now, wall) if block else None,
        ready=state.ready,
        uptime=round(now - state.since, 3) if up else None,
        started_at=rfc3339(state.started_at) if up and state.started_at is not None else None,
        restarts=state.restarts,
        failures=state.failures,
        last_exit=_view_exit(state.last_exit) if state.last_exit else None,
        prerequisites=spec.prerequisites,
        dependents=_dependents(world, key),
        labels=spec.labels,
        source=spec.source,
        user=spec.user,
        log=_log(spec),
        generation=state.generation,
        description=spec.description or UNSET,
        template=spec.template or UNSET,
        instance=UNSET if spec.instance is None else spec.instance,
        wanted=state.wanted,
        waits_for=_waits_for(state),
        connections=len(world.connections.get(key, ())) if spec.listens else UNSET,
        refused=state.refused_clients if spec.listens else UNSET,
        sockets=tuple(each.url for each in spec.sockets) if len(spec.sockets) > 1 else UNSET,
        peer=link.peer if isinstance(link, Connection) else UNSET,
        wish=_wish(state),
    )


class Describer:
    """Describes again and again, and works only where something has changed.

    Most rows of most listings are of things that are up and stay so. Such a row depends on its own
    state, specification, neighbours and connections alone; it is kept, and only its uptime is set
    anew. Why something else is not up depends on others, so that is worked out each time.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._rows: dict[Key, tuple[State, Component, Graph, int, Description]] = {}

    def row(self, key: Key, now: float, wall: float) -> Description:
        """Return what `describe` returns."""
        world = self._world
        state, spec = world.states[key], world.specs[key]
        connections = len(world.connections.get(key, ()))
        kept = self._rows.get(key)
        if (
            kept is not None
            and kept[0] is state
            and kept[1] is spec
            and kept[2] is world.graph
            and kept[3] == connections
        ):
            return replace(kept[4], uptime=round(now - state.since, 3))
        row = describe(world, key, now, wall)
        if row.ready and row.blocked_by is None:
            self._rows[key] = (state, spec, world.graph, connections, row)
        else:
            self._rows.pop(key, None)
        return row

    def forget(self, key: Key) -> None:
        """Free what is kept for *key*."""
        self._rows.pop(key, None)


def why(world: World, key: Key, now: float, wall: float) -> list[tuple[str, BlockView | None]]:
    """Return every gate with its answer, in the order in which they are asked."""
    answers = []
    for gate in GATES:
        block = gate(world, key)
        answers.append(
            (gate.__name__.replace("_", "-"), view_block(block, now, wall) if block else None)
        )
    return answers


def summary(world: World) -> str:
    """Return in a few words how things are: `8 of 10 up, 1 not ready, 1 sleeping`."""
    states = [
        state
        for key, state in world.states.items()
        if not isinstance(world.links.get(key), Command)
    ]
    up = sum(state.phase in (Phase.RUNNING, Phase.LISTENING) for state in states)
    ready = sum(state.ready for state in states)
    asleep = sum(state.phase is Phase.SLEEPING for state in states)
    words = f"{ready} of {len(states)} up"
    words += f", {up - ready} not ready" if up > ready else ""
    return words + (f", {asleep} sleeping" if asleep else "")


def view_block(block: Block, now: float, wall: float) -> BlockView:
    """Return *block* with its monotonic time as a date."""
    until = None if block.until is None else rfc3339(wall + block.until - now)
    return BlockView(type=block.type, message=block.message, until=until)


def _mode(world: World, key: Key) -> str:
    """Return the mode; what serves a connection has that of its listener."""
    link = world.links.get(key)
    if not isinstance(link, Connection):
        return world.specs[key].mode.value
    owner = world.specs.get(link.owner)
    return (owner.mode if owner is not None else Mode.INETD).value


def _dependents(world: World, key: Key) -> tuple[str, ...]:
    link = world.links.get(key)
    if isinstance(link, Command):
        return ()
    return tuple(world.graph.dependents.get(link.owner if link else key, ()))


def _view_exit(last: Exit) -> ExitView:
    return ExitView(
        code=UNSET if last.code is None else last.code,
        signal=UNSET if last.signal is None else signal_name(last.signal),
        core=True if last.core else UNSET,
        oom=True if last.oom else UNSET,
        stage=last.stage or UNSET,
        errno=UNSET if last.errno is None else _errno_name(last.errno),
        at=rfc3339(last.at),
        message=last.message,
        lasted=round(last.lasted, 3),
        cpu=round(last.cpu, 3),
        peak=last.peak,
    )


def signal_name(signum: int) -> str:
    """Return `SIGTERM` for 15; numbers without a name as `SIG+N`, as pies writes them."""
    try:
        return Signals(signum).name
    except ValueError:
        return f"SIG+{signum}"


def _errno_name(number: int) -> str:
    return errorcode.get(number, str(number))


def _seconds_until(state: State, now: float) -> int | UnsetType:
    asleep = state.phase is Phase.SLEEPING or state.paused
    if not asleep or state.deadline is None:
        return UNSET
    return max(0, round(state.deadline - now))


def _waits_for(state: State) -> tuple[int, ...] | UnsetType:
    if state.phase is not Phase.STOPPING:
        return UNSET
    return ((state.pid,) if state.pid is not None else ()) + state.lost


def _wish(state: State) -> dict[str, str] | UnsetType:
    if state.wish is None:
        return UNSET
    return {
        "action": state.wish.action,
        "by": state.wish.by,
        "at": rfc3339(state.wish.at),
    }


def _log(spec: Component) -> dict[str, str]:
    return {"stdout": _target(spec.stdout), "stderr": _target(spec.stderr)}


def _target(output: Output) -> str:
    return output.path if output.kind == "file" and output.path else output.kind
