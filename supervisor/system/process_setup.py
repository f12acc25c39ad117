"""Put piesd's own process in order at its start, and remember what its children must get back."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

from msgspec import Struct

from supervisor.system import seats
from supervisor.system.environment import without_internals
from supervisor.system.null import has_null, open_null
from supervisor.system.proctable import sees_us

_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_DUMPABLE = 4
_HIDDEN_SIGNALS = (32, 33)
_RT_SIGACTION = {"x86_64": 13, "aarch64": 134, "riscv64": 134}
"""The number of the system call, by machine. Source: the kernel's unistd.h of each."""
_MOST_DESCRIPTORS = 1_048_576
"""More would only make the tables of the kernel large."""

_PYTHON_IGNORES = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
"""What CPython ignores for itself; its fork_exec gives children the default back."""


class ProcessSetup(Struct, frozen=True, kw_only=True):
    """What the process was like before we changed it, and what could not be had.

    `environ` is what children start from, `nofile` their limits of open files (soft, hard),
    `notes` are sentences for the log. `sealed`: no descriptor that we came with survives exec
    (and Python opens all others so).
    """

    environ: dict[str, str]
    nofile: tuple[int, int]
    subreaper: bool = False
    sealed: bool = False
    notes: tuple[str, ...] = ()


def remember_process() -> ProcessSetup:
    """Return what this process is like now, and change nothing."""
    return ProcessSetup(
        environ=without_internals(os.environ), nofile=resource.getrlimit(resource.RLIMIT_NOFILE)
    )


def prepare_process() -> ProcessSetup:
    """Make this process fit to supervise. Called once, by the main thread, before trio runs.

    Orphaned descendants become our children; no child inherits an ignored signal, a blocked one,
    or a descriptor; the lowest numbers stay free for what single children get; we may open as many
    files as the system lets us. As root, we leave no core dump.
    """
    notes: list[str] = []
    forbid_dumps(notes)
    open_standard_descriptors()
    sealed = close_others_on_exec()
    seats.reserve()
    reset_signals()
    notes += missing()
    before = remember_process()
    _raise_nofile(before.nofile, notes)
    subreaper = become_subreaper(notes)
    return ProcessSetup(
        environ=before.environ,
        nofile=before.nofile,
        subreaper=subreaper,
        sealed=sealed,
        notes=tuple(notes),
    )


def missing() -> list[str]:
    """Return sentences about what a system has and this one, for now, has not."""
    notes = []
    if not has_null():
        notes.append("there is no /dev/null: components with nullinput read from an empty file")
    if not sees_us():
        notes.append(
            "there is no /proc of this PID namespace: processes that leave their component's "
            "process group cannot be seen, and usage cannot be measured"
        )
    return notes


def become_subreaper(notes: list[str]) -> bool:
    """Ask to be the parent of orphaned descendants; add a sentence to *notes* if refused.

    Source: PR_SET_CHILD_SUBREAPER(2const), Linux 3.4.
    """
    if os.getpid() == 1:
        return True  # The first process of a PID namespace is that already.
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
            return True
        reason = os.strerror(ctypes.get_errno())
    except (OSError, AttributeError) as error:
        reason = str(error)
    notes.append(
        f"cannot become a subreaper: {reason}; "
        "processes that leave their component's session will outlive it"
    )
    return False


def forbid_dumps(notes: list[str]) -> None:
    """Keep our memory out of core dumps, and from being traced, if we are root.

    It holds keys, passwords and contents of files that go into the environment of children. What a
    child executes may be dumped as before, while a limit of core files would be inherited. Who runs
    piesd as somebody else may read all of that anyway, and can look into piesd with its tools.

    Source: PR_SET_DUMPABLE(2const); execve(2) sets it back.
    """
    if os.geteuid() != 0:
        return
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0:
            return
        reason = os.strerror(ctypes.get_errno())
    except (OSError, AttributeError) as error:
        reason = str(error)
    notes.append(f"cannot keep our memory out of core dumps: {reason}")


def reset_signals() -> None:
    """Block nothing, and ignore nothing in such a way that children inherit it.

    A handler does not survive execve, while "ignored" does; hence a handler that does nothing.
    """
    for number in signal.valid_signals():
        if number in _PYTHON_IGNORES or number in (signal.SIGKILL, signal.SIGSTOP):
            continue
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, _ignore)
    _reset_hidden_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def ignore_interrupts() -> None:
    """Let SIGINT do nothing to us, and what it does by default to our children."""
    signal.signal(signal.SIGINT, _ignore)


def _reset_hidden_signals() -> None:
    """Give the C library's own signals (32 and 33) back their default, if they are ignored.

    glibc's posix_spawn, with which make and others start us, ignores them in the child for good,
    and its sigaction refuses to change them: so the kernel is asked directly.
    """
    number_of_call = _RT_SIGACTION.get(os.uname().machine)
    if number_of_call is None or sys.maxsize < 2**32:
        return
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            lines = status.readlines()
    except OSError:
        return  # Without /proc we do not know, and touch nothing.
    ignored = next((int(line.split()[1], 16) for line in lines if line[:7] == "SigIgn:"), 0)
    default = ctypes.create_string_buffer(64)  # A kernel_sigaction of zeros: SIG_DFL, no flags.
    for number in _HIDDEN_SIGNALS:
        if ignored & (1 << (number - 1)):
            ctypes.CDLL(None).syscall(
                ctypes.c_long(number_of_call),
                ctypes.c_long(number),
                default,
                None,
                ctypes.c_long(8),  # The size of the kernel's signal sets.
            )


def _ignore(_number: int, _frame: object) -> None:
    """Do what SIG_IGN does."""


def close_others_on_exec() -> bool:
    """Mark what we inherited beside 0, 1 and 2, so that no child inherits it in turn.

    Returns:
        False if it cannot be known what we inherited: then every child has to close everything.
    """
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return False
    for name in names:
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                continue  # It was the descriptor of the listing itself.
    return True


def open_standard_descriptors() -> None:
    """Put something where 0, 1 or 2 are closed: else a pipe of ours could take the number.

    The kernel starts an init with all of them closed when it finds no console; one that can be
    opened now is better than nothing for our log.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            opened = _console() if fd and os.getpid() == 1 else open_null()
            os.set_inheritable(opened, True)  # It has the lowest free number: this one.


def _console() -> int:
    try:
        return os.open("/dev/console", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return open_null()


def _raise_nofile(limits: tuple[int, int], notes: list[str]) -> None:
    soft, hard = limits
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        notes.append(f"cannot raise the limit of open files from {soft} to {wanted}: {error}")


def restore_nofile(setup: ProcessSetup) -> None:
    """Take back the limit of open files that we came with, for a successor in this process."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, setup.nofile)
    except (OSError, ValueError):
        return  # The successor lives with ours.
