"""piesctl as a process: on a terminal, in a pipe, interrupted, completing for a shell."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from canned_piesd import Answer, Asked, CannedPiesd, canned_piesd
from supervisor.cli.codes import Code
from supervisor.client import Client, UnixPlace
from supervisor.client.connection import Exchange

ROOT = Path(__file__).parents[2]
PIESCTL = [sys.executable, "-m", "supervisor.cli.piesctl"]
PATIENCE = 30.0

pytestmark = pytest.mark.real

ROWS = [
    {"tag": f"web:{number}", "template": "web", "status": "running", "PID": 100 + number}
    | {
        "uptime": 5.0,
        "restarts": 0,
        "generation": 1,
        "ready": True,
        "command": "httpd " + "x" * 200,
    }
    for number in range(1, 4)
]


@pytest.fixture
def canned(tmp_path: Path) -> Iterator[CannedPiesd]:
    with canned_piesd(tmp_path / "piesd.ctl") as canned:
        canned.on("GET /programs", ROWS)
        yield canned


def environment(canned: CannedPiesd, **more: str) -> dict[str, str]:
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm", "LANG": "C.UTF-8"}
    return {**kept, "PIESD_URL": canned.url, **more}


class Terminal:
    """A process on a terminal of its own."""

    def __init__(self, words: list[str], environ: dict[str, str], width: int = 80) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        self.process = subprocess.Popen(
            [*PIESCTL, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environ,
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(slave)
        self.text = ""

    def until(self, seen: Callable[[str], bool]) -> str:
        """Read until *seen*, or the end."""
        end = time.monotonic() + PATIENCE
        while not seen(self.text):
            readable, _, _ = select.select([self._master], [], [], max(0, end - time.monotonic()))
            assert readable, f"not seen: {self.text!r}"
            try:
                self.text += os.read(self._master, 65536).decode()
            except OSError:  # EIO: nobody has the other side open any more.
                break
        return self.text

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        self.until(lambda _: False)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)


@contextmanager
def terminal(environ: dict[str, str], *words: str, width: int = 80) -> Iterator[Terminal]:
    one = Terminal(list(words), environ, width)
    try:
        yield one
    finally:
        one.close()


def test_a_terminal_gets_a_coloured_table_that_fits_it(canned: CannedPiesd) -> None:
    with terminal(environment(canned), "list") as shown:
        assert shown.end() == Code.DONE
    assert "\x1b[32mrunning" in shown.text
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip("\r") for line in shown.text.split("\n")]
    assert len([line for line in lines if line]) == 4
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].rstrip().endswith("…")


@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_terminal_gets_no_colours_if_its_user_wants_none(canned: CannedPiesd, way: str) -> None:
    words = ["--no-color", "list"] if way == "option" else ["list"]
    more = {} if way == "option" else {"NO_COLOR": "1"}
    with terminal(environment(canned, **more), *words) as shown:
        assert shown.end() == Code.DONE
    assert "web:1" in shown.text
    assert "\x1b[3" not in shown.text


def test_a_log_on_a_terminal_cannot_steer_it(canned: CannedPiesd) -> None:
    canned.on("GET /v1/components/web/log", b"\x1b]0;owned\x07\x1b[31mred\x1b[0m\n")
    with terminal(environment(canned), "log", "web") as shown:
        assert shown.end() == Code.DONE
    assert shown.text == "\\x1b]0;owned\\x07red\r\n"


def test_while_an_order_waits_a_terminal_shows_how_far_it_is(canned: CannedPiesd) -> None:
    settled, looked = threading.Event(), threading.Semaphore(0)
    rows = [dict(row) for row in ROWS]

    def stop(_: Asked) -> Answer:
        settled.wait(PATIENCE)
        return Answer()

    def programs(_: Asked) -> Answer:
        looked.release()
        return Answer(rows)

    canned.rules["DELETE /programs"] = stop
    canned.rules["GET /programs"] = programs
    with terminal(environment(canned), "stop", "web", "--wait", "60", width=120) as shown:
        shown.until(lambda text: "0/3" in text)
        rows[0]["status"], rows[1]["status"] = "stopped", "stopping"
        shown.until(lambda text: "1/3" in text)
        settled.set()
        assert shown.end() == Code.DONE
    assert "1 running, 1 stopping" in shown.text or "1 stopping, 1 running" in shown.text
    assert "stop: web:1 web:2 web:3" in shown.text


def test_top_shows_the_table_again_and_again_until_q(canned: CannedPiesd) -> None:
    with terminal(environment(canned), "top", "-d", "0.1") as shown:
        shown.until(lambda text: text.count("3 components") >= 2)
        assert "web:3" in shown.text
        shown.type(b"q")
        assert shown.end() == Code.DONE
    assert shown.text.rstrip().endswith("\x1b[?25h") or "\x1b[?1049l" in shown.text


def test_control_c_ends_top_and_gives_the_screen_back(canned: CannedPiesd) -> None:
    with terminal(environment(canned), "top", "-d", "60") as shown:
        shown.until(lambda text: "web:3" in text)
        shown.process.send_signal(signal.SIGINT)
        assert shown.end() == Code.INTERRUPTED
    assert "\x1b[?1049l" in shown.text
    assert "Traceback" not in shown.text


def test_control_c_while_waiting_ends_it_at_once_and_without_a_traceback(
    canned: CannedPiesd,
) -> None:
    asked, release = threading.Event(), threading.Event()

    def stop(_: Asked) -> Answer:
        asked.set()
        release.wait(PATIENCE)
        return Answer()

    canned.rules["DELETE /programs"] = stop
    process = subprocess.Popen(
        [*PIESCTL, "stop", "web", "--wait", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(canned),
        cwd=ROOT,
    )
    try:
        assert asked.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
        release.set()
    assert (process.returncode, out, err) == (-signal.SIGINT, b"", b"")


def test_a_reader_that_goes_away_ends_it_quietly(canned: CannedPiesd) -> None:
    canned.on("GET /programs", ROWS * 2000)
    process = subprocess.Popen(
        [*PIESCTL, "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(canned),
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == Code.UNREAD


def test_a_piped_list_loads_nothing_that_makes_it_slow(canned: CannedPiesd) -> None:
    script = (
        "import sys; from supervisor.cli.piesctl import main; main(['list']); "
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment(canned),
        cwd=ROOT,
        check=True,
        timeout=PATIENCE,
    )
    loaded = set(re.findall(r"'(\w+)'", done.stdout.splitlines()[-1]))
    assert "click" in loaded
    assert not loaded & {"rich", "msgspec", "trio", "quart", "hypercorn", "psutil", "structlog"}


# --- completion


@pytest.fixture
def piesctl_on_path(tmp_path: Path) -> str:
    directory = tmp_path / "bin"
    directory.mkdir()
    script = directory / "piesctl"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m supervisor.cli.piesctl "$@"\n')
    script.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("piesctl st", ["start", "stop"]),
        ("piesctl --instance x confi", ["config"]),
        ("piesctl config re", ["reload"]),
        ("piesctl stop w", ["web", "web:1", "web:2", "web:3"]),
        ("piesctl stop web:", ["1", "2", "3"]),
        ("piesctl why web:2", ["2"]),
        ("piesctl list status s", ["stopped", "sleeping", "stopping"]),
        ("piesctl list mode in", ["inetd"]),
        ("piesctl list status running ", ["and", "or"]),
        ("piesctl list not ac", ["active"]),
        ("piesctl signal hu", ["HUP"]),
        ("piesctl --url unix:///nowhere why w", [""]),
        ("piesctl completion ", ["bash", "zsh", "fish"]),
    ],
    ids=str,
)
def test_bash_completes_verbs_tags_and_selectors(
    canned: CannedPiesd, piesctl_on_path: str, line: str, offered: list[str]
) -> None:
    script = (
        "source <(piesctl completion bash); COMP_LINE=$1 COMP_POINT=${#1}; "
        '_piesctl_completion piesctl; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", line],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(canned, PATH=piesctl_on_path),
        check=True,
        timeout=PATIENCE,
    )
    assert done.stdout.splitlines() == offered
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_complete_tags(canned: CannedPiesd, shell: str) -> None:
    environ = environment(canned, _PIESCTL_COMPLETE=f"{shell}_complete")
    environ["COMP_WORDS"] = "piesctl stop web:"
    environ["COMP_CWORD"] = "2" if shell == "zsh" else "web:"
    done = subprocess.run(
        PIESCTL, capture_output=True, text=True, env=environ, cwd=ROOT, check=True, timeout=PATIENCE
    )
    assert re.findall(r"web:\d", done.stdout) == ["web:1", "web:2", "web:3"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_what_its_shell_accepts(canned: CannedPiesd, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [*PIESCTL, "completion", shell],
        capture_output=True,
        text=True,
        env=environment(canned),
        cwd=ROOT,
        check=True,
        timeout=PATIENCE,
    )
    subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True, timeout=PATIENCE)


def test_completion_without_a_daemon_offers_words_and_says_nothing(tmp_path: Path) -> None:
    nobody = CannedPiesd(tmp_path / "none")
    environ = environment(
        nobody, _PIESCTL_COMPLETE="zsh_complete", COMP_WORDS="piesctl stop ac", COMP_CWORD="2"
    )
    done = subprocess.run(
        PIESCTL, capture_output=True, text=True, env=environ, cwd=ROOT, check=True, timeout=PATIENCE
    )
    assert "active" in done.stdout
    assert done.stderr == ""


def test_control_c_while_the_progress_is_shown_gives_the_cursor_back(canned: CannedPiesd) -> None:
    release = threading.Event()

    def stop(_: Asked) -> Answer:
        release.wait(PATIENCE)
        return Answer()

    canned.rules["DELETE /programs"] = stop
    try:
        with terminal(environment(canned), "stop", "web", "--wait", "60", width=120) as shown:
            shown.until(lambda text: "0/3" in text)
            shown.process.send_signal(signal.SIGINT)
            assert shown.end() == Code.INTERRUPTED
    finally:
        release.set()
    assert shown.text.count("\x1b[?25l") == shown.text.count("\x1b[?25h") == 1


def test_a_stream_may_be_silent_for_as_long_as_it_likes(canned: CannedPiesd) -> None:
    canned.on("GET /v1/components/web/log", b"event: stdout\ndata: one\n\n")
    exchange = Exchange(UnixPlace(str(canned.path)), "GET", "/v1/components/web/log", timeout=30)
    exchange.patient()
    # http.client has let go of the socket by then, and reads on through what is kept of it.
    assert exchange.read_line() == b"event: stdout\n"
    assert exchange._socket.gettimeout() is None
    exchange.close()


def test_following_a_log_is_patient(canned: CannedPiesd, monkeypatch: pytest.MonkeyPatch) -> None:
    canned.on("GET /v1/components/web/log", b"event: stdout\ndata: one\n\n")
    patient: list[Exchange] = []
    monkeypatch.setattr(Exchange, "patient", lambda self: patient.append(self))  # noqa: PLW0108
    assert [each.data for each in Client(UnixPlace(str(canned.path))).follow_log("web")] == ["one"]
    assert len(patient) == 1
