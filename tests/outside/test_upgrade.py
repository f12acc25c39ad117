"""piesd is executed anew in its own place, and nobody notices: neither component nor client."""

from __future__ import annotations

import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest

import supervisor
from crowd import Crowd, connect
from piesd_process import Piesd, alive, marked, piesd, with_marker

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("nothing_is_left")]


SEVERAL = """
[component.a]
command = "sleep 1000000"
[component.b]
command = "sleep 1000001"
prerequisites = ["a"]
[component.failing]
command = "false"
respawn = {{ max = 3, sleep = 1000 }}
[component.echo]
mode = "inetd"
command = "cat"
socket = "unix://{home}/echo.sock"
"""


def state_of_all(daemon: Piesd) -> list[tuple[object, ...]]:
    names = ("tag", "status", "PID", "restarts", "last-exit")
    return sorted(tuple(map(str, map(row.get, names))) for row in daemon.rows())


def test_no_component_is_touched_and_no_client_refused(tmp_path: Path) -> None:
    config = marked(tmp_path, SEVERAL.format(home=tmp_path))
    with piesd(tmp_path, config) as daemon:
        daemon.until_status("failing", "sleeping")
        daemon.until_status("b", "running")
        client = connect(tmp_path / "echo.sock")
        client.sendall(b"one")
        assert client.recv(3) == b"one"
        before = state_of_all(daemon)
        crowd = Crowd(daemon, tmp_path / "echo.sock")
        try:
            for _ in range(2):
                assert daemon.ask("PUT", "/instance/PID", {"keep": True}).json == {"status": "OK"}
                daemon.wait_ready()
                daemon.until(partial(crowd.goes_on, crowd.served, crowd.asked))
        finally:
            crowd.leave()
        assert crowd.failures == []
        assert daemon.process.poll() is None
        client.sendall(b"two")
        assert client.recv(3) == b"two"
        daemon.until(lambda: len(daemon.rows("echo")) == 2)
        assert state_of_all(daemon) == before
        client.close()
        assert daemon.log.count("going on with what another piesd has left") == 2
        # They are its own children as ever.
        os.kill(daemon.row("b")["PID"], signal.SIGKILL)
        daemon.until(lambda: daemon.row("b")["restarts"] == 1)
        assert daemon.row("b")["last-exit"]["signal"] == "SIGKILL"
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_end() == 0
        assert with_marker(f"DAY={tmp_path}") == []


def test_what_it_hands_over_to_itself_is_nothing_left_by_another(tmp_path: Path) -> None:
    config = marked(tmp_path, SEVERAL.format(home=tmp_path))
    with piesd(tmp_path, config, options=("--adopt=no",)) as daemon:
        daemon.until_status("failing", "sleeping")
        daemon.until_status("b", "running")
        before = state_of_all(daemon)
        for _ in range(2):
            assert daemon.ask("PUT", "/instance/PID", {"keep": True}).json == {"status": "OK"}
            daemon.wait_ready()
            assert state_of_all(daemon) == before


def test_a_signal_does_the_same(tmp_path: Path) -> None:
    with piesd(tmp_path, marked(tmp_path, SEVERAL.format(home=tmp_path))) as daemon:
        daemon.until_status("b", "running")
        pid = daemon.row("b")["PID"]
        daemon.signal(signal.SIGUSR2)
        daemon.wait_ready()
        assert daemon.row("b")["PID"] == pid
        daemon.until(lambda: "executing piesd anew" in daemon.log)


def test_files_that_have_changed_must_be_reloaded_before(tmp_path: Path) -> None:
    with piesd(tmp_path, marked(tmp_path, SEVERAL.format(home=tmp_path))) as daemon:
        daemon.until_status("b", "running")
        before = state_of_all(daemon)
        daemon.write(marked(tmp_path, '[component.a]\ncommand = "sleep 2000000"\n'))
        answer = daemon.ask("PUT", "/instance/PID", {"keep": True})
        assert answer.status == 409
        assert "reload them first" in str(answer.json)
        daemon.write("[component.a\n")
        answer = daemon.ask("PUT", "/instance/PID", {"keep": True})
        assert answer.status == 409
        assert "piesd.toml" in str(answer.json)
        assert state_of_all(daemon) == before
        with connect(tmp_path / "echo.sock") as client:  # It accepts again.
            client.sendall(b"x")
            assert client.recv(1) == b"x"


BREAKS = {
    "it cannot even be rehearsed": ("supervisor/tasks.py", "raise ImportError('no such thing')\n"),
    "it fails at the start": (
        "supervisor/foothold.py",
        "def _take(self, *, force, handed=None):\n    raise ValueError('a bug')\n"
        "Foothold.take = _take\n",
    ),
    "it is never ready": (
        "supervisor/daemon.py",
        "import time\nasync def _hang(self, *args, **words):\n    time.sleep(1000)\n"
        "Daemon._serve = _hang\n",
    ),
}


@pytest.mark.parametrize("fault", BREAKS)
def test_a_new_version_that_is_broken_gives_everything_back(tmp_path: Path, fault: str) -> None:
    here = Path(supervisor.__file__).parent
    for version in ("old", "new"):
        shutil.copytree(here, tmp_path / version / "supervisor", symlinks=True)
    # A version that hangs is not waited for as long as in earnest.
    with (tmp_path / "old" / "supervisor" / "executing.py").open("a") as file:
        file.write("\nPATIENCE = 5\n")
    file_name, text = BREAKS[fault]
    with (tmp_path / "new" / file_name).open("a") as file:
        file.write("\n" + text)
    current = tmp_path / "current"
    current.symlink_to("old")
    config = marked(tmp_path, SEVERAL.format(home=tmp_path))
    with piesd(tmp_path, config, environ={"PYTHONPATH": str(current)}, cwd=tmp_path) as daemon:
        daemon.until_status("b", "running")
        daemon.until_status("failing", "sleeping")
        before = state_of_all(daemon)
        current.unlink()
        current.symlink_to("new")
        answer = daemon.ask("PUT", "/instance/PID", {"keep": True})
        if fault == "it cannot even be rehearsed":
            assert answer.status == 409
            assert "no such thing" in str(answer.json)
        else:
            assert answer.status == 200
            daemon.wait_ready()
            daemon.until(lambda: "was found wanting" in daemon.log)
        assert state_of_all(daemon) == before
        with connect(tmp_path / "echo.sock") as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        # And when it is mended, it takes over.
        shutil.copytree(here, tmp_path / "mended" / "supervisor", symlinks=True)
        current.unlink()
        current.symlink_to("mended")
        assert daemon.ask("PUT", "/instance/PID", {"keep": True}).status == 200
        daemon.wait_ready()
        daemon.until(lambda: len(daemon.rows("echo")) == 1)
        assert state_of_all(daemon) == before
        assert all(map(alive, with_marker(f"DAY={tmp_path}")))
