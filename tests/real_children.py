"""A real `System` around a test: SIGCHLD arrives, and nothing it started is left at the end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import trio

from supervisor.model.component import Component
from supervisor.system import seats
from supervisor.system.cgroups import NoGroups
from supervisor.system.linux import LinuxSystem
from supervisor.system.port import Launch, Launched, LaunchFailed, Reaped, TreeReport
from supervisor.system.process_setup import ProcessSetup

# As piesd does it before its event loop exists: the loop's own descriptors must not sit where a
# child's are put for the moment of its start.
seats.reserve()


@contextlib.contextmanager
def subreaping() -> Iterator[None]:
    """Make this process the parent of orphans, for a while."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(36, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        libc.prctl(36, 0, 0, 0, 0)


class Started:
    """A launch, its report, and its output (both streams) if nobody else has it."""

    def __init__(self, system: LinuxSystem, key: str, generation: int) -> None:
        self.system, self.key, self.generation = system, key, generation
        self.reports: list[Launched | LaunchFailed] = []
        self.reader = -1
        self._reported = trio.Event()
        self._output = bytearray()

    def reported(self, report: Launched | LaunchFailed) -> None:
        self.reports.append(report)
        self._reported.set()

    async def report(self) -> Launched | LaunchFailed:
        await self._reported.wait()
        return self.reports[0]

    async def pid(self) -> int:
        report = await self.report()
        assert isinstance(report, Launched), report
        return report.pid

    async def failure(self) -> LaunchFailed:
        report = await self.report()
        assert isinstance(report, LaunchFailed), report
        return report

    async def line(self) -> str:
        """Return the next line of output, without its end."""
        while b"\n" not in self._output:
            data = await self._more()
            assert data, f"the output ended after {bytes(self._output)!r}"
            self._output += data
        line, _, rest = bytes(self._output).partition(b"\n")
        self._output[:] = rest
        return line.decode()

    async def output(self) -> str:
        """Return everything up to the end of the output."""
        while data := await self._more():
            self._output += data
        return self._output.decode()

    async def _more(self) -> bytes:
        while (data := self.system.read(self.reader, 65536)) is None:
            await trio.lowlevel.wait_readable(self.reader)
        return data


class RealChildren:
    """Runs a `LinuxSystem` with its readiness and its SIGCHLD."""

    def __init__(
        self,
        *,
        setup: ProcessSetup | None = None,
        groups: NoGroups | None = None,
        children_files: bool | None = None,
    ) -> None:
        self.system = LinuxSystem(setup=setup, groups=groups, children_files=children_files)
        self.on_child: Callable[[], None] | None = None
        self.names: list[tuple[str, int]] = []
        self._readers: list[int] = []
        self._news: list[Reaped | TreeReport] = []
        self._ended = trio.Event()

    def start(
        self,
        key: str = "c",
        generation: int = 1,
        *,
        stdin: int | None = None,
        extra: tuple[tuple[int, int], ...] = (),
        environ: tuple[tuple[str, str], ...] = (),
        own_pid: tuple[str, ...] | None = None,
        **spec: Any,
    ) -> Started:
        """Launch a component with a pipe for both of its outputs."""
        started = Started(self.system, key, generation)
        started.reader, writer = self.system.pipe()
        self._readers.append(started.reader)
        self.names.append((key, generation))
        component = Component(tag=key, **spec)
        launch = Launch(
            key=key,
            generation=generation,
            spec=component,
            stdin=stdin,
            stdout=writer,
            stderr=writer,
            extra=extra,
            environ=environ,
            own_pid=own_pid,
        )
        self.system.launch(launch, started.reported)
        self.system.close(writer)
        return started

    def shell(self, script: str, key: str = "c", generation: int = 1, **spec: Any) -> Started:
        """Launch a shell script."""
        return self.start(key, generation, argv=("/bin/sh", "-c", script), **spec)

    async def next(self) -> Reaped | TreeReport:
        """Wait for the next report of `reap`."""
        while not self._news:
            self._ended = trio.Event()
            self._news = self.system.reap()
            if not self._news:
                await self._ended.wait()
        return self._news.pop(0)

    async def reaped(self) -> Reaped:
        """Wait for the next end of a leader."""
        news = await self.next()
        assert isinstance(news, Reaped), news
        return news

    async def __aenter__(self) -> RealChildren:
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(self.system.serve)
        await self._nursery.start(self._signals)
        return self

    async def _signals(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGCHLD) as signals:
            task_status.started()
            async for _ in signals:
                self._ended.set()
                if self.on_child is not None:
                    self.on_child()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        forest = self.system._forest
        with trio.CancelScope(shield=True), trio.move_on_after(10):
            while forest._trees:
                for key, generation in list(forest._trees):
                    self.system.signal(key, generation, signal.SIGKILL, "tree")
                self._ended = trio.Event()
                if not self.system.reap():
                    await self._ended.wait()
        self._nursery.cancel_scope.cancel()
        await self._manager.__aexit__(kind, error, trace)
        for reader in self._readers:
            with contextlib.suppress(OSError):
                os.close(reader)
        self.system.dispose()


def status_of(pid: int | str = "self") -> dict[str, str]:
    """Return /proc/PID/status as a table."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return {k: v.strip() for k, _, v in (line.partition(":") for line in file)}
