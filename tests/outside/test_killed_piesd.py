"""A piesd that is killed costs nothing: the next one goes on where it stopped."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from piesd_process import Piesd, alive, marked, piesd, with_marker
from supervisor.system.ledgerfile import read_records

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("nothing_is_left")]


def pids(daemon: Piesd) -> dict[str, int]:
    """Return the PID of everything that runs, by tag."""
    return {row["tag"]: row["PID"] for row in daemon.rows() if row.get("PID")}


def counters(daemon: Piesd) -> dict[str, tuple[Any, ...]]:
    names = ("status", "restarts", "active", "last-exit")
    return {row["tag"]: tuple(row.get(name) for name in names) for row in daemon.rows()}


MANY = """
[component.a]
command = "sleep 1000000"
[component.b]
command = "sleep 1000001"
prerequisites = ["a"]
[component.stopped]
command = "sleep 1000002"
[component.failing]
command = "false"
respawn = { max = 3, sleep = 1000 }
[component.done]
mode = "once"
command = "true"
[component.first]
mode = "startup"
command = "true"
[component.kept-down]
command = "sleep 1000003"
enabled = false
[component.group]
shell = true
command = "setsid sleep 1000004 & exec sleep 1000005"
"""


def test_nothing_is_started_ended_or_forgotten(tmp_path: Path) -> None:
    with piesd(tmp_path, marked(tmp_path, MANY)) as daemon:
        daemon.until_status("failing", "sleeping")
        daemon.until_status("done", "finished")
        daemon.until_status("b", "running")
        os.kill(daemon.row("b")["PID"], signal.SIGKILL)
        daemon.until(lambda: daemon.row("b")["restarts"] == 1)
        daemon.order("DELETE", {"op": "tag", "arg": "stopped"})
        before, known = pids(daemon), counters(daemon)
        processes = set(with_marker(f"DAY={tmp_path}"))
        daemon.kill()
        assert set(with_marker(f"DAY={tmp_path}")) == processes
        daemon.again()
        assert pids(daemon) == before
        assert counters(daemon) == known
        assert "was stopped by" in daemon.piesctl("why", "stopped")
        assert set(with_marker(f"DAY={tmp_path}")) == processes
        # It is a supervisor as ever: it sees ends, and how they were, and restarts.
        os.kill(before["a"], signal.SIGTERM)
        daemon.until(lambda: daemon.row("a")["restarts"] == 1 and daemon.row("b").get("PID"))
        if tells_ends():
            assert daemon.row("a")["last-exit"]["signal"] == "SIGTERM"
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_end() == 0
        assert with_marker(f"DAY={tmp_path}") == []
        assert not (tmp_path / "run" / "piesd.ledger").exists()


def tells_ends() -> bool:
    """Whether this kernel tells how a process has ended that is nobody's child here."""
    release = tuple(int(number) for number in os.uname().release.split(".")[:2])
    return release >= (6, 15)


def test_what_died_meanwhile_is_started_again_and_the_rest_of_it_is_brought_down(
    tmp_path: Path,
) -> None:
    config = """
[component.a]
command = "sleep 1000000"
[component.b]
command = "sleep 1000001"
prerequisites = ["a"]
[component.group]
shell = true
command = "setsid sleep 1000002 & exec sleep 1000003"
[component.job]
mode = "once"
command = "sleep 1000004"
"""
    with piesd(tmp_path, marked(tmp_path, config)) as daemon:
        daemon.until_status("b", "running")
        before = pids(daemon)
        daemon.kill()
        for tag in ("a", "group", "job"):
            os.kill(before[tag], signal.SIGKILL)
        left = [pid for pid in with_marker(f"DAY={tmp_path}") if pid != before["b"]]
        daemon.again()
        daemon.until(lambda: daemon.row("a")["restarts"] == 1 and daemon.row("b").get("PID"))
        assert not alive(before["b"])  # What it needs had gone.
        daemon.until(lambda: daemon.row("group")["restarts"] == 1)
        assert not any(map(alive, left))
        assert daemon.row("job")["status"] == "finished"
        assert daemon.row("job")["last-exit"]["stage"] == "unobserved"
        assert "nobody knows how" in daemon.piesctl("why", "job")


def test_a_changed_configuration_is_a_reload(tmp_path: Path) -> None:
    config = '[component.{tag}]\ncommand = "sleep {number}"\n'
    same = config.format(tag="same", number=1000000)
    before = same + config.format(tag="gone", number=1000001)
    before += config.format(tag="changed", number=1000002)
    with piesd(tmp_path, marked(tmp_path, before)) as daemon:
        was = pids(daemon)
        daemon.kill()
        after = config.format(tag="new", number=1000003)
        after += config.format(tag="changed", number=1000004) + same
        daemon.write(marked(tmp_path, after))
        daemon.again()
        daemon.until(lambda: pids(daemon).keys() == {"new", "changed", "same"})
        assert daemon.row("same")["PID"] == was["same"]
        daemon.until(lambda: not alive(was["gone"]) and not alive(was["changed"]))


