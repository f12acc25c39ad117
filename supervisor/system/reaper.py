"""Collect the ends of all our children, and find out what each has left behind."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from supervisor.model.state import UNOBSERVED, Exit
from supervisor.system.launcher import Launcher
from supervisor.system.port import Reaped, TreeReport
from supervisor.system.signals import signal_name
from supervisor.system.trees import Forest, Tree

SLICE = 0.001
"""Seconds of collecting after which everything else gets its turn, when thousands have ended. The
kernel walks through all our children for each. An answer to a request takes several turns of the
loop, and each of them waits for a slice."""

AT_LEAST = 16
"""Ends that are collected in any case."""

_ROUNDS = 4
"""Looks at the process table in one `reap`, while children keep ending under our eyes."""

_End = tuple[int, int, resource.struct_rusage]
"""As os.wait4 returns it: pid, status, usage."""


class Reaper:
    """The one place in the process that waits for children."""

    def __init__(self, forest: Forest, launcher: Launcher, wall: Callable[[], float]) -> None:
        self._forest = forest
        self._launcher = launcher
        self._wall = wall
        self._unclaimed: dict[int, _End] = {}
        """Ends of children whose number a worker thread has not told us yet."""
        self._ended: list[tuple[Tree, Exit]] = []
        """Leaders whose end is not reported, because nobody knows yet what they have left."""

    def foster_ended(self, tree: Tree, status: int | None) -> None:
        """Note that the leader of *tree* has ended, which was no child of ours."""
        how = unobserved(self._wall()) if status is None else seen(status, self._wall())
        self._ended.append((tree, self._explained(tree, how)))
        self.look_again()

    def look_again(self) -> None:
        """Have `reap` called soon: something has ended of which the kernel tells nobody."""
        for tree in self._forest.leaderless():
            if tree.unheard:
                tree.sure = False
        signal.raise_signal(signal.SIGCHLD)

    def reap(self) -> list[Reaped | TreeReport]:
        """Collect what has ended; see `supervisor.system.port.System.reap`."""
        for _ in range(_ROUNDS):
            # While we look, processes go on forking and ending. The look was true if no child of
            # ours has ended since that may have left something to one of these trees.
            if self._collect():
                return []  # What is left of a tree is looked at once, when all have been collected.
            if all(tree.sure for tree in self._forest.leaderless()):
                break
            self._forest.survey()
        else:
            self._collect()
        reports: list[Reaped | TreeReport] = []
        waiting, self._ended = self._ended, []
        for tree, exit_ in waiting:
            if not tree.sure:
                self._ended.append((tree, exit_))
                continue
            tree.reported = tree.lost
            reports.append(Reaped(tree.key, tree.generation, exit_, tree.lost))
        for tree in self._forest.leaderless():
            if not tree.sure:
                # Something that forks again and again would slip through: look once more, when
                # others have had their turn.
                signal.raise_signal(signal.SIGCHLD)
                continue
            if tree.lost != tree.reported:
                tree.reported = tree.lost
                reports.append(TreeReport(tree.key, tree.generation, tree.lost))
            if not tree.lost:
                self._forest.forget(tree)
        return reports

    def _collect(self) -> bool:
        """Reap what has ended, and note the leaders; True if the time was up, which we are told."""
        until = time.monotonic() + SLICE
        for number, end in enumerate(self._ends(), 1):
            pid, status, usage = end
            # A start that failed has no tree any more, so its end is that of a stranger.
            self._launcher.ended(pid)
            if self._launcher.slow_starts and self._forest.leader_of(pid) is None:
                self._unclaimed[pid] = end
            tree = self._forest.end(pid)
            if tree is not None:
                how = make_exit(status, usage, self._wall())
                self._ended.append((tree, self._explained(tree, how)))
            if number >= AT_LEAST and time.monotonic() >= until:
                signal.raise_signal(signal.SIGCHLD)  # The kernel does not send it again.
                return True
        return False

    def _explained(self, tree: Tree, how: Exit) -> Exit:
        """Return *how* the leader of *tree* has ended, and whether for want of memory."""
        if how.signal != signal.SIGKILL:
            return how
        kills, own = self._forest.ooms_since(tree)
        if kills <= 0:
            return how
        most = self._forest.groups.memory_limit(tree.key) if own > 0 else ""
        message = f"{how.message}: out of memory" + (f" (limit {most})" if most else "")
        return replace(how, oom=True, message=message)

    def _ends(self) -> Iterator[_End]:
        """Yield what has ended, also those whose number we have learnt meanwhile."""
        for pid in [pid for pid in self._unclaimed if self._forest.leader_of(pid)]:
            yield self._unclaimed.pop(pid)
        if not self._launcher.slow_starts:
            self._unclaimed.clear()
        while True:
            try:
                end = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                # What a leader leaves behind is our child before the leader can be reaped. The
                # kernel has just said that there is none: that saves a look at the process table.
                self._forest.all_gone()
                return
            if end[0] == 0:
                return
            yield end


def unobserved(at: float) -> Exit:
    """Return the end of a child that nobody has seen end."""
    message = "ended, and nobody knows how: piesd is not its parent"
    return Exit(stage=UNOBSERVED, message=message, at=at)


def make_exit(status: int, usage: resource.struct_rusage, at: float) -> Exit:
    """Return what a wait status and the resource usage say."""
    cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    return replace(seen(status, at), cpu=cpu, peak=peak)


def seen(status: int, at: float) -> Exit:
    """Return what a wait status says."""
    code = signum = None
    core = False
    if os.WIFSIGNALED(status):
        signum, core = os.WTERMSIG(status), os.WCOREDUMP(status)
        message = f"killed by {signal_name(signum)}" + (" (core dumped)" if core else "")
    else:
        code = os.waitstatus_to_exitcode(status)
        message = f"exited with {code}"
    return Exit(code=code, signal=signum, core=core, message=message, at=at)
