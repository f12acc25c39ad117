"""With control groups nothing of a component gets away, and it is limited as a whole."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from plain_groups import PlainGroups, fill
from real_children import RealChildren, subreaping
from supervisor.model.component import GroupLimits
from supervisor.system import cgroups
from supervisor.system.cgroups import Groups, find_groups
from supervisor.system.linux import LinuxSystem
from supervisor.system.port import Orphan, Reaped, TreeReport

pytestmark = pytest.mark.real

INSTANCE = "test"

# It forgets everything by which it could be known: its environment, session, group and parents.
HIDES = """
env -i setsid sh -c '(env -i setsid sleep 1000 >/dev/null 2>&1 & echo $!)'
echo done
exec sleep 1000
"""


@pytest.fixture(autouse=True, scope="module")
def orphans_become_ours() -> Iterator[None]:
    with subreaping():
        yield


@pytest.fixture
def groups() -> Iterator[Groups]:
    found = find_groups(INSTANCE, secrets.token_hex(8))
    if not isinstance(found, Groups):
        pytest.skip(f"no control groups: {found.why}")
    yield found
    found.dispose()
    assert not Path(found._root).exists()


@pytest.fixture
async def children(groups: Groups) -> AsyncIterator[RealChildren]:
    with trio.fail_after(30):
        async with RealChildren(groups=groups) as made:
            yield made


@contextlib.contextmanager
def not_ours() -> Iterator[int]:
    """Yield a process that is the child of somebody else."""
    script = ["sh", "-c", "sleep 1000 & echo $!; wait"]
    with subprocess.Popen(script, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def group_of(pid: int) -> str:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line[3:] for line in lines if line.startswith("0::"))


async def test_a_child_and_all_that_it_forks_are_in_its_group(children: RealChildren) -> None:
    started = children.shell("sleep 1000 & echo $!; wait", key="we.b")
    leader, below = await started.pid(), int(await started.line())
    assert group_of(leader) == group_of(below)
    assert group_of(leader).endswith("/we%2Eb/main")
    assert children.system.enclosure("we.b").means == "cgroup"


async def test_what_hides_from_everything_else_is_found_and_killed(children: RealChildren) -> None:
    started = children.shell(HIDES)
    hidden = int(await started.line())
    assert hidden in children.system.processes("c", 1)
    assert children.system.signal("c", 1, signal.SIGKILL, "tree") > 0
    end: Reaped | TreeReport = await children.reaped()
    while end.lost:
        end = await children.next()
    assert hidden not in children.system._groups.members("c")


async def test_a_tree_is_not_gone_before_its_group_is_empty(
    children: RealChildren, groups: Groups
) -> None:
    """Somebody who is no child of ours has joined the group: nobody tells us of that end."""
    started = children.shell("exec sleep 1000", key="joined")
    await started.pid()
    with not_ours() as stranger:
        assert groups.join("joined", stranger)
        assert children.system.signal("joined", 1, signal.SIGTERM, "leader") == 1
        assert (await children.reaped()).lost == (stranger,)
        os.kill(stranger, signal.SIGKILL)
        assert await children.next() == TreeReport("joined", 1, ())


async def test_the_next_piesd_finds_by_its_group_what_hides(
    children: RealChildren, groups: Groups
) -> None:
    started = children.shell(HIDES)
    leader, hidden = await started.pid(), int(await started.line())
    assert await started.line() == "done"
    os.kill(leader, signal.SIGKILL)
    assert (await children.reaped()).lost == (hidden,)
    another = LinuxSystem(groups=groups)  # It knows nothing of the first one's life.
    (adopted,) = another.adopt([Orphan("c", 1, leader, (0.0, 0.0))])
    another.dispose()
    assert adopted.pid is None
    assert adopted.lost == (hidden,)


async def test_what_nobody_remembers_is_killed_by_its_group(
    children: RealChildren, groups: Groups
) -> None:
    started = children.shell(HIDES, key="forgotten")
    leader, hidden = await started.pid(), int(await started.line())
    assert await started.line() == "done"
    os.kill(leader, signal.SIGKILL)
    assert (await children.reaped()).lost == (hidden,)
    another = LinuxSystem(groups=groups)
    assert another.adopt([]) == []
    another.dispose()
    assert await children.next() == TreeReport("forgotten", 1, ())


async def test_what_is_late_in_a_group_whose_tree_is_gone_is_killed(
    children: RealChildren, groups: Groups
) -> None:
    with subprocess.Popen(["sleep", "1000"]) as late:
        fd = os.pidfd_open(late.pid)
        try:
            assert groups.join("gone", late.pid)
            await children.shell("exit 0", key="other").report()
            await children.reaped()  # Somebody's end makes us look.
            await trio.lowlevel.wait_readable(fd)
        finally:
            os.close(fd)
            late.kill()


async def test_the_end_of_one_connection_is_not_that_of_another(
    children: RealChildren, groups: Groups
) -> None:
    one, two = (
        children.shell("exec sleep 1000", key="in#1"),
        children.shell("exec sleep 1000", key="in#2"),
    )
    killed, other = await one.pid(), await two.pid()
    assert groups.owners() == []  # They are too many, and come and go too fast, to be moved.
    # Those of a component with limits are held back until they are where they belong.
    assert groups.join("in#1", killed)
    assert groups.join("in#2", other)
    children.system.signal("in#1", 1, signal.SIGKILL, "tree")
    assert (await children.reaped()).key == "in#1"
    assert groups.owners() == ["in#2"]  # The group went with the connection.
    assert group_of(other).endswith("/in/2")
    assert children.system.processes("in#2", 1) == (other,)


async def test_a_group_goes_when_its_component_is_forgotten(
    children: RealChildren, groups: Groups
) -> None:
    started = children.shell("exit 3", key="gone")
    await started.pid()
    assert (await children.reaped()).exit.code == 3
    assert groups.owners() == ["gone"]
    children.system.forget("gone")
    assert groups.owners() == []
    assert not Path(groups._of("gone")).exists()


async def test_one_with_limits_is_in_its_group_before_it_executes(children: RealChildren) -> None:
    """Here, it is also told that they are not in force, where there are no controllers."""
    started = children.shell(
        "sed -n s/^0:://p /proc/self/cgroup", key="held", cgroup=GroupLimits(pids_max=500)
    )
    assert (await started.line()).endswith("/held/main")
    await children.reaped()


async def test_what_is_moved_elsewhere_on_purpose_stays_there(
    children: RealChildren, groups: Groups
) -> None:
    """As a component that is a container engine does it."""
    elsewhere = Path(groups._base, f"engine-{secrets.token_hex(4)}")
    elsewhere.mkdir()
    try:
        started = children.shell("exec sleep 1000", key="engine")
        leader = await started.pid()
        (elsewhere / "cgroup.procs").write_text(str(leader))
        assert children.system.processes("engine", 1) == (leader,)
        assert group_of(leader).endswith(elsewhere.name)
        children.system.signal("engine", 1, signal.SIGKILL, "tree")
        assert (await children.reaped()).exit.signal == signal.SIGKILL
    finally:
        elsewhere.rmdir()


def test_groups_that_a_dead_one_has_left_empty_are_removed(groups: Groups) -> None:
    def born(life: str) -> Groups:
        return Groups(cgroups.Place(groups._base, "/"), INSTANCE, life)

    dead = born("dead")
    dead._make(dead._leaf("x"))
    living = born("living")  # We are in its group now, so in no other.
    assert Path(dead._root).exists()
    child = subprocess.Popen(["sleep", "1000"])
    try:
        third = born("third")
        assert not Path(dead._root).exists()
        assert Path(living._root).exists(), "somebody lives there"
    finally:
        child.kill()
        child.wait()
    living.dispose()
    third.dispose()


async def test_an_end_for_want_of_memory_is_named(tmp_path: Path) -> None:
    """The kernel counts what it kills; here we count in its place, as it may have no controller."""
    fill(tmp_path)
    groups = PlainGroups(tmp_path)
    with trio.fail_after(30):
        async with RealChildren(groups=groups) as children:
            limits = GroupLimits(memory_max=100 << 20)
            started = children.shell("echo; exec sleep 1000", key="fat", cgroup=limits)
            await started.line()
            Path(groups._of("fat"), "memory.events").write_text("oom 1\noom_kill 1\n")
            os.kill(await started.pid(), signal.SIGKILL)
            how = (await children.reaped()).exit
            assert how.oom
            assert how.message == "killed by SIGKILL: out of memory (limit 100 MiB)"
            again = children.shell("echo; exec sleep 1000", key="fat", generation=2, cgroup=limits)
            await again.line()
            os.kill(await again.pid(), signal.SIGKILL)
            how = (await children.reaped()).exit
            assert not how.oom  # Nothing was counted since it began.
            assert how.message == "killed by SIGKILL"
