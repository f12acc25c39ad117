"""Why something is not running: predicates that both decide and explain.

`blocked_by` asks them in order; the first to answer is the reason. A component is released
exactly when it waits and none answers, so the explanation is never a guess.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

from supervisor.engine.levelgates import (
    boot_first,
    level_change,
    only_when_called,
    outside_runlevel,
    wait_first,
)
from supervisor.engine.machine import CHECKS, IDLE
from supervisor.engine.modes import ONE_RUN
from supervisor.engine.slots import needs_slot
from supervisor.engine.world import (
    GOING_DOWN,
    Command,
    Connection,
    World,
    has_instance_limit,
)
from supervisor.model.component import Check, Key, Mode, Tag
from supervisor.model.plaintext import told_url
from supervisor.model.state import UNOBSERVED, Block, Exit, Phase, Stage

SHOWN = 5
"""Tags that a message names."""

Gate = Callable[[World, Key], Block | None]


def blocked_by(world: World, key: Key) -> Block | None:
    """Return what keeps *key* from running, or None if nothing does."""
    for gate in GATES:
        block = gate(world, key)
        if block is not None:
            return block
    return None


def not_ready(world: World, key: Key) -> Block | None:
    """It runs, and has not said yet that it does its work."""
    state, check = world.states[key], world.specs[key].ready
    if state.phase is not Phase.RUNNING or state.ready:
        return None
    return Block(
        type="ready",
        message=f"it runs but is not ready yet: awaits {_awaited(check)}",
        until=state.born + check.timeout if check else None,
    )


def _awaited(check: Check | None) -> str:
    """Return what a component has to do to be taken as ready."""
    match check:
        case None:
            return "nothing"
        case Check(kind="notify"):
            return "READY=1 on NOTIFY_SOCKET"
        case Check(kind="fd"):
            return f"a newline on descriptor {check.fd}"
        case Check(kind="tcp"):
            return f"a connection to {check.target}"
        case Check(kind="http"):
            return f"a good answer from {told_url(check.target)}"
        case Check(kind="pass-fd"):
            return f"the program to take its listening socket by {check.target}"
        case Check():
            return f"code 0 of the command {shlex.join(check.argv)}"


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
    return Block(type="finished", message=f"it has finished: it {_how(state.last_exit)}")


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
    if state.wish is not None and state.wish.action == "disable":
        return Block(type="disabled", message=f"it was disabled by the {state.wish.by}")
    if state.wish is not None and state.wish.action == "stop":
        who = f" by {state.wish.by}" if state.wish.by else ""
        return Block(type="stopped", message=f"it was stopped{who}")
    return Block(type="stopped", message="it was not started")


def shutting_down(world: World, key: Key) -> Block | None:
    """Piesd is on its way down."""
    if world.stage not in GOING_DOWN:
        return None
    if world.may_run_now(key):
        return None
    return Block(type="shutdown", message="piesd is shutting down")


def start_condition(world: World, key: Key) -> Block | None:
    """Its start condition said no."""
    state = world.states[key]
    if state.phase is not Phase.STOPPED or not state.refused:
        return None
    return Block(
        type="start-condition",
        message=f"its start was refused: {state.refused}",
    )


def asleep(world: World, key: Key) -> Block | None:
    """It failed, and waits before the next try."""
    state, policy = world.states[key], world.specs[key].respawn
    if state.phase is not Phase.SLEEPING:
        return None
    how = f"; it last {_how(state.last_exit)}" if state.last_exit else ""
    if state.throttled:
        reason = f"{policy.max} starts within {policy.window:g} s were too many{how}"
        return Block(type="sleeping", message=f"it sleeps: {reason}", until=state.deadline)
    return Block(type="delay", message=f"it waits before the next try{how}", until=state.deadline)


def no_room(world: World, key: Key) -> Block | None:
    """The system has no room for another process."""
    state = world.states[key]
    if state.phase is not Phase.WAITING or state.room is None or state.deadline is None:
        return None
    message = f"the system has no room for another process: {state.room.message}"
    return Block(type="no-room", message=message, until=state.deadline)


def _how(last: Exit | None) -> str:
    """Return how something ended, to stand behind "it"."""
    if last is None:
        return "ended"
    if last.stage in (*CHECKS, IDLE):
        return f"was brought down: {last.message}"
    if last.signal is not None:
        return f"was {last.message}"
    if last.stage not in (None, UNOBSERVED):
        return f"failed to start: {last.message}"
    return last.message


def startup_first(world: World, key: Key) -> Block | None:
    """Startup components come before everything else."""
    if world.stage not in (Stage.NEW, Stage.STARTUP):
        return None
    if world.specs[key].mode is Mode.STARTUP and world.stage is Stage.STARTUP:
        return None
    if isinstance(world.links.get(key), Command):
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
    awaited = _readiness(world, tags[0]) if len(tags) == 1 else None
    if awaited is not None:
        message = f"waits for {tags[0]}, which {awaited.message.removeprefix('it ')}"
        return Block(type="prerequisite", message=message, until=awaited.until, tags=tags)
    reasons = "; ".join(_why_they_are_not_up(world, tags[:3]))
    more = f" and {len(tags) - 3} more" if len(tags) > 3 else ""
    noun = "prerequisite" if len(tags) == 1 else "prerequisites:"
    until = world.states[tags[0]].deadline if len(tags) == 1 and tags[0] in world.states else None
    return Block(
        type="prerequisite",
        message=f"{noun} {reasons}{more}",
        until=until,
        tags=tags,
    )


def _readiness(world: World, tag: Tag) -> Block | None:
    """Return what *tag* lacks, if readiness is all that it lacks to be up."""
    if tag not in world.states or world.specs[tag].mode in ONE_RUN or world.should_be_down(tag):
        return None
    return not_ready(world, tag)


def _why_they_are_not_up(world: World, tags: tuple[Tag, ...]) -> list[str]:
    """Return one clause for each, and one for all that are in the same plain state."""
    alike: dict[tuple[str, Tag], list[Tag]] = {}
    for tag in tags:
        state, clause = _why_not_up(world, tag)
        alike.setdefault((state or clause, "" if state else tag), []).append(tag)
    return [
        f"{tag} {why}" if tag else f"{', '.join(group)} {_be(group)} {why}"
        for (why, tag), group in alike.items()
    ]


def _be(group: list[Tag]) -> str:
    return "is" if len(group) == 1 else "are"


def _why_not_up(world: World, tag: Tag) -> tuple[str, str]:
    """Return a plain state, which can be that of several, or else what is to be said of *tag*."""
    state = world.states.get(tag)
    if state is None:
        return "", "is not configured"
    if state.phase is Phase.FINISHED:
        return "", f"has failed: it {_how(state.last_exit)}"
    if state.phase is Phase.STARTING:
        return "starting", ""
    if world.should_be_down(tag) and state.live:
        return "going down", ""
    if (block := outside_runlevel(world, tag)) is not None:
        return "", block.message.removeprefix("it ")
    if (awaited := _readiness(world, tag)) is not None:
        return "", awaited.message.removeprefix("it ")
    if state.phase is Phase.RUNNING:
        return "", "has not ended yet"
    if state.phase is Phase.STOPPED:
        block = disabled(world, tag) or stopped(world, tag) or start_condition(world, tag)
        return ("", f"is stopped ({block.message})") if block else ("stopped", "")
    return str(state.phase), ""


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


def no_free_slot(world: World, key: Key) -> Block | None:
    """As many instances of its template are live as may be at once."""
    spec = world.specs[key]
    if not has_instance_limit(spec) or spec.template is None or spec.max_instances is None:
        return None
    if world.states[key].live or world.live_instances.get(spec.template, 0) < spec.max_instances:
        return None
    tags = tuple(
        tag
        for tag in world.siblings.get(spec.template, ())
        if tag in world.states and world.states[tag].live
    )
    return Block(
        type="max-instances",
        message=f"at most {spec.max_instances} of {spec.template} may be live: {_list(tags)}",
        tags=tags,
    )


def too_many_starting(world: World, key: Key) -> Block | None:
    """As many components are on their way up as may be at once."""
    slots, waits = world.slots, world.states[key].phase is Phase.WAITING
    if not (waits and slots.full) or key in world.links or not needs_slot(world.specs[key]):
        return None
    tags = tuple(slots.taken)
    message = f"at most {slots.most} may be starting at once: {_list(tags)}"
    return Block(type="max-starting", message=message, tags=tags[:SHOWN])


def server_live(world: World, key: Key) -> Block | None:
    """The server that has its listener is not gone yet."""
    servers = tuple(world.connections.get(key, ()))
    if not servers or world.states[key].live or not world.specs[key].owned:
        return None
    return Block(type="server", message=f"its server ends first: {_list(servers)}", tags=servers)


def address_taken(world: World, key: Key) -> Block | None:
    """Another component has its address still."""
    for address in world.specs[key].sockets:
        other = world.occupied.get(address.url)
        if other is not None and other != key and not world.states[key].live:
            message = f"{other} has {address.url} still"
            return Block(type="address", message=message, tags=(other,))
    return None


def over_rate(world: World, key: Key) -> Block | None:
    """There were too many connections in this minute."""
    link = world.links.get(key)
    owner = link.owner if isinstance(link, Connection) else key
    state, spec = world.states.get(owner), world.specs.get(owner)
    served = link is not None and world.states[key].phase is not Phase.WAITING
    if state is None or spec is None or not state.paused or served:
        return None
    message = f"{spec.max_rate} connections within a minute are enough"
    return Block(type="max-rate", message=f"it pauses: {message}", until=state.deadline)


def _list(tags: tuple[Tag, ...]) -> str:
    shown = ", ".join(tags[:SHOWN])
    return f"{shown} and {len(tags) - SHOWN} more" if len(tags) > SHOWN else shown


GATES: tuple[Gate, ...] = (
    not_ready,
    removed,
    stopping,
    disabled,
    finished,
    only_at_times,
    only_when_called,
    stopped,
    shutting_down,
    start_condition,
    asleep,
    no_room,
    startup_first,
    boot_first,
    outside_runlevel,
    level_change,
    wait_first,
    prerequisite_down,
    dependents_live,
    no_free_slot,
    server_live,
    address_taken,
    over_rate,
    too_many_starting,
)
"""In the order in which they are asked: the most telling reason first."""
