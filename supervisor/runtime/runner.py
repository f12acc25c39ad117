"""The one inbox: events go to the engine, its effects to the operating system, facts come back.

It holds no rule. Between reading and writing the engine's state there is no `await`, so there is
no lock. Work is cut into slices: however much there is to do, the loop is given back in between.
"""

from __future__ import annotations

import errno
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import assert_never

import trio

from supervisor.engine.engine import Engine
from supervisor.model.component import Key
from supervisor.model.effects import (
    CloseConnection,
    Effect,
    End,
    Forget,
    Listen,
    Note,
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
    Spawned,
    SpawnFailed,
    TimePassed,
    TreeChanged,
)
from supervisor.model.state import Exit
from supervisor.runtime.listeners import ListenerBoard
from supervisor.runtime.output import Outputs
from supervisor.system.port import Launch, Launched, LaunchFailed, Reaped, System

log = logging.getLogger(__name__)

SLICE = 0.003
"""Seconds of work after which everything else in the loop gets its turn."""

Observer = Callable[[int, frozenset[Key], Sequence[Note]], None]


class Runner:
    """Carries out what the engine decides, and tells it what has happened.

    `ended` is set, with the exit code in `code`, when everything is down for good.
    """

    def __init__(self, engine: Engine, system: System, outputs: Outputs) -> None:
        self.engine = engine
        self.system = system
        self.outputs = outputs
        self.ended = trio.Event()
        self.code = 0
        self._listeners = ListenerBoard(system, self._happened, self._accepted)
        self._inbox: deque[EngineEvent] = deque()
        self._effects: deque[Effect] = deque()
        self._taken = 0
        """How many events were ever taken out of the inbox."""
        self._observers: list[Observer] = []
        self._working = False
        self._running = False
        self._wake = trio.Event()
        self._rest = trio.Event()

    # --- the outside's view

    def post(self, event: EngineEvent) -> None:
        """Put *event* into the inbox; it is handled at once unless there is much to do."""
        self._inbox.append(event)
        if self._running and not self._working:
            if len(self._inbox) == 1 and not self._effects:
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
            await self._rest.wait()

    def reap(self) -> None:
        """Collect the children that have ended, and tell the engine. Called on SIGCHLD."""
        for report in self.system.reap():
            if isinstance(report, Reaped):
                self.outputs.drain(report.key)
                happened: Exited | TreeChanged = Exited(
                    report.generation, report.exit, report.lost, self.system.chance()
                )
            else:
                happened = TreeChanged(report.generation, report.lost, self.system.chance())
            self._inbox.append(Happened(report.key, happened))
        self._nudge()

    async def run(self) -> None:
        """Work off the inbox and wake up for deadlines, until cancelled."""
        self._running = True
        try:
            while True:
                self._work()
                self._rest.set()
                self._rest = trio.Event()
                if self._inbox or self._effects:
                    await trio.lowlevel.checkpoint()
                else:
                    await self._sleep()
        finally:
            self._running = False

    # --- work

    def _happened(self, key: Key, event: ComponentEvent) -> None:
        self.post(Happened(key, event))

    def _nudge(self) -> None:
        if self._running and not self._working and (self._inbox or self._effects):
            self._work()

    async def _sleep(self) -> None:
        deadline = self.engine.next_deadline()
        self._wake = trio.Event()
        with trio.move_on_at(deadline if deadline is not None else float("inf")):
            await self._wake.wait()
        deadline = self.engine.next_deadline()
        if deadline is not None and deadline <= trio.current_time():
            self._inbox.append(TimePassed())

    def _work(self) -> None:
        """Work for one slice. Effects come before events: the engine takes them as under way."""
        begun = now = trio.current_time()
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
                now = trio.current_time()
        finally:
            self._working = False
        self._wake.set()

    def _handle(self, event: EngineEvent, now: float) -> None:
        try:
            effects = self.engine.handle(event, now)
        except Exception:
            # A bug of ours. The children outlive it: drop the event, keep everything else.
            log.exception("cannot handle %r: this is a bug in piesd; the event is dropped", event)
            return
        self._effects.extend(effects)
        notes = [effect for effect in effects if isinstance(effect, Note)]
        if not (notes or self.engine.changed):
            return
        for observer in self._observers:
            observer(self.engine.revision, self.engine.changed, notes)

    def _try(self, effect: Effect) -> None:
        """Carry out *effect*; a bug of ours costs this effect, and not those behind it."""
        try:
            self._carry_out(effect)
        except Exception as bug:
            log.exception("cannot carry out %r: this is a bug in piesd", effect)
            if isinstance(effect, Spawn):
                self._failed(effect, "start", OSError(errno.EIO, f"{type(bug).__name__}: {bug}"))

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Spawn():
                self._spawn(effect)
            case Signal(key, generation, signum, scope):
                self._signal(key, generation, signum, scope)
            case Listen(key, generation, spec):
                self._listeners.open(key, generation, spec)
            case Unlisten(key, generation):
                self._listeners.close(key, generation)
            case CloseConnection(connection):
                self._listeners.refuse(connection)
            case Retune(key, spec):
                self.outputs.retune(key, spec)
            case Forget(key):
                self._listeners.forget(key)
                if "#" not in key:
                    self.outputs.forget(key)
            case Note():
                pass  # The observers have had it.
            case End(code):
                self.code = code
                self.ended.set()
            case _:
                assert_never(effect)

    # --- children

    def _spawn(self, spawn: Spawn) -> None:
        """Launch a child; whatever goes wrong becomes a failed start of this component."""
        connection = None
        try:
            stdout, stderr = self.outputs.descriptors(spawn.key, spawn.spec)
            if spawn.connection is not None:
                connection = stdout = self._listeners.take(spawn.connection)
        except OSError as error:
            self._failed(spawn, "stdout", error)
            return
        launch = Launch(
            key=spawn.key,
            generation=spawn.generation,
            spec=spawn.spec,
            stdin=connection,
            stdout=stdout,
            stderr=stderr,
        )

        def report(outcome: Launched | LaunchFailed) -> None:
            if connection is not None:
                self.system.close(connection)
            self._launched(outcome)

        try:
            self.system.launch(launch, report)
        except OSError as error:
            if connection is not None:
                self.system.close(connection)
            self._failed(spawn, "fork", error)

    def _launched(self, outcome: Launched | LaunchFailed) -> None:
        if isinstance(outcome, Launched):
            event: Spawned | SpawnFailed = Spawned(
                outcome.generation, outcome.pid, self.system.wall()
            )
        else:
            event = SpawnFailed(outcome.generation, outcome.exit, self.system.chance())
        self.post(Happened(outcome.key, event))

    def _failed(self, spawn: Spawn, stage: str, error: OSError) -> None:
        why = Exit(
            stage=stage,
            errno=error.errno,
            message=f"{stage}: {error.strerror or error}",
            at=self.system.wall(),
        )
        self.post(Happened(spawn.key, SpawnFailed(spawn.generation, why, self.system.chance())))

    def _signal(self, key: Key, generation: int, signum: int, scope: Scope) -> None:
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
