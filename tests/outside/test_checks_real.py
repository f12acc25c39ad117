"""Readiness, health and start conditions with real children, sockets and servers."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from fake_system import FakeSystem
from real_children import subreaping
from running import RealHouse, real_house
from supervisor.model.component import Check, Component, Respawn
from supervisor.model.plaintext import told_url
from supervisor.model.state import Phase
from supervisor.runtime import httpcheck
from supervisor.runtime.network import RealNetwork

pytestmark = pytest.mark.real


@pytest.fixture
def place() -> Iterator[str]:
    """A directory with a short path into which every user can look."""
    path = tempfile.mkdtemp(prefix="c")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


def shell(script: str, **more: Any) -> Component:
    respawn = Respawn(max=1, sleep=1000)
    return Component(tag="web", argv=("/bin/sh", "-c", script), respawn=respawn, **more)


def python(script: str, **more: Any) -> Component:
    more.setdefault("respawn", Respawn(max=1, sleep=1000))
    return Component(tag="web", argv=(sys.executable, "-ISc", script), **more)


PYTHON = "/usr/bin/python3"
"""Ours may be where only its owner can look."""

SAY = (
    "import os, socket, time; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
    "s.sendto({!r}, os.environ['NOTIFY_SOCKET']); time.sleep(1000)"
)
TELL = (
    "import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
    "s.sendto(sys.argv[2].encode(), sys.argv[1])"
)


async def failed(home: RealHouse, stage: str) -> str:
    """Wait for an end at this stage; return what is said about it."""

    def ended() -> bool:
        last = home.state("web").last_exit
        return last is not None and last.stage == stage

    await home.until(ended)
    last = home.state("web").last_exit
    assert last is not None
    return last.message


# --- what children say by themselves


async def test_a_real_newline_on_the_descriptor_makes_it_ready() -> None:
    with trio.fail_after(60):
        spec = shell("echo >&3; exec sleep 1000", ready=Check(kind="fd"))
        async with real_house([spec]) as home:
            await home.until(lambda: home.state("web").ready)


async def test_a_descriptor_closed_without_a_newline_will_never_say_it() -> None:
    with trio.fail_after(60):
        spec = shell("exec 7>&-; exec sleep 1000", ready=Check(kind="fd", fd=7))
        async with real_house([spec]) as home:
            assert "closed descriptor 7 without a newline" in await failed(home, "ready")


async def test_a_real_datagram_makes_it_ready(place: str) -> None:
    with trio.fail_after(60):
        spec = python(SAY.format(b"READY=1\nSTATUS=serving"), ready=Check(kind="notify"))
        async with real_house([spec], notify_prefix=f"{place}/n.") as home:
            await home.until(lambda: home.state("web").ready)
            assert home.runner.checks.status("web") == "serving"
            (name,) = os.listdir(place)
            assert re.fullmatch(r"n\.[\w-]{8}\.1", name)
        assert os.listdir(place) == []


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
@pytest.mark.skipif(not os.access(PYTHON, os.X_OK), reason="needs a Python for every user")
async def test_a_component_of_another_user_can_say_it_too(place: str) -> None:
    with trio.fail_after(60):
        spec = Component(
            tag="web",
            argv=(PYTHON, "-ISc", SAY.format(b"READY=1")),
            user="nobody",
            ready=Check(kind="notify"),
        )
        async with real_house([spec], notify_prefix=f"{place}/n.") as home:
            await home.until(lambda: home.state("web").ready or bool(home.state("web").last_exit))
            assert home.state("web").ready, home.state("web").last_exit


GRANDCHILD = """
import os, socket, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setuid(2)
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    time.sleep(1000)
time.sleep(1000)
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
async def test_a_grandchild_that_has_become_somebody_else_can_say_it(place: str) -> None:
    with trio.fail_after(60):
        spec = python(GRANDCHILD, ready=Check(kind="notify"))
        async with real_house([spec], notify_prefix=f"{place}/n.") as home:
            await home.until(lambda: home.state("web").ready)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
async def test_whoever_else_gets_at_the_socket_is_not_heard(place: str) -> None:
    """Not of the user nor of the tree: it could make dependents start, or end a health check."""
    told = "STATUS=by a stranger\nREADY=1\nSTOPPING=1"
    with trio.fail_after(60):
        spec = shell("exec sleep 1000", ready=Check(kind="notify"))
        async with real_house([spec], notify_prefix=f"{place}/n.") as home:
            await home.until(lambda: home.state("web").phase is Phase.RUNNING)
            (path,) = Path(place).iterdir()
            say = partial(subprocess.run, [PYTHON, "-ISc", TELL, path, told], check=True)
            await trio.to_thread.run_sync(partial(say, user=2, group=2, extra_groups=[]))
            # What root says next is heard after it.
            await trio.to_thread.run_sync(
                partial(subprocess.run, [PYTHON, "-ISc", TELL, path, "STATUS=heard"])
            )
            await home.until(lambda: home.runner.checks.status("web") != "")
            assert home.runner.checks.status("web") == "heard"
            assert not home.state("web").ready


