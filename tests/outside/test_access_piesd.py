"""A real piesd asked by a real curl: over TLS with a password, by a token, as another user.

The certificate is openssl's, the file of users is `piesctl passwd`'s, and all of it is written once
in our syntax and once in that of pies.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from piesd_process import PATIENCE, Piesd, piesd
from places import free_port, public_directory

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user takes root to become")

_PIESCTL = "import sys; from supervisor.cli.piesctl import main; sys.exit(main())"

OURS = """
[identity-provider.ours]
type = "file"
path = "{home}/users"

[acl]
staff = ["allow user ann,robot,bin", "allow group ops", "deny all"]
bosses = ["allow group ops", "deny all"]

[control]
socket = ["unix://{home}/run/piesd.ctl;mode=0666", "inet://127.0.0.1:{port}"]
tls = {{cert = "{home}/cert.pem", key = "{home}/key.pem"}}
realm = "the house"
admin-acl = "bosses"
user-acl = "staff"

[component.web]
command = "sleep 1000"

[component.db]
command = "sleep 1000"
prerequisites = ["secret"]
admin-acl = ["allow acl bosses", "deny all"]

[component.secret]
command = "sleep 1000"
list-acl = "bosses"
"""

THEIRS_BESIDE = """
# What pies cannot say; [control] is in the other file, too.
[control]
tls = {{cert = "{home}/cert.pem", key = "{home}/key.pem"}}
"""

THEIRS = """
identity-provider ours {{ type file; path "{home}/users"; }}
defacl staff {{ allow user (ann, robot, bin); allow group ops; deny all; }}
defacl bosses {{ allow group ops; deny all; }}
control {{
    socket ("unix://{home}/run/piesd.ctl;mode=666", "inet://127.0.0.1:{port}");
    realm "the house";
    admin-acl bosses;
    user-acl staff;
}}
component web {{ command "sleep 1000"; }}
component db {{
    command "sleep 1000";
    prerequisites secret;
    admin-acl {{ allow acl bosses; deny all; }}
}}
component secret {{ command "sleep 1000"; list-acl bosses; }}
"""


class Said(NamedTuple):
    """What curl was answered: the header without the moment, and the body."""

    status: int
    header: list[str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class House(NamedTuple):
    """A piesd, and how its callers come."""

    piesd: Piesd
    https: str
    token: str

    @property
    def tls(self) -> tuple[str, ...]:
        return ("--cacert", str(self.piesd.home / "ca.pem"))

    def user(self, name: str, password: str) -> tuple[str, ...]:
        return (*self.tls, "-u", f"{name}:{password}")

    @property
    def ann(self) -> tuple[str, ...]:
        return self.user("ann", "sesame")

    @property
    def boss(self) -> tuple[str, ...]:
        return self.user("boss", "s3cret")

    @property
    def robot(self) -> tuple[str, ...]:
        return (*self.tls, "-H", f"Authorization: Bearer {self.token}")

    def over_tls(self, path: str, *words: str) -> Said:
        return curl(f"{self.https}{path}", *words)

    def over_unix(self, path: str, *words: str, uid: int | None = None) -> Said:
        return curl(f"http://piesd{path}", "--unix-socket", str(self.piesd.socket), *words, uid=uid)


def curl(url: str, *words: str, uid: int | None = None) -> Said:
    become: tuple[str, ...] = ()
    if uid is not None:
        become = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
    done = subprocess.run(
        [*become, "curl", "-sS", "-g", "-D", "-", "--max-time", str(PATIENCE), *words, url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    header, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
    first, *rest = header.split("\n")
    return Said(
        int(first.split()[1]), [line for line in rest if not line.startswith("date:")], body
    )


def make_certificates(home: Path) -> None:
    """An authority, and what it says of localhost."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=home)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=tests")
    openssl("req", *curve, "-keyout", "key.pem", "-out", "asked", "-subj", "/CN=localhost")
    (home / "names").write_text("subjectAltName=DNS:localhost\n")
    by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "asked", *by, "-out", "cert.pem")


def passwd(home: Path, *words: str, typed: str = "") -> str:
    return subprocess.run(
        [sys.executable, "-c", _PIESCTL, "passwd", str(home / "users"), *words],
        input=typed,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    ).stdout.strip()


@pytest.fixture(scope="module", params=["toml", "pies"])
def house(request: pytest.FixtureRequest) -> Any:
    with public_directory() as home:  # Other users have to get to the socket.
        yield from _run(home, request.param)


