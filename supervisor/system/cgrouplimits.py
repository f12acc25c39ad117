"""Limit a control group, and read what the kernel counts for it."""

from __future__ import annotations

import contextlib
import errno
import os

from supervisor.model.component import GroupLimits
from supervisor.model.groups import GroupFigures, Pressure

_FILES = {
    "memory_max": ("memory", "memory.max", "max"),
    "memory_high": ("memory", "memory.high", "max"),
    "cpu_weight": ("cpu", "cpu.weight", "100"),
    "pids_max": ("pids", "pids.max", "max"),
    "io_weight": ("io", "io.weight", "100"),
}
"""For each field of `GroupLimits`: its controller, its file, and what that says by default."""

_ABSENT = {"io_weight": "needs a kernel with CONFIG_BLK_CGROUP_IOCOST"}


class Controllers:
    """Switches on what limits need, when they need it first, and writes limits.

    Args:
        base: the group that was given to us.
        root: the one below it that holds those of the components.
    """

    def __init__(self, base: str, root: str) -> None:
        self._base, self._root = base, root
        self._ours: list[str] = []
        """What is on in *base* because we have switched it on."""

    def apply(self, group: str, limits: GroupLimits) -> str:
        """Have *group* be limited so; return what is not in force and why, empty if all is.

        Raises:
            OSError: there is no such group.
        """
        wanted = {name: getattr(limits, name) for name in _FILES}
        needed = {_FILES[name][0] for name, value in wanted.items() if value is not None}
        lacks = self._switch_on(sorted(needed))
        for name, (controller, file, default) in _FILES.items():
            path, value = os.path.join(group, file), wanted[name]
            if controller in lacks or (value is None and not os.path.exists(path)):
                continue
            text = default if value is None else "max" if value < 0 else str(value)
            try:
                write_text(path, text)
            except OSError as error:
                why = error.strerror or ""
                if error.errno == errno.ENOENT:
                    why = _ABSENT.get(name, why)
                lacks[file] = f"{file} = {text}: {why}"
        return "; ".join(dict.fromkeys(lacks.values()))

    def _switch_on(self, controllers: list[str]) -> dict[str, str]:
        """Have groups of components these controllers; return which cannot be had, and why."""
        lacks: dict[str, str] = {}
        offered = _words(os.path.join(self._base, "cgroup.controllers"))
        for controller in controllers:
            if controller not in offered:
                lacks[controller] = (
                    f"there is no controller {controller!r} in {self._base}: cgroup v1 may have "
                    "it, or it was not delegated"
                )
                continue
            try:
                for group in (self._base, self._root):
                    self._switch_on_in(group, controller)
            except OSError as error:
                lacks[controller] = _refusal(controller, self._base, error)
        return lacks

    def _switch_on_in(self, group: str, controller: str) -> None:
        path = os.path.join(group, "cgroup.subtree_control")
        if controller in _words(path):
            return
        write_text(path, f"+{controller}")
        if group == self._base:
            self._ours.append(controller)

    def switch_off(self) -> None:
        """Have no controllers any more that nobody but us wanted; limits end with that."""
        for group in (self._root, self._base):
            for controller in self._ours:
                with contextlib.suppress(OSError):
                    write_text(os.path.join(group, "cgroup.subtree_control"), f"-{controller}")


def _refusal(controller: str, base: str, error: OSError) -> str:
    what = f"the controller {controller!r} cannot be switched on in {base}: "
    if error.errno == errno.EBUSY:
        return what + (
            "there are other processes in that group; start piesd in one of its own, as by "
            "`systemd-run --scope -p Delegate=yes piesd`"
        )
    return what + (error.strerror or str(error))


def oom_kills(group: str) -> tuple[int, int]:
    """Return how often the kernel has killed for want of memory, and how often at this limit."""
    counts = _table(os.path.join(group, "memory.events"))
    return counts.get("oom_kill", 0), counts.get("oom", 0)


def figures(group: str) -> GroupFigures | None:
    """Return what the kernel counts for *group*, None if there is none."""
    if not os.path.isdir(group):
        return None
    current = _words(os.path.join(group, "memory.current"))
    return GroupFigures(
        memory=int(current[0]) if current else None,
        pressure=Pressure(*(_some(group, what) for what in ("cpu", "io", "memory"))),
    )


def _some(group: str, what: str) -> float | None:
    """Return the `avg10` of the line `some`. Source: Documentation/accounting/psi.rst."""
    words = _words(os.path.join(group, f"{what}.pressure"))
    if words[:1] != ["some"] or not words[1].startswith("avg10="):
        return None
    return float(words[1][6:])


def _table(path: str) -> dict[str, int]:
    words = _words(path)
    return dict(zip(words[::2], map(int, words[1::2]), strict=False))


def _words(path: str) -> list[str]:
    """Return what a file of the kernel says; nothing if it is not there or says nothing now."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []


def write_text(path: str, text: str) -> None:
    """Write to a file of the kernel, which is there already.

    Raises:
        OSError: with the reason.
    """
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)
