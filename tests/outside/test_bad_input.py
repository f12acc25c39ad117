"""What a configuration, or a client, can do wrong: it is told so, and nothing else is disturbed."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from piesd_process import PATIENCE, Piesd, piesd
from places import free_port

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
QUIET = '[component.quiet]\ncommand = "sleep 1000000"\n'
"""A neighbour that nothing of all this may disturb."""


def check(*paths: Path) -> subprocess.CompletedProcess[str]:
    """Run `piesd --check`."""
    words = [word for path in paths for word in ("-c", str(path))]
    return subprocess.run(
        [sys.executable, "-m", "supervisor", "--check", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        cwd=ROOT,
    )


class Undisturbed:
    """Remembers the neighbour, and that it must stay as it is."""

    def __init__(self, daemon: Piesd) -> None:
        self.daemon, self.pid = daemon, daemon.until_status("quiet", "running")["PID"]

    def still(self) -> None:
        row = self.daemon.row("quiet")
        assert (row["status"], row.get("PID")) == ("running", self.pid)
        assert row["restarts"] == 0
        assert "this is a bug" not in self.daemon.log, self.daemon.log


def start_failure(daemon: Piesd, tag: str) -> dict[str, Any]:
    """Wait until *tag* sleeps because it cannot be started; return how its last start failed."""
    exit_: dict[str, Any] = daemon.until_status(tag, "sleeping")["last-exit"]
    return exit_


# --- files


def test_a_directory_with_a_fifo_a_device_a_dead_link_and_a_huge_file_is_read(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    os.mkfifo(folder / "10-fifo.toml")
    (folder / "20-device.toml").symlink_to("/dev/zero")
    (folder / "30-dead.toml").symlink_to(tmp_path / "nowhere")
    (folder / "40-loop.toml").symlink_to(folder / "40-loop.toml")
    (folder / "50-folder.toml").mkdir()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(folder / "60-socket.toml"))
        (folder / "70-huge.toml").write_text(f"# {'x' * 5_000_000}\n{QUIET}")
        done = check(folder)
        assert done.returncode == 0, done.stderr
        assert [line.rpartition("/")[2] for line in done.stderr.splitlines()] == [
            "30-dead.toml: warning: skipped: No such file or directory",
            "40-loop.toml: warning: skipped: Too many levels of symbolic links",
        ]
        config = f'[daemon]\ninclude = ["{folder}"]\n'
        with piesd(tmp_path, config) as daemon:
            Undisturbed(daemon).still()


def test_a_thousand_problems_are_told_each_with_its_line_and_a_reload_changes_nothing(
    tmp_path: Path,
) -> None:
    bad = "".join(f'[component.c{n}]\ncomand = "x"\n' for n in range(1000))
    file = tmp_path / "bad.toml"
    file.write_text(bad)
    done = check(file)
    assert done.returncode == 78
    lines = done.stderr.splitlines()
    assert len(lines) == 1000
    assert [line.partition(": ")[0] for line in lines] == [
        f"{file}:{2 * n + 2}" for n in range(1000)
    ]
    with piesd(tmp_path, QUIET) as daemon:
        neighbour = Undisturbed(daemon)
        daemon.write(bad)
        answer = daemon.ask("PUT", "/conf/runtime")
        assert answer.status == 400
        assert answer.json["message"].count("did you mean 'command'") == 1000
        assert [row["tag"] for row in daemon.rows()] == ["quiet"]
        neighbour.still()


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 1_000_000 + "]" * 1_000_000,
        "x" + ".x" * 200_000 + " = 1",
        "x = " + "9" * 5000,
    ],
    ids=["lists in lists", "a key of many parts", "a long number"],
)
def test_what_is_deep_or_long_beyond_reason_is_a_problem_and_does_not_hold_us_up(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "deep.toml"
    file.write_text(text)
    done = check(file)
    assert done.returncode == 78
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_user_that_does_not_exist_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "user.toml"
    file.write_text('[component.web]\ncommand = "sleep 1"\nuser = "nobodyofthatname"\n')
    done = check(file)
    assert done.returncode == 78
    assert f"{file}:3: component.web.user: " in done.stderr
    assert "nobodyofthatname" in done.stderr


@pytest.mark.root
def test_a_user_that_vanishes_is_a_failed_start_that_says_so(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("it takes root to have another user's file of users")
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("mount namespaces are not to be had here")
    users = tmp_path / "passwd"
    before = Path("/etc/passwd").read_text()
    users.write_text(f"{before}\nshortlived:x:64321:65534::/:/bin/sh\n")
    own = ("unshare", "--mount", "sh", "-c", f'mount --bind {users} /etc/passwd && exec "$@"', "-")
    config = (
        f'{QUIET}[component.web]\ncommand = "sleep 1000000"\nuser = "shortlived"\nchdir = "/"\n'
        "respawn = { max = 1 }\n"
    )
    with piesd(tmp_path, config, wrapper=own) as daemon:
        neighbour = Undisturbed(daemon)
        pid = daemon.until_status("web", "running")["PID"]
        assert f"\nUid:\t{64321}\t" in Path(f"/proc/{pid}/status").read_text()
        users.write_text(before)

        def vanished() -> bool:
            # A name that was found is taken as known for a few seconds.
            daemon.order("POST", {"op": "component", "arg": "web"}, wait=None)
            row = daemon.row("web")
            return row["status"] == "sleeping" and "stage" in row["last-exit"]

        daemon.until(vanished)
        last = daemon.row("web")["last-exit"]
        assert (last["stage"], last["errno"]) == ("user", "ENOENT")
        assert last["message"] == "user 'shortlived': no such user"
        neighbour.still()


# --- programs and arguments


def test_a_command_that_does_not_exist_says_so_sleeps_and_starts_when_it_is_there(
    tmp_path: Path,
) -> None:
    program = tmp_path / "later"
    config = f'{QUIET}[component.web]\ncommand = "{program} 1000000"\n'
    with piesd(tmp_path, config) as daemon:
        neighbour = Undisturbed(daemon)
        last = start_failure(daemon, "web")
        assert (last["stage"], last["errno"]) == ("exec", "ENOENT")
        assert last["message"] == f"exec {program}: No such file or directory"
        row = daemon.row("web")
        assert row["blocked-by"]["type"] == "sleeping"
        assert f"exec {program}: No such file or directory" in row["blocked-by"]["message"]
        assert f"exec {program}: No such file" in daemon.piesctl("why", "web")

        # Whoever waits for a start that is in vain is told why it is.
        def in_vain() -> bool:
            answer = daemon.order("PUT", {"op": "component", "arg": "web"}, wait=0.1)
            assert answer.status == 504
            return f"exec {program}: No such file or directory" in answer.json["message"]

        daemon.until(in_vain)
        sleep = shutil.which("sleep")
        assert sleep is not None
        program.symlink_to(sleep)
        assert daemon.order("PUT", {"op": "component", "arg": "web"}).json == {"status": "OK"}
        assert daemon.row("web")["status"] == "running"
        neighbour.still()


def test_a_program_in_a_directory_that_may_not_be_entered_says_so(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    sleep = shutil.which("sleep")
    assert sleep is not None
    shutil.copy(sleep, closed / "program")
    closed.chmod(0)
    user = ""
    if os.geteuid() == 0:
        user = f'user = "{pwd.getpwuid(65534).pw_name}"\nchdir = "/"\n'
    config = f'{QUIET}[component.web]\ncommand = "{closed}/program 1000000"\n{user}'
    try:
        with piesd(tmp_path, config) as daemon:
            neighbour = Undisturbed(daemon)
            last = start_failure(daemon, "web")
            assert (last["stage"], last["errno"]) == ("exec", "EACCES")
            assert last["message"].startswith(f"exec {closed}/program: Permission denied")
            neighbour.still()
    finally:
        closed.chmod(0o700)


def test_arguments_and_tags_at_their_limits_arrive_as_they_are(tmp_path: Path) -> None:
    tag = "_" + "9.-:@" * 19 + "a.-:"
    assert len(tag) == 100
    word = "ä€\\n$x'\"" + "x" * 10_000
    program = tmp_path / "echo.py"
    program.write_text(
        "import json, sys, time\nprint(json.dumps(sys.argv[1:]), flush=True)\ntime.sleep(1e6)\n"
    )
    config = (
        f'[component."{tag}"]\n'
        f"command = {json.dumps([sys.executable, str(program), word, ''])}\n"
        f'stdout = "null"\n'
        f'[component.toolong]\ncommand = ["{shutil.which("true")}", "{"x" * 140_000}"]\n'
    )
    with piesd(tmp_path, config) as daemon:
        daemon.until_status(tag, "running")
        log = f"/v1/components/{tag}/log"
        daemon.until(lambda: daemon.ask("GET", log).body.endswith(b"\n"))
        assert daemon.ask("GET", log).json == [word, ""]
        assert daemon.row(tag)["argv"][2] == word
        assert tag in daemon.piesctl("list", tag)
        assert daemon.order("POST", {"op": "component", "arg": tag}).json == {"status": "OK"}
        # 128 KiB is what Linux takes in one argument: execve(2), "Limits on size".
        assert start_failure(daemon, "toolong")["errno"] == "E2BIG"
        file = tmp_path / "longer.toml"
        file.write_text(f'[component."{tag}x"]\ncommand = "true"\n')
        assert check(file).returncode == 78


# --- sockets


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        yield door


def test_a_port_in_use_is_told_and_taken_when_it_is_free(
    tmp_path: Path, taken: socket.socket
) -> None:
    port = taken.getsockname()[1]
    config = f"""{QUIET}
