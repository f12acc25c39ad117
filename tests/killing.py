"""A piesd whose output dies between any two system calls, and the lives that follow it."""

from __future__ import annotations

import os
import random
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import pytest
import trio

from supervisor.model.component import Component, Output
from supervisor.runtime.output import Outputs
from supervisor.system import fifos, footpath, keeper, logfile, lognote, rotation, stage
from supervisor.system.keeper import Keeper
from supervisor.system.port import System

P = ParamSpec("P")
T = TypeVar("T")

CALLS = frozenset(
    (
        *("close", "fstat", "ftruncate", "mkfifo", "open", "pread", "pwrite", "read"),
        *("rename", "replace", "splice", "unlink", "write"),
    )
)


class Killed(BaseException):
    """SIGKILL, at a system call."""


class Kernel:
    """The system calls of one life; `left` of them are carried out, and then none any more."""

    def __init__(self, left: int, chance: random.Random) -> None:
        self.left = left
        self.dead = False
        self.opened: set[int] = set()
        self._chance = chance

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._counted(name, real) if name in CALLS else real

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                raise Killed
            if self.left <= 0:
                self.dead = True
                if name == "write" and self._chance.random() < 0.7:  # A kill may cut it off.
                    real(args[0], bytes(args[1])[: self._chance.randrange(len(args[1]) + 1)])
                raise Killed
            self.left -= 1
            result = real(*args, **kwargs)
            if name == "open":
                self.opened.add(result)
            elif name == "close":
                self.opened.discard(args[0])
            return result

        return call

    def punch(self, *args: int) -> int:
        return int(self._counted("fallocate", stage_punch)(*args))

    def bury(self) -> None:
        """Close what the kernel would close."""
        for fd in self.opened:
            os.close(fd)
        self.opened.clear()


stage_punch = stage._fallocate


class Loop:
    """As much of `System` as output needs, on real pipes; what may block is done at once."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.watched: dict[int, Callable[[], None]] = {}

    def wall(self) -> float:
        return 1_792_413_214.123

    def read(self, fd: int, most: int) -> bytes | None:
        try:
            return cast("bytes", self.kernel.read(fd, most))
        except BlockingIOError:
            return None

    def close(self, fd: int) -> None:
        self.unwatch(fd)
        self.kernel.close(fd)

    def watch(self, fd: int, ready: Callable[[], None]) -> None:
        self.watched[fd] = ready

    def unwatch(self, fd: int) -> None:
        self.watched.pop(fd, None)

    async def blocking(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        await trio.lowlevel.checkpoint()
        return job(*args, **kwargs)

    def pump(self) -> bool:
        """Dispatch readiness once; return whether there was anything."""
        poll = select.poll()
        for fd in self.watched:
            poll.register(fd, select.POLLIN)
        ready = poll.poll(0)
        for fd, _ in ready:
            if fd in self.watched:
                self.watched[fd]()
        return bool(ready)


class Lives:
    """Components that go on printing while one piesd after the other is killed."""

    def __init__(
        self,
        place: Path,
        specs: list[Component],
        seed: int,
        patch: pytest.MonkeyPatch,
        longest: int = 100_000,
    ) -> None:
        self.place, self.specs, self._patch, self._longest = place, specs, patch, longest
        self.chance = random.Random(seed)
        self.printed = {spec.tag: b"" for spec in specs}
        self.ends: dict[str, int] = {}
        """What the children write to; they outlive every piesd."""

    def live(self, calls: int, rounds: int) -> bool:
        """Live until so many system calls are done, or rounds; return whether it was killed."""
        kernel = Kernel(calls, self.chance)
        for module in (fifos, footpath, keeper, logfile, lognote, rotation, stage):
            self._patch.setattr(module, "os", kernel)
        self._patch.setattr(stage, "_fallocate", kernel.punch)
        try:
            trio.run(self._live, kernel, rounds)
        except BaseException as error:
            if not kernel.dead or "Killed" not in repr(error):
                raise
        finally:
            self._patch.undo()
            kernel.bury()
        return kernel.dead

    async def _live(self, kernel: Kernel, rounds: int) -> None:
        loop = Loop(kernel)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                outputs = Outputs(
                    cast("System", loop),
                    nursery,
                    lambda *_: None,
                    keeper=Keeper(str(self.place), "test"),
                )
                for spec in self.specs:
                    end = outputs.descriptors(spec.tag, spec)[0]
                    if spec.tag not in self.ends:
                        self.ends[spec.tag] = os.dup(end)
                for _ in range(rounds):
                    self._print()
                    loop.pump()
                    for _ in range(self.chance.randrange(3)):
                        await trio.lowlevel.checkpoint()
                while loop.pump():
                    await trio.lowlevel.checkpoint()
                await outputs.written()
                nursery.cancel_scope.cancel()

    def _print(self) -> None:
        """Have a child print something: whole lines, parts of lines, now and then a long one."""
        spec = self.chance.choice(self.specs)
        size = self.chance.randrange(self.chance.choice((20, 300, 300, 300, self._longest)))
        letters = b"abcdefgh" if spec is self.specs[0] else b"ABCDEFGH"
        text = bytes(self.chance.choices(letters + b"\n", k=min(size, 500)))
        text += letters[:1] * (size - len(text))
        os.write(self.ends[spec.tag], text)
        self.printed[spec.tag] += text

    def end(self) -> None:
        """Have each child end its last line, and a piesd live until all is written."""
        for tag, end in self.ends.items():
            os.write(end, b"\n")
            self.printed[tag] += b"\n"
        assert not self.live(10**9, 0)
        for end in self.ends.values():
            os.close(end)


def contents(path: Path) -> bytes:
    """Return what is in a log and the old files of it, the oldest first."""
    old = sorted(path.parent.glob(f"{path.name}.*"), key=lambda one: -int(one.suffix[1:]))
    return b"".join(one.read_bytes() for one in (*old, path) if one.exists())


def component(tag: str, path: Path, **more: Any) -> Component:
    target = Output(kind="file", path=str(path), **more)
    return Component(tag=tag, argv=(tag,), stdout=target, stderr=Output(kind="stdout"))
