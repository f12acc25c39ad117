"""Start one process: fork (vfork where nothing can hang), exec, and a pipe for the failure."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec import structs

from supervisor.system import limits, seats
from supervisor.system.gate import Gate
from supervisor.system.limits import BoundRefused
from supervisor.system.ownpid import Slot, handed_down
from supervisor.system.process_setup import close_others_on_exec
from supervisor.system.program import CannotSpawn, Program, Streams, close_streams, duplicate
from supervisor.system.traits import TraitRefused, Traits, can_become, run_with

_ForkExec = Callable[..., int]


def _find_fork_exec() -> _ForkExec | None:
    """Return CPython's own function if it is of a kind that we know."""
    if not (3, 11) <= sys.version_info < (3, 15):
        return None
    try:
        # It is what subprocess itself calls. Popen on top of it waits for the exec, and reaps.
        from _posixsubprocess import fork_exec  # noqa: PLC0415
    except ImportError:
        return None
    return fork_exec


FORK_EXEC = _find_fork_exec()

# Since 3.14 there is no argument that forbids vfork; asking for a user that we are already
# makes CPython fork, because it does not trust the C library to change users under vfork.
_TAKES_ALLOW_VFORK = sys.version_info < (3, 14)

_TELL_PID = b'export %s; shift; exec "$0" "$@"'
"""What a shell does to tell a program its own PID: the shell becomes that program."""

_SLOW_SEATS = threading.Lock()
"""Two worker threads must not put their descriptors on the same numbers at once."""


class Failure(NamedTuple):
    """What the child says when it cannot become the program. `executing`: only exec failed."""

    executing: bool
    number: int


class Verdict:
    """Hears from a child whether it has become its program."""

    def __init__(self, fd: int, *, vfork: bool) -> None:
        self.fd = fd
        self._vfork = vfork
        self._said = b""

    def hear(self) -> Failure | bool:
        """Return True when the program executes, False while that is open, or the failure.

        The end of the pipe decides: exec closes it, and a failing child speaks in several writes.
        After a vfork it has said all before we run again, while its end may take a moment more.
        One that was killed before it said all counts as executing; its end says the rest.

        Source: child_exec in CPython's Modules/_posixsubprocess.c, `OSError:ERRNO:WHERE` with the
        number in hexadecimal and WHERE beginning with `noexec` for all that is before the exec.
        """
        try:
            while data := os.read(self.fd, 1024):
                self._said += data
        except BlockingIOError:
            if not (self._vfork and self._said.count(b":") == 2):
                return False
        kind, _, rest = self._said.partition(b":")
        number, colon, where = rest.partition(b":")
        if not colon:
            return True
        if kind != b"OSError":
            return Failure(executing=False, number=errno.EINVAL)
        return Failure(executing=not where.startswith(b"noexec"), number=int(number, 16))


def start(
    program: Program,
    streams: Streams,
    *,
    vfork: bool,
    nofile: tuple[int, int] | None,
    sealed: bool = False,
) -> tuple[int, Verdict]:
    """Start a child; return its pid and what will tell how it went.

    With *vfork* the interpreter stands still until the child has executed its program, and the
    verdict is there at once. Without, the child may hang in a dead file system alone.

    Args:
        vfork: not for a program with `bounds`, which are set while the child waits.
        nofile: the limits of open files that the child gets, if they are not ours.
        sealed: no descriptor of ours survives exec, so the child need not close them. With
            thousands of them, closing doubles the time of a start.

    Raises:
        CannotSpawn: there is no child, not even one that failed.
    """
    copies: Streams | None = None
    try:
        if streams.extra:
            # None of what we use here may sit on a number that another descriptor takes.
            streams = copies = duplicate(streams)
        if program.held:
            return _start_held(program, streams, nofile=nofile, sealed=sealed)
        return _start(program, streams, vfork=vfork, nofile=nofile, sealed=sealed)
    except OSError as error:
        raise CannotSpawn("fork", error.errno or 0, f"fork: {error.strerror}") from None
    except TraitRefused as error:
        raise CannotSpawn(error.stage, error.number, error.message) from None
    finally:
        if copies is not None:
            close_streams(copies)


