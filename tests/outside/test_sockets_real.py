"""Sockets for components, served by a real piesd and used by real clients."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from piesd_process import PATIENCE, piesd
from places import free_port

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another")
SERVER = """
import os, signal, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
ended = []
signal.signal(signal.SIGTERM, lambda *_: (ended.append(1), listener.settimeout(0.001)))
listener.settimeout(0.1)
while not ended:
    try:
        client, _ = listener.accept()
    except TimeoutError:
        continue
    client.sendall(b"%s %d" % (sys.argv[2].encode(), os.getpid()))
    client.close()
"""
"""A server that accepts at a descriptor, answers with a word and its PID, and ends as it should."""

TAKER = """
import os, socket, sys
own = socket.socket(socket.AF_UNIX)
own.bind(sys.argv[1])
own.listen()
other, _ = own.accept()
_, (fd,), _, _ = socket.recv_fds(other, 16, 1)
listener = socket.socket(fileno=fd)
while True:
    client, _ = listener.accept()
    client.sendall(b"passed")
    client.close()
"""


def connect(address: Any, kind: int = socket.SOCK_STREAM) -> socket.socket:
    if isinstance(address, tuple):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    else:
        family = socket.AF_UNIX
    client = socket.socket(family, kind)
    client.settimeout(PATIENCE)
    client.connect(address)
    return client


def hear(client: socket.socket) -> bytes:
    """Return all that the other end says, and close."""
    with client:
        heard = b""
        while data := client.recv(65536):
            heard += data
        return heard


def said(address: object, kind: int = socket.SOCK_STREAM) -> bytes:
    return hear(connect(address, kind))


def table(tag: str, url: str, command: str, *lines: str, mode: str = "inetd") -> str:
    more = "".join(f"{line}\n" for line in lines)
    return f'[component.{tag}]\nmode = "{mode}"\nsocket = "{url}"\ncommand = {command}\n{more}'


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "taker.py").write_text(TAKER)
    return tmp_path


def server(home: Path, word: str = "here", fd: int = 0) -> str:
    return f'["{sys.executable}", "{home}/server.py", "{fd}", "{word}"]'


# --- every kind


def test_every_kind_of_socket_serves_and_hands_over(files: Path) -> None:
    four, six = free_port(), free_port("::1")
    name = f"@piesd-test-{os.getpid()}"
    config = "".join(
        (
            table("four", f"inet://127.0.0.1:{four}", '"echo four"'),
            table("six", f"inet://[::1]:{six}", '"echo six"'),
            table("file", f"unix://{files}/file", '"echo file"'),
            table("abstract", f"unix://{name}", '"echo abstract"'),
            table(
                "packets", f"unix://{files}/packets", '"echo packets"', 'socket-type = "seqpacket"'
            ),
            table("owned", f"unix://{files}/owned", server(files, "owned"), "wait = true"),
            table("server", f"unix://{files}/server", server(files, "server"), mode="accept"),
            table(
                "demand",
                f"unix://{files}/demand",
                server(files, "demand"),
                "on-demand = true",
                mode="accept",
            ),
            table(
                "passed",
                f"unix://{files}/passed",
                f'["{sys.executable}", "{files}/taker.py", "{files}/own"]',
                f'pass-fd-socket = "{files}/own"',
                mode="pass-fd",
            ),
        )
    )
    with piesd(files, config) as daemon:
        assert said(("127.0.0.1", four)) == b"four\n"
        assert said(("::1", six)) == b"six\n"
        assert said(str(files / "file")) == b"file\n"
        assert said(f"\0{name[1:]}") == b"abstract\n"
        assert said(str(files / "packets"), socket.SOCK_SEQPACKET) == b"packets\n"
        assert said(str(files / "server")).startswith(b"server ")
        assert said(str(files / "passed")) == b"passed"
        for tag in ("owned", "demand"):
            first, second = (said(str(files / tag)) for _ in range(2))
            assert first == second
            assert first.startswith(tag.encode())
        assert daemon.until_status("passed", "running")


def test_a_datagram_is_for_a_server_that_takes_it(tmp_path: Path) -> None:
    port = free_port(kind=socket.SOCK_DGRAM)
    script = tmp_path / "answer.py"
    script.write_text(
        "import socket\n"
        "s = socket.socket(fileno=0)\n"
        "data, peer = s.recvfrom(100)\n"
        "s.sendto(data.upper(), peer)\n"
    )
    command = f'["{sys.executable}", "{script}"]'
    config = table("up", f"inet+udp://127.0.0.1:{port}", command, "wait = true")
    config += table("un", f"unix://{tmp_path}/un", command, "wait = true", 'socket-type = "dgram"')
    with piesd(tmp_path, config):
        for text in (b"one", b"two"):
            with connect(("127.0.0.1", port), socket.SOCK_DGRAM) as client:
                client.send(text)
                assert client.recv(100) == text.upper()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.bind(str(tmp_path / "me"))
            client.sendto(b"three", str(tmp_path / "un"))
            assert client.recv(100) == b"THREE"


def test_one_component_may_have_several_sockets(tmp_path: Path) -> None:
    port = free_port()
    urls = f'["inet://127.0.0.1:{port}", "unix://{tmp_path}/s"]'
    config = table("both", "X", '"echo both"').replace('"X"', urls)
    with piesd(tmp_path, config) as daemon:
        assert said(("127.0.0.1", port)) == said(str(tmp_path / "s")) == b"both\n"
        # Whoever served the last client may not have been missed yet.
        (listener,) = [row for row in daemon.rows("both") if row["status"] == "listener"]
        assert len(listener["sockets"]) == 2


def test_a_server_that_was_killed_gives_the_listener_back(files: Path) -> None:
    config = table("owned", f"unix://{files}/s", server(files), "wait = true")
    with piesd(files, config) as daemon:
        for _ in range(3):
            pid = int(said(str(files / "s")).split()[1])
            gone = psutil.Process(pid)
            os.kill(pid, signal.SIGKILL)
            gone.wait(PATIENCE)
        assert said(str(files / "s"))
        assert len([row for row in daemon.rows("owned") if row["status"] == "running"]) == 1


# --- LISTEN_FDS

HANDED = """
import os, socket, sys
assert os.environ["LISTEN_PID"] == str(os.getpid()), os.environ["LISTEN_PID"]
count = int(os.environ["LISTEN_FDS"])
names = os.environ["LISTEN_FDNAMES"].split(":")
assert len(names) == count, names
listeners = [socket.socket(fileno=fd) for fd in range(3, 3 + count)]
assert all(each.getblocking() for each in listeners)
while True:
    client, _ = listeners[-1].accept()
    client.sendall(b"%d %s %d" % (count, names[-1].encode(), os.getuid()))
    client.close()
