"""Servers that own a listening socket, and clients behind a balancer, all from Debian."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import socket_clients as clients
from piesd_process import PATIENCE, Piesd, alive, piesd
from places import free_port
from real_programs import executable

pytestmark = [pytest.mark.real, pytest.mark.slow]


def script(home: Path, name: str, text: str) -> str:
    """Write a Python program; return the words that run it, for a configuration."""
    (home / name).write_text(dedent(text))
    return f'["{sys.executable}", "{home}/{name}"]'


def kill(daemon: Piesd, pid: int) -> None:
    """Kill a server that accepts itself; what it has accepted at that moment goes with it."""
    os.kill(pid, signal.SIGKILL)
    daemon.until(lambda: not alive(pid))


# --- datagrams


@pytest.mark.skipif(os.geteuid() != 0, reason="in.tftpd must be root to become nobody")
@clients.needs("in.tftpd", "tftp")
def test_tftpd_waits_is_killed_becomes_idle_and_is_there_for_the_next(home: Path) -> None:
    port = free_port(kind=socket.SOCK_DGRAM)
    content = clients.something_big(home / "file", 2 << 20)
    (home / "file").chmod(0o644)
    config = f"""
[component.tftp]
mode = "inetd"
wait = true
socket = "inet+udp://127.0.0.1:{port}"
command = ["{executable("in.tftpd")}", "--secure", "{home}"]
"""

    def get() -> None:
        (home / "got").unlink(missing_ok=True)
        clients.run("tftp", "-m", "binary", "127.0.0.1", port, "-c", "get", "file", home / "got")
        assert clients.digest(home / "got") == content

    with piesd(home, config + clients.OTHER.format(seconds=1000000)) as daemon:
        get()
        first = clients.one_server(daemon, "tftp")
        get()
        assert clients.servers(daemon, "tftp") == [first]
        get_again = ("tftp", "-m", "binary", "127.0.0.1", port, "-c", "get", "file", home / "got")
        (home / "got").unlink()
        with clients.running(*get_again) as client:
            daemon.until(lambda: (home / "got").exists() and (home / "got").stat().st_size)
            with clients.held(client):
                changed = clients.reload_with(daemon, config + clients.OTHER.format(seconds=999999))
                assert changed == [("other", "restart")]
            assert client.wait(PATIENCE) == 0
        assert clients.digest(home / "got") == content
        assert clients.servers(daemon, "tftp") == [first]
        os.kill(first, signal.SIGKILL)
        daemon.until(lambda: not clients.servers(daemon, "tftp"))
        get()
        assert clients.one_server(daemon, "tftp") != first
        daemon.piesctl("stop", "tftp")
        daemon.piesctl("start", "tftp")
        get()
        # Nobody needs it any more: it goes, and comes back for the next.
        changed = clients.reload_with(daemon, f"{config}idle-stop = 0.2\n")
        assert ("tftp", "live") in changed
        daemon.until(lambda: not clients.servers(daemon, "tftp"))
        daemon.until(lambda: "is stopping: idle for 0.2 s" in daemon.log)
        get()


# --- LISTEN_FDS


@clients.needs("uuidd")
def test_uuidd_takes_its_socket_from_listen_fds_and_comes_and_goes_with_its_clients(
    home: Path,
) -> None:
    place = home / "uuidd.socket"
    config = f"""
