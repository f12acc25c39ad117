"""Where piesctl and piesd find a running piesd, and as whom they speak to it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from canned_piesd import CannedPiesd, canned_piesd
from piesd_process import PATIENCE, piesd
from supervisor.cli.codes import Code
from supervisor.cli.finding import find_daemon
from supervisor.cli.piesctl import main
from supervisor.client.connection import Password
from supervisor.client.errors import BadAddress, BadFile
from supervisor.client.netrc import credentials_for
from supervisor.client.place import InetPlace, Place, UnixPlace, find

pytestmark = pytest.mark.real

CONTACTS = """
# As pies' manual has it.
socket "unix:///run/all.ctl";
source 127.0.0.2;
instance web { socket local:///run/web.ctl; }
instance far {
    socket "inet://127.0.0.1:8073";
    source 127.0.0.3;
}
instance near { socket inet://127.0.0.1:8074; }
"""


@pytest.fixture
def contacts(tmp_path: Path) -> Path:
    path = tmp_path / "piesctl.conf"
    path.write_text(CONTACTS)
    return path


@pytest.mark.parametrize(
    ("instance", "place"),
    [
        (None, UnixPlace("/run/all.ctl")),
        ("other", UnixPlace("/run/all.ctl")),
        ("web", UnixPlace("/run/web.ctl")),
        ("far", InetPlace("127.0.0.1", 8073, source="127.0.0.3")),
        ("near", InetPlace("127.0.0.1", 8074, source="127.0.0.2")),
    ],
)
def test_piesctl_conf_says_where_each_instance_is(
    contacts: Path, instance: str | None, place: Place
) -> None:
    assert find_daemon(None, instance, str(contacts), environ={}) == place


def test_what_the_command_line_says_comes_before_piesctl_conf(contacts: Path) -> None:
    url = find_daemon("unix:///run/x.ctl", "web", str(contacts), environ={})
    assert url == UnixPlace("/run/x.ctl")
    environ = {"PIESD_URL": "unix:///run/env.ctl"}
    assert find_daemon(None, None, str(contacts), environ=environ) == UnixPlace("/run/env.ctl")
    assert find_daemon(None, "web", str(contacts), environ=environ) == UnixPlace("/run/web.ctl")
    far = find_daemon("inet://127.0.0.1:1", "far", str(contacts), environ={})
    assert far == InetPlace("127.0.0.1", 1, source="127.0.0.3")


def test_the_usual_piesctl_conf_is_read_if_it_is_there(
    contacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.cli.finding.CONTACTS", str(contacts))
    assert find_daemon(None, "web", environ={}) == UnixPlace("/run/web.ctl")
    contacts.unlink()
    found = find_daemon(None, "nosuchinstance", environ={"XDG_RUNTIME_DIR": "/nonexistent"})
    assert isinstance(found, UnixPlace)
    assert os.path.basename(found.path) == "nosuchinstance.ctl"


def test_a_piesctl_conf_with_faults_is_refused_with_each_of_them(
    contacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contacts.write_text('sockt "x";\ninstance { }\ninstance a { sorce 1; }\nsource a b;\nsocket;\n')
    assert main(["-c", str(contacts), "list"]) == Code.USAGE
    told = capsys.readouterr().err
    for line, what in (
        (1, "sockt: unknown statement; did you mean 'socket'?"),
        (2, "instance: must be: instance NAME"),
        (3, "instance.sorce: unknown statement; did you mean 'source'?"),
        (4, "source: takes one value"),
        (5, "socket: needs a value"),
    ):
        assert f"piesctl: {contacts}:{line}: {what}" in told
    assert main(["-c", str(contacts.parent / "none"), "list"]) == Code.USAGE
    assert "none: No such file or directory" in capsys.readouterr().err


def test_the_source_is_the_address_that_piesctl_speaks_from(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        port = listener.getsockname()[1]
        conf = tmp_path / "piesctl.conf"
        conf.write_text(f"socket inet://127.0.0.1:{port}; source 127.0.0.9;")
        words = [sys.executable, "-m", "supervisor.cli.piesctl", "-c", str(conf), "list"]
        with subprocess.Popen(words, env=_environ(tmp_path), stderr=subprocess.DEVNULL) as asking:
            connection, peer = listener.accept()
            connection.close()
            assert asking.wait(PATIENCE) == Code.UNREACHABLE
    assert peer[0] == "127.0.0.9"


# --- what the configuration says


def _environ(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIESD_")}
    return {**kept, "HOME": str(home), "XDG_RUNTIME_DIR": str(home), **more}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("piesd.toml", '[control]\nsocket = ["inet://127.0.0.1:1", "unix://DIR/x.ctl;mode=0600"]'),
        ("pies.conf", 'control { socket "unix://DIR/x.ctl"; }\ncomponent a { mode nonsense; }'),
        ("made.toml", '[daemon]\nruntime-directory = "DIR"\ninstance = "x"'),
    ],
)
def test_the_socket_of_the_configuration_is_found_where_the_usual_one_is_missing(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text.replace("DIR", str(tmp_path)))
    environ = _environ(tmp_path, PIESD_CONFIG=str(tmp_path / name), PIESD_INSTANCE="")
    assert find_daemon(None, None, environ=environ) == UnixPlace(str(tmp_path / "x.ctl"))


@pytest.mark.skipif(os.path.exists("/etc/piesd"), reason="this machine has a piesd of its own")
def test_the_file_of_pies_for_an_instance_has_its_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.config.sources.PIES_DIRECTORY", str(tmp_path))
    (tmp_path / "mine.conf").write_text("control { socket inet://0.0.0.0:8073; }")
    found = find_daemon(None, "mine", environ=_environ(tmp_path, XDG_CONFIG_HOME=str(tmp_path)))
    assert found == InetPlace("127.0.0.1", 8073)


def test_a_configuration_that_cannot_be_read_is_told_and_the_usual_place_is_meant(
    tmp_path: Path,
) -> None:
    (tmp_path / "piesd.toml").write_text("[control\n")
    told: list[str] = []
    environ = _environ(tmp_path, PIESD_CONFIG=str(tmp_path / "piesd.toml"), PIESD_INSTANCE="y")
    found = find_daemon(None, "y", environ=environ, note=told.append)
    assert isinstance(found, UnixPlace)
    assert os.path.basename(found.path) == "y.ctl"
    assert told
    assert "piesd.toml:1:" in told[0]


def _run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *words],
        env=_environ(home),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_piesd_speaks_to_the_piesd_that_runs_with_the_same_files(tmp_path: Path) -> None:
    config = '[component.web]\ncommand = "sleep 1000"\n'
    with piesd(tmp_path, config) as daemon:
        first = daemon.until_status("web", "running")["PID"]
        status = _run(tmp_path, "-c", str(daemon.config), "--status")
        assert (status.returncode, status.stdout) == (0, f"web CR {first} sleep 1000\n")
        unknown = _run(tmp_path, "-c", str(daemon.config), "--restart", "web", "wep")
        assert unknown.returncode == 1
        assert "cannot restart wep: there is no such component" in unknown.stderr
        assert daemon.row("web")["PID"] == first
        again = _run(tmp_path, "-c", str(daemon.config), "-R", "web")
        assert (again.returncode, again.stderr) == (0, "")
        daemon.until(lambda: daemon.row("web").get("PID") not in (None, first))
        assert _run(tmp_path, "-c", str(daemon.config), "-r").returncode == 0
        assert _run(tmp_path, "-c", str(daemon.config), "-S").returncode == 0
        assert daemon.wait_end() == 0
    nobody = _run(tmp_path, "-c", str(daemon.config), "--status")
    assert nobody.returncode == 69
    assert f"cannot find {daemon.socket}" in nobody.stderr
    assert "--socket" in nobody.stderr


# --- ~/.netrc

NETRC = """
machine 127.0.0.1 login ann password "s3 cret"
machine localhost login loc password l0cal
default login anonymous password me@home
"""


def _netrc(directory: Path, text: str = NETRC, mode: int = 0o600) -> Path:
    path = directory / ".netrc"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("place", "credentials"),
    [
        (InetPlace("127.0.0.1", 1), Password("ann", "s3 cret")),
        (InetPlace("elsewhere", 1), Password("anonymous", "me@home")),
        (UnixPlace("/run/x.ctl"), Password("loc", "l0cal")),
    ],
)
def test_netrc_has_the_password_for_a_machine_or_the_default(
    tmp_path: Path, place: Place, credentials: Password
) -> None:
    assert credentials_for(place, str(_netrc(tmp_path))) == credentials


def test_no_netrc_or_none_for_the_host_is_no_password(tmp_path: Path) -> None:
    place = InetPlace("there", 1)
    assert credentials_for(place, str(tmp_path / ".netrc")) is None
    path = _netrc(tmp_path, "machine here login a password b\n", 0o644)
    assert credentials_for(place, str(path)) is None
    # A UNIX socket tells who we are: the default, made for others, must not change that.
    default = _netrc(tmp_path, "default login a password b\n")
    assert credentials_for(UnixPlace("/run/x.ctl"), str(default)) is None


@pytest.mark.parametrize(
    ("text", "mode", "what"),
    [
        (NETRC, 0o640, "its mode 0640 lets others at them"),
        ("machine\n", 0o600, "line "),
        ("machine x login y nonsense z\n", 0o600, "nonsense"),
        ("\udcff\udcfe", 0o600, "cannot use"),
    ],
)
def test_a_netrc_that_cannot_be_trusted_or_read_is_refused(
    tmp_path: Path, text: str, mode: int, what: str
) -> None:
    path = tmp_path / ".netrc"
    path.write_bytes(text.encode(errors="surrogateescape"))
    path.chmod(mode)
    with pytest.raises(BadFile, match=what):
        credentials_for(InetPlace("127.0.0.1", 1), str(path))


@pytest.fixture
def canned(tmp_path: Path) -> Iterator[CannedPiesd]:
    with canned_piesd(tmp_path / "piesd.ctl") as canned:
        canned.on("GET /programs", [])
        yield canned


@pytest.mark.parametrize(
    ("options", "mode", "sent", "noted"),
    [
        ((), 0o600, "Basic bG9jOmwwY2Fs", ""),
        (("-N",), 0o600, None, ""),
        ((), 0o644, None, "chmod 600"),
    ],
)
def test_piesctl_sends_what_netrc_has(
    canned: CannedPiesd,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    mode: int,
    sent: str | None,
    noted: str,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    _netrc(tmp_path, mode=mode)
    assert main([*options, "--json", "-u", canned.url, "list"]) == Code.DONE
    assert canned.asked[0].headers.get("Authorization") == sent
    out, err = capsys.readouterr()
    assert out == "[]\n"
    assert noted in err


def test_a_dump_shows_the_whole_dialogue_and_no_password(
    canned: CannedPiesd,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    _netrc(tmp_path)
    canned.on("POST /programs", {"status": "OK", "message": "a\x1b[31m"})
    assert main(["-u", canned.url, "restart", "web", "--dump"]) == Code.DONE
    lines = capsys.readouterr().err.splitlines()
    assert "> POST /programs" in lines
    assert "> Authorization: Basic …" in lines
    assert '> {"op":"component","arg":"web"}' in lines
    assert "< 200 OK" in lines
    assert "< Content-Length: 2" in lines
    assert "bG9jOmwwY2Fs" not in "".join(lines)
    assert "\x1b" not in "".join(lines)


def test_who_is_not_let_in_without_a_password_is_told_where_to_put_it(
    canned: CannedPiesd, capsys: pytest.CaptureFixture[str]
) -> None:
    canned.on("GET /programs", {"status": "ER", "message": "You are unauthorized"}, 401)
    assert main(["-N", "-u", canned.url, "list"]) == Code.REFUSED
    assert "~/.netrc" in capsys.readouterr().err


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize("kind", ["directory", "link"])
def test_nobody_stands_in_for_the_daemon_of_a_user(tmp_path: Path, kind: str) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    directory = tmp_path / "piesd"
    (tmp_path / "theirs").mkdir()
    if kind == "link":
        directory.symlink_to("theirs")
    else:
        directory.mkdir()
    os.chown(directory, 65534, -1, follow_symlinks=False)
    (tmp_path / "theirs" / "piesd.ctl").touch()
    with pytest.raises(BadAddress, match="belongs to uid 65534, who could stand in for piesd"):
        find(environ=environ, uid=1000, exists=lambda _: True)
    os.chown(directory, 1000, -1, follow_symlinks=False)
    assert find(environ=environ, uid=1000, exists=lambda _: True) == UnixPlace(
        str(directory / "piesd.ctl")
    )
