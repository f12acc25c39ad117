"""The daemon as a process: its signals, its start and its end, seen from outside."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from piesd_process import Piesd, alive, piesd, with_marker

pytestmark = pytest.mark.real

SLEEPER = '[component.web]\ncommand = "sleep 1000000"\n'


def test_a_killed_component_comes_back_under_a_new_pid(tmp_path: Path) -> None:
    with piesd(tmp_path, SLEEPER) as daemon:
        first = daemon.until_status("web", "running")["PID"]
        os.kill(first, signal.SIGKILL)
        second = daemon.until(
            lambda: next(
                (r["PID"] for r in daemon.rows("web") if r.get("PID") not in (None, first)), None
            )
        )
        assert alive(second)
        assert daemon.row("web")["last-exit"]["signal"] == "SIGKILL"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_stops_everything_in_order_and_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    # `sleep` ends of SIGTERM at once; the dependent therefore goes first, by its own time.
    config = f"""
[defaults]
env = {{ MARK = "{tmp_path}" }}
[component.db]
command = "sleep 1000000"
[component.web]
command = "sleep 1000000"
prerequisites = ["db"]
[component.echo]
mode = "inetd"
command = ["cat"]
socket = "unix://{tmp_path}/echo.sock"
"""
    with piesd(tmp_path, config) as daemon:
        daemon.until_status("web", "running")
        assert len(with_marker(f"MARK={tmp_path}")) == 2
        daemon.signal(number)
        assert daemon.wait_end() == 0
        log = daemon.log
        assert log.index("'web' is down") < log.index("'db' is stopping")
        assert not with_marker(f"MARK={tmp_path}")
        left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if not p.is_dir())
        assert left == ["notify", "piesd.log", "piesd.toml"]


def test_stopped_means_that_daemonised_grandchildren_are_gone_too(tmp_path: Path) -> None:
    # One forks twice and calls setsid; one only leaves the group; the leader waits.
    program = tmp_path / "daemonises.py"
    program.write_text(
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(1000000)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "print('ready', flush=True)\n"
        "time.sleep(1000000)\n"
    )
    config = f"""
[component.d]
command = ["{sys.executable}", "{program}"]
env = {{ MARK = "{tmp_path}" }}
"""
    with piesd(tmp_path, config) as daemon:
        daemon.until(lambda: "ready" in daemon.ask("GET", "/v1/components/d/log").body.decode())
        assert len(with_marker(f"MARK={tmp_path}")) == 2
        answer = daemon.order("DELETE", {"op": "component", "arg": "d"})
        assert answer.json == {"status": "OK"}
        assert with_marker(f"MARK={tmp_path}") == []


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 0", 0), ("exit 3", 3), ("kill -SEGV $$", 139), ("kill -TERM $$", 143)],
)
def test_the_end_of_an_essential_component_ends_piesd_with_its_code(
    tmp_path: Path, command: str, code: int
) -> None:
    config = f"""
[component.main]
mode = "once"
essential = true
shell = true
command = "{command}"
[component.other]
command = "sleep 1000000"
"""
    daemon = Piesd(tmp_path, config)
    try:
        assert daemon.wait_end() == code
    finally:
        daemon.end()


def test_a_second_signal_hurries_the_shutdown(tmp_path: Path) -> None:
    config = """