[component.uuidd]
mode = "accept"
listen-fds = true
socket = "unix://{place}"
command = ["{executable("uuidd")}", "--socket-activation", "--no-pid", "--debug", "--no-fork"]
stdout = "null"
stderr = "null"
idle-stop = 900
"""
    ask = (executable("uuidd"), "-r", "-s", place)
    with piesd(home, config) as daemon:
        assert clients.servers(daemon, "uuidd") == []
        assert len(clients.run(*ask).split()[-1]) == 36
        pid = clients.one_server(daemon, "uuidd")
        os.kill(pid, signal.SIGKILL)
        daemon.until(lambda: pid not in clients.servers(daemon, "uuidd"))
        assert len(clients.run(*ask).split()[-1]) == 36
        assert clients.reload_with(daemon, config.replace("900", "0.3")) == [("uuidd", "live")]
        daemon.until(lambda: not clients.servers(daemon, "uuidd"))
        row = daemon.row("uuidd")
        assert row["last-exit"]["message"] == "idle for 0.3 s; the next connection starts it"
        assert len(clients.run(*ask).split()[-1]) == 36
        clients.stop_and_start(daemon, "uuidd", lambda: not place.exists())
        assert len(clients.run(*ask).split()[-1]) == 36


BY_NAMES = """
    import os, selectors, socket

    assert int(os.environ["LISTEN_PID"]) == os.getpid()
    count = int(os.environ["LISTEN_FDS"])
    names = os.environ["LISTEN_FDNAMES"].split(":")
    assert len(names) == count
    waiting = selectors.DefaultSelector()
    for number, name in enumerate(names, 3):
        listener = socket.socket(fileno=number)
        listener.setblocking(False)
        waiting.register(listener, selectors.EVENT_READ, name)
    while True:
        for key, _ in waiting.select():
            try:
                client, _ = key.fileobj.accept()
            except BlockingIOError:
                continue
            client.setblocking(True)
            client.sendall(f"{key.data} {os.getpid()}".encode())
            client.close()
"""


def hear(family: int, place: object) -> list[str]:
    with socket.socket(family) as client:
        client.settimeout(PATIENCE)
        client.connect(place)  # type: ignore[arg-type]  # of that family
        return b"".join(iter(lambda: client.recv(99), b"")).decode().split()


def test_a_server_gets_all_its_sockets_under_their_names_and_keeps_them_through_all(
    home: Path,
) -> None:
    one, two, path = free_port(), free_port(), home / "three"
    config = f"""
[component.web]
mode = "accept"
listen-fds = true
socket = ["inet://127.0.0.1:{one}", "inet6://[::1]:{two}", "unix://{path};mode=600"]
socket-names = ["plain", "six", "local"]
command = {script(home, "names.py", BY_NAMES)}
"""
    places = (
        ("plain", socket.AF_INET, ("127.0.0.1", one)),
        ("six", socket.AF_INET6, ("::1", two)),
        ("local", socket.AF_UNIX, str(path)),
    )
    with piesd(home, config + clients.OTHER.format(seconds=1000000)) as daemon:
        pid = daemon.until_status("web", "running")["PID"]
        for name, family, place in places:
            assert hear(family, place) == [name, str(pid)]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        clients.reload_with(daemon, config + clients.OTHER.format(seconds=999999))
        assert hear(*places[0][1:]) == ["plain", str(pid)]
        # A client that comes while there is no server waits for the next one.
        kill(daemon, pid)
        for name, family, place in places:
            told, after = hear(family, place)
            assert told == name
            assert after != str(pid)
        # The same of a reload that replaces the server.
        words = config.replace("names.py", "other.py")
        script(home, "other.py", BY_NAMES)
        assert ("web", "restart") in clients.reload_with(daemon, words)
        assert hear(*places[0][1:])[0] == "plain"
        clients.stop_and_start(daemon, "web", lambda: clients.refuses(one))
        assert hear(*places[0][1:])[0] == "plain"


# --- pass-fd

TAKES = """
    import array, os, socket

    own = socket.socket(socket.AF_UNIX)
    if os.path.exists("own"):
        os.unlink("own")
    own.bind("own")
    own.listen()
    giver, _ = own.accept()
    _, given, _, _ = giver.recvmsg(100, socket.CMSG_SPACE(4))
    listener = socket.socket(fileno=array.array("i", given[0][2][:4])[0])
    while True:
        client, _ = listener.accept()
        client.sendall(f"taken {os.getpid()}".encode())
        client.close()
"""


def test_a_program_takes_its_socket_by_its_own_one_again_after_each_kill(home: Path) -> None:
    port = free_port()
    config = f"""
[component.taker]
mode = "pass-fd"
socket = "inet://127.0.0.1:{port}"
chdir = "{home}"
pass-fd-socket = "own"
command = {script(home, "takes.py", TAKES)}
"""
    place = ("127.0.0.1", port)
    with piesd(home, config + clients.OTHER.format(seconds=1000000)) as daemon:
        daemon.until(lambda: daemon.row("taker")["ready"])
        pid = daemon.row("taker")["PID"]
        assert hear(socket.AF_INET, place) == ["taken", str(pid)]
        clients.reload_with(daemon, config + clients.OTHER.format(seconds=999999))
        assert hear(socket.AF_INET, place) == ["taken", str(pid)]
        kill(daemon, pid)
        word, after = hear(socket.AF_INET, place)
        assert word == "taken"
        assert after != str(pid)
        clients.stop_and_start(daemon, "taker", lambda: clients.refuses(port))
        assert hear(socket.AF_INET, place)[0] == "taken"


# --- packets, and what a balancer says


BACKWARDS = """
    import os

    while packet := os.read(0, 99):
        os.write(1, packet[::-1])
