"""The one inbox: events go to the engine, its effects to the operating system, facts come back.

It holds no rule. Between reading and writing the engine's state there is no `await`, so there is
no lock. Work is cut into slices: however much there is to do, the loop is given back in between.
"""

from __future__ import annotations

import errno
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from typing import assert_never

import trio

from supervisor.engine.engine import Engine
from supervisor.engine.memory import Memory
from supervisor.engine.world import Connection
from supervisor.model.component import Component, Key, Tag
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
    Scope,
    Signal,
    Spawn,
    Unlisten,
)
from supervisor.model.events import (
    Accepted,
    ComponentEvent,
    EngineEvent,
    Exited,
    Happened,
    MailTried,
    TimePassed,
    TreeChanged,
)
from supervisor.runtime.builtins import Builtins
from supervisor.runtime.checks import Checks
from supervisor.runtime.conditions import Conditions
from supervisor.runtime.errands import Errand, Errands
from supervisor.runtime.idle import IdleWatch
from supervisor.runtime.launches import Launches
from supervisor.runtime.listeners import ListenerBoard
from supervisor.runtime.network import Network, RealNetwork
from supervisor.runtime.outbox import Outbox
from supervisor.runtime.output import Outputs
from supervisor.runtime.quotes import Quotes
from supervisor.runtime.takeover import Takeover
from supervisor.runtime.tasks import Tasks
from supervisor.system.handover import Client
from supervisor.system.port import Reaped, System

log = logging.getLogger(__name__)

SLICE = 0.003
"""Seconds of work after which everything else in the loop gets its turn."""

Observer = Callable[[int, frozenset[Key], Sequence[Note]], None]


def _keep_no_record(_record: Record) -> None:
    """Do what a piesd does that is no init process."""


def _keep_nothing(_changed: Collection[Key]) -> None:
    """Do what a piesd does that nobody is to go on with."""


