"""Let the n-th system call of a kind fail for one process, as the system might let it fail."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import select
import socket
import stat
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

PATIENCE = 30.0

_RECEIVE, _SEND = 0xC0502100, 0xC0182101
"""SECCOMP_IOCTL_NOTIF_RECV and _SEND. Source: <linux/seccomp.h>."""
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_CONTINUE = 1

_DUPLICATES = (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC)
_ADD = 1  # EPOLL_CTL_ADD
_CREATE = os.O_CREAT


class Call(NamedTuple):
    """One call of the process: its name, and what it was called with."""

    pid: int
    name: str
    args: tuple[int, ...]

    def mode(self, which: int = 0) -> int:
        """Return what kind of file a descriptor among the arguments is; 0: none."""
        try:
            return os.stat(f"/proc/{self.pid}/fd/{_signed(self.args[which])}").st_mode
        except OSError:
            return 0

    def link(self, which: int = 0) -> str:
        """Return what /proc says a descriptor among the arguments is."""
        try:
            return os.readlink(f"/proc/{self.pid}/fd/{_signed(self.args[which])}")
        except OSError:
            return str(_signed(self.args[which]))

    def text(self, which: int) -> str:
        """Return the path that an argument points to."""
        with suppress(OSError), open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(self.args[which])
            return memory.read(256).partition(b"\0")[0].decode(errors="replace")
        return "?"


class Kind(NamedTuple):
    """What the system may answer to calls that do the same thing.

    `calls` are the numbers by name, for x86_64 and aarch64; `errors` says what may go wrong with
    one of them, and nothing if that one cannot fail in a way that anybody has seen.
    """

    calls: dict[str, tuple[int, int]]
    errors: Callable[[Call], tuple[int, ...]]
    about: Callable[[Call], str]


def _signed(word: int) -> int:
    return word - 2**32 if word & 0xFFFFFFFF == word and word >= 2**31 else word


def _always(*errors: int) -> Callable[[Call], tuple[int, ...]]:
    return lambda _: errors


def _descriptor(call: Call) -> str:
    return call.link()


def _path(which: int) -> Callable[[Call], str]:
    return lambda call: call.text(which)


def _nothing(_: Call) -> str:
    return ""


def _is_private(call: Call) -> bool:
    """Return whether a socket is one of a pair: nobody else has ever had the other end."""
    inode = call.link().removeprefix("socket:[").removesuffix("]")
    with open("/proc/net/unix", encoding="ascii", errors="replace") as table:
        words = next((line.split() for line in table if line.split()[6] == inode), None)
    # The table moves while it is read: a socket that is not in it may be any.
    return words is None or len(words) == 7


def _opening(call: Call) -> tuple[int, ...]:
    some = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EINTR)
    return (*some, errno.ENOSPC) if call.args[2] & _CREATE else some


def _reading(call: Call) -> tuple[int, ...]:
    mode = call.mode()
    if stat.S_ISREG(mode):
        return (errno.ENOMEM,) if call.link().startswith("/proc/") else (errno.EIO, errno.EINTR)
    return (errno.EINTR,) if stat.S_ISFIFO(mode) else ()


def _writing(call: Call) -> tuple[int, ...]:
    mode = call.mode()
    if stat.S_ISREG(mode):
        return (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR)
    if stat.S_ISFIFO(mode):
        return (errno.ENOMEM, errno.EINTR)
    # Into one of a pair goes a byte of the interpreter, for a signal that has come: it reports a
    # failure by itself, and the handler runs all the same.
    return (errno.ENOBUFS,) if stat.S_ISSOCK(mode) and not _is_private(call) else ()


def _sending(call: Call) -> tuple[int, ...]:
    some = (errno.ENOBUFS, errno.ENOMEM)
    return some if _is_private(call) else (*some, errno.EPIPE)


def _receiving(call: Call) -> tuple[int, ...]:
    return () if _is_private(call) else (errno.ENOMEM, errno.ECONNRESET, errno.EINTR)


def _adding(call: Call) -> tuple[int, ...]:
    return (errno.ENOMEM, errno.ENOSPC) if call.args[1] == _ADD else ()


def _duplicating(call: Call) -> tuple[int, ...]:
    if call.name == "fcntl" and call.args[1] not in _DUPLICATES:
        return ()
    return (errno.EMFILE,)


def _looking(call: Call) -> tuple[int, ...]:
    return (errno.ENOMEM,) if call.name == "fstat" else (errno.ENOMEM, errno.EIO)


def _where(call: Call) -> str:
    which = {"fstat": None, "stat": 0, "lstat": 0}.get(call.name, 1)
    return call.link() if which is None else call.text(which)


_NEW = _always(errno.EMFILE, errno.ENFILE, errno.ENOMEM)

KINDS = {
    "open": Kind({"openat": (257, 56), "open": (2, -1)}, _opening, lambda call: call.text(1)),
    "read": Kind({"read": (0, 63), "pread64": (17, 67)}, _reading, _descriptor),
    "write": Kind(
        {"write": (1, 64), "pwrite64": (18, 68), "writev": (20, 66)}, _writing, _descriptor
    ),
    "send": Kind(
        {"sendto": (44, 206), "sendmsg": (46, 211)},
        _sending,
        _descriptor,
    ),
    "receive": Kind(
        {"recvfrom": (45, 207), "recvmsg": (47, 212)},
        _receiving,
        _descriptor,
    ),
    "accept": Kind(
        {"accept4": (288, 242), "accept": (43, 202)},
        _always(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED),
        _descriptor,
    ),
    "clone": Kind(
        {"clone": (56, 220), "clone3": (435, 435), "vfork": (58, -1), "fork": (57, -1)},
        _always(errno.EAGAIN, errno.ENOMEM),
        _nothing,
    ),
    "epoll": Kind({"epoll_ctl": (233, 21)}, _adding, lambda call: call.link(2)),
    "epoll-new": Kind({"epoll_create1": (291, 20)}, _NEW, _nothing),
    "eventfd": Kind({"eventfd2": (290, 19)}, _NEW, _nothing),
    "memfd": Kind({"memfd_create": (319, 279)}, _NEW, _nothing),
    "pidfd": Kind({"pidfd_open": (434, 434)}, _NEW, lambda call: str(call.args[0])),
    "wait": Kind({"wait4": (61, 260), "waitid": (247, 95)}, _always(errno.EINTR), _nothing),
    "pipe": Kind({"pipe2": (293, 59), "pipe": (22, -1)}, _NEW, _nothing),
    "socket": Kind(
        {"socket": (41, 198), "socketpair": (53, 199)},
        _always(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM),
        _nothing,
    ),
    "dup": Kind({"dup": (32, 23), "dup3": (292, 24), "fcntl": (72, 25)}, _duplicating, _descriptor),
    "stat": Kind(
        {"fstat": (5, 80), "newfstatat": (262, 79), "stat": (4, -1), "lstat": (6, -1)},
        _looking,
        _where,
    ),
    "list": Kind({"getdents64": (217, 61)}, _always(errno.EIO, errno.ENOMEM), _descriptor),
    "make-directory": Kind(
        {"mkdirat": (258, 34), "mkdir": (83, -1)},
        _always(errno.ENOSPC, errno.EIO, errno.ENOMEM),
        _path(0),
    ),
    "make-file": Kind(
        {"mknodat": (259, 33), "mknod": (133, -1), "linkat": (265, 37), "link": (86, -1)},
        _always(errno.ENOSPC, errno.EIO, errno.ENOMEM),
        _path(0),
    ),
    "remove": Kind(
        {"unlinkat": (263, 35), "unlink": (87, -1), "rmdir": (84, -1)},
        _always(errno.EIO, errno.EROFS),
        lambda call: call.text(1 if call.name == "unlinkat" else 0),
    ),
    "rename": Kind(
        {"renameat": (264, 38), "renameat2": (316, 276), "rename": (82, -1)},
        _always(errno.ENOSPC, errno.EIO),
        lambda call: call.text(0 if call.name == "rename" else 1),
    ),
    "splice": Kind(
        {"splice": (275, 76), "tee": (276, 77)}, _always(errno.ENOMEM, errno.EIO), _descriptor
    ),
    "sync": Kind({"fsync": (74, 82), "fdatasync": (75, 83)}, _always(errno.EIO), _descriptor),
    "truncate": Kind({"ftruncate": (77, 46)}, _always(errno.EIO, errno.ENOSPC), _descriptor),
    "kill": Kind(
        {"kill": (62, 129), "pidfd_send_signal": (424, 424)}, _always(errno.EPERM), _nothing
    ),
    "memory": Kind(
        {"mmap": (9, 222), "mremap": (25, 216), "mprotect": (10, 226)},
        _always(errno.ENOMEM),
        lambda call: f"{call.args[1]} bytes",
    ),
    "connect": Kind({"connect": (42, 203)}, _always(errno.EAGAIN, errno.ENOMEM), _descriptor),
    "bind": Kind(
        {"bind": (49, 200), "listen": (50, 201)},
        _always(errno.ENOMEM, errno.EADDRINUSE),
        _descriptor,
    ),
    "socket-option": Kind(
        {"getsockopt": (55, 209), "setsockopt": (54, 208)}, _always(errno.ENOMEM), _descriptor
    ),
    "lock": Kind({"flock": (73, 32)}, _always(errno.ENOLCK, errno.EINTR), _descriptor),
    "owner": Kind(
        {"chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchown": (93, 55)},
        _always(errno.EIO, errno.EROFS),
        _nothing,
    ),
}
"""What we make of the calls that piesd makes: everything of it that can fail."""


_RESTARTING = """
import signal
_signal = signal.signal
def _restarting(number, handler):
    before = _signal(number, handler)
    if callable(handler):
        signal.siginterrupt(number, False)
    return before
