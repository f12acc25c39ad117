"""Debian's servers, one process for each connection, under their own clients."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import socket_clients as clients
from piesd_process import PATIENCE, piesd
from places import free_port
from real_programs import executable

pytestmark = [pytest.mark.real, pytest.mark.slow]


def nowait(tag: str, port: int, *words: object, more: str = "") -> str:
    command = ", ".join(f'"{word}"' for word in words)
    return f"""
[component.{tag}]
mode = "inetd"
socket = "inet://127.0.0.1:{port}"
command = [{command}]
stderr = "null"
{more}
"""


# --- git


@clients.needs("git")
def test_git_daemon_is_cloned_fetched_from_killed_and_started_again(home: Path) -> None:
    source, port = home / "source", free_port()
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@y")
    clients.run(*git, "init", "-q", "-b", "main", source)
    big = clients.something_big(source / "big")
    clients.run(*git, "-C", source, "add", ".")
    clients.run(*git, "-C", source, "commit", "-qm", "one")
    words = (executable("git"), "daemon", "--inetd", "--export-all", f"--base-path={home}")
    url = f"git://127.0.0.1:{port}/source"
    with piesd(home, nowait("git", port, *words)) as daemon:
        clients.run("git", "clone", "-q", url, home / "copy")
        assert clients.digest(home / "copy" / "big") == big
        clients.run(*git, "-C", source, "commit", "-qm", "two", "--allow-empty")
        clients.run("git", "-C", home / "copy", "pull", "-q")
        head = clients.run("git", "-C", source, "rev-parse", "HEAD")
        assert clients.run("git", "-C", home / "copy", "rev-parse", "HEAD") == head
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            os.kill(clients.one_server(daemon, "git"), signal.SIGKILL)
            assert client.recv(1) == b""
        assert clients.run("git", "ls-remote", url, "HEAD").split()[0] == head.strip()
        clients.stop_and_start(daemon, "git", lambda: clients.refuses(port))
        assert clients.run("git", "ls-remote", url, "HEAD").split()[0] == head.strip()


# --- rsync


def rsync(home: Path, port: int) -> str:
    (home / "share").mkdir()
    as_root = "uid = root\ngid = root\n" if os.geteuid() == 0 else ""
    (home / "rsyncd.conf").write_text(
        f"{as_root}use chroot = no\nlog file = {home}/rsyncd.log\n"
        f"[share]\npath = {home}/share\nread only = no\n"
    )
    return nowait("rsync", port, executable("rsync"), "--daemon", f"--config={home}/rsyncd.conf")


@clients.needs("rsync")
def test_rsync_goes_both_ways_and_a_reload_in_the_middle_does_not_matter(home: Path) -> None:
    port = free_port()
    url = f"rsync://127.0.0.1:{port}/share/"
    config = rsync(home, port)
    content = clients.something_big(home / "upload")
    with piesd(home, config + clients.OTHER.format(seconds=1000000)) as daemon:
        with clients.running("rsync", "--bwlimit=4000", home / "upload", url) as client:
            daemon.until(lambda: any(path.stat().st_size for path in _files(home / "share")))
            pid = clients.one_server(daemon, "rsync")
            with clients.held(client):
                changed = clients.reload_with(daemon, config + clients.OTHER.format(seconds=999999))
                assert changed == [("other", "restart")]
                assert clients.servers(daemon, "rsync") == [pid]
            assert client.wait(PATIENCE) == 0
        assert clients.digest(home / "share" / "upload") == content
        clients.run("rsync", f"{url}upload", home / "download")
        assert clients.digest(home / "download") == content


@clients.needs("rsync")
def test_rsync_notices_that_its_server_was_killed_and_goes_on_with_the_next(home: Path) -> None:
    port = free_port()
    url = f"rsync://127.0.0.1:{port}/share/"
    content = clients.something_big(home / "upload")
    with piesd(home, rsync(home, port)) as daemon:
        with clients.running("rsync", "--bwlimit=4000", home / "upload", url) as client:
            daemon.until(lambda: any(path.stat().st_size for path in _files(home / "share")))
            os.kill(clients.one_server(daemon, "rsync"), signal.SIGKILL)
            assert client.wait(PATIENCE) != 0
        daemon.until(lambda: not clients.servers(daemon, "rsync"))
        clients.run("rsync", home / "upload", url)
        assert clients.digest(home / "share" / "upload") == content
        clients.stop_and_start(daemon, "rsync", lambda: clients.refuses(port))
        assert "upload" in clients.run("rsync", url)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]


# --- ssh


@pytest.fixture
def separation() -> Iterator[None]:
    """Give sshd the directory that Debian's service makes for it, where we are root."""
    place = Path("/run/sshd")
    made = os.geteuid() == 0 and not place.exists()
    if made:
        place.mkdir(mode=0o755)
    yield
    if made:
        place.rmdir()


