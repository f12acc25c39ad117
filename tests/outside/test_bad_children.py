"""Children that misbehave: each is survived, and nobody else is disturbed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from piesd_process import PATIENCE, Piesd, alive, piesd, with_marker

pytestmark = pytest.mark.real

QUIET = '[component.quiet]\ncommand = "sleep 1000000"\n'
"""A neighbour that nothing of all this may disturb."""


def component(tag: str, program: Path | str, more: str = "") -> str:
    """Return a component; a program given as text is run by a shell."""
    if isinstance(program, Path):
        return f'[component.{tag}]\ncommand = ["{sys.executable}", "-I", "{program}"]\n{more}'
    return f"[component.{tag}]\nshell = true\ncommand = '''{program}'''\n{more}"


def script(home: Path, text: str) -> Path:
    path = home / "program.py"
    path.write_text(text)
    return path


def output(daemon: Piesd, tag: str) -> str:
    return daemon.ask("GET", f"/v1/components/{tag}/log").body.decode(errors="replace")


def neighbour_dies_and_comes_back(daemon: Piesd) -> None:
    """Kill the neighbour and wait until it is back: supervision goes on."""
    pid = daemon.until_status("quiet", "running")["PID"]
    os.kill(pid, signal.SIGKILL)
    daemon.until(
        lambda: any(
            row["status"] == "running" and row["PID"] != pid for row in daemon.rows("quiet")
        ),
        "the neighbour is back",
    )


def memory(daemon: Piesd) -> int:
    """Return the resident memory of piesd in KiB."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def no_bug(daemon: Piesd) -> None:
    assert "this is a bug" not in daemon.log, daemon.log
    assert "Traceback" not in daemon.log, daemon.log


# --- that do not end, or not wholly


def test_one_that_ignores_sigterm_is_killed_at_its_deadline_and_keeps_nobody_waiting(
    tmp_path: Path,
) -> None:
    # Its child is as deaf as it is, and in the same group.
    deaf = "trap '' TERM INT HUP; sh -c 'echo up; while :; do sleep 1000; done'; echo never"
    config = QUIET + component("deaf", deaf, "stop-timeout = 2\n")
    with piesd(tmp_path, config) as daemon:
        daemon.until(lambda: "up" in output(daemon, "deaf"))
        pid = daemon.row("deaf")["PID"]
        assert daemon.order("DELETE", {"op": "component", "arg": "deaf"}, None).status == 200
        neighbour_dies_and_comes_back(daemon)
        daemon.until_status("deaf", "stopped")
        assert daemon.row("deaf")["last-exit"]["signal"] == "SIGKILL"
        assert not alive(pid)
        assert "never" not in output(daemon, "deaf")
        no_bug(daemon)


def test_one_that_is_stopped_by_a_signal_goes_down_at_its_deadline(tmp_path: Path) -> None:
    config = QUIET + component("halted", "echo up; exec sleep 1000000", "stop-timeout = 1\n")
    with piesd(tmp_path, config) as daemon:
        daemon.until(lambda: "up" in output(daemon, "halted"))
        pid = daemon.row("halted")["PID"]
        os.kill(pid, signal.SIGSTOP)
        assert daemon.order("DELETE", {"op": "component", "arg": "halted"}).json["status"] == "OK"
        assert not alive(pid)
        assert daemon.row("halted")["last-exit"]["signal"] in ("SIGTERM", "SIGKILL")
        no_bug(daemon)


def test_what_a_leader_leaves_behind_is_gone_before_the_next_one_starts(tmp_path: Path) -> None:
    # It forks twice, calls setsid, and exits at once. Each new one looks for its predecessor's
    # remains: with two copies of a daemon, one of them would report it.
    program = script(
        tmp_path,
        f"""
import os, signal, sys
left = {str(tmp_path / "left")!r}
if os.path.exists(left):
    pid = int(open(left).read())
    try:
        state = open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[0]
    except OSError:
        state = "X"
    if state not in "ZX":
        open({str(tmp_path / "overlap")!r}, "a").write(f"{{pid}}\\n")
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN if os.getpid() % 2 else signal.SIG_DFL)
        with open(left, "w") as file:
            file.write(str(os.getpid()))
        os.close(writer)
        signal.pause()
    os._exit(0)
os.close(writer)
os.read(reader, 1)
print("round", flush=True)
""",
    )
    more = f'stop-timeout = 0.2\nrespawn = {{ max = 8 }}\nenv = {{ LEFT = "{tmp_path}" }}\n'
    with piesd(tmp_path, QUIET + component("forks", program, more)) as daemon:
        daemon.until_status("forks", "sleeping")
        assert output(daemon, "forks").count("round") == 8
        assert not (tmp_path / "overlap").exists()
        assert with_marker(f"LEFT={tmp_path}") == []
        no_bug(daemon)


