"""Linux behind the `System` protocol: this ties the parts of the room together."""

from __future__ import annotations

import errno
import os
import random
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, TypeVar, assert_never

import trio

from supervisor.model.component import Address, GroupLimits, Key
from supervisor.model.groups import Enclosure, GroupFigures
from supervisor.system import netdiag
from supervisor.system.arrivals import Arrivals
from supervisor.system.asking import receive_from, reply
from supervisor.system.cgroups import NoGroups
from supervisor.system.connections import consume, farewell, flow, names, peek, send, take
from supervisor.system.datagrams import Datagrams
from supervisor.system.fifos import anonymous
from supervisor.system.fosters import Fosters
from supervisor.system.launcher import Launcher
from supervisor.system.pidfds import copy_of
from supervisor.system.port import (
    Adopted,
    Connection,
    Datagram,
    Flow,
    Launch,
    Orphan,
    P,
    Reaped,
    Report,
    SocketName,
    TreeReport,
)
from supervisor.system.process_setup import ProcessSetup, remember_process
from supervisor.system.proctable import ProcessTable, is_stopped
from supervisor.system.readiness import Readiness
from supervisor.system.reaper import Reaper
from supervisor.system.reserve import first_reserved
from supervisor.system.sockets import BACKLOG, Listeners
from supervisor.system.trees import MARKER, Forest

T = TypeVar("T")

