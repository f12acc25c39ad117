"""Read the process table: who is whose child, in which session, and whether it still lives."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Set
from typing import NamedTuple, Protocol, TypeVar

from supervisor.system.null import open_null

T = TypeVar("T")

_GONE = (errno.ENOENT, errno.ESRCH)
_FULL = (errno.EMFILE, errno.ENFILE)
_CHUNK = 65536
_ROUNDS = 3
_MOMENTS = 20


class ProcessInfo(NamedTuple):
    """One process as /proc/PID/stat shows it. `started` is in clock ticks since the boot."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    threads: int
    started: int

    @property
    def alive(self) -> bool:
        """False for a zombie. One whose first thread ended while others go on counts as alive."""
        return self.state not in "ZX" or self.threads > 1


def _read(path: str) -> bytes | None:
    """Return the content of a file in /proc, or None if its process is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    try:
        parts = []
        while part := os.read(fd, _CHUNK):
            parts.append(part)
            if len(part) < _CHUNK // 2 and path.endswith("/stat"):
                break  # One read is all there is, and a second one would double the cost.
        return b"".join(parts)
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)


def sees_us() -> bool:
    """Tell whether there is a /proc, and it is that of our PID namespace.

    In a new namespace that still has the old /proc, numbers there mean other processes than here.
    """
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def read_process(pid: int) -> ProcessInfo | None:
    """Return what /proc says about *pid*, or None if there is no such process."""
    data = _read(f"/proc/{pid}/stat")
    if not data:
        return None
    # The name in parentheses may hold anything, parentheses and spaces too.
    fields = data[data.rindex(b")") + 2 :].split()
    return ProcessInfo(
        pid,
        fields[0].decode(),
        int(fields[1]),
        int(fields[2]),
        int(fields[3]),
        int(fields[17]),
        int(fields[19]),
    )


def status_of_zombie(pid: int) -> int | None:
    """Return the wait status of *pid*, which has ended and was not waited for; None if unknown.

    Source: proc_pid_stat(5), `exit_code`: shown to those who may look into the process.
    """
    data = _read(f"/proc/{pid}/stat")
    if not data or os.geteuid() not in (0, user_of(pid)):
        return None
    fields = data[data.rindex(b")") + 2 :].split()
    return int(fields[49]) if fields[0] == b"Z" and len(fields) > 49 else None


def every_process() -> Iterator[ProcessInfo]:
    """Yield every process of a session, but for ourselves. Threads of the kernel are in none."""
    me = str(os.getpid())
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit() and entry.name != me:
                info = read_process(int(entry.name))
                if info is not None and info.session:
                    yield info


def is_same(pid: int, started: int) -> bool:
    """Return whether *pid* is still, and alive, the process that was started at that time."""
    info = read_process(pid)
    return info is not None and info.started == started and info.alive


def user_of(pid: int) -> int | None:
    """Return the uid of whose *pid* is, None if it is gone; 0 if it may not be looked into."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_stopped(pid: int) -> bool:
    """Return whether no thread of *pid* can run: SIGSTOP has reached all, or there is none."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return True
    for thread in threads:
        data = _read(f"/proc/{pid}/task/{thread}/stat")
        if data and data[data.rindex(b")") + 2 : data.rindex(b")") + 3] not in b"TtZX":
            return False
    return True


def read_variable(pid: int, name: bytes) -> bytes | None:
    """Return a variable of the environment *pid* was executed with, None if it cannot be seen.

    Raises:
        InExec: *pid* is just being executed, and stays so for longer than we wait.
    """
    try:
        data = _read_environment(pid)
    except PermissionError:  # It runs for another user, or may not be looked into.
        return None
    start = name + b"="
    for entry in data.split(b"\0"):
        if entry.startswith(start):
            return entry[len(start) :]
    return None


class InExec(Exception):
    """A process is between two programs: it has no environment to be known by yet."""


def _read_environment(pid: int) -> bytes:
    """Return the environment of *pid*, empty for a zombie.

    In the middle of an execve there is none for a moment, and no command line either; a process
    that was given no environment has at least a command line.
    """
    for _ in range(_MOMENTS):
        if data := _read(f"/proc/{pid}/environ"):
            return data
        if _read(f"/proc/{pid}/cmdline"):
            return _read(f"/proc/{pid}/environ") or b""
        info = read_process(pid)
        if info is None or not info.alive:
            return b""
        time.sleep(0.0005)
    raise InExec


class View(Protocol):
    """The process table at one moment, as far as it concerns our descendants."""

    direct: set[int]
    """Our own children, zombies too, without the leaders that the caller knows; and the children of
    those who get orphans of ours."""

    def look_again(self) -> None:
        """Bring `direct` up to date, where it was not read together with everything else.

        Orphans move while we walk: away from their parents, to us. Looking at our own children
        last, one that has moved is seen here if it was not seen there.
        """

    def children(self, pid: int) -> Iterable[int]:
        """Return the children of *pid*."""

    def info(self, pid: int) -> ProcessInfo | None:
        """Return what is known of *pid*, None if it is gone."""


def descend(view: View, roots: Iterable[int]) -> dict[int, ProcessInfo]:
    """Return *roots* and everything below them, zombies too, parents before children."""
    found: dict[int, ProcessInfo] = {}
    todo = list(roots)
    for pid in todo:  # It grows while we walk.
        if pid not in found and (info := view.info(pid)) is not None:
            found[pid] = info
            todo.extend(view.children(pid))
    return found


class _ChildrenView:
    """Follows the `children` files of the kernel: costs only what is asked for."""

    def __init__(self, leaders: Set[int], fosters: frozenset[int]) -> None:
        self._leaders = leaders
        self._parents = (*fosters, os.getpid())
        self._infos: dict[int, ProcessInfo | None] = {}
        self.look_again()

    def look_again(self) -> None:
        own = (child for parent in self._parents for child in self.children(parent))
        self.direct = set(own).difference(self._leaders, self._parents)

    def children(self, pid: int) -> list[int]:
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError as error:
            if error.errno in _GONE:
                return []
            raise
        found: list[int] = []
        for thread in threads:
            found.extend(map(int, (_read(f"/proc/{pid}/task/{thread}/children") or b"").split()))
        return found

    def info(self, pid: int) -> ProcessInfo | None:
        if pid not in self._infos:
            self._infos[pid] = read_process(pid)
        return self._infos[pid]


class _ScanView:
    """Scans all of /proc, for kernels without `children` files.

    What once was seen outside of our descendants never becomes one of them, so those are
    remembered (by the inode of their directory, because numbers are used again) and read only
    once.
    """

    def __init__(
        self, leaders: Set[int], fosters: frozenset[int], strangers: dict[int, int]
    ) -> None:
        if fosters:
            strangers = {}  # What belongs to us may be anywhere.
        self._leaders = leaders
        self._infos: dict[int, ProcessInfo | None] = {}
        self._children: dict[int, list[int]] = {}
        me = os.getpid()
        inodes: dict[int, int] = {}
        still: dict[int, int] = {}
        with os.scandir("/proc") as entries:
            for entry in entries:
                if not entry.name.isdigit():
                    continue
                pid, inode = int(entry.name), entry.inode()
                if pid in leaders:
                    continue
                if strangers.get(pid) == inode:
                    still[pid] = inode
                else:
                    inodes[pid] = inode
        self._read_all(inodes)
        seen = self._infos.keys() | leaders | still.keys() | {0, me}
        for _ in range(_ROUNDS):
            # The parent of some may have gone between the listing and now; whose are they since?
            lost = [pid for pid, info in self._infos.items() if info and info.parent not in seen]
            if not lost:
                break
            self._read_all(lost)
        for pid, info in self._infos.items():
            if info is not None:
                self._children.setdefault(info.parent, []).append(pid)
        if (
            me != 1 and not fosters
        ):  # The orphans of a PID namespace become children of its first process.
            for pid, inode in inodes.items():
                if self._is_stranger(pid, me, still):
                    still[pid] = inode
        strangers.clear()
        strangers.update(still)
        parents = (*fosters, me)
        own = (child for parent in parents for child in self._children.get(parent, ()))
        self.direct = set(own).difference(parents)

    def _read_all(self, pids: Iterable[int]) -> None:
        for pid in pids:
            self._infos[pid] = read_process(pid)

    def look_again(self) -> None:
        pass  # All was read in one go: who moved was seen before or after.

    def _is_stranger(self, pid: int, me: int, strangers: dict[int, int]) -> bool:
        """Tell whether the chain of parents was seen to its end without meeting us."""
        for _ in range(len(self._infos) + 1):
            if pid == me or pid in self._leaders:
                return False
            if pid == 0 or pid in strangers:
                return True
            info = self._infos.get(pid)
            if info is None:
                return False  # Its parent has just gone; whose it is now, the next scan tells.
            pid = info.parent
        return False

    def children(self, pid: int) -> list[int]:
        return self._children.get(pid, [])

    def info(self, pid: int) -> ProcessInfo | None:
        if pid not in self._infos:
            self._infos[pid] = read_process(pid)
        return self._infos[pid]


class _BlindView:
    """Sees nothing: there is no /proc of ours. Process groups can be signalled all the same."""

    def __init__(self) -> None:
        self.direct: set[int] = set()

    def look_again(self) -> None:
        pass

    def children(self, _pid: int) -> list[int]:
        return []

    def info(self, _pid: int) -> ProcessInfo | None:
        return None


class ProcessTable:
    """Makes views of the process table, by the cheapest means that the kernel offers.

    Args:
        children_files: whether the kernel has /proc/PID/task/TID/children; None to find out.
    """

    def __init__(self, *, children_files: bool | None = None) -> None:
        self._children_files = children_files
        self._strangers: dict[int, int] = {}
        self._latest: View | None = None
        self._latest_end = 0.0
        self._cost = 0.0
        self._reserve: list[int] = []
        self._fill_reserve()

    @property
    def children_files(self) -> bool:
        """Whether there are `children` files; /proc may be mounted after we have begun."""
        if self._children_files is None and sees_us():
            me = os.getpid()
            self._children_files = os.path.exists(f"/proc/{me}/task/{me}/children")
        return bool(self._children_files)

    def view(
        self, leaders: Set[int], fosters: frozenset[int] = frozenset(), *, max_age: float = 0.0
    ) -> View:
        """Return a view of the present; *leaders* are children of ours known to live.

        *fosters* are processes that have orphans of ours for children.

        With *max_age* (seconds) one that is not older than this, or than ten times what it costs
        to make one, will do: a thousand signals in a row must not scan a thousand times.
        """
        begin = time.monotonic()
        limit = max(max_age, 10 * self._cost) if max_age else 0.0
        if self._latest is not None and begin - self._latest_end < limit:
            return self._latest
        view: View
        if not sees_us():
            view = _BlindView()
        elif self.children_files:
            view = _ChildrenView(leaders, fosters)
        else:
            view = _ScanView(leaders, fosters, self._strangers)
        self._latest, self._latest_end = view, time.monotonic()
        self._cost = self._latest_end - begin
        return view

    def spared(self, job: Callable[[], T]) -> T:
        """Run *job*, which only looks; when descriptors have run out, once more with spare ones."""
        try:
            return job()
        except OSError as error:
            if error.errno not in _FULL:
                raise
        self._drop_reserve()
        try:
            return job()
        finally:
            self._fill_reserve()

    def dispose(self) -> None:
        """Free the descriptors."""
        self._drop_reserve()

    def _fill_reserve(self) -> None:
        try:
            while len(self._reserve) < 2:  # One for a directory, one for a file in it.
                self._reserve.append(open_null())
        except OSError:
            pass  # We are short of them just now; the next time tries again.

    def _drop_reserve(self) -> None:
        while self._reserve:
            os.close(self._reserve.pop())
