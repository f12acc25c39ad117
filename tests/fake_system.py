"""The simulated operating system: `System` in memory, the same each time, moved by hand.

A child does what its `Script` says, and by default lives until a signal ends it. Tests make the
rest happen: `exit`, `write`, `connect`, `decide`. Whenever a child has ended, `on_child` is called,
as SIGCHLD would be delivered; like a signal handler it must only make a note, and `reap` later.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import trio
from msgspec import Struct

from supervisor.model.component import Address, GroupLimits, InetAddress, Key, UnixAddress
from supervisor.model.groups import Enclosure, GroupFigures
from supervisor.model.state import Exit
from supervisor.system.port import (
    Adopted,
    Connection,
    Datagram,
    Flow,
    Launch,
    Launched,
    LaunchFailed,
    ListenError,
    Orphan,
    P,
    Reaped,
    Report,
    SocketName,
    TreeReport,
)

T = TypeVar("T")

_HARMLESS = frozenset(
    {
        signal.SIGCHLD,
        signal.SIGCONT,
        signal.SIGURG,
        signal.SIGWINCH,
        signal.SIGSTOP,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
    }
)
_BATCH = 64


class Script(Struct, frozen=True, kw_only=True):
    """What a program does.

    `fails` is stage, errno and message of a start that does not succeed. With `delayed` the
    launch is reported when the test calls `decide`, or when the child is reaped. `prints` goes to
    standard output at the start. `exits` ends it at once with that code; `catches` are signals it
    answers by exiting with `catch_code`; `ignores` are signals it does not mind. `leaves` processes
    outlive it outside its process group, which do not mind `left_ignores`, and which keep its
    output open.
    """

    fails: tuple[str, int, str] | None = None
    delayed: bool = False
    prints: bytes = b""
    exits: int | None = None
    ignores: frozenset[int] = frozenset()
    catches: frozenset[int] = frozenset()
    catch_code: int = 0
    leaves: int = 0
    left_ignores: frozenset[int] = frozenset()


class Child:
    """One simulated child and what it leaves behind."""

    def __init__(self, pid: int, launch: Launch, script: Script, report: Report) -> None:
        self.pid, self.launch, self.script, self.report = pid, launch, script, report
        self.decided = False
        self.alive = True
        self.reaped = False
        self.exit: Exit | None = None
        self.lost: list[int] = []
        self.reported: tuple[int, ...] = ()

    @property
    def name(self) -> tuple[Key, int]:
        return self.launch.key, self.launch.generation


class SentSignal(Struct, frozen=True):
    """One call of `signal`, for assertions."""

    key: Key
    generation: int
    signum: int
    scope: str


class _Pipe:
    def __init__(self) -> None:
        self.data = bytearray()
        self.writers: set[object] = set()
        """Who can write: descriptors of ours, children, what they left."""


def _is_of(writer: object, pid: int) -> bool:
    return isinstance(writer, tuple) and writer[0] == pid


class FakeSystem:
    """Implements `supervisor.system.port.System`; everything a test may look at is public.

    `scripts` maps a key or a tag to what its program does. `listen_failures` maps the URL of an
    address to the error its opening gives. `accept_failures` are raised by the next accepts.
    """

    def __init__(self) -> None:
        self.on_child: Callable[[], None] | None = None
        self.scripts: dict[str, Script] = {}
        self.default = Script()
        self.listen_failures: dict[str, ListenError] = {}
        self.accept_failures: deque[OSError] = deque()
        self.notify_failures: dict[str, OSError] = {}
        """Errors that `notify_socket` raises, by path."""
        self.launches: list[Launch] = []
        self.limits: dict[Key, GroupLimits] = {}
        """The limits of each component's group, as they were last set."""
        self.lacks: dict[Key, str] = {}
        """Why limits are not in force."""
        self.group_figures: dict[Key, GroupFigures] = {}
        self.signals: list[SentSignal] = []
        self.inheritable: set[tuple[Key, int, int, str]] = set()
        """Which child has a socket at which URL as which descriptor."""
        self.children: dict[tuple[Key, int], Child] = {}
        """Those of which anything is left, by key and generation."""
        self.listeners: dict[int, Address] = {}
        self.opened: dict[int, tuple[int, bool]] = {}
        self.lost: set[int] = set()
        """Listening sockets whose file is not theirs any more."""
        """For each listener, its backlog and whether it blocks."""
        self.told: dict[int, bytes] = {}
        """For each connection, what the client was told with our farewell."""
        self.sent: dict[int, bytearray] = {}
        """For each connection, what the client has sent and nobody has taken."""
        self.answered: dict[int, bytearray] = {}
        """For each connection, what the client was sent, and has taken."""
        self.room: dict[int, int] = {}
        """For a connection, how many bytes more its client takes; without an entry any number."""
        self.default_room: int | None = None
        """What `room` has for a new connection."""
        self.gone: set[int] = set()
        """The connections whose client has closed its end."""
        self.hung_up: set[int] = set()
        """The connections whose client is gone altogether: nothing can be sent to it."""
        self.replies: list[tuple[SocketName, bytes]] = []
        """What datagrams were answered with, and where that went."""
        self.last_byte: dict[int, float] = {}
        """For each connection that was handed over, by its inode, when a byte went by last."""
        self.visitors: dict[Address, int] = {}
        """How many connections there are to a listener that a server owns."""
        self.tight_lipped = False
        """The kernel tells nothing about sockets of others."""
        self.expected: dict[int, bool] = {}
        """The listeners at which somebody is expected, and whether somebody came."""
        self.notify_paths: dict[int, str] = {}
        """The open notification sockets, by descriptor."""
        self.texts: dict[int, bytes] = {}
        """What `text` was given, by descriptor; kept when it is closed."""
        self.descriptors: set[int] = set()
        """Everything open: empty at the end if nothing leaks."""
        self.epoch = 1_700_000_000.0
        self.random = 0.5
        self._next_pid = 1000
        self._next_fd = 100
        self._read_ends: dict[int, _Pipe] = {}
        self._write_ends: dict[int, _Pipe] = {}
        self._datagrams: dict[int, deque[bytes]] = {}
        self._asked: dict[int, deque[Datagram]] = {}
        self._queues: dict[int, deque[Connection]] = {}
        self._watched: dict[int, Callable[[], None]] = {}
        self._turn: deque[int] = deque()
        self._wake: trio.Event | None = None
        self._waiting: list[trio.Event] = []

    # --- what tests do

    def child(self, who: Key | int) -> Child:
        """Return the living child with this pid, or the newest one of this key."""
        for child in reversed(self.children.values()):
            if who in (child.pid, child.launch.key) and not child.reaped:
                return child
        raise AssertionError(f"there is no child {who!r}: {list(self.children)}")

    def exit(self, who: Key | int, code: int = 0, *, signum: int | None = None) -> None:
        """End the leader by itself: with a code, or killed by *signum*."""
        self._end(self.child(who), code, signum)

    def exit_left(self, who: Key, count: int | None = None) -> None:
        """End (all, or *count*) processes that the newest child of *who* has left behind."""
        child = next(c for c in reversed(self.children.values()) if c.launch.key == who)
        del child.lost[: len(child.lost) if count is None else count]
        self._left_changed(child)

    def decide(self, who: Key | int) -> None:
        """Report a delayed launch."""
        self._decide(self.child(who))

    def write(
        self, who: Key | int, data: bytes, stream: Literal["stdout", "stderr"] = "stdout"
    ) -> None:
        """Have a child print something."""
        launch = self.child(who).launch
        pipe = self._write_ends.get(launch.stdout if stream == "stdout" else launch.stderr)
        pipe = pipe or self._pipe_of(self.child(who), stream)
        if pipe is not None:
            pipe.data += data
            self._awake()

    def hand(self, who: Key | int, number: int, data: bytes) -> None:
        """Have a child write to the descriptor that it was given as *number* (`Launch.extra`)."""
        child = self.child(who)
        pipe = self._pipe_of(child, str(number))
        assert pipe is not None, f"{who!r} has no descriptor {number}: {child.launch.extra}"
        pipe.data += data
        self._awake()

    def notify(self, path: str, data: bytes) -> None:
        """Send a datagram to the notification socket at *path*."""
        fd = next(fd for fd, bound in self.notify_paths.items() if bound == path)
        self._datagrams[fd].append(data)
        self._awake()

    def stdin_text(self, launch: Launch) -> bytes:
        """Return what a child has on its standard input, made by `text`, and has not read."""
        assert launch.stdin is not None, "it reads what the component says"
        return self.texts[launch.stdin]

    def connect(self, address: Address, peer: str = "127.0.0.1:4711", *, sends: bytes = b"") -> int:
        """Knock at a listener; return the number that the connection's descriptor will have."""
        fd = next(fd for fd, bound in self.listeners.items() if bound == address)
        connection = Connection(self._new_fd(), peer, peer.rpartition(":")[0])
        if self.default_room is not None:
            self.room[connection.fd] = self.default_room
        if sends:
            self.sent[connection.fd] = bytearray(sends)
        self._queues[fd].append(connection)
        self._awake()
        return connection.fd

    def say(self, fd: int, data: bytes) -> None:
        """Let the client of a connection send something more."""
        self.sent.setdefault(fd, bytearray()).extend(data)
        self._awake()

    def make_room(self, fd: int, count: int) -> None:
        """Let the client of a connection take so many bytes more."""
        self.room[fd] = self.room.get(fd, 0) + count
        self._awake()

    def ask(self, address: Address, data: bytes, sender: SocketName, **fields: Any) -> None:
        """Send a datagram to a listener, by whatever name."""
        fd = next(fd for fd, bound in self.listeners.items() if bound == address)
        self._asked.setdefault(fd, deque()).append(Datagram(data, sender, **fields))
        self._awake()

    def waiting_datagrams(self, address: Address) -> int:
        """Return how many datagrams nobody has taken yet."""
        fd = next(fd for fd, bound in self.listeners.items() if bound == address)
        return len(self._asked.get(fd, ()))

    def leave(self, fd: int) -> None:
        """Let the client of a connection close its end."""
        self.gone.add(fd)
        self._awake()

    def hang_up(self, fd: int) -> None:
        """Let the client of a connection be gone."""
        self.hung_up.add(fd)
        self.leave(fd)

    # --- clock and luck

    def wall(self) -> float:
        try:
            return self.epoch + trio.current_time()
        except RuntimeError:  # Outside of trio time stands still.
            return self.epoch

    def chance(self) -> float:
        return self.random

    # --- processes

    def launch(self, launch: Launch, report: Report) -> None:
        self.launches.append(launch)
        script = self.scripts.get(launch.key) or self.scripts.get(launch.spec.tag) or self.default
        self._next_pid += 1
        child = Child(self._next_pid, launch, script, report)
        self.children[child.name] = child
        held = [("stdout", launch.stdout), ("stderr", launch.stderr)]
        for stream, fd in [*held, *((str(number), fd) for number, fd in launch.extra)]:
            if fd in self._write_ends:
                self._write_ends[fd].writers.add((child.pid, stream))
        if not script.delayed:
            self._decide(child)

    def _decide(self, child: Child) -> None:
        if child.decided:
            return
        child.decided = True
        key, generation = child.name
        if child.script.fails is not None:
            stage, number, message = child.script.fails
            self._drop_output(child)
            del self.children[child.name]
            failed = Exit(stage=stage, errno=number, message=message, at=self.wall())
            child.report(LaunchFailed(key, generation, failed))
            return
        child.report(Launched(key, generation, child.pid))
        if child.script.prints:
            self.write(child.pid, child.script.prints)
        if child.script.exits is not None and child.alive:
            self._end(child, child.script.exits, None)

    def _end(self, child: Child, code: int, signum: int | None) -> None:
        assert child.alive, "it has ended already"
        child.alive = False
        message = f"exited with {code}"
        if signum is not None:
            message = f"killed by {signal.Signals(signum).name}"
        child.exit = Exit(
            code=code if signum is None else None, signal=signum, message=message, at=self.wall()
        )
        for _ in range(child.script.leaves):
            self._next_pid += 1
            child.lost.append(self._next_pid)
        if not child.lost:
            self._drop_output(child)
        self._news()

    def _left_changed(self, child: Child) -> None:
        if not child.lost:
            self._drop_output(child)
        self._news()

    def reap(self) -> list[Reaped | TreeReport]:
        reports: list[Reaped | TreeReport] = []
        for child in list(self.children.values()):
            if child.alive:
                continue
            self._decide(child)
            lost = tuple(child.lost)
            if not child.reaped:
                assert child.exit is not None
                child.reaped = True
                reports.append(Reaped(*child.name, child.exit, lost))
            elif lost != child.reported:
                reports.append(TreeReport(*child.name, lost))
            child.reported = lost
            if not lost:
                self.children.pop(child.name, None)
        return reports

    def adopt(self, orphans: Sequence[Orphan]) -> list[Adopted]:
        """Take over what another has launched here, and kill what nobody has written down."""
        found = []
        for each in orphans:
            child = self.children.get((each.key, each.generation))
            if child is None or child.reaped or each.pid not in (None, child.pid):
                found.append(Adopted(each.key, each.generation, None, ()))
                continue
            child.decided = True
            if not child.alive:  # Nobody was there to whom its end was reported.
                child.reaped, child.reported = True, tuple(child.lost)
            pid = child.pid if child.alive else None
            found.append(Adopted(each.key, each.generation, pid, tuple(child.lost)))
        names = {(each.key, each.generation) for each in orphans}
        for name in self.children.keys() - names:
            del self.children[name]
        return found

    def inherit(self, key: Key, generation: int, number: int, address: Address) -> int | None:
        """Return a new descriptor of what a child listens on, if the test has said so."""
        if (key, generation, number, address.url) not in self.inheritable:
            return None
        fd = self._new_fd()
        self.listeners[fd] = address
        self.opened[fd] = (0, True)
        return fd

    def take_over(self, fd: int, address: Address) -> bool:
        self.listeners[fd] = address
        self.opened[fd] = (0, True)
        return True

    def signal(
        self,
        key: Key,
        generation: int,
        signum: int,
        scope: Literal["leader", "group", "lost", "tree"],
    ) -> int:
        self.signals.append(SentSignal(key, generation, signum, scope))
        child = self.children.get((key, generation))
        if child is None:
            return 0
        count = 0
        if scope != "lost" and not child.reaped:
            count += 1
            if child.alive:
                self._strike(child, signum)
        if scope == "tree" or (scope == "lost" and child.reaped):
            count += len(child.lost)
            if child.lost and signum not in _HARMLESS | (child.script.left_ignores - {9}):
                child.lost.clear()
                self._left_changed(child)
        return count

    def _strike(self, child: Child, signum: int) -> None:
        if signum == 0 or signum in _HARMLESS:
            return
        if signum != signal.SIGKILL:
            if signum in child.script.ignores:
                return
            if signum in child.script.catches:
                self._end(child, child.script.catch_code, None)
                return
        self._end(child, 0, signum)

    def enclosure(self, key: Key) -> Enclosure:
        return Enclosure("process group, session, subreaper and marker", self.lacks.get(key, ""))

    def limit(self, key: Key, limits: GroupLimits) -> None:
        self.limits[key] = limits

    def figures(self, key: Key) -> GroupFigures | None:
        return self.group_figures.get(key)

    def forget(self, key: Key) -> None:
        self.limits.pop(key, None)

    def processes(self, key: Key, generation: int) -> tuple[int, ...]:
        child = self.children.get((key, generation))
        if child is None:
            return ()
        return (*([child.pid] if child.alive else []), *child.lost)

    def _news(self) -> None:
        if self.on_child is not None:
            self.on_child()

    # --- descriptors

    def _new_fd(self) -> int:
        self._next_fd += 1
        self.descriptors.add(self._next_fd)
        return self._next_fd

    def pipe(self) -> tuple[int, int]:
        pipe, reader, writer = _Pipe(), self._new_fd(), self._new_fd()
        pipe.writers.add(writer)
        self._read_ends[reader] = self._write_ends[writer] = pipe
        return reader, writer

    def text(self, text: bytes) -> int:
        fd, pipe = self._new_fd(), _Pipe()
        pipe.data += text
        self._read_ends[fd] = pipe
        self.texts[fd] = text
        return fd

    def notify_socket(self, path: str, key: Key, generation: int) -> int:
        if (failure := self.notify_failures.get(path)) is not None:
            raise failure
        fd = self._new_fd()
        self.notify_paths[fd] = path
        self._datagrams[fd] = deque()
        return fd

    def receive(self, fd: int) -> bytes | None:
        queue = self._datagrams.get(fd)
        if queue is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return queue.popleft() if queue else None

    def read(self, fd: int, most: int) -> bytes | None:
        if fd in self.sent:
            return self.consume(fd, most)
        if fd in self.told:
            return b"" if fd in self.gone else None
        pipe = self._read_ends.get(fd)
        if pipe is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        data = bytes(pipe.data[:most])
        del pipe.data[:most]
        return data if data or not pipe.writers else None

    def close(self, fd: int) -> None:
        if fd not in self.descriptors:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.unwatch(fd)
        self.descriptors.discard(fd)
        self._read_ends.pop(fd, None)
        self._datagrams.pop(fd, None)
        self.notify_paths.pop(fd, None)
        pipe = self._write_ends.pop(fd, None)
        if pipe is not None:
            pipe.writers.discard(fd)
            self._awake()

    def _pipe_of(self, child: Child, stream: str) -> _Pipe | None:
        writer = (child.pid, stream)
        return next((pipe for pipe in self._pipes() if writer in pipe.writers), None)

    def _drop_output(self, child: Child) -> None:
        for pipe in self._pipes():
            pipe.writers -= {who for who in pipe.writers if _is_of(who, child.pid)}
        self._awake()

    def _pipes(self) -> list[_Pipe]:
        return [*self._read_ends.values(), *self._write_ends.values()]

    def watch(self, fd: int, ready: Callable[[], None]) -> None:
        if fd not in self.descriptors:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if fd not in self._watched:
            self._turn.append(fd)
        self._watched[fd] = ready
        self._awake()

    def unwatch(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None:
            self._turn.remove(fd)

    def _ready(self, fd: int) -> bool:
        if fd in self._queues and not self._asked.get(fd):
            return bool(self._queues[fd]) or bool(self.accept_failures)
        if self._asked.get(fd):
            return True
        if fd in self._datagrams:
            return bool(self._datagrams[fd])
        if fd in self.sent or fd in self.gone:
            return True
        pipe = self._read_ends.get(fd)
        return pipe is not None and (bool(pipe.data) or not pipe.writers)

    def dispatch(self) -> int:
        """Call what is ready now, each once, at most one batch; return how many that were."""
        ready = [fd for fd in self._turn if self._ready(fd)][:_BATCH]
        for fd in ready:
            callback = self._watched.get(fd)
            if callback is None:
                continue
            self._turn.remove(fd)
            self._turn.append(fd)
            try:
                callback()
            except Exception:  # noqa: BLE001 - as the real one: it loses its watch, nobody else does.
                self.unwatch(fd)
        return len(ready)

    async def serve(self) -> None:
        while True:
            self._wake = trio.Event()
            if self.dispatch():
                await trio.lowlevel.checkpoint()
            else:
                await self._wake.wait()

    def _awake(self) -> None:
        if self._wake is not None:
            self._wake.set()
        for waiting in self._waiting:
            waiting.set()
        self._waiting.clear()

    # --- listeners

    def listen(self, address: Address, backlog: int = 4096, *, blocking: bool = False) -> int:
        if (failure := self.listen_failures.get(address.url)) is not None:
            raise failure
        if address in self.listeners.values():
            error = OSError(errno.EADDRINUSE, "is in use by another process")
            raise ListenError("bind", error, f"bind {address.url}: {error.strerror}")
        fd = self._new_fd()
        self.listeners[fd] = address
        self.opened[fd] = (backlog, blocking)
        self._queues[fd] = deque()
        return fd

    def relisten(self, fd: int, backlog: int, *, blocking: bool) -> None:
        assert fd in self.listeners
        self.opened[fd] = (backlog, blocking)

    def leads_to(self, address: Address, fd: int) -> bool:
        assert fd in self.listeners
        return fd not in self.lost

    def unlisten(self, fd: int, address: Address) -> None:
        assert self.listeners.pop(fd) == address
        assert fd not in self.expected, "the request would keep the socket open"
        for connection in self._queues.pop(fd):
            self.descriptors.discard(connection.fd)
        self.close(fd)

    def farewell(self, fd: int, message: bytes) -> bool:
        assert fd in self.descriptors
        self.told[fd] = message
        return bool(message)

    def peek(self, fd: int, most: int) -> bytes | None:
        data = self.sent.get(fd)
        if data is None:
            return b"" if fd in self.gone else None
        return bytes(data[:most])

    def consume(self, fd: int, count: int) -> bytes:
        taken = bytes(self.sent[fd][:count])
        del self.sent[fd][:count]
        if not self.sent[fd]:
            del self.sent[fd]
        return taken

    def take(self, fd: int, most: int) -> bytes | None:
        assert fd in self.descriptors
        if fd in self.sent:
            return self.consume(fd, most)
        return b"" if fd in self.gone else None

    def send(self, fd: int, data: bytes) -> int:
        assert fd in self.descriptors
        if fd in self.hung_up:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        taken = data[: self.room.get(fd, len(data))]
        if fd in self.room:
            self.room[fd] -= len(taken)
        self.answered.setdefault(fd, bytearray()).extend(taken)
        return len(taken)

    async def readable(self, fd: int) -> None:
        await self._until(lambda: fd in self.sent or fd in self.gone)

    async def writable(self, fd: int) -> None:
        await self._until(lambda: self.room.get(fd, 1) > 0 or fd in self.gone)

    async def _until(self, fact: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        while not fact():
            self._waiting.append(trio.Event())
            await self._waiting[-1].wait()

    def receive_from(self, fd: int) -> Datagram | None:
        assert fd in self.listeners
        queue = self._asked.get(fd)
        return queue.popleft() if queue else None

    def reply(self, fd: int, asked: Datagram, data: bytes) -> bool:
        assert fd in self.listeners
        self.replies.append((asked.sender, data))
        return True

    def names(self, fd: int) -> tuple[SocketName, SocketName]:
        assert fd in self.descriptors
        address = self.listeners.get(fd)
        if isinstance(address, InetAddress):
            return SocketName(address.host, address.port), SocketName("")
        if isinstance(address, UnixAddress):
            return SocketName(address.path), SocketName("")
        return SocketName("127.0.0.1", 79), SocketName("127.0.0.1", 4711)

    def flow(self, fd: int) -> Flow | None:
        self.last_byte[fd] = trio.current_time()
        return Flow(*self.names(fd), fd)

    def flow_of(self, key: Key, generation: int) -> Flow | None:
        child = self.children.get((key, generation))
        return (
            None if child is None or child.launch.stdin is None else self.flow(child.launch.stdin)
        )

    def quiet(self, flow: Flow) -> float | None:
        self._told_about_others()
        last = self.last_byte.get(flow.inode)
        return None if last is None else trio.current_time() - last

    def connections(self, address: Address) -> int:
        self._told_about_others()
        return self.visitors.get(address, 0)

    def expect(self, fd: int) -> None:
        assert fd in self.listeners
        self.expected[fd] = bool(self._queues[fd])

    def came(self, fd: int) -> bool:
        return self.expected[fd]

    def expect_no_more(self, fd: int) -> None:
        self.expected.pop(fd, None)

    def visit(self, address: Address) -> None:
        """Have a client come to a listener that a server owns; it is served, and goes."""
        for fd in self.expected:
            self.expected[fd] |= self.listeners[fd] == address

    def is_stopped(self, key: Key, generation: int) -> bool:
        sent = [each for each in self.signals if (each.key, each.generation) == (key, generation)]
        return bool(sent) and sent[-1].signum == signal.SIGSTOP

    def _told_about_others(self) -> None:
        if self.tight_lipped:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def accept(self, fd: int) -> Connection | None:
        if self.accept_failures:
            raise self.accept_failures.popleft()
        queue = self._queues[fd]
        return queue.popleft() if queue else None

    # --- slow things

    async def blocking(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *job* right here: a thread would look like idleness to a virtual clock."""
        await trio.lowlevel.checkpoint()
        return partial(job, *args, **kwargs)()
