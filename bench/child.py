"""What the children execute: a program that says at once that it runs, and then waits.

A respawn takes less than a millisecond, so the program has to cost next to nothing, and a compiler
cannot be assumed. On x86-64 it is therefore written down here as machine code: it opens a FIFO,
writes its process number into it, and pauses. Elsewhere a shell does the same for piesd and for
the floor; the ratios then come out smaller than they are.

Two more are made in the same way: one that serves a connection, and one that waits to end.
"""

from __future__ import annotations

import os
import platform
import select
import shlex
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

RECORD = 8
"""Bytes that each child writes; so few go into a pipe at once or not at all."""

TIMESPEC = struct.Struct("qq")
"""What a program that serves writes: the seconds and nanoseconds of its beginning."""

UNTIMED = b"it does not know"
"""What it writes where it is no program of ours."""

_BASE = 0x400000
_HEADERS = 64 + 56


class Late(Exception):
    """Something did not happen in time."""


class Child(NamedTuple):
    """A program to execute, and how to read what it writes."""

    command: list[str]
    read: Callable[[bytes], int]
    kind: str


def make_child(directory: Path, fifo: Path) -> Child:
    """Write the program into *directory* and return it; it reports to *fifo*."""
    if platform.machine() == "x86_64":
        file = directory / "child"
        file.write_bytes(machine_code(os.fsencode(fifo)))
        file.chmod(0o755)
        child = Child([str(file)], lambda record: int.from_bytes(record, "little"), "machine code")
        if _works(child, fifo):
            return child
    script = f"printf %0{RECORD}d $$ >{shlex.quote(str(fifo))}; exec sleep 1000000"
    return Child(["/bin/sh", "-c", script], int, "shell")


def machine_code(path: bytes) -> bytes:
    """Return a static x86-64 ELF file that writes its process number to *path* and waits.

    Source: elf(5), syscalls(2), the numbers in Linux's arch/x86/entry/syscalls/syscall_64.tbl.
    """
    before = b"\xb8\x02\0\0\0"  # mov eax, 2 (open)
    after = (
        b"\xbe\x01\0\0\0"  # mov esi, 1 (O_WRONLY)
        b"\x0f\x05"  # syscall
        b"\x93"  # xchg ebx, eax: the descriptor
        b"\xb8\x27\0\0\0"  # mov eax, 39 (getpid)
        b"\x0f\x05"
        b"\x50"  # push rax: the record is on the stack
        b"\xb8\x01\0\0\0"  # mov eax, 1 (write)
        b"\x89\xdf"  # mov edi, ebx
        b"\x48\x89\xe6"  # mov rsi, rsp
        b"\xba\x08\0\0\0"  # mov edx, 8
        b"\x0f\x05"
        b"\xb8\x22\0\0\0"  # mov eax, 34 (pause)
        b"\x0f\x05"
        b"\xeb\xf7"  # jmp to the last mov
    )
    load_path = b"\x48\x8d\x3d" + struct.pack("<i", len(after))  # lea rdi, [rip + …]
    return _executable(before + load_path + after + path + b"\0")


_EXIT = b"\xb8\x3c\0\0\0\x31\xff\x0f\x05"  # mov eax, 60 (exit); xor edi, edi; syscall

_SERVE = (
    b"\xb8\xe4\0\0\0"  # mov eax, 228 (clock_gettime)
    b"\xbf\x01\0\0\0"  # mov edi, 1 (CLOCK_MONOTONIC)
    b"\x48\x8d\x74\x24\xf0"  # lea rsi, [rsp - 16]
    b"\x0f\x05"  # syscall
    b"\xb8\x01\0\0\0"  # mov eax, 1 (write)
    b"\xbf\x01\0\0\0"  # mov edi, 1: standard output
    b"\xba\x10\0\0\0"  # mov edx, 16
    b"\x0f\x05" + _EXIT
)

