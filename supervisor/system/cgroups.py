"""Keep the processes of each component in a control group of its own, where we may have groups.

A process cannot leave its group by forking, by a session of its own or by another environment, and
the kernel kills a whole group at once. The layout, below the group in which we were started:

    piesd:INSTANCE:LIFE           all that is ours
      @piesd                      ourselves, and what was forked a moment ago
      TAG                         one component: its limits; no processes
        main                      its processes
        5                         those of its connection or command `TAG#5`

Processes are in the lowest groups alone, so that the end of a connection can be the end of one
group, while the limits are those of the whole component.

Sources: cgroups(7); Documentation/admin-guide/cgroup-v2.rst in the kernel; CGROUP_DELEGATION.md
of systemd.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from urllib.parse import quote, unquote

from msgspec import Struct

from supervisor.model.component import GroupLimits, Key, Tag
from supervisor.model.groups import GroupFigures
from supervisor.system.cgrouplimits import Controllers, figures, oom_kills, write_text

log = logging.getLogger(__name__)

_SELF = "@piesd"
"""The group in which we are ourselves: the kernel wants no processes beside groups with
controllers, and what turns up here a component has forked before it was moved. No tag begins so."""

_OURS = "piesd:"
_MAIN = "main"
_UNITS = (".service", ".scope")


class NoGroups:
    """What there is without control groups: nothing. `why` says why."""

    def __init__(self, why: str = "") -> None:
        self.why = why
        self._lacks: dict[Tag, str] = {}
        """Why limits of a component are not in force."""

    def means(self, _key: Key) -> str:
        """Return how the processes of *key* are found, for people."""
        return "process group, session, subreaper and marker"

    def wants(self, _key: Key) -> bool:
        """Return whether *key* is to have a group also without limits."""
        return False

    def join(self, _key: Key, _pid: int) -> bool:
        """Put a process into the group of *key*; whether it is there now."""
        return False

    def limit(self, key: Key, limits: GroupLimits) -> bool:
        """Have the limits of the component of *key* be *limits*; whether any are in force."""
        if limits:
            self._note_lack(key, self.why)
        return False

    def members(self, _key: Key) -> list[int]:
        """Return the living processes in the group of *key*."""
        return []

    def key_of(self, _pid: int) -> Key | None:
        """Return in whose group *pid* is."""
        return None

    def prepare(self, _key: Key) -> None:
        """Make the group of *key*, so that it is there when its process is."""

    def newborn(self) -> list[int]:
        """Return what components have forked that is still where all children are born."""
        return []

    def kill(self, _key: Key) -> bool:
        """Kill everything in the group of *key*; whether that could be done."""
        return False

    def owners(self) -> list[Key]:
        """Return who has a group."""
        return []

    def release(self, key: Key) -> None:
        """Remove the group of *key* if it is empty."""
        self._lacks.pop(key, None)

    def dispose(self) -> None:
        """Remove what is empty of all that is ours."""

    def memory_limit(self, _key: Key) -> str:
        """Return the most memory that the component may use, for people; empty if unlimited."""
        return ""

    def lack(self, key: Key) -> str:
        """Return why limits of the component of *key* are not in force; empty if they are."""
        return self._lacks.get(key.partition("#")[0], "")

    def ooms(self, _key: Key) -> tuple[int, int]:
        """Return how often the kernel has killed one of the component for want of memory.

        And how often the component's own limit was why.
        """
        return 0, 0

    def figures(self, _key: Key) -> GroupFigures | None:
        """Return what the kernel counts for the component of *key*."""
        return None

    def _note_lack(self, key: Key, why: str) -> None:
        """Remember what is not in force, and say so once."""
        tag = key.partition("#")[0]
        if self._lacks.get(tag) != why:
            self._lacks[tag] = why
            log.warning("the limits of the group of %s are not in force: %s", tag, why)


class Place(Struct, frozen=True):
    """Where groups may be made: a directory, and its path as /proc/PID/cgroup shows it."""

    directory: str
    shown: str


class Groups(NoGroups):
    """The control groups of one piesd.

    Args:
        place: the group in which we were started.
        instance: the name of this piesd.
        life: tells it from others of that name.
        everybody: also components without limits have a group.
        proc: where the process table is.

    Raises:
        OSError: we cannot have groups there.
    """

    def __init__(
        self,
        place: Place,
        instance: str,
        life: str,
        *,
        everybody: bool = True,
        proc: str = "/proc",
    ) -> None:
        super().__init__()
        self._everybody = everybody
        self._base = place.directory
        name = _OURS + _quoted(instance) + ":" + _quoted(life)
        self._root = os.path.join(place.directory, name)
        self._shown = f"{place.shown.rstrip('/')}/{name}/"
        self._proc = proc
        self._self = os.path.join(self._root, _SELF)
        self._controllers = Controllers(self._base, self._root)
        self._limits: dict[Tag, GroupLimits] = {}
        """What was written to the group of each component."""
        self._told: set[str] = set()
        for old in self._siblings(_OURS + _quoted(instance) + ":"):
            if not _populated(os.path.join(old, _SELF)):  # Else it is of one that lives.
                _prune(old)
        self._entered = False
        if everybody or os.path.isdir(self._root):
            self._enter()

    def means(self, key: Key) -> str:
        return "cgroup" if os.path.isdir(self._leaf(key)) else super().means(key)

    def wants(self, key: Key) -> bool:
        # To move a process takes as long as to start it, and there may be thousands of connections.
        return self._everybody and "#" not in key

    def _enter(self) -> None:
        """Go where the groups of the components are no longer above us; there are groups now."""
        for each in (self._root, self._self):
            with contextlib.suppress(FileExistsError):
                self._mkdir(each)
        write_text(os.path.join(self._self, "cgroup.procs"), str(os.getpid()))
        self._entered = True

    def _siblings(self, prefix: str) -> Iterator[str]:
        with contextlib.suppress(OSError), os.scandir(self._base) as entries:
            yield from [each.path for each in entries if each.name.startswith(prefix)]

    # --- processes

    def join(self, key: Key, pid: int) -> bool:
        path = self._leaf(key)
        for _ in range(2):  # Another piesd of our name may tidy up while we make it.
            try:
                self._make(path)
                write_text(os.path.join(path, "cgroup.procs"), str(pid))
            except ProcessLookupError:
                return False  # It has ended.
            except FileNotFoundError:
                continue
            except OSError as error:
                self._tell(f"cannot put processes into groups of their own in {path}", error)
                return False
            return True
        return False

    def _make(self, path: str) -> None:
        if os.path.isdir(path):
            return
        for each in (self._root, os.path.dirname(path), path):
            with contextlib.suppress(FileExistsError):
                self._mkdir(each)

    def _mkdir(self, path: str) -> None:
        os.mkdir(path, 0o755)

    def members(self, key: Key) -> list[int]:
        if not self._entered:
            return []
        path = self._leaf(key)
        # One look at this tells for whole groups that there is nothing.
        if not _populated(path):
            return []
        found: list[int] = []
        for directory, _, _ in os.walk(path):
            with contextlib.suppress(OSError):  # It was removed, or has only threads.
                found.extend(map(int, _read(os.path.join(directory, "cgroup.procs")).split()))
        return [pid for pid in found if pid]  # 0 is somebody of another PID namespace.

    def key_of(self, pid: int) -> Key | None:
        if not self._entered:
            return None
        shown = _shown_of(self._proc, str(pid))
        if not shown.startswith(self._shown):
            return None
        return _key(*shown[len(self._shown) :].split("/"))

    def prepare(self, key: Key) -> None:
        if not self.wants(key):
            return
        with contextlib.suppress(OSError):  # `join` says why.
            self._make(self._leaf(key))

    def newborn(self) -> list[int]:
        try:
            pids = [int(pid) for pid in _read(os.path.join(self._self, "cgroup.procs")).split()]
        except OSError:
            return []
        # Helpers of ours are in our session. A component never is, nor what it forks.
        ours = os.getsid(0)
        found = []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                if pid and os.getsid(pid) != ours:
                    found.append(pid)
        return found

    def kill(self, key: Key) -> bool:
        if not self._entered:
            return False
        try:
            write_text(os.path.join(self._leaf(key), "cgroup.kill"), "1")
        except OSError:
            return False  # There is none, or the kernel is older than 5.14.
        return True

    # --- groups

    def owners(self) -> list[Key]:
        found = []
        for tag in set(_directories(self._root)) - {_SELF}:
            for leaf in _directories(os.path.join(self._root, tag)):
                key = _key(tag, leaf)
                if key is not None:
                    found.append(key)
        return found

    def release(self, key: Key) -> None:
        super().release(key)
        if not self._entered:
            return
        path = self._leaf(key)
        _prune(path)
        if "#" not in key:
            self._limits.pop(key, None)
        with contextlib.suppress(OSError):
            if "#" not in key or key.partition("#")[0] not in self._limits:
                os.rmdir(os.path.dirname(path))

    def dispose(self) -> None:
        if not self._entered:
            return
        self._controllers.switch_off()
        with contextlib.suppress(OSError):  # Somebody else needs them.
            write_text(os.path.join(self._base, "cgroup.procs"), str(os.getpid()))
        _prune(self._root)

    def _leaf(self, key: Key) -> str:
        tag, _, rest = key.partition("#")
        return os.path.join(self._root, _quoted(tag), _quoted(rest) if rest else _MAIN)

    def _of(self, key: Key) -> str:
        """Return the group of the whole component."""
        return os.path.join(self._root, _quoted(key.partition("#")[0]))

    # --- limits

    def limit(self, key: Key, limits: GroupLimits) -> bool:
        tag, part, _ = key.partition("#")
        before = self._limits.get(tag)
        fresh = before is None and not (self._entered and os.path.isdir(self._of(tag)))
        if not limits and (part or fresh):
            return False  # A command of its own is no reason to lift limits.
        if limits == before:
            return bool(limits)
        try:
            if not self._entered:
                self._enter()
            self._make(self._leaf(tag))
            lack = self._controllers.apply(self._of(key), limits)
        except OSError as error:
            lack = f"{self._of(key)}: {error.strerror}"
        self._limits[tag] = limits
        if lack:
            self._note_lack(tag, lack)
        else:
            self._lacks.pop(tag, None)
        return bool(limits)

    def memory_limit(self, key: Key) -> str:
        limits = self._limits.get(key.partition("#")[0])
        most = -1 if limits is None or limits.memory_max is None else limits.memory_max
        return "" if most < 0 else _bytes(most)

    def ooms(self, key: Key) -> tuple[int, int]:
        return oom_kills(self._of(key)) if self._entered else (0, 0)

    def figures(self, key: Key) -> GroupFigures | None:
        return figures(self._of(key)) if self._entered else None

    def _tell(self, what: str, error: OSError) -> None:
        if what not in self._told:
            self._told.add(what)
            log.info("%s: %s", what, error.strerror)


# --- where


def find_groups(
    instance: str, life: str, *, everybody: bool = True, proc: str = "/proc"
) -> NoGroups:
    """Return the control groups that we may make, or what says why there are none."""
    try:
        mounts = _read(os.path.join(proc, "self/mountinfo"))
        own = _shown_of(proc, "self")
    except OSError as error:
        return NoGroups(f"{error.filename}: {error.strerror}")
    place = place_in(mounts, own)
    if place is None:
        return NoGroups("there is no cgroup v2 here")
    if reason := _forbidden(place):
        return NoGroups(f"{reason}; under systemd, Delegate=yes gives piesd a group of its own")
    try:
        return Groups(place, instance, life, everybody=everybody, proc=proc)
    except OSError as error:
        return NoGroups(f"groups cannot be made in {place.directory}: {error.strerror}")


def place_in(mounts: str, own: str) -> Place | None:
    """Return where our own group is, None if it is not to be seen.

    Args:
        mounts: the content of a mountinfo file.
        own: our group, as /proc/self/cgroup shows it.

    Source: proc_pid_mountinfo(5): root and mount point are fields 4 and 5, with octal escapes.
    """
    if not own.startswith("/") or own.startswith("/.."):
        return None
    above, _, last = own.rpartition("/")
    if last == _SELF:  # We were executed anew.
        own = os.path.dirname(above)
    for line in mounts.splitlines():
        fields, _, kind = line.partition(" - ")
        if not kind.startswith("cgroup2 "):
            continue
        root, point = (_unescaped(each) for each in fields.split(" ")[3:5])
        if root in ("/", own) or own.startswith(root + "/"):
            below = own if root == "/" else own[len(root) :]
            return Place(os.path.normpath(point + "/" + below), own)
    return None


def _forbidden(place: Place) -> str:
    """Return why no groups may be made in *place*; empty if they may."""
    files = [place.directory, os.path.join(place.directory, "cgroup.procs")]
    if not all(os.access(each, os.W_OK) for each in files):
        return f"{place.directory} is not ours to write to"
    # Root may write everywhere, but a group that systemd has not given away is systemd's.
    if os.geteuid() == 0 and (unit := _unit(place)) and not _is_delegated(unit):
        return f"systemd has not delegated {unit}"
    return ""


def _unit(place: Place) -> str:
    """Return the directory of the innermost unit of systemd in the path; empty if there is none."""
    directory, shown = place.directory, place.shown
    while shown not in ("", "/"):
        if shown.endswith(_UNITS):
            return directory
        directory, shown = os.path.dirname(directory), os.path.dirname(shown)
    return ""


def _is_delegated(unit: str) -> bool:
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            return os.getxattr(unit, name) == b"1"
    return False


# --- names and files


def _quoted(name: str) -> str:
    """Return *name* as that of a group. Files of the kernel have a dot in theirs, ours never."""
    return quote(name, safe="@:").replace(".", "%2E").replace("~", "%7E")


def _key(tag: str, leaf: str = "", *_: str) -> Key | None:
    """Return whose group that is; *_* are groups which its processes have made themselves."""
    if not leaf:
        return None
    return unquote(tag) if leaf == _MAIN else f"{unquote(tag)}#{unquote(leaf)}"


def _shown_of(proc: str, pid: str) -> str:
    """Return the group of a process in the hierarchy of version 2; empty if it is gone."""
    try:
        text = _read(f"{proc}/{pid}/cgroup")
    except OSError:
        return ""
    return next((line[3:] for line in text.splitlines() if line.startswith("0::")), "")


def _populated(path: str) -> bool:
    try:
        return "populated 0" not in _read(os.path.join(path, "cgroup.events"))
    except OSError:
        return False


def _directories(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [each.name for each in entries if each.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _prune(path: str) -> None:
    """Remove *path* and everything below it that has no processes."""
    for directory, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def _bytes(number: int) -> str:
    """Return a size for people: `100 MiB`, and nothing rounded."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if number and number % 1024**power == 0:
            return f"{number // 1024**power} {unit}"
    return f"{number} bytes"


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _unescaped(text: str) -> str:
    for code, meant in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, meant)
    return text
