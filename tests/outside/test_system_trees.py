"""Stopped means that the whole tree is gone, wherever its processes went."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest
import trio

from places import public_directory
from real_children import RealChildren, Started, subreaping
from supervisor.system import proctable, reaper
from supervisor.system.port import TreeReport
from supervisor.system.proctable import ProcessInfo, ProcessTable, View, read_process
from supervisor.system.signals import send_signal

pytestmark = pytest.mark.real

KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)

DAEMON = """
import os, signal
print("up", os.getpid(), flush=True)
while True:
    signal.pause()
"""


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-ISc", program)


WAYS = {
    "in the group": "sleep 1000 & echo up $!; ",
    "in a session of its own": "setsid sh -c 'echo up $$; exec sleep 1000' & ",
    "forked twice": "(sleep 1000 & echo up $!) ; ",
    "forked twice in a session of its own": "(setsid sh -c 'echo up $$; exec sleep 1000' &) ; ",
    "below another": "(setsid sh -c '(sleep 1000 & echo up $!); exec sleep 1000 > /dev/null' &) ; ",
    "without its environment": "(env -i sh -c 'echo up $$; exec sleep 1000' &) ; ",
}


def children_as_the_kernel_would_list_them(path: str) -> bytes:
    """Stand in for /proc/PID/task/TID/children, which needs CONFIG_PROC_CHILDREN."""
    _, _, pid, _, thread, _ = path.split("/")
    if pid != thread:
        return b""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        info = read_process(int(name))
        if info is not None and info.parent == int(pid):
            found.append(info)
    return b"".join(b"%d " % info.pid for info in sorted(found, key=lambda info: info.started))


@pytest.fixture(scope="module", autouse=True)
def orphans_become_ours() -> Iterator[None]:
    with subreaping():
        yield


@pytest.fixture(params=["scan", "children files"])
async def children(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RealChildren]:
    if request.param == "children files":
        real = proctable._read

        def read(path: str) -> bytes | None:
            if path.endswith("/children"):
                return children_as_the_kernel_would_list_them(path)
            return real(path)

        monkeypatch.setattr(proctable, "_read", read)
    with trio.fail_after(60):
        async with RealChildren(children_files=request.param != "scan") as made:
            yield made


async def up(started: Started) -> int:
    """Wait for the line `up PID`."""
    word, pid = (await started.line()).split()
    assert word == "up"
    return int(pid)


def gone(pid: int) -> bool:
    info = read_process(pid)
    return info is None or not info.alive


def wait_until_ended(pid: int) -> None:
    """Wait until it can be reaped, and leave that to the one who does."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # What is spared for this case counts below the limit only.
    most = max(map(int, os.listdir("/proc/self/fd"))) + 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def sleeper() -> int:
    """Start a child of ours that no component knows of."""
    return os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})


async def empty(children: RealChildren, key: str) -> None:
    """Wait until nothing of *key* is left."""
    while True:
        news = await children.next()
        assert news.key == key
        if not news.lost:
            return


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("leader", ["lives", "has ended"])
async def test_no_way_of_leaving_outlives_a_kill(
    children: RealChildren, way: str, leader: str
) -> None:
    last = "exec sleep 1000" if leader == "lives" else "exit 0"
    started = children.shell(f"{WAYS[way]} {last}")
    pid = await up(started)
    if leader == "lives":
        processes = children.system.processes("c", 1)
        assert processes[0] == await started.pid()
        assert pid in processes
        children.system.signal("c", 1, KILL, "tree")
    else:
        ended = await children.reaped()
        assert pid in ended.lost
        assert pid in children.system.processes("c", 1)
        children.system.signal("c", 1, KILL, "lost")
        children.system.signal("c", 1, KILL, "group")
    await empty(children, "c")
    assert gone(pid)
    assert children.system.processes("c", 1) == ()


async def test_what_keeps_its_session_is_found_without_a_marker(children: RealChildren) -> None:
    started = children.shell("(env -i sh -c 'echo up $$; exec sleep 1000' &) ; exit 0")
    pid = await up(started)
    ended = await children.reaped()
    assert ended.lost == (pid,)
    # It is in the leader's group still, so that is whom it is signalled by, not as one lost.
    assert children.system.signal("c", 1, KILL, "lost") == 0
    assert children.system.signal("c", 1, KILL, "group") == 1
    assert await children.next() == TreeReport("c", 1, ())


