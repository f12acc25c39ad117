"""Descriptors that the service manager holds for us."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.system.fdstore import DescriptorStore
from supervisor.system.keeper import Keeper


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What a service manager listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.setblocking(False)
        yield made


def store(manager: socket.socket) -> DescriptorStore:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "FDSTORE": "100"}
    return DescriptorStore.from_environ(environ)


def heard(manager: socket.socket) -> tuple[bytes, list[int]]:
    text, fds, _, _ = socket.recv_fds(manager, 1000, 4)
    return text, fds


def test_without_a_store_nothing_is_sent(manager: socket.socket) -> None:
    for environ in (
        {},
        {"NOTIFY_SOCKET": manager.getsockname()},
        {"NOTIFY_SOCKET": manager.getsockname(), "FDSTORE": "0"},
    ):
        nobody = DescriptorStore.from_environ(environ)
        assert not nobody.active
        nobody.keep("web", 0)
        nobody.drop("web")
    assert not select.select([manager], [], [], 0)[0]


def test_what_is_in_a_pipe_outlives_its_readers_and_writers(manager: socket.socket) -> None:
    ours = store(manager)
    reader, writer = os.pipe()
    ours.keep("web", reader)
    os.write(writer, b"last words")
    os.close(reader)
    os.close(writer)
    text, (kept,) = heard(manager)
    assert text == b"FDSTORE=1\nFDNAME=web\nFDPOLL=0"
    assert os.read(kept, 100) == b"last words"
    os.close(kept)
    ours.drop("web")
    assert heard(manager) == (b"FDSTOREREMOVE=1\nFDNAME=web", [])
    ours.close()


def test_a_manager_that_is_slow_gets_everything_in_the_end(manager: socket.socket) -> None:
    ours = store(manager)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(2000):
        ours.drop(f"n{number}")
    names = []
    while select.select([manager], [], [], 0)[0]:
        names.append(heard(manager)[0].rpartition(b"=")[2])
        ours.flush()
    assert names == [b"n%d" % number for number in range(2000)]
    assert len(os.listdir("/proc/self/fd")) == before
    ours.close()


def test_a_manager_that_has_gone_is_no_error(tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "FDSTORE": "100"}
    ours = DescriptorStore.from_environ(environ)
    ours.keep("web", 1)
    ours.close()


def test_what_was_stored_comes_back_by_its_name_and_no_child_inherits_it() -> None:
    program = """
import os, sys
from supervisor.system.fdstore import DescriptorStore
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="web:other")
store = DescriptorStore.from_environ()
[(name, fd)] = store.taken("web")
assert list(store.taken("web")) == []
print(name, os.read(fd, 100), fd > 34, os.get_inheritable(fd), "LISTEN_FDS" in os.environ)
"""
    reader, writer = os.pipe()
    os.write(writer, b"hello")

    # What systemd does: the descriptors are 3 and 4.
    shell = f'exec 3<&{reader} 4</dev/null; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", shell, "bash", sys.executable, "-c", program],
        pass_fds=[reader],
        stdout=subprocess.PIPE,
        check=True,
    )
    assert done.stdout == b"web b'hello' True False False\n"
    os.close(reader)
    os.close(writer)


def test_those_of_another_process_are_left_alone() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "5"}
    assert list(DescriptorStore.from_environ(environ).taken("")) == []
    assert environ == {}


def test_the_last_words_of_a_child_that_ended_while_nobody_was_there_are_found(
    manager: socket.socket,
) -> None:
    place = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="piesd-test."))
    stores = store(manager), store(manager)
    keeper = Keeper(str(place), "web", store=stores[0])
    reader, writer = keeper.pipe("web.stdout")
    _, (kept,) = heard(manager)
    os.close(reader)
    os.write(writer, b"last words")
    os.close(writer)
    again = Keeper(str(place), "web", store=stores[1])
    reader, writer = again.pipe("web.stdout")
    assert os.read(reader, 100) == b"last words"
    heard(manager)
    again.forget("web.stdout")
    assert heard(manager)[0] == b"FDSTOREREMOVE=1\nFDNAME=output.web.stdout"
    for fd in (kept, reader, writer):
        os.close(fd)
    for each in (keeper, again, *stores):
        each.close()
    shutil.rmtree(place)
