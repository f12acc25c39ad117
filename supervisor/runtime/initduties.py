"""What an init process has to do for the machine: its signals, its FIFO, its records.

Nothing here decides: a signal or a record of the FIFO becomes an event for the engine, and what the
engine wants written down is written by a worker thread.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
from collections import deque
from collections.abc import Callable
from functools import partial

import trio

from supervisor.engine.engine import Engine
from supervisor.model.component import Component, Key, Mode
from supervisor.model.effects import Record
from supervisor.model.events import Alarm, EngineEvent, SetRunlevel, SetVariable
from supervisor.system import initctl, machine, utmp
from supervisor.system.initctl import Fifo, Request
from supervisor.system.port import System
from supervisor.system.powerstatus import PATHS as POWER_STATUS
from supervisor.system.powerstatus import read_power_status

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGWINCH, signal.SIGPWR)
"""The signals that mean something else to an init process than to others, or only to it."""

_BY = "telinit"

_MOST_RECORDS = 1000
"""Records that wait to be written; a disk that hangs for longer loses some."""

_RECORDED = frozenset({Mode.RESPAWN, Mode.ONDEMAND})
"""Whose starts and ends are told in utmp: what may hold somebody's session."""


class InitDuties:
    """Listens for the machine, and keeps its records."""

    def __init__(
        self,
        system: System,
        engine: Engine,
        post: Callable[[EngineEvent], None],
        reload: Callable[[], None],
        *,
        anew: Callable[[], None] = lambda: None,
        upgrade: Callable[[], None] = lambda: None,
        fifo: str | None = None,
        power_status: tuple[str, ...] = POWER_STATUS,
        files: tuple[str, str] = (utmp.UTMP, utmp.WTMP),
    ) -> None:
        """Take what the duties need.

        Args:
            post: gives an event to the engine.
            reload: begins to read the configuration again.
            anew: opens anew what could not be had when we began.
            upgrade: begins to let the program on disk take over.
            fifo: where telinit writes to, if not at the usual places.
            power_status: where the power daemon says what has happened.
            files: utmp and wtmp.
        """
        self._system, self._engine = system, engine
        self._post, self._reload, self._anew = post, reload, anew
        self._upgrade = upgrade
        self._place = fifo
        self._fifo: Fifo | None = None
        self._removal = -1
        self._power_status = power_status
        self._files = files
        self._entries: deque[utmp.Entry] = deque(maxlen=_MOST_RECORDS)
        self._written = trio.Event()
        self._told: set[str] = set()
        self._pids: dict[Key, tuple[int, str]] = {}

    def begin(self) -> None:
        """Take the keyboard, and listen."""
        self.take_keyboard()
        self.listen()

    # --- signals

    def obey(self, number: int) -> bool:
        """Do what signal *number* means to an init process; return whether it means anything."""
        if number == signal.SIGINT:
            self._post(Alarm("ctrlaltdel", self._system.wall()))
        elif number == signal.SIGWINCH:
            self._post(Alarm("kbrequest", self._system.wall()))
        elif number == signal.SIGPWR:
            self._post(Alarm(read_power_status(self._power_status), self._system.wall()))
        else:
            return False
        return True

    # --- the FIFO

    def listen(self) -> None:
        """Open the FIFO, or open it anew where it is not what others find any more."""
        if self._fifo is not None and self._fifo.current:
            return
        self._close()
        failure: OSError | None = None
        for path in (self._place,) if self._place else initctl.PATHS:
            fifo = Fifo(path)
            try:
                fifo.open()
                self._system.watch(fifo.fd, self._read)
            except OSError as error:
                fifo.close()
                failure = failure or error
                continue
            self._fifo = fifo
            self._watch_removal(path)
            if self._place is None:
                initctl.link_others(path)
            self._told.discard("fifo")
            log.info("listening for telinit on %s", path)
            return
        if failure is not None and "fifo" not in self._told:
            self._told.add("fifo")
            log.warning(
                "cannot listen for telinit: %s: %s; SIGUSR1 tries again",
                failure.filename,
                failure.strerror,
            )

    def _watch_removal(self, path: str) -> None:
        self._removal = initctl.watch_removal(path)
        if self._removal >= 0:
            try:
                self._system.watch(self._removal, self._removed)
            except OSError:
                os.close(self._removal)
                self._removal = -1

    def _removed(self) -> None:
        with contextlib.suppress(OSError):
            os.read(self._removal, 4096)
        self.listen()

    def _close(self) -> None:
        for fd in (self._removal, -1 if self._fifo is None else self._fifo.fd):
            if fd >= 0:
                self._system.unwatch(fd)
        if self._removal >= 0:
            os.close(self._removal)
            self._removal = -1
        if self._fifo is not None:
            self._fifo.close()
            self._fifo = None

    def _read(self) -> None:
        if self._fifo is None:
            return
        try:
            found, lost = initctl.requests(self._fifo.read())
        except OSError as error:
            log.error("cannot read from %s: %s", self._fifo.path, error.strerror)
            self._close()
            return
        if lost:
            log.warning("ignored %d bytes on %s that are no record", lost, self._fifo.path)
        for request in found:
            self.carry_out(request)

    def carry_out(self, request: Request) -> None:
        """Do what a record asks for. Source: initreq.h of sysvinit."""
        now = self._system.wall()
        match request.command:
            case initctl.RUNLVL if request.runlevel in ("Q", "q"):
                self._reload()
            case initctl.RUNLVL if request.runlevel in ("U", "u"):
                self._upgrade()
            case initctl.RUNLVL:
                patience = float(max(request.sleeptime, 0))
                self._post(SetRunlevel(request.runlevel, _BY, now, patience))
            case initctl.POWERFAIL:
                self._post(Alarm("powerfail", now))
            case initctl.POWERFAILNOW:
                self._post(Alarm("powerfailnow", now))
            case initctl.POWEROK:
                self._post(Alarm("powerok", now))
            case initctl.SETENV:
                for variable in request.variables:
                    name, equals, value = variable.partition("=")
                    self._post(SetVariable(name, value if equals else None))
            case other:
                log.warning("ignored a record of telinit: command %d is unknown", other)

    # --- records

    def record(self, record: Record) -> None:
        """Write down what the engine says about the machine."""
        # What was mounted meanwhile may hide the FIFO, or be the place that it needs.
        self.listen()
        self._anew()
        if record.kind == "boot":
            self._write(utmp.boot())
        else:
            self._write(utmp.runlevel(record.level, record.previous))

    def observe(self, _revision: int, changed: frozenset[Key], _notes: object) -> None:
        """Write down who has started and ended, of what may hold somebody's session."""
        world = self._engine.world
        for key in changed:
            state, spec = world.states.get(key), world.specs.get(key)
            pid = None if state is None else state.pid
            before, name = self._pids.get(key, (None, ""))
            if pid == before:
                continue
            if before is not None:
                del self._pids[key]
                ended = None if state is None else state.last_exit
                code, number = (ended.code or 0, ended.signal or 0) if ended else (0, 0)
                self._write(utmp.Entry(utmp.DEAD_PROCESS, name, before, code=code, signal=number))
            if pid is not None and spec is not None and _is_recorded(key, spec):
                name = key[:4]
                self._pids[key] = (pid, name)
                self._write(utmp.Entry(utmp.INIT_PROCESS, name, pid))

    def _write(self, entry: utmp.Entry) -> None:
        self._entries.append(entry)
        self._written.set()

    async def serve(self) -> None:
        """Write records, for ever."""
        while True:
            while self._entries:
                entry = self._entries.popleft()
                job = partial(utmp.write, entry, *self._files)
                for problem in await self._system.blocking(job):
                    if problem not in self._told:
                        self._told.add(problem)
                        log.warning("%s", problem)
            self._written = trio.Event()
            await self._written.wait()

    # --- the machine

    def take_keyboard(self) -> None:
        """Have the kernel tell us of Ctrl-Alt-Del and the keyboard's request: on a machine alone.

        In a container this is refused, and not ours to ask for.
        """
        try:
            machine.disable_ctrl_alt_del()
        except OSError as error:
            if error.errno != errno.EINVAL:  # What a PID namespace answers.
                log.info("cannot have Ctrl-Alt-Del told to us: %s", error.strerror)
            return
        try:
            machine.accept_keyboard_signal(signal.SIGWINCH)
        except OSError as error:
            log.info("cannot have the keyboard's request told to us: %s", error.strerror)


def _is_recorded(key: Key, spec: Component) -> bool:
    return "#" not in key and spec.mode in _RECORDED and spec.utmp
