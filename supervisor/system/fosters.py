"""Children that another piesd has started: the kernel tells us nothing about them by itself.

Their parent is now whoever takes the orphans of this place: the first process, or a subreaper. What
they leave behind goes there too. A descriptor of each process says when it ends, and on newer
kernels how.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import trio

from supervisor.system.pidfds import open_process, tells_status, wait_status
from supervisor.system.port import Adopted, Orphan
from supervisor.system.proctable import InExec, ProcessInfo, every_process, is_same, read_process
from supervisor.system.reserve import not_reserved
from supervisor.system.signals import send_signal
from supervisor.system.trees import Forest, Tree

if TYPE_CHECKING:
    from supervisor.system.readiness import Readiness

_TICKS = os.sysconf("SC_CLK_TCK")

_GRAIN = 0.02
"""Seconds by which the start of a process may seem to be off: the kernel counts in ticks."""

_EXECUTING = 2.0
"""Seconds for which it is waited, at the very start, for what is between two programs."""

_LOOK = 1.0
"""Seconds between two looks at those of whose end nothing tells."""

_PAUSES = (0.001, 0.004, 0.02, 0.1, 0.4)
"""Seconds between the looks for the status of what has ended and was not waited for."""


class Fosters:
    """Takes children over, and notices their end.

    Args:
        ended: is told when the leader of a tree has ended, and its wait status if that is known.
        changed: is called when something else of these trees has.
    """

    def __init__(
        self,
        forest: Forest,
        readiness: Readiness,
        ended: Callable[[Tree, int | None], None],
        changed: Callable[[], None],
    ) -> None:
        self._forest = forest
        self._readiness = readiness
        self._ended = ended
        self._changed = changed
        self._send, self._receive = trio.open_memory_channel[Tree](math.inf)
        self._watched: dict[int, tuple[int, int]] = {}
        """Of what outlived its leader: the start time and a descriptor (-1 for none), by PID."""
        self._looked_at: dict[int, Tree] = {}
        """The leaders of which there is no descriptor, by PID."""
        self._short = trio.Event()
        """Set while there were no descriptors for some: they are looked at again and again."""

    def adopt(self, orphans: Sequence[Orphan]) -> list[Adopted]:
        """Find out what is there of each, and take it over; see `System.adopt`."""
        by_name = {(each.key, each.generation): each for each in orphans}
        found: dict[tuple[str, int], list[ProcessInfo]] = {name: [] for name in by_name}
        by_key = {each.key: (each.key, each.generation) for each in orphans}
        leaders = {each.pid: each for each in orphans if each.pid is not None}
        for info, said in self._named(every_process()):
            # It may show no marker, as it has another user or has written over its environment.
            known = leaders.get(info.pid) if said is None else None
            fits = known is not None and _fits(info, known)
            name = (known.key, known.generation) if known is not None and fits else said
            if name is None and (key := self._forest.groups.key_of(info.pid)) is not None:
                name = by_key.get(key)  # It has hidden its marker and left its session.
            if name in found:
                found[name].append(info)
            elif name is not None and info.alive:
                # A check, or the mailer, that nobody waits for any more.
                send_signal(info, signal.SIGKILL)
        for name, orphan in by_name.items():
            self._take(orphan, found[name])
        self._forest.survey()
        result = []
        for orphan in orphans:
            tree = self._forest.find(orphan.key, orphan.generation)
            if tree is None:
                result.append(Adopted(orphan.key, orphan.generation, None, ()))
                continue
            pid = tree.leader if tree.led else None
            tree.reported = tree.lost
            result.append(Adopted(orphan.key, orphan.generation, pid, tree.lost))
            if pid is None and not tree.lost:
                self._forest.forget(tree)
        for key in self._forest.stray_groups():
            self._forest.groups.kill(key)  # Nobody remembers whose it was.
        self.look_after_the_lost()
        return result

    def _named(
        self, processes: Iterable[ProcessInfo]
    ) -> Iterator[tuple[ProcessInfo, tuple[str, int] | None]]:
        """Yield each process with whose it says that it is.

        What is just being executed is waited for: it may be a child that nobody has written down,
        and that would otherwise be started twice.
        """
        until = time.monotonic() + _EXECUTING
        while processes:
            later = []
            for info in processes:
                try:
                    yield info, self._forest.marked(info.pid)
                except InExec:
                    if time.monotonic() < until:
                        later.append(info)
                    else:
                        yield info, None
            processes = later

    def _take(self, orphan: Orphan, found: Sequence[ProcessInfo]) -> None:
        """Plant the tree of *orphan*, if there is anything of it."""
        if not found:
            return
        leader = next((info for info in found if _leads(info, orphan)), None)
        number = leader.pid if leader is not None else orphan.pid or -1
        tree = self._forest.plant(orphan.key, orphan.generation, number)
        if leader is not None and leader.parent == os.getpid():
            return  # We are the same process, with another program in it.
        inside = {info.pid for info in found}
        parents = frozenset(info.parent for info in found) - inside
        self._forest.foster(tree, parents, found)
        if leader is None:
            self._forest.lose_leader(tree)
            return
        tree.born = leader.started
        fd = self._open(leader, partial(self._leader_ended, tree))
        if fd is None:
            self._forest.lose_leader(tree)
        elif fd < 0:
            self._looked_at[leader.pid] = tree
        else:
            tree.pidfd = fd

    def _open(self, info: ProcessInfo, over: Callable[[], None]) -> int | None:
        """Have *over* called when a process ends; return its descriptor, None if it has ended.

        Where there are no descriptors left that is -1, and it has to be looked at.
        """
        try:
            fd = open_process(info)
            if fd is None:
                return None
            not_reserved(fd)
        except OSError:
            self._short.set()
            return -1
        self._readiness.watch(fd, over)
        return fd

    def _leader_ended(self, tree: Tree) -> None:
        self._readiness.unwatch(tree.pidfd)
        status = wait_status(tree.pidfd, tree.leader)
        if status is None and tells_status(tree.pidfd):
            self._send.send_nowait(tree)  # Its parent has not waited for it yet.
        else:
            self._tell(tree, status)

    def _tell(self, tree: Tree, status: int | None) -> None:
        os.close(tree.pidfd)
        tree.pidfd = -1
        self._forest.lose_leader(tree)
        self._ended(tree, status)

    async def serve(self) -> None:
        """Ask again for what the kernel could not tell at once, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_on)
            async for tree in self._receive:
                nursery.start_soon(self._ask_again, tree)

    async def _look_on(self) -> None:
        """Look again and again at those of whose end nothing tells, for want of descriptors."""
        while True:
            await self._short.wait()
            await trio.sleep(_LOOK)
            self._short = trio.Event()
            for pid, tree in list(self._looked_at.items()):
                if is_same(pid, tree.born):
                    self._short.set()
                    continue
                del self._looked_at[pid]
                self._forest.lose_leader(tree)
                self._ended(tree, None)
            for pid, (_, fd) in list(self._watched.items()):
                if fd < 0:
                    self._forget(pid)  # It is tried again to get one.
                    self._changed()

    async def _ask_again(self, tree: Tree) -> None:
        status = None
        for pause in _PAUSES:
            await trio.sleep(pause)
            status = wait_status(tree.pidfd, tree.leader)
            if status is not None:
                break
        self._tell(tree, status)

    def look_after_the_lost(self) -> None:
        """Notice the end of what has outlived its leader."""
        wanted = {
            pid: started
            for tree in self._forest.leaderless()
            if tree.unheard
            for pid, started in tree.known.items()
            if pid in tree.lost
        }
        for pid in [
            pid for pid, (started, _) in self._watched.items() if wanted.get(pid) != started
        ]:
            self._forget(pid)
        for pid, started in wanted.items():
            if pid not in self._watched:
                self._watch(pid, started)

    def _watch(self, pid: int, started: int) -> None:
        def over() -> None:
            self._forget(pid)
            self._changed()

        info = read_process(pid)
        fd = self._open(info, over) if info is not None and info.started == started else None
        if fd is None:
            self._changed()
        else:
            self._watched[pid] = (started, fd)

    def _forget(self, pid: int) -> None:
        _, fd = self._watched.pop(pid)
        if fd >= 0:
            self._readiness.unwatch(fd)
            os.close(fd)

    def dispose(self) -> None:
        """Free all descriptors."""
        for pid in list(self._watched):
            self._forget(pid)
        self._send.close()
        self._receive.close()


def _leads(info: ProcessInfo, orphan: Orphan) -> bool:
    """Return whether *info*, which is of the tree of *orphan*, is its living leader."""
    if not info.alive and info.parent != os.getpid():
        return False
    if orphan.pid is None:
        return info.session == info.pid  # Nobody has written down its number.
    return _fits(info, orphan)


def _fits(info: ProcessInfo, orphan: Orphan) -> bool:
    """Return whether a process with the right number was also started at the right time."""
    begun, known = orphan.born
    started = info.started / _TICKS
    return info.pid == orphan.pid and begun - _GRAIN <= started <= known + _GRAIN
