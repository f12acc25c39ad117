"""Limits of groups, against a directory of plain files that stands for the kernel's.

What the kernel does with them is not shown here; that the right file gets the right words is.
"""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from plain_groups import PlainGroups, fill
from supervisor.model.component import NO_LIMITS, GroupLimits
from supervisor.model.groups import GroupFigures, Pressure
from supervisor.system import cgrouplimits
from supervisor.system.cgrouplimits import figures
from supervisor.system.cgroups import Groups, NoGroups, find_groups, place_in


@pytest.fixture
def base(tmp_path: Path) -> Path:
    fill(tmp_path)
    return tmp_path


def made(base: Path) -> Groups:
    return PlainGroups(base)


ROOT = "piesd:main:1f"


def test_we_are_in_a_group_beside_those_of_the_components(base: Path) -> None:
    made(base)
    assert (base / ROOT / "@piesd/cgroup.procs").read_text() == str(os.getpid())


def test_no_tag_can_be_the_name_of_a_file_of_the_kernel(base: Path) -> None:
    groups = made(base)
    assert groups.join("memory.max", 42)
    assert groups.join("a#7", 43)
    assert (base / ROOT / "memory%2Emax/main/cgroup.procs").read_text() == "42"
    assert (base / ROOT / "a/7/cgroup.procs").read_text() == "43"
    assert sorted(groups.owners()) == ["a#7", "memory.max"]


def test_limits_are_of_the_whole_component(base: Path) -> None:
    groups = made(base)
    limits = GroupLimits(memory_max=104857600, pids_max=-1, cpu_weight=50, io_weight=7)
    assert groups.limit("web", limits)
    group = base / ROOT / "web"
    assert (group / "memory.max").read_text() == "104857600"
    assert (group / "pids.max").read_text() == "max"
    assert (group / "cpu.weight").read_text() == "50"
    assert (group / "io.weight").read_text() == "7"
    assert (group / "memory.high").read_text() == "max"
    assert groups.lack("web") == ""
    assert groups.lack("web#3") == ""
    assert groups.memory_limit("web#3") == "100 MiB"


def test_controllers_are_switched_on_where_they_are_needed_and_off_at_the_end(base: Path) -> None:
    groups = made(base)
    groups.limit("free", NO_LIMITS)
    assert (base / "cgroup.subtree_control").read_text() == ""
    groups.limit("web", GroupLimits(pids_max=5))
    assert (base / "cgroup.subtree_control").read_text() == "+pids"
    assert (base / ROOT / "cgroup.subtree_control").read_text() == "+pids"
    # No group with processes may have any.
    assert (base / ROOT / "web/cgroup.subtree_control").read_text() == ""
    groups.dispose()
    assert (base / "cgroup.subtree_control").read_text() == "-pids"


def test_limits_change_and_go_while_it_lives(base: Path) -> None:
    groups = made(base)
    groups.limit("web", GroupLimits(memory_max=1 << 30, cpu_weight=5))
    groups.limit("web#on-exit1", NO_LIMITS)  # A command of it, which asks for none.
    assert (base / ROOT / "web/memory.max").read_text() == str(1 << 30)
    groups.limit("web", GroupLimits(memory_max=1 << 20))
    assert (base / ROOT / "web/memory.max").read_text() == str(1 << 20)
    assert (base / ROOT / "web/cpu.weight").read_text() == "100"
    groups.limit("web", NO_LIMITS)
    assert (base / ROOT / "web/memory.max").read_text() == "max"
    assert groups.memory_limit("web") == ""


def test_a_controller_that_was_not_delegated_is_named_once(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (base / "cgroup.controllers").write_text("cpu pids\n")
    groups = made(base)
    limits = GroupLimits(memory_max=1, cpu_weight=3)
    for _ in range(3):
        groups.limit("web", limits)
    assert "no controller 'memory'" in groups.lack("web")
    assert (base / ROOT / "web/cpu.weight").read_text() == "3"
    assert [each.levelno for each in caplog.records] == [logging.WARNING]
    assert "web" in caplog.text


def test_other_processes_in_our_group_are_told_as_such(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses, and what to do about it is said."""
    write = cgrouplimits.write_text

    def busy(path: str, text: str) -> None:
        if path == str(base / "cgroup.subtree_control"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        write(path, text)

    monkeypatch.setattr(cgrouplimits, "write_text", busy)
    groups = made(base)
    groups.limit("web", GroupLimits(pids_max=5))
    assert "systemd-run --scope -p Delegate=yes" in groups.lack("web")


def test_kills_for_want_of_memory_are_counted(base: Path) -> None:
    groups = made(base)
    assert groups.ooms("web") == (0, 0)
    groups.limit("web", GroupLimits(memory_max=1 << 20))
    (base / ROOT / "web/memory.events").write_text("high 3\nmax 9\noom 2\noom_kill 1\n")
    assert groups.ooms("web") == (1, 2)


def test_what_the_kernel_counts_is_read_when_asked(base: Path) -> None:
    groups = made(base)
    assert groups.figures("web") is None
    groups.join("web", 1)
    assert groups.figures("web") == GroupFigures(None, Pressure())
    group = base / ROOT / "web"
    (group / "memory.current").write_text("4096\n")
    (group / "io.pressure").write_text("some avg10=1.50 avg60=0.00 avg300=0.00 total=9\nfull\n")
    assert figures(str(group)) == GroupFigures(4096, Pressure(io=1.5))


def test_without_groups_limits_are_told_not_to_be_in_force(
    caplog: pytest.LogCaptureFixture,
) -> None:
    groups = NoGroups("there is no cgroup v2 here")
    for _ in range(3):
        assert not groups.limit("web", GroupLimits(pids_max=5))
        assert not groups.limit("other", NO_LIMITS)
    assert groups.lack("web") == "there is no cgroup v2 here"
    assert groups.lack("other") == ""
    assert len(caplog.records) == 1


MOUNTS = """\
22 1 0:20 / /sys rw - sysfs sysfs rw
31 22 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
41 22 0:38 {root} /sys/fs/my\\040group rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
"""


@pytest.mark.parametrize(
    ("root", "own", "directory"),
    [
        ("/", "/", "/sys/fs/my group"),
        ("/", "/a.slice/b.service", "/sys/fs/my group/a.slice/b.service"),
        ("/", "/b/piesd:x:y/@piesd", "/sys/fs/my group/b"),
        ("/docker/1", "/docker/1/sub", "/sys/fs/my group/sub"),
        ("/docker/1", "/docker/1", "/sys/fs/my group"),
        ("/docker/1", "/docker/12", None),
        ("/", "/../elsewhere", None),
        ("/", "", None),
    ],
)
def test_our_group_is_found_where_it_is_mounted(root: str, own: str, directory: str | None) -> None:
    place = place_in(MOUNTS.format(root=root), own)
    assert (place.directory if place else None) == directory


def test_a_group_that_systemd_keeps_for_itself_is_left_alone(base: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("others than root cannot write there anyway")
    unit = base / "x.service"
    unit.mkdir()
    (unit / "cgroup.procs").write_text("")
    proc = base / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self/mountinfo").write_text(f"1 1 0:1 / {base} rw - cgroup2 cgroup2 rw\n")
    (proc / "self/cgroup").write_text("0::/x.service\n")
    found = find_groups("main", "1f", proc=str(proc))
    assert "has not delegated" in found.why
    assert list(unit.iterdir()) == [unit / "cgroup.procs"]
