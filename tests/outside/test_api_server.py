"""The server on real sockets: who is there, what it may cost, and how it ends."""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGTERM
from typing import Any

import h11
import pytest
import trio
import trio.testing
from msgspec.structs import replace

from asked import Answer, Desk, desk
from fake_system import Script
from guarded import inline
from running import House
from supervisor.api.limits import LimitedApp, Limits
from supervisor.api.serve import serve
from supervisor.control.identity import Caller, Identities, Origin
from supervisor.model.component import Component
from supervisor.model.settings import ControlSettings

DB = Component(tag="db", argv=("db",))
WEB = Component(tag="web", argv=("web",), stop_timeout=20)
Clock = trio.testing.MockClock
GET = b"GET /programs?fields=tag HTTP/1.1\r\nHost: piesd\r\n\r\n"


def deaf(home: House) -> None:
    home.system.scripts["web"] = Script(ignores=frozenset({SIGTERM}))


class Wire:
    """A client that sends what it is told to, byte by byte if need be."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._h11 = h11.Connection(h11.CLIENT)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def answer(self, method: str = "GET") -> Answer:
        """Read one answer, whatever the request was."""
        self._h11 = h11.Connection(h11.CLIENT) if self._h11.their_state is h11.DONE else self._h11
        self._h11.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        self._h11.send(h11.EndOfMessage())
        answer = Answer()
        while True:
            match self._h11.next_event():
                case h11.NEED_DATA:
                    self._h11.receive_data(bytes(await self.stream.receive_some()))
                case h11.Response() as head:
                    answer.status = head.status_code
                    assert head.reason, "an answer has a reason phrase"
                    answer.headers = {n.decode(): v.decode() for n, v in head.headers}
                case h11.Data() as part:
                    answer.body += part.data
                case h11.EndOfMessage():
                    rest = self._h11.trailing_data[0]
                    self._h11 = h11.Connection(h11.CLIENT)
                    self._h11.receive_data(rest) if rest else None
                    return answer
                case h11.ConnectionClosed():
                    raise AssertionError("the connection was closed without an answer")
                case h11.PAUSED:
                    raise AssertionError("there is more than one answer")
                case _:
                    pass

    async def ask(self, head: str, body: bytes = b"", /, **headers: str) -> Answer:
        """Send `METHOD TARGET` and read the answer."""
        named = {"Host": "piesd"} | {name.replace("_", "-"): v for name, v in headers.items()}
        if body:
            named.setdefault("Content-Length", str(len(body)))
        lines = [f"{head} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
        await self.send("\r\n".join([*lines, "", ""]).encode() + body)
        return await self.answer(head.split(maxsplit=1)[0])

    async def closed(self) -> bytes:
        """Read until the server closes; return what it said before."""
        said = b""
        while part := await self.stream.receive_some():
            said += part
        return said

    async def aclose(self) -> None:
        await self.stream.aclose()


class Served:
    """A control that is being served."""

    def __init__(self, asked: Desk, addresses: Sequence[Any], end: trio.CancelScope) -> None:
        self.asked, self.addresses, self.end = asked, addresses, end

    @asynccontextmanager
    async def wire(self, index: int = 0) -> AsyncIterator[Wire]:
        address = self.addresses[index]
        if isinstance(address, str):
            stream = await trio.open_unix_socket(address)
        else:
            stream = await trio.open_tcp_stream(*address[:2])
        async with stream:
            yield Wire(stream)


@asynccontextmanager
async def served(
    tmp_path: Path,
    components: Sequence[Component] = (DB, WEB),
    prepare: Any = lambda _: None,
    *,
    limits: Limits | None = None,
    identities: Identities | None = None,
    tcp: bool = False,
) -> AsyncIterator[Served]:
    """Serve *components* on a UNIX socket, and with *tcp* on a port of 127.0.0.1 too."""
    path = str(tmp_path / "ctl")
    sockets = [socket.socket(socket.AF_UNIX)]
    sockets[0].bind(path)
    if tcp:
        sockets.append(socket.socket(socket.AF_INET))
        sockets[1].bind(("127.0.0.1", 0))
    for each in sockets:
        each.listen(512)
    addresses = [each.getsockname() for each in sockets]
    async with desk(components, prepare) as asked:
        if identities is not None:
            asked.control.identities = identities
        end = trio.CancelScope()

        async def run(task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            with end:
                await serve(asked.control, sockets, limits=limits, task_status=task_status)

        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            yield Served(asked, addresses, end)
            end.cancel()


def loopback(anonymous: Any) -> ControlSettings:
    return ControlSettings(sockets=(), anonymous=anonymous)


def no_bugs(caplog: pytest.LogCaptureFixture) -> None:
    assert "a bug" not in caplog.text


# --- ordinary use


@pytest.mark.real
async def test_an_ordinary_client_is_served(tmp_path: Path) -> None:
    class Unix(http.client.HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(str(tmp_path / "ctl"))

    def use() -> None:
        client = Unix("piesd", timeout=20)
        client.request("GET", '/programs?{"op":"active"}&fields=tag')
        response = client.getresponse()
        assert (response.status, response.reason) == (200, "OK")
        assert response.getheader("Server") is None
        assert json.loads(response.read()) == [{"tag": "db"}, {"tag": "web"}]
        kept = client.sock
        client.request("POST", "/programs", body='{"op":"component","arg":"db"}')
        response = client.getresponse()
        assert json.loads(response.read()) == {"status": "OK"}
        client.request("HEAD", "/alive/db")
        response = client.getresponse()
        assert (response.status, response.read()) == (200, b"")
        assert client.sock is kept, "the connection was kept"
        client.close()

    with trio.fail_after(30):
        async with served(tmp_path):
            await trio.to_thread.run_sync(use)


async def test_a_client_that_asks_for_ever_keeps_its_connection(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    with trio.fail_after(600):
        async with served(tmp_path) as here, here.wire() as wire:
            for _ in range(1001):  # hypercorn alone would close after a thousand.
                answer = await wire.ask("HEAD /alive/db")
                assert "connection" not in answer.headers


async def test_the_peer_of_a_unix_socket_is_known_by_its_uid(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with served(tmp_path) as here, here.wire() as wire:
            await wire.ask("DELETE /programs/db")
            wish = here.asked.home.runner.engine.world.states["db"].wish
            assert wish is not None
            assert wish.by.startswith(f"uid {os.geteuid()} (")
            assert wish.by.endswith(f") over {tmp_path}/ctl")


async def test_a_peer_that_is_neither_root_nor_the_daemons_user_is_refused(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    class Strict(Identities):
        async def identify(self, origin: Origin, authorization: str | None = None) -> Caller:
            assert origin.uid == os.geteuid()
            return await super().identify(replace(origin, uid=origin.uid + 1_000_000))

    with trio.fail_after(60):
        async with (
            served(tmp_path, identities=Strict(uid=5, blocking=inline)) as here,
            here.wire() as wire,
        ):
            answer = await wire.ask("GET /programs")
            assert answer.status == 403
            assert f"uid {os.geteuid() + 1_000_000} over" in answer.json["message"]
            assert "Only root and the user that piesd runs as" in answer.json["message"]


async def test_two_requests_in_one_breath_get_two_answers_in_order(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with served(tmp_path) as here, here.wire() as wire:
            await wire.send(GET + b"GET /alive/nobody HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
            statuses = [(await wire.answer()).status for _ in range(3)]
            assert statuses == [200, 404, 200]


async def test_who_sends_no_more_still_gets_its_answer(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with served(tmp_path) as here, here.wire() as wire:
            await wire.send(GET)
            await wire.stream.send_eof()
            assert (await wire.answer()).json == [{"tag": "db"}, {"tag": "web"}]
            assert await wire.closed() == b""


# --- what a web page elsewhere must not do


async def test_a_loopback_socket_answers_for_loopback_names_alone(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with served(tmp_path, tcp=True, identities=Identities(loopback("admin"))) as here:
            port = here.addresses[1][1]
            for host, status in (
                (f"127.0.0.1:{port}", 200),
                (f"localhost:{port}", 200),
                ("LOCALHOST", 200),
                ("[::1]:80", 200),
                ("evil.example", 403),
                (f"evil.example:{port}", 403),
                ("127.0.0.1.evil.example", 403),
                ("localhost.evil.example", 403),
                ("[", 400),
                ("a" * 64, 400),
                (".", 400),
                (".:80", 400),
                ("[1..2]", 400),
                (f"[{64 * 'a'}]", 400),
                ("evil..example", 400),
                ("evil.example/x", 400),
            ):
                async with here.wire(1) as wire:
                    answer = await wire.ask("GET /programs", Host=host)
                    assert answer.status == status, host
            async with here.wire(0) as wire:
                assert (await wire.ask("GET /programs", Host="evil.example")).status == 200


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({}, True),
        ({"Content-Type": "application/json"}, True),
        ({"Content-Type": "application/x-www-form-urlencoded"}, True),
        ({"Origin": "http://piesd"}, True),
        ({"Origin": "http://piesd", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}, True),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://piesd:81"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://evil.example", "Content-Type": "application/json"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"}, False),
        ({"Sec-Fetch-Site": "same-site", "Content-Type": "text/plain"}, False),
        ({"Sec-Fetch-Mode": "no-cors"}, False),
        ({"Referer": "http://evil.example/page"}, False),
    ],
)
async def test_a_page_of_another_site_changes_nothing(
    headers: dict[str, str], accepted: bool, tmp_path: Path, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with served(tmp_path) as here:
            for method in ("DELETE", "PUT", "POST"):
                async with here.wire() as wire:
                    answer = await wire.ask(f"{method} /programs/db", b"", **headers)
                    assert answer.status == (200 if accepted else 403)
                    assert "Access-Control-Allow-Origin" not in answer.headers
            async with here.wire() as wire:
                assert (await wire.ask("GET /programs", b"", **headers)).status == 200


async def test_strangers_on_loopback_do_what_was_written_down_and_no_more(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    for anonymous, listing, stopping in ((None, 403, 403), ("list", 200, 403), ("admin", 200, 200)):
        identities = Identities(loopback(anonymous))
        (tmp_path / str(anonymous)).mkdir()
        with trio.fail_after(60):
            async with (
                served(tmp_path / str(anonymous), tcp=True, identities=identities) as here,
                here.wire(1) as wire,
            ):
                assert (await wire.ask("GET /programs", Host="localhost")).status == listing
                answer = await wire.ask("DELETE /programs/db", Host="localhost")
                assert answer.status == stopping


# --- what it may cost


async def test_a_header_may_have_16_kib_and_a_body_1_mib(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with served(tmp_path) as here:
            async with here.wire() as wire:
                assert (await wire.ask("GET /programs", X_Filler="x" * 15_000)).status == 200
            for size in (17_000, 40_000, 200_000):
                async with here.wire() as wire:
                    answer = await wire.ask("GET /programs", X_Filler="x" * size)
                    assert answer.status == 431, size
                    assert answer.json["status"] == "ER"
            async with here.wire() as wire:
                answer = await wire.ask("POST /programs", b" " * (1 << 20))
                assert answer.status == 400, "of that size, and no selector"
            async with here.wire() as wire:
                answer = await wire.ask("POST /programs", b"[" * (64 * 1024 + 1))
                assert answer.status == 400
                assert "longer than 65536 bytes" in answer.json["message"]


async def test_a_body_of_2_mib_is_refused_before_it_is_read(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    head = b"POST /v1/components HTTP/1.1\r\nHost: x\r\nContent-Length: 2097152\r\n\r\n"
    with trio.fail_after(60):
        async with served(tmp_path) as here:
            async with here.wire() as wire:
                await wire.send(head)
                answer = await wire.answer()
                assert answer.status == 413
                assert answer.json["code"] == "too-large"
            async with here.wire() as wire, trio.open_nursery() as nursery:
                # A client that does not listen before it has said everything gets it as well.
                nursery.start_soon(wire.send, head + b"x" * 2_097_152)
                assert (await wire.answer()).status == 413


async def test_a_body_without_a_length_is_refused_when_it_has_become_too_long(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    head = b"POST /programs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with trio.fail_after(60):
        async with served(tmp_path) as here, here.wire() as wire:
            await wire.send(head)

            async def talk() -> None:
                try:
                    for _ in range(1000):
                        await wire.send(chunk)
                except trio.BrokenResourceError:
                    return

            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk)
                assert (await wire.answer()).status == 413
                nursery.cancel_scope.cancel()
            async with here.wire() as other:
                assert (await other.ask("GET /alive/db")).status == 200


async def test_a_selector_of_65_levels_is_refused(tmp_path: Path, autojump_clock: Clock) -> None:
    deep = b'{"op":"not","arg":' * 64 + b"true" + b"}" * 64
    with trio.fail_after(60):
        async with served(tmp_path) as here, here.wire() as wire:
            answer = await wire.ask("POST /programs", deep)
            assert answer.status == 400
            assert "more than 64 levels" in answer.json["message"]
            assert here.asked.status("db") == "running"


@pytest.mark.parametrize(
    "request_", [GET, b"POST /programs HTTP/1.1\r\nHost: x\r\nContent-Length: 70\r\n\r\n"]
)
async def test_a_request_that_comes_one_byte_a_second_has_60_seconds(
    request_: bytes, tmp_path: Path, autojump_clock: Clock
) -> None:
    data = request_ + b" " * 100
    with trio.fail_after(600):
        async with served(tmp_path) as here, here.wire() as slow:
            begun = trio.current_time()

            async def drip() -> None:
                try:
                    for byte in data:
                        await slow.send(bytes([byte]))
                        await trio.sleep(1.5)
                except trio.BrokenResourceError:
                    return

            async with trio.open_nursery() as nursery:
                nursery.start_soon(drip)
                answer = await slow.answer()
                assert answer.status == 408
                assert trio.current_time() - begun == pytest.approx(60, abs=2)
                async with here.wire() as other:
                    assert (await other.ask("GET /alive/db")).status == 200
                await slow.closed()
                nursery.cancel_scope.cancel()


async def test_a_connection_on_which_nothing_is_asked_is_closed(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    with trio.fail_after(600):
        async with served(tmp_path) as here, here.wire() as wire:
            begun = trio.current_time()
            await wire.ask("GET /alive/db")
            await trio.sleep(50)
            await wire.ask("GET /alive/db")
            assert await wire.closed() == b""
            assert trio.current_time() - begun == pytest.approx(110, abs=3)


async def test_an_order_that_is_waited_for_is_not_cut_off_by_these_deadlines(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    slow = Component(tag="slow", argv=("slow",), stop_timeout=500)

    def prepare(home: House) -> None:
        home.system.scripts["slow"] = Script(ignores=frozenset({SIGTERM}))

    with trio.fail_after(6000):
        async with served(tmp_path, [slow], prepare) as here, here.wire() as wire:
            answer = await wire.ask("DELETE /programs/slow?wait=1000")
            assert (answer.status, answer.json) == (200, {"status": "OK"})


async def test_a_client_that_does_not_read_hurts_only_itself(
    tmp_path: Path, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    many = [Component(tag=f"c{n}", argv=("c" * 500,)) for n in range(2000)]
    with trio.fail_after(6000):
        async with served(tmp_path, many) as here, here.wire() as lazy:
            await lazy.send(b"GET /programs HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
            await trio.testing.wait_all_tasks_blocked()
            async with here.wire() as other:
                begun = trio.current_time()
                assert (await other.ask("DELETE /programs/c7?wait=5")).status == 200
                assert trio.current_time() - begun < 1
            await trio.sleep(100)
            said = await lazy.closed()
            assert b"HTTP/1.1 200" in said
            assert said.count(b"HTTP/1.1 200") == 1, "it was given up after the first"
            no_bugs(caplog)


async def test_a_crowd_that_only_connects_keeps_nobody_out(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    with trio.fail_after(600):
        async with (
            served(tmp_path, limits=Limits(connections=4)) as here,
            here.wire() as first,
            here.wire() as second,
            here.wire() as third,
            here.wire() as fourth,
        ):
            for wire in (first, second, third, fourth):
                assert (await wire.ask("GET /alive/db")).status == 200
            begun = trio.current_time()
            async with here.wire() as fifth:
                assert (await fifth.ask("GET /alive/db")).status == 200
            assert await first.closed() == b"", "the one who came first had to go"
            assert (await second.ask("GET /alive/db")).status == 200
            assert trio.current_time() - begun <= 1


async def test_who_has_asked_something_is_not_sent_away_by_a_crowd(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    with trio.fail_after(600):
        async with (
            served(tmp_path, prepare=deaf, limits=Limits(connections=2)) as here,
            here.wire() as first,
            here.wire() as second,
        ):
            for wire in (first, second):
                await wire.send(b"DELETE /programs/web?wait=100 HTTP/1.1\r\nHost: x\r\n\r\n")
            await trio.testing.wait_all_tasks_blocked()
            begun = trio.current_time()
            async with here.wire() as third:
                assert (await third.ask("GET /alive/db")).status == 200
                assert trio.current_time() - begun == pytest.approx(WEB.stop_timeout + 1, abs=1)
            assert [(await wire.answer()).status for wire in (first, second)] == [200, 200]


class Exhausted:
    """Accepts fail so many times; then they are as they were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *failures: int) -> None:
        self.failures = list(failures)
        with trio.socket.socket() as probe:
            kind = type(probe)
        accept = kind.accept

        async def failing(sock: Any) -> Any:
            if self.failures:
                await trio.lowlevel.checkpoint()
                raise OSError(self.failures.pop(0), "for the test")
            return await accept(sock)

        monkeypatch.setattr(kind, "accept", failing)


