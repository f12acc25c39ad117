"""Configurations in the manner of pies' documentation: each behaves as the manual says.

Source: pies.md sections 1 to 3. The files are in `tests/pies_samples/`.
"""

from __future__ import annotations

import base64
import getpass
import http.client
import json
import os
import re
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from piesd_process import PATIENCE, Piesd, alive
from supervisor.config import passwords

pytestmark = pytest.mark.real

SAMPLES = Path(__file__).parent.parent / "pies_samples"

_SERVE = """#!/bin/sh
# Tells how it was started, and serves until it is told to end.
{
    echo "argv0=$0"; echo "args=$*"; echo "cwd=$(pwd)"; echo "umask=$(umask)"
    echo "nofile=$(ulimit -Hn)"; echo "core=$(ulimit -Hc)"
    echo "environment:"; env
} > "@DIR@/$1.new"
mv "@DIR@/$1.new" "@DIR@/$1.started"
echo "$1 started $$" >> "@DIR@/order"
echo "ready: $*"
echo "complaint of $1" >&2
exec sleep 1000000
"""


def script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[str], Piesd]]:
    """Run a piesd on a sample; `@DIR@` in it is the test's directory."""
    daemons: list[Piesd] = []

    def start(name: str, *, beside: str = "", **words: str) -> Piesd:
        text = (SAMPLES / f"{name}.conf").read_text().replace("@DIR@", str(tmp_path))
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        (tmp_path / f"{name}.conf").write_text(text)
        daemon = Piesd(tmp_path, beside, options=("-c", str(tmp_path / f"{name}.conf")))
        daemons.append(daemon)
        return daemon.wait_ready()

    script(tmp_path / "serve", _SERVE.replace("@DIR@", str(tmp_path)))
    (tmp_path / "spool").mkdir()
    yield start
    for daemon in daemons:
        daemon.end()


def started(daemon: Piesd, tag: str) -> dict[str, str]:
    """What `serve` has told about its start: facts, and the environment."""
    path = daemon.home / f"{tag}.started"
    daemon.until(path.exists, f"{tag} started")
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def order(daemon: Piesd) -> list[str]:
    path = daemon.home / "order"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


# --- a web of components


def test_the_mail_system_starts_in_the_order_of_its_prerequisites(
    run: Callable[[str], Piesd],
) -> None:
    daemon = run("mail-system")
    for tag in ("smar", "qmgr", "smtpc", "smtps"):
        started(daemon, tag)
        daemon.until_status(tag, "running")
    rows = {row["tag"]: row for row in daemon.rows()}
    assert rows["smtps"]["prerequisites"] == ["smar", "qmgr"]
    assert rows["statistics"]["active"] is False
    assert "statistics" not in order(daemon)
    assert_each_began_behind_what_it_needs(daemon, times=1)


def assert_each_began_behind_what_it_needs(daemon: Piesd, times: int) -> None:
    """Look at the latest of so many starts, in piesd's own log.

    What the programs tell comes only after a shell has begun to interpret them. Two of one level
    may begin in any order: that of the forks is not that in which the kernel gets them to exec.
    """
    tags = ("smar", "qmgr", "smtpc", "smtps")
    daemon.until(lambda: all(daemon.log.count(f"'{tag}' started, PID") == times for tag in tags))
    smar, qmgr, smtpc, smtps = (daemon.log.rindex(f"'{tag}' started, PID") for tag in tags)
    assert smar < qmgr < min(smtpc, smtps)


def test_the_mail_system_gives_its_programs_what_was_said(run: Callable[[str], Piesd]) -> None:
    daemon = run("mail-system")
    home = str(daemon.home)
    smar, qmgr, smtps = (started(daemon, tag) for tag in ("smar", "qmgr", "smtps"))
    assert (smar["cwd"], smar["umask"]) == (f"{home}/spool", "0027")
    assert (smar["nofile"], smar["core"]) == ("256", "0")
    assert smar["MAIL_HOME"] == home
    assert qmgr["QUEUE"] == f"{home}/spool/queue/0"
    assert qmgr["SPOOL"] == f"{home}/spool"
    assert "HOME" not in qmgr
    assert "MAIL_HOME" not in qmgr
    assert smtps["args"] == f"smtps --spool {home}/spool"
    assert (smtps["nofile"], smtps["umask"]) == ("64", "0077")
    daemon.until(
        lambda: (
            (daemon.home / "smar.log").exists()
            and "complaint of smar" in (daemon.home / "smar.log").read_text()
        )
    )