_THREADS = 16
_THREAD_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds after each attempt to have another thread."""
_NO_THREAD = "can't start new thread"
"""What Python says where the system refuses one."""


class LinuxSystem:
    """The real operating system. One for each process: it reaps every child there is.

    Args:
        instance: the name of this piesd, part of the marker.
        setup: what `prepare_process` returned; without it children get what we have now.
        boot: tells this life of the instance from others; a random word if not given.
        groups: the control groups that we may make.
        children_files: False to do without the kernel's `children` files (for tests).
    """

    def __init__(
        self,
        *,
        instance: str = "piesd",
        setup: ProcessSetup | None = None,
        boot: str | None = None,
        groups: NoGroups | None = None,
        children_files: bool | None = None,
    ) -> None:
        setup = remember_process() if setup is None else setup
        boot = secrets.token_hex(8) if boot is None else boot
        self._limiter = trio.CapacityLimiter(_THREADS)
        self._table = ProcessTable(children_files=children_files)
        self._groups = NoGroups("none were asked for") if groups is None else groups
        self._forest = Forest(
            self._table, instance, boot, setup.environ.get(MARKER, ""), self._groups
        )
        self._readiness = Readiness()
        self._listeners = Listeners()
        self._datagrams = Datagrams()
        self._arrivals = Arrivals()
        self._launcher = Launcher(
            setup,
            self._forest,
            self._readiness,
            self._groups,
            blocking=self.blocking,
            wall=self.wall,
        )
        self._reaper = Reaper(self._forest, self._launcher, self.wall)
        self._fosters = Fosters(
            self._forest, self._readiness, self._reaper.foster_ended, self._reaper.look_again
        )

    def dispose(self) -> None:
        """Free all descriptors; children live on. Nothing may be called any more."""
        self._launcher.dispose()
        self._fosters.dispose()
        self._readiness.dispose()
        self._listeners.dispose()
        self._datagrams.dispose()
        self._arrivals.dispose()
        self._table.dispose()
        self._groups.dispose()

    def wall(self) -> float:
        """Return Unix time in seconds."""
        return time.time()

    def chance(self) -> float:
        """Return a random number in [0, 1)."""
        return random.random()

    # --- processes

    def launch(self, launch: Launch, report: Report) -> None:
        """Start a child in its own session, with the component's marker in its environment."""
        self._launcher.launch(launch, report)

    def reap(self) -> list[Reaped | TreeReport]:
        """Collect every child that has ended (after SIGCHLD), with what is left of its tree."""
        reports = self._reaper.reap()
        self._fosters.look_after_the_lost()
        return reports

    def adopt(self, orphans: Sequence[Orphan]) -> list[Adopted]:
        """Take over children that another piesd has started, and say what is there of each."""
        return self._fosters.adopt(orphans)

    def inherit(self, key: Key, generation: int, number: int, address: Address) -> int | None:
        """Return a descriptor of the socket at *address* that a child has as its *number*."""
        tree = self._forest.find(key, generation)
        if tree is None or not tree.led:
            return None
        fd = copy_of(tree.leader, number)
        if fd is not None and not self._listeners.take_over(fd, address):
            os.close(fd)
            return None
        return fd

    def take_over(self, fd: int, address: Address) -> bool:
        """Hold *fd* as a socket that listens at *address*; False: it is none."""
        return self._listeners.take_over(fd, address)

    def signal(
        self,
        key: Key,
        generation: int,
        signum: int,
        scope: Literal["leader", "group", "lost", "tree"],
    ) -> int:
        """Send a signal; return how many got it, where a whole process group counts as one."""
        tree = self._forest.find(key, generation)
        if tree is None:
            return 0
        match scope:
            case "leader":
                return self._forest.signal_leader(tree, signum)
            case "group":
                return self._forest.signal_group(tree, signum)
            case "lost":
                return self._forest.signal_lost(tree, signum)
            case "tree":
                return self._forest.signal_tree(tree, signum)
            case _:
                assert_never(scope)

    def enclosure(self, key: Key) -> Enclosure:
        """Return by which means the processes of the children of *key* are found."""
        return Enclosure(self._groups.means(key), self._groups.lack(key))

    def limit(self, key: Key, limits: GroupLimits) -> None:
        """Have the processes of a component be limited so, those that are there too."""
        self._groups.limit(key, limits)

    def figures(self, key: Key) -> GroupFigures | None:
        """Return what the kernel counts for a component; None if it has no group."""
        return self._groups.figures(key)

    def forget(self, key: Key) -> None:
        """Free what is kept for *key*, of which nothing is left."""
        self._groups.release(key)

    def processes(self, key: Key, generation: int) -> tuple[int, ...]:
        """Return the live processes of that child's tree, the leader first."""
        tree = self._forest.find(key, generation)
        if tree is None:
            return ()
        return tuple(info.pid for info in self._forest.members(tree))

    # --- descriptors

    def pipe(self) -> tuple[int, int]:
        """Return a close-on-exec pipe: a non-blocking read end, and a blocking one for writing.

        That can read as well: who writes to it goes on when we are gone, until it is full.
        """
        return anonymous()

    def text(self, text: bytes) -> int:
        """Return a descriptor from which *text*, of any length, can be read to its end."""
        fd = os.memfd_create("text", os.MFD_CLOEXEC)
        try:
            rest = memoryview(text)
            while rest:
                rest = rest[os.write(fd, rest) :]
            os.lseek(fd, 0, os.SEEK_SET)
        except OSError:
            os.close(fd)
            raise
        return fd

    def notify_socket(self, path: str, key: Key, generation: int) -> int:
        """Return a non-blocking datagram socket at *path*, which `close` removes again."""
        return self._datagrams.open(
            path, lambda pid, uid: self._forest.speaks(pid, uid, key, generation)
        )

    def receive(self, fd: int) -> bytes | None:
        """Read one datagram of such a socket: None when there is nothing now."""
        return self._datagrams.receive(fd)

    def read(self, fd: int, most: int) -> bytes | None:
        """Read what is there: None when there is nothing now, `b""` at the end."""
        try:
            return os.read(fd, most)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in (errno.EIO, errno.ECONNRESET):
                return b""  # A terminal or a socket whose other end is gone.
            raise

    def close(self, fd: int) -> None:
        """Close a descriptor, and stop watching it."""
        self._readiness.unwatch(fd)
        if not self._datagrams.close(fd):
            os.close(fd)

    def watch(self, fd: int, ready: Callable[[], None]) -> None:
        """Call *ready* from `serve` whenever *fd* is readable or at its end."""
        self._readiness.watch(fd, ready)

    def unwatch(self, fd: int) -> None:
        """Stop watching (no error if it is not watched)."""
        self._readiness.unwatch(fd)

    async def serve(self) -> None:
        """Dispatch readiness, and do what a launch has that may block, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._readiness.serve)
            nursery.start_soon(self._launcher.serve)
            nursery.start_soon(self._fosters.serve)

    # --- listeners

    def listen(self, address: Address, backlog: int = BACKLOG, *, blocking: bool = False) -> int:
        """Open a socket that listens, or takes datagrams. A stale UNIX socket is replaced."""
        return self._listeners.listen(address, backlog, blocking=blocking)

    def relisten(self, fd: int, backlog: int, *, blocking: bool) -> None:
        """Have a listening socket be as `listen` with these arguments would have opened it."""
        self._listeners.relisten(fd, backlog, blocking=blocking)

    def leads_to(self, address: Address, fd: int) -> bool:
        """Return whether who connects to *address* comes to this listening socket of ours."""
        return self._listeners.leads_to(address, fd)

    def unlisten(self, fd: int, address: Address) -> None:
        """Close a listening socket and remove its UNIX path, if it is still ours."""
        self._readiness.unwatch(fd)
        self._listeners.unlisten(fd, address)

    def accept(self, fd: int) -> Connection | None:
        """Accept one connection, or return None when there is none now."""
        probe = os.dup(fd)  # Its number is that of the connection: the lowest that is free.
        os.close(probe)
        # Who is accepted is going to be served, and the output of its program needs descriptors.
        if probe >= first_reserved(parts=2):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self._listeners.accept(fd)

    def farewell(self, fd: int, message: bytes) -> bool:
        """Say something to a client and that this is all; whether it is still to be waited for."""
        return farewell(fd, message)

    def peek(self, fd: int, most: int) -> bytes | None:
        """Look at what a connection has for us, and leave it."""
        return peek(fd, most)

    def consume(self, fd: int, count: int) -> bytes:
        """Take *count* bytes that were seen by `peek`."""
        return consume(fd, count)

    def take(self, fd: int, most: int) -> bytes | None:
        """Take what a connection has for us, and never wait for it."""
        return take(fd, most)

    def send(self, fd: int, data: bytes) -> int:
        """Send as much as goes at once; return how many bytes that were."""
        return send(fd, data)

    async def readable(self, fd: int) -> None:
        """Return when a connection has something for us, or is at its end."""
        await trio.lowlevel.wait_readable(fd)

    async def writable(self, fd: int) -> None:
        """Return when a connection takes something, or its client is gone."""
        await trio.lowlevel.wait_writable(fd)

    def receive_from(self, fd: int) -> Datagram | None:
        """Take one datagram of a stranger; None when there is none now."""
        return receive_from(fd)

    def reply(self, fd: int, asked: Datagram, data: bytes) -> bool:
        """Answer *asked* from the address to which it was sent; whether that could be done."""
        return reply(fd, asked, data)

    def names(self, fd: int) -> tuple[SocketName, SocketName]:
        """Return where a connection is at our end, and at the other."""
        return names(fd)

    # --- what others do with sockets

    def flow(self, fd: int) -> Flow | None:
        """Return which TCP connection that is; None for a UNIX socket."""
        return flow(fd)

    def flow_of(self, key: Key, generation: int) -> Flow | None:
        """Return which TCP connection a child serves; None if that is not to be found out."""
        tree = self._forest.find(key, generation)
        fd = copy_of(tree.leader, 0) if tree is not None and tree.led else None
        if fd is None:
            return None
        try:
            return flow(fd)
        except OSError:
            return None  # It is no socket any more.
        finally:
            os.close(fd)

    def quiet(self, flow: Flow) -> float | None:
        """Return for how many seconds no byte went either way, None if the connection is gone."""
        return netdiag.quiet(flow)

    def connections(self, address: Address) -> int:
        """Return how many connections there are to a listener, accepted or waiting for that."""
        return netdiag.connections(address)

    def expect(self, fd: int) -> None:
        """From now on remember whether somebody comes to a listener."""
        self._arrivals.ask(fd)

    def came(self, fd: int) -> bool:
        """Return whether somebody has come since `expect`, even if others have served them."""
        return self._arrivals.came(fd)

    def expect_no_more(self, fd: int) -> None:
        """End `expect` (no error if it was not called)."""
        self._arrivals.forget(fd)

    def is_stopped(self, key: Key, generation: int) -> bool:
        """Return whether no process of that child's tree can run, because of SIGSTOP."""
        return all(map(is_stopped, self.processes(key, generation)))

    # --- slow things

    async def blocking(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *job* in a worker thread; it is not cancelled, but awaited to its end.

        Raises:
            OSError: EAGAIN, if the system has no room for a thread, or what *job* raises.
        """
        for pause in _THREAD_PAUSES:
            try:
                return await trio.to_thread.run_sync(
                    partial(job, *args, **kwargs), abandon_on_cancel=False, limiter=self._limiter
                )
            except RuntimeError as error:
                if str(error) != _NO_THREAD:
                    raise
            # The system has no room for a thread, which is a process to it; mostly for a moment.
            await trio.sleep(pause)
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
