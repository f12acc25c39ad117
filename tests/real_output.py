"""Outputs on the real system, for tests with real children, sockets and files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from supervisor.model.component import Component
from supervisor.runtime.output import Outputs
from supervisor.system.linux import LinuxSystem

NUMBERED = """
import sys, zlib
for number in range(int(sys.argv[1]), int(sys.argv[2])):
    text = b"%08d " % number + b"x" * (number % 90)
    sys.stdout.buffer.write(text + b" %08x\\n" % zlib.crc32(text))
"""
"""A program that prints lines which tell whether they are whole."""


class House:
    """Outputs on the real system, with what they report."""

    def __init__(self, system: LinuxSystem, nursery: trio.Nursery, **more: Any) -> None:
        self.system = system
        self.reports: list[str] = []
        self._news = trio.Event()
        self.outputs = Outputs(system, nursery, self._report, **more)

    def _report(self, kind: str, level: str, key: str, text: str) -> None:
        self.reports.append(text)
        self._news.set()

    async def reported(self, words: str) -> str:
        """Wait for a report with these words."""
        while True:
            for text in self.reports:
                if words in text:
                    return text
            self._news = trio.Event()
            await self._news.wait()

    def start(
        self, argv: list[str], spec: Component, pass_fds: Sequence[int] = ()
    ) -> subprocess.Popen[bytes]:
        out, err = self.outputs.descriptors(spec.tag, spec)
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, pass_fds=pass_fds
        )
        self.outputs.started(spec.tag, process.pid)
        return process

    async def run(self, argv: list[str], spec: Component) -> None:
        """Run a program to its end, as the runner does."""
        process = self.start(argv, spec)
        await trio.to_thread.run_sync(process.wait)
        self.outputs.drain(spec.tag)

    async def numbered(self, spec: Component, first: int, end: int) -> None:
        await self.run([sys.executable, "-c", NUMBERED, str(first), str(end)], spec)


@asynccontextmanager
async def at_home(**more: Any) -> AsyncIterator[House]:
    system = LinuxSystem(instance="output-test")
    try:
        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(system.serve)
                house = House(system, nursery, **more)
                yield house
                await house.outputs.aclose(0.5)
                nursery.cancel_scope.cancel()
    finally:
        system.dispose()
