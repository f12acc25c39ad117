"""The operating system as the runtime sees it: one protocol, two implementations.

`supervisor.system.linux` is the real one, `tests/fake_system.py` the simulated one; the same
contract tests run against both. No method here blocks on anything but local memory, unless it
is `async`. All of them are called from the trio thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, ParamSpec, Protocol, TypeVar

from msgspec import Struct

from supervisor.model.component import Address, Component, GroupLimits, Key
from supervisor.model.groups import Enclosure, GroupFigures
from supervisor.model.state import Exit

P = ParamSpec("P")
T = TypeVar("T")


class Launch(Struct, frozen=True, kw_only=True):
    """Everything a spawn needs. The descriptors stay the caller's to close.

    `stdin` is None for /dev/null (`nullinput`) or the daemon's own, as the component says; for a
    connection it is the socket, which is standard output too (`stdout` is then the same number).
    """

    key: Key
    generation: int
    spec: Component
    stdin: int | None
    stdout: int
    stderr: int
    extra: tuple[tuple[int, int], ...] = ()
    """Pairs of a number from 3 on and a descriptor that the child has under that number."""
    environ: tuple[tuple[str, str], ...] = ()
    """Variables that come on top of the environment that the component asks for."""
    own_pid: tuple[str, ...] | None = None
    """The names of the variables that tell the child its own PID, if there are any."""


class Launched(Struct, frozen=True):
    """The program of this child is being executed."""

    key: Key
    generation: int
    pid: int


class LaunchFailed(Struct, frozen=True):
    """There is no child; `exit.stage`, `exit.errno` and `exit.message` say why."""

    key: Key
    generation: int
    exit: Exit


class Reaped(Struct, frozen=True):
    """The leader of a child ended. `lost` are processes of its tree that live on."""

    key: Key
    generation: int
    exit: Exit
    lost: tuple[int, ...]


class TreeReport(Struct, frozen=True):
    """What is left of the tree of a child whose leader has ended; changed since the last report."""

    key: Key
    generation: int
    lost: tuple[int, ...]


class Orphan(Struct, frozen=True):
    """A child that another piesd has started, as far as that has written down.

    `pid` is None if its number was not written down yet. `born` are two times of CLOCK_BOOTTIME in
    seconds between which it was started.
    """

    key: Key
    generation: int
    pid: int | None
    born: tuple[float, float]


class Adopted(Struct, frozen=True):
    """What is there of such a child: its leader, and what has outlived its leader."""

    key: Key
    generation: int
    pid: int | None
    lost: tuple[int, ...]


class Connection(Struct, frozen=True):
    """One accepted connection: its descriptor (blocking, close-on-exec) and who is there.

    `peer` is for people. `address` is the client's IP address, or the path of our UNIX socket;
    `uid` is the user at the other end of a UNIX socket.
    """

    fd: int
    peer: str
    address: str = ""
    uid: int | None = None


class SocketName(NamedTuple):
    """One end of a connection: an IP address with its port, or a path; both empty if unknown."""

    address: str
    port: int | None = None


class Datagram(NamedTuple):
    """One datagram, and where an answer to it goes.

    `sender` has no address if it cannot be answered. `ours` is the address of ours to which it was
    sent, or the path of our UNIX socket. `to_many`: it was sent to others as well. `back` belongs
    to the system.
    """

    data: bytes
    sender: SocketName
    ours: str = ""
    to_many: bool = False
    back: Any = None


class Flow(NamedTuple):
    """One TCP connection as the kernel knows it, whoever holds it."""

    ours: SocketName
    theirs: SocketName
    inode: int


class ListenError(Exception):
    """A listening socket could not be opened. `stage` is `socket`, `bind`, `chmod` … ."""

    def __init__(self, stage: str, error: OSError, message: str) -> None:
        super().__init__(message)
        self.stage, self.error, self.message = stage, error, message


class System(Protocol):
    """The operating system. Descriptors are plain numbers so that a fake can invent them."""

    def wall(self) -> float:
        """Return Unix time in seconds."""

    def chance(self) -> float:
        """Return a random number in [0, 1)."""

    # --- processes

    def launch(self, launch: Launch, report: Callable[[Launched | LaunchFailed], None]) -> None:
        """Start a child in its own session, with the component's marker in its environment.

        *report* is called exactly once, before this returns or later. Never waits for a child
        whose program, directory or user lies on something that may hang.
        """

    def adopt(self, orphans: Sequence[Orphan]) -> list[Adopted]:
        """Take over children that another piesd has started, and say what is there of each.

        Their ends come with `reap` from now on, as if they were our own. What carries our marker
        and is none of them is killed. To be called before anything is launched.
        """

    def inherit(self, key: Key, generation: int, number: int, address: Address) -> int | None:
        """Return a descriptor of the socket at *address* that a child has as its *number*.

        None if it has none there, or we have no right to it.
        """

    def take_over(self, fd: int, address: Address) -> bool:
        """Hold *fd* as a socket that listens at *address*; False: it is none."""

    def reap(self) -> list[Reaped | TreeReport]:
        """Collect every child that has ended (after SIGCHLD), with what is left of its tree.

        A launch that has not been reported yet is reported (by its callback) before its end.
        """

    def signal(
        self,
        key: Key,
        generation: int,
        signum: int,
        scope: Literal["leader", "group", "lost", "tree"],
    ) -> int:
        """Send a signal, see `supervisor.model.effects.Signal`; return how many got it.

        A process that is gone is no error. A signal never reaches a process of another child.
        """

    def enclosure(self, key: Key) -> Enclosure:
        """Return by which means the processes of the children of *key* are found."""

    def limit(self, key: Key, limits: GroupLimits) -> None:
        """Have the processes of a component be limited so, those that are there too.

        What cannot be had is told in the log, and by `enclosure`.
        """

    def figures(self, key: Key) -> GroupFigures | None:
        """Return what the kernel counts for a component; None if it has no group.

        It reads files, so it is for a worker thread.
        """

    def forget(self, key: Key) -> None:
        """Free what is kept for *key*, of which nothing is left."""

    def processes(self, key: Key, generation: int) -> tuple[int, ...]:
        """Return the live processes of that child's tree, the leader first."""

    # --- descriptors

    def pipe(self) -> tuple[int, int]:
        """Return a close-on-exec pipe: a non-blocking read end and a blocking write end."""

    def text(self, text: bytes) -> int:
        """Return a descriptor from which *text*, of any length, can be read to its end.

        Raises:
            OSError: there are no descriptors or no memory left.
        """

    def notify_socket(self, path: str, key: Key, generation: int) -> int:
        """Return a non-blocking datagram socket at *path*, on which a child says how it is.

        Whoever gets at the path may write to it; heard are the processes of that child, root, and
        our own user.

        Raises:
            OSError: with the reason.
        """

    def receive(self, fd: int) -> bytes | None:
        """Read one datagram of such a socket: None when there is nothing now.

        One that is not heard is an empty one.
        """

    def read(self, fd: int, most: int) -> bytes | None:
        """Read what is there: None when there is nothing now, `b""` at the end."""

    def close(self, fd: int) -> None:
        """Close a descriptor."""

    def watch(self, fd: int, ready: Callable[[], None]) -> None:
        """Call *ready* from `serve` whenever *fd* is readable or at its end."""

    def unwatch(self, fd: int) -> None:
        """Stop watching (no error if it is not watched)."""

    async def serve(self) -> None:
        """Dispatch readiness for ever; every round is bounded and fair."""

    # --- listeners

    def listen(self, address: Address, backlog: int = 4096, *, blocking: bool = False) -> int:
        """Open a socket that listens, or takes datagrams. A stale UNIX socket is replaced.

        Args:
            address: where.
            backlog: how many may wait.
            blocking: as programs expect it, to which it is going to be handed over.

        Raises:
            ListenError: with the stage, the error and a message for people.
        """

    def relisten(self, fd: int, backlog: int, *, blocking: bool) -> None:
        """Have a listening socket be as `listen` with these arguments would have opened it."""

    def leads_to(self, address: Address, fd: int) -> bool:
        """Return whether who connects to *address* comes to this listening socket of ours.

        The file of a UNIX socket may have been removed, or be another one by now.
        """

    def unlisten(self, fd: int, address: Address) -> None:
        """Close a listening socket and remove its UNIX path, if it is still ours."""

    def accept(self, fd: int) -> Connection | None:
        """Accept one connection, or None when there is none now.

        Raises:
            OSError: EMFILE, ENFILE and the like; the caller pauses.
        """

    def farewell(self, fd: int, message: bytes) -> bool:
        """Say something to a client and that this is all; whether it is still to be waited for.

        Never blocks: what the client does not take at once is lost. Then its own end comes, and
        `read` gives it; to close the descriptor sooner could destroy what was said.
        """

    def peek(self, fd: int, most: int) -> bytes | None:
        """Look at what a connection has for us, and leave it: as `read` otherwise."""

    def consume(self, fd: int, count: int) -> bytes:
        """Take *count* bytes that were seen by `peek`."""

    def take(self, fd: int, most: int) -> bytes | None:
        """Take what a connection has for us: as `read` otherwise, and never waits."""

    def send(self, fd: int, data: bytes) -> int:
        """Send as much as goes at once; return how many bytes that were.

        Raises:
            OSError: the client is gone.
        """

    async def readable(self, fd: int) -> None:
        """Return when a connection has something for us, or is at its end."""

    async def writable(self, fd: int) -> None:
        """Return when a connection takes something, or its client is gone."""

    def receive_from(self, fd: int) -> Datagram | None:
        """Take one datagram of a stranger; None when there is none now.

        Raises:
            OSError: the kernel has no memory.
        """

    def reply(self, fd: int, asked: Datagram, data: bytes) -> bool:
        """Answer *asked* from the address to which it was sent; whether that could be done.

        Never waits, and does not mind if nobody is there: datagrams may be lost.
        """

    def names(self, fd: int) -> tuple[SocketName, SocketName]:
        """Return where a connection is at our end, and at the other."""

    # --- what others do with sockets

    def flow(self, fd: int) -> Flow | None:
        """Return which TCP connection that is; None for a UNIX socket."""

    def flow_of(self, key: Key, generation: int) -> Flow | None:
        """Return which TCP connection a child serves; None if that is not to be found out."""

    def quiet(self, flow: Flow) -> float | None:
        """Return for how many seconds no byte went either way, None if the connection is gone.

        Raises:
            OSError: the kernel does not tell.
        """

    def connections(self, address: Address) -> int:
        """Return how many connections there are to a listener, accepted or waiting for that.

        Raises:
            OSError: the kernel does not tell.
        """

    def expect(self, fd: int) -> None:
        """From now on remember whether somebody comes to a listener, and do not wake up for it.

        Raises:
            OSError: the kernel does not do that.
        """

    def came(self, fd: int) -> bool:
        """Return whether somebody has come since `expect`, even if others have served them."""

    def expect_no_more(self, fd: int) -> None:
        """End `expect` (no error if it was not called)."""

    def is_stopped(self, key: Key, generation: int) -> bool:
        """Return whether no process of that child's tree can run, because of SIGSTOP."""

    # --- slow things

    async def blocking(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *job* where it may block (a worker thread); not cancelled, awaited to its end."""


Report = Callable[[Launched | LaunchFailed], None]
