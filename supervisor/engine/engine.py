"""All components together: requests, facts, time, and the rules between neighbours."""

from __future__ import annotations

import heapq
from copy import copy
from typing import assert_never

from msgspec.structs import replace

from supervisor.engine.gates import blocked_by
from supervisor.engine.machine import step
from supervisor.engine.notes import note_for
from supervisor.engine.plan import difference
from supervisor.engine.world import Link, World
from supervisor.model.component import Component, Key, Mode, Tag
from supervisor.model.effects import (
    CloseConnection,
    Effect,
    End,
    Forget,
    Level,
    Listen,
    Note,
    Retune,
    Spawn,
    Unlisten,
)
from supervisor.model.errors import IllegalEvent
from supervisor.model.events import (
    Accepted,
    Action,
    Apply,
    Boot,
    ComponentEvent,
    DeadlineReached,
    EngineEvent,
    Exited,
    Happened,
    Hurry,
    Lower,
    Order,
    Release,
    Remove,
    Reset,
    Restart,
    SendSignal,
    Shutdown,
    SpawnFailed,
    Start,
    Stop,
    TimePassed,
    TreeChanged,
)
from supervisor.model.state import Phase, Stage, State

LAST_GRACE = 1.0
"""Seconds a shutdown component gets between its signal and its SIGKILL, at the very end."""

GIVE_UP = 5.0
"""Seconds after the end of a stage's budget when even what SIGKILL did not end is left behind."""

_REQUESTS: dict[Action, type[Start | Stop | Restart]] = {
    "start": Start,
    "stop": Stop,
    "restart": Restart,
}
_ENDS = (Exited, SpawnFailed, TreeChanged)


