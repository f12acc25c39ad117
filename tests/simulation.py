"""An operating system in a few dictionaries, to drive the engine through random histories.

It keeps what the real one would keep (which children live, what they ignore), obeys the engine's
effects, and checks after every event the invariants that must always hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from signal import SIGKILL

from supervisor.engine.engine import Engine
from supervisor.model.component import Component, Key
from supervisor.model.effects import (
    CloseConnection,
    Effect,
    End,
    Forget,
    Listen,
    Note,
    Retune,
    Signal,
    Spawn,
    Unlisten,
)
from supervisor.model.events import (
    Accepted,
    Apply,
    Boot,
    EngineEvent,
    Exited,
    Happened,
    ListenerClosed,
    Listening,
    Order,
    Spawned,
    SpawnFailed,
    TimePassed,
    TreeChanged,
)
from supervisor.model.state import Exit, Phase

Child = tuple[Key, int]


class Simulation:
    """An engine, its simulated children, and a clock that only moves when told."""

    def __init__(self, components: Sequence[Component], *, shutdown_timeout: float = 5.0) -> None:
        self.now = 1000.0
        self.engine = Engine(shutdown_timeout=shutdown_timeout)
        self.starting: dict[Child, None] = {}
        self.children: dict[Child, int] = {}
        self.orphans: dict[Child, tuple[int, ...]] = {}
        self.pending: dict[Child, set[int]] = {}
        self.opening: dict[Child, None] = {}
        self.closing: dict[Child, None] = {}
        self.listeners: dict[Key, int] = {}
        self.deaf: set[Key] = set()
        self.ended: int | None = None
        self.log: list[EngineEvent] = []
        self.history: list[str] = []
        self.spawned: list[Key] = []
        self._pid = 100
        self._connection = 0
        self.post(Apply(tuple(components), shutdown_timeout))

    # --- driving

    def post(self, event: EngineEvent) -> None:
        """Let the engine handle *event*, obey what it says, and check what must hold."""
        self.log.append(event)
        for effect in self.engine.handle(event, self.now):
            self._obey(effect)
        self.check()

    def boot(self) -> Simulation:
        self.post(Boot())
        return self

    def settle(self) -> Simulation:
        """Let everything that is under way come to its end."""
        for _ in range(10_000):
            if self.starting:
                self.spawn_one()
            elif self.opening:
                self.open_one()
            elif self.closing:
                self.close_one()
            elif (dying := self._dying()) is not None:
                self.exit(*dying)
            elif self.orphans and self._lost_signalled():
                pass
            else:
                return self
        raise AssertionError("the simulation does not come to rest")

    def order(self, action: str, *keys: Key, by: str = "me") -> Simulation:
        self.post(Order(action, keys, by))  # type: ignore[arg-type]  # tests pass literals
        return self

    def spawn_one(self, index: int = 0, *, fail: bool = False) -> None:
        """Let one pending spawn succeed or fail."""
        child = list(self.starting)[index % len(self.starting)]
        del self.starting[child]
        key, generation = child
        if fail:
            failure = Exit(stage="exec", errno=2, message="exec x: No such file or directory")
            self._forget_signals(child)
            self.post(Happened(key, SpawnFailed(generation, failure)))
            return
        self._pid += 1
        self.children[child] = self._pid
        self.post(Happened(key, Spawned(generation, self._pid)))

    def open_one(self) -> None:
        """Let one pending listener open."""
        child = next(iter(self.opening))
        del self.opening[child]
        self.listeners[child[0]] = child[1]
        self.post(Happened(child[0], Listening(child[1])))

    def close_one(self) -> None:
        """Let one listener that is being closed be closed."""
        child = next(iter(self.closing))
        del self.closing[child]
        self.post(Happened(child[0], ListenerClosed(child[1])))

    def exit(self, child: Child, end: Exit, lost: tuple[int, ...] = ()) -> None:
        """Let the leader of *child* end."""
        del self.children[child]
        self._forget_signals(child)
        if lost:
            self.orphans[child] = lost
        self.post(Happened(child[0], Exited(child[1], end, lost)))

    def clear(self, child: Child) -> None:
        """Let what outlived the leader end."""
        del self.orphans[child]
        self._forget_signals(child)
        self.post(Happened(child[0], TreeChanged(child[1], ())))

    def connect(self, tag: Key) -> None:
        """Let a client connect to a listener."""
        self._connection += 1
        self.post(Accepted(tag, self._connection, "client"))

    def wake(self) -> None:
        """Move the clock to the next deadline."""
        deadline = self.engine.next_deadline()
        if deadline is not None:
            self.now = max(self.now, deadline)
            self.post(TimePassed())

    def has_ended(self) -> bool:
        return self.ended is not None

    def phase(self, key: Key) -> Phase:
        return self.engine.world.states[key].phase

    def child(self, key: Key) -> Child:
        return next(child for child in self.children if child[0] == key)

    # --- the operating system

    def _signals(self, child: Child) -> set[int]:
        return self.pending.setdefault(child, set())

    def _forget_signals(self, child: Child) -> None:
        self._signals(child).clear()

    def _dying(self) -> tuple[Child, Exit] | None:
        for child in self.children:
            pending = self._signals(child)
            if SIGKILL in pending:
                return child, Exit(signal=SIGKILL, message="killed by SIGKILL")
            if pending and child[0] not in self.deaf:
                return child, Exit(signal=min(pending), message="killed")
        return None

    def _lost_signalled(self) -> bool:
        for child in list(self.orphans):
            pending = self._signals(child)
            if SIGKILL in pending or (pending and child[0] not in self.deaf):
                self.clear(child)
                return True
        return False

    def _obey(self, effect: Effect) -> None:
        world = self.engine.world
        match effect:
            case Spawn(key, generation):
                self.history.append(f"start {key}")
                self.spawned.append(key)
                others = [
                    child
                    for child in (*self.starting, *self.children, *self.orphans)
                    if child[0] == key
                ]
                assert not others, f"a second child for {key}"
                for tag in world.specs[key].prerequisites:
                    assert world.up(tag), f"{key} was started without {tag}"
                for dependent in world.graph.dependents.get(key, ()):
                    assert not world.states[dependent].live, f"{dependent} lives while {key} starts"
                self.starting[key, generation] = None
            case Signal(key, generation, signum):
                child = (key, generation)
                known = child in self.children or child in self.orphans or child in self.starting
                assert known, f"a signal to {child}, which does not live"
                self.history.append(f"signal {key} {signum}")
                self._signals(child).add(signum)
            case Listen(key, generation):
                self.history.append(f"listen {key}")
                self.opening[key, generation] = None
            case Unlisten(key, generation):
                self.history.append(f"unlisten {key}")
                self.opening.pop((key, generation), None)
                self.listeners.pop(key, None)
                self.closing[key, generation] = None
            case Note(_, kind, _, text):
                assert kind != "bug", text
            case CloseConnection():
                self.history.append("refuse")
            case End(code):
                assert self.ended is None
                self.ended = code
            case Retune() | Forget():
                pass

    # --- what must always hold

    def check(self) -> None:
        world = self.engine.world
        for key, state in world.states.items():
            if state.phase is Phase.RUNNING:
                assert state.pid is not None, f"{key} runs without a PID"
            elif state.phase is not Phase.STOPPING:
                assert state.pid is None, f"{key} is {state.phase} and has PID {state.pid}"
            if state.phase is Phase.SLEEPING:
                assert state.deadline is not None, f"{key} sleeps for ever"
            unmet = sum(not world.available(tag) for tag in world.specs[key].prerequisites)
            link = world.links.get(key)
            if not world.states[link.listener if link else key].removed:
                assert world.unmet[key] == unmet, f"{key}: {world.unmet[key]} != {unmet}"
        for (key, generation), pid in self.children.items():
            state = world.states[key]
            assert (state.generation, state.pid) == (generation, pid), f"{key} lost its child"
        assert world.live == sum(state.live for state in world.states.values())