def test_clients_are_served_on_and_servers_keep_their_sockets(tmp_path: Path) -> None:
    served = """
import socket, sys
listener = socket.socket(fileno=0)
while True:
    client, _ = listener.accept()
    client.sendall(b"here")
    client.close()
"""
    (tmp_path / "serve.py").write_text(served)
    config = f"""
[component.echo]
mode = "inetd"
command = "cat"
socket = "unix://{tmp_path}/echo.sock"
[component.owner]
mode = "accept"
command = "{sys.executable} {tmp_path}/serve.py"
socket = "unix://{tmp_path}/owner.sock"
[component.waiting]
mode = "inetd"
wait = true
command = "{sys.executable} {tmp_path}/serve.py"
socket = "unix://{tmp_path}/waiting.sock"
"""
    with piesd(tmp_path, marked(tmp_path, config)) as daemon:
        client = connect(tmp_path / "echo.sock")
        client.sendall(b"one")
        assert client.recv(3) == b"one"
        daemon.until_status("owner", "running")
        for name in ("owner", "waiting"):
            assert ask(tmp_path / f"{name}.sock") == b"here"
        before = sorted(row["PID"] for row in daemon.rows() if row.get("PID"))
        places = [(tmp_path / f"{name}.sock").stat().st_ino for name in ("owner", "waiting")]
        daemon.kill()
        # Whoever has the socket goes on serving.
        assert ask(tmp_path / "owner.sock") == b"here"
        daemon.again()
        client.sendall(b"two")
        assert client.recv(3) == b"two"
        assert sorted(row["PID"] for row in daemon.rows() if row.get("PID")) == before
        for name in ("owner", "waiting"):
            assert ask(tmp_path / f"{name}.sock") == b"here"
        fresh = connect(tmp_path / "echo.sock")
        fresh.sendall(b"new")
        assert fresh.recv(3) == b"new"
        client.close()
        daemon.until(lambda: len(daemon.rows("echo")) == 2)
        fresh.close()
        if os.geteuid() == 0:  # Copies of their sockets need the right to trace.
            now = [(tmp_path / f"{name}.sock").stat().st_ino for name in ("owner", "waiting")]
            assert now == places
            daemon.order("POST", {"op": "tag", "arg": "owner"})
            assert ask(tmp_path / "owner.sock") == b"here"
        # The end of a server gives the listener back.
        server = next(row["PID"] for row in daemon.rows("waiting") if row.get("PID"))
        os.kill(server, signal.SIGKILL)
        daemon.until(lambda: not alive(server))
        assert ask(tmp_path / "waiting.sock") == b"here"


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(str(path))
    return client


def ask(path: Path) -> bytes:
    with connect(path) as client:
        return client.recv(100)


def test_what_was_going_down_goes_down(tmp_path: Path) -> None:
    config = """
[component.deaf]
shell = true
command = "trap '' TERM; echo deaf; while :; do sleep 1; done"
stop-timeout = 2
"""
    with piesd(tmp_path, marked(tmp_path, config)) as daemon:
        daemon.until(lambda: "deaf" in daemon.log)
        pid = daemon.row("deaf")["PID"]
        daemon.order("DELETE", True, None)
        daemon.until_status("deaf", "stopping")
        daemon.kill()
        daemon.again()
        daemon.until_status("deaf", "stopped")
        assert not alive(pid)
        assert with_marker(f"DAY={tmp_path}") == []


def test_a_child_says_that_it_is_ready_to_whoever_is_there(tmp_path: Path) -> None:
    (tmp_path / "ready.py").write_text(f"""
import os, socket, time
while not os.path.exists({str(tmp_path / "go")!r}):
    time.sleep(0.01)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
    told.connect(os.environ["NOTIFY_SOCKET"])
    told.send(b"READY=1")
time.sleep(1000000)
""")
    config = f"""
[component.slow]
command = "{sys.executable} {tmp_path}/ready.py"
ready = "notify"
[component.needs]
command = "sleep 1000000"
prerequisites = ["slow"]
"""
    with piesd(tmp_path, marked(tmp_path, config)) as daemon:
        daemon.until_status("slow", "running")
        pid = daemon.row("slow")["PID"]
        daemon.kill()
        daemon.again()
        assert "not ready" in daemon.piesctl("why", "needs")
        (tmp_path / "go").touch()
        daemon.until_status("needs", "running")
        assert daemon.row("slow")["PID"] == pid


