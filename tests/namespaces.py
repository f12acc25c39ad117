"""Processes that are PID 1 of namespaces of their own, as the first one of a container is."""

from __future__ import annotations

import functools
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

PATIENCE = 30.0
ROOT = Path(__file__).parent.parent
PIESD = (sys.executable, "-m", "supervisor")


@functools.cache
def why_not() -> str:
    """Return why there can be no namespaces here, or nothing."""
    if os.geteuid() != 0:
        return "namespaces need root here"
    if shutil.which("unshare") is None:
        return "there is no unshare on this machine (package util-linux)"
    tried = subprocess.run(
        [*unshared(), "true"], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    return "" if tried.returncode == 0 else f"unshare: {tried.stderr.strip()}"


def unshared(*, proc: bool = True) -> tuple[str, ...]:
    """Return what makes the command behind it PID 1 of its own world."""
    mount = ("--mount-proc",) if proc else ()
    return ("unshare", "--pid", "--mount", "--net", "--fork", "--kill-child", *mount)


def break_piesd(program: Path, fault: str, seen_as: Path | None = None) -> tuple[str, ...]:
    """Write a program that runs piesd after the Python statements *fault*; return how to run it.

    Args:
        program: where it is written.
        fault: breaks something of ours that cannot be broken from outside.
        seen_as: where the program is in the world that it is run in.
    """
    program.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{fault}\n"
        "from supervisor.entrypoint import main\nraise SystemExit(main(sys.argv[1:]))\n"
    )
    return sys.executable, str(seen_as or program)


class Inmate:
    """A process, or the first process of namespaces, with pipes to us. Its lines are `lines`."""

    def __init__(
        self,
        words: Sequence[str],
        *,
        first: bool = True,
        environ: Mapping[str, str] | None = None,
        proc: bool = True,
    ) -> None:
        self._first = first
        wrapper = unshared(proc=proc) if first else ()
        self.process = subprocess.Popen(
            [*wrapper, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
        )
        self.lines: list[str] = []
        self._rest = b""

    @property
    def pid(self) -> int:
        """Its number out here."""
        if not self._first:
            return self.process.pid
        found = self.until(lambda: psutil.Process(self.process.pid).children(), "a first process")
        return int(found[0].pid)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def hear(self, word: str) -> str:
        """Read lines until one has *word* in it; return that."""
        return str(self.until(lambda: self._next(word), f"a line with {word!r}"))

    def until(self, fact: Callable[[], Any], what: str) -> Any:
        """Return what *fact* gives once that is something true."""
        deadline = time.monotonic() + PATIENCE
        while not (found := fact()):
            assert time.monotonic() < deadline, f"never: {what}; it said:\n{self.said}"
            select.select([], [], [], 0.01)
        return found

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def _next(self, word: str) -> str | None:
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            readable, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
            assert readable, f"no more lines, and none with {word!r}; it said:\n{self.said}"
            block = os.read(self.process.stdout.fileno(), 65536)
            assert block, f"it has ended without {word!r}; it said:\n{self.said}"
            self._rest += block
        line, _, self._rest = self._rest.partition(b"\n")
        self.lines.append(line.decode(errors="replace"))
        return self.lines[-1] if word in self.lines[-1] else None

    def end(self) -> int:
        """Wait for its end; return its code, as a shell shows it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        deadline = time.monotonic() + PATIENCE
        while True:  # communicate() would wait for whoever else has the pipe.
            left = deadline - time.monotonic()
            assert left > 0, f"it does not end; it said:\n{self.said}"
            readable, _, _ = select.select([self.process.stdout], [], [], min(left, 0.05))
            block = os.read(self.process.stdout.fileno(), 65536) if readable else b""
            self._rest += block
            if not block and (readable or self.process.poll() is not None):
                break
        code = self.process.wait(PATIENCE)
        self.lines += self._rest.decode(errors="replace").splitlines()
        self._rest = b""
        return code if code >= 0 else 128 - code

    def kill(self) -> None:
        if self.process.poll() is None:
            if self._first:
                for child in psutil.Process(self.process.pid).children():
                    child.send_signal(signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


@contextmanager
def inmate(words: Sequence[str], **how: Any) -> Iterator[Inmate]:
    """Run *words* (see `Inmate`); nothing of it is left afterwards."""
    one = Inmate(words, **how)
    try:
        yield one
    finally:
        one.kill()