def test_a_file_to_remove_is_gone_before_the_program_starts(
    run: Callable[[str], Piesd], tmp_path: Path
) -> None:
    (tmp_path / "spool" / "qmgr.lock").write_text("left over")
    daemon = run("mail-system")
    started(daemon, "qmgr")
    assert not (tmp_path / "spool" / "qmgr.lock").exists()


def test_when_a_prerequisite_dies_its_dependents_come_back_behind_it(
    run: Callable[[str], Piesd],
) -> None:
    daemon = run("mail-system")
    tags = ("smar", "qmgr", "smtpc", "smtps")
    before = {tag: daemon.until_status(tag, "running")["PID"] for tag in tags}
    daemon.until(lambda: len(order(daemon)) == 4)
    os.kill(before["smar"], signal.SIGKILL)
    daemon.until(lambda: len(order(daemon)) == 8, "everything started a second time")
    assert set(order(daemon)[4:]) == set(tags)
    assert_each_began_behind_what_it_needs(daemon, times=2)
    assert not any(alive(pid) for pid in before.values())


# --- an SMTP-like server with redirectors to syslog


def test_what_the_server_prints_goes_to_syslog(run: Callable[[str], Piesd], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(tmp_path / "log"))
        log.settimeout(PATIENCE)
        daemon = run("smtp-server")
        assert started(daemon, "--greeting")["args"].startswith("--greeting 220")
        messages = [log.recv(4096).decode() for _ in range(2)]
    # mail is facility 2 and info priority 6; local3 is 19 and err 3.
    heard = {int(re.match(r"<(\d+)>", message)[1]): message for message in messages}  # type: ignore[index]
    assert set(heard) == {2 * 8 + 6, 19 * 8 + 3}
    assert heard[22].rstrip().endswith("ready: --greeting 220 mail.example.org")
    assert "smtpd" in heard[22]
    assert "complaint of" in heard[155]


# --- ftp by inetd


def test_ftp_is_served_by_inetd_under_another_name(
    run: Callable[[str], Piesd], tmp_path: Path
) -> None:
    script(
        tmp_path / "in.ftpd",
        '#!/bin/bash\nprintf "220 %s %s\\r\\n" "$(tr "\\0" " " < /proc/$$/cmdline)" ready\n'
        "read -r line\nexit 0\n",
    )
    script(
        tmp_path / "served",
        f'#!/bin/sh\nenv | grep ^PIES_ | sort > {tmp_path}/served.new\necho "args=$*" >> '
        f"{tmp_path}/served.new\nmv {tmp_path}/served.new {tmp_path}/served.done\n",
    )
    daemon = run("ftp")
    listener = daemon.until_status("ftp", "listener")
    path = tmp_path / "ftp.sock"
    assert listener["URL"] == f"unix://{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        greeting = client.recv(4096).decode()
        assert greeting.startswith("220 ")
        assert "-ll" in greeting
        child = next(row for row in daemon.rows("ftp") if "PID" in row)
        client.sendall(b"QUIT\r\n")
    done = daemon.until(lambda: (tmp_path / "served.done").exists() and (tmp_path / "served.done"))
    told = dict(line.split("=", 1) for line in done.read_text().splitlines())
    assert told["PIES_COMPONENT"] == "ftp"
    assert told["PIES_STATUS"] == "0"
    assert told["PIES_PID"] == str(child["PID"])
    assert told["PIES_MASTER_PID"] == str(daemon.pid)
    assert told["args"] == "ftp"


# --- notifications


