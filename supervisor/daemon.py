"""Wire everything together: the process, its outermost nursery, its signals, its start and end."""

from __future__ import annotations

import importlib
import logging
import os
import platform
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import trio

from supervisor import __version__, obedience, salvage
from supervisor.cli.piesd import Options
from supervisor.control.about import About, Hooks
from supervisor.control.control import Control
from supervisor.control.identity import Identities
from supervisor.engine.engine import Engine
from supervisor.engine.plan import Plan
from supervisor.executing import EX_UNAVAILABLE, hand_over
from supervisor.foothold import Foothold
from supervisor.model.component import InetAddress, Key, Output, UnixAddress
from supervisor.model.effects import Note
from supervisor.model.errors import SupervisorError
from supervisor.model.events import Apply, Boot
from supervisor.model.state import Stage
from supervisor.obedience import Obedience
from supervisor.runtime.holds import HoldMeter
from supervisor.runtime.initduties import InitDuties
from supervisor.runtime.mail import Facts
from supervisor.runtime.managed import feed_watchdog, tell_status
from supervisor.runtime.outbox import Outbox
from supervisor.runtime.output import Outputs, open_log_file
from supervisor.runtime.ownlog import OwnLog, configure, own_place
from supervisor.runtime.runner import Runner
from supervisor.runtime.writers import Target
from supervisor.survival import Survival
from supervisor.system import firstprocess
from supervisor.system.accounts import LinuxAccounts
from supervisor.system.cgroups import find_groups
from supervisor.system.detach import detach
from supervisor.system.fdstore import DescriptorStore
from supervisor.system.handover import Handover, Trial
from supervisor.system.keeper import Keeper
from supervisor.system.lastresort import exit_anyway
from supervisor.system.linux import LinuxSystem
from supervisor.system.notify import Notifier
from supervisor.system.process_setup import ignore_interrupts, prepare_process
from supervisor.system.shortage import shortage, why
from supervisor.system.sockets import make_directory
from supervisor.system.sparememory import keep_spare_memory
from supervisor.system.wakeup import wake_for_sure
from supervisor.tasks import has_machine, is_first, read_plan
from supervisor.upgrade import Upgrade

log = logging.getLogger("supervisor")

OUTPUT_GRACE = 2.0
"""Seconds for the last lines to be written at the end."""

TAKE_UP_AGAIN = 0.1
"""Seconds before a failed part of the daemon is taken up again, so that it cannot spin."""

LOAD_AGAIN = 1.0
"""Seconds until it is tried again to load what could not be read."""

EXIT_GRACE = 5.0
"""Seconds after the last line for everything else: requests to be answered, threads to return."""

STARTS_FIRST = 2.0
"""Seconds that starting components has to itself, before the web framework is loaded beside it."""


API = "supervisor.api.serve"


def reason(error: SupervisorError | OSError) -> str:
    """Return why piesd cannot start, for whoever started it."""
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"cannot start: {where}{error.strerror or error}"
    return str(error)


async def guarded(name: str, job: Callable[[], Awaitable[None]]) -> None:
    """Run *job*; report a failure instead of letting it cancel its siblings."""
    try:
        await job()
    except MemoryError:
        with suppress(MemoryError):  # There may be none for these words, either.
            log.error("cannot go on with %s: out of memory", name)
    except Exception as error:
        short = shortage(error)
        with suppress(MemoryError):
            if short is None:
                log.exception("cannot go on with %s: this is a bug in piesd", name)
            else:
                log.error("cannot go on with %s: %s", name, short.strerror)


async def kept(name: str, job: Callable[[], Awaitable[None]]) -> None:
    """Run *job*, which nobody can do without, anew whenever it fails; report each failure."""
    while True:
        await guarded(name, job)
        await trio.sleep(TAKE_UP_AGAIN)


