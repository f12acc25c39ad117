"""Control groups in a directory of plain files, where the kernel has no controllers for us."""

from __future__ import annotations

from pathlib import Path

from supervisor.system.cgroups import Groups, Place

FILES = {
    "cgroup.procs": "",
    "cgroup.subtree_control": "",
    "cgroup.kill": "",
    "cgroup.events": "populated 0\nfrozen 0\n",
    "memory.max": "max",
    "memory.high": "max",
    "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n",
    "cpu.weight": "100",
    "io.weight": "default 100",
    "pids.max": "max",
}


def fill(directory: Path) -> None:
    """Make what the kernel makes in each group, and offer all controllers."""
    for name, text in FILES.items():
        (directory / name).write_text(text)
    (directory / "cgroup.controllers").write_text("cpu io memory pids\n")


class PlainGroups(Groups):
    """Groups below *base*, which `fill` has filled."""

    def __init__(self, base: Path) -> None:
        super().__init__(Place(str(base), "/"), "main", "1f")

    def _mkdir(self, path: str) -> None:
        super()._mkdir(path)
        fill(Path(path))
