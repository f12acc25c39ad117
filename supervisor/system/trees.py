"""Know which processes belong to which child, wherever they went, and signal them safely."""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, unquote

from supervisor.model.component import Key
from supervisor.system.cgroups import NoGroups
from supervisor.system.proctable import (
    InExec,
    ProcessInfo,
    ProcessTable,
    View,
    descend,
    is_same,
    read_process,
    read_variable,
    user_of,
)
from supervisor.system.signals import send_signal, signal_foster, signal_group, signal_leader

log = logging.getLogger(__name__)

MARKER = "PIESD_MARKER"
"""The variable that every process of a component carries: a chain of tokens, ours the last."""

_LATELY = 0.05
"""Seconds a view may be old for signals: processes move, but not that fast."""


_ROUNDS = 5
"""How often we look again because somebody moved, or forked, under our eyes."""


@lru_cache(maxsize=64)
def _quoted(tag: str) -> str:
    """Return *tag* as part of a marker; for listeners that start one child after the other."""
    return quote(tag, safe="")


class Tree:
    """The processes of one child. The leader is the process we started.

    `roots` are children of ours that the leader did not take with it: orphans that became ours.
    `fosters` are the parents that its orphans get instead, where another piesd has started it;
    `pidfd` is then a descriptor of its leader, or -1, and `born` the leader's start time.
    `lost` is what was alive at the latest survey, once the leader had ended, and `reported` what
    the runtime was told of it. `known` maps the processes seen at the latest look to their start
    times, `sessions` are their sessions and process groups.
    """

    def __init__(self, key: Key, generation: int, leader: int) -> None:
        self.key, self.generation, self.leader = key, generation, leader
        self.led = True
        self.sure = False
        """Whether nothing of it has moved since the latest survey, so that what that saw is all."""
        self.roots: set[int] = set()
        self.lost: tuple[int, ...] = ()
        self.reported: tuple[int, ...] = ()
        self.known: dict[int, int] = {}
        self.fosters: frozenset[int] = frozenset()
        self.pidfd = -1
        self.born = 0
        self.ooms = (0, 0)
        """As `Groups.ooms` said at the beginning."""
        self.strays: set[int] = set()
        """What is known by its group alone: no child of ours, so nobody tells us of its end."""
        self.sessions: set[int] = {leader}

    @property
    def unheard(self) -> bool:
        """Whether something of it may end without our being told."""
        return bool(self.fosters or self.strays)

    @property
    def name(self) -> tuple[Key, int]:
        """What identifies it."""
        return self.key, self.generation