[daemon]
shutdown-timeout = 600
[component.deaf]
shell = true
command = "trap '' TERM; echo ready; while :; do sleep 1000; done"
stop-timeout = 600
"""
    with piesd(tmp_path, config) as daemon:
        daemon.until(lambda: b"ready" in daemon.ask("GET", "/v1/components/deaf/log").body)
        daemon.signal(signal.SIGTERM)
        daemon.told("STOPPING=1")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_end() == 0


def test_the_service_manager_is_told_everything(tmp_path: Path) -> None:
    with piesd(tmp_path, SLEEPER, environ={"WATCHDOG_USEC": "200000"}) as daemon:
        daemon.told("WATCHDOG=1")
        os.kill(daemon.until_status("web", "running")["PID"], signal.SIGKILL)
        daemon.told("STATUS=1 of 1 up")
        daemon.signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in daemon.told("RELOADING=1")
        daemon.told("READY=1")
        daemon.signal(signal.SIGTERM)
        daemon.told("STOPPING=1")


def test_a_hangup_reloads_and_touches_only_what_changed(tmp_path: Path) -> None:
    both = SLEEPER + '[component.other]\ncommand = "sleep 1000000"\n'
    with piesd(tmp_path, both) as daemon:
        web = daemon.until_status("web", "running")["PID"]
        other = daemon.until_status("other", "running")["PID"]
        daemon.write(
            both.replace('other]\ncommand = "sleep 1000000"', 'other]\ncommand = "sleep 999"')
        )
        daemon.signal(signal.SIGHUP)
        changed = daemon.until(
            lambda: next(
                (
                    r
                    for r in daemon.rows("other")
                    if r["command"] == "sleep 999" and "PID" in r and r["PID"] != other
                ),
                None,
            )
        )
        assert changed["status"] == "running"
        assert daemon.row("web")["PID"] == web


def test_a_rejected_reload_changes_nothing_and_names_every_problem(tmp_path: Path) -> None:
    with piesd(tmp_path, SLEEPER) as daemon:
        web = daemon.until_status("web", "running")["PID"]
        daemon.write(
            '[component.web]\ncomand = "x"\nstop-timeout = -1\n'
            '[component.new]\ncommand = "sleep 1"\n'
        )
        answer = daemon.ask("PUT", "/conf/runtime", {"reload": True})
        assert answer.status == 400
        assert answer.json["status"] == "ER"
        assert "did you mean 'command'" in answer.json["message"]
        assert "stop-timeout" in answer.json["message"]
        assert [row["tag"] for row in daemon.rows()] == ["web"]
        assert daemon.row("web")["PID"] == web


def test_wrong_configuration_ends_with_78_and_every_problem(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[component.a]\nmode = "respwan"\ncommand = "x"\nprerequisites = ["b"]\n')
    for options in (["--check"], []):
        ended = subprocess.run(
            [sys.executable, "-m", "supervisor", "-c", str(wrong), *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=Path(__file__).parent.parent.parent,
        )
        assert ended.returncode == 78
        assert f"{wrong}:2: " in ended.stderr
        assert "did you mean 'respawn'" in ended.stderr
        assert f"{wrong}:4: " in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_second_piesd_of_the_same_name_is_refused(tmp_path: Path) -> None:
    with piesd(tmp_path, SLEEPER) as daemon:
        ended = subprocess.run(
            [sys.executable, "-m", "supervisor", "-c", str(daemon.config)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=Path(__file__).parent.parent.parent,
        )
        assert ended.returncode == 69
        assert f"already running as process {daemon.pid}" in ended.stderr
        assert daemon.rows("web")


def test_a_directory_in_which_others_could_take_our_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    reasons = {"everybody may write to it, and could take our place in it"}
    if os.geteuid() == 0:
        reasons.add("it belongs to uid 65534, who could take our place in it")
    for reason in sorted(reasons):
        daemon = Piesd(tmp_path, SLEEPER)
        try:
            assert daemon.wait_end() == 69
        finally:
            daemon.end()
        hint = "mend that, or name another one as 'runtime-directory' in [daemon]"
        assert daemon.log.splitlines()[-1] == (
            f"piesd: cannot start: {tmp_path}/run: {reason}; {hint}"
        )
        assert os.listdir(tmp_path / "run") == []
        (tmp_path / "notify").unlink()
        if os.geteuid() == 0:
            os.chown(tmp_path / "run", 65534, -1)
    (tmp_path / "run").chmod(0o1777)
    if os.geteuid() == 0:
        os.chown(tmp_path / "run", 0, -1)
    with piesd(tmp_path, SLEEPER):
        pass


def test_after_a_kill_a_new_piesd_replaces_the_stale_socket(tmp_path: Path) -> None:
    daemon = Piesd(tmp_path, SLEEPER)
    try:
        daemon.wait_ready()
        web = daemon.until_status("web", "running")["PID"]
        daemon.process.kill()
        daemon.process.wait()
        assert daemon.socket.exists()
    finally:
        daemon.end()
    os.kill(web, signal.SIGKILL)
    (tmp_path / "notify").unlink()
    with piesd(tmp_path, SLEEPER) as again:
        assert again.until_status("web", "running")


def test_the_pid_file_is_written_and_removed(tmp_path: Path) -> None:
    file = tmp_path / "made" / "pid"
    with piesd(tmp_path, f'[daemon]\npidfile = "{file}"\n{SLEEPER}') as daemon:
        assert file.read_text() == f"{daemon.pid}\n"
    assert not file.exists()


def test_reboot_executes_piesd_anew_under_the_same_pid(tmp_path: Path) -> None:
    with piesd(tmp_path, SLEEPER) as daemon:
        before = daemon.until_status("web", "running")["PID"]
        answer = daemon.ask("PUT", "/instance/PID")
        assert answer.json["status"] == "OK"
        daemon.told("STOPPING=1")
        daemon.told("READY=1")
        after = daemon.until_status("web", "running")["PID"]
        assert after != before
        assert daemon.process.poll() is None
        assert daemon.ask("GET", "/instance/PID").json == {"PID": daemon.pid}


def test_the_control_socket_is_there_again_after_usr1(tmp_path: Path) -> None:
    with piesd(tmp_path, SLEEPER) as daemon:
        web = daemon.until_status("web", "running")["PID"]
        before = daemon.socket.stat().st_ino
        daemon.signal(signal.SIGUSR1)
        daemon.until(lambda: "opened the log files anew" in daemon.log)
        assert daemon.socket.stat().st_ino == before
        for _ in range(2):
            daemon.socket.unlink()
            daemon.signal(signal.SIGUSR1)
            daemon.until(daemon.socket.exists)
            assert daemon.row("web")["PID"] == web
        # Something else that is in the way stays, and is named.
        daemon.socket.unlink()
        daemon.socket.write_text("mine")
        daemon.signal(signal.SIGUSR1)
        daemon.until(lambda: "exists and is not a socket" in daemon.log)
        assert daemon.socket.read_text() == "mine"
        daemon.socket.unlink()
        daemon.signal(signal.SIGUSR1)
        daemon.until(daemon.socket.exists)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_end() == 0
        assert not daemon.socket.exists()


def test_detached_it_goes_on_in_the_background_and_the_starter_ends_with_0(tmp_path: Path) -> None:
    daemon = Piesd(tmp_path, SLEEPER, options=("--daemon",))
    try:
        assert daemon.process.wait(30) == 0
        pid = int((tmp_path / "run" / "piesd.lock").read_text())
        assert pid != daemon.pid
        assert os.getsid(pid) != os.getsid(0)
        assert daemon.row("web")["status"] == "running"
        end = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        assert select.select([end], [], [], 30)[0]
        os.close(end)
        # A thread writes the log: now it has written all of it.
        assert "supervises 1 component" in (tmp_path / "log" / "piesd.log").read_text()
    finally:
        daemon.end()


def test_detached_it_keeps_nothing_open_that_its_starter_waits_for(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    daemon = Piesd(tmp_path, SLEEPER)
    daemon.wait_ready()
    daemon.signal(signal.SIGTERM)
    assert daemon.wait_end() == 0
    try:
        started = subprocess.run(  # It returns when nobody holds its pipes any more, as ssh does.
            [sys.executable, "-m", "supervisor", "-c", str(daemon.config), "--daemon"],
            capture_output=True,
            pass_fds=[writer],
            check=False,
            timeout=60,
            cwd=Path(__file__).parent.parent.parent,
        )
        os.close(writer)
        assert (started.returncode, started.stdout, started.stderr) == (0, b"", b"")
        assert select.select([reader], [], [], 30)[0]
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)
        daemon.end()
        end = os.pidfd_open(pid := int((tmp_path / "run" / "piesd.lock").read_text()))
        os.kill(pid, signal.SIGTERM)
        assert select.select([end], [], [], 30)[0]
        os.close(end)


def test_detached_a_failure_to_start_is_told_by_the_starter(tmp_path: Path) -> None:
    with piesd(tmp_path, SLEEPER) as daemon:
        ended = subprocess.run(
            [sys.executable, "-m", "supervisor", "-c", str(daemon.config), "--daemon"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=Path(__file__).parent.parent.parent,
        )
        assert ended.returncode == 69
        assert "already running" in ended.stderr


def test_children_see_none_of_our_descriptors_and_no_ignored_signal(tmp_path: Path) -> None:
    # nohup ignores SIGHUP, glibc's posix_spawn its own two signals, and the shell leaves a
    # descriptor open: a child would inherit all that.
    careless = ("sh", "-c", 'exec 9</dev/null; exec nohup "$@"', "sh")
    with piesd(tmp_path, SLEEPER, wrapper=careless) as daemon:
        pid = daemon.until_status("web", "running")["PID"]
        daemon.until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
        assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
        status = Path(f"/proc/{pid}/status").read_text()
        masks = {
            line.split()[0]: int(line.split()[1], 16)
            for line in status.splitlines()
            if line.startswith("Sig") and "Q" not in line
        }
        assert masks["SigBlk:"] == 0
        assert masks["SigIgn:"] == 0
        assert os.getsid(pid) == pid


@pytest.mark.parametrize(
    ("given", "found"), [([], []), (["LC_CTYPE=C.UTF-8"], ["LC_CTYPE=C.UTF-8"])]
)
def test_children_get_no_locale_that_piesd_was_not_given(
    tmp_path: Path, given: list[str], found: list[str]
) -> None:
    # Python gives itself LC_CTYPE where there is no locale, and so it would be theirs (PEP 538).
    bare = ("env", *(f"--unset={name}" for name in ("LANG", "LC_ALL", "LC_CTYPE")), *given)
    with piesd(tmp_path, SLEEPER, wrapper=bare) as daemon:
        pid = daemon.until_status("web", "running")["PID"]
        daemon.until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
        environ = Path(f"/proc/{pid}/environ").read_text().split("\0")
        assert [entry for entry in environ if entry.startswith("LC_")] == found


def test_the_directory_of_logs_with_bare_names_is_made_also_after_a_reload(
    tmp_path: Path,
) -> None:
    config = """
