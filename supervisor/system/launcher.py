"""Carry a launch from its order to its report, whatever of it may block."""

from __future__ import annotations

import errno
import logging
import math
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import trio
from msgspec import Struct
from msgspec.structs import replace

from supervisor.model.component import Component
from supervisor.model.state import Exit
from supervisor.system import spawn
from supervisor.system.cgroups import NoGroups
from supervisor.system.failures import explain
from supervisor.system.mounts import Mounts
from supervisor.system.null import open_null
from supervisor.system.port import Launch, Launched, LaunchFailed, P, Report
from supervisor.system.preparing import prepare, touched
from supervisor.system.process_setup import ProcessSetup
from supervisor.system.program import (
    CannotSpawn,
    Program,
    Streams,
    close_streams,
    duplicate,
)
from supervisor.system.readiness import Readiness
from supervisor.system.recipes import Recipes
from supervisor.system.spawn import Failure, Verdict
from supervisor.system.trees import MARKER, Forest, Tree
from supervisor.system.users import Identity, NoIdentity, Users, resolve

T = TypeVar("T")

log = logging.getLogger(__name__)


class Blocking(Protocol):
    """Runs a job in a worker thread, as `System.blocking` does."""

    async def __call__(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what *job* returns."""


class _Task(Struct, frozen=True):
    """One launch under way."""

    launch: Launch
    report: Report


class _Pending(Struct, frozen=True):
    """A child that was forked and has not said yet whether it executes its program."""

    task: _Task
    program: Program
    verdict: Verdict
    tree: Tree


class Launcher:
    """Starts children and reports each launch exactly once.

    What may hang is kept off the trio thread: names are looked up in a worker thread, and a child
    whose files are not known to be local is forked and watched instead of waited for.

    Args:
        blocking: runs a function in a worker thread.
        wall: returns Unix time.
    """

    def __init__(
        self,
        setup: ProcessSetup,
        forest: Forest,
        readiness: Readiness,
        groups: NoGroups,
        *,
        blocking: Blocking,
        wall: Callable[[], float],
    ) -> None:
        self._recipes = Recipes({k: v for k, v in setup.environ.items() if k != MARKER})
        self._nofile = setup.nofile
        self._sealed = setup.sealed
        self._forest = forest
        self._readiness = readiness
        self._groups = groups
        self._blocking = blocking
        self._wall = wall
        self._mounts = Mounts()
        self._users = Users()
        self._null = open_null()
        self._pending: dict[int, _Pending] = {}
        self.slow_starts = 0
        """Starts by a worker thread whose child's number is not known yet."""
        self._send_job, self._jobs = trio.open_memory_channel[
            tuple[_Task, Callable[[], Awaitable[None]]]
        ](math.inf)
        if spawn.FORK_EXEC is None:
            log.warning("this Python has no fork_exec that we know: starts are slower")

    def dispose(self) -> None:
        """Free all descriptors."""
        for pending in self._pending.values():
            os.close(pending.verdict.fd)
        self._pending.clear()
        self._mounts.dispose()
        self._send_job.close()
        self._jobs.close()
        os.close(self._null)

    async def serve(self) -> None:
        """Do what may block, for ever."""
        async with trio.open_nursery() as nursery:
            async for task, job in self._jobs:
                nursery.start_soon(self._guarded, task, job)

    async def _guarded(self, task: _Task, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except Exception as error:
            log.exception("cannot start %s", task.launch.key)
            self._fail(task, "fork", errno.EIO, f"fork: {error}")

    def _later(self, task: _Task, job: Callable[[], Awaitable[None]]) -> None:
        """Have `serve` run *job*."""
        self._send_job.send_nowait((task, job))

    # --- who

    def launch(self, launch: Launch, report: Report) -> None:
        """Start a child; see `supervisor.system.port.System.launch`."""
        task, spec, streams = (
            _Task(launch, report),
            launch.spec,
            self._streams(launch),
        )
        identity = None
        known = spec.user is None and not spec.group
        if not known:
            identity = self._users.cached(spec.user, spec.group, spec.allgroups)
            known = identity is not None
        paths = touched(spec)
        if known and not paths:
            self._start(task, streams, identity, {})
        elif known and self._quick(spec, paths):
            try:
                contents = prepare(spec)
            except CannotSpawn as error:
                self._refuse(task, error)
                return
            self._start(task, streams, identity, contents)
        elif copies := self._copy(task, streams):
            self._later(task, partial(self._start_when_known, task, copies))

    def _quick(self, spec: Component, paths: Sequence[str]) -> bool:
        """Tell whether the files that a start reads or removes are where nothing hangs."""
        try:
            here = os.fsencode(spec.chdir or "/")
            places = [os.path.join(here, os.fsencode(path)) for path in paths]
        except UnicodeEncodeError:
            return True  # There can be no such file, and the attempt will say so.
        return self._mounts.local(*places)

    def _streams(self, launch: Launch) -> Streams:
        stdin = launch.stdin
        if stdin is None:
            stdin = self._null if launch.spec.nullinput else -1
        return Streams(stdin, launch.stdout, launch.stderr, launch.extra)

    def _copy(self, task: _Task, streams: Streams) -> Streams | None:
        """Return descriptors that the caller does not close under us, or report the failure."""
        try:
            return duplicate(streams)
        except OSError as error:
            number = error.errno or errno.EMFILE
            self._fail(task, "fork", number, f"fork: {os.strerror(number)}")
            return None

    async def _start_when_known(self, task: _Task, streams: Streams) -> None:
        spec, identity = task.launch.spec, None
        try:
            if spec.user is not None or spec.group:
                identity = await self._blocking(resolve, spec.user, spec.group, spec.allgroups)
                self._users.remember(spec.user, spec.group, spec.allgroups, identity)
            contents = await self._blocking(prepare, spec)
        except (NoIdentity, CannotSpawn) as error:
            self._fail(task, error.stage, error.number, error.message)
        else:
            self._start(task, streams, identity, contents)
        finally:
            close_streams(streams)

    # --- what

    def _start(
        self,
        task: _Task,
        streams: Streams,
        identity: Identity | None,
        contents: Mapping[str, str],
    ) -> None:
        """Fork the child; what follows depends on whether it may hang."""
        launch = task.launch
        try:
            program, places = self._program(launch, identity, contents)
            if spawn.FORK_EXEC is None:
                if copies := self._copy(task, streams):
                    self._later(task, partial(self._start_slowly, task, program, copies))
                return
            if program.place is None:
                self._groups.prepare(launch.key)
            local = not program.switches and self._mounts.local(*places)
            vfork = local and not program.held
            pid, verdict = spawn.start(
                program, streams, vfork=vfork, nofile=self._nofile, sealed=self._sealed
            )
        except CannotSpawn as error:
            self._refuse(task, error)
            return
        tree = self._forest.plant(launch.key, launch.generation, pid)
        if program.place is None:
            self._forest.enclose(tree)
        pending = _Pending(task, program, verdict, tree)
        if self._decide(pid, pending, may_look=local):
            return
        self._pending[pid] = pending

        def ready() -> None:
            self._decide(pid, pending, may_look=local)

        self._readiness.watch(verdict.fd, ready)

    def _program(
        self, launch: Launch, identity: Identity | None, contents: Mapping[str, str]
    ) -> tuple[Program, list[bytes]]:
        """Return what is executed, and which paths that touches.

        Raises:
            CannotSpawn: it is nothing that can be executed, or a rule cannot be applied.
        """
        own = dict(launch.environ)
        own[MARKER] = self._forest.marker(launch.key, launch.generation)
        often = "#" in launch.key  # All connections of a listener have the same specification.
        program, places = self._recipes.program(launch.spec, identity, contents, own, often=often)
        if launch.own_pid is not None:
            program = replace(program, own_pid=launch.own_pid)
        if self._groups.limit(launch.key, launch.spec.cgroup):
            # It must not fork, or take memory, before it is where its limits are.
            program = replace(program, place=partial(self._groups.join, launch.key))
        return program, places

    def _decide(self, pid: int, pending: _Pending, *, may_look: bool) -> bool:
        """Report a launch if its child has spoken. *may_look*: its files are local."""
        verdict = pending.verdict.hear()
        if verdict is False:
            return False
        self._settle(pid, pending)
        if verdict is True:
            self._succeed(pending.task, pid)
            return True
        assert isinstance(verdict, Failure)
        self._forest.forget(pending.tree)
        if may_look:
            self._fail(pending.task, *explain(pending.program, verdict))
        else:
            job = partial(self._explain_later, pending.task, pending.program, verdict)
            self._later(pending.task, job)
        return True

    def _settle(self, pid: int, pending: _Pending) -> None:
        if self._pending.pop(pid, None) is not None:
            self._readiness.unwatch(pending.verdict.fd)
        os.close(pending.verdict.fd)

    async def _explain_later(self, task: _Task, program: Program, failure: Failure) -> None:
        self._fail(task, *await self._blocking(explain, program, failure))

    async def _start_slowly(self, task: _Task, program: Program, streams: Streams) -> None:
        """Start by subprocess in a worker thread, for want of a fork_exec."""
        key, generation = task.launch.key, task.launch.generation
        self._forest.expect(key, generation)
        self.slow_starts += 1
        try:
            result = await self._blocking(spawn.start_slowly, program, streams, nofile=self._nofile)
        except CannotSpawn as error:
            self._refuse(task, error)
            return
        finally:
            self.slow_starts -= 1
            self._forest.give_up(key, generation)
            close_streams(streams)
        if isinstance(result, Failure):
            await self._explain_later(task, program, result)
            return
        self._forest.enclose(self._forest.plant(key, generation, result))
        self._succeed(task, result)
        # It may have ended already, when nobody knew whose end that was: look again.
        signal.raise_signal(signal.SIGCHLD)

    # --- reports

    def ended(self, pid: int) -> None:
        """Report the launch of a child that was reaped, if that is still to do."""
        pending = self._pending.get(pid)
        if pending is not None and not self._decide(pid, pending, may_look=False):
            # Nobody is left to write: something killed it before it said a word.
            self._settle(pid, pending)
            self._succeed(pending.task, pid)

    def _succeed(self, task: _Task, pid: int) -> None:
        task.report(Launched(task.launch.key, task.launch.generation, pid))

    def _refuse(self, task: _Task, error: CannotSpawn) -> None:
        self._fail(task, error.stage, error.number, error.message)

    def _fail(self, task: _Task, stage: str, number: int, message: str) -> None:
        exit_ = Exit(stage=stage, errno=number, message=message, at=self._wall())
        task.report(LaunchFailed(task.launch.key, task.launch.generation, exit_))
