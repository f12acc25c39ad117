"""Start children: get together what each needs, launch it, and say what became of that."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from supervisor.model.events import ComponentEvent, Spawned, SpawnFailed
from supervisor.model.state import Exit
from supervisor.runtime.checks import Handover
from supervisor.runtime.sockenv import Hosts, variables
from supervisor.system.port import Launch, Launched, LaunchFailed, ListenError

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.model.component import Component, Key
    from supervisor.model.effects import Spawn
    from supervisor.runtime.checks import Checks
    from supervisor.runtime.idle import IdleWatch
    from supervisor.runtime.listeners import ListenerBoard
    from supervisor.runtime.output import Outputs
    from supervisor.runtime.tasks import Tasks
    from supervisor.system.port import Flow, System

FIRST_PASSED: Final = 3
"""The number of the first listening socket that a child gets. Source: sd_listen_fds(3)."""

LISTEN_PID: Final = "LISTEN_PID"


class CannotPrepare(Exception):
    """A child lacks something before it is even launched; `stage` says what."""

    def __init__(self, stage: str, error: OSError, message: str = "") -> None:
        super().__init__(message or f"{stage}: {error}")
        self.stage, self.error, self.message = stage, error, message


class Launches:
    """Launches children; whatever goes wrong becomes a failed start of the component."""

    def __init__(
        self,
        system: System,
        tasks: Tasks,
        outputs: Outputs,
        checks: Checks,
        listeners: ListenerBoard,
        idle: IdleWatch,
        happened: Callable[[Key, ComponentEvent], None],
    ) -> None:
        self.command_begun: Callable[[Key], None] = lambda _key: None
        """Called before a command of an exit action is launched."""
        self._system = system
        self._tasks = tasks
        self._outputs = outputs
        self._checks = checks
        self._listeners = listeners
        self._idle = idle
        self._happened = happened
        self._hosts = Hosts(system)

    def spawn(self, spawn: Spawn) -> None:
        """Launch a child, at once unless something has to be looked up for it."""
        if spawn.text is not None:
            self.command_begun(spawn.key)
        spec = spawn.spec
        if spawn.connection is not None and spec.sockenv and spec.resolve and not spec.owned:
            self._tasks.start(f"the start of {spawn.key}", partial(self._spawn_later, spawn))
        else:
            self._spawn(spawn)

    async def _spawn_later(self, spawn: Spawn) -> None:
        assert spawn.connection is not None
        ours, theirs = self._system.names(self._listeners.look_at(spawn.connection))
        client = self._listeners.client(spawn.connection) or theirs
        self._spawn(spawn, await self._hosts.of(ours, client))

    def _spawn(self, spawn: Spawn, hosts: tuple[str, str] = ("", "")) -> None:
        ours: list[int] = []
        """What the child gets and we need no more."""
        try:
            flow = self._flow(spawn)
            launch = self._prepare(spawn, ours, hosts)
        except CannotPrepare as failure:
            self._close(ours)
            self.failed(spawn, failure.stage, failure.error, failure.message)
            return

        def report(outcome: Launched | LaunchFailed) -> None:
            self._close(ours)
            self._launched(outcome)
            if isinstance(outcome, Launched):
                self._watch(spawn, flow)

        try:
            self._system.launch(launch, report)
        except OSError as error:
            self._close(ours)
            self.failed(spawn, "fork", error)

    def _prepare(self, spawn: Spawn, ours: list[int], hosts: tuple[str, str]) -> Launch:
        """Get what the child needs; put into *ours* what is to be closed after the launch."""
        key, generation, spec = spawn.key, spawn.generation, spawn.spec
        stage, stdin = "stdout", None
        passed, handover = Handover(), Handover()
        try:
            stdout, stderr = self._outputs.descriptors(key, spec)
            stage = "stdin"
            if spawn.connection is not None and not spec.owned:
                passed = Handover(environ=self._about(spawn, hosts))
                stdin = stdout = self._listeners.take(spawn.connection)
                ours.append(stdin)
            elif spawn.text is not None:
                stdin = self._system.text(spawn.text.encode("utf-8", "surrogateescape"))
                ours.append(stdin)
            elif sockets := self._sockets(spawn):
                if spec.listen_fds:
                    passed = _passed(key, spec, sockets)
                elif spec.ready is None or spec.ready.kind != "pass-fd":
                    stdin = stdout = sockets[0]
            stage = "ready"
            if "#" not in key:
                handover = self._checks.prepare(key, generation, spec)
        except ListenError as error:
            raise CannotPrepare(error.stage, error.error, error.message) from error
        except OSError as error:
            raise CannotPrepare(stage, error) from error
        return Launch(
            key=key,
            generation=generation,
            spec=spec,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            extra=(*passed.extra, *handover.extra),
            environ=(*passed.environ, *handover.environ),
            own_pid=(*passed.own_pid, *handover.own_pid) or None,
        )

    def _about(self, spawn: Spawn, hosts: tuple[str, str]) -> tuple[tuple[str, str], ...]:
        """Return what the environment says about a connection, if it is to say something."""
        if not spawn.spec.sockenv or spawn.connection is None:
            return ()
        ours, theirs = self._system.names(self._listeners.look_at(spawn.connection))
        theirs = self._listeners.client(spawn.connection) or theirs
        return variables(ours, theirs, hosts, self._listeners.kind(spawn.connection))

    def _sockets(self, spawn: Spawn) -> tuple[int, ...]:
        """Return the listening sockets that belong to a child.

        Raises:
            ListenError: one of them could not be opened.
        """
        if spawn.connection is not None:
            return self._listeners.descriptors(self._listeners.owner(spawn.connection))
        return () if "#" in spawn.key else self._listeners.hold(spawn.key, spawn.spec)

    def _flow(self, spawn: Spawn) -> Flow | None:
        """Return the connection that a child serves, if its silence is to be noticed."""
        if spawn.connection is None or spawn.spec.owned or not spawn.spec.idle_timeout:
            return None
        return self._system.flow(self._listeners.look_at(spawn.connection))

    def _watch(self, spawn: Spawn, flow: Flow | None) -> None:
        """Look out for the time when nobody needs the child any more."""
        if spawn.connection is not None and spawn.spec.owned:
            self._idle.owns(spawn.key, spawn.generation)
        else:
            self._idle.serves(spawn.key, spawn.generation, spawn.spec, flow)

    def _close(self, ours: list[int]) -> None:
        while ours:
            self._system.close(ours.pop())

    def _launched(self, outcome: Launched | LaunchFailed) -> None:
        key, generation = outcome.key, outcome.generation
        if isinstance(outcome, Launched):
            self._happened(key, Spawned(generation, outcome.pid, self._system.wall()))
            self._outputs.started(key, outcome.pid)
            self._checks.begin(key, generation)
        else:
            self._happened(key, SpawnFailed(generation, outcome.exit, self._system.chance()))
            self._checks.end(key, generation)

    def failed(self, spawn: Spawn, stage: str, error: OSError, message: str = "") -> None:
        """Say that there is no child, because *stage* failed with *error*; *message* says more."""
        self._checks.end(spawn.key, spawn.generation)
        why = Exit(
            stage=stage,
            errno=error.errno,
            message=message
            or f"{stage}: {error.strerror or error}"
            + (f": {error.filename}" if error.filename else ""),
            at=self._system.wall(),
        )
        self._happened(spawn.key, SpawnFailed(spawn.generation, why, self._system.chance()))


def _passed(key: Key, spec: Component, sockets: tuple[int, ...]) -> Handover:
    """Return how listening sockets are handed over. Source: sd_listen_fds(3)."""
    names = spec.socket_names or (key.partition("#")[0],) * len(sockets)
    environ = (("LISTEN_FDS", str(len(sockets))), ("LISTEN_FDNAMES", ":".join(names)))
    return Handover(tuple(enumerate(sockets, FIRST_PASSED)), environ, (LISTEN_PID,))