async def test_a_server_without_descriptors_goes_on_when_it_has_some_again(
    tmp_path: Path, autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trio.fail_after(60):
        async with served(tmp_path) as here:
            await trio.testing.wait_all_tasks_blocked()
            system = Exhausted(monkeypatch, errno.ECONNABORTED, *[errno.EMFILE] * 5)
            begun = trio.current_time()
            for _ in range(2):  # The accept that waits already is not one of those that fail.
                async with here.wire() as wire:
                    assert (await wire.ask("GET /alive/db")).status == 200
            assert not system.failures
            assert trio.current_time() - begun > 0.4, "it takes a breath each time"


async def test_who_is_silent_gives_back_a_descriptor_when_there_are_none_left(
    tmp_path: Path, autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trio.fail_after(60):
        async with served(tmp_path) as here, here.wire() as silent, here.wire() as other:
            await trio.sleep(5)
            await other.ask("GET /alive/db")
            Exhausted(monkeypatch, errno.EMFILE)
            for _ in range(2):
                async with here.wire() as wire:
                    assert (await wire.ask("GET /alive/db")).status == 200
            assert await silent.closed() == b""
            assert (await other.ask("GET /alive/db")).status == 200


# --- what is no HTTP, or not ours


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\nhello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /programs HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /programs HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /programs HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /programs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        b"POST /programs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_junk_is_answered_with_an_error_and_the_connection_ends(
    junk: bytes, tmp_path: Path, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(600):
        async with served(tmp_path) as here:
            async with here.wire() as wire:
                await wire.send(junk)
                await trio.testing.wait_all_tasks_blocked()
                await wire.stream.send_eof()
                said = await wire.closed()
                assert said == b"" or said.startswith((b"HTTP/1.1 40", b"HTTP/1.1 501"))
            async with here.wire() as wire:
                assert (await wire.ask("GET /alive/db")).status == 200
            no_bugs(caplog)


async def test_nothing_is_smuggled_in_behind_a_request_with_two_ends(tmp_path: Path) -> None:
    request = "POST /programs HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
    request += "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    with trio.fail_after(60):
        async with served(tmp_path) as here, here.wire() as wire:
            await wire.send(request.encode() + b"GET /alive/db HTTP/1.1\r\nHost: x\r\n\r\n")
            said = await wire.closed()
    assert said.startswith(b"HTTP/1.1 400 Bad Request")
    assert b"it says in two ways how long it is" in said
    assert said.count(b"HTTP/1.1") == 1, "only one was answered"


SMUGGLED = b"DELETE /programs HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"Content-Length: 38\n", SMUGGLED),
        (b"Content-Length: 38\r\nTransfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n" + SMUGGLED),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", CHUNK),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", SMUGGLED),
        (b"Transfer-Encoding: xchunked\r\n", SMUGGLED),
        (b"Transfer-Encoding: \x0bchunked\r\n", SMUGGLED),
        (b"Transfer-Encoding: chunked\r\n", b"0;\nx\r\n\r\n" + SMUGGLED[:-2] + b"\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b'26;a=b;c="d"\r\n' + SMUGGLED + b"\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"0x26\r\n" + SMUGGLED),
        (b"Transfer-Encoding: chunked\r\n", b"-1\r\n" + SMUGGLED),
        (b"Transfer-Encoding: chunked\r\n", b"f" * 40 + b"\r\n" + SMUGGLED),
        (b"Content-Length: 0\r\nContent-Length: 38\r\n", SMUGGLED),
        (b"Content-Length: 38\r\nContent-Length: 38\r\n", SMUGGLED),
        (b"Content-Length: 0, 38\r\n", SMUGGLED),
        (b"Content-Length: +0\r\n", SMUGGLED),
        (b"Content-Length: 0x0\r\n", SMUGGLED),
        (b"Content-Length : 0\r\n", SMUGGLED),
        (b"Content-Length: 3\r\n 8\r\n", SMUGGLED),
        (b"Content-Length: 38\r\nX: a\rContent-Length: 0\r\n", SMUGGLED),
        (b"Content-Length: 38\r\nX: a\0b\r\n", SMUGGLED),
    ],
)
async def test_no_second_request_is_found_in_what_a_proxy_may_take_for_a_body(
    fields: bytes, body: bytes, tmp_path: Path, autojump_clock: Clock
) -> None:
    assert len(SMUGGLED) == 38
    head = b"POST /programs?dry-run=true HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n"
    with trio.fail_after(600):
        async with served(tmp_path) as here:
            async with here.wire() as wire:
                await wire.send(head + body)
                await trio.testing.wait_all_tasks_blocked()
                await wire.stream.send_eof()
                said = await wire.closed()
            assert said.count(b"HTTP/1.1 ") <= 1, said
            assert here.asked.status("db") == "running"
            async with here.wire() as wire:
                assert (await wire.ask("GET /alive/db")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"},
        {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
    ],
)
async def test_an_offer_to_speak_something_else_is_not_taken(
    headers: dict[str, str], tmp_path: Path, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with served(tmp_path) as here, here.wire() as wire:
            assert (await wire.ask("GET /alive/db", b"", **headers)).status == 200
            assert (await wire.ask("GET /alive/db")).status == 200


async def test_a_fault_in_front_of_the_application_is_an_answer_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError("the secret of the house")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/v1", "query_string": b"", "headers": []}
    await LimitedApp(broken, Limits())(scope, receive, send)
    assert sent[0]["status"] == 500
    assert b"A problem occurred while processing the request" in sent[1]["body"]
    assert "the secret of the house" in caplog.text


# --- going away


async def test_an_order_outlives_the_connection_on_which_it_came(
    tmp_path: Path, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(600):
        async with served(tmp_path, prepare=deaf) as here:
            async with here.wire() as wire:
                await wire.send(b"DELETE /programs/web?wait=100 HTTP/1.1\r\nHost: x\r\n\r\n")
                await trio.testing.wait_all_tasks_blocked()
                assert here.asked.status("web") == "stopping"
            await trio.sleep(30)
            assert here.asked.status("web") == "stopped"
            no_bugs(caplog)


async def test_a_stream_ends_with_its_connection_and_nothing_else_does(
    tmp_path: Path, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"GET /v1/components/db/log?follow=true HTTP/1.1\r\nHost: x\r\n\r\n"
    with trio.fail_after(600):
        async with served(tmp_path) as here, here.wire() as other:
            async with here.wire() as wire:
                await wire.send(head)
                assert (await wire.stream.receive_some()).startswith(b"HTTP/1.1 200 OK")
                await trio.testing.wait_all_tasks_blocked()
                outlet = here.asked.home.outputs._outlets["db"]
                assert len(outlet.followers) == 1
            await trio.sleep(5)
            assert not outlet.followers
            assert (await other.ask("GET /alive/db")).status == 200
            no_bugs(caplog)


async def test_a_follower_that_does_not_read_is_dropped(
    tmp_path: Path, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(6000):
        async with served(tmp_path) as here, here.wire() as lazy:
            await lazy.send(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(30):
                for _ in range(500):
                    here.asked.control.feed.say("test", "info", "x" * 500)
                await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(100)
            said = await lazy.closed()
            assert b"x" * 500 in said
            assert len(said) < 15_000 * 500
            no_bugs(caplog)


async def test_at_the_end_answers_on_their_way_get_out_and_everything_else_is_closed(
    tmp_path: Path, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(600):
        async with (
            served(tmp_path, prepare=deaf) as here,
            here.wire() as idle,
            here.wire() as waiting,
            here.wire() as quick,
            here.wire() as stream,
        ):
            await idle.ask("GET /alive/db")
            await stream.send(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            await waiting.send(b"DELETE /programs/web?wait=100 HTTP/1.1\r\nHost: x\r\n\r\n")
            await quick.send(b"DELETE /programs/web?wait=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            await trio.testing.wait_all_tasks_blocked()
            begun = trio.current_time()
            here.end.cancel()
            assert await idle.closed() == b""
            assert (await stream.closed()).endswith(b"0\r\n\r\n"), "the stream has its proper end"
            assert trio.current_time() == begun
            assert (await quick.answer()).status == 504
            assert await waiting.closed() == b"", "it would have waited too long"
            assert trio.current_time() - begun < 3
            with pytest.raises(OSError, match="refused"):
                await trio.open_unix_socket(here.addresses[0])
            no_bugs(caplog)