def test_leftovers_are_stopped_first_where_that_is_asked(tmp_path: Path) -> None:
    config = """
[component.first]
mode = "startup"
command = "true"
[component.a]
command = "sleep 1000000"
[component.b]
command = "sleep 1000001"
prerequisites = ["a"]
"""
    with piesd(tmp_path, marked(tmp_path, config)) as daemon:
        daemon.until_status("b", "running")
        before = pids(daemon)
        daemon.kill()
        daemon.again("--adopt=no")
        daemon.until_status("b", "running")
        assert not any(map(alive, before.values()))
        assert daemon.row("a")["restarts"] == 0
        assert daemon.row("first")["status"] == "finished"
        assert daemon.log.count("'first' started") == 2
        assert daemon.log.index("'b' stopped") < daemon.log.index("'a' stopped")


def test_a_ledger_that_cannot_be_understood_is_named_and_nothing_is_started(
    tmp_path: Path,
) -> None:
    config = marked(tmp_path, '[component.a]\ncommand = "sleep 1000000"\n')
    with piesd(tmp_path, config) as daemon:
        daemon.until_status("a", "running")
        before = with_marker(f"DAY={tmp_path}")
        daemon.kill()
        ledger = tmp_path / "run" / "piesd.ledger"
        whole = ledger.read_bytes()
        record = b"\x91\xc0"
        ledger.write_bytes(framed(record))
        daemon._begin()
        assert daemon.wait_end() == 69
        assert str(ledger) in daemon.log
        assert with_marker(f"DAY={tmp_path}") == before
        ledger.write_bytes(whole)
        daemon.again()
        assert [daemon.row("a")["PID"]] == before


def framed(record: bytes) -> bytes:
    return struct.pack("<II", len(record), zlib.crc32(record)) + record


def test_a_check_that_nobody_waits_for_any_more_is_ended(tmp_path: Path) -> None:
    config = """
[component.a]
command = "sleep 1000000"
health = { exec = ["sleep", "1000001"], interval = 0.1, timeout = 1000 }
"""
    with piesd(tmp_path, marked(tmp_path, config)) as daemon:
        daemon.until(lambda: len(with_marker(f"DAY={tmp_path}")) == 2)
        pid = daemon.row("a")["PID"]
        (check,) = set(with_marker(f"DAY={tmp_path}")) - {pid}
        daemon.kill()
        daemon.again()
        assert daemon.row("a")["PID"] == pid
        daemon.until(lambda: not alive(check))
        daemon.until(lambda: len(with_marker(f"DAY={tmp_path}")) == 2)  # Another one.


def test_nobody_else_is_taken_for_a_child(tmp_path: Path) -> None:
    """A number that somebody else has now means nobody, and gets no signal."""
    with piesd(tmp_path, marked(tmp_path, '[component.a]\ncommand = "sleep 1000000"\n')) as daemon:
        daemon.until_status("a", "running")
        pid = daemon.row("a")["PID"]
        daemon.kill()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        ledger = tmp_path / "run" / "piesd.ledger"
        with subprocess.Popen(["sleep", "1000002"], start_new_session=True) as other:
            try:
                # The ledger says that this was the child.
                record = ledger.read_bytes()
                assert record.count(number(pid)) >= 1
                assert len(number(pid)) == len(number(other.pid))
                rewrite(ledger, number(pid), number(other.pid))
                daemon.again()
                daemon.until(lambda: daemon.row("a")["restarts"] == 1)
                assert daemon.row("a")["PID"] != other.pid
                daemon.order("DELETE", True)
                assert other.poll() is None
            finally:
                other.kill()


def number(pid: int) -> bytes:
    """Return how the ledger has the PID: MessagePack."""
    packed: bytes = msgspec.msgpack.encode({"pid": pid})
    return packed[1:]


def rewrite(ledger: Path, old: bytes, new: bytes) -> None:
    records = [record.replace(old, new) for record in read_records(str(ledger))]
    ledger.write_bytes(b"".join(map(framed, records)))


def test_there_are_fewer_descriptors_than_children_and_none_of_these_is_lost(
    tmp_path: Path,
) -> None:
    """Of each child there should be a descriptor, and there cannot be one of each here."""
    count = 60
    config = "".join(
        f'[component.c{number}]\ncommand = "sleep 1000000"\nrespawn = {{ max = 1000 }}\n'
        for number in range(count)
    )
    with piesd(tmp_path, marked(tmp_path, config)) as daemon:
        daemon.until(lambda: len(pids(daemon)) == count)
        before = pids(daemon)
        daemon.kill()
        daemon.again(wrapper=("prlimit", "--nofile=110:110"))
        assert pids(daemon) == before
        for victim in (before["c0"], before[f"c{count - 1}"]):
            os.kill(victim, signal.SIGKILL)
        daemon.until(lambda: daemon.row("c0")["restarts"] == 1)
        daemon.until(lambda: daemon.row(f"c{count - 1}")["restarts"] == 1)
        assert daemon.order("DELETE", True).json == {"status": "OK"}
        assert with_marker(f"DAY={tmp_path}") == []
        assert "this is a bug" not in daemon.log, daemon.log