@clients.needs("sshd", "ssh", "ssh-keygen")
@pytest.mark.usefixtures("separation")
def test_sshd_lets_a_key_in_and_the_session_outlives_a_reload_but_no_kill(home: Path) -> None:
    port = free_port()
    for name in ("host", "mine"):
        clients.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name)
    shutil.copy(home / "mine.pub", home / "authorized")
    (home / "sshd.conf").write_text(
        f"HostKey {home}/host\nAuthorizedKeysFile {home}/authorized\nPidFile none\n"
        "UsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\n"
    )
    config = nowait("ssh", port, executable("sshd"), "-i", "-f", home / "sshd.conf")
    known = f"[127.0.0.1]:{port} {(home / 'host.pub').read_text()}"
    (home / "known").write_text(known)
    ssh = (
        *("ssh", "-F", "none", "-i", home / "mine", "-p", port),
        *("-o", f"UserKnownHostsFile={home}/known", "-o", "BatchMode=yes"),
        f"{getpass.getuser()}@127.0.0.1",
    )
    with piesd(home, config + clients.OTHER.format(seconds=1000000)) as daemon:
        assert clients.run(*ssh, "echo $((6*7))") == "42\n"
        with clients.running(*ssh, "cat") as client:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(b"before\n")
            assert client.stdout.readline() == b"before\n"
            pid = clients.one_server(daemon, "ssh")
            changed = clients.reload_with(daemon, config + clients.OTHER.format(seconds=999999))
            assert changed == [("other", "restart")]
            client.stdin.write(b"after\n")
            assert client.stdout.readline() == b"after\n"
            assert clients.servers(daemon, "ssh") == [pid]
            os.kill(pid, signal.SIGKILL)
            assert client.wait(PATIENCE) == 255
        daemon.until(lambda: not clients.servers(daemon, "ssh"))
        clients.stop_and_start(daemon, "ssh", lambda: clients.refuses(port))
        assert clients.run(*ssh, "echo again") == "again\n"


# --- the web


@clients.needs("micro-httpd", "curl")
def test_a_web_server_under_load_answers_every_request_also_during_reloads(home: Path) -> None:
    port = free_port()
    (home / "pages").mkdir()
    for number in range(1, 201):
        (home / "pages" / f"{number}.txt").write_text(f"page {number}\n")
    config = nowait("web", port, executable("micro-httpd"), home / "pages")
    (home / "got").mkdir()
    load = (
        *("curl", "-sS", "--fail", "--parallel", "--parallel-immediate", "--parallel-max", 16),
        *("--retry", 0, "--max-time", PATIENCE, "-o", home / "got" / "#1"),
        f"http://127.0.0.1:{port}/[1-200].txt",
    )
    with piesd(home, config + clients.OTHER.format(seconds=1000000)) as daemon:
        with clients.running(*load) as client:
            for seconds in range(1, 6):
                changed = clients.reload_with(
                    daemon, config + clients.OTHER.format(seconds=seconds * 100000)
                )
                assert changed == [("other", "restart")]
            assert client.wait(2 * PATIENCE) == 0
        for number in range(1, 201):
            assert (home / "got" / str(number)).read_text() == f"page {number}\n"
        daemon.until(lambda: not clients.servers(daemon, "web"))
        assert daemon.row("web")["refused"] == 0
        clients.stop_and_start(daemon, "web", lambda: clients.refuses(port))
        assert clients.run("curl", "-sS", f"http://127.0.0.1:{port}/7.txt") == "page 7\n"


@clients.needs("micro-httpd", "curl")
def test_a_download_outlives_a_reload_that_replaces_the_server(home: Path) -> None:
    port = free_port()
    (home / "pages").mkdir()
    content = clients.something_big(home / "pages" / "big.bin", 32 << 20)
    url = f"http://127.0.0.1:{port}/big.bin"
    config = nowait(
        "web", port, executable("micro-httpd"), home / "pages", more="max-instances = 9"
    )
    with piesd(home, config) as daemon:
        with clients.running(
            "curl", "-sS", "--limit-rate", "8M", "-o", home / "got", url
        ) as client:
            daemon.until(lambda: (home / "got").exists() and (home / "got").stat().st_size)
            pid = clients.one_server(daemon, "web")
            with clients.held(client):
                changed = clients.reload_with(
                    daemon, config.replace("instances = 9", "instances = 1")
                )
                assert changed == [("web", "live")]
                assert clients.servers(daemon, "web") == [pid]
                # The limit counts who is there: another one is turned away.
                clients.run("curl", "-sS", url, code=None)
                daemon.until(lambda: daemon.rows("web")[0]["refused"] == 1)
            assert client.wait(PATIENCE) == 0
        assert clients.digest(home / "got") == content
        with clients.running(
            "curl", "-sS", "--limit-rate", "1M", "-o", home / "got", url
        ) as client:
            os.kill(clients.one_server(daemon, "web"), signal.SIGKILL)
            assert client.wait(PATIENCE) != 0


# --- inetd.conf


def test_the_inetd_conf_of_debians_package_loads(tmp_path: Path) -> None:
    there = Path("/etc/inetd.conf")
    if not there.exists():
        pytest.skip("there is no inetd.conf of openbsd-inetd here (tests/real-programs.sh)")
    with piesd(tmp_path, "") as daemon:
        daemon.piesctl("config", "check", str(there))


@clients.needs("micro-httpd", "curl", "git")
def test_lines_of_an_inetd_conf_serve(home: Path) -> None:
    web, git = free_port(), free_port()
    (home / "index.html").write_text("by inetd.conf\n")
    clients.run("git", "init", "-q", "--bare", home / "repository")
    us = getpass.getuser()
    (home / "inetd.conf").write_text(
        "#<off># discard stream tcp nowait root internal\n"
        f"127.0.0.1:{web} stream tcp nowait {us} {executable('micro-httpd')} micro-httpd {home}\n"
        f"127.0.0.1:{git} stream tcp nowait.9 {us} {executable('git')} git daemon --inetd "
        f"--export-all --base-path={home}\n"
    )
    with piesd(home, f'[daemon]\ninclude = ["{home}/inetd.conf"]\n') as daemon:
        rows = daemon.rows()
        assert {row["status"] for row in rows} == {"listener"}, rows
        assert clients.run("curl", "-sS", f"http://127.0.0.1:{web}/") == "by inetd.conf\n"
        assert clients.run("git", "ls-remote", f"git://127.0.0.1:{git}/repository") == ""
