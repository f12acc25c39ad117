"""Listeners among hostile clients, servers that die, and operators who do not look."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from piesd_process import PATIENCE, Piesd, piesd
from places import free_port

pytestmark = pytest.mark.real

STUCK = """
import os, socket, sys, time
client, _ = socket.socket(fileno=0).accept()
client.sendall(b"%d" % os.getpid())
time.sleep(1000)
"""
"""A server that takes one client, and no other for a long time."""

SERVING = """
import socket
listener = socket.socket(fileno=0)
while True:
    listener.accept()[0].sendall(b"served")
"""


def connected(address: str | int, *, source: str = "") -> socket.socket:
    client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    client.settimeout(PATIENCE)
    if source:
        client.bind((source, 0))
    client.connect(address if isinstance(address, str) else ("127.0.0.1", address))
    return client


def heard(client: socket.socket) -> bytes:
    with client:
        return b"".join(iter(lambda: client.recv(65536), b""))


def first_word(address: str) -> bytes:
    with connected(address) as client:
        return client.recv(6)


def listener(daemon: Piesd, tag: str) -> dict[str, Any]:
    return next(row for row in daemon.rows(tag) if "connections" in row)


# --- clients


def test_five_hundred_who_say_nothing_are_in_nobodys_way(home: Path) -> None:
    config = ""
    for service in ("echo", "tcpmux"):
        config += f"""
[component.{service}]
mode = "inetd"
internal = true
service = "{service}"
socket = "unix://{home}/{service}"
"""
    config += f"""
[component.word]
mode = "inetd"
socket = "unix://{home}/word"
command = "echo here"
[component.date]
mode = "inetd"
tcpmux-master = "tcpmux"
command = "echo never"
"""
    with piesd(home, config) as daemon, ExitStack() as silent:
        for service in ("echo", "tcpmux"):
            for _ in range(250):
                silent.enter_context(connected(f"{home}/{service}"))
        daemon.until(lambda: listener(daemon, "echo")["connections"] == 250, "250 who are served")
        with connected(f"{home}/echo") as client:
            client.sendall(b"there?")
            assert client.recv(100) == b"there?"
        with connected(f"{home}/tcpmux") as client:
            client.sendall(b"help\r\n")
            assert client.makefile("rb").read() == b"date\r\n"
        assert heard(connected(f"{home}/word")) == b"here\n"


def test_clients_that_break_off_in_every_way_leave_nothing_behind(home: Path) -> None:
    port = free_port()
    config = f"""
[component.cat]
mode = "inetd"
socket = "inet://127.0.0.1:{port}"
command = "cat"
"""
    with piesd(home, config) as daemon:
        with connected(port) as client:  # For what is opened once, at the first one.
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        daemon.until(lambda: listener(daemon, "cat")["connections"] == 0, "it has ended")
        before = psutil.Process(daemon.pid).num_fds()
        for how in ("reset", "half closed", "closed") * 20:
            client = connected(port)
            if how == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            elif how == "half closed":
                client.sendall(b"to the end")
                client.shutdown(socket.SHUT_WR)
                assert heard(client) == b"to the end"
            client.close()
        daemon.until(lambda: listener(daemon, "cat")["connections"] == 0, "all have ended")
        daemon.until(lambda: psutil.Process(daemon.pid).num_fds() <= before, "all is closed")


def test_a_name_server_that_does_not_answer_delays_those_alone_who_ask_it(home: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root may have another /etc/resolv.conf, with unshare")
    # Nobody else asks a name server at such an address of the loopback interface.
    own = f"127.{random.randrange(2, 255)}.{random.randrange(255)}.{random.randrange(1, 255)}"
    quick, slow = free_port(), free_port()
    (home / "resolv.conf").write_text(f"nameserver {own}\noptions timeout:30 attempts:5\n")
    (home / "nsswitch.conf").write_text("hosts: files dns\n")
    words = " && ".join(f'mount --bind "$0/{n}" /etc/{n}' for n in ("resolv.conf", "nsswitch.conf"))
    wrapper = ("unshare", "--mount", "sh", "-c", f'{words} && exec "$@"', str(home))
    config = "".join(
        f"""
[component.{tag}]
mode = "inetd"
socket = "inet://127.0.0.1:{port}"
command = "echo $REMOTEIP $REMOTEHOST"
shell = true
sockenv = true
resolve = {resolve}
"""
        for tag, port, resolve in (("quick", quick, "false"), ("slow", slow, "true"))
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, ExitStack() as stack:
        silent.bind((own, 53))
        with piesd(home, config, wrapper=wrapper):
            begun = time.monotonic()
            # More than there are threads for that.
            asking = [stack.enter_context(connected(slow, source=own)) for _ in range(20)]
            silent.settimeout(PATIENCE)
            assert b"in-addr" in silent.recv(512)
            assert heard(connected(quick, source=own)) == f"{own}\n".encode()
            # Nobody who asks has been answered: nobody's time is over.
            assert select.select(asking, [], [], 0)[0] == [] or time.monotonic() - begun > 1.5
            assert {heard(client) for client in asking} == {f"{own}\n".encode()}


# --- servers


def test_who_waits_is_served_by_the_next_when_a_server_is_killed(home: Path) -> None:
    (home / "stuck.py").write_text(STUCK)
    config = f"""
[component.stuck]
mode = "inetd"
wait = true
socket = "unix://{home}/s"
command = ["{sys.executable}", "{home}/stuck.py"]
"""
    with piesd(home, config), ExitStack() as stack:
        waiting = [stack.enter_context(connected(f"{home}/s")) for _ in range(4)]
        pids = []
        for client in waiting:
            pids.append(int(client.recv(100)))
            os.kill(pids[-1], signal.SIGKILL)
        assert len(set(pids)) == 4


# --- operators


@pytest.mark.parametrize("by", ["nothing", "another socket"])
def test_a_socket_whose_file_was_taken_away_is_there_again_after_a_restart(
    home: Path, by: str
) -> None:
    (home / "serving.py").write_text(SERVING)
    config = "".join(
        f"""
[component.{mode}]
mode = "{mode}"
socket = "unix://{home}/{mode}"
command = {command}
"""
        for mode, command in (
            ("inetd", '["printf", "served"]'),
            ("accept", f'["{sys.executable}", "{home}/serving.py"]'),
        )
    )
    with piesd(home, config) as daemon:
        for mode in ("inetd", "accept"):
            assert first_word(f"{home}/{mode}") == b"served"
            (home / mode).unlink()
            if by == "another socket":
                with socket.socket(socket.AF_UNIX) as stale:
                    stale.bind(f"{home}/{mode}")
            daemon.piesctl("restart", mode)
            assert first_word(f"{home}/{mode}") == b"served"