class Engine:
    """What is decided about all components. One event in, effects out; never waits.

    `revision` grows with every event that changed something; `changed` then holds the keys that
    the latest event changed (or whose reason for waiting it changed).
    """

    def __init__(self, *, shutdown_timeout: float = 5.0) -> None:
        self.world = World()
        self.revision = 0
        self.changed: frozenset[Key] = frozenset()
        self._shutdown_timeout = shutdown_timeout
        self._stage_ends: float | None = None
        """When the present stage of the shutdown has used up its budget."""
        self._give_up = False
        self._hurried = False
        self._code = 0
        self._effects: list[Effect] = []
        self._now = 0.0

    def copy(self) -> Engine:
        """Return an engine that goes on from the same states and shares nothing that changes."""
        double = copy(self)
        double.world = self.world.copy()
        return double

    # --- questions

    @property
    def stage(self) -> Stage:
        """Where piesd as a whole is in its life."""
        return self.world.stage

    def next_deadline(self) -> float | None:
        """Return the monotonic time at which `TimePassed` is due, or None."""
        times = [self.world.deadline(), self._stage_ends]
        return min((time for time in times if time is not None), default=None)

    # --- events

    def handle(self, event: EngineEvent, now: float) -> list[Effect]:
        """Apply *event* and every rule that follows from it; return what must be done.

        A component event that is illegal (a bug of ours) becomes a `Note` of level error and
        changes nothing. *now* is monotonic seconds.
        """
        self._now, self._effects = now, []
        self.world.changed.clear()
        match event:
            case Happened(key, happened):
                if key in self.world.states:
                    self._tell(key, happened)
            case Order():
                self._order(event)
            case Boot(at):
                self._boot(at)
            case Apply():
                self._apply(event)
            case Accepted():
                self._accept(event)
            case Shutdown(by, code):
                self._shut_down(by, code)
            case Hurry():
                self._hurry()
            case TimePassed():
                self._time_passed()
            case _:
                assert_never(event)
        self._settle()
        self._close_before_opening()
        self.changed = frozenset(self.world.changed)
        self.revision += bool(self.changed)
        return self._effects

    def _close_before_opening(self) -> None:
        """Put listeners that open last: one that closes may free the address that they need."""
        closed = {effect.key for effect in self._effects if isinstance(effect, Unlisten)}
        if closed:
            self._effects.sort(
                key=lambda effect: isinstance(effect, Listen) and effect.key not in closed
            )

    def _tell(self, key: Key, event: ComponentEvent) -> None:
        """Let one component's machine take *event*, and collect what follows."""
        world = self.world
        old, spec = world.states[key], world.specs[key]
        try:
            new, effects = step(key, spec, old, event, self._now)
        except IllegalEvent as bug:
            self._note(key, "bug", "error", str(bug))
            return
        link = world.links.get(key)
        if link is not None:
            effects = tuple(
                replace(effect, connection=link.connection) if isinstance(effect, Spawn) else effect
                for effect in effects
            )
        self._effects.extend(effects)
        world.put(key, new)
        note = note_for(key, spec, old, new, event, self._now)
        if note is not None:
            self._effects.append(note)
        if isinstance(event, _ENDS):
            self._judge(key, spec, new)
        # A connection is served once: what waits after a child has had it will have no other.
        served = link is not None and (new.phase is not Phase.WAITING or new.generation > 0)
        if not new.live and (new.removed or served):
            self._forget(key)

    def _judge(self, key: Key, spec: Component, state: State) -> None:
        """Act where the end of this component is the end of piesd."""
        over = state.phase is Phase.FINISHED or (state.phase is Phase.SLEEPING and state.throttled)
        if not over or self.stage not in (Stage.STARTUP, Stage.NORMAL):
            return
        failed = state.last_exit is None or not state.last_exit.ok
        code = state.last_exit.status_code if state.last_exit else 1
        if spec.essential:
            self._shut_down(f"the end of {key}, which is essential", code)
        elif spec.required and spec.mode is Mode.STARTUP and failed and self.stage is Stage.STARTUP:
            self._shut_down(f"the failure of {key}, which is required", code)

    def _note(self, key: Key | None, kind: str, level: Level, text: str) -> None:
        self._effects.append(Note(key, kind, level, text))

    def _forget(self, key: Key) -> None:
        """Forget what is down for good; a listener only after its last connection."""
        world = self.world
        if world.connections.get(key):
            return
        link = world.links.get(key)
        world.forget(key)
        self._effects.append(Forget(key))
        if link is None:
            return
        listener = world.states.get(link.listener)
        if listener is not None and listener.removed and not listener.live:
            self._forget(link.listener)

    # --- requests

    def _boot(self, at: float) -> None:
        world = self.world
        world.enter(Stage.STARTUP)
        for tag in list(world.states):
            spec = world.specs[tag]
            if spec.enabled and spec.mode is not Mode.SHUTDOWN:
                self._want(tag)

    def _want(self, tag: Tag) -> None:
        """Make *tag* wanted because the configuration says so: that is nobody's wish."""
        state = self.world.states[tag]
        self._tell(tag, Start())
        self.world.put(tag, replace(self.world.states[tag], wish=state.wish))

    def _order(self, order: Order) -> None:
        keys = [key for key in order.keys if key in self.world.states]
        for key in sorted(keys, key=self.world.position):
            if key in self.world.states:
                self._obey(order, key)

    def _obey(self, order: Order, key: Key) -> None:
        if order.action == "signal":
            if self.world.states[key].pid is not None:
                self._tell(key, SendSignal(order.signum))
        elif order.action == "reset":
            self._tell(key, Reset())
        elif key in self.world.links:
            # A connection cannot be started anew: its client is gone with it.
            if order.action != "start":
                self._tell(key, Stop(order.by, order.at))
        else:
            if order.action != "stop":
                self._start_prerequisites(key, order)
            self._tell(key, _REQUESTS[order.action](order.by, order.at))

    def _start_prerequisites(self, tag: Tag, order: Order) -> None:
        for needed in self.world.graph.all_prerequisites(tag):
            state = self.world.states.get(needed)
            if state is None or (state.wanted and state.phase is not Phase.SLEEPING):
                continue
            if state.phase is Phase.FINISHED and self.world.up(needed):
                continue
            self._tell(needed, Start(f"{order.by} (needed by {tag})".strip(), order.at))

    def _apply(self, apply: Apply) -> None:
        """Go over to new components: one transition, whatever changed together."""
        world = self.world
        self._shutdown_timeout = apply.shutdown_timeout
        first = world.stage is Stage.NEW
        old = [world.specs[key] for key in world.ordered() if key not in world.links]
        changes = difference(
            [spec for spec in old if not world.states[spec.tag].removed],
            apply.components,
            lambda tag: tag in world.states and world.states[tag].live,
        )
        wanted: list[tuple[Tag, ComponentEvent]] = []
        specs = {component.tag: component for component in apply.components}
        by = f"a reload{f' by {apply.by}' if apply.by else ''}"
        for change in changes:
            tag = change.tag
            spec = specs.get(tag)
            if spec is None:
                wanted.append((tag, Remove()))
                continue
            before = world.states.get(tag)
            if before is None:
                world.specs[tag] = spec
                world.states[tag] = State(since=self._now)
                world.changed.add(tag)
            else:
                if before.removed:
                    world.states[tag] = replace(before, removed=False)
                if world.specs[tag] != spec:
                    world.specs[tag] = spec
                    world.changed.add(tag)
                    self._effects.append(Retune(tag, spec))
            if change.action == "start" and not first:
                wanted.append((tag, Start(by, apply.at)))
            elif change.action == "restart":
                wanted.append((tag, Restart(by, apply.at)))
            elif change.action == "stop":
                wanted.append((tag, Stop(by, apply.at)))
        ordered = [tag for tag in specs if tag in world.states]
        rest = [key for key in world.states if key not in specs]
        world.specs = {key: world.specs[key] for key in (*ordered, *rest)}
        world.rebuild()
        for tag, event in wanted:
            if isinstance(event, Remove) or tag in world.states:
                self._change(tag, event)

    def _change(self, tag: Tag, event: ComponentEvent) -> None:
        """Tell *tag* what a reload means for it, leaving no wish where nobody wished."""
        wish = self.world.states[tag].wish
        self._tell(tag, event)
        state = self.world.states.get(tag)
        if state is None or isinstance(event, Remove):
            self.world.rebuild()
        elif state.wish != wish:
            self.world.put(tag, replace(state, wish=wish if isinstance(event, Start) else None))

    def _accept(self, accepted: Accepted) -> None:
        """Serve a connection by a child of its own, or refuse it."""
        world, tag = self.world, accepted.tag
        state, spec = world.states.get(tag), world.specs.get(tag)
        if spec is None or state is None or state.phase is not Phase.LISTENING:
            self._effects.append(CloseConnection(accepted.connection))
            return
        busy = len(world.connections.get(tag, ()))
        if spec.max_instances is not None and busy >= spec.max_instances:
            self._effects.append(CloseConnection(accepted.connection))
            text = f"refused a connection from {accepted.peer}: {busy} are served already"
            self._note(tag, "refused", "warning", text)
            return
        key = f"{tag}#{accepted.connection}"
        own = replace(
            spec, mode=Mode.ONCE, socket=None, essential=False, required=False, max_instances=None
        )
        link = Link(tag, accepted.connection, accepted.peer)
        world.add(key, own, State(wanted=True, phase=Phase.WAITING, since=self._now), link)

    # --- shutdown

    def _shut_down(self, by: str, code: int) -> None:
        if self.stage in (Stage.STOPPING, Stage.LAST, Stage.ENDED):
            return
        self._code = code
        self._stage_ends = self._now + self._shutdown_timeout
        self._note(None, "shutdown", "info", f"shutting down{f': {by}' if by else ''}")
        self.world.enter(Stage.STOPPING)
        # What is going down already has no more time than what begins to now.
        for key, state in list(self.world.states.items()):
            if state.phase is Phase.STOPPING and state.deadline is not None:
                latest = self._now + self._patience(key, self.world.specs[key])
                self.world.put(key, replace(state, deadline=min(state.deadline, latest)))

    def _hurry(self) -> None:
        if self.stage not in (Stage.STOPPING, Stage.LAST):
            return
        self._note(None, "hurry", "warning", "killing what is left, as asked")
        self._kill_the_rest()
        if not self._give_up:
            self._stage_over()

    def _kill_the_rest(self) -> None:
        """Wait for nothing any more, and for no dependent to go first."""
        self._hurried = True
        for key, state in list(self.world.states.items()):
            if state.phase is Phase.STOPPING and state.deadline is not None:
                self.world.put(key, replace(state, deadline=self._now))
        self.world.dirty.update(self.world.states)
        self._tell_deadlines()

    def _patience(self, key: Key, spec: Component) -> float:
        """Return how long *key* may take to go down.

        At the shutdown the levels share what is left of one budget: what sits on n levels of
        prerequisites leaves n shares for them.
        """
        if self._stage_ends is None:
            return spec.stop_timeout
        left = max(self._stage_ends - self._now, 0.0)
        link = self.world.links.get(key)
        depth = self.world.graph.depth.get(link.listener if link else key, 0)
        if self.stage is Stage.LAST:
            return min(spec.stop_timeout, LAST_GRACE)
        return min(spec.stop_timeout, left / (depth + 1))

    # --- time

    def _time_passed(self) -> None:
        self._tell_deadlines()
        if self._stage_ends is not None and self._stage_ends <= self._now:
            self._stage_over()

    def _tell_deadlines(self) -> None:
        for key in self.world.due(self._now):
            if key in self.world.states:
                self._tell(key, DeadlineReached())

    def _stage_over(self) -> None:
        """The budget of this stage of the shutdown is used up."""
        if self._give_up:
            self._note(
                None,
                "left-behind",
                "error",
                "processes that SIGKILL does not end are left behind",
            )
            self._finish()
            return
        self._give_up = True
        self._stage_ends = self._now + GIVE_UP
        if self.stage is Stage.LAST:
            for key, state in list(self.world.states.items()):
                if state.live:
                    self._tell(key, Stop("the end of the shutdown"))
        elif not self._hurried:
            self._kill_the_rest()

    def _finish(self) -> None:
        if self.stage is not Stage.ENDED:
            self._stage_ends = None
            self.world.enter(Stage.ENDED)
            self._effects.append(End(self._code))

    # --- rules

    def _settle(self) -> None:
        """Apply the rules to whatever is dirty until none applies any more.

        Candidates are taken in the order of the configuration, so that of several components
        that may start, the one written first starts first.
        """
        while True:
            self._settle_dirty()
            if not self._advance():
                return

    def _settle_dirty(self) -> None:
        world = self.world
        heap: list[tuple[tuple[int, int], Key]] = []
        while True:
            if world.dirty:
                for key in world.dirty:
                    if key in world.states:
                        heapq.heappush(heap, (world.position(key), key))
                world.dirty.clear()
            if not heap:
                return
            _, key = heapq.heappop(heap)
            while heap and heap[0][1] == key:
                heapq.heappop(heap)
            if key in world.states:
                self._rules(key)

    def _rules(self, key: Key) -> None:
        """Apply the rules to one entity."""
        world = self.world
        state = world.states[key]
        if state.phase is Phase.WAITING:
            if key in world.links and world.should_be_down(key):
                self._forget(key)
            elif blocked_by(world, key) is None:
                self._tell(key, Release())
            return
        if state.phase not in (Phase.STARTING, Phase.RUNNING, Phase.LISTENING):
            return
        if not world.should_be_down(key):
            return
        if world.live_dependents.get(key, 0) and not self._hurried:
            return
        patience = 0.0 if self._hurried else self._patience(key, world.specs[key])
        self._tell(key, Lower(patience))

    def _advance(self) -> bool:
        """Enter the next stage if this one is over; return whether that is so."""
        world = self.world
        if self.stage is Stage.STARTUP and not self._starting_up():
            world.enter(Stage.NORMAL)
            self._check_required()
            return True
        if self.stage is Stage.STOPPING and not world.live:
            return self._begin_last()
        if self.stage is Stage.LAST and not world.live and not self._last_waiting():
            self._finish()
            return False
        return False

    def _starting_up(self) -> bool:
        """Return whether a startup component runs, or could run."""
        world = self.world
        return any(
            world.states[tag].live or not world.unmet.get(tag, 0) for tag in world.starting_up()
        )

    def _check_required(self) -> None:
        """A required startup component that could not even run has failed, too."""
        for key, state in self.world.states.items():
            spec = self.world.specs[key]
            if spec.required and spec.mode is Mode.STARTUP and state.phase is Phase.WAITING:
                block = blocked_by(self.world, key)
                why = f" ({block.message})" if block else ""
                self._shut_down(f"{key}, which is required, could not run{why}", 1)
                return

    def _begin_last(self) -> bool:
        """Enter the stage of the shutdown components."""
        world = self.world
        self._give_up = self._hurried = False
        self._stage_ends = self._now + self._shutdown_timeout
        world.enter(Stage.LAST)
        for tag in list(world.states):
            spec = world.specs[tag]
            if spec.mode is Mode.SHUTDOWN and spec.enabled:
                self._want(tag)
        return True

    def _last_waiting(self) -> bool:
        world = self.world
        return any(
            state.phase is Phase.WAITING and blocked_by(world, key) is None
            for key, state in world.states.items()
            if world.specs[key].mode is Mode.SHUTDOWN
        )


def is_settled(state: State | None, action: Action, generation: int) -> bool:
    """Return whether an order given at *generation* has come to its end for this component.

    A start has settled when it is up or done, a stop when it is down, a restart when a later
    child is up.
    """
    if state is None:
        return True
    if action == "stop":
        return not state.live
    if action in ("signal", "reset"):
        return True
    if state.phase not in (Phase.RUNNING, Phase.LISTENING, Phase.FINISHED) or state.renew:
        return False
    return action != "restart" or state.generation > generation
