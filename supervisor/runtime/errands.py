"""Children of the runtime's own, such as checks and start conditions: the engine never sees them.

Their keys are `TAG#condition` and `TAG#checkN`, so that what they print and what they leave behind
is accounted to their component. An errand is over when nothing of it is left, and nothing of it
outlives its purpose: what its leader leaves behind is killed.
"""

from __future__ import annotations

import logging
import shlex
from signal import SIGKILL
from typing import TYPE_CHECKING, Final

import trio
from msgspec.structs import replace

from supervisor.engine.describe import signal_name
from supervisor.model.state import Exit
from supervisor.system.port import Launch, Launched, LaunchFailed, Reaped, System, TreeReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supervisor.model.component import Component, Key
    from supervisor.runtime.output import Outputs

log = logging.getLogger(__name__)

KILL_AGAIN: Final = 1.0
"""Seconds until what SIGKILL has not ended is killed again: it may have forked."""

TAIL: Final = 4096
"""Bytes that are kept of what a captured errand printed."""

_LONGEST_NAME: Final = 80


class Errand:
    """One such child. `exit` is set, and `ended`, when its leader has ended or did not start."""

    def __init__(self, key: Key, generation: int) -> None:
        self.key, self.generation = key, generation
        self.exit: Exit | None = None
        self.ended = trio.Event()
        self.gone = trio.Event()
        """Set when no process of it is left."""
        self.printed = b""
        """The end of what it printed, if that was captured."""
        self.doomed = False

    @property
    def last_line(self) -> str:
        """The last line with anything in it of what was captured."""
        lines = self.printed.decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Errands:
    """Starts errands, takes the reports about them, and kills what is not wanted any more."""

    def __init__(self, system: System, outputs: Outputs) -> None:
        self._system = system
        self._outputs = outputs
        self._under_way: dict[tuple[Key, int], Errand] = {}
        self._readers: dict[Errand, int] = {}
        self._doom = trio.Event()

    def start(
        self,
        key: Key,
        generation: int,
        spec: Component,
        argv: Sequence[str],
        *,
        capture: bool = False,
    ) -> Errand:
        """Run *argv* as the component *spec* itself would run.

        What it prints goes where the component's stderr goes; with *capture*, nowhere but into
        `Errand.printed`. A start that fails is an errand that has ended.
        """
        errand = Errand(key, generation)
        try:
            if capture:
                self._capture(errand, errand_spec(spec, argv))
            else:
                output = self._outputs.descriptors(key, spec)[1]
                self._launch(errand, errand_spec(spec, argv), output)
        except OSError as error:
            reason = f"cannot be started: {error.strerror or error}"
            self._fail(errand, Exit(stage="fork", errno=error.errno, message=reason))
        return errand

    def _capture(self, errand: Errand, spec: Component) -> None:
        reader, writer = self._system.pipe()
        self._readers[errand] = reader
        try:
            self._system.watch(reader, lambda: self._read(errand))
            self._launch(errand, spec, writer)
        finally:
            self._system.close(writer)

    def _launch(self, errand: Errand, spec: Component, output: int) -> None:
        launch = Launch(
            key=errand.key,
            generation=errand.generation,
            spec=spec,
            stdin=None,
            stdout=output,
            stderr=output,
        )
        self._under_way[errand.key, errand.generation] = errand
        self._system.launch(launch, lambda outcome: self._launched(errand, outcome))

    def _launched(self, errand: Errand, outcome: Launched | LaunchFailed) -> None:
        if isinstance(outcome, LaunchFailed):
            self._fail(errand, outcome.exit)
        elif errand.doomed:
            self.kill(errand)  # There was nobody to kill before.

    def _fail(self, errand: Errand, why: Exit) -> None:
        errand.exit = why
        self._over(errand)

    # --- reports

    def took(self, report: Reaped | TreeReport) -> bool:
        """Take a report if it is about an errand; nobody else is to hear of it then."""
        errand = self._under_way.get((report.key, report.generation))
        if errand is None:
            return False
        if isinstance(report, Reaped):
            if errand in self._readers:
                self._read(errand)
            else:
                self._outputs.drain(report.key)
            errand.exit = report.exit
            errand.ended.set()
        if report.lost:
            self.kill(errand)
        elif errand.exit is not None:
            self._over(errand)
        return True

    def _over(self, errand: Errand) -> None:
        self._under_way.pop((errand.key, errand.generation), None)
        reader = self._readers.pop(errand, None)
        if reader is not None:
            self._system.unwatch(reader)
            self._system.close(reader)
        errand.ended.set()
        errand.gone.set()

    def _read(self, errand: Errand) -> None:
        reader = self._readers.get(errand)
        if reader is None:
            return
        data = self._system.read(reader, 65536)
        if data == b"":
            self._system.unwatch(reader)
        errand.printed = (errand.printed + (data or b""))[-TAIL:]

    # --- ends

    def kill(self, errand: Errand) -> None:
        """Kill all of *errand*; it is over when the reports say so."""
        if errand.gone.is_set():
            return
        errand.doomed = True
        try:
            self._system.signal(errand.key, errand.generation, SIGKILL, "tree")
        except OSError as error:
            log.error("cannot kill %r: %s", errand.key, error.strerror)
        self._doom.set()

    def kill_all(self) -> None:
        """Kill everything: this is the end."""
        for errand in list(self._under_way.values()):
            self.kill(errand)

    async def serve(self) -> None:
        """Kill again and again what SIGKILL has not ended, until cancelled."""
        while True:
            await self._doom.wait()
            await trio.sleep(KILL_AGAIN)
            self._doom = trio.Event()
            for errand in list(self._under_way.values()):
                if errand.doomed:
                    self.kill(errand)


def errand_spec(spec: Component, argv: Sequence[str]) -> Component:
    """Return *spec* with another program: who runs it, where and with what, stays the same."""
    return replace(
        spec,
        argv=tuple(argv),
        command=shlex.join(argv),
        program=None,
        expandenv=False,
        nullinput=True,
        remove_file=(),  # They are the component's own, and it may be using them.
        start_condition=(),
        ready=None,
        health=None,
        exit_actions=(),
        sockets=(),
    )


def named(argv: Sequence[str]) -> str:
    """Return a command line as it is shown in a message."""
    text = " ".join(shlex.join(argv).split())
    return f"`{text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + '…'}`"


def outcome(end: Exit) -> str:
    """Return how an errand ended, to stand behind its name."""
    if end.code is not None:
        return f"ended with code {end.code}"
    if end.signal is not None:
        return f"was killed by {signal_name(end.signal)}"
    return f"could not be run: {end.message}"
