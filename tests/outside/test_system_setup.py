"""What piesd does to its own process at its start, seen from a process of its own."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor.system import mounts, process_setup
from supervisor.system.mounts import Mounts, parse_mounts

pytestmark = pytest.mark.real

# Prepares itself, then shows what it is like and what a child of it is like.
PROGRAM = """
import json, os, resource, signal, sys
sys.path.insert(0, sys.argv[1])
from supervisor.system.process_setup import prepare_process
def status(pid="self"):
    with open(f"/proc/{pid}/status") as file:
        return {k: v.strip() for k, _, v in (line.partition(":") for line in file)}
setup = prepare_process()
from supervisor.system.linux import LinuxSystem
from supervisor.system.port import Launch
from supervisor.model.component import Component
import trio
async def main():
    system, reports = LinuxSystem(setup=setup), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(system.serve)
        spec = Component(tag="a", argv=("/bin/sh", "-c", sys.argv[3]))
        reader, writer = system.pipe()
        system.launch(
            Launch(key="a", generation=1, spec=spec, stdin=None, stdout=writer, stderr=writer),
            reports.append,
        )
        await trio.lowlevel.wait_readable(reader)
        while not reports:
            await trio.lowlevel.checkpoint()
        pid = reports[0].pid
        shown = {
            "ours": {
                "limit": resource.getrlimit(resource.RLIMIT_NOFILE),
                "subreaper": setup.subreaper,
                "notes": setup.notes,
                "remembered": setup.nofile,
                "status": status(),
                "standard": [os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)],
            },
            "child": {
                "limit": resource.prlimit(pid, resource.RLIMIT_NOFILE),
                "status": status(pid),
                "fds": sorted(os.listdir(f"/proc/{pid}/fd")),
            },
        }
        # On a descriptor that was not there when it began to prepare itself.
        with open(sys.argv[2], "w") as file:
            json.dump(shown, file)
        system.signal("a", 1, signal.SIGKILL, "tree")
        nursery.cancel_scope.cancel()
trio.run(main)
"""


def run(path: Any, before: Callable[[], None], **options: Any) -> dict[str, Any]:
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    shown = str(path / "shown")
    command = [sys.executable, "-c", PROGRAM, root, shown]
    command.append("echo up; while :; do kill -STOP $$; done")
    subprocess.run(command, check=True, preexec_fn=before, timeout=60, **options)
    with open(shown, encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    return found


def test_children_get_nothing_of_the_state_that_we_began_in(tmp_path: Any) -> None:
    extra = os.open("/dev/null", os.O_RDONLY)

    def before() -> None:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGRTMIN + 3):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 4096))

    try:
        shown = run(tmp_path, before, pass_fds=(extra,))
    finally:
        os.close(extra)
    ours, child = shown["ours"], shown["child"]
    assert ours["notes"] == []
    assert ours["subreaper"]
    assert ours["limit"] == [4096, 4096]
    assert ours["remembered"] == [200, 4096]
    assert int(ours["status"]["SigBlk"], 16) == 0
    assert child["limit"] == [200, 4096]
    for line in ("SigBlk", "SigIgn"):
        assert int(child["status"][line], 16) == 0, line
    assert child["fds"] == ["0", "1", "2"]


def test_closed_standard_descriptors_are_filled_before_a_pipe_can_take_their_place(
    tmp_path: Any,
) -> None:
    def before() -> None:
        for fd in (0, 1, 2):
            os.close(fd)

    shown = run(tmp_path, before)
    assert shown["ours"]["standard"] == ["/dev/null"] * 3
    assert shown["child"]["fds"] == ["0", "1", "2"]


def test_a_limit_that_cannot_be_raised_and_a_reaper_that_is_refused_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    notes: list[str] = []
    monkeypatch.setattr(resource, "setrlimit", refuse)
    process_setup._raise_nofile((10, 20), notes)
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert not process_setup.become_subreaper(notes)
    assert len(notes) == 2
    assert all(note.startswith("cannot ") for note in notes)


# --- mounts

TABLE = rb"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /srv rw - nfs4 server:/srv rw
24 23 0:22 / /srv/fast\040disk rw shared:1 - tmpfs none rw
25 22 0:23 / /home rw - tmpfs none rw
26 22 0:24 / /home rw - fuse.sshfs me@there: rw
27 22 0:25 / /net rw - autofs none rw
28 22 0:26 / /ntfs rw - fuseblk /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("path", "local"),
    [
        (b"/usr/bin/x", True),
        (b"/", True),
        (b"/srv", False),
        (b"/srv/bin/x", False),
        (b"/srv/fast disk/x", True),
        (b"/srv/fast disk2", False),
        (b"/srvx", True),
        (b"/usr/../srv/x", False),
        (b"/home/me/x", False),
        (b"/net/host/x", False),
        (b"/ntfs/x", False),
    ],
)
def test_a_path_is_local_by_the_longest_mount_point_above_it(path: bytes, local: bool) -> None:
    table = Mounts()
    table._remote = parse_mounts(TABLE)
    assert table.local(path) is local
    table.dispose()


def test_without_a_mount_table_nothing_counts_as_local() -> None:
    assert not Mounts("/no/such/table").local(b"/bin/true")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_new_mount_is_noticed_by_the_next_question(tmp_path: Any) -> None:
    table = Mounts()
    place = os.fsencode(tmp_path)
    path = place + b"/x"
    assert table.local(path)
    reads: list[None] = []
    read = table._read
    table._read = lambda: reads.append(read())  # type: ignore[method-assign]
    assert table.local(path)
    assert not reads  # Nothing has changed, so nothing is read.
    libc = ctypes.CDLL(None)
    if libc.mount(b"none", place, b"tmpfs", 0, b"size=64k") != 0:
        pytest.skip("cannot mount")
    try:
        table.local(path)
        assert reads
        assert place in table._remote
    finally:
        libc.umount2(place, 2)
    table.local(path)
    assert place not in table._remote
    table.dispose()


def test_the_kinds_of_remote_file_systems_are_known_by_their_beginnings() -> None:
    for kind in ("nfs", "nfs4", "cifs", "smb3", "fuse", "fuse.glusterfs", "9p", "ceph", "afs"):
        assert kind.startswith(mounts._REMOTE)
    for kind in ("ext4", "xfs", "btrfs", "overlay", "tmpfs", "zfs", "squashfs"):
        assert not kind.startswith(mounts._REMOTE)


def test_the_signals_that_a_posix_spawn_leaves_ignored_are_not_inherited_by_children() -> None:
    # As make starts us: glibc ignores its own two signals in what posix_spawn starts.
    program = (
        "from supervisor.system.process_setup import prepare_process\n"
        "def ignored():\n"
        "    with open('/proc/self/status') as status:\n"
        "        return next(int(l.split()[1], 16) for l in status if l.startswith('SigIgn'))\n"
        "before = ignored()\n"
        "prepare_process()\n"
        "print(before >> 31, ignored() >> 31)\n"
    )
    reader, writer = os.pipe()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", program],
        {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)],
    )
    os.close(writer)
    with open(reader, encoding="ascii") as output:
        before, after = output.read().split()
    assert os.waitpid(pid, 0)[1] == 0
    if before == "0":
        pytest.skip("this C library leaves nothing of its own ignored")
    assert after == "0"