def _start_held(
    program: Program, streams: Streams, *, nofile: tuple[int, int] | None, sealed: bool
) -> tuple[int, Verdict]:
    """Start a child to which something is done before its program executes, or not at all."""
    # Its way to the gate is a descriptor of ours, which it must neither close nor hand on.
    sealed = sealed or close_others_on_exec()
    traits, bounds = program.traits, program.bounds
    if program.switches and bounds.limits and not limits.may_limit_others() and can_become():
        traits = structs.replace(traits, become=program.identity)
        program = structs.replace(program, identity=None)
    program = structs.replace(program, traits=Traits())
    stage = "limits" if bounds else "listen-fds"
    try:
        gate = Gate()
    except OSError as error:
        if not bounds and program.own_pid is None:
            return _start_and_place(program, traits, streams, nofile=nofile, sealed=sealed)
        reason = f"cannot hold a child back on this system: {error.strerror}"
        raise CannotSpawn(stage, error.errno or 0, f"{stage}: {reason}") from None

    def fork() -> tuple[int, Verdict, Slot | None, BoundRefused | None]:
        begun = structs.replace(program, candidates=(gate.path, *program.candidates))
        with handed_down(begun.env, begun.own_pid) as slot:
            pid, verdict = _start(begun, streams, vfork=False, nofile=nofile, sealed=sealed)
        if program.place is not None:
            program.place(pid)
        try:
            limits.set_limits(pid, bounds.limits)
        except BoundRefused as refusal:
            return pid, verdict, slot, refusal
        return pid, verdict, slot, None

    with gate:
        pid, verdict, slot, refusal = run_with(traits, fork)
        if refusal is None and slot is not None:
            slot.fill(pid)
        if refusal is None and bounds.oom_score_adj is not None:
            try:
                limits.set_oom_score(pid, bounds.oom_score_adj)
            except BoundRefused as error:
                refusal = error
        heard = verdict.hear()
        if heard is True and refusal is None:
            # The limits are in force, but they came too late.
            reason = "this system did not hold the child back"
            refusal = BoundRefused(stage, errno.ENOTSUP, f"{stage}: {reason}")
        if refusal is not None and not isinstance(heard, Failure):
            os.kill(pid, signal.SIGKILL)  # Nobody but us reaps it, and not now.
            os.close(verdict.fd)
            raise CannotSpawn(refusal.stage, refusal.number, refusal.message)
    return pid, verdict


def _start_and_place(
    program: Program,
    traits: Traits,
    streams: Streams,
    *,
    nofile: tuple[int, int] | None,
    sealed: bool,
) -> tuple[int, Verdict]:
    """Start a child that cannot be held back, and put it in its place a moment too late."""
    program = structs.replace(program, traits=traits)
    pid, verdict = _start(program, streams, vfork=False, nofile=nofile, sealed=sealed)
    if program.place is not None:
        program.place(pid)
    return pid, verdict


def _start(
    program: Program,
    streams: Streams,
    *,
    vfork: bool,
    nofile: tuple[int, int] | None,
    sealed: bool,
) -> tuple[int, Verdict]:
    """Start a child with its traits, as `start`.

    Raises:
        CannotSpawn: there is no child.
        OSError: there are no descriptors left.
        TraitRefused: it cannot be given a trait.
    """
    assert FORK_EXEC is not None
    identity = program.identity if program.switches else None
    uid = None if identity is None else identity.uid
    if not (vfork or _TAKES_ALLOW_VFORK) and uid is None:
        uid = os.getuid()
    arguments: list[Any] = [program.argv, program.candidates, not sealed]
    verdicts, say = _verdict_pipe(above_seats=bool(streams.extra))
    numbers = [number for number, _ in streams.extra]
    # Without an environment of its own the child takes that of the C library.
    env = None if program.own_pid is not None else program.env
    arguments += [() if sealed else tuple(sorted((*numbers, say))), program.cwd, env]
    arguments += [streams.stdin, -1, -1, streams.stdout, -1, streams.stderr, verdicts, say]
    arguments += [True, True, -1]  # Signals as they were for Python, an own session.
    arguments += [None if identity is None else identity.gid]
    arguments += [None if identity is None else list(identity.groups)]
    arguments += [uid, program.umask, None]
    if _TAKES_ALLOW_VFORK:
        arguments.append(vfork)
    fork_exec = FORK_EXEC

    def fork() -> int:
        return run_with(program.traits, lambda: fork_exec(*arguments))

    try:
        if streams.extra:
            with seats.taken(streams.extra):
                pid = _with_open_files(nofile, fork)
        else:
            pid = _with_open_files(nofile, fork)
        return pid, Verdict(verdicts, vfork=vfork)
    except ValueError as error:  # CPython takes no more than 64 groups.
        os.close(verdicts)
        raise CannotSpawn("groups", errno.EINVAL, f"groups: {error}") from None
    except BaseException:
        os.close(verdicts)
        raise
    finally:
        os.close(say)


