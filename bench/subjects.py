"""What is measured: piesd and the floor, started and ended in the same way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.asking import Client
from bench.child import Child, Late

_ROOT = Path(__file__).resolve().parent.parent
_FLOOR = str(Path(__file__).with_name("floor.py"))
_ASKING = str(Path(__file__).with_name("asking.py"))

# So that nobody's configuration, service manager or marker gets into the measurement.
_FOREIGN = ("PIESD_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "PYTHON")
_ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}


class Subject:
    """A process that keeps children alive. Leaving the block ends it, whatever has happened.

    It gets a session of its own: Ctrl-C on the terminal is for the bench, which then ends it.
    """

    def __init__(self, command: list[str], log: Path) -> None:
        with log.open("ab") as out:
            self.begun = time.perf_counter()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=_ROOT,
                env=_ENVIRON,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Subject:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def end(self) -> float:
        """Send SIGTERM; return the seconds until it has ended.

        Raises:
            Late: it has not, for a minute.
        """
        begun = time.perf_counter()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60.0)
        except subprocess.TimeoutExpired:
            raise Late("the shutdown took more than a minute") from None
        return time.perf_counter() - begun


def piesd(configuration: Path, log: Path) -> Subject:
    """Execute piesd as anybody would."""
    return Subject([sys.executable, "-m", "supervisor", "-c", str(configuration)], log)


def floor(count: int, child: Child, log: Path) -> Subject:
    """Execute the bare loop."""
    words = [sys.executable, "-I", "-S", _FLOOR, "keep", str(count), *child.command]
    return Subject(words, log)


def reaping_floor(command: list[str], log: Path) -> Subject:
    """Execute the bare loop that reaps whatever *command* leaves behind."""
    return Subject([sys.executable, "-I", "-S", _FLOOR, "reap", *command], log)


def serving_floor(port: int, command: list[str]) -> list[str]:
    """Return the bare loop that runs *command* for each connection to *port*."""
    return [sys.executable, "-I", "-S", _FLOOR, "serve", str(port), *command]


def canned(socket_path: Path, content: Path, log: Path) -> Subject:
    """Execute the server that always gives the same answer."""
    words = [sys.executable, "-I", "-S", _FLOOR, "answer", str(socket_path), str(content)]
    return Subject(words, log)


def configuration(directory: Path, count: int, child: Child) -> Path:
    """Write a configuration of *count* components into *directory*; return the file.

    Each has a table of its own, as components have that people write. Nothing that a default
    costs is switched off, but that a component which is killed too often is put to sleep.
    """
    command = ", ".join(quoted(word) for word in child.command)
    lines = [*daemon_lines(directory), "[defaults]", "respawn = { max = 1000000 }"]
    for number in range(count):
        lines += [f"[component.{tag(number)}]", f"command = [{command}]"]
    file = directory / "piesd.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def daemon_lines(directory: Path) -> list[str]:
    """Return how a configuration begins: everything that piesd makes is in *directory*."""
    return [
        "[daemon]",
        *(
            f"{kind}-directory = {quoted(str(directory / kind))}"
            for kind in ("runtime", "state", "log")
        ),
        "[control]",
        f"socket = {quoted(f'unix://{socket_of(directory)}')}",
    ]


def tag(number: int) -> str:
    """Return the tag of a component."""
    return f"sample-{number:05}"


def socket_of(directory: Path) -> str:
    """Return where piesd answers."""
    return str(directory / "ctl")


def quoted(text: str) -> str:
    """Return *text* as a string of TOML."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def connect(path: Path | str, seconds: float = 30.0) -> Client:
    """Return a client of a server that may not listen yet.

    Raises:
        Late: it does not, for so long.
    """
    end = time.perf_counter() + seconds
    while True:
        try:
            return Client(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            if time.perf_counter() > end:
                raise Late(f"nobody listens on {path}") from None
            time.sleep(0.005)


class Visitor:
    """Somebody who asks the same again and again while something else is measured.

    It is a process of its own, so that it waits for nobody here.
    """

    def __init__(self, socket_path: str, path: str) -> None:
        words = [sys.executable, "-I", "-S", _ASKING, socket_path, path]
        self._process: subprocess.Popen[str] = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._out: Any = self._process.stdout
        self.longest = 0.0
        """The longest that it had to wait for an answer, in seconds."""

    def __enter__(self) -> Visitor:
        self._out.readline()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            said, _ = self._process.communicate(timeout=60.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            said, _ = self._process.communicate()
        if self._process.returncode == 0:
            self.longest = float(said)
        elif error == (None, None, None):
            raise Late("somebody who asked all the time got no answer")