"""


@clients.needs("socat")
def test_socat_exchanges_packets_whose_ends_are_kept(home: Path) -> None:
    place = home / "packets"
    config = f"""
[component.packets]
mode = "inetd"
socket = "unix://{place}"
socket-type = "seqpacket"
command = {script(home, "back.py", BACKWARDS)}
"""
    with piesd(home, config) as daemon:
        # socat sends a packet for each read; its answer comes back as one.
        assert (
            clients.run("socat", "-t", "9", "-", f"UNIX-CONNECT:{place},type=5", text="abc")
            == "cba"
        )
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.settimeout(PATIENCE)
            client.connect(str(place))
            client.send(b"one")
            client.send(b"two")
            assert (client.recv(99), client.recv(99)) == (b"eno", b"owt")
            os.kill(clients.one_server(daemon, "packets"), signal.SIGKILL)
            assert client.recv(99) == b""


def behind(port: int, more: str = "") -> str:
    return f"""
[component.who]
mode = "inetd"
socket = "inet://127.0.0.1:{port}"
command = "read x; echo $REMOTEIP $REMOTEPORT $LOCALIP:$x"
shell = true
sockenv = true
proxy-protocol = true
acl = ["deny all from 127.0.0.3", "allow all"]
access-denied-message = "not you\\n"
{more}
"""


@clients.needs("socat")
def test_a_header_of_the_proxy_protocol_by_hand_is_believed(home: Path) -> None:
    port = free_port()
    with piesd(home, behind(port)):
        said = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\nhello\n"
        told = clients.run("socat", "-t", "9", "-", f"TCP:127.0.0.1:{port}", text=said)
        assert told == "192.0.2.7 4711 127.0.0.1:hello\n"
        said = "PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\nhello\n"
        told = clients.run("socat", "-t", "9", "-", f"TCP:127.0.0.1:{port}", text=said)
        assert told == "2001:db8::7 4711 127.0.0.1:hello\n"
        assert (
            clients.run("socat", "-t", "9", "-", f"TCP:127.0.0.1:{port}", text="GET /", code=None)
            == ""
        )


@clients.needs("haproxy")
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_behind_a_real_haproxy_the_client_is_known_and_the_acl_is_about_it(
    home: Path, version: str
) -> None:
    front, back = free_port(), free_port()
    (home / "haproxy.cfg").write_text(
        "defaults\n  mode tcp\n  timeout connect 9s\n  timeout client 30s\n  timeout server 30s\n"
        f"listen front\n  bind 127.0.0.1:{front}\n  server us 127.0.0.1:{back} {version}\n"
    )
    balancer = f"""
[component.haproxy]
command = ["{executable("haproxy")}", "-db", "-f", "{home}/haproxy.cfg"]
stderr = "null"
prerequisites = ["who"]
"""
    with piesd(home, behind(back) + balancer) as daemon:
        daemon.until(lambda: not clients.refuses(front))
        assert _through(front, "127.0.0.1")[0] == "127.0.0.1"
        address, _, rest = _through(front, "127.0.0.2")
        assert (address, rest) == ("127.0.0.2", "127.0.0.1:hello")
        assert _through(front, "127.0.0.3") == ["not", "you"]
        daemon.until(lambda: "refused a connection from 127.0.0.3:" in daemon.log)
        before = daemon.row("haproxy")["PID"]
        kill(daemon, before)
        daemon.until(lambda: daemon.row("haproxy").get("PID") not in (None, before))
        daemon.until(lambda: not clients.refuses(front))
        assert _through(front, "127.0.0.2")[0] == "127.0.0.2"


def _through(port: int, source: str) -> list[str]:
    with socket.socket() as client:
        client.settimeout(PATIENCE)
        client.bind((source, 0))
        client.connect(("127.0.0.1", port))
        client.sendall(b"hello\n")
        return b"".join(iter(lambda: client.recv(99), b"")).decode().split()