async def test_a_path_that_is_too_long_is_a_failed_start_with_the_reason(place: str) -> None:
    with trio.fail_after(60):
        spec = shell("exec sleep 1000", ready=Check(kind="notify"))
        async with real_house([spec], notify_prefix=f"{place}/{'n' * 120}") as home:
            assert "107 bytes" in await failed(home, "ready")


# --- commands


async def test_a_real_command_decides_when_it_is_ready(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    with trio.fail_after(60):
        check = Check(kind="exec", argv=("test", "-e", str(flag)), interval=0.05)
        async with real_house([shell("exec sleep 1000", ready=check)]) as home:
            await home.until(lambda: home.state("web").phase is Phase.RUNNING)
            assert not home.state("web").ready
            flag.touch()
            await home.until(lambda: home.state("web").ready)


async def test_a_check_that_hangs_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"setsid sleep 1000 & echo $! >> {pids}; sleep 1000"
    check = Check(kind="exec", argv=("/bin/sh", "-c", script), interval=0.05, timeout=1, failures=2)
    with subreaping(), trio.fail_after(60):
        async with real_house([shell("exec sleep 1000", health=check)]) as home:
            assert "did not answer within 1 s" in await failed(home, "health")
            with trio.fail_after(60):
                while any(Path(f"/proc/{pid}").exists() for pid in pids.read_text().split()):
                    await trio.sleep(0.01)  # Their end is told to nobody but the kernel.


async def test_a_real_start_condition_says_no_and_then_yes(place: str) -> None:
    flag = Path(place) / "flag"  # Short enough for the message.
    with trio.fail_after(60):
        spec = shell("exec sleep 1000", start_condition=("test", "-e", str(flag)))
        async with real_house([spec]) as home:
            message = await failed(home, "start-condition")
            assert message == f"the start condition `test -e {flag}` ended with code 1"
            assert home.state("web").phase is Phase.STOPPED


# --- the network itself


def real_network() -> RealNetwork:
    return RealNetwork(FakeSystem())


async def test_a_real_port_answers_or_refuses() -> None:
    with trio.fail_after(60):
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            target = f"127.0.0.1:{listening.getsockname()[1]}"
            reason = f"connect to {target}: Connection refused"
            assert await real_network().tcp(target) == reason
            listening.listen()
            assert await real_network().tcp(target) is None


async def test_a_unix_socket_answers_or_is_missing(place: str) -> None:
    path = f"{place}/s"
    with trio.fail_after(60), socket.socket(socket.AF_UNIX) as listening:
        missing = f"connect to {path}: No such file or directory"
        assert await real_network().tcp(path) == missing
        listening.bind(path)
        listening.listen()
        assert await real_network().tcp(path) is None


async def test_a_name_is_looked_up_and_every_address_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with trio.fail_after(60), socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        really = socket.getaddrinfo

        def lookup(host: str, *args: Any, **more: Any) -> list[Any]:
            if host != "db":
                return really(host, *args, **more)
            if more.get("flags"):
                raise socket.gaierror(socket.EAI_NONAME, "it is no address")
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*kind, ("127.0.0.2", port)), (*kind, ("127.0.0.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        assert await real_network().tcp(f"db:{port}") is None


async def test_a_name_server_that_does_not_answer_does_not_hold_up_the_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()

    def lookup(*_: Any, **more: Any) -> list[Any]:
        if not more.get("flags"):
            answered.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    try:
        with trio.fail_after(60):
            with trio.move_on_after(0.1) as limit:
                await real_network().tcp("db:5432")
            assert limit.cancelled_caught
            answered.set()
            failure = "connect to db:5432: Temporary failure in name resolution"
            assert await real_network().tcp("db:5432") == failure
    finally:
        answered.set()


# --- HTTP


Answer = Callable[[trio.abc.Stream], Awaitable[None]]


@asynccontextmanager
async def server(answer: Answer, tls: ssl.SSLContext | None = None) -> Any:
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_ssl_over_tcp, ssl_context=tls) if tls else trio.serve_tcp
        listeners = await nursery.start(partial(serve, answer, 0, host="127.0.0.1"))
        listener = getattr(listeners[0], "transport_listener", listeners[0])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def saying(head: bytes, asked: list[bytes] | None = None) -> Answer:
    async def answer(stream: trio.abc.Stream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += await stream.receive_some(4096)
        if asked is not None:
            asked.append(request)
        if head:
            await stream.send_all(head)

    return answer


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", None),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", None),
        (b"HTTP/1.0 200\r\n\r\n", None),
        (b"HTTP/1.1 404 Gone fishing\r\n\r\n", "404 Gone fishing"),
        (b"HTTP/1.1 503 \r\n\r\n", "503 Service Unavailable"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "illegal status line"),
        (b"", "closed"),
    ],
)
async def test_the_status_of_an_http_answer_decides(head: bytes, reason: str | None) -> None:
    asked: list[bytes] = []
    with trio.fail_after(60):
        async with server(saying(head, asked)) as port:
            url = f"http://127.0.0.1:{port}/health?deep=1"
            why = await real_network().http(url)
            if reason is None:
                assert why is None
            else:
                assert why is not None
                assert why.startswith(f"GET {told_url(url)}: ")
                assert reason in why
    assert asked[0].startswith(b"GET /health?deep=1 HTTP/1.1\r\n")
    assert f"\r\nHost: 127.0.0.1:{port}\r\n".encode() in asked[0]