class Daemon:
    """One piesd, from its locks to its last line."""

    def __init__(
        self,
        options: Options,
        plan: Plan,
        store: DescriptorStore,
        environ: dict[str, str],
        given: Handover | None = None,
        trial: Trial | None = None,
    ) -> None:
        self.options = options
        self.store = store
        self._environ = environ
        self._given, self._trial = given, trial
        self.successor: Handover | None = None
        """What the program that is to be executed in our place goes on from."""
        self._serving = trio.CancelScope()
        self._opening = trio.Lock()
        self._served = trio.Event()
        """Set when no request is answered any more."""
        self.holds = HoldMeter()
        self.plan = plan
        self.first = is_first(options)
        self.machine = has_machine(options, plan)
        essential = any(component.essential for component in plan.components)
        self.endless = self.machine and not essential
        """Whether this is an init process that nothing is to end, as its end is everybody's."""
        self.euid = os.geteuid()
        """Who we were when we began; which directories are ours goes by that."""
        self.again = False
        """Whether to execute this program anew after the end."""
        self._announced = False
        """Whether it has been said that we supervise: until then, a shortage refuses the start."""
        self._own_log: OwnLog
        self._more: trio.MemorySendChannel[socket.socket] | None = None
        self._stack = ExitStack()
        self._detached = detach(self._log_path()) if options.daemon else None
        try:
            self._prepare()
        except (SupervisorError, OSError) as error:
            if trial is not None:
                trial.go_back(reason(error))
            self._stack.close()
            if self._detached is not None:
                self._detached.failed(f"piesd: {reason(error)}")
            raise

    def _log_path(self) -> str:
        """Return where piesd's own log goes when it has no terminal: a directory that exists."""
        directory = self.plan.daemon.log_directory
        make_directory(directory)
        return os.path.join(directory, f"{self.plan.daemon.instance}.log")

    def _prepare(self) -> None:
        """Take everything that can be refused, before any component starts."""
        settings = self.plan.daemon
        self.place = own_place(settings, stderr=self.options.stderr, syslog=self.options.syslog)
        level = "debug" if self.options.debug > 0 else settings.log_level
        terminal = os.isatty(2)
        self._own_log = configure(settings.log_format, level, terminal=terminal, place=self.place)
        self.notifier = Notifier.from_environ()
        self.setup = prepare_process()
        self.foothold = Foothold(self.plan, self.setup, first=self.first)
        self._stack.callback(self.foothold.give_up)
        given = self._given
        self.foothold.take(
            force=self.options.force, handed=None if given is None else given.descriptors
        )
        self.survival = Survival(
            settings.runtime_directory,
            settings.instance,
            None if given is None else given.records,
        )
        self.system = LinuxSystem(
            instance=settings.instance,
            setup=self.setup,
            boot=self.survival.life,
            groups=find_groups(
                settings.instance, self.survival.life, everybody=settings.cgroups == "all"
            ),
        )
        self._stack.callback(self.system.dispose)
        self.keeper = Keeper(
            settings.runtime_directory, settings.instance, settings.pipe_size, store=self.store
        )
        self._stack.callback(self.keeper.close)

    def run(self) -> int:
        """Supervise until everything is down; return the exit code."""
        with self._stack:
            for note in (*self.setup.notes, *self.foothold.lacks):
                log.warning(note)
            if self.keeper.lack:
                log.warning("going on without kept output: %s", self.keeper.lack)
            for warning in self.plan.warnings:
                log.warning(str(warning))
            if self.machine:
                # Until it is listened for, Python or trio would make it the end of us.
                ignore_interrupts()
            try:
                code = trio.run(self._main, instruments=[self.holds])
            except BaseException as error:
                if self._trial is not None:
                    self._trial.go_back(f"{type(error).__name__}: {error}")
                if not self._announced and (short := shortage(error)) and os.getpid() != 1:
                    raise short from error
                interrupted = isinstance(error, KeyboardInterrupt) and not self.endless
                if os.getpid() != 1 or interrupted:
                    raise
                # Who wrote our log until now is gone with the loop.
                self._own_log.write = self._own_log.direct
                log.exception("cannot supervise any more: this is a bug in piesd")
                return firstprocess.keep_watch(endless=self.endless)
            self._call_off()
            if self.successor is not None:
                self._stack.pop_all()  # All of it is used on.
            return code

    # --- the loop

    async def _main(self) -> int:
        async with trio.open_nursery() as nursery:
            outputs = Outputs(
                self.system,
                nursery,
                self._output_note,
                self._open_log,
                syslog=self.plan.daemon.syslog,
                own_log=self.place,
                keeper=self.keeper,
            )
            self._own_log.write = outputs.write_own
            outbox = self.outbox = self._outbox()
            runner = self.runner = Runner(
                self._engine(),
                self.system,
                outputs,
                outbox=outbox,
                notify_prefix=self._prefix(),
                qotd=self._quote(),
            )
            self.upgrade = Upgrade(runner, self.survival, self.foothold)
            runner.observe(self._log_notes)
            control = self.control = self._make_control(runner)
            duties = self._duties(nursery, runner, control)
            obeying = Obedience(
                runner,
                control,
                ending=self._end_for_good,
                anew=self._open_lost_sockets,
                duties=duties,
                endless=self.endless,
                upgrade=self.upgrade,
            )
            # It is needed for as long as there is a loop.
            trio.lowlevel.spawn_system_task(kept, "waking the loop", wake_for_sure)
            await nursery.start(obeying.serve)
            for name, job in (
                ("watching descriptors", self.system.serve),
                ("the listeners", runner.listeners.run),
                ("the inbox", runner.run),
                ("the mail", outbox.serve),
            ):
                nursery.start_soon(kept, name, job)
            if duties is not None:
                duties.begin()
                nursery.start_soon(kept, "the records of the machine", duties.serve)
            now = self.system.wall()
            given = self._given or Handover(records=(), descriptors={})
            living = self.survival.begin(runner, given.descriptors, given.clients)
            outputs.recover(self.plan.components, living or ())
            nursery.start_soon(guarded, "the ledger", self.survival.serve)
            # What a program of this very process has handed over is no leftover.
            if living is not None and self._given is None and not self.options.adopt:
                await self.survival.end_what_was_left(runner)
            runner.post(
                Apply(
                    self.plan.components,
                    self.plan.daemon.shutdown_timeout,
                    "the start",
                    now,
                    self.plan.daemon.runlevel,
                    self.plan.daemon.max_starting,
                )
            )
            runner.tell_news()
            if runner.engine.stage is Stage.NEW:  # Else another has booted, and we go on.
                runner.post(Boot(now))
            await nursery.start(self._serve, control)
            keep_spare_memory()
            self._announce()
            for name, job in (
                ("the notices", self.notifier.serve),
                ("the watchdog", partial(feed_watchdog, self.notifier, runner)),
                ("the status", partial(tell_status, self.notifier, runner)),
            ):
                nursery.start_soon(guarded, name, job)
            if given.back:
                log.error("the new piesd was found wanting, and we go on: %s", given.back)
            await self._ended_or_upgraded()
            if self.upgrade.wanted.is_set():
                await self._make_way(outputs)
                nursery.cancel_scope.cancel()
                return 0
            if self.endless:
                log.warning("everything is down, and an init process does not end")
                await trio.sleep_forever()
            log.info("everything is down; ending with code %d", runner.code)
            self.survival.end()
            control.close()
            await outbox.aclose(OUTPUT_GRACE)
            await outputs.aclose(OUTPUT_GRACE)
            self.keeper.clear()
            self._own_log.write = self._own_log.direct
            # From here on only a thread that hangs in the kernel can keep us.
            self._call_off = exit_anyway(EXIT_GRACE, runner.code, self._stack.close)
            nursery.cancel_scope.cancel()
        return runner.code

    async def _ended_or_upgraded(self) -> None:
        """Return when everything is down, or when another program is to take over."""
        async with trio.open_nursery() as nursery:

            async def first(event: trio.Event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(first, self.runner.ended)
            nursery.start_soon(first, self.upgrade.wanted)

    async def _make_way(self, outputs: Outputs) -> None:
        """Answer what was asked, and let everything be as it is for the program that follows."""
        self.notifier.reloading()
        self._serving.cancel()
        await self._served.wait()
        successor = self.successor = await self.upgrade.hand_over()
        log.info("executing piesd anew; every component stays as it is")
        with trio.move_on_after(OUTPUT_GRACE):
            await outputs.written()  # What is not, is found where it is kept.
        self._own_log.write = self._own_log.direct

        def leave() -> None:
            hand_over(self._environ, self.setup, successor)

        self._call_off = exit_anyway(EXIT_GRACE, EX_UNAVAILABLE, leave)

    def _open_log(self, settings: Output) -> Target:
        return open_log_file(settings, self.control.configuration.plan.daemon.log_directory)

    def _engine(self) -> Engine:
        """Return an engine; what it gives to the commands of exit actions is pies' promise."""
        facts = {"PIES_VERSION": __version__, "PIES_MASTER_PID": str(os.getpid())}
        timeout = self.plan.daemon.shutdown_timeout
        if not is_first(self.options):
            return Engine(shutdown_timeout=timeout, command_environment=facts)
        return Engine(
            shutdown_timeout=timeout,
            command_environment=facts,
            init=True,
            runlevel=self.options.runlevel,
            environment=salvage.environment(),
        )

    def _duties(self, nursery: trio.Nursery, runner: Runner, control: Control) -> InitDuties | None:
        """Return what does an init process's duties, if this is the one of its machine."""
        if not self.machine:
            return None

        def anew() -> None:
            nursery.start_soon(guarded, "the sockets", self._open_lost_sockets)

        reload = partial(nursery.start_soon, obedience.reload, control, "telinit")
        upgrade = partial(nursery.start_soon, obedience.take_over, self.upgrade)
        duties = InitDuties(
            self.system, runner.engine, runner.post, reload, anew=anew, upgrade=upgrade
        )
        runner.record = duties.record
        runner.observe(duties.observe)
        return duties

    def _end_for_good(self) -> None:
        self.again = False  # Whoever sends this wants it to end, and does not expect it back.

    def _outbox(self) -> Outbox:
        settings = self.plan.daemon
        facts = Facts(instance=settings.instance, version=__version__, host=socket.gethostname())
        directory = os.path.join(settings.state_directory, "mail", settings.instance)
        return Outbox(self.system, settings.mail, facts, directory)

    def _prefix(self) -> str:
        """Return how the paths of the sockets begin on which children say that they are ready."""
        settings = self.plan.daemon
        return os.path.join(settings.runtime_directory, f"{settings.instance}.notify.")

    def _quote(self) -> str:
        """Return the file of the quote of the day."""
        settings = self.plan.daemon
        usual = os.path.join(settings.state_directory, f"{settings.instance}.qotd")
        return settings.qotd_file or usual

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
            sockets=self._urls(),
        )
        hooks = Hooks(
            reexec=self._plan_again,
            reloading=self._tell_reloading,
            ready=self._tell_ready,
            endless=self.endless,
            longest_hold=lambda: self.holds.longest,
            upgrade=self.upgrade.prepare,
            hand_over=self.upgrade.wanted.set,
        )
        return Control(
            runner,
            plan=self.plan,
            load=partial(read_plan, self.options, euid=self.euid),
            about=about,
            hooks=hooks,
            identities=Identities(self.plan.control, accounts=LinuxAccounts()),
        )

    def _urls(self) -> tuple[str, ...]:
        control = self.plan.control
        scheme = "http" if control.tls is None else "https"
        return tuple(_url(address, scheme) for address in self.foothold.controls.addresses)

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
        ready = False
        self._more, more = trio.open_memory_channel[socket.socket](0)
        try:
            module = await self._load_api()
            async with trio.open_nursery() as nursery:
                self._serving = nursery.cancel_scope
                sockets = self.foothold.controls.sockets
                await nursery.start(partial(module.serve, more=more), control, sockets)
                ready = True
                task_status.started()
        except Exception:
            log.exception("cannot answer requests any more: this is a bug in piesd")
        finally:
            self._served.set()
        if not ready:
            task_status.started()

    async def _load_api(self) -> Any:
        """Return the web framework, which may have to wait until the system can read its files."""
        told = False
        while True:
            try:
                return await self.system.blocking(importlib.import_module, API)
            except (OSError, ImportError, MemoryError) as error:
                if not told:
                    log.error("cannot answer requests yet: %s; trying again", why(error))
                    told = True
            importlib.invalidate_caches()  # What could not be read is taken for missing.
            await trio.sleep(LOAD_AGAIN)

    async def _open_lost_sockets(self) -> None:
        """Make the control sockets anew that clients cannot find any more."""
        if self._more is None:
            return  # Nobody serves them yet.
        async with self._opening:  # Two at once would both open the same.
            for address in self.foothold.controls.lost():
                try:
                    opened = await self.system.blocking(self.foothold.controls.open, address)
                except SupervisorError as error:
                    log.error("%s", error)
                    continue
                await self._more.send(opened)
                log.warning("the control socket %s had gone: it is there again", address.url)

    # --- telling

    def _announce(self) -> None:
        self._announced = True
        for url in self._urls():
            log.info("control socket: %s", url)
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
        if self._trial is not None:
            self._trial.passed()
        if self._detached is not None:
            self._detached.ready()

    def _log_notes(self, _revision: int, _changed: frozenset[Key], notes: Sequence[Note]) -> None:
        for note in notes:
            level = _LEVELS[note.level]
            if log.isEnabledFor(level):
                about = {"component": note.key} if note.key else {}
                log.log(level, "%s", note.text, extra={"kind": note.kind, **about})
            if note.kind == "shutdown":
                self.notifier.stopping(note.text)

    def _output_note(self, kind: str, level: str, key: Key, text: str) -> None:
        log.log(_LEVELS[level], "%s", text, extra={"component": key, "kind": kind})


_LEVELS = {name.lower(): number for name, number in logging.getLevelNamesMapping().items()}
"""The levels of notes, as logging has them."""


def _url(address: InetAddress | UnixAddress, scheme: str) -> str:
    return address.url if isinstance(address, UnixAddress) else f"{scheme}://{address.url[11:]}"
