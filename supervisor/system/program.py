"""Say what a start executes: the words, the file, the variables, and whom it runs as."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec import Struct

from supervisor.model.component import Component
from supervisor.model.expansion import ExpansionError, expand, split
from supervisor.system import seats
from supervisor.system.limits import Bounds
from supervisor.system.traits import Traits
from supervisor.system.users import Identity


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
    traits: Traits = Traits()
    bounds: Bounds = Bounds()
    own_pid: tuple[str, ...] | None = None
    """The names of the variables that tell it its own PID, if there are any."""
    place: Callable[[int], object] | None = None
    """Puts it, by its number, where it belongs before it executes."""

    @property
    def held(self) -> bool:
        """Whether something is done to the child while it is held back before its program."""
        return bool(self.bounds) or self.own_pid is not None or self.place is not None

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
    """The descriptors that become 0, 1 and 2; -1 leaves the daemon's own.

    `extra` are pairs of a number from 3 on and the descriptor that becomes it.
    """

    stdin: int
    stdout: int
    stderr: int
    extra: tuple[tuple[int, int], ...] = ()


class CannotSpawn(Exception):
    """There is no child. `stage` is `fork`, `env`, `exec` …; the message is for people."""

    def __init__(self, stage: str, number: int, message: str) -> None:
        super().__init__(message)
        self.stage, self.number, self.message = stage, number, message


def make_program(spec: Component, environ: Mapping[str, str], identity: Identity | None) -> Program:
    """Return what a start of *spec* with the variables *environ* executes.

    A name without a slash is looked for in the PATH of the child, as execvpe(3) does it.

    Raises:
        CannotSpawn: an argument or a variable is nothing that execve(2) takes, or the command
            cannot be expanded.
    """
    words = _expanded(spec, environ) if spec.expandenv else spec.argv
    named = spec.program if spec.program is not None else words[0]
    path = None if "/" in named else environ.get("PATH", os.defpath)
    try:
        argv = [os.fsencode(word) for word in words]
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
        traits=Traits(
            nice=spec.nice,
            affinity=spec.cpu_affinity,
            no_new_privileges=spec.no_new_privileges,
        ),
        bounds=Bounds(limits=tuple(spec.limits.items()), oom_score_adj=spec.oom_score_adj),
    )


def _expanded(spec: Component, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words of *spec* with references to variables replaced.

    A command for a shell is left to the shell. One that was given as a list keeps its words: each
    is expanded for itself.

    Raises:
        CannotSpawn: it cannot be expanded, or nothing is left of it.
    """
    if len(spec.argv) == 3 and spec.argv[1:] == ("-c", spec.command):
        return spec.argv
    known = dict(environ)  # What `${name:=word}` sets is for this command alone.
    try:
        if spec.command == shlex.join(spec.argv):
            words = [expand(word, known, quotes=False) for word in spec.argv]
        else:
            words = split(spec.command, known)
    except ExpansionError as error:
        raise CannotSpawn("expandenv", errno.EINVAL, f"expandenv: command: {error}") from None
    if not words or not (words[0] or spec.program):
        raise CannotSpawn("expandenv", errno.ENOENT, "expandenv: nothing is left of the command")
    return tuple(words)


def duplicate(streams: Streams) -> Streams:
    """Return copies that stay open whatever the owner of the originals does.

    Raises:
        OSError: there are no descriptors left.
    """
    copies: dict[int, int] = {-1: -1}
    try:
        for fd in (*streams[:3], *(fd for _, fd in streams.extra)):
            if fd not in copies:
                copies[fd] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, seats.LAST + 1)
    except OSError:
        for copy in set(copies.values()) - {-1}:
            os.close(copy)
        raise
    extra = tuple((number, copies[fd]) for number, fd in streams.extra)
    return Streams(copies[streams[0]], copies[streams[1]], copies[streams[2]], extra)


def close_streams(streams: Streams) -> None:
    """Close copies made by `duplicate`."""
    for fd in {*streams[:3], *(fd for _, fd in streams.extra)} - {-1}:
        os.close(fd)
