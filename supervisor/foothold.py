"""What piesd takes before anything starts: its directory, its lock, its sockets, its user."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

from supervisor.config.settings import runtime_directory
from supervisor.engine.plan import Plan
from supervisor.model.component import UnixAddress
from supervisor.model.errors import SupervisorError
from supervisor.system.controls import ControlSockets
from supervisor.system.locks import InstanceLock, PidFile
from supervisor.system.privileges import CannotBecome, become
from supervisor.system.process_setup import ProcessSetup
from supervisor.system.sockets import check_directory, is_for_one, make_directory
from supervisor.system.users import NoIdentity, find_user

log = logging.getLogger("supervisor")

T = TypeVar("T")

LOCK, CONTROL = "lock", "control:"
"""The names, or their beginnings, under which our files are handed over."""

LOADED_LATE = (
    "supervisor.api.serve",
    "supervisor.config.inetd",
    "supervisor.config.passwords",
    "supervisor.config.pies.reader",
    "supervisor.runtime.httpcheck",
    "supervisor.runtime.smtp",
    "argon2",
    "email.message",
    "email.policy",
    "email.utils",
    "encodings.idna",
    "ssl",
)
"""Modules that are loaded when they are needed. A user that piesd becomes may not read them."""


class Foothold:
    """What belongs to this instance alone while it runs.

    `lacks` are sentences about what the first process of a system has to do without.
    """

    def __init__(self, plan: Plan, setup: ProcessSetup, *, first: bool) -> None:
        """Take nothing yet.

        Args:
            plan: says what there is to take.
            setup: gets the environment of whom we become.
            first: this is the first process of a system, which does without what is not to be had.
        """
        self.plan, self.setup, self.first = plan, setup, first
        self.lacks: list[str] = []
        self.controls = ControlSockets()
        self._euid = os.geteuid()
        """Who we were when we began; which directories are ours goes by that."""
        self._stack = ExitStack()
        settings = plan.daemon
        self.pid_file = PidFile(settings.pidfile) if settings.pidfile else None

    def take(self, *, force: bool, handed: Mapping[str, int] | None = None) -> None:
        """Take everything that can be refused. What was taken stays so if something else is not.

        Args:
            force: also if the pid file names a live process.
            handed: what the program that was here before has handed over, see `files`.

        Raises:
            SupervisorError: it cannot be had.
            OSError: the same.
        """
        settings = self.plan.daemon
        if self.pid_file is not None:
            # Nobody was here before the first process: the file is from another life.
            self.pid_file.check(force=force or self.first or handed is not None)
        self._stack.callback(self.controls.close)
        ours = self._if_possible("a runtime directory", self._have_directory) or []
        handed = handed or {}
        lock = self._lock = InstanceLock(settings.runtime_directory, settings.instance)
        self._if_possible("the lock of this instance", partial(lock.acquire, handed.get(LOCK)))
        self._stack.callback(lock.release)
        for address in self.plan.control.sockets:
            what, given = f"control on {address.url}", handed.get(f"{CONTROL}{address.url}")
            self._if_possible(what, partial(self.controls.open, address, given))
        self._write_pid_file()  # As who we were: it is mostly where only root may write.
        self._become(ours)

    def files(self) -> dict[str, int]:
        """Return the descriptors that another program of this process needs, by name."""
        controls = self.controls.files()
        found = {f"{CONTROL}{address.url}": fd for address, fd in controls.items()}
        return found if self._lock.fd < 0 else {LOCK: self._lock.fd, **found}

    def give_up(self) -> None:
        """Give back everything that was taken."""
        self._stack.close()

    def _have_directory(self) -> list[str]:
        """Have a runtime directory that is safe; return it if nobody else has a part in it."""
        runtime = self.plan.daemon.runtime_directory
        ours = [runtime] if make_directory(runtime) or self._take(runtime) else []
        check_directory(runtime, self._own_uids())
        return ours

    def _if_possible(self, what: str, job: Callable[[], T]) -> T | None:
        """Return what *job* returns; the first process goes on without it if it fails."""
        try:
            return job()
        except (SupervisorError, OSError) as error:
            if not self.first:
                raise
            self.lacks.append(f"going on without {what}: {_short(error)}")
            return None

    def _take(self, runtime: str) -> bool:
        """Make the usual directory root's, if no other instance has anything in it."""
        usual = runtime == runtime_directory(os.environ, self._euid)
        taken = self._euid == 0 and usual and is_for_one(runtime, self.plan.daemon.instance)
        if taken:
            os.chown(runtime, 0, -1)
        return taken

    def _own_uids(self) -> set[int]:
        """Return who we are and who we shall be."""
        user = self.plan.daemon.user
        try:
            return {os.geteuid(), *([] if user is None else [find_user(user).pw_uid])}
        except NoIdentity as error:
            raise CannotBecome(f"cannot run piesd as asked: {error.message}") from None

    def _become(self, ours: Sequence[str]) -> None:
        """Be somebody else from here on, if that is asked.

        Args:
            ours: directories that nobody else has a part in; they go with us, as our sockets do.
        """
        settings = self.plan.daemon
        if settings.user is None and not settings.group:
            return
        for name in LOADED_LATE:
            importlib.import_module(name)
        owned = [*ours, *filter(make_directory, (settings.state_directory, settings.log_directory))]
        runtime = settings.runtime_directory
        owned += [
            address.path
            for address in self.plan.control.sockets
            if isinstance(address, UnixAddress) and address.user is None
        ]
        become(
            settings.user,
            settings.group,
            settings.allgroups,
            self.setup.environ,
            taking=owned,
        )
        if not os.access(runtime, os.W_OK | os.X_OK):
            raise CannotBecome(
                f"cannot run piesd as {settings.user!r}: it may not write to {runtime}; chown that "
                "directory, or name another one as 'runtime-directory' in [daemon]"
            )

    def _write_pid_file(self) -> None:
        if self.pid_file is None:
            return
        try:
            make_directory(os.path.dirname(self.pid_file.path))
            self.pid_file.write()
        except OSError as error:
            log.error("cannot write the pid file %s: %s", self.pid_file.path, error.strerror)
        else:
            self._stack.callback(self.pid_file.remove)


def _short(error: SupervisorError | OSError) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
