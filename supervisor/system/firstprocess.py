"""Run one program as the first process of a container: forward signals, reap, pass its code on.

This is all that `piesd --init -- COMMAND` needs, and so it imports next to nothing: no event loop,
no configuration. It needs no files either: without /proc, /run, /dev or a place to write it works.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import sys
import termios
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from supervisor.system.proctable import ProcessInfo, read_process, sees_us

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""The exit codes for a program that cannot be executed. Source: sh(1), tini."""

SOFTWARE = 70
"""The exit code after a fault of ours. Source: sysexits(3)."""

TRIAL = 30.0
"""Seconds that a new program of ours has to show that it works."""

_LOOK = 1.0
"""Seconds between two looks at what nobody has told."""

LEFT_BEHIND = 2.0
"""Seconds that SIGKILL may take, before what does not die of it is left to the kernel."""

_NEVER_FORWARDED = frozenset(
    {
        signal.SIGCHLD,
        signal.SIGPIPE,  # Nobody sends it: it says that we wrote where nobody reads.
        # Faults of our own; blocked, they would end us without a trace.
        *(signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT),
        *(signal.SIGTRAP, signal.SIGSYS),
        # The terminal sends them to who is in the background, as we are: nobody means them.
        *(signal.SIGTTIN, signal.SIGTTOU),
    }
)
_PYTHON_CHANGED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT)
_SET_CHILD_SUBREAPER = 36  # Source: <linux/prctl.h>.


@dataclass(frozen=True)
class Manners:
    """How the program is treated.

    Attributes:
        group: signals go to the program's whole process group, and not to the program alone.
        rewrite: which signal is forwarded in place of another; 0 for none.
        patience: seconds between SIGTERM and SIGKILL for what the program leaves behind.
    """

    group: bool = False
    rewrite: Mapping[int, int] = field(default_factory=dict)
    patience: float = 5.0


def say(text: str) -> None:
    """Write one line to standard error; where that cannot be done there is nobody to tell."""
    with contextlib.suppress(OSError, MemoryError):
        os.write(2, f"piesd: {text}\n".encode("utf-8", "backslashreplace"))


def run(words: Sequence[str], manners: Manners) -> int:
    """Run the program *words* until its end, and return its exit code (128+n for a signal).

    Its standard streams, descriptors and environment are those that we were given. It gets a
    process group of its own, and the terminal if there is one: as under tini.
    """
    if os.getpid() != 1 and (refusal := _become_subreaper()):
        say(f"cannot become a subreaper: {refusal}; orphans are left to the system")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # "Ignored" would lose us all exit codes.
    for number in (signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    listened = signal.valid_signals() - _NEVER_FORWARDED | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, listened)
    try:
        child = _start(words, before)
    except OSError as error:
        say(f"cannot start {words[0]!r}: {error.strerror}")
        return NOT_EXECUTABLE
    terminal = _Terminal()
    code = _Watch(child, listened, manners).until_the_end()
    terminal.take_back()
    return code


def keep_watch(*, endless: bool) -> int:
    """Go on reaping, and nothing else, after a fault of ours that the first process survives.

    Unless *endless*, SIGTERM, SIGINT or SIGQUIT bring everything down, and this returns 70.
    """
    listened = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD}
    # Threads of what we were before live on for a while, and may be sent what is meant for us.
    seen: list[int] = []
    for number in listened:
        signal.signal(number, lambda number, _: seen.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, listened)
    watch = _Watch(0, listened, Manners())
    say("supervising nothing any more; reaping only")
    watch.reap()  # Of those that ended before the kernel was asked to tell us, it tells nobody.
    while True:
        info = signal.sigtimedwait(listened, _LOOK)
        if info is not None:
            seen.append(info.si_signo)
        watch.reap()
        asked = set(seen) - {signal.SIGCHLD}
        seen.clear()
        if not asked:
            continue
        if endless:
            say("a signal is not heeded: an init process does not end")
            continue
        watch.give_up(SOFTWARE)
        return watch.until_the_end()