"""


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs a Python for everybody")
@pytest.mark.parametrize("count", [1, 32])
@pytest.mark.parametrize(
    ("mode", "more"),
    [
        ("accept", ""),
        ("inetd", "wait = true"),
        ("accept", "limits = { nofile = 100 }\noom-score-adj = 500"),
        pytest.param("accept", 'user = "nobody"', marks=needs_root),
        pytest.param("accept", 'user = "nobody"\nlimits = { nofile = 100 }', marks=needs_root),
    ],
)
def test_a_program_that_goes_by_listen_fds_is_served(
    tmp_path: Path, count: int, more: str, mode: str
) -> None:
    urls = [f"unix://{tmp_path}/{n}" for n in range(count)]
    names = [f"n{n}" for n in range(count)]
    lines = [f"socket-names = {names}".replace("'", '"'), "listen-fds = true", more]
    command = f'["/usr/bin/python3", "-c", {json.dumps(HANDED)}]'
    config = table("many", "X", command, *lines, mode=mode)
    config = config.replace('"X"', str(urls).replace("'", '"'))
    with piesd(tmp_path, config):
        uid = 65534 if "nobody" in more else os.getuid()
        expected = f"{count} n{count - 1} {uid}".encode()
        assert said(str(tmp_path / str(count - 1))) == expected


@needs_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs a Python for everybody")
def test_listen_fds_need_no_right_over_other_users_processes(tmp_path: Path) -> None:
    # As root is in a container: the capability is not there to be had.
    less = ("setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace")
    command = f'["/usr/bin/python3", "-c", {json.dumps(HANDED)}]'
    lines = ("listen-fds = true", 'user = "nobody"', "instances = 12")
    url = f"unix://{tmp_path}/${{instance}}"
    config = table("one", url, command, *lines, 'socket-names = "x"', mode="accept")
    with piesd(tmp_path, config, wrapper=less) as daemon:
        # Of several, since a child may be slow to become somebody else.
        assert {said(str(tmp_path / f"{n}")) for n in range(1, 13)} == {b"1 x 65534"}
        assert "cannot start" not in daemon.log


# --- who is not served


@pytest.mark.parametrize("sends", [b"", b"x" * 100_000])
def test_a_refused_client_reads_its_message_and_the_end(tmp_path: Path, sends: bytes) -> None:
    port = free_port()
    config = table(
        "one",
        f"inet://127.0.0.1:{port}",
        '["sleep", "1000"]',
        "max-instances = 1",
        'max-instances-message = "too many\\n"',
    )
    with piesd(tmp_path, config) as daemon:
        first = connect(("127.0.0.1", port))
        daemon.until_status("one", "running")
        for _ in range(20):
            client = connect(("127.0.0.1", port))
            client.sendall(sends)
            assert hear(client) == b"too many\n"
        assert next(row for row in daemon.rows("one") if "refused" in row)["refused"] == 20
        first.close()


def test_limits_by_address_and_acl_have_their_messages(tmp_path: Path) -> None:
    port = free_port()
    config = table(
        "one",
        f"inet://127.0.0.1:{port}",
        '["sleep", "1000"]',
        "max-ip-connections = 1",
        'max-ip-connections-message = "one each"',
        'access-denied-message = "not you"',
        'acl = ["deny from 127.0.0.3"]',
    )
    with piesd(tmp_path, config) as daemon, ExitStack() as stack:

        def come(source: str) -> socket.socket:
            client = socket.create_connection(
                ("127.0.0.1", port), PATIENCE, source_address=(source, 0)
            )
            return stack.enter_context(client)

        come("127.0.0.1")
        come("127.0.0.2")
        daemon.until(lambda: len(daemon.rows("one")) == 3)
        assert hear(come("127.0.0.1")) == b"one each"
        assert hear(come("127.0.0.3")) == b"not you"


def test_a_flood_over_the_rate_waits_and_nobody_is_refused(tmp_path: Path) -> None:
    port = free_port()
    config = table("slow", f"inet://127.0.0.1:{port}", '"echo served"', "max-rate = 20")
    with piesd(tmp_path, config) as daemon, ExitStack() as stack:
        clients = [stack.enter_context(connect(("127.0.0.1", port))) for _ in range(1000)]
        listener = daemon.until(
            lambda: next((r for r in daemon.rows("slow") if r["status"] == "sleeping"), None)
        )
        assert listener["refused"] == 0
        assert 0 < listener["wakeup-time"] <= 60
        served = [client for client in clients[:20] if client.recv(100) == b"served\n"]
        assert len(served) == 20
        # The limit may be lifted at any time; nobody of those who wait is lost.
        daemon.write(table("slow", f"inet://127.0.0.1:{port}", '"echo served"'))
        daemon.piesctl("config", "reload")
        assert [hear(client) for client in clients[20:]] == [b"served\n"] * 980


# --- what a reload means for clients


@contextmanager
def clients(count: int, address: object) -> Iterator[list[bytes]]:
    """Have clients come all the time, each after the last; yield what they hear.

    Whoever is refused or cut off makes the test fail.
    """
    heard: list[bytes] = []
    faults: list[BaseException] = []
    over = threading.Event()

    def come() -> None:
        while not over.is_set():
            try:
                heard.append(said(address))
            except OSError as error:
                faults.append(error)
                return

    threads = [threading.Thread(target=come) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield heard
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert faults == []
    assert b"" not in heard


def test_no_reload_and_no_restart_costs_a_client(tmp_path: Path) -> None:
    port = free_port()
    url = f"inet://127.0.0.1:{port}"
    with (
        piesd(tmp_path, table("one", url, '"echo 1"')) as daemon,
        clients(8, ("127.0.0.1", port)) as heard,
    ):

        def served(word: bytes) -> None:
            """Wait until all clients have been served by *word* alone for a while."""
            daemon.until(lambda: heard[-20:] == [word] * 20, f"served by {word!r}")

        served(b"1\n")
        for number, (tag, *lines) in enumerate(
            [
                ("one",),
                ("two",),
                ("two", "max-instances = 100"),
                ("three", "max-instances = 200", "backlog = 4000"),
                ("three", "sockenv = true"),
                ("one", "max-ip-connections = 300"),
            ],
            2,
        ):
            daemon.write(table(tag, url, f'"echo {number}"', *lines))
            daemon.piesctl("config", "reload")
            served(b"%d\n" % number)
            assert daemon.order("POST", {"op": "component", "arg": tag}).status == 200
            served(b"%d\n" % number)
        assert {row["tag"] for row in daemon.rows()} == {"one"}


@pytest.mark.parametrize(
    ("mode", "more"), [("accept", ""), ("accept", "on-demand = true"), ("inetd", "wait = true")]
)
def test_a_server_that_is_replaced_costs_no_client(files: Path, mode: str, more: str) -> None:
    def config(tag: str, word: str) -> str:
        return table(tag, f"unix://{files}/s", server(files, word), more, mode=mode)

    with (
        piesd(files, config("one", "a")) as daemon,
        clients(8, str(files / "s")) as heard,
    ):

        def served(word: bytes) -> None:
            daemon.until(
                lambda: len(heard) > 20 and all(each.startswith(word) for each in heard[-20:]),
                f"served by {word!r}",
            )

        served(b"a ")
        for tag, word in (("one", "b"), ("two", "c")):
            daemon.write(config(tag, word))
            daemon.piesctl("config", "reload")
            # Who runs while the command changes goes on serving until a restart.
            assert daemon.order("POST", {"op": "component", "arg": tag}).status == 200
            served(word.encode() + b" ")


# --- what is scarce


def test_without_descriptors_accepting_pauses_and_loses_nobody(tmp_path: Path) -> None:
    port = free_port()
    config = table("echo", f"inet://127.0.0.1:{port}", '"echo served"', "max-rate = 1")
    config += "".join(
        table(f"c{n}", f"unix://{tmp_path}/{n}", '"echo c"', "max-rate = 1") for n in range(20)
    )
    with piesd(tmp_path, config) as daemon, ExitStack() as stack:
        used = psutil.Process(daemon.pid).num_fds()
        # Those that piesd keeps back are left, and none for a connection.
        limit = ["prlimit", f"--pid={daemon.pid}"]
        subprocess.run([*limit, f"--nofile={used + 64}:"], check=True)
        come = [stack.enter_context(connect(str(tmp_path / str(n % 20)))) for n in range(20 * 10)]
        daemon.until(lambda: "pausing" in daemon.log)
        subprocess.run([*limit, f"--nofile={used + 1000}:"], check=True)
        daemon.write(config.replace("max-rate = 1", "max-rate = 0"))
        daemon.piesctl("config", "reload")
        assert [hear(client) for client in come] == [b"c\n"] * len(come)
        assert said(("127.0.0.1", port)) == b"served\n"


def test_a_thousand_listeners_are_served(tmp_path: Path) -> None:
    config = "".join(table(f"c{n}", f"unix://{tmp_path}/{n}", f'"echo {n}"') for n in range(1000))
    with piesd(tmp_path, config) as daemon:
        for n in range(0, 1000, 37):
            assert said(str(tmp_path / str(n))) == b"%d\n" % n
        daemon.piesctl("config", "reload")
        assert said(str(tmp_path / "999")) == b"999\n"
        assert daemon.order("POST", {"op": "all"}, wait=60.0).status == 200
        assert said(str(tmp_path / "0")) == b"0\n"
    assert not list(tmp_path.glob("[0-9]*"))


# --- names and owners


def test_the_environment_says_who_is_at_both_ends(tmp_path: Path) -> None:
    port = free_port()
    lines = ("sockenv = true", "resolve = true")
    config = table("env", f"inet://127.0.0.1:{port}", '"env"', *lines)
    config += table("file", f"unix://{tmp_path}/s", '"env"', "sockenv = true")
    kind = 'socket-type = "seqpacket"'
    config += table("packets", f"unix://{tmp_path}/p", '"env"', "sockenv = true", kind)
    with piesd(tmp_path, config):
        with connect(("127.0.0.1", port)) as client:
            ours = client.getsockname()[1]
            told = dict(line.split("=", 1) for line in hear(client).decode().splitlines())
        names = ["PROTO", "SOCKTYPE", "LOCALIP", "LOCALPORT", "REMOTEIP", "REMOTEPORT"]
        assert [told[name] for name in names] == [
            "TCP",
            "STREAM",
            "127.0.0.1",
            str(port),
            "127.0.0.1",
            str(ours),
        ]
        assert told["LOCALHOST"] == told["REMOTEHOST"] == socket.getfqdn("127.0.0.1")
        assert b"PROTO=UNIX\nSOCKTYPE=STREAM\n" in said(str(tmp_path / "s"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.settimeout(PATIENCE)
            client.connect(str(tmp_path / "p"))
            assert b"SOCKTYPE=SEQPACKET\n" in b"".join(iter(lambda: client.recv(65536), b""))


@needs_root
def test_a_unix_socket_has_the_owner_and_the_mode_that_are_asked_for(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/s;user=nobody;group=daemon;mode=640"
    with piesd(tmp_path, table("s", url, '"echo s"')) as daemon:
        status = os.stat(tmp_path / "s")
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (65534, 1, 0o640)
        daemon.write(table("s", url.replace("640", "666"), '"echo s"'))
        daemon.piesctl("config", "reload")
        daemon.until(lambda: stat.S_IMODE(os.stat(tmp_path / "s").st_mode) == 0o666)
        assert said(str(tmp_path / "s")) == b"s\n"


def test_a_port_that_is_taken_is_told_and_served_when_it_is_free(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with piesd(tmp_path, table("late", f"inet://127.0.0.1:{port}", '"echo late"')) as daemon:
            assert "Address already in use" in daemon.row("late")["last-exit"]["message"]
            other.close()
            daemon.until_status("late", "listener")
            assert said(("127.0.0.1", port)) == b"late\n"


@pytest.mark.parametrize("old", ["stream", "dgram", "seqpacket"])
@pytest.mark.parametrize("new", ["stream", "dgram", "seqpacket"])
def test_a_stale_socket_of_any_kind_is_replaced(files: Path, old: str, new: str) -> None:
    kinds = {"stream": 1, "dgram": 2, "seqpacket": 5}
    with socket.socket(socket.AF_UNIX, kinds[old]) as stale:
        stale.bind(str(files / "s"))
    config = table(
        "s", f"unix://{files}/s", '["sleep", "1000"]', f'socket-type = "{new}"', "wait = true"
    )
    with piesd(files, config) as daemon:
        daemon.until_status("s", "listener")