def _run(home: Path, syntax: str) -> Iterator[House]:
    make_certificates(home)
    passwd(home, "ann", "--stdin", typed="sesame\n")
    passwd(home, "boss", "--stdin", "--group", "ops", typed="s3cret\n")
    token, port = passwd(home, "robot", "--token"), free_port()
    config, options = OURS, tuple[str, ...]()
    if syntax == "pies":
        theirs = home / "pies.conf"
        theirs.write_text(THEIRS.format(home=home, port=port))
        config, options = THEIRS_BESIDE, ("-c", str(theirs))
    with piesd(home, config.format(home=home, port=port), options=options) as daemon:
        daemon.socket.parent.chmod(0o755)
        yield House(daemon, f"https://localhost:{port}", token)


def tags(said: Said) -> list[str]:
    assert said.status == 200, said
    return [row["tag"] for row in said.json]


# --- who sees and does what


def test_a_password_over_tls(house: House) -> None:
    nobody = house.over_tls("/programs", *house.tls)
    assert nobody.status == 401
    assert 'www-authenticate: Basic realm="the house", charset="UTF-8"' in nobody.header
    assert 'www-authenticate: Bearer realm="the house"' in nobody.header
    assert house.over_tls("/programs", *house.user("ann", "s3cret")).status == 401

    assert tags(house.over_tls("/programs", *house.ann)) == ["web", "db"]
    envelope = house.over_tls("/v1/components?fields=tag&max=1", *house.ann).json
    assert (envelope["totalCount"], envelope["matchCount"]) == (2, 2)
    for order in ("DELETE", "PUT", "POST"):
        done = house.over_tls("/programs/web?wait=20", "-X", order, *house.ann)
        assert (done.status, done.json) == (200, {"status": "OK"})
    for method, path in (("DELETE", "/programs/db"), ("PUT", "/v1/components/db/restart")):
        refused = house.over_tls(path, "-X", method, *house.ann)
        assert refused.status == 403
        assert " db: user ann at 127.0.0.1" in refused.body
    for method, path in (
        ("GET", "/conf/files"),
        ("PUT", "/conf/runtime"),
        ("DELETE", "/conf/files/true"),
        ("DELETE", "/instance/PID"),
        ("GET", "/v1/plan"),
        ("GET", "/v1/components/db/log"),
    ):
        assert house.over_tls(path, "-X", method, *house.ann).status == 403, path

    assert tags(house.over_tls("/programs", *house.boss)) == ["web", "db", "secret"]
    assert house.over_tls("/programs/db?wait=20", "-X", "POST", *house.boss).status == 200
    assert house.over_tls("/conf/runtime", "-X", "PUT", *house.boss).status == 200
    about = house.over_tls("/v1/diag/about", *house.boss).json
    assert house.https.replace("localhost", "127.0.0.1") in about["sockets"]


def test_a_token(house: House) -> None:
    assert tags(house.over_tls("/programs", *house.robot)) == ["web", "db"]
    assert house.over_tls("/alive/web", *house.robot).status == 200
    assert house.over_tls("/conf/files", *house.robot).status == 403
    forged = house.over_tls("/alive/web", *house.tls, "-H", f"Authorization: Bearer {house.token}x")
    assert forged.status == 401
    assert tags(house.over_unix("/programs", "-H", f"Authorization: Bearer {house.token}")) == [
        "web",
        "db",
    ]


@needs_root
@pytest.mark.root
def test_another_uid_on_the_unix_socket(house: House) -> None:
    assert tags(house.over_unix("/programs", uid=2)) == ["web", "db"]
    assert house.over_unix("/programs/db", "-X", "DELETE", uid=2).status == 403
    assert house.over_unix("/programs/web?wait=20", "-X", "POST", uid=2).status == 200
    for path in ("/programs", "/alive/web", "/instance", "/v1/diag/about", "/nothing"):
        assert house.over_unix(path, uid=3).status == 403, path
    # Where a rule names nobody else, root and piesd's own user still are administrators.
    assert house.over_unix("/conf/files").status == 403, "deny all binds root as well"


def test_whoever_shows_a_wrong_password_is_not_let_in_as_root(house: House) -> None:
    assert house.over_unix("/programs", "-u", "root:").status == 401
    assert house.over_unix("/programs", "-u", "boss:no").status == 401
    assert house.over_unix("/conf/files", "-u", "boss:s3cret").status == 200


# --- what is invisible