[component.talker]
command = "sh -c 'echo hello; exec sleep 1000'"
stdout = "talk.log"
"""
    with piesd(tmp_path, config) as daemon:
        first = tmp_path / "log" / "talk.log"
        daemon.until(lambda: first.exists() and first.read_text() == "hello\n")
        draft = daemon.config.read_text().replace(f"{tmp_path}/log", f"{tmp_path}/more/logs")
        daemon.config.write_text(draft)
        daemon.piesctl("config", "reload")
        daemon.piesctl("restart", "talker")
        second = tmp_path / "more" / "logs" / "talk.log"
        daemon.until(lambda: second.exists() and second.read_text() == "hello\n")


def test_the_logs_are_opened_anew_on_sigusr1(tmp_path: Path) -> None:
    config = f"""
[component.talker]
mode = "inetd"
socket = "unix://{tmp_path}/talk.sock"
command = ["sh", "-c", "read line; echo $line >&2"]
stderr = "{tmp_path}/talk.log"
"""
    with piesd(tmp_path, config) as daemon:

        def say(word: str) -> None:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(tmp_path / "talk.sock"))
                client.sendall(f"{word}\n".encode())
                assert client.recv(1) == b""

        log, moved = tmp_path / "talk.log", tmp_path / "talk.log.old"
        say("one")
        daemon.until(lambda: log.exists() and log.read_text() == "one\n")
        log.rename(moved)
        daemon.signal(signal.SIGUSR1)
        daemon.until(lambda: "opened the log files anew" in daemon.log)
        say("two")
        daemon.until(lambda: log.exists() and log.read_text() == "two\n")
        assert moved.read_text() == "one\n"
