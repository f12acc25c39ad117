"""Access as operators meet it: curl with passwords over TLS, with tokens, as another user."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio
import trustme
from msgspec.structs import replace

from asked import ROOT, Desk
from guarded import DENY, basic, let, line, only, token_line
from guarded import guarded as guarded_desk
from places import public_directory
from supervisor.api.limits import Limits
from supervisor.api.serve import serve
from supervisor.client import Client
from supervisor.client.connection import Password, Token, Trust
from supervisor.client.errors import Refused, Unreachable
from supervisor.client.place import InetPlace, UnixPlace
from supervisor.config import passwords
from supervisor.control.identity import Identities, Origin
from supervisor.control.logins import AT_ONCE, PATIENCE
from supervisor.model.access import Acl
from supervisor.model.component import Component, UnixAddress
from supervisor.model.errors import ConfigRejected
from supervisor.model.settings import ControlSettings, Provider, Tls
from supervisor.system import pam
from supervisor.system.accounts import LinuxAccounts
from supervisor.system.sockets import closing, open_control

pytestmark = pytest.mark.real

WEB = Component(tag="web", argv=("web",))
DB = Component(tag="db", argv=("db",), admin_acl=only("boss"))
SECRET = Component(tag="secret", argv=("secret",), list_acl=only("boss"))
RULES: dict[str, Any] = {
    "user_acl": Acl((let("ann", "boss", "robot", "daemon"), DENY)),
    "admin_acl": only("boss"),
}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user takes root to become")


class Curl:
    """The real curl, run in a thread. What it answers is `(status, body)`."""

    def __init__(self, *options: str, uid: int | None = None) -> None:
        self.options, self.uid = options, uid

    async def __call__(self, target: str, *more: str) -> tuple[int, str]:
        words = ["curl", "-sS", "-g", "--max-time", "30", "-w", "\n%{http_code}"]
        run = partial(
            subprocess.run,
            [*words, *self.options, *more, target],
            capture_output=True,
            text=True,
            check=False,
            user=self.uid,
            group=self.uid,
            extra_groups=None if self.uid is None else [],
        )
        done = await trio.to_thread.run_sync(run)
        body, _, status = done.stdout.rpartition("\n")
        return int(status or 0), body or done.stderr


class Here:
    """What is served: a desk, a UNIX socket and a port of 127.0.0.1."""

    def __init__(self, asked: Desk, path: str, port: int) -> None:
        self.asked, self.path, self.port = asked, path, port

    @property
    def http(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def https(self) -> str:
        return f"https://localhost:{self.port}"


@asynccontextmanager
async def served(
    directory: Path,
    components: Sequence[Component] = (WEB, DB, SECRET),
    *,
    limits: Limits | None = None,
    unix: UnixAddress | None = None,
    **settings: Any,
) -> AsyncIterator[Here]:
    address = unix or UnixAddress(path=str(directory / "ctl"), mode=0o666)
    local = open_control(address)
    close = closing(local, address)
    tcp = socket.socket()
    tcp.bind(("127.0.0.1", 0))
    tcp.listen()
    async with guarded_desk(components, **(RULES | settings)) as asked:
        asked.control.identities = Identities(asked.control.settings, accounts=LinuxAccounts())
        here, end = Here(asked, address.path, tcp.getsockname()[1]), trio.CancelScope()

        async def run(task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            with end:
                await serve(asked.control, [local, tcp], limits=limits, task_status=task_status)

        try:
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    await nursery.start(run)
                    yield here
                    end.cancel()
        finally:
            close()
            tcp.close()


@pytest.fixture
def public() -> Iterator[Path]:
    with public_directory() as path:
        yield path


@pytest.fixture
def file(tmp_path: Path) -> Provider:
    path = str(tmp_path / "users")
    lines = [line("ann", "sesame"), line("boss", "s3cret"), line("eve", "x")]
    passwords.write(path, [*lines, token_line("robot", "t0ken")])
    return Provider(name="ours", type="file", path=path)


AUTHORITY = trustme.CA()


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """A certificate for localhost, of an authority that `ca.pem` holds."""
    certificate = AUTHORITY.issue_cert("localhost", "127.0.0.1")
    key, cert, ca = (str(tmp_path / name) for name in ("key.pem", "cert.pem", "ca.pem"))
    certificate.private_key_pem.write_to_path(key)
    certificate.cert_chain_pems[0].write_to_path(cert)
    AUTHORITY.cert_pem.write_to_path(ca)
    return Tls(cert=cert, key=key)


def trusting(tls: Tls) -> tuple[str, str]:
    return "--cacert", str(Path(tls.cert).parent / "ca.pem")


# --- curl over TLS


async def test_curl_with_a_password_over_tls_sees_and_does_what_its_rules_allow(
    tmp_path: Path, tls: Tls, file: Provider
) -> None:
    async with served(tmp_path, tls=tls, providers=(file,), realm="the house") as here:
        nobody = Curl(*trusting(tls))
        status, body = await nobody(f"{here.https}/programs", "-D", "-")
        assert status == 401
        assert 'WWW-Authenticate: Basic realm="the house", charset="UTF-8"' in body.replace(
            "www-authenticate", "WWW-Authenticate"
        ).replace("Www-Authenticate", "WWW-Authenticate")
        assert 'Bearer realm="the house"' in body
        assert (await Curl(*trusting(tls), "-u", "ann:wrong")(f"{here.https}/programs"))[0] == 401

        ann = Curl(*trusting(tls), "-u", "ann:sesame")
        assert await ann(f"{here.https}/programs?fields=tag") == (
            200,
            '[{"tag":"web"},{"tag":"db"}]',
        )
        hidden = await ann(f"{here.https}/alive/secret")
        missing = await ann(f"{here.https}/alive/nobody")
        assert hidden[0] == 404
        assert hidden[1].replace("secret", "nobody") == missing[1]
        assert await ann(f"{here.https}/programs/web", "-X", "DELETE") == (200, '{"status":"OK"}')
        status, body = await ann(f"{here.https}/programs", "-X", "POST", "-d", "true")
        assert status == 403
        assert "cannot restart db: user ann at 127.0.0.1:" in body
        for order in (("-X", "PUT", "/conf/runtime"), ("-X", "DELETE", "/instance/PID")):
            assert (await ann(here.https + order[2], *order[:2]))[0] == 403
        assert (await ann(f"{here.https}/conf/files"))[0] == 403
        assert here.asked.status("web") == "stopped"

        boss = Curl(*trusting(tls), "-u", "boss:s3cret")
        status, body = await boss(f"{here.https}/programs?fields=tag")
        assert body == '[{"tag":"web"},{"tag":"db"},{"tag":"secret"}]'
        assert (await boss(f"{here.https}/conf/files"))[0] == 200
        assert (await boss(f"{here.https}/programs/db", "-X", "DELETE"))[0] == 200

        eve = Curl(*trusting(tls), "-u", "eve:x")
        assert (await eve(f"{here.https}/programs"))[0] == 403


async def test_curl_with_a_token(tmp_path: Path, tls: Tls, file: Provider) -> None:
    async with served(tmp_path, tls=tls, providers=(file,)) as here:
        robot = Curl(*trusting(tls), "-H", "Authorization: Bearer t0ken")
        assert (await robot(f"{here.https}/alive/web"))[0] == 200
        assert (await robot(f"{here.https}/alive/secret"))[0] == 404
        wrong = Curl(*trusting(tls), "-H", "Authorization: Bearer t0kem")
        assert (await wrong(f"{here.https}/alive/web"))[0] == 401


async def test_tls_is_spoken_from_1_2_on_and_nothing_else_on_that_socket(
    tmp_path: Path, tls: Tls, file: Provider
) -> None:
    async with served(tmp_path, tls=tls, providers=(file,)) as here:
        plain = await Curl()(f"{here.http}/programs")
        assert plain[0] == 0
        old = Curl(*trusting(tls), "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0")
        assert (await old(f"{here.https}/programs"))[0] == 0
        new = Curl(*trusting(tls), "--tls-max", "1.2", "-u", "ann:sesame")
        assert (await new(f"{here.https}/programs"))[0] == 200
        unknown = await Curl("-u", "ann:sesame")(f"{here.https}/programs")
        assert unknown[0] == 0
        assert "certificate" in unknown[1]


async def test_the_name_in_a_client_certificate_is_the_user(
    tmp_path: Path, tls: Tls, file: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    mine = AUTHORITY.issue_cert("mine.example", common_name="boss")
    pem = str(tmp_path / "mine.pem")
    mine.private_key_and_cert_chain_pem.write_to_path(pem)
    asking = replace(tls, client_ca=str(tmp_path / "ca.pem"))
    async with served(tmp_path, tls=asking, providers=(file,)) as here:
        without = await Curl(*trusting(tls), "-u", "boss:s3cret")(f"{here.https}/programs")
        assert without[0] == 0, "a certificate is required"
        boss = Curl(*trusting(tls), "--cert", pem)
        assert (await boss(f"{here.https}/alive/secret"))[0] == 200
        ann = Curl(*trusting(tls), "--cert", pem, "-u", "ann:sesame")
        assert (await ann(f"{here.https}/alive/secret"))[0] == 404
        other = trustme.CA().issue_cert("mine.example", common_name="boss")
        other.private_key_and_cert_chain_pem.write_to_path(pem)
        caplog.set_level("DEBUG", "supervisor.api.serve")
        assert (await boss(f"{here.https}/alive/secret"))[0] == 0
        assert "cannot speak TLS with 127.0.0.1: " in caplog.text
        assert "certificate verify failed" in caplog.text


async def test_who_never_shakes_hands_is_dropped_and_keeps_nobody_out(
    tmp_path: Path, tls: Tls, file: Provider
) -> None:
    limits = Limits(connections=2, arrival=0.5)
    async with served(tmp_path, tls=tls, providers=(file,), limits=limits) as here:
        streams = [await trio.open_tcp_stream("127.0.0.1", here.port) for _ in range(4)]
        ann = Curl(*trusting(tls), "-u", "ann:sesame")
        assert (await ann(f"{here.https}/alive/web"))[0] == 200
        for stream in streams:
            async with stream:
                assert await stream.receive_some() == b""


async def test_a_reload_brings_a_new_certificate_and_a_bad_one_changes_nothing(
    tmp_path: Path, tls: Tls, file: Provider
) -> None:
    async with served(tmp_path, tls=tls, providers=(file,)) as here:
        disk, control = here.asked.disk, here.asked.control
        fresh = AUTHORITY.issue_cert("localhost")
        Path(tls.cert).write_bytes(fresh.cert_chain_pems[0].bytes())
        with pytest.raises(
            ConfigRejected, match=r"cert\.pem and .*key\.pem: control\.tls: cannot speak TLS"
        ):
            await control.reload(ROOT)
        ann = Curl(*trusting(tls), "-u", "ann:sesame")
        assert (await ann(f"{here.https}/alive/web"))[0] == 200
        Path(tls.key).write_bytes(fresh.private_key_pem.bytes())
        await control.reload(ROOT)
        assert await _served_certificate(here, tls) == ssl.PEM_cert_to_DER_cert(
            fresh.cert_chain_pems[0].bytes().decode()
        )
        disk.plan = replace(disk.plan, control=replace(disk.plan.control, tls=None))
        await control.reload(ROOT)
        assert (await Curl("-u", "ann:sesame")(f"{here.http}/alive/web"))[0] == 200


async def _served_certificate(here: Here, tls: Tls) -> bytes:
    context = ssl.create_default_context(cafile=trusting(tls)[1])
    stream = await trio.open_ssl_over_tcp_stream(
        "localhost", here.port, ssl_context=context, https_compatible=True
    )
    async with stream:
        await stream.do_handshake()
        certificate: bytes = stream.getpeercert(binary_form=True)
        return certificate


@pytest.mark.parametrize("broken", ["cert", "key", "client_ca"])
async def test_a_certificate_that_cannot_be_used_refuses_the_start(
    broken: str, tmp_path: Path, tls: Tls
) -> None:
    bad = replace(tls, **{broken: str(tmp_path / "missing.pem")})
    with pytest.RaisesGroup(ConfigRejected, flatten_subgroups=True, allow_unwrapped=True):
        async with served(tmp_path, tls=bad):
            pass


# --- UNIX sockets


@needs_root
@pytest.mark.root
async def test_another_user_on_the_unix_socket_sees_and_does_what_its_rules_allow(
    public: Path,
) -> None:
    async with served(public) as here:
        daemon = Curl("--unix-socket", here.path, uid=1)
        assert await daemon("http://x/programs?fields=tag") == (
            200,
            '[{"tag":"web"},{"tag":"db"}]',
        )
        assert (await daemon("http://x/alive/secret"))[0] == 404
        assert (await daemon("http://x/programs/web", "-X", "DELETE"))[0] == 200
        status, body = await daemon("http://x/programs/db", "-X", "DELETE")
        assert status == 403
        assert f"cannot stop db: uid 1 (daemon) over {here.path} has no right to it" in body
        assert (await daemon("http://x/instance/PID", "-X", "DELETE"))[0] == 403
        other = Curl("--unix-socket", here.path, uid=2)
        assert (await other("http://x/programs"))[0] == 403


@needs_root
@pytest.mark.root
async def test_groups_of_the_machine_count(public: Path) -> None:
    rule = replace(let("sys"), who="group")
    async with served(public, user_acl=Acl((rule, DENY))) as here:
        assert (await Curl("--unix-socket", here.path, uid=3)("http://x/programs"))[0] == 200
        assert (await Curl("--unix-socket", here.path, uid=2)("http://x/programs"))[0] == 403


@needs_root
@pytest.mark.root
async def test_a_socket_has_the_owner_the_group_and_the_mode_that_were_asked_for(
    public: Path,
) -> None:
    address = UnixAddress(path=str(public / "ctl"), user="daemon", group="sys", mode=0o620)
    async with served(public, unix=address) as here:
        status = os.stat(here.path)
        assert (status.st_uid, status.st_gid) == (1, 3)
        assert stat.S_IMODE(status.st_mode) == 0o620
        assert (await Curl("--unix-socket", here.path, uid=1)("http://x/programs"))[0] == 200
        assert (await Curl("--unix-socket", here.path, uid=2)("http://x/programs"))[0] == 0


async def test_on_a_unix_socket_credentials_replace_the_uid(tmp_path: Path, file: Provider) -> None:
    rules: dict[str, Any] = {"user_acl": None, "admin_acl": only("boss")}
    async with served(tmp_path, providers=(file,), **rules) as here:
        ourselves = Curl("--unix-socket", here.path)
        assert (await ourselves("http://x/programs"))[0] == 200
        assert (await ourselves("http://x/programs", "-u", "eve:x"))[0] == 403
        assert (await ourselves("http://x/conf/files", "-u", "boss:s3cret"))[0] == 200
        assert (await ourselves("http://x/conf/files", "-u", "boss:no"))[0] == 401


# --- the client


async def test_the_client_logs_in_over_tls(tmp_path: Path, tls: Tls, file: Provider) -> None:
    async with served(tmp_path, tls=tls, providers=(file,)) as here:
        place, trust = InetPlace("localhost", here.port, tls=True), Trust(ca=trusting(tls)[1])

        def ask(**options: Any) -> list[str]:
            client = Client(place, 20, **({"trust": trust} | options))
            return [str(row["tag"]) for row in client.programs()]

        in_thread = trio.to_thread.run_sync
        ann = Password("ann", "sesame")
        assert await in_thread(partial(ask, credentials=ann)) == ["web", "db"]
        assert await in_thread(partial(ask, credentials=Token("t0ken"))) == ["web", "db"]
        assert "sesame" not in repr(ann)
        assert "t0ken" not in repr(Token("t0ken"))
        with pytest.raises(Refused) as refused:
            await in_thread(ask)
        assert (refused.value.status, refused.value.hint) == (
            401,
            "give a name and a password (piesctl takes them from ~/.netrc), or a token",
        )
        with pytest.raises(Unreachable, match="cannot trust https://localhost") as distrusted:
            await in_thread(partial(ask, trust=None))
        assert "SSL_CERT_FILE" in distrusted.value.hint
        with pytest.raises(Unreachable, match="cannot speak TLS: "):
            await in_thread(partial(ask, trust=Trust(ca="/nowhere.pem")))


async def test_the_client_shows_its_certificate(tmp_path: Path, tls: Tls) -> None:
    mine = AUTHORITY.issue_cert("mine.example", common_name="boss")
    pem = str(tmp_path / "mine.pem")
    mine.private_key_and_cert_chain_pem.write_to_path(pem)
    asking = replace(tls, client_ca=str(tmp_path / "ca.pem"))
    async with served(tmp_path, tls=asking) as here:
        place = InetPlace("localhost", here.port, tls=True)
        client = Client(place, 20, trust=Trust(ca=trusting(tls)[1], cert=pem))
        rows = await trio.to_thread.run_sync(client.programs)
        assert [row["tag"] for row in rows] == ["web", "db", "secret"]


async def test_the_client_knows_tls_from_what_is_none(tmp_path: Path, file: Provider) -> None:
    async with served(tmp_path, providers=(file,)) as here:
        client = Client(InetPlace("localhost", here.port, tls=True), 20)
        with pytest.raises(Unreachable, match="cannot speak TLS with"):
            await trio.to_thread.run_sync(client.programs)
        local = Client(UnixPlace(here.path), 20, credentials=Password("ann", "sesame"))
        rows = await trio.to_thread.run_sync(local.programs)
        assert [row["tag"] for row in rows] == ["web", "db"]


# --- what hangs


async def test_a_kind_of_provider_that_hangs_holds_up_no_other_kind(file: Provider) -> None:
    """A thread that hangs cannot be taken back, so each kind has threads of its own."""
    arrived, going_on = threading.Semaphore(0), threading.Event()

    class Stuck(LinuxAccounts):
        def check_pam(self, service: str, user: str, password: str) -> bool:
            arrived.release()
            return going_on.wait(60)

    here = Origin(address="127.0.0.1")
    pam = Provider(name="modules", type="pam")
    settings = ControlSettings(sockets=(), providers=(file, pam))
    known = Identities(settings, accounts=Stuck())
    try:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(AT_ONCE):
                    nursery.start_soon(known.identify, here, basic(f"stranger{number}", "x"))
                for _ in range(AT_ONCE):
                    await trio.to_thread.run_sync(arrived.acquire)
                begun = trio.current_time()
                robot = await known.identify(here, "Bearer t0ken")
                ann = await known.identify(here, basic("ann", "sesame"))
                assert trio.current_time() - begun < PATIENCE / 2, "nobody was waited for"
                nursery.cancel_scope.cancel()
    finally:
        going_on.set()
    assert [each.subject.user for each in (robot, ann) if each.subject] == ["robot", "ann"]


@pytest.fixture
def service() -> Iterator[Callable[[str], str]]:
    """Makes a PAM service of these lines, and returns its name."""
    name = f"piesd-test-{os.getpid()}"
    path = Path("/etc/pam.d") / name

    def make(text: str) -> str:
        path.write_text(text)
        return name

    yield make
    path.unlink(missing_ok=True)


def running(word: str) -> list[psutil.Process]:
    """The processes that have this among the words of their command."""
    return [
        each for each in psutil.process_iter(["cmdline"]) if word in (each.info["cmdline"] or ())
    ]


@needs_root
@pytest.mark.root
@pytest.mark.skipif(not any(Path("/lib").glob("**/pam_exec.so")), reason="there is no pam_exec")
def test_what_a_module_of_pam_starts_decides_and_one_that_hangs_is_no_answer(
    service: Callable[[str], str],
) -> None:
    execute, rest = "auth required pam_exec.so quiet", "account required pam_permit.so\n"
    assert pam.check(service(f"{execute} /bin/true\n{rest}"), "ann", "x")
    assert not pam.check(service(f"{execute} /bin/false\n{rest}"), "ann", "x")
    forever = f"1000.{os.getpid()}"
    name = service(f"{execute} /bin/sleep {forever}\n{rest}")
    try:
        with pytest.raises(TimeoutError, match="did not end within"):
            pam.check(name, "ann", "x", timeout=3)
        assert not psutil.wait_procs(running(name), 60)[1], "who asked was ended"
    finally:
        for each in running(forever):  # A session of its own, as pam_exec makes it.
            each.kill()


# --- what this machine knows


@needs_root
@pytest.mark.root
def test_the_shadow_file_is_read_as_login_would(tmp_path: Path) -> None:
    from supervisor.system import shadow

    hashed = shadow._crypt()("sesame", "$6$saltsalt$")
    path = tmp_path / "shadow"
    path.write_text(
        f"ann:{hashed}:19000:0:99999:7:::\n"
        f"locked:!{hashed}:19000:0:99999:7:::\n"
        f"expired:{hashed}:19000:0:99999:7::19001:\n"
        f"stale:{hashed}:19000:0:30:7:10::\n"
        f"must-change:{hashed}:0:0:99999:7:::\n"
        f"open::19000:0:99999:7:::\n"
        f"short:{hashed}\n"
        "star:*:19000::::::\n"
    )
    check = partial(shadow.check, path=str(path))
    assert check("ann", "sesame")
    assert check("short", "sesame")
    assert not check("ann", "Sesame")
    for user in ("locked", "expired", "stale", "must-change", "open", "star", "nobody"):
        assert not check(user, "sesame"), user
        assert not check(user, ""), user
    with pytest.raises(FileNotFoundError):
        shadow.check("ann", "sesame", path=str(tmp_path / "nowhere"))


def test_pam_says_no_to_who_is_nobody() -> None:
    try:
        assert not pam.check("pies", "nobody-is-called-so", "x")
    except OSError as error:
        pytest.skip(f"this machine has no PAM: {error}")
    assert not pam.check("pies", "root", "surely not this")
    with pytest.raises(OSError, match="PAM"):
        pam.check("pies", "a\0b", "x")


def test_no_answer_of_pam_is_not_a_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, why in (
        ("import nothing_is_called_so", "PAM: ModuleNotFoundError: No module named"),
        ("import os; os.kill(os.getpid(), 11)", "PAM: "),
    ):
        program = tmp_path / "program.py"
        program.write_text(text)
        monkeypatch.setattr(pam, "_PROGRAM", str(program))
        with pytest.raises(OSError, match=why):
            pam.check("pies", "ann", "x")


def test_names_and_groups_of_this_machine() -> None:
    accounts = LinuxAccounts()
    assert accounts.of_uid(0) == ("root", accounts.groups("root"))
    assert "root" in accounts.groups("root")
    assert accounts.of_uid(2**31 - 7) is None
    assert accounts.groups("nobody-is-called-so") == frozenset()


# --- piesctl passwd


def test_piesctl_passwd_makes_what_piesd_reads(tmp_path: Path) -> None:
    path = tmp_path / "users"

    def run(*words: str, typed: str = "", code: int = 0) -> str:
        program = (
            "import sys\n"
            "from supervisor.cli.passwd import passwd\n"
            "from supervisor.cli.settings import Settings\n"
            "sys.exit(passwd.main(sys.argv[1:], obj=Settings(), standalone_mode=True))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(path), *words],
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    run("ann", "--stdin", "-g", "ops", "-g", "staff", typed="sesame\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = run("ann", "--token").strip()
    run("bob", "--stdin", typed="x\n")
    ann, robot, bob = passwords.read(str(path))
    assert (ann.user, ann.kind, ann.groups) == ("ann", "password", ("ops", "staff"))
    assert passwords.is_password(ann.hash, "sesame")
    assert (robot.user, robot.kind, robot.groups) == ("ann", "token", ("ops", "staff"))
    assert passwords.find_token([robot], token) == robot
    assert token not in path.read_text()
    assert bob.groups == ()
    run("ann", "--stdin", typed="other\n")
    (mine,) = [each for each in passwords.read(str(path)) if each.kind == "password"][1:]
    assert passwords.is_password(mine.hash, "other")
    run("ann", "--delete", "--token")
    assert {each.kind for each in passwords.read(str(path))} == {"password"}
    run("ann", "--delete")
    assert [each.user for each in passwords.read(str(path))] == ["bob"]
    assert "it is not in" in run("ann", "--delete", code=1)
    assert "use --stdin" in run("ann", code=2)
    assert "empty password" in run("ann", "--stdin", typed="\n", code=2)
    assert "no space, comma or colon" in run("a:b", "--token", code=2)
    path.write_text("broken")
    path.chmod(0o600)
    assert "line 1: expected NAME:HASH:GROUPS" in run("ann", "--token", code=1)
