"""An operating system in a few dictionaries, to drive the engine through random histories.

It keeps what the real one would keep (which children live, what they ignore), obeys the engine's
effects, and checks after every event the invariants that must always hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from signal import SIGCONT, SIGKILL

from supervisor.engine.engine import Engine
from supervisor.engine.gates import blocked_by
from supervisor.engine.modes import ALARMED, APART, BOOTING, ONE_RUN, WAITED
from supervisor.engine.world import GOING_DOWN, Command, Connection, excludes_others
from supervisor.model.access import Subject
from supervisor.model.component import Address, Component, Key, Mode
from supervisor.model.effects import (
    CloseConnection,
    CommandEnded,
    Effect,
    End,
    Forget,
    GiveUp,
    LetGo,
    Listen,
    Mail,
    Note,
    Pause,
    Probe,
    Record,
    Resume,
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
    Hung,
    Idle,
    ListenerClosed,
    Listening,
    MailTried,
    NotReady,
    Order,
    Ready,
    RunCommand,
    SetRunlevel,
    Spawned,
    SpawnFailed,
    Tested,
    TimePassed,
    TreeChanged,
    Unhealthy,
)
from supervisor.model.state import Exit, Phase

Child = tuple[Key, int]


class Simulation:
    """An engine, its simulated children, and a clock that only moves when told."""

    def __init__(
        self,
        components: Sequence[Component],
        *,
        shutdown_timeout: float = 5.0,
        init: bool = False,
        runlevel: str = "",
        max_starting: int = 0,
    ) -> None:
        self.now = 1000.0
        self.engine = Engine(
            shutdown_timeout=shutdown_timeout,
            command_environment={"PIES_VERSION": "1.8"},
            init=init,
            environment={"CONSOLE": "/dev/console"} if init else None,
        )
        self.probing: dict[Child, None] = {}
        self.starting: dict[Child, None] = {}
        self.children: dict[Child, int | None] = {}
        """The PID of each; what piesd itself serves has none."""
        self.orphans: dict[Child, tuple[int, ...]] = {}
        self.pending: dict[Child, set[int]] = {}
        self.opening: dict[Child, None] = {}
        self.closing: dict[Child, None] = {}
        self.listeners: dict[Key, int] = {}
        self.paused: set[Key] = set()
        """The listeners at which nobody is accepted because the engine says so."""
        self.waiting: dict[int, Key] = {}
        """The connections, and the listeners that are offered, whose fate is open."""
        self.held: dict[Key, tuple[Address, ...]] = {}
        """The addresses that are open, for listeners and for servers."""
        self.unkept: list[Key] = []
        """The listeners whose sockets were closed for good."""
        self.parked: set[Address] = set()
        """Where a socket is kept for whoever is going to listen there."""
        self.ready: set[Child] = set()
        self.deaf: set[Key] = set()
        """Who does not mind any signal but SIGKILL."""
        self.slow: set[Key] = set()
        """Who does not become ready by itself when everything settles."""
        self.ended: int | None = None
        self.log: list[EngineEvent] = []
        self.history: list[str] = []
        self.spawned: list[Key] = []
        self.launches: dict[Key, Spawn] = {}
        """The latest launch of each."""
        self.mails: list[Mail] = []
        self.untried = 0
        """How many of these nobody has tried to send yet."""
        self.nobody_mails = False
        """Whether mails are not tried by themselves when everything settles."""
        self.over: dict[Key, Exit] = {}
        """The commands that have ended, and how."""
        self.notes: list[Note] = []
        self.after: Callable[[], None] = lambda: None
        """Called when the engine has handled an event, before anything is done about it."""
        self._pid = 100
        self._connection = 0
        self.post(Apply(tuple(components), shutdown_timeout, "", 0.0, runlevel, max_starting))

    # --- driving

    def post(self, event: EngineEvent) -> None:
        """Let the engine handle *event*, obey what it says, and check what must hold."""
        self.obey(event)

    def obey(self, event: EngineEvent) -> list[Effect]:
        """Do as `post`, and return what the engine says."""
        self.log.append(event)
        if isinstance(event, Accepted):
            self.waiting[event.connection] = event.tag
        effects = self.engine.handle(event, self.now)
        self.after()
        for effect in effects:
            self._obey(effect)
        told = [effect.key for effect in effects if isinstance(effect, CommandEnded)]
        assert not self.engine.world.states.keys() & set(told), f"{told} ended and are still there"
        self.check()
        return effects

    def boot(self) -> Simulation:
        self.post(Boot())
        return self

    def settle(self) -> Simulation:
        """Let everything that is under way come to its end."""
        for _ in range(10_000):
            if self.probing:
                self.answer_one()
            elif self.starting:
                self.spawn_one()
            elif self._unready():
                self.become_ready(self._unready()[0])
            elif self.opening:
                self.open_one()
            elif self.closing:
                self.close_one()
            elif (dying := self._dying()) is not None:
                self.exit(*dying)
            elif self.orphans and self._lost_signalled():
                pass
            elif self.untried and not self.nobody_mails:
                self.try_mail()
            else:
                return self
        raise AssertionError("the simulation does not come to rest")

    def level(self, level: str, patience: float | None = None) -> Simulation:
        """Let somebody ask for a runlevel."""
        self.post(SetRunlevel(level, "me", patience=patience))
        return self

    def end(self, key: Key, code: int = 0) -> Simulation:
        """Let the child of *key*, which is running, end by itself."""
        self.exit(self.child(key), Exit(code=code, message=f"exited with {code}"))
        return self

    def told(self) -> list[str]:
        """Return what was done since this was asked last."""
        told, self.history = self.history, []
        return told

    def order(self, action: str, *keys: Key, by: str = "me") -> Simulation:
        self.post(Order(action, keys, by))  # type: ignore[arg-type]  # tests pass literals
        return self

    def answer_one(self, index: int = 0, refusal: Exit | None = None) -> None:
        """Let one start condition speak: allow the start, or refuse it."""
        child = list(self.probing)[index % len(self.probing)]
        del self.probing[child]
        self._forget_signals(child)
        self.post(Happened(child[0], Tested(child[1], refusal)))

    def become_ready(self, child: Child) -> None:
        """Let a child say that it is ready."""
        self.ready.add(child)
        self.post(Happened(child[0], Ready(child[1])))

    def fail_check(self, child: Child, message: str = "refused") -> None:
        """Let the check of a child fail: of its readiness, or once it is ready, of its health."""
        ready = self.engine.world.states[child[0]].ready
        event = Unhealthy(child[1], message) if ready else NotReady(child[1], message)
        self.post(Happened(child[0], event))

    def hang(self, child: Child) -> None:
        """Let a child miss its watchdog."""
        self.post(Happened(child[0], Hung(child[1], "it did not say WATCHDOG=1 for 10 s")))

    def served(self) -> list[Child]:
        """Return the children that serve a connection, or own a listener."""
        links = self.engine.world.links
        return [child for child in self.children if isinstance(links.get(child[0]), Connection)]

    def idle(self, child: Child) -> None:
        """Let it be found out that nobody needs a child."""
        self.post(Happened(child[0], Idle(child[1], "idle for 60 s")))

    def run_command(self, tag: Key, text: str = "hello") -> None:
        """Let somebody ask for a command on behalf of *tag*."""
        self.post(RunCommand(tag, "mailer", ("sendmail", "a@b"), text=text))

    def try_mail(self) -> None:
        """Let the first try to send a mail be over."""
        self.untried -= 1
        self.post(MailTried())

    def spawn_one(self, index: int = 0, *, fail: bool = False, room: bool = True) -> None:
        """Let one pending spawn succeed or fail, or find that there is no *room* for it."""
        child = list(self.starting)[index % len(self.starting)]
        del self.starting[child]
        key, generation = child
        if not room:
            full = Exit(stage="fork", errno=11, message="fork: no room")
            self._forget_signals(child)
            self.post(Happened(key, SpawnFailed(generation, full)))
            return
        if fail:
            failure = Exit(stage="exec", errno=2, message="exec x: No such file or directory")
            self._forget_signals(child)
            self.post(Happened(key, SpawnFailed(generation, failure)))
            return
        self._pid += 1
        self.children[child] = None if self.launches[key].spec.internal else self._pid
        self.post(Happened(key, Spawned(generation, self.children[child])))

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

    def offer(self, tag: Key) -> None:
        """Let the first client knock at a listener that its server is to have."""
        self._connection += 1
        self.post(Accepted(tag, self._connection, ""))

    def connect(self, tag: Key, address: str = "") -> None:
        """Let a client connect to a listener."""
        self._connection += 1
        self.post(Accepted(tag, self._connection, "client", 0.0, Subject(address=address)))

    def accepting(self) -> list[Key]:
        """Return the listeners at which somebody would be accepted now."""
        world = self.engine.world
        return [
            tag
            for tag in self.listeners
            if tag not in self.paused
            and not (world.specs[tag].owned and world.connections.get(tag))
        ]

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

    def why_not(self) -> list[str]:
        """Return the texts of all warnings and errors so far."""
        return [note.text for note in self.notes if note.level in ("warning", "error")]

    # --- the operating system

    def _unready(self) -> list[Child]:
        world = self.engine.world
        return [
            child
            for child in self.children
            if world.states[child[0]].phase is Phase.RUNNING
            and not world.states[child[0]].ready
            and child[0] not in self.slow
        ]

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

    def _obey(self, effect: Effect) -> None:  # noqa: C901 - It is one table.
        world = self.engine.world
        match effect:
            case Probe(key, generation):
                self.history.append(f"probe {key}")
                self._expect_none_of(key)
                self.probing[key, generation] = None
            case Spawn(key, generation):
                self.history.append(f"start {key}")
                self.spawned.append(key)
                self.launches[key] = effect
                self._expect_none_of(key)
                self._expect_a_slot(key)
                for tag in world.specs[key].prerequisites:
                    assert world.up(tag), f"{key} was started without {tag}"
                    spec = world.specs[tag]
                    if spec.ready is not None and spec.mode not in ONE_RUN and not spec.listens:
                        assert (tag, world.states[tag].generation) in self.ready, f"{tag} not ready"
                self._expect_in_its_level(key)
                for dependent in world.graph.dependents.get(key, ()):
                    assert not world.states[dependent].live, f"{dependent} lives while {key} starts"
                self._expect_its_place(key, effect)
                self.starting[key, generation] = None
            case Signal(_, _, signum) if signum == SIGCONT:
                pass  # It comes with each stop signal, for the sake of those under SIGSTOP.
            case Signal(key, generation, signum):
                child = (key, generation)
                known = any(
                    child in place
                    for place in (self.children, self.orphans, self.starting, self.probing)
                )
                assert known, f"a signal to {child}, which does not live"
                self.history.append(f"signal {key} {signum}")
                self._signals(child).add(signum)
            case Listen(key, generation):
                self.history.append(f"listen {key}")
                self.opening[key, generation] = None
                self._take_place(key, world.specs[key].sockets)
            case Pause(key):
                self.history.append(f"pause {key}")
                self.paused.add(key)
            case Resume(key):
                self.history.append(f"resume {key}")
                self.paused.discard(key)
            case LetGo(key, keep):
                self.held.pop(key, None)
                self.parked |= keep
                self.history.append(f"let go {key}{' keep' if keep else ''}")
            case Unlisten(key, generation, keep):
                self.history.append(f"unlisten {key}")
                self.parked |= keep
                if not keep:
                    self.unkept.append(key)
                self.opening.pop((key, generation), None)
                self.listeners.pop(key, None)
                self.held.pop(key, None)
                self.paused.discard(key)
                self.closing[key, generation] = None
            case GiveUp(addresses):
                self.history.extend(f"give up {address.url}" for address in addresses)
                self.parked -= addresses
            case Note(_, kind, _, text):
                assert kind != "bug", text
                self.notes.append(effect)
            case Mail(tag):
                self.history.append(f"mail {tag}")
                self.mails.append(effect)
                self.untried += 1
            case CommandEnded(key, end):
                assert key not in self.over, f"{key} has ended twice"
                self.over[key] = end
            case CloseConnection(connection):
                self.history.append("refuse")
                del self.waiting[connection]
            case End(code):
                assert self.ended is None
                self.ended = code
            case Record(kind, level, previous):
                self.history.append(" ".join(filter(None, ("record", kind, previous, level))))
            case Forget(key):
                number = key.rpartition("#")[2]
                if "#" in key and number.isdigit():
                    self.waiting.pop(int(number), None)
            case Retune():
                pass

    def _expect_none_of(self, key: Key) -> None:
        others = [
            child
            for place in (self.probing, self.starting, self.children, self.orphans)
            for child in place
            if child[0] == key
        ]
        assert not others, f"a second child for {key}"

    def _expect_in_its_level(self, key: Key) -> None:
        world, mode = self.engine.world, self.engine.world.specs[key].mode
        if not world.is_component(key) or mode in APART:
            return
        assert not world.outside(key), f"{key} was started in runlevel {world.runlevel}"
        match world.boot_state:
            case "sysinit":
                assert mode is Mode.SYSINIT, f"{key} was started before sysinit was over"
            case "boot":
                assert mode in BOOTING, f"{key} was started before bootwait was over"
            case _:
                pass
        if mode in ALARMED:
            return
        for tag in world.graph.index:
            if tag == key:
                break
            first, other = world.states[tag], world.specs[tag].mode
            if other in WAITED and first.phase is Phase.RUNNING and not world.outside(tag):
                raise AssertionError(f"{key} was started before {tag} had ended")

    def _expect_its_place(self, key: Key, spawn: Spawn) -> None:
        """A server has its addresses alone, and a connection is served once."""
        world = self.engine.world
        if spawn.connection is None:
            if key not in world.links:
                self._take_place(key, world.specs[key].sockets)
        elif not spawn.spec.owned:
            del self.waiting[spawn.connection]
        else:
            owner = world.links[key].owner
            assert owner in self.listeners, f"{key} is to have a listener that is closed"
            others = [child for child in (*self.children, *self.starting) if child[0] != key]
            same = [each for each, _ in others if each.startswith(f"{owner}#")]
            same = [each for each in same if isinstance(world.links.get(each), Connection)]
            assert not same, f"{key} and {same} have one listener"

    def _take_place(self, key: Key, sockets: tuple[Address, ...]) -> None:
        self.parked.difference_update(sockets)
        mine = {each.url for each in sockets if excludes_others(each)}
        for other, places in self.held.items():
            both = mine & {each.url for each in places}
            assert other == key or not both, f"{key} wants {both}, which {other} has"
        if sockets:
            self.held[key] = sockets

    def _expect_a_slot(self, key: Key) -> None:
        world = self.engine.world
        spec = world.specs[key]
        if spec.template is None or spec.max_instances is None or not world.is_component(key):
            return
        live = [
            tag
            for tag, other in world.specs.items()
            if other.template == spec.template
            and world.is_component(tag)
            and world.states[tag].live
        ]
        assert len(live) <= spec.max_instances, f"{live} are too many"

    # --- what must always hold

    def check(self) -> None:
        world = self.engine.world
        rising = [
            key
            for key, state in world.states.items()
            if key not in world.links
            and not (world.specs[key].listens or world.specs[key].internal)
            and state.deadline is not None
            and (
                state.phase is Phase.STARTING or (state.phase is Phase.RUNNING and not state.ready)
            )
        ]
        assert sorted(world.slots.taken) == sorted(rising), f"{rising} are on their way up"
        for key, state in world.states.items():
            up = state.phase in (Phase.RUNNING, Phase.LISTENING)
            assert up or not state.ready, f"{key} is {state.phase} and ready"
            if isinstance(world.links.get(key), Command):
                assert state.live or state.phase is Phase.WAITING, f"{key} is not forgotten"
            if state.phase is Phase.RUNNING:
                internal = world.specs[key].internal and not world.is_component(key)
                assert (state.pid is None) is internal, f"{key} runs with PID {state.pid}"
            elif state.phase is not Phase.STOPPING:
                assert state.pid is None, f"{key} is {state.phase} and has PID {state.pid}"
            if state.phase is Phase.WAITING:
                assert blocked_by(world, key) is not None, f"{key} waits for nothing"
            if state.phase is Phase.SLEEPING:
                assert state.deadline is not None, f"{key} sleeps for ever"
            if world.outside(key) and state.phase in (Phase.RUNNING, Phase.LISTENING):
                assert world.live_dependents.get(key, 0), f"{key} outlives its runlevel"
            if key in self.held and key not in self.listeners:
                assert state.phase is not Phase.STOPPED, f"{key} is down and keeps its sockets"
            if state.phase is Phase.LISTENING:
                assert state.paused == (key in self.paused), f"{key} pauses, or does not"
            unmet = sum(not world.available(tag) for tag in world.specs[key].prerequisites)
            link = world.links.get(key)
            owner = link.owner if link else key
            if owner in world.states and not world.states[owner].removed:
                assert world.unmet[key] == unmet, f"{key}: {world.unmet[key]} != {unmet}"
        for address in self.parked:
            claims = [tag for tag in world.claims.get(address.url, ()) if tag in world.states]
            assert any(world.states[tag].wanted for tag in claims), f"{address} is kept for nobody"
        assert not self.parked or world.stage not in GOING_DOWN, "sockets outlive everything"
        numbers = {link.number for link in world.links.values() if isinstance(link, Connection)}
        assert self.waiting.keys() <= numbers, "a connection is neither served nor closed"
        links = [link for link in world.links.values() if isinstance(link, Connection)]
        assert world.clients == Counter(
            (link.owner, link.address) for link in links if link.address
        )
        for (key, generation), pid in self.children.items():
            state = world.states[key]
            assert (state.generation, state.pid) == (generation, pid), f"{key} lost its child"
        assert world.live == sum(state.live for state in world.states.values())
        assert sorted(world.ordered()) == sorted(world.states)
