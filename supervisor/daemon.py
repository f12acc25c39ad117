"""Wire everything together: the process, its outermost nursery, its signals, its start and end."""

from __future__ import annotations

import importlib
import logging
import os
import platform
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial

import trio

from supervisor import __version__
from supervisor.cli.piesd import Options, parse
from supervisor.config.load import load
from supervisor.config.sources import default_files
from supervisor.control.about import About, Hooks
from supervisor.control.control import Control
from supervisor.control.identity import Caller
from supervisor.engine.describe import summary
from supervisor.engine.engine import Engine
from supervisor.engine.plan import Plan
from supervisor.model.component import InetAddress, Key, Output, UnixAddress
from supervisor.model.effects import Note
from supervisor.model.errors import ConfigRejected, SupervisorError
from supervisor.model.events import Apply, Boot, Hurry, Shutdown
from supervisor.model.settings import SourceFile
from supervisor.model.state import Stage
from supervisor.runtime.holds import HoldMeter
from supervisor.runtime.output import Outputs
from supervisor.runtime.ownlog import OwnLog, configure, write_directly
from supervisor.runtime.runner import Runner
from supervisor.system.detach import detach
from supervisor.system.lastresort import exit_anyway
from supervisor.system.linux import LinuxSystem
from supervisor.system.locks import InstanceLock, PidFile
from supervisor.system.logfile import LogFile
from supervisor.system.notify import Notifier
from supervisor.system.process_setup import ProcessSetup, prepare_process, restore_nofile
from supervisor.system.sockets import closing, make_directory, open_control

log = logging.getLogger("supervisor")

EX_CONFIG = 78
"""The exit code for a configuration with problems. Source: sysexits(3)."""

EX_UNAVAILABLE = 69
"""The exit code when piesd cannot start for another reason."""

OUTPUT_GRACE = 2.0
"""Seconds for the last lines to be written at the end."""

TAKE_UP_AGAIN = 0.1
"""Seconds before a failed part of the daemon is taken up again, so that it cannot spin."""

EXIT_GRACE = 5.0
"""Seconds after the last line for everything else: requests to be answered, threads to return."""

STARTS_FIRST = 2.0
"""Seconds that starting components has to itself, before the web framework is loaded beside it."""

STATUS_EVERY = 1.0
"""Seconds between two lines of status for the service manager."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run piesd and return its exit code."""
    original_environment = dict(os.environ)
    options = parse(sys.argv[1:] if argv is None else argv)
    try:
        plan = _load(options, options.files or default_files(os.environ, os.geteuid()))
    except ConfigRejected as rejected:
        for problem in rejected.problems:
            print(problem, file=sys.stderr)
        return EX_CONFIG
    if options.check:
        for warning in plan.warnings:
            print(warning, file=sys.stderr)
        return 0
    try:
        daemon = Daemon(options, plan)
        code = daemon.run()
    except (SupervisorError, OSError) as error:
        print(f"piesd: {_reason(error)}", file=sys.stderr)
        return EX_UNAVAILABLE
    if daemon.again:
        _execute_again(original_environment, daemon.setup)
    return code


def _load(options: Options, files: Sequence[SourceFile]) -> Plan:
    return load(
        files,
        environ=os.environ,
        euid=os.geteuid(),
        instance=options.instance,
        sockets=options.sockets,
    )


def _reason(error: SupervisorError | OSError) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"cannot start: {error.filename}: {error.strerror}"
    return str(error)


def _execute_again(environment: dict[str, str], setup: ProcessSetup) -> None:
    """Replace this process by a new piesd: the same PID, the same arguments."""
    restore_nofile(setup)
    words = [word for word in sys.orig_argv if word != "--daemon"]
    try:
        os.execve(sys.executable, words, environment)
    except OSError as error:
        print(f"piesd: cannot execute {sys.executable} again: {error.strerror}", file=sys.stderr)


async def guarded(name: str, job: Callable[[], Awaitable[None]]) -> None:
    """Run *job*; report a failure instead of letting it cancel its siblings."""
    try:
        await job()
    except Exception:
        log.exception("cannot go on with %s: this is a bug in piesd", name)


async def kept(name: str, job: Callable[[], Awaitable[None]]) -> None:
    """Run *job*, which nobody can do without, anew whenever it fails; report each failure."""
    while True:
        await guarded(name, job)
        await trio.sleep(TAKE_UP_AGAIN)


