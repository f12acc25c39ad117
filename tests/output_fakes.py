"""A simulated system, as far as output needs one, and targets whose faults a test chooses."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, cast

import trio

from supervisor.model.component import Component, Output
from supervisor.runtime.messages import Origin, Record
from supervisor.runtime.output import Outputs
from supervisor.system.logfile import CannotWrite
from supervisor.system.port import System

P = ParamSpec("P")
T = TypeVar("T")


class FakePipes:
    """Pipes that are lists of bytes; what runs in `blocking` can be held up."""

    def __init__(self) -> None:
        self.pipes: dict[int, bytearray] = {}
        self.watched: dict[int, Callable[[], None]] = {}
        self.next_fd = 10
        self.most_pipes: int | None = None
        self.closed: list[int] = []
        self.jobs = 0
        self.gate: trio.Event | None = None
        self.now = 1_792_413_214.123

    def wall(self) -> float:
        return self.now

    def pipe(self) -> tuple[int, int]:
        if self.most_pipes is not None and len(self.pipes) >= self.most_pipes:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        read_fd = self.next_fd
        self.next_fd += 2
        self.pipes[read_fd] = bytearray()
        return read_fd, read_fd + 1

    def read(self, fd: int, most: int) -> bytes | None:
        there = self.pipes[fd]
        if not there:
            return None
        data = bytes(there[:most])
        del there[:most]
        return data

    def close(self, fd: int) -> None:
        self.closed.append(fd)

    def watch(self, fd: int, ready: Callable[[], None]) -> None:
        assert fd not in self.watched, "watched twice"
        self.watched[fd] = ready

    def unwatch(self, fd: int) -> None:
        self.watched.pop(fd, None)

    async def blocking(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.jobs += 1
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        return job(*args, **kwargs)

    # --- what a test does

    def pump(self) -> None:
        """Dispatch readiness until no watched pipe has anything left."""
        while ready := [fd for fd, data in self.pipes.items() if data and fd in self.watched]:
            for fd in ready:
                self.watched[fd]()

    def write(self, write_fd: int, data: bytes) -> None:
        """Print, as a child would that never blocks, and let piesd read."""
        self.pipes[write_fd - 1] += data
        self.pump()


class MemoryLog:
    """A target that is a list of blocks in memory."""

    def __init__(self) -> None:
        self.data = b""
        self.writes: list[bytes] = []
        self.error: OSError | None = None
        self.room: int | None = None
        self.most: int | None = None
        self.reopened = 0
        self.closed = 0

    def write(self, blocks: list[bytes]) -> int:
        data = b"".join(blocks)
        if self.error is not None:
            raise self.error
        if self.room is not None:
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if len(data) > self.room:
                part, self.room = data[: self.room], 0
                self.data += part
                raise CannotWrite(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), len(part))
            self.room -= len(data)
        if self.most is not None:
            data = data[: self.most]
        self.data += data
        self.writes.append(data)
        return len(data)

    def reopen(self) -> None:
        if self.error is not None:
            raise self.error
        self.reopened += 1

    def close(self) -> None:
        self.closed += 1


class MemoryCourier:
    """A collector of messages that is a list in memory; a test chooses its faults."""

    def __init__(self) -> None:
        self.records: list[tuple[Origin, float, bytes]] = []
        self.error: OSError | None = None
        self.most: int | None = None
        """Lines that one write takes at most."""
        self.reopened = 0
        self.closed = 0

    @property
    def lines(self) -> list[bytes]:
        return [line for _, _, line in self.records]

    def write(self, records: Iterable[Record]) -> int:
        if self.error is not None:
            raise self.error
        done = 0
        left = self.most if self.most is not None else sys.maxsize
        for origin, at, lines in records:
            for line in lines.split(b"\n")[:-1]:
                if not left:
                    return done
                left -= 1
                self.records.append((origin, at, line))
                done += len(line) + 1
        return done

    def reopen(self) -> None:
        self.reopened += 1

    def close(self) -> None:
        self.closed += 1


class House:
    """Outputs on simulated pipes, with every report and every log file at hand."""

    def __init__(self, nursery: trio.Nursery, **more: Any) -> None:
        self.system = FakePipes()
        self.couriers: dict[tuple[str, str], MemoryCourier] = {}
        self.reports: list[tuple[str, str, str, str]] = []
        self.logs: dict[str, MemoryLog] = {}
        self.opened: list[Output] = []
        self.own: dict[int, MemoryLog] = {}
        self.open_error: OSError | None = None
        self.heard: Callable[[str], None] = lambda _: None
        self.outputs = Outputs(
            cast("System", self.system),
            nursery,
            self._report,
            self._open,
            open_own=lambda fd: self.own.setdefault(fd, MemoryLog()),
            open_courier=self.courier,
            own_stdout_fd=-1,
            own_stderr_fd=-2,
            **more,
        )

    def _report(self, kind: str, level: str, key: str, text: str) -> None:
        self.reports.append((kind, level, key, text))
        self.heard(text)

    def _open(self, settings: Output) -> MemoryLog:
        if self.open_error is not None:
            raise self.open_error
        self.opened.append(settings)
        return self.log(str(settings.path))

    def courier(self, kind: str = "syslog", address: str = "/dev/log") -> MemoryCourier:
        return self.couriers.setdefault((kind, address), MemoryCourier())

    def log(self, path: str) -> MemoryLog:
        return self.logs.setdefault(path, MemoryLog())

    def texts(self, kind: str) -> list[str]:
        return [text for this, _, _, text in self.reports if this == kind]


def to(path: str, **more: Any) -> Output:
    return Output(kind="file", path=path, **more)


def web(**more: Any) -> Component:
    """Return a component whose stdout goes to a file and whose stderr goes nowhere."""
    fields = {"tag": "web", "argv": ("web",), "stdout": to("/web"), "stderr": Output(kind="null")}
    return Component(**{**fields, **more})