async def test_what_left_the_group_and_its_environment_is_known_by_its_session(
    children: RealChildren,
) -> None:
    program = "import os\nif os.fork(): os._exit(0)\nos.setpgid(0, 0)\n"
    program += "print('up', os.getpid(), flush=True)\nos.execve('/bin/sleep', ['s', '1000'], {})"
    started = children.start(argv=python(program))
    pid = await up(started)
    assert (await children.reaped()).lost == (pid,)
    assert children.system.signal("c", 1, KILL, "group") == 0
    assert children.system.signal("c", 1, KILL, "lost") == 1
    await empty(children, "c")


async def test_what_hid_everything_is_known_by_its_past(children: RealChildren) -> None:
    """No marker, no session, and an orphan once its parents die: but we saw it as their child."""
    daemon = " ".join(f"'{word}'" for word in python(DAEMON))
    started = children.shell(f"trap 'exit 0' TERM; env -i setsid {daemon} & wait; wait")
    pid = await up(started)
    children.system.signal("c", 1, TERM, "group")
    ended = await children.reaped()
    assert ended.lost == (pid,)
    assert children.system.signal("c", 1, KILL, "lost") == 1
    await empty(children, "c")


async def test_what_leaves_its_session_while_it_is_stopped_is_known_by_its_number(
    children: RealChildren,
) -> None:
    clean = "import os, signal\ndef leave(*_):\n os.setsid()\n os.write(1, b'out')\n"
    clean += "signal.signal(15, leave)\nos.write(1, b'up %d\\n' % os.getpid())\n"
    clean += "while True: signal.pause()"
    program = f"""
import os, signal, sys
reader, writer = os.pipe()
inside, outside = os.pipe()
if os.fork() == 0:
    os.dup2(outside, 1)
    os.execve(sys.executable, [sys.executable, "-ISc", {clean!r}], {{}})
os.close(outside)
signal.signal(15, lambda *_: None)
os.write(1, os.read(inside, 100))
os.read(inside, 100)  # It has left: now we may.
"""
    started = children.start(argv=python(program))
    pid = await up(started)
    children.system.signal("c", 1, TERM, "group")
    assert (await children.reaped()).lost == (pid,)
    children.system.signal("c", 1, KILL, "lost")
    await empty(children, "c")


async def test_the_daemon_of_a_living_component_is_not_taken_for_anothers(
    children: RealChildren,
) -> None:
    first = children.shell("(setsid sh -c 'echo up $$; exec sleep 1000' &) ; exec sleep 1000", "a")
    daemon = await up(first)
    await children.shell("exec sleep 1000", "b").pid()
    children.system.signal("b", 1, KILL, "tree")
    ended = await children.reaped()
    assert (ended.key, ended.lost) == ("b", ())
    assert daemon in children.system.processes("a", 1)
    assert not gone(daemon)


async def test_the_end_of_what_was_left_is_told_step_by_step(children: RealChildren) -> None:
    script = "(setsid sh -c 'echo up $$; exec sleep 1000' &) ; "
    started = children.shell(script + script + "read go; exit 0")
    pids = {await up(started), await up(started)}
    children.system.signal("c", 1, KILL, "group")
    ended = await children.reaped()
    assert set(ended.lost) == pids
    first = ended.lost[0]
    os.kill(first, KILL)
    assert await children.next() == TreeReport("c", 1, tuple(pids - {first}))
    os.kill(ended.lost[1], KILL)
    assert await children.next() == TreeReport("c", 1, ())


async def test_a_zombie_is_not_waited_for(children: RealChildren) -> None:
    keeper = "import os, signal\nif os.fork() == 0: os._exit(0)\n"
    keeper += "os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)\n"
    keeper += "print('up', os.getpid(), flush=True)\nwhile True: signal.pause()\n"
    words = " ".join(f'"{word}"' for word in python(keeper))
    started = children.shell(f"setsid {words} & wait; exit 0")
    pid = await up(started)
    children.system.signal("c", 1, KILL, "group")
    assert (await children.reaped()).lost == (pid,)
    children.system.signal("c", 1, KILL, "lost")
    await empty(children, "c")