ASKED = [
    ("GET", "/programs/{}"),
    ("GET", "/programs?%7B%22op%22:%22component%22,%22arg%22:%22{}%22%7D"),
    ("GET", "/programs?%7B%22op%22:%22dependent-of%22,%22arg%22:%22{}%22%7D"),
    ("GET", "/programs?%7B%22op%22:%22glob%22,%22arg%22:%22{}*%22%7D"),
    ("GET", "/programs/{}?usage=true"),
    ("GET", "/alive/{}"),
    ("GET", "/v1/components/{}"),
    ("HEAD", "/v1/components/{}"),
    ("OPTIONS", "/v1/components/{}"),
    ("GET", "/v1/components/{}%231"),
    ("GET", "/v1/components/{}/log"),
    ("GET", "/v1/components/{}/log?follow=true"),
    ("GET", "/v1/diag/why/{}"),
    ("DELETE", "/programs/{}"),
    ("PUT", "/programs/{}?wait=5"),
    ("POST", "/programs/{}?dry-run=true"),
    ("DELETE", "/v1/components/{}"),
    ("PUT", "/v1/components/{}/stop"),
    ("PUT", "/v1/components/{}/restart?wait=5"),
    ("PUT", "/v1/components/{}/start?dry-run=true"),
    ("PUT", "/v1/components/{}/signal/KILL"),
    ("PUT", "/v1/components/{}/hold"),
]


def test_an_invisible_component_is_answered_for_byte_by_byte_as_one_that_does_not_exist(
    house: House,
) -> None:
    pid = house.over_tls("/programs/secret", *house.boss).json[0]["PID"]
    for method, path in ASKED:
        words = ("-I",) if method == "HEAD" else ("-X", method)
        hidden = house.over_tls(path.format("secret"), *words, *house.robot)
        missing = house.over_tls(path.format("nobody"), *words, *house.robot)
        assert hidden.body == missing.body.replace("nobody", "secret"), (method, path)
        assert hidden[:2] == missing[:2], (method, path)
    assert house.over_tls("/programs/secret", *house.boss).json[0]["PID"] == pid


def test_nothing_that_is_told_of_others_names_an_invisible_component(house: House) -> None:
    told = [
        house.over_tls(path, *house.robot).body
        for path in (
            "/programs",
            "/v1/components",
            "/v1/diag/why/db",
            "/v1/diag/about",
            "/v1/events?follow=false",
            "/instance",
            "/nothing",
        )
    ]
    assert "secret" not in "".join(told)
    assert '"prerequisites":[]' in told[2]
    assert "secret" in house.over_tls("/v1/events?follow=false", *house.boss).body


def test_a_reader_of_events_is_told_nothing_of_it_while_it_happens(house: House) -> None:
    with subprocess.Popen(
        ["curl", "-sSN", *house.robot, f"{house.https}/v1/events?since=0"],
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        try:
            assert (
                house.over_tls("/programs/secret?wait=20", "-X", "POST", *house.boss).status == 200
            )
            assert house.over_tls("/programs/web?wait=20", "-X", "POST", *house.boss).status == 200
            pid = house.over_tls("/programs/web", *house.boss).json[0]["PID"]
            seen = []
            for line in reader.stdout:
                seen.append(line)
                if f"'web' started, PID {pid}" in line:
                    break
        finally:
            reader.kill()
    assert "secret" not in "".join(seen)


# --- changes while it runs


def test_rules_users_and_certificates_change_while_it_runs(tmp_path: Path) -> None:
    for house in _run(tmp_path, "toml"):
        before = house.over_tls("/programs", *house.robot)
        assert tags(before) == ["web", "db"]
        config = house.piesd.config.read_text()
        house.piesd.config.write_text(config.replace("ann,robot,bin", "zoe"))
        passwd(tmp_path, "zoe", "--stdin", typed="new\n")
        make_certificates(tmp_path)
        assert house.over_unix("/conf/runtime", "-X", "PUT", "-u", "boss:s3cret").status == 200
        assert house.over_tls("/programs", *house.robot).status == 403
        assert tags(house.over_tls("/programs", *house.user("zoe", "new"))) == ["web", "db"]
        shutil.copy(tmp_path / "ca.key", tmp_path / "key.pem")
        refused = house.over_unix("/conf/runtime", "-X", "PUT", "-u", "boss:s3cret")
        assert refused.status == 400
        assert "key.pem: control.tls: cannot speak TLS with this" in refused.body
        assert tags(house.over_tls("/programs", *house.user("zoe", "new"))) == ["web", "db"]