def _verdict_pipe(*, above_seats: bool) -> tuple[int, int]:
    """Return a pipe for the verdict, which does not block: what a child says always fits."""
    pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    if above_seats:
        low = pipe
        try:
            reader = fcntl.fcntl(low[0], fcntl.F_DUPFD_CLOEXEC, seats.LAST + 1)
            try:
                pipe = reader, fcntl.fcntl(low[1], fcntl.F_DUPFD_CLOEXEC, seats.LAST + 1)
            except OSError:
                os.close(reader)
                raise
        finally:
            os.close(low[0])
            os.close(low[1])
    return pipe


def _with_open_files(nofile: tuple[int, int] | None, fork: Callable[[], int]) -> int:
    """Return what *fork* returns; its child inherits these limits of open files.

    Limits belong to the process, and no code of ours runs in the child.
    """
    ours = resource.getrlimit(resource.RLIMIT_NOFILE)
    theirs = _within(nofile, ours)
    if theirs == ours:
        return fork()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, theirs)
        return fork()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, ours)


def _within(nofile: tuple[int, int] | None, ours: tuple[int, int]) -> tuple[int, int]:
    """Return the limits of open files that a child can have, as near to *nofile* as may be.

    The hard limit is always the present one: an operator may have changed it since we came, and
    only the privileged could go beyond it, or come back from below.
    """
    soft, hard = ours if nofile is None else (nofile[0], ours[1])
    if hard != resource.RLIM_INFINITY and not 0 <= soft <= hard:
        soft = hard
    return soft, hard


def start_slowly(
    program: Program, streams: Streams, *, nofile: tuple[int, int] | None
) -> int | Failure:
    """Start a child by subprocess.Popen and wait for its exec; for a worker thread.

    This is for a Python that has no fork_exec of a kind we know. Limits are set a moment after the
    program has begun, and a program that is told its own PID is executed by a shell.

    Raises:
        CannotSpawn: there is no child.
    """
    identity = program.identity if program.switches else None
    who: dict[str, Any] = {}
    if identity is not None:
        who = {"user": identity.uid, "group": identity.gid, "extra_groups": list(identity.groups)}
    environ = dict(entry.split(b"=", 1) for entry in program.env)
    argv, executable = program.argv, os.fsencode(program.named)
    if program.own_pid is not None:
        told = b" ".join(os.fsencode(name) + b"=$$" for name in program.own_pid)
        argv = [b"/bin/sh", b"-c", _TELL_PID % told, executable, *argv]
        executable = b"/bin/sh"

    def popen() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            executable=executable,
            stdin=None if streams.stdin < 0 else streams.stdin,
            stdout=None if streams.stdout < 0 else streams.stdout,
            stderr=None if streams.stderr < 0 else streams.stderr,
            pass_fds=[number for number, _ in streams.extra],
            cwd=program.cwd,
            env=environ,
            umask=program.umask,
            start_new_session=True,
            **who,
        )

    try:
        with _SLOW_SEATS, seats.taken(streams.extra):
            process = run_with(program.traits, popen)
    except OSError as error:
        # Popen names the file where exec failed; anything else was before.
        executing = error.filename is not None and error.filename != program.cwd
        return Failure(executing, error.errno or 0)
    except TraitRefused as error:
        raise CannotSpawn(error.stage, error.number, error.message) from None
    except (ValueError, subprocess.SubprocessError) as error:
        raise CannotSpawn("fork", errno.EINVAL, f"fork: {error}") from None
    process.returncode = 0  # Else its finaliser would wait for the child, which is our reaper's.
    if nofile is not None:
        with contextlib.suppress(OSError):  # It may have ended already.
            ours = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, _within(nofile, ours))
    try:
        limits.set_limits(process.pid, program.bounds.limits)
        if program.bounds.oom_score_adj is not None:
            limits.set_oom_score(process.pid, program.bounds.oom_score_adj)
    except BoundRefused as refusal:
        if refusal.number not in (errno.ESRCH, errno.ENOENT):
            os.kill(process.pid, signal.SIGKILL)
            raise CannotSpawn(refusal.stage, refusal.number, refusal.message) from None
    return process.pid