class Daemon:
    """One piesd, from its locks to its last line."""

    def __init__(self, options: Options, plan: Plan) -> None:
        self.options = options
        self.holds = HoldMeter()
        self.plan = plan
        self.again = False
        """Whether to execute this program anew after the end."""
        self._own_log: OwnLog
        self._stack = ExitStack()
        self._detached = detach(self._log_path()) if options.daemon else None
        try:
            self._prepare()
        except (SupervisorError, OSError) as error:
            self._stack.close()
            if self._detached is not None:
                self._detached.failed(f"piesd: {_reason(error)}")
            raise

    def _log_path(self) -> str:
        """Return where piesd's own log goes when it has no terminal: a directory that exists."""
        directory = self.plan.daemon.log_directory
        make_directory(directory)
        return os.path.join(directory, f"{self.plan.daemon.instance}.log")

    def _prepare(self) -> None:
        """Take everything that can be refused, before any component starts."""
        settings = self.plan.daemon
        self._own_log = configure(settings.log_format, settings.log_level, terminal=os.isatty(2))
        self.notifier = Notifier.from_environ()
        self.setup = prepare_process()
        make_directory(settings.runtime_directory)
        lock = InstanceLock(settings.runtime_directory, settings.instance)
        lock.acquire()
        self._stack.callback(lock.release)
        self.sockets: list[socket.socket] = []
        for address in self.plan.control.sockets:
            self.sockets.append(self._open(address))
        self.system = LinuxSystem(instance=settings.instance, setup=self.setup)
        self._stack.callback(self.system.dispose)

    def _open(self, address: InetAddress | UnixAddress) -> socket.socket:
        control = open_control(address)
        self._stack.callback(closing(control, address))
        return control

    def run(self) -> int:
        """Supervise until everything is down; return the exit code."""
        with self._stack:
            for note in self.setup.notes:
                log.warning(note)
            for warning in self.plan.warnings:
                log.warning(str(warning))
            code = trio.run(self._main, instruments=[self.holds])
            self._call_off()
            return code

    # --- the loop

    async def _main(self) -> int:
        async with trio.open_nursery() as nursery:
            outputs = Outputs(self.system, nursery, self._output_note, _open_log)
            self._own_log.write = outputs.write_own
            engine = Engine(shutdown_timeout=self.plan.daemon.shutdown_timeout)
            runner = self.runner = Runner(engine, self.system, outputs)
            runner.observe(self._log_notes)
            control = self.control = self._make_control(runner)
            await nursery.start(self._signals, runner, control)
            for name, job in (
                ("watching descriptors", self.system.serve),
                ("the listeners", runner.listeners.run),
                ("the inbox", runner.run),
            ):
                nursery.start_soon(kept, name, job)
            now = self.system.wall()
            runner.post(
                Apply(self.plan.components, self.plan.daemon.shutdown_timeout, "the start", now)
            )
            runner.post(Boot(now))
            await nursery.start(self._serve, control)
            with self._pid_file():
                self._announce()
                nursery.start_soon(guarded, "the watchdog", partial(self._watchdog, runner))
                nursery.start_soon(guarded, "the status", partial(self._tell_status, runner))
                await runner.ended.wait()
                log.info("everything is down; ending with code %d", runner.code)
                control.close()
                await outputs.aclose(OUTPUT_GRACE)
                self._own_log.write = write_directly
            # From here on only a thread that hangs in the kernel can keep us.
            self._call_off = exit_anyway(EXIT_GRACE, runner.code, self._stack.close)
            nursery.cancel_scope.cancel()
        return runner.code

    def _make_control(self, runner: Runner) -> Control:
        about = About(
            pid=os.getpid(),
            argv=tuple(sys.orig_argv),
            binary=sys.executable,
            instance=self.plan.daemon.instance,
            version=__version__,
            python=platform.python_version(),
            system=f"{platform.system()} {platform.release()}",
            started_at=self.system.wall(),
            sockets=tuple(_url(address) for address in self.plan.control.sockets),
        )
        hooks = Hooks(
            reexec=self._plan_again,
            reloading=self._tell_reloading,
            ready=self._tell_ready,
            longest_hold=lambda: self.holds.longest,
        )
        return Control(
            runner, plan=self.plan, load=partial(_load, self.options), about=about, hooks=hooks
        )

    def _plan_again(self) -> None:
        self.again = True

    def _tell_reloading(self) -> None:
        self.notifier.reloading()

    def _tell_ready(self, status: str) -> None:
        self.notifier.ready(status)

    async def _serve(
        self, control: Control, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Answer requests. The web framework is loaded only now: components start before it.

        The sockets are open already; whoever is early waits in their queues.
        """
        with trio.move_on_after(STARTS_FIRST):
            await self.runner.handled()  # Python code in two threads only takes turns.
        module = await self.system.blocking(importlib.import_module, "supervisor.api.serve")
        ready = False
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(module.serve, control, self.sockets)
                ready = True
                task_status.started()
        except Exception:
            log.exception("cannot answer requests any more: this is a bug in piesd")
        if not ready:
            task_status.started()

    async def _signals(
        self,
        runner: Runner,
        control: Control,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Obey signals: TERM, INT and QUIT shut down, HUP reloads, USR1 reopens logs."""
        ends = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
        others = (signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
        async with trio.open_nursery() as nursery:
            with trio.open_signal_receiver(*ends, *others) as received:
                task_status.started()
                async for number in received:
                    if number == signal.SIGCHLD:
                        runner.reap()
                    elif number in ends:
                        self._end(runner, signal.Signals(number).name)
                    elif number == signal.SIGHUP:
                        nursery.start_soon(guarded, "the reload", partial(_reload, control))
                    else:
                        runner.outputs.reopen()
                        log.info("opened the log files anew, as SIGUSR1 asks")

    def _end(self, runner: Runner, by: str) -> None:
        self.again = False  # Whoever sends this wants it to end, and does not expect it back.
        if runner.engine.stage in (Stage.STOPPING, Stage.LAST):
            runner.post(Hurry())
        else:
            runner.post(Shutdown(by))

    # --- telling

    def _announce(self) -> None:
        for address in self.plan.control.sockets:
            log.info("control socket: %s", _url(address))
        count = len(self.plan.components)
        noun = "component" if count == 1 else "components"
        log.info(
            "piesd %s supervises %d %s as %r, PID %d",
            __version__,
            count,
            noun,
            self.plan.daemon.instance,
            os.getpid(),
        )
        self.notifier.ready(f"supervising {count} {noun}")
        if self._detached is not None:
            self._detached.ready()

    def _pid_file(self) -> ExitStack:
        stack = ExitStack()
        path = self.plan.daemon.pidfile
        if path is None:
            return stack
        file = PidFile(path)
        try:
            file.write()
        except OSError as error:
            log.error("cannot write the pid file %s: %s", path, error.strerror)
        else:
            stack.callback(file.remove)
        return stack

    def _log_notes(self, _revision: int, _changed: frozenset[Key], notes: Sequence[Note]) -> None:
        for note in notes:
            level = logging.getLevelNamesMapping()[note.level.upper()]
            about = {"component": note.key} if note.key else {}
            log.log(level, "%s", note.text, extra={"kind": note.kind, **about})
            if note.kind == "shutdown":
                self.notifier.stopping(note.text)

    def _output_note(self, kind: str, level: str, key: Key, text: str) -> None:
        number = logging.getLevelNamesMapping()[level.upper()]
        log.log(number, "%s", text, extra={"component": key, "kind": kind})

    async def _watchdog(self, runner: Runner) -> None:
        """Feed the service manager's watchdog, but only while the inbox is worked off."""
        interval = self.notifier.watchdog_interval()
        while interval is not None:
            await runner.handled()
            self.notifier.watchdog()
            await trio.sleep(interval)

    async def _tell_status(self, runner: Runner) -> None:
        """Tell the service manager what runs, after changes and at most once a second."""
        if not self.notifier.active:
            return
        changed = trio.Event()

        def note(_revision: int, _changed: frozenset[Key], _notes: Sequence[Note]) -> None:
            changed.set()

        runner.observe(note)
        while True:
            await changed.wait()
            await trio.sleep(STATUS_EVERY)
            changed = trio.Event()
            if runner.engine.stage is Stage.NORMAL:
                self.notifier.status(summary(runner.engine.world))


async def _reload(control: Control) -> None:
    try:
        await control.reload(Caller("SIGHUP", "admin"))
    except SupervisorError as error:
        log.error("%s", error)


def _open_log(settings: Output) -> LogFile:
    assert settings.path is not None, "the model promises a path for a file"
    return LogFile(settings.path, settings.rotate_size, settings.rotate_keep)


def _url(address: InetAddress | UnixAddress) -> str:
    return address.url if isinstance(address, UnixAddress) else f"http://{address.url[11:]}"