[component.echo]
mode = "inetd"
command = "cat"
socket = "inet://127.0.0.1:{port}"
respawn = {{ max = 1000 }}
"""
    with piesd(tmp_path, config) as daemon:
        neighbour = Undisturbed(daemon)
        row = daemon.until(lambda: next((r for r in daemon.rows("echo") if r["last-exit"]), None))
        assert (row["last-exit"]["stage"], row["last-exit"]["errno"]) == ("bind", "EADDRINUSE")
        assert f"127.0.0.1:{port}: Address already in use" in row["last-exit"]["message"]
        assert row["status"] != "listener"
        taken.close()
        daemon.until_status("echo", "listener")
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.sendall(b"hello")
            assert client.recv(16) == b"hello"
        neighbour.still()


@pytest.mark.parametrize("kind", ["unix", "inet"])
def test_a_control_socket_in_use_is_refused_before_anything_starts(
    tmp_path: Path, kind: str, taken: socket.socket
) -> None:
    started, path = tmp_path / "started", tmp_path / "taken.sock"
    with ExitStack() as stack:
        if kind == "unix":
            door = stack.enter_context(socket.socket(socket.AF_UNIX))
            door.bind(str(path))
            door.listen()
            url = f"unix://{path}"
        else:
            url = f"inet://127.0.0.1:{taken.getsockname()[1]}"
        config = (
            f'[component.web]\ncommand = "touch {started}"\n'
            f'[control]\nsocket = "{url}"\nanonymous = "list"\n'
        )
        daemon = Piesd(tmp_path, config)
        try:
            assert daemon.wait_end() == 69
            assert "piesd: cannot open the control socket: " in daemon.log
            assert "in use" in daemon.log
            assert "Traceback" not in daemon.log
            assert not started.exists()
            if kind == "unix":
                assert path.exists(), "it is another's"
        finally:
            daemon.end()


# --- requests


def not_of(levels: int) -> str:
    """Return a selector of so many levels."""
    return '{"op":"not","arg":' * (levels - 1) + "true" + "}" * (levels - 1)


def raw(daemon: Piesd) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE)
    client.connect(str(daemon.socket))
    return client


def test_a_selector_of_65_levels_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    with piesd(tmp_path, QUIET) as daemon:
        neighbour = Undisturbed(daemon)
        assert daemon.order("DELETE", json.loads(not_of(65)), None).status == 400
        answer = daemon.ask("POST", "/programs", json.loads(not_of(65)))
        assert answer.status == 400
        assert "more than 64 levels" in answer.json["message"]
        assert "65 levels" not in answer.json["message"]
        assert daemon.ask("POST", "/programs?dry-run=true", json.loads(not_of(64))).status == 200
        for text in (not_of(2000), "[" * 60_000, '{"op":"and","arg":[' * 3000):
            with raw(daemon) as client:
                head = "POST /programs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                client.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode())
                assert client.recv(65536).startswith(b"HTTP/1.1 400 ")
        neighbour.still()


def test_a_body_of_2_mib_is_refused_and_everybody_else_is_answered(tmp_path: Path) -> None:
    with piesd(tmp_path, QUIET) as daemon:
        neighbour = Undisturbed(daemon)
        with raw(daemon) as client:
            size = 2 * 1024 * 1024
            head = "POST /programs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode())
            neighbour.still()
            with suppress(BrokenPipeError, ConnectionResetError):  # It need not take everything.
                client.sendall(b'"' * size)
            answer = client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert b"its body is longer than 1048576 bytes" in answer
        neighbour.still()


def test_clients_that_send_a_byte_now_and_then_keep_nobody_out(tmp_path: Path) -> None:
    with piesd(tmp_path, QUIET) as daemon, ExitStack() as stack:
        neighbour = Undisturbed(daemon)
        request = b"GET /programs/quiet HTTP/1.1\r\nHost: piesd\r\nConnection: close\r\n\r\n"
        slow = [stack.enter_context(raw(daemon)) for _ in range(200)]
        for index in range(len(request) - 1):
            for client in slow:
                client.sendall(request[index : index + 1])
            if index % 8 == 0:
                neighbour.still()
        for client in slow:
            client.sendall(request[-1:])
        for client in slow:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_more_silent_clients_than_there_are_places_keep_nobody_out(tmp_path: Path) -> None:
    with piesd(tmp_path, QUIET) as daemon, ExitStack() as stack:
        neighbour = Undisturbed(daemon)
        for _ in range(400):
            stack.enter_context(raw(daemon)).sendall(b"G")
        for _ in range(5):
            neighbour.still()
        assert "quiet" in daemon.piesctl("list")


def test_with_few_descriptors_components_wait_and_orders_are_taken(tmp_path: Path) -> None:
    config = QUIET + "".join(f'[component.c{n}]\ncommand = "sleep 1000000"\n' for n in range(100))
    few = ("prlimit", "--nofile=100:100") if shutil.which("prlimit") else ()
    if not few:
        pytest.skip("there is no prlimit to lower the limit of open files")
    with piesd(tmp_path, config, wrapper=few) as daemon, ExitStack() as stack:
        neighbour = Undisturbed(daemon)
        daemon.until(lambda: daemon.row("c99").get("blocked-by", {}).get("type") == "no-room")
        assert daemon.row("c99")["restarts"] == 0
        for _ in range(60):
            stack.enter_context(raw(daemon))
        neighbour.still()
        assert "Too many open files" in daemon.piesctl("why", "c99")
        # Whoever stops gives nothing back, but whoever is no longer configured does.
        daemon.write(QUIET + '[component.c99]\ncommand = "sleep 1000000"\n')
        assert daemon.ask("PUT", "/conf/runtime").status == 200
        daemon.until_status("c99", "running")  # By itself.
        assert daemon.row("c99")["status"] == "running"
        neighbour.still()


def test_the_port_of_a_component_that_is_gone_is_free_for_another_in_the_same_reload(
    tmp_path: Path,
) -> None:
    port = free_port()

    def listener(tag: str) -> str:
        return (
            f'{QUIET}[component.{tag}]\nmode = "inetd"\ncommand = "cat"\n'
            f'socket = "inet://127.0.0.1:{port}"\n'
        )

    with piesd(tmp_path, listener("old")) as daemon:
        neighbour = Undisturbed(daemon)
        daemon.until_status("old", "listener")
        daemon.write(listener("new"))
        assert daemon.ask("PUT", "/conf/runtime").status == 200
        row = daemon.until_status("new", "listener")
        assert row["last-exit"] is None, "nothing failed on the way"
        assert daemon.rows("old") == []
        neighbour.still()
