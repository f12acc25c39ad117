"""Hand everything over to another program in this process: execve keeps PID, children and files.

What is known travels in a sealed memory file, whose number is in the environment. Until the new
program has said that it is ready it is on trial: a timer that outlives execve, or its own failure,
brings back the program that was here before.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from types import FrameType

import msgspec
from msgspec import Struct

from supervisor.system import seats

VARIABLE = "PIESD_HANDOVER"

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Client(Struct, frozen=True):
    """Where a connection that nobody serves yet comes from, see `System.names`."""

    address: str = ""
    port: int | None = None


class Handover(Struct, frozen=True, kw_only=True):
    """What is handed over.

    `records` are those of the ledger. `descriptors` are open files by names that both sides know.
    `clients` are the connections among them whose origin a balancer has told, by their names.
    `command` and `directory` (the parent of our package) are those of the program that hands over,
    for the way back. `back` says why it has been brought back, if it has.
    """

    records: tuple[bytes, ...]
    descriptors: dict[str, int]
    clients: dict[str, Client] = {}
    command: tuple[str, ...] = ()
    directory: str = ""
    back: str = ""


def taken(environ: MutableMapping[str, str]) -> Handover | None:
    """Return what was handed over to this program, if anything was, and hide that it was.

    The descriptors are not passed on to children.

    Raises:
        ValueError: there is something, and it is not to be understood.
    """
    word = environ.pop(VARIABLE, "")
    if not word:
        return None
    try:
        fd = int(word)
        with open(fd, "rb") as file:
            file.seek(0)
            given = msgspec.msgpack.decode(file.read(), type=Handover)
        for number in given.descriptors.values():
            os.set_inheritable(number, False)
    except (ValueError, OSError, msgspec.MsgspecError) as error:
        raise ValueError(f"what was handed over cannot be understood: {error}") from error
    return given


def copied(fd: int) -> int:
    """Return a copy of *fd* that does not stand where a child may need a descriptor.

    Raises:
        OSError: there are no descriptors left.
    """
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, seats.LAST + 1)


def execute(
    command: Sequence[str], environ: Mapping[str, str], given: Handover, patience: float
) -> None:
    """Become *command*, which is on trial for *patience* seconds; 0: for ever.

    Raises:
        OSError: nothing has happened.
    """
    fd = os.memfd_create("handover", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    inherited = (fd, *given.descriptors.values())
    try:
        data = memoryview(msgspec.msgpack.encode(given))
        while data:
            data = data[os.write(fd, data) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        for number in inherited:
            os.set_inheritable(number, True)
        # A timer lives on through execve, and no handler does.
        signal.setitimer(signal.ITIMER_REAL, patience)
        os.execve(command[0], list(command), {**environ, VARIABLE: str(fd)})
    except OSError:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in inherited:
            os.set_inheritable(number, False)
        os.close(fd)
        raise


class Trial:
    """The time in which a program that was handed everything may still be found wanting."""

    def __init__(self, given: Handover, environ: Mapping[str, str]) -> None:
        self._given = given
        self._environ = dict(environ)
        self._open = True

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """Go back if what is done in here fails, or does not call `passed` in time."""
        signal.signal(signal.SIGALRM, self._late)
        try:
            yield
        except BaseException as error:
            self.go_back(f"it ended with {type(error).__name__}: {error}")
            raise
        self.go_back("it ended")

    def passed(self) -> None:
        """There is no way back any more: we are as good."""
        self._open = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _late(self, _signum: int, _frame: FrameType | None) -> None:
        self.go_back("it was not ready in time")

    def go_back(self, why: str) -> None:
        """Become again what was here before, unless the trial is over."""
        given = self._given
        if not self._open or given.back or not given.command:
            return
        self._open = False
        print(f"piesd: going back to the program that was here before: {why}", file=sys.stderr)
        descriptors = {name: fd for name, fd in given.descriptors.items() if _is_open(fd)}
        returned = msgspec.structs.replace(given, descriptors=descriptors, back=why)
        environ = {**self._environ, "PYTHONPATH": given.directory}
        try:
            execute(given.command, environ, returned, 0.0)
        except OSError as error:
            print(f"piesd: cannot go back: {error.strerror}", file=sys.stderr)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