def try_out(words: Sequence[str], environ: Mapping[str, str]) -> str:
    """Run a program that ends at once and prints little; return what is wrong with it, if it is."""
    import subprocess  # noqa: PLC0415 - An entrypoint does not need it.

    try:
        done = subprocess.run(
            words,
            executable=sys.executable,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRIAL,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return said or f"exit code {done.returncode}"


# --- the program


def _start(words: Sequence[str], mask: Collection[int]) -> int:
    """Fork the child. One that cannot execute the program says so itself and ends."""
    environ = given_environment()
    controls = _controls_terminal()
    child = os.fork()
    if child:
        return child
    code = NOT_EXECUTABLE
    try:
        _enter_group(controls=controls)
        for number in (*_PYTHON_CHANGED, signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = _execute(words, environ)
    finally:
        os._exit(code)


def _execute(words: Sequence[str], environ: Mapping[bytes, bytes]) -> int:
    """Become the program; return the exit code if that fails, having said why."""
    try:
        try:
            os.execvpe(words[0], list(words), environ)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without "#!": execvp(3) gives it to the shell, and so tini does.
            os.execve("/bin/sh", ["sh", _found(words[0], environ), *words[1:]], environ)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        say(f"cannot execute {words[0]!r}: {reason}")
        missing = isinstance(error, OSError) and error.errno == errno.ENOENT
        return NOT_FOUND if missing else NOT_EXECUTABLE


def _found(name: str, environ: Mapping[bytes, bytes]) -> str:
    if "/" in name:
        return name
    path = os.fsdecode(environ.get(b"PATH", os.defpath.encode()))
    for directory in path.split(os.pathsep):
        path = os.path.join(directory, name)
        if os.access(path, os.X_OK):
            return path
    return name


def given_environment() -> Mapping[bytes, bytes]:
    """Return the environment we were given: Python may have added LC_CTYPE to ours (PEP 538)."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return os.environb
    return dict(entry.split(b"=", 1) for entry in entries if b"=" in entry[1:])


# --- the terminal


def _controls_terminal() -> bool | None:
    """Tell whether standard input is our controlling terminal; None if it is no terminal."""
    if not os.isatty(0):
        return None
    try:
        os.tcgetpgrp(0)
    except OSError:
        return False
    return True


def _enter_group(*, controls: bool | None) -> None:
    """Be in a process group of its own, which has the terminal if there is one."""
    if controls is False:
        # A terminal that is nobody's yet, as /dev/console is given to an init: the program gets a
        # session of its own, and the terminal for it, or else a shell has no job control.
        os.setsid()
        with contextlib.suppress(OSError):
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        return
    os.setpgid(0, 0)
    if controls:
        with contextlib.suppress(OSError):
            os.tcsetpgrp(0, os.getpid())


class _Terminal:
    """Remembers who had the terminal, so that a script that called us can go on reading."""

    def __init__(self) -> None:
        self._ours = os.getpgrp()

    def take_back(self) -> None:
        """Give it back to the process group that we are in."""
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(0) != self._ours:
                os.tcsetpgrp(0, self._ours)


# --- the watch


class _Watch:
    """Waits for signals, and for the ends of children, until there is nothing left to wait for.

    After the end of the program `code` is what it ended with. What it left behind is told to end,
    and killed when `due` comes.
    """

    def __init__(self, child: int, listened: Collection[int], manners: Manners) -> None:
        self._child = child
        self._listened = listened
        self._manners = manners
        self._code: int | None = None
        self._due: float | None = None
        self._killed = False
        self._over = False
        self._sent: set[tuple[int, int, int]] = set()
        """Which signal went to whom: the number of a process and when it began."""

    def until_the_end(self) -> int:
        """Return the code of the program when all is over. Nothing that goes wrong ends this."""
        while not self._over:
            try:
                self._once()
            except Exception as error:  # noqa: BLE001 - The first process must not end by mistake.
                say(f"cannot go on as usual: {type(error).__name__}: {error}")
        return 1 if self._code is None else self._code

    def _once(self) -> None:
        left = self.reap()
        if self._code is not None:
            self._over = not left or self._hurry_the_rest()
            if self._over:
                return
        if self._due is None:
            number = signal.sigwaitinfo(self._listened).si_signo
        else:
            info = signal.sigtimedwait(self._listened, max(self._due - time.monotonic(), 0))
            if info is None:
                return
            number = info.si_signo
        if number != signal.SIGCHLD:
            self._obey(number)

    def give_up(self, code: int) -> None:
        """Have nobody to wait for any more, and end with *code*."""
        self._code = code

    def reap(self) -> bool:
        """Collect all that have ended; return whether children are left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._child and self._code is None:
                code = os.waitstatus_to_exitcode(status)
                self._code = code if code >= 0 else 128 - code

    def _obey(self, number: int) -> None:
        number = self._manners.rewrite.get(number, number)
        if self._code is None:
            if number:
                self._forward(number)
        elif number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self._due = time.monotonic()  # Somebody is tired of waiting.

    def _forward(self, number: int) -> None:
        try:
            if self._manners.group:
                os.killpg(self._child, number)
            else:
                os.kill(self._child, number)
        except ProcessLookupError:
            return  # It has ended, or has no group yet; its end comes next.
        except PermissionError as error:
            say(f"cannot forward signal {number} to process {self._child}: {error.strerror}")

    # --- what is left

    def _hurry_the_rest(self) -> bool:
        """Tell what is left to end, or kill it; return whether to give it up."""
        now = time.monotonic()
        if self._due is None:
            self._due = now + self._manners.patience
            self._tell_all()
        elif now >= self._due and self._killed:
            say("processes that SIGKILL does not end are left behind")
            return True
        elif now >= self._due:
            self._killed = True
            self._due = now + LEFT_BEHIND
            self._signal_all(signal.SIGKILL)
        elif self._killed:
            self._signal_all(signal.SIGKILL)  # What they have started meanwhile is ours now.
        elif os.getpid() != 1 and sees_us():
            self._tell_all()  # A process may fork between our look and our signal.
        return False

    def _tell_all(self) -> None:
        """Send SIGTERM to all that have not had it."""
        self._signal_all(signal.SIGTERM)
        self._signal_all(signal.SIGCONT)  # Who is stopped cannot end.

    def _signal_all(self, number: int) -> None:
        """Signal everything that may be left of the program: all there is, for PID 1.

        Where we have to look for it, nobody gets anything but SIGKILL twice.
        """
        targets: list[tuple[Callable[[int, int], None], int]] = []
        if os.getpid() == 1:
            targets.append((os.kill, -1))
        elif not sees_us():
            targets.append((os.killpg, self._child))  # The best guess that there is.
        else:
            found = [(number, info.pid, info.started) for info in _descendants()]
            new = [each for each in found if each not in self._sent or number == signal.SIGKILL]
            self._sent.update(new)
            targets += [(os.kill, pid) for _, pid, _ in new]
        for send, target in targets:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                send(target, number)


def _descendants() -> list[ProcessInfo]:
    """Return our descendants, the older generations first."""
    children: dict[int, list[ProcessInfo]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if info := read_process(int(name)):
                    children.setdefault(info.parent, []).append(info)
    found = list(children.get(os.getpid(), ()))
    for info in found:  # It grows as we go.
        found += children.get(info.pid, ())
    return found


def _become_subreaper() -> str | None:
    """Ask to be the parent of orphaned descendants; return why not, if not."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
            return None
        return os.strerror(ctypes.get_errno())
    except (OSError, AttributeError) as error:
        return str(error)