class OneThread(FakeSystem):
    """Runs one job, and then never another."""

    jobs = 0

    async def blocking(self, job: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.jobs += 1
        if self.jobs > 1:
            await trio.sleep_forever()
        return await super().blocking(job, *args, **kwargs)


async def test_only_the_first_http_check_needs_a_worker_thread() -> None:
    """Threads may all be waiting for a disk; what is healthy must not be restarted for that."""
    network = RealNetwork(OneThread())
    with trio.fail_after(60):
        async with server(saying(b"HTTP/1.1 204 No Content\r\n\r\n")) as port:
            assert await network.http(f"http://127.0.0.1:{port}/") is None
            assert await network.http(f"http://127.0.0.1:{port}/") is None


async def test_https_asks_for_an_answer_and_not_for_a_certificate() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("elsewhere.example.org").configure_cert(context)
    with trio.fail_after(60):
        async with server(saying(b"HTTP/1.1 200 OK\r\n\r\n"), context) as port:
            assert await real_network().http(f"https://127.0.0.1:{port}") is None


async def test_what_speaks_no_tls_is_no_answer() -> None:
    async def plain(stream: trio.abc.Stream) -> None:
        await stream.receive_some(1)
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with trio.fail_after(60):
        async with server(plain) as port:
            why = await real_network().http(f"https://127.0.0.1:{port}")
            assert why is not None
            assert ": TLS: " in why


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "http://x:port/", "x"])
async def test_what_is_no_url_is_a_reason_and_no_error(url: str) -> None:
    why = await httpcheck.get(url, real_network().connect)
    assert why is not None
    assert why.startswith(f"GET {url}: ")


async def test_a_server_that_says_nothing_can_be_left() -> None:
    async def silent(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    with trio.fail_after(60):
        async with server(silent) as port:
            with trio.move_on_after(0.05) as limit:
                await real_network().http(f"http://127.0.0.1:{port}/")
            assert limit.cancelled_caught


async def test_a_real_server_that_turns_bad_is_restarted_with_the_reason() -> None:
    status = "200 OK"

    async def answer(stream: trio.abc.Stream) -> None:
        await saying(f"HTTP/1.1 {status}\r\n\r\n".encode())(stream)

    with trio.fail_after(60):
        async with server(answer) as port:
            url = f"http://127.0.0.1:{port}/"
            ready = Check(kind="http", target=url)
            health = Check(kind="http", target=url, interval=0.02, timeout=5, failures=2)
            spec = shell("exec sleep 1000", ready=ready, health=health)
            async with real_house([spec]) as home:
                await home.until(lambda: home.state("web").ready)
                status = "500 Internal Server Error"
                message = await failed(home, "health")
                assert message.endswith(f"last: GET {url}: {status}")


async def test_a_unix_socket_whose_queue_is_full_does_not_answer(place: str) -> None:
    path = f"{place}/s"
    with trio.fail_after(60), socket.socket(socket.AF_UNIX) as hung:
        hung.bind(path)
        hung.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(path)
            why = await real_network().tcp(path)
            assert why is not None
            assert why.startswith(f"connect to {path}: ")