_WAIT = (
    b"\x31\xc0\x31\xff"  # xor eax, eax (read); xor edi, edi: standard input
    b"\x48\x8d\x74\x24\xf0"  # lea rsi, [rsp - 16]
    b"\xba\x01\0\0\0"  # mov edx, 1
    b"\x0f\x05" + _EXIT
)


def make_server(directory: Path) -> list[str]:
    """Return a program that writes a `TIMESPEC` to its standard output at once, and ends.

    The time is that of CLOCK_MONOTONIC. Elsewhere than on x86-64 it writes `UNTIMED`.
    """
    words = _written(directory / "serve", _SERVE)
    if words and len(_output(words)) == TIMESPEC.size:
        return words
    return ["/usr/bin/printf", UNTIMED.decode()]


def make_waiter(directory: Path) -> list[str]:
    """Return a program that ends when its standard input does."""
    words = _written(directory / "wait", _WAIT)
    return words if words and _output(words) == b"" else ["/bin/cat"]


def _written(file: Path, code: bytes) -> list[str]:
    if platform.machine() != "x86_64":
        return []
    file.write_bytes(_executable(code))
    file.chmod(0o755)
    return [str(file)]


def _output(command: list[str]) -> bytes:
    """Try it, as `_works`; return what it writes, and something else if that does not go well."""
    try:
        run = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=5.0, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return b"?"
    return run.stdout


def _executable(content: bytes) -> bytes:
    """Return a static x86-64 ELF file that begins with the first byte of *content*."""
    entry = _BASE + _HEADERS
    identity = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)  # 64 bits, little end first, version 1.
    # An executable for machine 62, x86-64: one program header right behind this one.
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = _HEADERS + len(content)
    # PT_LOAD, readable and executable: the whole file.
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 4096)
    return identity + header + segment + content


def _works(child: Child, fifo: Path) -> bool:
    """Try it: the directory may be mounted noexec, or the machine only emulated."""
    with Reports(fifo, child) as reports:
        try:
            process = subprocess.Popen(child.command)
        except OSError:
            return False
        try:
            return reports.wait(1, 5.0) == [process.pid]
        except Late:
            return False
        finally:
            process.kill()
            process.wait()


class Reports:
    """The bench's end of the FIFO, and who runs."""

    def __init__(self, fifo: Path, child: Child) -> None:
        # For writing too: else there is an end of file whenever nobody else has it open.
        self._fd = os.open(fifo, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        self._read = child.read
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._parent = -1
        self.first_at = 0.0
        self.last_at = 0.0
        """When the first and the last record of the latest `wait` were read, on the clock of
        time.perf_counter."""

    def __enter__(self) -> Reports:
        return self

    def __exit__(self, *_: object) -> None:
        self.watch(None)
        os.close(self._fd)

    def watch(self, pid: int | None) -> None:
        """Take it that nothing more comes once *pid*, a child of ours, has ended."""
        if self._parent >= 0:
            self._poll.unregister(self._parent)
            os.close(self._parent)
            self._parent = -1
        if pid is not None:
            self._parent = os.pidfd_open(pid)
            self._poll.register(self._parent, select.POLLIN)

    def wait(self, count: int, seconds: float = 60.0) -> list[int]:
        """Return the pids of the next *count* children that start.

        Raises:
            Late: they did not, for *seconds*, or cannot any more.
        """
        pids: list[int] = []
        end = time.perf_counter() + seconds
        while len(pids) < count:
            left = end - time.perf_counter()
            ready = [fd for fd, _ in self._poll.poll(left * 1000)] if left > 0 else []
            if self._fd not in ready:
                why = "who starts them has ended" if ready else f"{seconds:.0f} s were over"
                raise Late(f"{len(pids)} of {count} children started, then {why}")
            data = os.read(self._fd, RECORD * (count - len(pids)))
            self.last_at = time.perf_counter()
            if not pids:
                self.first_at = self.last_at
            pids += [self._read(data[at : at + RECORD]) for at in range(0, len(data), RECORD)]
        return pids