async def test_many_leaders_that_die_together_cost_a_few_looks(
    children: RealChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 60
    pids = [await children.start(f"c{n}", argv=("/bin/sleep", "1000")).pid() for n in range(count)]
    for n in range(count):
        children.system.signal(f"c{n}", 1, KILL, "group")
    for pid in pids:
        wait_until_ended(pid)
    looks = []
    real = ProcessTable.view

    def view(
        table: ProcessTable, leaders: Set[int], fosters: frozenset[int], *, max_age: float = 0.0
    ) -> View:
        looks.append(max_age)
        return real(table, leaders, fosters, max_age=max_age)

    monkeypatch.setattr(ProcessTable, "view", view)
    assert len({(await children.reaped()).key for _ in range(count)}) == count
    assert len(looks) <= 4


async def test_when_many_end_everything_else_gets_its_turn_in_between(
    children: RealChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "SLICE", 0.0)
    monkeypatch.setattr(reaper, "AT_LEAST", 1)
    pids = [await children.start(f"c{n}", argv=("/bin/true",)).pid() for n in range(3)]
    for pid in pids:
        wait_until_ended(pid)
    assert children.system.reap() == []
    with trio.fail_after(60):  # Nobody else tells us to go on: all three SIGCHLD were one.
        assert {(await children.reaped()).key for _ in pids} == {"c0", "c1", "c2"}


async def test_a_process_of_nobody_is_reaped_and_else_left_alone(children: RealChildren) -> None:
    alien = sleeper()
    try:
        await children.start("a", argv=("/bin/sleep", "1000")).pid()
        children.system.signal("a", 1, KILL, "tree")
        ended = await children.reaped()
        assert ended.lost == ()
        assert not gone(alien)
    finally:
        os.kill(alien, KILL)
    await children.start("b", argv=("/bin/true",)).pid()
    assert (await children.reaped()).key == "b"
    while read_process(alien) is not None:
        assert children.system.reap() == []
        await trio.lowlevel.checkpoint()


async def test_an_orphan_found_after_its_tree_was_reported_gone_is_killed(
    children: RealChildren, caplog: pytest.LogCaptureFixture
) -> None:
    started = children.shell("(setsid sh -c 'echo up $$; exec sleep 1000' &) ; read go", "a")
    pid = await up(started)
    children.system.signal("a", 1, KILL, "group")
    ended = await children.reaped()
    assert ended.lost == (pid,)
    forest = children.system._forest
    tree = forest.find("a", 1)
    assert tree is not None
    forest.forget(tree)
    await children.start("b", argv=("/bin/true",)).pid()
    assert (await children.reaped()).key == "b"
    while read_process(pid) is not None:
        assert children.system.reap() == []
        await trio.lowlevel.checkpoint()
    assert "a late orphan of a" in caplog.text


async def test_a_signal_never_reaches_who_took_over_a_number(children: RealChildren) -> None:
    pid = await children.start(argv=("/bin/sleep", "1000")).pid()
    info = read_process(pid)
    assert info is not None
    assert not send_signal(info._replace(started=info.started - 1), KILL)
    assert not gone(pid)
    assert send_signal(info, KILL)
    await children.reaped()
    assert not send_signal(info, KILL)


async def test_five_hundred_are_started_killed_and_reaped_and_nothing_leaks(
    children: RealChildren,
) -> None:
    await children.start("warm", argv=("/bin/true",)).pid()
    await children.reaped()
    before = len(os.listdir("/proc/self/fd"))
    # The stand-in for the kernel's files reads everything for everybody.
    count = 500 if not children.system._table.children_files else 50
    started = [children.start(f"c{n}", argv=("/bin/sleep", "1000")) for n in range(count)]
    for one in started:
        await one.pid()
    for n in range(count):
        children.system.signal(f"c{n}", 1, TERM, "group")
    ended = [await children.reaped() for _ in range(count)]
    assert {end.exit.signal for end in ended} == {TERM}
    assert len({end.key for end in ended}) == count
    for one in started:
        assert one.system.read(one.reader, 1) == b""
        one.system.close(one.reader)
    assert len(os.listdir("/proc/self/fd")) == before
    forest = children.system._forest
    for kept in (forest._trees, forest._leaders, forest._known, forest._sessions, forest._roots):
        assert not kept
    assert not children.system._launcher._pending
    children._readers.clear()


async def test_running_out_of_descriptors_does_not_make_us_blind(children: RealChildren) -> None:
    started = children.shell("(setsid sh -c 'echo up $$; exec sleep 1000' &) ; read go")
    pid = await up(started)
    children.system.signal("c", 1, KILL, "group")
    wait_until_ended(await started.pid())
    with no_descriptor_left():
        news = children.system.reap()
    assert [end.lost for end in news] == [(pid,)]


@pytest.mark.parametrize("scope", ["leader", "group", "tree"])
async def test_what_cannot_be_seen_now_is_signalled_all_the_same(
    children: RealChildren,
    monkeypatch: pytest.MonkeyPatch,
    scope: Literal["leader", "group", "tree"],
) -> None:
    await children.start(argv=("/bin/sleep", "1000")).pid()

    def read(_path: str) -> bytes:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with monkeypatch.context() as blind, suppress(OSError):
        blind.setattr(proctable, "_read", read)
        children.system.signal("c", 1, TERM, scope)
    assert (await children.reaped()).exit.signal == TERM


@pytest.mark.parametrize("scope", ["leader", "group"])
async def test_who_may_not_be_signalled_is_named(
    children: RealChildren,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    scope: Literal["leader", "group"],
) -> None:
    pid = await children.start(argv=("/bin/sleep", "1000")).pid()

    def refuse(_pid: int, _signum: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as forbidden:
        forbidden.setattr(os, "kill" if scope == "leader" else "killpg", refuse)
        assert children.system.signal("c", 1, TERM, scope) == 0
    assert f"{pid}: Operation not permitted" in caplog.text


async def test_an_orphan_in_the_middle_of_an_exec_is_no_alien(
    children: RealChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a moment of execve a process shows neither environment nor command line."""
    started = children.shell("(setsid sh -c 'echo up $$; exec sleep 1000' &) ; exit 0")
    pid = await up(started)
    leader = await started.pid()
    wait_until_ended(leader)
    real = proctable._read
    empty_reads: list[str] = []

    def read(path: str) -> bytes | None:
        if path in {f"/proc/{pid}/environ", f"/proc/{pid}/cmdline"} and len(empty_reads) < 10:
            empty_reads.append(path)
            return b""
        return real(path)

    monkeypatch.setattr(proctable, "_read", read)
    assert [end.lost for end in children.system.reap()] == [(pid,)]
    assert len(empty_reads) == 10


async def test_an_exec_that_hangs_is_looked_at_again_later(
    children: RealChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = children.shell("(setsid sh -c 'echo up $$; exec sleep 1000' &) ; exit 0")
    pid = await up(started)
    wait_until_ended(await started.pid())
    monkeypatch.setattr(proctable, "_MOMENTS", 0)
    assert [end.lost for end in children.system.reap()] == [()]
    assert pid not in children.system._forest._aliens
    monkeypatch.setattr(proctable, "_MOMENTS", 20)
    await children.start("b", argv=("/bin/true",)).pid()
    await children.reaped()
    while read_process(pid) is not None:
        assert children.system.reap() == []
        await trio.lowlevel.checkpoint()


async def test_who_moves_to_us_between_two_looks_is_not_missed(
    children: RealChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parent ends after we have looked at our own children, and before we look at its."""
    started = children.shell("(setsid sh -c 'echo up $$; exec sleep 1000' &) ; exec sleep 1000")
    pid = await up(started)
    real, ours = proctable._read, f"/proc/{os.getpid()}/task/{os.getpid()}/children"
    looks = []

    def read(path: str) -> bytes | None:
        data = real(path)
        if path == ours:
            looks.append(data)
            if len(looks) == 1:
                return b" ".join(n for n in (data or b"").split() if int(n) != pid)
        return data

    monkeypatch.setattr(proctable, "_read", read)
    assert pid in children.system.processes("c", 1)
    assert looks or not children.system._table.children_files


def test_strangers_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    table = ProcessTable(children_files=False)
    table.view(frozenset())
    read: list[int] = []
    real = read_process

    def counted(pid: int) -> ProcessInfo | None:
        read.append(pid)
        return real(pid)

    monkeypatch.setattr(proctable, "read_process", counted)
    table.view(frozenset())
    # What runs below us, or has begun since then, is read again; that is not everybody.
    everybody = sum(name.isdigit() for name in os.listdir("/proc"))
    assert len(read) < everybody / 2
    table.dispose()


@pytest.fixture
def public() -> Iterator[Path]:
    with public_directory() as path:
        yield path


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to become somebody else")
@pytest.mark.parametrize("file", ["outside/test_system_trees.py", "outside/test_system_launch.py"])
def test_all_this_holds_for_an_ordinary_user_too(file: str, public: Path) -> None:
    tests = Path(__file__).parent.parent
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-k", "not five_hundred", "--basetemp", str(public / "nobody"), str(tests / file)]
    public.chmod(0o777)
    probe = [sys.executable, "-c", "import supervisor.system.linux"]
    who = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": tests.parent}
    try:
        can = subprocess.run(probe, capture_output=True, check=False, **who).returncode == 0  # type: ignore[call-overload]
    except PermissionError:
        can = False  # The interpreter lies where root alone may look.
    if not can:
        pytest.skip("this checkout or its Python cannot be read by another user")
    done = subprocess.run(command, capture_output=True, text=True, check=False, **who)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