class Forest:
    """All trees, and whose each of our children is.

    piesd is a subreaper: when a leader has ended, every topmost process of what it left is a
    child of ours. One look at our own children, without the living leaders, is then enough to
    see all that is left of any number of leaders that died together.
    """

    def __init__(
        self,
        table: ProcessTable,
        instance: str,
        boot: str,
        inherited: str = "",
        groups: NoGroups | None = None,
    ) -> None:
        self._table = table
        self.groups = NoGroups() if groups is None else groups
        self._grouped: dict[Key, Tree] = {}
        """Whose the group of a key is: the tree that was planted last."""
        self._prefix = f"{quote(instance, safe='')}/{quote(boot, safe='')}/"
        self._inherited = inherited
        self._trees: dict[tuple[Key, int], Tree] = {}
        self._leaders: dict[int, Tree] = {}
        """Those not reaped yet, undecided starts too."""
        self._leaderless: dict[tuple[Key, int], Tree] = {}
        self._expected: set[tuple[Key, int]] = set()
        self._sessions: dict[int, Tree] = {}
        self._roots: dict[int, Tree] = {}
        self._known: dict[int, tuple[int, Tree]] = {}
        self._aliens: set[int] = set()
        """Orphans that became our children and belong to nothing we know."""
        self._fosters: frozenset[int] = frozenset()
        """Who has orphans of ours for children, because another piesd has started their trees."""
        self._fostered: Counter[int] = Counter()
        """Of how many trees."""
        self._walked: View | None = None
        """The latest view of which all that it shows was found out."""
        self._strangers: dict[int, int] = {}
        """The children of those that belong to nothing we know, and their start times. Nobody
        tells us of their end."""
        self._own = {0, os.getsid(0), os.getpgrp()}

    # --- growing and felling

    def marker(self, key: Key, generation: int) -> str:
        """Return the value of `MARKER` for a child: what we inherited, then our own token."""
        tag, mark, rest = key.partition("#")
        name = _quoted(tag)
        if mark:
            name += f"%23{rest if rest.isdecimal() else quote(rest, safe='')}"
        return f"{self._inherited} {self._prefix}{name}/{generation}".lstrip()

    def expect(self, key: Key, generation: int) -> None:
        """Note that a tree may be seen before its leader is known, until it is planted."""
        self._expected.add((key, generation))

    def give_up(self, key: Key, generation: int) -> None:
        """Note that an expected tree does not come."""
        self._expected.discard((key, generation))

    def plant(self, key: Key, generation: int, leader: int) -> Tree:
        """Begin a tree with its *leader*."""
        tree = Tree(key, generation, leader)
        self._expected.discard(tree.name)
        self._aliens.discard(leader)
        self._trees[tree.name] = tree
        self._leaders[leader] = self._sessions[leader] = self._grouped[key] = tree
        tree.ooms = self.groups.ooms(key)
        return tree

    def enclose(self, tree: Tree) -> None:
        """Put the leader of *tree*, which has begun elsewhere, into the group of its key.

        It is a moment since it began, and what it has forked meanwhile is not where it is, and may
        have left it already.
        """
        if not (self.groups.wants(tree.key) and self.groups.join(tree.key, tree.leader)):
            return
        for _ in range(_ROUNDS):
            # One start after the other comes here, so what there is can be of no other component.
            newborn = self.groups.newborn()
            if not sum(self.groups.join(tree.key, pid) for pid in newborn):
                return

    def stray_groups(self) -> list[Key]:
        """Return who has a group, and no tree."""
        return [key for key in self.groups.owners() if key not in self._grouped]

    def ooms_since(self, tree: Tree) -> tuple[int, int]:
        """Return how many of it were killed for want of memory, and how many by its own limit."""
        kills, own = self.groups.ooms(tree.key)
        return kills - tree.ooms[0], own - tree.ooms[1]

    def foster(self, tree: Tree, parents: frozenset[int], found: Iterable[ProcessInfo]) -> None:
        """Note that *tree* was begun by another piesd: who gets its orphans, and who was seen."""
        tree.fosters = parents - {os.getpid()}
        self._count_fosters(tree.fosters, 1)
        for info in found:
            if info.pid != tree.leader:
                tree.known[info.pid] = info.started
                self._known[info.pid] = (info.started, tree)

    def lose_leader(self, tree: Tree) -> None:
        """Note that the leader of *tree* has ended, which was no child of ours."""
        self._leaders.pop(tree.leader, None)
        tree.led = False
        self._leaderless[tree.name] = tree

    def _count_fosters(self, parents: frozenset[int], by: int) -> None:
        self._fostered.update(dict.fromkeys(parents, by))
        present = frozenset(pid for pid, count in self._fostered.items() if count)
        if present != self._fosters:
            self._fosters = present
            self._strangers.clear()

    def find(self, key: Key, generation: int) -> Tree | None:
        """Return the tree, or None if all of it is gone."""
        return self._trees.get((key, generation))

    def leader_of(self, pid: int) -> Tree | None:
        """Return the tree whose living leader *pid* is."""
        return self._leaders.get(pid)

    def end(self, pid: int) -> Tree | None:
        """Note that our child *pid* was reaped; return the tree that it led, if it led one."""
        self._known.pop(pid, None)
        if tree := self._leaders.pop(pid, None):
            tree.led = False
            self._leaderless[tree.name] = tree
            return tree
        if tree := self._roots.pop(pid, None):
            tree.roots.discard(pid)
            tree.sure = False
            return None
        if pid in self._aliens:
            self._aliens.discard(pid)
            return None
        # A stranger may have begotten others before it ended, of any tree.
        for each in self._leaderless.values():
            each.sure = False
        return None

    def forget(self, tree: Tree) -> None:
        """Drop a tree that is gone, or never grew."""
        self._trees.pop(tree.name, None)
        self._leaderless.pop(tree.name, None)
        if self._leaders.get(tree.leader) is tree:
            del self._leaders[tree.leader]
        for pid in tree.roots:
            self._roots.pop(pid, None)
        self._unlearn(tree)
        if self._grouped.get(tree.key) is tree:
            del self._grouped[tree.key]
            if "#" in tree.key:
                self.groups.release(tree.key)
        if tree.fosters:
            self._count_fosters(tree.fosters, -1)

    def leaderless(self) -> list[Tree]:
        """Return the trees whose leader has ended."""
        return list(self._leaderless.values())

    # --- looking

    def survey(self) -> None:
        """Find out what is alive of every leaderless tree: one look, however many they are."""
        self._table.spared(self._survey)

    def _survey(self) -> None:
        view = self._table.view(self._leaders.keys(), self._fosters)
        self._drop_ended(view)
        self._adopt(view)
        for _ in range(_ROUNDS):
            for tree in self.leaderless():
                found = self._all_of(view, tree, sorted(tree.roots))
                self._learn(tree, found)
                tree.lost = tuple(pid for pid, info in found.items() if info.alive)
            if not any(tree.known for tree in self.leaderless()):
                break  # Nothing was walked, so nothing moved while we walked: the usual case.
            view.look_again()
            if not self._adopt(view):
                break
        for tree in self.leaderless():
            tree.sure = True

    def _drop_ended(self, view: View) -> None:
        """Forget the roots that have ended without anybody telling us: they are no children."""
        for tree in self._trees.values() if self._fosters else ():
            for pid in [pid for pid in tree.roots if tree.fosters]:
                info = view.info(pid)
                if info is None or info.started != tree.known.get(pid, info.started):
                    tree.roots.discard(pid)
                    self._roots.pop(pid, None)

    def all_gone(self) -> None:
        """Note that we have no child at all, so that nothing is left of any leaderless tree."""
        for tree in self._leaderless.values():
            if tree.fosters:
                continue  # What is left of it is no child of ours.
            self._learn(tree, {})
            tree.lost, tree.sure = (), True

    def members(self, tree: Tree, *, fresh: bool = True) -> list[ProcessInfo]:
        """Return the living processes of *tree*, the leader first."""
        return self._table.spared(lambda: self._members(tree, fresh))

    def _members(self, tree: Tree, fresh: bool) -> list[ProcessInfo]:
        view = self._table.view(
            self._leaders.keys(), self._fosters, max_age=0.0 if fresh else _LATELY
        )
        if view is not self._walked:  # A thousand signals in a row go by one view.
            self._drop_ended(view)
            self._adopt(view)
            self._walked = view
        roots = [tree.leader] if tree.led else []
        found = self._all_of(view, tree, roots + sorted(tree.roots))
        for _ in range(_ROUNDS if fresh else 0):
            view.look_again()
            if not self._adopt(view):
                break
            found = self._all_of(view, tree, roots + sorted(tree.roots))
        self._learn(tree, found)
        return [info for info in found.values() if info.alive]

    def _all_of(self, view: View, tree: Tree, roots: list[int]) -> dict[int, ProcessInfo]:
        """Return *roots*, what has come from them, and what is in the group of *tree*."""
        found = descend(view, roots)
        if self._grouped.get(tree.key) is not tree:
            return found
        inside = self.groups.members(tree.key)
        tree.strays = set(inside) - found.keys()
        for pid in tree.strays:
            info = view.info(pid)
            if info is not None:
                found[pid] = info
        return found

    def _learn(self, tree: Tree, found: dict[int, ProcessInfo]) -> None:
        """Remember who was seen: one that hides its marker later is known by its past."""
        self._unlearn(tree)
        tree.known = {info.pid: info.started for info in found.values() if info.pid != tree.leader}
        for pid, started in tree.known.items():
            self._known[pid] = (started, tree)
        sessions = {number for info in found.values() for number in (info.session, info.group)}
        tree.sessions = (sessions - self._own) | {tree.leader}
        for number in tree.sessions:
            self._sessions[number] = tree

    def _unlearn(self, tree: Tree) -> None:
        for pid in tree.known:
            if pid in self._known and self._known[pid][1] is tree:
                del self._known[pid]
        for number in tree.sessions:
            if self._sessions.get(number) is tree:
                del self._sessions[number]

    def _adopt(self, view: View) -> bool:
        """Find the tree of each orphan that has become our child; tell if any has got one."""
        adopted = False
        for pid in view.direct:
            if pid in self._roots or pid in self._aliens or pid in self._leaders:
                continue
            info = view.info(pid)
            if info is None or self._strangers.get(pid) == info.started:
                continue
            try:
                tree = self._owner(info)
            except InExec:
                continue  # The next look knows more.
            if tree is not None:
                tree.roots.add(pid)
                self._roots[pid] = tree
                adopted = True
            elif info.parent in self._fosters:
                self._strangers[pid] = info.started
            elif info.alive:
                self._aliens.add(pid)
                log.debug("process %d became ours and belongs to no component", pid)
        return adopted

    def _owner(self, info: ProcessInfo) -> Tree | None:
        started, tree = self._known.get(info.pid, (-1, None))
        if tree is not None and started == info.started:
            return tree
        if (key := self.groups.key_of(info.pid)) is not None:
            if key not in self._grouped and all(key != each for each, _ in self._expected):
                self._end_late(info, key)
            return self._grouped.get(key)
        try:
            name = self.marked(info.pid)
        except InExec:
            if tree := self._by_session(info):
                return tree
            raise
        if name is not None:
            tree = self._trees.get(name)
            if tree is None and name not in self._expected:
                self._end_late(info, name[0])
            return tree
        return self._by_session(info)

    def _end_late(self, info: ProcessInfo, key: Key) -> None:
        """Kill what belongs to a tree that was reported gone: it slipped through while it forked.

        A component that is down must have no process.
        """
        log.warning("killing process %d, a late orphan of %s", info.pid, key)
        send_signal(info, signal.SIGKILL)

    def speaks(self, pid: int, uid: int, key: Key, generation: int) -> bool:
        """Return whether *pid*, of the user *uid*, is of that tree or of its leader's user.

        A process that says something and ends is gone before anybody can look, but its uid is not.
        """
        return self._table.spared(lambda: self._speaks(pid, uid, (key, generation)))

    def _speaks(self, pid: int, uid: int, child: tuple[Key, int]) -> bool:
        tree = self._trees.get(child)
        if tree is not None and tree.led and user_of(tree.leader) == uid:
            return True
        info = read_process(pid)
        if info is None:
            return False
        try:
            name = self.marked(pid)
        except InExec:
            name = None
        if name is not None:
            return name == child
        return tree is not None and self._by_session(info) is tree

    def _by_session(self, info: ProcessInfo) -> Tree | None:
        return self._sessions.get(info.session) or self._sessions.get(info.group)

    def marked(self, pid: int) -> tuple[Key, int] | None:
        """Return whose marker *pid* carries, if it is one of ours."""
        value = read_variable(pid, MARKER.encode())
        for token in reversed((value or b"").decode("utf-8", "replace").split(" ")):
            if token.startswith(self._prefix):
                key, _, generation = token[len(self._prefix) :].partition("/")
                if generation.isdigit():
                    return unquote(key), int(generation)
        return None

    # --- signals

    def signal_leader(self, tree: Tree, signum: int) -> int:
        """Signal the leader alone; return 1, or 0 if it has ended."""
        if not tree.led:
            return 0
        if signum != signal.SIGKILL:
            self._look_before(tree)
        return int(self._signal(tree, signum, group=False))

    def signal_group(self, tree: Tree, signum: int) -> int:
        """Signal the leader's process group; return how many signals that took.

        A group that still has its leader counts as one, because the kernel does not say more.
        """
        if not tree.led:
            return self._signal_members(tree, signum, {tree.leader}, inside=True)
        if signum != signal.SIGKILL:
            self._look_before(tree)
        return int(self._signal(tree, signum, group=True))

    def signal_lost(self, tree: Tree, signum: int) -> int:
        """Signal what outlived the leader, but for its process group; return how many."""
        if tree.led:
            return 0
        return self._signal_members(tree, signum, {tree.leader}, inside=False)

    def signal_tree(self, tree: Tree, signum: int) -> int:
        """Signal every process, wherever it went; return how many signals that took."""
        count = 0
        skipped: set[int] = set()
        if signum == signal.SIGKILL and self._grouped.get(tree.key) is tree:
            # At once, and none can fork its way out; what is elsewhere is looked for as ever.
            self.groups.kill(tree.key)
        if tree.led:
            before = self._look_before(tree)
            count = int(self._signal(tree, signum, group=True))
            if before is not None and all(info.group == tree.leader for info in before):
                return count
            skipped = {tree.leader}
        return count + self._signal_members(tree, signum, skipped, inside=False)

    def _look_before(self, tree: Tree) -> list[ProcessInfo] | None:
        """Return the processes of *tree*, which are to be known before a signal lets them hide.

        None if they cannot be seen: whoever needs them to end does not wait for that.
        """
        try:
            return self.members(tree, fresh=False)
        except OSError as error:
            log.debug("cannot look at what belongs to %s: %s", tree.key, error.strerror)
            return None

    def _signal(self, tree: Tree, signum: int, *, group: bool) -> bool:
        """Signal the living leader of *tree*, or its process group."""
        if tree.pidfd >= 0:
            return signal_foster(tree.pidfd, tree.leader, signum, group=group)
        # For want of descriptors: another with its number would have to be there at once.
        if tree.fosters and not is_same(tree.leader, tree.born):
            return False
        return (signal_group if group else signal_leader)(tree.leader, signum)

    def _signal_members(self, tree: Tree, signum: int, groups: set[int], *, inside: bool) -> int:
        """Signal the members whose group is in *groups* (`inside`) or is not.

        A kill is repeated until nothing new turns up: a process may fork until it is hit.
        """
        hit: set[tuple[int, int]] = set()
        for _ in range(_ROUNDS if signum == signal.SIGKILL else 1):
            new = [
                info
                for info in self.members(tree)
                if (info.group in groups) is inside and (info.pid, info.started) not in hit
            ]
            if not new:
                break
            hit.update((info.pid, info.started) for info in new if send_signal(info, signum))
        return len(hit)
