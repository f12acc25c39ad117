"""Why something is not running: predicates that both decide and explain.

`blocked_by` asks them in order; the first to answer is the reason. A component is released
exactly when it waits and none answers, so the explanation is never a guess.
"""

from __future__ import annotations

from collections.abc import Callable

from supervisor.engine.world import World
from supervisor.model.component import Key, Mode, Tag
from supervisor.model.state import Block, Phase, Stage

Gate = Callable[[World, Key], Block | None]


def blocked_by(world: World, key: Key) -> Block | None:
    """Return what keeps *key* from running, or None if nothing does."""
    for gate in GATES:
        block = gate(world, key)
        if block is not None:
            return block
    return None


def removed(world: World, key: Key) -> Block | None:
    """It is no longer configured."""
    if not world.states[key].removed:
        return None
    return Block(type="removed", message="it is no longer configured and is going away")


def stopping(world: World, key: Key) -> Block | None:
    """Its last child is not gone yet."""
    state = world.states[key]
    if state.phase is not Phase.STOPPING:
        return None
    pids = (state.pid,) if state.pid is not None else state.lost
    processes = ", ".join(str(pid) for pid in pids)
    who = f"process {processes}" if len(pids) == 1 else f"processes {processes}"
    following = "SIGKILL was sent" if state.kills else "SIGKILL follows"
    message = (
        f"it is stopping: waiting for {who} to end ({following})" if pids else "it is stopping"
    )
    return Block(type="stopping", message=message, until=state.deadline)


def disabled(world: World, key: Key) -> Block | None:
    """The configuration says that it is not to be started."""
    state = world.states[key]
    if state.wanted or state.wish is not None or world.specs[key].enabled:
        return None
    return Block(type="disabled", message="it is disabled in the configuration")


def finished(world: World, key: Key) -> Block | None:
    """It has run and is done."""
    state = world.states[key]
    if state.phase is not Phase.FINISHED:
        return None
    how = state.last_exit.message if state.last_exit else "has ended"
    return Block(type="finished", message=f"it has finished: it {how}")


def only_at_times(world: World, key: Key) -> Block | None:
    """Its mode says when it runs, and that is not now."""
    state, mode = world.states[key], world.specs[key].mode
    if mode is Mode.SHUTDOWN and world.stage is not Stage.LAST:
        return Block(type="mode", message="it runs when piesd shuts down")
    if mode is Mode.STARTUP and not state.wanted and state.wish is None:
        return Block(type="mode", message="it runs when piesd starts")
    return None


def stopped(world: World, key: Key) -> Block | None:
    """Somebody stopped it."""
    state = world.states[key]
    if state.wanted:
        return None
    if state.wish is not None and state.wish.action == "stop":
        who = f" by {state.wish.by}" if state.wish.by else ""
        return Block(type="stopped", message=f"it was stopped{who}")
    return Block(type="stopped", message="it was not started")


def shutting_down(world: World, key: Key) -> Block | None:
    """Piesd is on its way down."""
    if world.stage not in (Stage.STOPPING, Stage.LAST, Stage.ENDED):
        return None
    if world.stage is Stage.LAST and world.specs[key].mode is Mode.SHUTDOWN:
        return None
    return Block(type="shutdown", message="piesd is shutting down")


def asleep(world: World, key: Key) -> Block | None:
    """It failed, and waits before the next try."""
    state, policy = world.states[key], world.specs[key].respawn
    if state.phase is not Phase.SLEEPING:
        return None
    how = f"; it last {_failure(world, key)}" if state.last_exit else ""
    if state.throttled:
        reason = f"{policy.max} starts within {policy.window:g} s were too many{how}"
        return Block(type="sleeping", message=f"it sleeps: {reason}", until=state.deadline)
    return Block(type="delay", message=f"it waits before the next try{how}", until=state.deadline)


def _failure(world: World, key: Key) -> str:
    last = world.states[key].last_exit
    if last is None:
        return ""
    return f"failed to start: {last.message}" if last.stage else last.message


def startup_first(world: World, key: Key) -> Block | None:
    """Startup components come before everything else."""
    if world.stage not in (Stage.NEW, Stage.STARTUP):
        return None
    if world.specs[key].mode is Mode.STARTUP and world.stage is Stage.STARTUP:
        return None
    if world.stage is Stage.NEW:
        return Block(type="startup", message="piesd has not begun to start components")
    tags = world.starting_up()
    return Block(type="startup", message=f"startup components come first: {_list(tags)}", tags=tags)


def prerequisite_down(world: World, key: Key) -> Block | None:
    """Something it needs is not up."""
    if not world.unmet.get(key, 0):
        return None
    tags = tuple(tag for tag in world.specs[key].prerequisites if not world.available(tag))
    reasons = "; ".join(_why_not_up(world, tag) for tag in tags[:3])
    more = f" and {len(tags) - 3} more" if len(tags) > 3 else ""
    noun = "prerequisite" if len(tags) == 1 else "prerequisites"
    until = world.states[tags[0]].deadline if len(tags) == 1 and tags[0] in world.states else None
    return Block(
        type="prerequisite",
        message=f"{noun} {reasons}{more}",
        until=until,
        tags=tags,
    )


def _why_not_up(world: World, tag: Tag) -> str:
    state = world.states.get(tag)
    if state is None:
        return f"{tag} is not configured"
    if state.phase is Phase.FINISHED:
        return f"{tag} has failed: it {_failure(world, tag)}"
    if state.phase is Phase.STARTING:
        return f"{tag} is starting"
    if state.phase in (Phase.RUNNING, Phase.LISTENING):
        return f"{tag} is going down"
    if not state.wanted and state.phase is Phase.STOPPED:
        block = disabled(world, tag) or stopped(world, tag)
        return f"{tag} is stopped" + (f" ({block.message})" if block else "")
    return f"{tag} is {state.phase}"


def dependents_live(world: World, key: Key) -> Block | None:
    """Those that need it must be down before it starts anew."""
    if not world.live_dependents.get(key, 0):
        return None
    tags = tuple(
        tag
        for tag in world.graph.dependents.get(key, ())
        if tag in world.states
        and (
            world.states[tag].live
            or any(world.states[each].live for each in world.connections.get(tag, ()))
        )
    )
    return Block(type="dependents", message=f"its dependents stop first: {_list(tags)}", tags=tags)


def _list(tags: tuple[Tag, ...]) -> str:
    shown = ", ".join(tags[:5])
    return f"{shown} and {len(tags) - 5} more" if len(tags) > 5 else shown


GATES: tuple[Gate, ...] = (
    removed,
    stopping,
    disabled,
    finished,
    only_at_times,
    stopped,
    shutting_down,
    asleep,
    startup_first,
    prerequisite_down,
    dependents_live,
)
"""In the order in which they are asked: the most telling reason first."""
