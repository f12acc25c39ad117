"""What the tests with real servers and clients share: how clients run, and what piesd is asked."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from piesd_process import PATIENCE, Piesd
from real_programs import executable

OTHER = '\n[component.other]\ncommand = "sleep {seconds}"\n'
"""A component that a reload changes, beside the one that is looked at."""


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test where one of *programs* is missing, and say why."""
    missing = []
    for program in programs:
        try:
            executable(program)
        except FileNotFoundError as error:
            missing.append(str(error))
    return pytest.mark.skipif(bool(missing), reason="; ".join(missing))


def run(*words: object, code: int | None = 0, text: str = "") -> str:
    """Run a client to its end, and return what it printed."""
    done = subprocess.run(
        list(map(str, words)),
        input=text,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1"},
    )
    assert code is None or done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def running(*words: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a client whose transfer something is going to happen to."""
    client = subprocess.Popen(
        list(map(str, words)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    )
    try:
        yield client
    finally:
        client.kill()
        client.communicate()


@contextmanager
def held(client: subprocess.Popen[bytes]) -> Iterator[None]:
    """Keep a client from going on meanwhile: its transfer is in the middle, however fast."""
    client.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        client.send_signal(signal.SIGCONT)


def servers(daemon: Piesd, tag: str) -> list[int]:
    """Return the PIDs of the children of a listener."""
    return [row["PID"] for row in daemon.rows(tag) if "PID" in row]


def one_server(daemon: Piesd, tag: str) -> int:
    """Wait until there is one child, and return its PID."""
    pid: int = daemon.until(lambda: (servers(daemon, tag) or [0])[0], f"a server of {tag}")
    return pid


def stop_and_start(daemon: Piesd, tag: str, refused: Callable[[], bool]) -> None:
    """Stop a component by piesctl, see that its clients are turned away, and start it again."""
    daemon.piesctl("stop", tag)
    assert refused()
    daemon.piesctl("start", tag)
    daemon.until(lambda: not refused())


def reload_with(daemon: Piesd, config: str) -> list[tuple[str, str]]:
    """Write another configuration and reload; return what that has changed."""
    daemon.write(config)
    answer = daemon.ask("PUT", "/conf/runtime").json
    return [(change["tag"], change["action"]) for change in answer["changes"]]


def refuses(port: int) -> bool:
    """Return whether nobody listens on that port of the loopback interface."""
    with socket.socket() as client:
        client.settimeout(PATIENCE)
        return client.connect_ex(("127.0.0.1", port)) != 0


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def something_big(path: Path, size: int = 8 << 20) -> str:
    """Make a file that does not get smaller by compression, and return its digest."""
    path.write_bytes(os.urandom(size))
    return digest(path)
