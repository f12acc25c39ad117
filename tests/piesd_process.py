"""A real piesd in a directory of its own, for tests from outside.

It tells its readiness over NOTIFY_SOCKET, so nobody waits for a while: tests wait for facts.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

PATIENCE = 30.0
"""Seconds after which a fact that has not come is taken as never coming."""

_SET_CHILD_SUBREAPER, _GET_CHILD_SUBREAPER = 36, 37  # Source: <linux/prctl.h>.
_PIESCTL = "import sys; from supervisor.cli.piesctl import main; sys.exit(main())"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, patience: float = PATIENCE) -> None:
        super().__init__("piesd", timeout=patience)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Answer:
    """What the daemon answered."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Piesd:
    """A running piesd. `log` is what it wrote to standard error so far."""

    def __init__(
        self,
        home: Path,
        config: str,
        *,
        environ: Mapping[str, str] | None = None,
        options: tuple[str, ...] = (),
        wrapper: tuple[str, ...] = (),
        cwd: Path = Path(__file__).parent.parent,
    ) -> None:
        self.home, self._cwd = home, cwd
        self.config = home / "piesd.toml"
        self.socket = home / "run" / "piesd.ctl"
        self._log = home / "piesd.log"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(home / "notify"))
        (home / "notify").chmod(0o777)  # As the service manager's: piesd may become somebody else.
        self._notify.settimeout(PATIENCE)
        self.write(config)
        self._environ = {"NOTIFY_SOCKET": str(home / "notify"), **(environ or {})}
        self._begin(*options, wrapper=wrapper)

    def _begin(self, *options: str, wrapper: tuple[str, ...] = ()) -> None:
        self.forget_told()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*wrapper, sys.executable, "-m", "supervisor", "-c", str(self.config), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._cwd,
                env={**os.environ, **self._environ},
            )
        self.pid = self.process.pid

    def kill(self) -> None:
        """Kill it as nobody is to be killed: it has no time for anything."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def again(self, *options: str, wrapper: tuple[str, ...] = ()) -> Piesd:
        """Begin another one in the same place, and wait until it is ready."""
        self._begin(*options, wrapper=wrapper)
        return self.wait_ready()

    def write(self, config: str) -> None:
        """Write the configuration; the tables that tests do not care about are added."""
        directories = "".join(
            f'{name}-directory = "{self.home / folder}"\n'
            for name, folder in (("runtime", "run"), ("state", "state"), ("log", "log"))
        )
        if "[daemon]" in config:
            config = config.replace("[daemon]\n", f"[daemon]\n{directories}", 1)
        else:
            config = f"[daemon]\n{directories}{config}"
        if "[control]" not in config:
            config += f'\n[control]\nsocket = "unix://{self.socket}"\n'
        # At one blow: a reload that is under way reads the old or the new, and no half of either.
        draft = self.config.with_suffix(".new")
        draft.write_text(config)
        draft.replace(self.config)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    # --- waiting for facts

    def told(self, word: str) -> str:
        """Wait until the service manager is told *word*; return the whole message."""
        deadline = time.monotonic() + PATIENCE
        while True:
            assert time.monotonic() < deadline, f"never told {word!r}; log:\n{self.log}"
            try:
                message = self._notify.recv(4096).decode()
            except TimeoutError:
                raise AssertionError(f"never told {word!r}; log:\n{self.log}") from None
            if word in message:
                return message

    def forget_told(self) -> None:
        """Forget what was told so far: a reload ends with READY=1 as well as a start."""
        while select.select([self._notify], [], [], 0)[0]:
            self._notify.recv(4096)

    def wait_ready(self) -> Piesd:
        self.told("READY=1")
        return self

    def ready_or_ended(self) -> bool:
        """Wait until it is ready; return False if it has ended instead."""
        deadline = time.monotonic() + PATIENCE
        while True:
            readable, _, _ = select.select([self._notify], [], [], 0.05)
            if readable:
                if b"READY=1" in self._notify.recv(4096):
                    return True
            elif self.process.poll() is not None:
                return False
            assert time.monotonic() < deadline, f"neither ready nor at its end; log:\n{self.log}"

    def until(self, fact: Callable[[], Any], what: str = "") -> Any:
        """Ask until *fact* gives something true, and return that; each event ends a pause."""
        deadline = time.monotonic() + PATIENCE
        while not (found := fact()):
            assert time.monotonic() < deadline, f"{what or fact}: never; log:\n{self.log}"
            assert self.process.poll() is None, f"piesd has ended; log:\n{self.log}"
            # What pauses is a wait for its end, so a daemon that dies is seen at once.
            select.select([], [], [], 0.01)
        return found

    def until_status(self, tag: str, status: str) -> dict[str, Any]:
        return self.until(  # type: ignore[no-any-return]  # the row it found
            lambda: next((row for row in self.rows(tag) if row["status"] == status), None),
            f"{tag} {status}",
        )

    def wait_end(self) -> int:
        return self.process.wait(PATIENCE)

    # --- asking

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> Answer:
        connection = UnixConnection(str(self.socket), patience)
        try:
            data = json.dumps(body) if body is not None else None
            connection.request(
                method,
                path,
                body=data,
                headers={"Content-Type": "application/json", **(headers or {})},
            )
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def rows(self, tag: str | None = None) -> list[dict[str, Any]]:
        path = "/programs" if tag is None else f"/programs/{quote(tag)}"
        return self.ask("GET", path).json  # type: ignore[no-any-return]  # pies answers a list

    def row(self, tag: str) -> dict[str, Any]:
        rows = self.rows(tag)
        assert len(rows) == 1, rows
        return rows[0]

    def order(self, method: str, selector: Any, wait: float | None = 20.0) -> Answer:
        """Start (PUT), stop (DELETE) or restart (POST) what *selector* matches."""
        waits = "" if wait is None else f"wait={wait}"
        if method == "POST":
            return self.ask("POST", f"/programs?{waits}", selector)
        return self.ask(method, f"/programs?selector={quote(json.dumps(selector))}&{waits}")

    def piesctl(self, *words: str, code: int = 0, patience: float = 60.0) -> str:
        """Run piesctl with these words, and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", _PIESCTL, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=patience,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "PIESD_URL": f"unix://{self.socket}"},
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> None:
        """Stop it however it is, and everything that it may have left."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._notify.close()


@contextmanager
def piesd(home: Path, config: str, **options: Any) -> Iterator[Piesd]:
    """Run a piesd, ready, and end it at last."""
    process = Piesd(home, config, **options)
    try:
        yield process.wait_ready()
    finally:
        process.end()


@contextmanager
def heir() -> Iterator[None]:
    """Be the parent of what a piesd leaves that is killed in here, and end all of it at last.

    What was just being started carries no mark yet by which it could be found; a parent it has.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    ourselves, before = psutil.Process(), ctypes.c_int()
    others = set(ourselves.children(recursive=True))
    libc.prctl(_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    assert libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        while left := set(ourselves.children(recursive=True)) - others:
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            assert not psutil.wait_procs(left, PATIENCE)[1]
        libc.prctl(_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


def marked(home: Path, config: str) -> str:
    """Return *config* so that everything it starts is found by `with_marker(f"DAY={home}")`."""
    return f'[daemon]\nshutdown-timeout = 3\n[defaults]\nenv = {{ DAY = "{home}" }}\n{config}'


def alive(pid: int) -> bool:
    """Return whether a process lives (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def with_marker(text: str) -> list[int]:
    """Return the live processes whose environment contains *text*."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if text.encode() in environment and alive(int(entry.name)):
                found.append(int(entry.name))
    return found
