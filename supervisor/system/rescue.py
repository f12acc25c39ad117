"""Give the console of a machine to a shell, before piesd supervises anything or because it cannot.

Like the entrypoint it needs neither the event loop nor a configuration: the first process waits,
reaps, and goes on when whoever is at the console leaves, or asks for it from elsewhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import termios
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from supervisor.system import initctl
from supervisor.system.firstprocess import say

CONSOLE = "/dev/console"

SHELLS = ("/sbin/sulogin", os.environ.get("SUSHELL") or "/bin/sh")
"""The first that can be executed is the shell."""

SHORT = 10.0
"""A shell that ends within these seconds may be none that can run."""

SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before the next shell after such an end: each time twice as long as the time before."""

PATIENCE = 5.0
"""Seconds that a shell that is to leave has between SIGHUP and SIGKILL."""

_ASKS = "asks"
_ENDED = "ended"
_NEVER_BLOCKED = frozenset(
    {
        *(signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT),
        *(signal.SIGTRAP, signal.SIGSYS, signal.SIGKILL, signal.SIGSTOP),
    }
)
"""Faults of our own, which blocked would end us without a trace, and what nobody can block."""
_TOLD = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGPWR, signal.SIGHUP)
"""What is not heeded in so many words, as somebody may have counted on it."""
_PYTHON_CHANGED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT)