def test_one_that_forks_away_again_and_again_is_caught_by_a_stop(tmp_path: Path) -> None:
    program = script(
        tmp_path,
        "import os, signal, time\n"
        "for number in (1, 2, 15):\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "print('up', flush=True)\n"
        # Not for ever: if this test is killed, nobody else catches it.
        f"end = time.monotonic() + {2 * PATIENCE}\n"
        "while time.monotonic() < end:\n"
        "    if os.fork():\n"
        "        os._exit(0)\n"
        "    os.setsid()\n",
    )
    more = f'stop-timeout = 0.2\nenv = {{ FORKS = "{tmp_path}" }}\n'
    with piesd(tmp_path, QUIET + component("forks", program, more)) as daemon:
        daemon.until(lambda: "up" in output(daemon, "forks"))
        neighbour_dies_and_comes_back(daemon)
        assert daemon.order("DELETE", {"op": "component", "arg": "forks"}).json["status"] == "OK"
        assert with_marker(f"FORKS={tmp_path}") == []
        no_bug(daemon)


def test_precious_ones_that_cannot_start_or_end_at_once_hold_up_no_order(tmp_path: Path) -> None:
    config = QUIET
    for number in range(3):
        config += component(f"missing-{number}", Path("/dev/null"), "precious = true\n").replace(
            sys.executable, "/nowhere/at/all"
        )
        config += component(f"short-{number}", "exit 1", "precious = true\n")
    with piesd(tmp_path, config) as daemon:
        neighbour_dies_and_comes_back(daemon)
        everything = {"op": "not", "arg": {"op": "component", "arg": "quiet"}}
        assert daemon.order("DELETE", everything).json == {"status": "OK"}
        assert {row["status"] for row in daemon.rows() if row["tag"] != "quiet"} == {"stopped"}
        no_bug(daemon)


# --- that write, or do not


