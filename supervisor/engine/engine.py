"""All components together: requests, facts, time, and the rules between neighbours."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from copy import copy
from typing import assert_never

from msgspec.structs import replace

from supervisor.engine.actions import Actions, own_end
from supervisor.engine.admission import refusal
from supervisor.engine.core import Core
from supervisor.engine.gates import blocked_by
from supervisor.engine.memory import General, Memory, general, memo, recall
from supervisor.engine.places import Places
from supervisor.engine.plan import difference
from supervisor.engine.runlevels import Levels
from supervisor.engine.shutdown import Ending
from supervisor.engine.slots import needs_slot
from supervisor.engine.world import Command, Connection, World, excludes_others
from supervisor.model.component import Component, Key, Mode, Tag
from supervisor.model.effects import (
    CloseConnection,
    Effect,
    Retune,
)
from supervisor.model.events import (
    Accepted,
    Action,
    Alarm,
    Apply,
    Boot,
    ComponentEvent,
    DeadlineReached,
    EngineEvent,
    Excused,
    Exited,
    Happened,
    Hung,
    Hurry,
    ListenFailed,
    Lower,
    MailTried,
    NotReady,
    Order,
    Release,
    Remove,
    Reset,
    Restart,
    RunCommand,
    SendSignal,
    SetRunlevel,
    SetVariable,
    Shutdown,
    SpawnFailed,
    Start,
    Stop,
    Taken,
    Tested,
    TimePassed,
    TreeChanged,
    Unhealthy,
)
from supervisor.model.state import Phase, Stage, State

_REQUESTS: dict[Action, type[Start | Stop | Restart]] = {
    "start": Start,
    "stop": Stop,
    "restart": Restart,
}
_ENDS: frozenset[type[ComponentEvent]] = frozenset({Exited, SpawnFailed, TreeChanged})
_FAILURES = _ENDS | {ListenFailed, NotReady, Unhealthy, Hung}


class Engine:
    """What is decided about all components. One event in, effects out; never waits.

    `revision` grows with every event that changed something; `changed` then holds the keys that
    the latest event changed (or whose reason for waiting it changed).
    """

    def __init__(
        self,
        *,
        shutdown_timeout: float = 5.0,
        command_environment: Mapping[str, str] | None = None,
        init: bool = False,
        runlevel: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Begin with nothing configured.

        Args:
            shutdown_timeout: seconds for each of the two stages of the shutdown.
            command_environment: variables for the commands of exit actions.
            init: whether piesd is an init process.
            runlevel: the first runlevel, where it is not the configured one.
            environment: variables for everything that an init process starts.
        """
        self.revision = 0
        self.changed: frozenset[Key] = frozenset()
        self._crowded = False
        """Whether it has been told that the system has no room for processes."""
        self._core = Core()
        self._ending = Ending(self._core, shutdown_timeout)
        self._actions = Actions(self._core, self._ending, command_environment or {})
        self._places = Places(self._core)
        self._levels = Levels(
            self._core, init=init, runlevel=runlevel, environment=environment or {}
        )

    def copy(self) -> Engine:
        """Return an engine that goes on from the same states and shares nothing that changes."""
        double = copy(self)
        core = self._core.copy()
        ending = self._ending.copy(core)
        double._core, double._ending = core, ending  # noqa: SLF001 - It is one of us.
        double._actions = self._actions.copy(core, ending)  # noqa: SLF001 - It is one of us.
        double._levels = self._levels.copy(core)  # noqa: SLF001 - It is one of us.
        double._places = self._places.copy(core)  # noqa: SLF001 - It is one of us.
        return double

    # --- questions

    @property
    def world(self) -> World:
        """All entities, to be looked at."""
        return self._core.world

    @property
    def stage(self) -> Stage:
        """Where piesd as a whole is in its life."""
        return self.world.stage

    @property
    def shutdown_timeout(self) -> float:
        """The seconds for each of the two stages of the shutdown."""
        return self._ending.timeout

    def next_deadline(self) -> float | None:
        """Return the monotonic time at which `TimePassed` is due, or None."""
        times = [self.world.deadline(), self._ending.due]
        return min((time for time in times if time is not None), default=None)

    # --- going on where another has stopped

    def memory(self) -> Memory:
        """Return what another engine needs to go on from here."""
        world = self.world
        return Memory(general=self.general(), memos=tuple(memo(world, key) for key in world.states))

    def general(self) -> General:
        """Return what of that does not belong to an entity."""
        return general(self.world, self._levels.first)

    def recall(self, memory: Memory, now: float) -> None:
        """Go on from *memory* at *now*, before any event. Whoever calls reports what is new since.

        No rule is applied before the first event, so that all of what has changed can be told.
        """
        self._core.begin(now)
        recall(self.world, memory)
        self._levels.recall(memory.general.first)

    def begin_anew(self) -> None:
        """Be as at the very beginning, after everything that was recalled has gone.

        Raises:
            ValueError: it has not.
        """
        if self.world.states:
            raise ValueError(f"{len(self.world.states)} are still there")
        world = self.world
        world.stage, world.runlevel, world.boot_state = Stage.NEW, "", ""

    # --- events

    def handle(self, event: EngineEvent, now: float) -> list[Effect]:
        """Apply *event* and every rule that follows from it; return what must be done.

        A component event that is illegal (a bug of ours) becomes a `Note` of level error and
        changes nothing. *now* is monotonic seconds.
        """
        core = self._core
        core.begin(now)
        match event:
            case Happened(key, happened):
                if key in self.world.states:
                    self._happened(key, happened)
            case Accepted():
                self._accept(event)
            case Order():
                self._order(event)
            case Boot():
                self._boot()
            case Apply():
                self._apply(event)
            case SetRunlevel():
                self._levels.asked(event)
            case Alarm():
                self._levels.alarm(event)
            case SetVariable():
                self._levels.set_variable(event)
            case RunCommand():
                self._actions.run_command(event)
            case MailTried():
                self.world.untried_mails -= 1
            case Shutdown(by, code):
                self._ending.begin(by, code)
            case Hurry():
                self._ending.hurry()
            case TimePassed():
                core.tell_deadlines()
                self._ending.look_at_the_time()
            case _:
                assert_never(event)
        self._settle()
        self._places.settle(event)
        self._tell_room()
        self.changed = frozenset(self.world.changed)
        self.revision += bool(self.changed)
        return core.effects

    def _tell_room(self) -> None:
        """Tell once, and not for each, that there is no room for processes, or that there is."""
        crowded = bool(self.world.crowded)
        if crowded is self._crowded:
            return
        self._crowded = crowded
        if not crowded:
            self._core.note(None, "room-again", "info", "the system has room for processes again")
            return
        key, message = next(iter(self.world.crowded.items()))
        text = f"the system has no room for another process: cannot start {key!r}: {message}"
        self._core.note(None, "no-room", "error", f"{text}; what waits for that is tried again")

    def _happened(self, key: Key, event: ComponentEvent) -> None:
        """Take a fact, and do what the end of a component sets off."""
        if type(event) is Tested and event.generation == self.world.states[key].generation:
            self._look_again(key)
        end = own_end(self.world, key, event)
        if end is not None:
            self._actions.prepare(key, end)
        fails = type(event) in _FAILURES
        was_available = fails and self.world.is_component(key) and self.world.available(key)
        self._core.tell(key, event)
        if fails:
            self._excuse(key, was_available=was_available)
        if type(event) in _ENDS:
            self._ending.judge(key)
        if end is not None:
            self._actions.carry_out(end)

    def _excuse(self, key: Key, *, was_available: bool) -> None:
        """Count no failure of what fails together with its prerequisite, whoever is noticed first.

        Args:
            was_available: whether *key* was what others need before it failed.
        """
        world = self.world
        if world.unmet.get(key) and world.states[key].excuse is not None:
            self._core.tell(key, Excused())
        if not was_available or world.up(key):
            return
        for tag in world.graph.all_dependents(key):
            if tag in world.states and world.states[tag].excuse is not None:
                self._core.tell(tag, Excused())

    def _look_again(self, key: Key) -> None:
        """Give up a start that a reload has overtaken while its condition was asked.

        There is no child yet, so it may begin anew, when it may, without anybody being harmed.
        """
        world = self.world
        state = world.states[key]
        if state.phase is Phase.STARTING and (
            world.should_be_down(key) or world.live_dependents.get(key, 0)
        ):
            world.put(key, replace(state, renew=True))

    # --- requests

    def _boot(self) -> None:
        world = self.world
        world.enter(Stage.STARTUP)
        self._levels.begin()
        for tag in list(world.states):
            if world.is_component(tag) and self._levels.by_itself(world.specs[tag]):
                self._core.want(tag)

    def _order(self, order: Order) -> None:
        self._levels.ordered(order)
        named = {key for key in order.keys if key in self.world.states}
        if order.action == "restart":
            # A listener and those whom it serves have one tag; to restart it is not about them.
            named = {key for key in named if self._owner(key) not in named}
        for key in sorted(named, key=self.world.position):
            if key in self.world.states:
                self._obey(order, key)

    def _owner(self, key: Key) -> Tag | None:
        """Return whose connection *key* is, if it is one."""
        link = self.world.links.get(key)
        return link.owner if isinstance(link, Connection) else None

    def _obey(self, order: Order, key: Key) -> None:
        tell = self._core.tell
        if order.action == "signal":
            if self.world.states[key].pid is not None:
                tell(key, SendSignal(order.signum))
            return
        if order.action == "reset":
            tell(key, Reset())
            return
        match self.world.links.get(key):
            case Connection():
                # It cannot be started anew: its client is gone with it.
                if order.action != "start":
                    tell(key, Stop(order.by, order.at))
            case Command():
                # What it was run for has happened; that does not happen again by an order.
                if order.action == "stop":
                    tell(key, Stop(order.by, order.at))
            case None:
                if order.action != "stop":
                    self._start_prerequisites(key, order)
                tell(key, _REQUESTS[order.action](order.by, order.at))

    def _start_prerequisites(self, tag: Tag, order: Order) -> None:
        for needed in self.world.graph.all_prerequisites(tag):
            state = self.world.states.get(needed)
            if state is None:
                continue
            if state.wanted and not state.put_off:
                continue
            if state.phase is Phase.FINISHED and self.world.up(needed):
                continue
            self._core.tell(needed, Start(f"{order.by} (needed by {tag})".strip(), order.at))

    def _apply(self, apply: Apply) -> None:
        """Go over to new components: one transition, whatever changed together."""
        world = self.world
        self._ending.timeout = apply.shutdown_timeout
        world.slots.most = apply.max_starting
        first = world.stage is Stage.NEW
        old = [world.specs[key] for key in world.ordered() if world.is_component(key)]
        changes = difference(
            [spec for spec in old if not world.states[spec.tag].removed],
            apply.components,
            world.is_kept,
            world.is_put_off,
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
                world.states[tag] = State(since=self._core.now)
                world.changed.add(tag)
            else:
                if before.removed:
                    world.states[tag] = replace(before, removed=False)
                if world.specs[tag] != spec:
                    world.specs[tag] = spec
                    world.changed.add(tag)
                    self._core.effects.append(Retune(tag, spec))
                    if change.action == "live" and _pauses_no_longer(before, spec):
                        wanted.append((tag, DeadlineReached()))
            if change.action == "start" and not first:
                wanted.append((tag, Start(by, apply.at)))
            elif change.action == "restart":
                wanted.append((tag, Restart(by, apply.at)))
            elif change.action == "stop":
                wanted.append((tag, Stop(by, apply.at)))
        self._find_heirs(apply.components)
        ordered = [tag for tag in specs if tag in world.states]
        rest = [key for key in world.states if key not in specs]
        world.specs = {key: world.specs[key] for key in (*ordered, *rest)}
        world.rebuild()
        for tag, event in wanted:
            if isinstance(event, Remove) or tag in world.states:
                self._change(tag, event)
        if any(isinstance(event, Remove) for _, event in wanted):
            world.rebuild()  # Once for all of them: it looks at everything.
        self._levels.configure(apply.runlevel)

    def _find_heirs(self, components: Sequence[Component]) -> None:
        """Find out who takes over from listeners that are not configured any more."""
        world = self.world
        heirs = {
            address: spec.tag
            for spec in components
            if spec.listens and not spec.owned
            for address in spec.sockets
            if excludes_others(address)
        }
        configured = {spec.tag for spec in components}
        world.heirs = {
            tag: heirs[address]
            for tag, spec in world.specs.items()
            if tag not in configured and spec.listens and not spec.owned
            for address in spec.sockets
            if address in heirs
        }

    def _change(self, tag: Tag, event: ComponentEvent) -> None:
        """Tell *tag* what a reload means for it, leaving no wish where nobody wished."""
        wish = self.world.states[tag].wish
        self._core.tell(tag, event)
        state = self.world.states.get(tag)
        if state is not None and not isinstance(event, Remove) and state.wish != wish:
            self.world.put(tag, replace(state, wish=wish if isinstance(event, Start) else None))

    def _accept(self, accepted: Accepted) -> None:
        """Serve a connection by a child of its own, or refuse it."""
        world = self.world
        tag = world.heirs.get(accepted.tag, accepted.tag)
        state, spec = world.states.get(tag), world.specs.get(tag)
        if spec is None or state is None or not _takes_clients(spec, state):
            self._core.effects.append(CloseConnection(accepted.connection))
            return
        refused = None if spec.owned else refusal(world, tag, accepted.subject)
        if refused is not None:
            self._core.effects.append(CloseConnection(accepted.connection, refused.message))
            text = f"refused a connection from {accepted.peer}: {refused.reason}"
            self._core.note(tag, "refused", "warning", text)
            world.put(tag, replace(state, refused_clients=state.refused_clients + 1))
            return
        key = f"{tag}#{accepted.connection}"
        link = Connection(tag, accepted.connection, accepted.peer, accepted.subject.address)
        state = State(wanted=True, phase=Phase.WAITING, since=self._core.now)
        world.add(key, world.server(tag), state, link)

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
        heap: list[tuple[tuple[int, int, int], Key]] = []
        while True:
            if not heap and len(world.dirty) == 1:
                # The usual case: nothing is to be put in order.
                key = world.dirty.pop()
                if key in world.states:
                    self._rules(key)
                continue
            if world.dirty:
                for key in world.dirty:
                    if key in world.states:
                        heapq.heappush(heap, (world.position(key), key))
                world.dirty.clear()
            if not heap:
                if not self._admit():
                    return
                continue
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
            if isinstance(world.links.get(key), Connection) and world.should_be_down(key):
                self._core.forget(key)
                return
            block = blocked_by(world, key)
            if world.slots.most and key not in world.links and needs_slot(world.specs[key]):
                if block is None or block.type == "max-starting":
                    world.slots.wait(key, state.since, world.position(key))
            elif block is None:
                self._release(key)
            return
        if state.phase not in (Phase.STARTING, Phase.RUNNING, Phase.LISTENING):
            return
        if not world.should_be_down(key):
            return
        if world.live_dependents.get(key, 0) and not self._ending.hurried:
            return
        patience = self._ending.patience(key)
        if self.stage is Stage.NORMAL and (asked := self._levels.patience(key)) is not None:
            patience = asked
        self._core.tell(key, Lower(patience))

    def _admit(self) -> bool:
        """Start the next of those that wait only for their turn; whether there was one."""
        world = self.world
        key = world.slots.next()
        if key is None:
            return False
        state = world.states.get(key)
        if state is not None and state.phase is Phase.WAITING and blocked_by(world, key) is None:
            self._release(key)
        return True

    def _release(self, key: Key) -> None:
        self._core.tell(key, Release())
        link = self.world.links.get(key)
        owner = self.world.specs.get(link.owner) if isinstance(link, Connection) else None
        if owner is not None and owner.max_rate:
            self._core.tell(owner.tag, Taken())

    def _advance(self) -> bool:
        """Enter the next stage if this one is over; return whether that is so."""
        if self.stage is Stage.STARTUP and not self._starting_up():
            self.world.enter(Stage.NORMAL)
            self._check_required()
            return True
        return self._levels.advance() or self._ending.advance()

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
                self._ending.begin(f"{key!r}, which is required, could not run{why}", 1)
                return


def _takes_clients(spec: Component, state: State) -> bool:
    """Return whether a client who has come is served, now or soon.

    The listener may be on its way to be opened anew while we hear of one who came before.
    """
    if spec.owned:
        return state.phase is Phase.LISTENING
    return spec.listens and state.wanted and not state.removed


def _pauses_no_longer(state: State, spec: Component) -> bool:
    """Return whether a listener that pauses has not had too many clients for this new *spec*."""
    return state.paused and not 0 < spec.max_rate <= state.taken


def is_settled(state: State | None, action: Action, generation: int) -> bool:
    """Return whether an order given at *generation* has come to its end for this component.

    A start has settled when it is up and ready, or done, or refused by its start condition; a stop
    when it is down; a restart when that is so of a later child.
    """
    if state is None:
        return True
    if action == "stop":
        return not state.live
    if action in ("signal", "reset"):
        return True
    over = state.phase is Phase.FINISHED or bool(state.refused)
    if state.renew or not (over or state.ready):
        return False
    return action != "restart" or state.generation > generation