def rescue(
    shells: Sequence[str], again: Callable[[], bool] | None = None, *, environ: Mapping[str, str]
) -> None:
    """Run a shell on the console; return when there is reason to go on.

    Args:
        shells: the programs; the first that can be executed is the shell.
        again: whether it is possible to go on now. It is asked when the shell has ended, and at
            SIGHUP or `telinit q`; where it says no there is a shell again, or still. Without it the
            shell is just what comes first: its end alone is reason to go on.
        environ: for the shell; its `CONSOLE` is where it runs, if that can be opened.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # "Ignored" would hide the end of the shell.
    listened = signal.valid_signals() - _NEVER_BLOCKED
    before = signal.pthread_sigmask(signal.SIG_BLOCK, listened)
    one = _Rescue(shells, environ, listened, before, asked=again is not None)
    try:
        one.run(again or (lambda: True))
    finally:
        one.close()
        # What came meanwhile was for us as we were: Python would make an exception of SIGINT.
        while signal.sigtimedwait(listened, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Rescue:
    def __init__(
        self,
        shells: Sequence[str],
        environ: Mapping[str, str],
        listened: Collection[int],
        mask: Collection[int],
        *,
        asked: bool,
    ) -> None:
        self._shells, self._environ = shells, environ
        self._listened, self._mask = listened, mask
        self._asked = asked
        """Whether anybody but the shell has a say."""
        self._shell = 0
        """The process of the shell; 0 where there is none."""
        self._begun = 0.0
        """When it began."""
        self._pause = 0.0
        """Seconds from the end of one shell to the next."""
        self._next = 0.0
        """When there may be another shell."""
        self._fifo: initctl.Fifo | None = None
        if asked:
            self._listen()

    def run(self, again: Callable[[], bool]) -> None:
        """Return when *again* says that it is possible to go on. Nothing that fails ends this."""
        while True:
            try:
                if self._once() and again():
                    self._end_shell()
                    return
            except Exception as error:  # noqa: BLE001 - The first process must not end by mistake.
                say(f"cannot go on as usual: {type(error).__name__}: {error}")
                self._next = time.monotonic() + SHORTEST_PAUSE

    def close(self) -> None:
        """Give back what was opened."""
        if self._fifo is not None:
            self._fifo.close()

    def _once(self) -> bool:
        """Wait for something; return whether it is a reason to look whether we can go on."""
        if not self._shell and time.monotonic() >= self._next:
            self._start()
        what = self._wait(None if self._shell else max(self._next - time.monotonic(), 0.0))
        return what in (_ENDED, _ASKS)

    def _wait(self, most: float | None) -> str:
        """Return what a signal means, or nothing after *most* seconds."""
        if most is None:
            number = signal.sigwaitinfo(self._listened).si_signo
        else:
            info = signal.sigtimedwait(self._listened, most)
            if info is None:
                return ""
            number = info.si_signo
        if number == signal.SIGCHLD:
            return _ENDED if self._reap() else ""
        if number == signal.SIGIO:
            return _ASKS if self._read() else ""
        if number == signal.SIGHUP and self._asked:
            return _ASKS
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGPWR, signal.SIGHUP):
            say(
                f"{signal.Signals(number).name} is not heeded while there is a shell on the console"
            )
        return ""

    def _reap(self) -> bool:
        """Collect all that have ended; return whether the shell is one of them."""
        ended = False
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0] != 0:
                if found[0] == self._shell:
                    self._shell, ended = 0, True
                    self._has_ended(os.waitstatus_to_exitcode(found[1]))
        return ended

    def _has_ended(self, code: int) -> None:
        """Say how the shell has ended, and when there may be another."""
        how = f"with code {code}" if code >= 0 else f"by signal {-code}"
        say(f"the shell on the console has ended {how}")
        now = time.monotonic()
        longer = min(max(self._pause * 2, SHORTEST_PAUSE), LONGEST_PAUSE)
        self._pause = longer if now - self._begun < SHORT else 0.0
        self._next = now + self._pause

    # --- telinit

    def _listen(self) -> None:
        for path in initctl.PATHS:
            fifo = initctl.Fifo(path)
            try:
                fifo.open()
                # SIGIO tells of what comes, so that one call waits for everything.
                fcntl.fcntl(fifo.fd, fcntl.F_SETOWN, os.getpid())
                flags = fcntl.fcntl(fifo.fd, fcntl.F_GETFL)
                fcntl.fcntl(fifo.fd, fcntl.F_SETFL, flags | os.O_ASYNC)
            except OSError:
                fifo.close()
                continue
            self._fifo = fifo
            initctl.link_others(path)
            return
        say("cannot listen for telinit here; SIGHUP to process 1 says that it is to go on")

    def _read(self) -> bool:
        """Read what telinit has written; return whether it is to go on."""
        if self._fifo is None:
            return False
        found, lost = initctl.requests(self._fifo.read())
        going = [each for each in found if each.runlevel in ("q", "Q")]
        if lost or len(going) < len(found):
            say("nothing but 'telinit q' is heeded while there is a shell on the console")
        return bool(going)

    # --- the shell

    def _start(self) -> None:
        child = os.fork()
        if child:
            self._shell, self._begun = child, time.monotonic()
            return
        try:
            os.setsid()
            _take_console(self._environ.get("CONSOLE", CONSOLE))
            for number in _PYTHON_CHANGED:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            for shell in self._shells:
                try:
                    os.execve(shell, [shell], dict(self._environ))
                except OSError as error:
                    say(f"cannot execute {shell}: {error.strerror}")
        finally:
            os._exit(127)

    def _end_shell(self) -> None:
        """Tell the shell to leave, and have it gone."""
        if not self._shell:
            return
        say("the shell on the console has to leave: piesd goes on")
        for number in (signal.SIGHUP, signal.SIGKILL):
            self._tell(number)
            self._tell(signal.SIGCONT)  # Who is stopped cannot end.
            due = time.monotonic() + PATIENCE
            while self._shell and (left := due - time.monotonic()) > 0:
                if signal.sigtimedwait({signal.SIGCHLD}, left) is not None:
                    self._reap()

    def _tell(self, number: int) -> None:
        if not self._shell:
            return
        # It leads a session. When it is gone, the kernel tells whoever else has its terminal.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell, number)


def _take_console(path: str) -> None:
    """Have the console as standard streams and as terminal; keep what we have where that fails."""
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError as error:
        say(f"cannot open {path}: {error.strerror}; the shell has the streams that piesd was given")
        fd = 0
    for number in (0, 1, 2):
        if fd:
            os.dup2(fd, number)
    if fd > 2:
        os.close(fd)
    with contextlib.suppress(OSError):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # A shell without it has no job control.
