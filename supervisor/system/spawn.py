"""Start one process: fork (vfork where nothing can hang), exec, and a pipe for the failure."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from supervisor.model.component import Component
from supervisor.system.users import Identity

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


class Program(Struct, frozen=True, kw_only=True):
    """What to execute, how, and as whom; everything is ready for the child to use.

    `candidates` are tried in order. `named` is the file as the configuration names it, and
    `path` the directories it was looked for in, or None if it was given with a slash.
    """

    argv: list[bytes]
    candidates: tuple[bytes, ...]
    named: str
    path: str | None
    cwd: str | None
    env: list[bytes]
    umask: int
    identity: Identity | None

    @property
    def switches(self) -> bool:
        """True when the child has to become somebody else."""
        return self.identity is not None and self.identity.changed

    def places(self) -> list[bytes]:
        """Return the full paths that a start will touch."""
        cwd = os.fsencode(self.cwd or "")
        if not cwd.startswith(b"/"):
            with contextlib.suppress(OSError):  # Ours is gone: then a relative path stays one.
                cwd = os.path.join(os.getcwdb(), cwd)
        return [cwd, *(os.path.join(cwd, candidate) for candidate in self.candidates)]


class Streams(NamedTuple):
    """The descriptors that become 0, 1 and 2; -1 leaves the daemon's own."""

    stdin: int
    stdout: int
    stderr: int


class Failure(NamedTuple):
    """What the child says when it cannot become the program. `executing`: only exec failed."""

    executing: bool
    number: int


class CannotSpawn(Exception):
    """There is no child. `stage` is `fork`, `env`, `exec` …; the message is for people."""

    def __init__(self, stage: str, number: int, message: str) -> None:
        super().__init__(message)
        self.stage, self.number, self.message = stage, number, message


def make_program(spec: Component, environ: Mapping[str, str], identity: Identity | None) -> Program:
    """Return what a start of *spec* with the variables *environ* executes.

    A name without a slash is looked for in the PATH of the child, as execvpe(3) does it.

    Raises:
        CannotSpawn: an argument or a variable is nothing that execve(2) takes.
    """
    named = spec.program if spec.program is not None else spec.argv[0]
    path = None if "/" in named else environ.get("PATH", os.defpath)
    try:
        argv = [os.fsencode(word) for word in spec.argv]
        env = []
        for name, value in environ.items():
            if not name or "=" in name:
                raise CannotSpawn("env", errno.EINVAL, f"env {name!r}: not the name of a variable")
            env.append(os.fsencode(f"{name}={value}"))
        file = os.fsencode(named)
        if path is None:
            candidates: tuple[bytes, ...] = (file,)
        else:
            places = os.fsencode(path).split(b":")
            candidates = tuple(os.path.join(place, file) for place in places)
        text = b"".join((*argv, *env, *candidates, os.fsencode(spec.chdir or "")))
    except UnicodeEncodeError as error:
        raise CannotSpawn("exec", errno.EILSEQ, f"exec {named}: {error}") from None
    if b"\0" in text:
        raise CannotSpawn("exec", errno.EINVAL, f"exec {named}: a zero byte in an argument")
    return Program(
        argv=argv,
        candidates=candidates,
        named=named,
        path=path,
        cwd=spec.chdir,
        env=env,
        umask=-1 if spec.umask is None else spec.umask,
        identity=identity,
    )


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
        nofile: the limits of open files that the child gets, if they are not ours.
        sealed: no descriptor of ours survives exec, so the child need not close them. With
            thousands of them, closing doubles the time of a start.

    Raises:
        CannotSpawn: there is no child, not even one that failed.
    """
    assert FORK_EXEC is not None
    identity = program.identity if program.switches else None
    uid = None if identity is None else identity.uid
    if not (vfork or _TAKES_ALLOW_VFORK) and uid is None:
        uid = os.getuid()
    arguments: list[Any] = [program.argv, program.candidates, not sealed]
    try:
        verdicts, say = os.pipe2(os.O_CLOEXEC)
    except OSError as error:
        raise CannotSpawn("fork", error.errno or 0, f"fork: {error.strerror}") from None
    os.set_blocking(verdicts, False)
    arguments += [() if sealed else (say,), program.cwd, program.env]
    arguments += [streams.stdin, -1, -1, streams.stdout, -1, streams.stderr, verdicts, say]
    arguments += [True, True, -1]  # Signals as they were for Python, an own session.
    arguments += [None if identity is None else identity.gid]
    arguments += [None if identity is None else list(identity.groups)]
    arguments += [uid, program.umask, None]
    if _TAKES_ALLOW_VFORK:
        arguments.append(vfork)
    ours = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        # Limits belong to the process, and no code of ours runs in the child: so the child's are
        # in force for the moment of the fork.
        if nofile is not None and nofile != ours:
            resource.setrlimit(resource.RLIMIT_NOFILE, nofile)
        return FORK_EXEC(*arguments), Verdict(verdicts, vfork=vfork)
    except OSError as error:
        os.close(verdicts)
        raise CannotSpawn("fork", error.errno or 0, f"fork: {error.strerror}") from None
    except ValueError as error:  # CPython takes no more than 64 groups.
        os.close(verdicts)
        raise CannotSpawn("groups", errno.EINVAL, f"groups: {error}") from None
    finally:
        if nofile is not None and nofile != ours:
            resource.setrlimit(resource.RLIMIT_NOFILE, ours)
        os.close(say)


def start_slowly(
    program: Program, streams: Streams, *, nofile: tuple[int, int] | None
) -> int | Failure:
    """Start a child by subprocess.Popen and wait for its exec; for a worker thread.

    This is for a Python that has no fork_exec of a kind we know.

    Raises:
        CannotSpawn: there is no child.
    """
    identity = program.identity if program.switches else None
    who: dict[str, Any] = {}
    if identity is not None:
        who = {"user": identity.uid, "group": identity.gid, "extra_groups": list(identity.groups)}
    environ = dict(entry.split(b"=", 1) for entry in program.env)
    try:
        process = subprocess.Popen(
            program.argv,
            executable=program.named,
            stdin=None if streams.stdin < 0 else streams.stdin,
            stdout=None if streams.stdout < 0 else streams.stdout,
            stderr=None if streams.stderr < 0 else streams.stderr,
            cwd=program.cwd,
            env=environ,
            umask=program.umask,
            start_new_session=True,
            **who,
        )
    except OSError as error:
        # Popen names the file where exec failed; anything else was before.
        executing = error.filename is not None and error.filename != program.cwd
        return Failure(executing, error.errno or 0)
    except (ValueError, subprocess.SubprocessError) as error:
        raise CannotSpawn("fork", errno.EINVAL, f"fork: {error}") from None
    process.returncode = 0  # Else its finaliser would wait for the child, which is our reaper's.
    if nofile is not None:
        with contextlib.suppress(OSError):  # It may have ended already.
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, nofile)
    return process.pid


def duplicate(streams: Streams) -> Streams:
    """Return copies that stay open whatever the owner of the originals does."""
    copies: dict[int, int] = {}
    for fd in streams:
        if fd >= 0 and fd not in copies:
            copies[fd] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    return Streams(*(copies.get(fd, -1) for fd in streams))


def close_streams(streams: Streams) -> None:
    """Close copies made by `duplicate`."""
    for fd in set(streams) - {-1}:
        os.close(fd)