signal.signal = _restarting
"""
"""What keeps us from letting calls fail that nobody asked for.

A signal breaks off a call that waits for us to learn of it, with an error that most calls never
have. Where the handler of the signal lets calls be made again, it is made again.
"""


class Refusal(NamedTuple):
    """A call that was made to fail."""

    kind: str
    number: int
    name: str
    error: int
    about: str

    def __str__(self) -> str:
        reason = errno.errorcode[self.error]
        return f"{self.kind} {self.number}: {self.name}({self.about}) = {reason}"


class _Order(NamedTuple):
    kind: str
    number: int
    luck: random.Random


class CallFaults:
    """Counts the calls of a process by their kind, and lets one of them fail.

    `wrapper` goes before the command of the process, and `environ` into its environment.
    """

    def __init__(self, home: Path, *kinds: str) -> None:
        """Wait for a process that is run with `wrapper`.

        Args:
            home: a directory for a socket.
            kinds: which calls are to be asked about; all that we know if none is named.
        """
        column = {"x86_64": 0, "aarch64": 1}.get(os.uname().machine)
        if column is None:
            pytest.skip(f"the numbers of system calls on {os.uname().machine} are not known here")
        self._names = {
            numbers[column]: (kind, name)
            for kind in kinds or KINDS
            for name, numbers in KINDS[kind].calls.items()
            if numbers[column] >= 0
        }
        path = home / "calls"
        path.unlink(missing_ok=True)
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(path))
        self._door.listen()
        self._door.settimeout(PATIENCE)
        numbers = ",".join(map(str, self._names))
        program = str(Path(__file__).with_name("callfilter.py"))
        self.wrapper = (sys.executable, "-I", "-S", program, str(path), numbers)
        (home / "sitecustomize.py").write_text(_RESTARTING)
        self.environ = {"PYTHONPATH": str(home)}
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._order: _Order | None = None
        self._begins: str | None = None
        self.refusal: Refusal | None = None
        self.pid = -1
        self._listener = -1
        self._wake, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._serve)

    def attach(self) -> None:
        """Answer for the process that was run; skip the test where the kernel has no such thing."""
        way, _ = self._door.accept()
        with way:
            self.pid = struct.unpack("=3i", way.getsockopt(1, socket.SO_PEERCRED, 12))[0]
            text, fds, _, _ = socket.recv_fds(way, 500, 1)
            if not fds:
                pytest.skip(text.decode())
            self._listener = fds[0]
            self._thread.start()
            way.sendall(b"!")

    def close(self) -> None:
        """Answer nobody any more. Whoever still lives with the filter cannot go on."""
        os.write(self._stop, b"!")
        if self._thread.ident is not None:
            self._thread.join()
        for fd in (self._listener, self._wake, self._stop):
            if fd >= 0:
                os.close(fd)
        self._door.close()

    # --- orders

    def count(self) -> None:
        """Count from zero."""
        with self._lock:
            self._counts.clear()

    @property
    def counts(self) -> dict[str, int]:
        """How many calls there were, of each kind, that could have failed."""
        with self._lock:
            return dict(self._counts)

    def fail(self, kind: str, number: int, luck: random.Random) -> None:
        """Let call *number* of *kind* fail, from now on counted from one."""
        with self._lock:
            self._counts.clear()
            self.refusal, self._order = None, _Order(kind, number, luck)

    def fail_no_more(self) -> Refusal | None:
        """Let nothing fail; return what has."""
        with self._lock:
            self._order = None
            return self.refusal

    def begin_at(self, path: str) -> None:
        """Count nothing before a file with this path is opened."""
        with self._lock:
            self._begins = path

    # --- answers

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self._wake in ready or ready.get(self._listener, 0) & select.POLLHUP:
                return
            buffer = bytearray(_NOTIFICATION.size)
            with suppress(FileNotFoundError, InterruptedError):  # It was killed meanwhile.
                fcntl.ioctl(self._listener, _RECEIVE, buffer)
                asked, task, _, number, _, _, *args = _NOTIFICATION.unpack(buffer)
                error = self._judge(task, number, tuple(args))
                flags = 0 if error else _CONTINUE
                answer = bytearray(_RESPONSE.pack(asked, 0, -error, flags))
                fcntl.ioctl(self._listener, _SEND, answer)

    def _judge(self, task: int, number: int, args: tuple[int, ...]) -> int:
        """Return with what a call fails; 0: it goes on."""
        if not os.path.exists(f"/proc/{self.pid}/task/{task}"):
            return 0  # It is a child.
        kind, name = self._names[number]
        call = Call(self.pid, name, args)
        with self._lock:
            if self._begins is not None:
                if kind != "open" or call.text(1) != self._begins:
                    return 0
                self._begins = None
            order = self._order
            if order is not None and order.kind != kind:
                return 0
            errors = KINDS[kind].errors(call)
            if not errors:
                return 0
            self._counts[kind] += 1
            if order is None or self._counts[kind] != order.number:
                return 0
            error = order.luck.choice(errors)
            about = KINDS[kind].about(call)
            self.refusal = Refusal(kind, order.number, name, error, about)
            self._order = None
            return error