class Runner:
    """Carries out what the engine decides, and tells it what has happened.

    `ended` is set, with the exit code in `code`, when everything is down for good.
    """

    def __init__(
        self,
        engine: Engine,
        system: System,
        outputs: Outputs,
        *,
        outbox: Outbox | None = None,
        notify_prefix: str | None = None,
        network: Network | None = None,
        qotd: str | None = None,
        record: Callable[[Record], None] | None = None,
    ) -> None:
        """Take what the runner works with.

        Args:
            outbox: sends what exit actions want to notify; without one they are only logged.
            notify_prefix: how the paths of notification sockets begin, for instance
                `/run/piesd/piesd.notify.`; without it `ready = "notify"` is a failed start.
            network: what checks ask, if not the real one.
            qotd: the file of the built-in service of that name; without one it has nothing to say.
            record: keeps the records of the machine, for an init process.
        """
        self.engine = engine
        self.system = system
        self.outputs = outputs
        self.outbox = outbox
        self.record = record or _keep_no_record
        self.keep: Callable[[Collection[Key]], None] = _keep_nothing
        """Called after each event, before anything is done about it: to write down what is now."""
        if outbox is not None:
            outbox.attach(self.post)
        self.ended = trio.Event()
        self.code = 0
        self._tasks = Tasks()
        self._errands = Errands(system, outputs)
        self._conditions = Conditions(self._errands, self._tasks, self._happened, system.wall)
        quotes = Quotes(system, self._tasks, qotd)
        self._listeners = ListenerBoard(system, self._tasks, self._happened, self._accepted, quotes)
        self.checks = Checks(
            system,
            self._errands,
            self._tasks,
            network or RealNetwork(system),
            self._happened,
            self.tell,
            notify_prefix,
            self._listeners.descriptors,
        )
        self._idle = IdleWatch(system, self._tasks, self._listeners, self._happened)
        self._launches = Launches(
            system,
            self._tasks,
            outputs,
            self.checks,
            self._listeners,
            self._idle,
            self._happened,
        )
        self._builtins = Builtins(system, self._tasks, self._listeners, quotes, self._happened)
        if outbox is not None:
            self._launches.command_begun = outbox.command_begun
        self._inbox: deque[EngineEvent] = deque()
        self._effects: deque[Effect] = deque()
        self._news: list[Happened] = []
        self._taken = 0
        """How many events were ever taken out of the inbox."""
        self._observers: list[Observer] = []
        self._spent = 0.0
        """Seconds of work since `run` had its turn: whoever posts much does not get it all done."""
        self._working = False
        self._running = False
        self._halted = False
        self._wake = trio.Event()
        self._rest = trio.Event()
        self._awaited = 0
        """How many wait for `_rest`."""
        self._due: float | None = None
        """The deadline until which `run` sleeps."""

    # --- the outside's view

    def post(self, event: EngineEvent) -> None:
        """Put *event* into the inbox; it is handled at once unless there is much to do."""
        self._inbox.append(event)
        if self._running and not self._working:
            if len(self._inbox) == 1 and not self._effects and self._spent < SLICE:
                self._work()
            else:
                self._wake.set()  # There is more to do already: `run` goes on with it.

    def observe(self, observer: Observer) -> None:
        """Call *observer* after each handled event that changed or told something."""
        self._observers.append(observer)

    async def handled(self) -> None:
        """Return when everything posted so far has been handled and carried out.

        What comes meanwhile is not waited for: a start that fails at once, again and again, keeps
        the inbox from ever being empty.
        """
        last = self._taken + len(self._inbox)
        while self._taken < last or (self._taken == last and self._effects):
            self._awaited += 1
            try:
                await self._rest.wait()
            finally:
                self._awaited -= 1

    async def turned(self) -> None:
        """Return when `run` has gone round once more, with all that was posted so far handled.

        That nothing is left to do says little: one that does not run does not look at the clock.
        """
        await self.handled()
        turn = self._rest
        self._wake.set()
        await turn.wait()

    def reap(self) -> None:
        """Collect the children that have ended, and tell the engine. Called on SIGCHLD."""
        drained: set[Key] = set()
        for report in () if self._halted else self.system.reap():
            if self._errands.took(report):
                continue
            if isinstance(report, Reaped):
                # All connections of a listener have one output, and all of these have ended.
                tag = report.key.partition("#")[0]
                if tag not in drained:
                    drained.add(tag)
                    self.outputs.drain(tag)
                self.checks.end(report.key, report.generation)
                self._idle.end(report.key)
                happened: Exited | TreeChanged = Exited(
                    report.generation, report.exit, report.lost, self.system.chance()
                )
            else:
                happened = TreeChanged(report.generation, report.lost, self.system.chance())
            self._inbox.append(Happened(report.key, happened))
        self._nudge()

    def take_up(
        self,
        memory: Memory,
        born: Mapping[Key, tuple[float, float]],
        handed: Mapping[str, int] | None = None,
        clients: Mapping[str, Client] | None = None,
    ) -> Set[Tag]:
        """Go on where another piesd has stopped; to be called before anything else.

        `Apply` and then `tell_news` have to follow.

        Args:
            memory: what it knew, with the times of our engine.
            born: when each child was started, see `supervisor.system.port.Orphan`.
            handed: descriptors that it has handed over, see `ListenerBoard.everything`.
            clients: where the connections among them come from.

        Returns:
            The components of which something lives.
        """
        takeover = Takeover(
            self.system,
            self.outputs,
            self.checks,
            self._listeners,
            self._idle,
            handed or {},
            clients or {},
        )
        now = trio.current_time()
        memory, facts = takeover.take_up(memory, born, now)
        self.engine.recall(memory, now)
        numbers = (each.link.number for each in memory.memos if isinstance(each.link, Connection))
        self._listeners.count_from(max(numbers, default=0))
        self._news = facts
        return takeover.living

    def tell_news(self) -> None:
        """Report what is new since the other piesd, when it is known what is configured now.

        What has ended meanwhile is not to be started again as it was configured then.
        """
        news, self._news = self._news, []
        for each in news:
            self.post(each)

    # --- handing over

    def stirs(self) -> str:
        """Return what is under way that another program could not go on with, if anything is."""
        if self._inbox or self._effects:
            return "there is something to do"
        return "a client is being asked who it is" if self._listeners.asks() else ""

    def halt(self) -> None:
        """Do nothing any more: whoever comes after us goes on from here."""
        self._halted = True

    def run_errand(self, key: Key, argv: Sequence[str]) -> Errand:
        """Run a program of our own; see `Errands.start`."""
        return self._errands.start(key, 1, Component(tag=key, argv=tuple(argv)), argv, capture=True)

    def end_errand(self, errand: Errand) -> None:
        """End such a program if it has not ended."""
        self._errands.kill(errand)

    async def run(self) -> None:
        """Work off the inbox and wake up for deadlines, until cancelled."""
        self._running = True
        try:
            async with trio.open_nursery() as nursery:
                self._tasks.start("the end of errands", self._errands.serve)
                nursery.start_soon(self._tasks.serve)
                await self._run()
        finally:
            self._running = False

    async def _run(self) -> None:
        while True:
            self._spent = 0.0
            self._work()
            self._rest.set()
            self._rest = trio.Event()
            if self._inbox or self._effects:
                await trio.lowlevel.checkpoint()
            else:
                await self._sleep()
            self._tell_the_time()

    # --- work

    def _happened(self, key: Key, event: ComponentEvent) -> None:
        self.post(Happened(key, event))

    def _nudge(self) -> None:
        if not self._running or self._working or not (self._inbox or self._effects):
            return
        if self._spent < SLICE:
            self._work()
        else:
            self._wake.set()

    async def _sleep(self) -> None:
        self._due = deadline = self.engine.next_deadline()
        self._wake = trio.Event()
        with trio.move_on_at(deadline if deadline is not None else float("inf")):
            await self._wake.wait()

    def _tell_the_time(self) -> None:
        """Tell the engine what is due, also when there is always something else to do."""
        deadline = self.engine.next_deadline()
        if deadline is not None and deadline <= trio.current_time():
            self._inbox.append(TimePassed())

    def _work(self) -> None:
        """Work for one slice. Effects come before events: the engine takes them as under way."""
        if self._halted:
            return
        time = trio.lowlevel.current_clock().current_time  # Many looks, and one way to the clock.
        begun = now = time()
        self._working = True
        try:
            while now - begun < SLICE:
                if self._effects:
                    self._try(self._effects.popleft())
                elif self._inbox:
                    self._taken += 1
                    self._handle(self._inbox.popleft(), now)
                else:
                    break
                now = time()
        finally:
            self._working = False
            self._spent += now - begun
        # `run` sleeps on where nothing is left for it: waking it costs as much as a short event.
        if (
            self._inbox
            or self._effects
            or self._awaited
            or self._spent >= SLICE
            or self.engine.next_deadline() != self._due
        ):
            self._wake.set()

    def _handle(self, event: EngineEvent, now: float) -> None:
        try:
            effects = self.engine.handle(event, now)
        except Exception:
            # A bug of ours. The children outlive it: drop the event, keep everything else.
            log.exception("cannot handle %r: this is a bug in piesd; the event is dropped", event)
            return
        try:
            self.keep(self.engine.changed)
        except Exception:
            log.exception("cannot keep what is known: this is a bug in piesd")
        notes: list[Note] = []
        for effect in effects:
            if isinstance(effect, Note):
                notes.append(effect)  # The observers have it at once.
            else:
                self._effects.append(effect)
        if notes or self.engine.changed:
            self._show(self.engine.changed, notes)

    def _show(self, changed: frozenset[Key], notes: Sequence[Note]) -> None:
        for observer in self._observers:
            try:
                observer(self.engine.revision, changed, notes)
            except Exception:
                log.exception("an observer of the engine failed: this is a bug in piesd")

    def tell(self, note: Note) -> None:
        """Tell the observers what the runtime itself has found out."""
        self._show(frozenset(), (note,))

    def _try(self, effect: Effect) -> None:
        """Carry out *effect*; a bug of ours costs this effect, and not those behind it."""
        try:
            self._carry_out(effect)
        except Exception as bug:
            log.exception("cannot carry out %r: this is a bug in piesd", effect)
            if isinstance(effect, Spawn):
                what = OSError(errno.EIO, f"{type(bug).__name__}: {bug}")
                self._launches.failed(effect, "start", what)

    def _carry_out(self, effect: Effect) -> None:  # noqa: C901 - It is one table.
        match effect:  # What there may be thousands of in a second comes first.
            case Spawn(connection=int(), spec=Component(internal=True)):
                self._builtins.serve(effect)
            case Spawn():
                self._launches.spawn(effect)
            case Forget(key):
                self._forget(key)
            case Probe(key, generation, spec):
                self._conditions.probe(key, generation, spec)
            case Signal(key, generation, signum, scope):
                self._signal(key, generation, signum, scope)
            case Listen(key, generation, spec):
                self._listeners.open(key, generation, spec)
            case Unlisten(key, generation, keep):
                self._listeners.close(key, generation, keep)
            case Pause(key):
                self._listeners.pause(key)
            case Resume(key):
                self._listeners.resume(key)
            case LetGo(key, keep):
                self._listeners.let_go(key, keep)
            case GiveUp(addresses):
                self._listeners.give_up(addresses)
            case CloseConnection(connection, message):
                self._listeners.refuse(connection, message)
            case Mail():
                self._mail(effect)
            case CommandEnded(key, exit):
                if self.outbox is not None:
                    self.outbox.command_ended(key, exit)
            case Retune(key, spec):
                self.system.limit(key, spec.cgroup)
                self.outputs.retune(key, spec)
                self._listeners.retune(key, spec)
                self.checks.retune(key, spec)
                self._idle.retune(key)
            case Note():
                pass  # The observers have had it.
            case Record():
                self.record(effect)
            case End(code):
                self.code = code
                self._errands.kill_all()
                self.ended.set()
            case _:
                assert_never(effect)

    def _mail(self, mail: Mail) -> None:
        if self.outbox is None:
            log.warning("cannot notify %s about %r: no mail", ", ".join(mail.to), mail.tag)
            self.post(MailTried())
        else:
            self.outbox.send(mail)

    def _forget(self, key: Key) -> None:
        self.system.forget(key)
        _, mark, number = key.partition("#")
        if not mark:
            self.outputs.forget(key)
        if not mark or number.isdigit():
            self._listeners.forget(key)

    # --- children

    def _signal(self, key: Key, generation: int, signum: int, scope: Scope) -> None:
        if self._conditions.abort(key, generation):
            return  # There is no child yet, only the question whether there is to be one.
        if self._builtins.end(key, generation, signum):
            return
        try:
            self.system.signal(key, generation, signum, scope)
        except OSError as error:
            # For instance a child that has become another user, while we are not root.
            log.error("cannot send signal %d to %r: %s", signum, key, error.strerror)

    # --- connections

    def _accepted(self, accepted: Accepted) -> None:
        self.post(accepted)

    @property
    def listeners(self) -> ListenerBoard:
        """The open listeners, for the daemon to run."""
        return self._listeners