def test_one_that_closes_its_output_goes_on(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    config = QUIET + component(
        "mute", f'echo first; echo second >&2; exec <&- >&- 2>&-; read x < "{gate}"; exit 7'
    ).replace("[component.mute]", '[component.mute]\nmode = "once"')
    with piesd(tmp_path, config) as daemon:
        daemon.until(lambda: output(daemon, "mute") == "first\nsecond\n")
        pid = daemon.row("mute")["PID"]
        daemon.until(lambda: "0" not in os.listdir(f"/proc/{pid}/fd"), "it has closed everything")
        neighbour_dies_and_comes_back(daemon)
        row = daemon.row("mute")
        assert (row["status"], row["PID"]) == ("running", pid)
        gate.write_text("\n")
        assert daemon.until_status("mute", "finished")["last-exit"]["code"] == 7
        assert output(daemon, "mute") == "first\nsecond\n"
        no_bug(daemon)


def test_two_hundred_megabytes_go_to_a_file_while_supervision_goes_on(tmp_path: Path) -> None:
    size = 200_000_000
    config = QUIET + component(
        "flood",
        f"yes 0123456789012345678901234567890123456789 | head -c {size}; echo; exec sleep 1000000",
        f'stdout = "{tmp_path}/flood.log"\n',
    )
    log = tmp_path / "flood.log"
    with piesd(tmp_path, config) as daemon:
        daemon.until(lambda: log.exists() and log.stat().st_size > 0)
        before = memory(daemon)
        meanwhile = 0
        while log.stat().st_size < size:
            neighbour_dies_and_comes_back(daemon)
            assert daemon.row("flood")["status"] == "running"
            # The neighbour must not be put to sleep for what we do to it.
            daemon.ask("PUT", "/v1/components/quiet/reset")
            meanwhile += 1
            assert memory(daemon) < before + 40_000
        assert meanwhile > 0
        daemon.until(lambda: log.stat().st_size == size + 1)
        assert daemon.row("flood")["restarts"] == 0
        no_bug(daemon)
    with log.open("rb") as file:
        assert all(
            line == b"0123456789012345678901234567890123456789\n" for line in file.readlines(10**7)
        )


def test_a_line_without_an_end_is_written_as_it_is_and_costs_no_memory(tmp_path: Path) -> None:
    size = 50_000_000
    config = QUIET + component(
        "endless",
        f"head -c {size} /dev/zero | tr '\\0' x; echo end >&2; exec sleep 1000000",
        f'stdout = "{tmp_path}/endless.log"\n',
    )
    log = tmp_path / "endless.log"
    with piesd(tmp_path, config) as daemon:
        before = memory(daemon)
        neighbour_dies_and_comes_back(daemon)
        daemon.until(
            lambda: daemon.ask("GET", "/v1/components/endless/log?stream=stderr").body == b"end\n"
        )
        # All but a last piece: that waits for its end of line, or for the end of the program.
        daemon.until(lambda: log.stat().st_size > size - 65536, "nearly all of it is in the file")
        assert memory(daemon) < before + 40_000
        assert daemon.order("DELETE", {"op": "component", "arg": "endless"}).json["status"] == "OK"
        daemon.until(lambda: log.stat().st_size == size + 1, "all of it is in the file")
        assert log.read_bytes() == b"x" * size + b"\n"
        no_bug(daemon)


@pytest.mark.root
def test_a_full_disk_costs_lines_that_are_counted_and_no_component(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    # Room for what is held back of one read, so that the second try succeeds.
    mount = f'mount -t tmpfs -o size=512k tmpfs "{disk}" && exec "$@"'
    own = ("unshare", "--mount", "sh", "-c", mount, "-")
    if subprocess.run([*own, "true"], check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    config = QUIET + component(
        "talker",
        f'seq -w 400000; echo full >&2; read x < "{gate}"; seq -w 5; echo done >&2; '
        "exec sleep 1000000",
        f'stdout = "{disk}/talker.log"\n',
    )
    with piesd(tmp_path, config, wrapper=own) as daemon:
        # In its own mount namespace: this is where we see it.
        log = Path(f"/proc/{daemon.pid}/root{disk}/talker.log")
        daemon.until(lambda: "full" in output(daemon, "talker"))
        daemon.until(lambda: "No space left on device" in daemon.log)
        assert daemon.row("talker")["status"] == "running"
        neighbour_dies_and_comes_back(daemon)
        kept = log.read_bytes()
        assert kept.endswith(b"\n"), "no line is torn"
        moved = log.with_suffix(".old")
        log.rename(moved)
        moved.unlink()
        daemon.signal(signal.SIGUSR1)
        daemon.until(lambda: "were lost" in daemon.log)
        gate.write_text("\n")
        daemon.until(lambda: "done" in output(daemon, "talker"))
        daemon.until(lambda: log.exists() and log.read_text().endswith("\n5\n"))
        # Every line is there, or counted.
        lost = int(log.read_text().partition("piesd: ")[2].split()[0])
        lines = [line for line in (kept + log.read_bytes()).splitlines() if line.isdigit()]
        assert len(lines) + lost == 400_005
        assert daemon.row("talker")["restarts"] == 0
        no_bug(daemon)


# --- connections


def test_two_hundred_connections_at_once_to_a_listener_that_serves_eight(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    config = f"""{QUIET}
[component.echo]
mode = "inetd"
command = "cat"
socket = "unix://{path}"
max-instances = 8
env = {{ ECHO = "{tmp_path}" }}
"""
    with piesd(tmp_path, config) as daemon, ExitStack() as stack:
        daemon.until_status("echo", "listener")
        clients = []
        for _ in range(200):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(PATIENCE)
            client.connect(str(path))
            clients.append(client)
        served = []
        for client in clients:
            try:
                client.sendall(b"hello")
                if client.recv(16) == b"hello":
                    served.append(client)
            except (BrokenPipeError, ConnectionResetError):
                continue
        assert served == clients[:8], "who came first is served"
        assert len(with_marker(f"ECHO={tmp_path}")) == 8
        rows = daemon.rows("echo")
        assert [row["status"] for row in rows] == ["listener"] + ["running"] * 8
        assert rows[0]["connections"] == 8
        for client in served:
            client.close()
        daemon.until(
            lambda: daemon.row("echo")["connections"] == 0 if len(daemon.rows("echo")) == 1 else 0
        )
        neighbour_dies_and_comes_back(daemon)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(path))
            client.sendall(b"again")
            assert client.recv(16) == b"again"
            # The listener goes, and its connections with it.
            assert daemon.order("DELETE", {"op": "component", "arg": "echo"}).json["status"] == "OK"
            assert client.recv(16) == b""
        assert not path.exists()
        assert with_marker(f"ECHO={tmp_path}") == []
        no_bug(daemon)