def test_a_component_that_ends_badly_is_disabled_and_people_are_told(
    run: Callable[[str], Piesd], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "gate")
    os.mkfifo(tmp_path / "own-gate")
    script(
        tmp_path / "sendmail",
        f'#!/bin/sh\n{{ echo "args=$*"; cat; }} > {tmp_path}/mail.new\n'
        f"mv {tmp_path}/mail.new {tmp_path}/mail.sent\n",
    )
    daemon = run("notification")
    needy = daemon.until_status("needy", "running")["PID"]
    (tmp_path / "gate").write_text("go\n")
    sent = daemon.until(lambda: (tmp_path / "mail.sent").exists() and (tmp_path / "mail.sent"))
    args, _, mail = sent.read_text().partition("\n")
    # Behind -t sendmail would not write to those who are named as arguments, so it is left out.
    assert args == "args=-oi root@example.org ops@example.org"
    assert "X-Agent: pies" in mail
    assert "Subject: broken exited with 78" in mail
    assert 'The component "broken" of piesd exited with 78.' in mail
    for tag in ("broken", "needy"):
        row = daemon.until_status(tag, "stopped")
        assert row["active"] is False
    assert not alive(needy)
    assert "78" in daemon.piesctl("why", "broken")
    # Until an administrator asks.
    daemon.order("PUT", {"op": "component", "arg": "broken"}, wait=None)
    daemon.until_status("broken", "running")


def test_the_block_of_a_component_wins_over_the_global_one(
    run: Callable[[str], Piesd], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "gate")
    os.mkfifo(tmp_path / "own-gate")
    script(
        tmp_path / "noted", f"#!/bin/sh\necho $PIES_COMPONENT $PIES_STATUS > {tmp_path}/noted.x\n"
    )
    daemon = run("notification")
    first = daemon.until_status("own", "running")["PID"]
    (tmp_path / "own-gate").write_text("go\n")
    daemon.until(
        lambda: any(row.get("PID") not in (None, first) for row in daemon.rows("own")),
        "own started again",
    )
    daemon.until((tmp_path / "noted.x").exists)
    daemon.until(lambda: (tmp_path / "noted.x").read_text() == "own 64\n")
    assert daemon.row("own")["active"] is True


# --- access


class _Client:
    """Asks a daemon over TCP, with a name and a password or without."""

    def __init__(self, port: int, login: str = "") -> None:
        self.port = port
        token = base64.b64encode(login.encode()).decode()
        self.headers = {"Authorization": f"Basic {token}"} if login else {}

    def __call__(self, method: str, path: str, selector: Any = None) -> tuple[int, Any]:
        """Return the status of the answer, and its body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            body = None if selector is None else json.dumps(selector)
            connection.request(method, path, body=body, headers=self.headers)
            response = connection.getresponse()
            answer = response.read()
            return response.status, json.loads(answer) if answer else None
        finally:
            connection.close()


def test_everybody_sees_and_does_what_the_lists_allow(
    run: Callable[..., Piesd], tmp_path: Path
) -> None:
    hashed = passwords.hash_password("sesame")
    people = [passwords.Entry("alice", hashed), passwords.Entry("carol", hashed, ("wheel",))]
    passwords.write(str(tmp_path / "passwd"), people)
    # The file itself says where piesd listens; port 0 is one that is free.
    daemon = run("access", beside="[control]\n", PORT="0", ME=getpass.getuser())
    daemon.socket = tmp_path / "ctl.sock"
    listening = psutil.Process(daemon.pid).net_connections("tcp")
    (port,) = {each.laddr.port for each in listening if each.status == psutil.CONN_LISTEN}
    nobody, alice = _Client(port), _Client(port, "alice:sesame")
    carol, liar = _Client(port, "carol:sesame"), _Client(port, "alice:wrong")

    assert nobody("GET", "/programs")[0] == 401
    assert liar("GET", "/programs")[0] == 401
    # By the socket it is the user of this test who asks: it sees and does everything.
    assert {row["tag"] for row in daemon.rows()} == {"public", "secret"}
    pid = daemon.until_status("public", "running")["PID"]

    for who in (alice, carol):
        status, rows = who("GET", "/programs")
        assert (status, [row["tag"] for row in rows]) == (200, ["public"])
        assert who("GET", "/alive/secret")[0] == 404
    assert carol("POST", "/programs/public")[0] == 403
    assert alice("POST", "/programs", {"op": "component", "arg": "public"})[0] == 200
    daemon.until(lambda: daemon.row("public").get("PID") not in (None, pid), "it is another one")

    assert alice("GET", "/conf/files")[0] == 403
    assert alice("DELETE", "/instance/PID")[0] == 403
    assert carol("GET", "/conf/files")[0] == 200
    assert carol("DELETE", "/instance/PID")[0] == 200
    assert daemon.wait_end() == 0
