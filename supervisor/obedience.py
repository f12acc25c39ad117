"""What piesd does when it gets a signal."""

from __future__ import annotations

import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import trio

from supervisor.control.control import Control
from supervisor.control.identity import Caller
from supervisor.model.errors import SupervisorError
from supervisor.model.events import Hurry, Shutdown
from supervisor.model.state import Stage
from supervisor.runtime import initduties
from supervisor.runtime.initduties import InitDuties
from supervisor.runtime.runner import Runner
from supervisor.system.shortage import why
from supervisor.upgrade import Upgrade

log = logging.getLogger("supervisor")

_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_OTHERS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

LOOK_AGAIN = 1.0
"""Seconds until what could not be seen for want of memory or descriptors is looked for again."""


class Obedience:
    """Obeys signals: TERM, INT and QUIT shut down, HUP reloads, USR1 opens things anew.

    USR2 lets the program that is on disk now take over. An init process has `duties`, for which
    some signals mean something else; one that is `endless` does not heed those that would end it.
    """

    def __init__(
        self,
        runner: Runner,
        control: Control,
        *,
        ending: Callable[[], None],
        anew: Callable[[], Awaitable[None]],
        duties: InitDuties | None = None,
        endless: bool = False,
        upgrade: Upgrade | None = None,
    ) -> None:
        """Take whom to tell.

        Args:
            ending: is called when somebody wants us to end, and not to come back.
            anew: makes what clients cannot find any more anew.
            upgrade: lets another program take over.
        """
        self._runner, self._control = runner, control
        self._ending, self._anew = ending, anew
        self._duties, self._endless = duties, endless
        self._upgrade = upgrade
        self._missed = trio.Event()
        """Set while there are ends that could not be made sense of yet."""

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Obey, for ever. What goes wrong with one signal costs that one alone."""
        numbers = {*_ENDS, *_OTHERS}
        if self._duties is not None:
            numbers.update(initduties.SIGNALS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reap_again)
            with trio.open_signal_receiver(*numbers) as received, _on_child(self._reap):
                task_status.started()
                async for number in received:
                    try:
                        self._obey(number, nursery)
                    except Exception:
                        name = signal.Signals(number).name
                        with suppress(MemoryError):
                            log.exception("cannot obey %s: this is a bug in piesd", name)

    def _obey(self, number: int, nursery: trio.Nursery) -> None:
        if self._duties is not None and self._duties.obey(number):
            return
        if number in _ENDS:
            self._end(signal.Signals(number).name)
        elif number == signal.SIGHUP:
            nursery.start_soon(reload, self._control, "SIGHUP")
        elif number == signal.SIGUSR2 and self._upgrade is not None:
            nursery.start_soon(take_over, self._upgrade)
        elif number == signal.SIGUSR1:
            self._runner.outputs.reopen()
            log.info("opened the log files anew, as SIGUSR1 asks")
            nursery.start_soon(self._open_anew)
            if self._duties is not None:
                self._duties.listen()

    def _reap(self) -> None:
        """Collect the dead; where what they left cannot be seen now, have it looked at again.

        The kernel does not tell of an end twice. Whatever is short here may be short for a message
        about it as well, so nothing is said before it is tried again.
        """
        try:
            self._runner.reap()
        except (OSError, MemoryError):
            self._missed.set()
        except Exception:
            log.exception("cannot obey SIGCHLD: this is a bug in piesd")

    async def _reap_again(self) -> None:
        """Reap what could not be made sense of before, until that works; for ever."""
        told = False
        while True:
            await self._missed.wait()
            await trio.sleep(LOOK_AGAIN)
            try:
                self._runner.reap()
            except (OSError, MemoryError) as error:
                with suppress(MemoryError):
                    if not told:
                        text = "cannot see what those that ended have left: %s; trying again"
                        log.error(text, why(error))
                    told = True
            else:
                self._missed, told = trio.Event(), False

    async def _open_anew(self) -> None:
        try:
            await self._anew()
        except Exception:
            log.exception("cannot open the sockets anew: this is a bug in piesd")

    def _end(self, by: str) -> None:
        if self._endless:
            log.warning("%s is not heeded: an init process does not end; use a runlevel", by)
            return
        self._ending()
        if self._runner.engine.stage in (Stage.STOPPING, Stage.LAST):
            self._runner.post(Hurry())
        else:
            self._runner.post(Shutdown(by))


async def take_over(upgrade: Upgrade) -> None:
    """Let the program on disk take over; what keeps it from that goes to the log."""
    try:
        await upgrade.prepare()
    except SupervisorError as error:
        log.error("%s", error)
    except Exception:
        log.exception("cannot execute piesd anew: this is a bug in piesd")
    else:
        upgrade.wanted.set()


@contextmanager
def _on_child(act: Callable[[], None]) -> Iterator[None]:
    """Call *act*, which raises nothing, soon after each SIGCHLD, once for those that come together.

    There may be thousands in a second. trio's receiver takes each through a queue, a wake-up of
    the loop, and a task of its own.
    """
    token = trio.lowlevel.current_trio_token()
    due = False

    def soon() -> None:
        nonlocal due
        due = False
        act()

    def handler(_number: int, _frame: FrameType | None) -> None:
        nonlocal due
        if not due:
            with suppress(OSError, MemoryError):  # The next one tries again.
                token.run_sync_soon(soon)
                due = True

    before = signal.signal(signal.SIGCHLD, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


async def reload(control: Control, by: str) -> None:
    """Read the configuration again; what is wrong with it goes to the log."""
    try:
        await control.reload(Caller(by, "admin"))
    except SupervisorError as error:
        log.error("%s", error)
    except MemoryError:
        log.error("cannot reload the configuration: out of memory; it stays as it was")
    except Exception:
        log.exception("cannot go on with the reload: this is a bug in piesd")
