"""Find out of each child whether it is ready, and then whether it stays healthy.

A watch begins before its child, because the child inherits what it answers on, and ends with it.
Readiness and health are told to the engine as events; what they mean for it is decided there.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from functools import partial
from hashlib import blake2s
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from supervisor.model.effects import Level, Note
from supervisor.model.events import Hung, NotReady, Ready, Unhealthy, WatchdogSet
from supervisor.model.plaintext import told_url
from supervisor.runtime.announcing import NotifySocket, ReadyPipe, Voice
from supervisor.runtime.errands import KILL_AGAIN, Errand, Errands, named, outcome
from supervisor.runtime.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.model.component import Check, Component, Key
    from supervisor.runtime.network import Network
    from supervisor.runtime.tasks import Tasks
    from supervisor.system.port import System

TRIES: Final = 4
"""Tries for readiness that fit into its time, however each ends: what swallows a connection must
not use up the time in which another would succeed. A command is not cut short: it may be waiting
for the very thing that is awaited."""

STATUS_EVERY: Final = 1.0
"""Seconds between two status lines of one child that are told; the last one always is."""


Fact = Ready | NotReady | Unhealthy | Hung | WatchdogSet
"""What is found out about a child."""


class Handover(NamedTuple):
    """What a child is started with so that it can answer, see `Launch`."""

    extra: tuple[tuple[int, int], ...] = ()
    environ: tuple[tuple[str, str], ...] = ()
    own_pid: tuple[str, ...] = ()


class _Watch:
    """What is known about one child."""

    def __init__(self, key: Key, generation: int, spec: Component) -> None:
        self.key, self.generation, self.spec = key, generation, spec
        self.voice: Voice | None = None
        """By which it says that it is ready."""
        self.socket: NotifySocket | None = None
        self.watchdog: Watchdog | None = None
        self.scope = trio.CancelScope()
        self.begun = False
        self.ready = False
        """Whether it is known to be ready, as another piesd has heard it."""
        self.busy = False
        """Whether a task looks after it."""
        self.guarded = False
        """Whether its watchdog counts."""
        self.guard = trio.CancelScope()
        self.health = trio.CancelScope()
        """What a change of the health check cancels."""
        self.over = False
        """Nothing is asked any more: it was given up, or says that it is stopping."""
        self.status = ""
        self.told_at = -STATUS_EVERY
        self.telling = False
        self.errand: Errand | None = None
        self.last = ""
        """Why the latest try for readiness was in vain."""

    def voices(self) -> list[Voice]:
        """Return all by which the child can say something."""
        both = (self.voice, self.socket)
        return [each for each in dict.fromkeys(both) if each is not None]


class Checks:
    """All watches. Everything is done in tasks of which each may fail alone."""

    def __init__(
        self,
        system: System,
        errands: Errands,
        tasks: Tasks,
        network: Network,
        happened: Callable[[Key, Fact], None],
        tell: Callable[[Note], None],
        notify_prefix: str | None,
        sockets: Callable[[Key], tuple[int, ...]] = lambda _key: (),
    ) -> None:
        """Take what the checks work with.

        Args:
            notify_prefix: the beginning of the paths of notification sockets.
            sockets: tells on which descriptors piesd listens for a component.
        """
        self._sockets = sockets
        self._system = system
        self._errands = errands
        self._tasks = tasks
        self._network = network
        self._happened = happened
        self._tell = tell
        self._notify_prefix = notify_prefix
        self._watches: dict[Key, _Watch] = {}
        self._count = 0

    # --- for the runner

    def prepare(self, key: Key, generation: int, spec: Component) -> Handover:
        """Make ready to watch a child that is about to be started.

        Raises:
            OSError: with the reason.
        """
        watch = self._watches[key] = _Watch(key, generation, spec)
        if spec.ready is not None and spec.ready.kind == "fd":
            watch.voice = ReadyPipe(self._system, spec.ready.fd)
        if _announces(spec) or spec.watchdog:
            self._open_socket(watch, spec.watchdog)
        handed = Handover()
        for voice in watch.voices():
            handed = Handover(handed.extra + voice.extra, handed.environ + voice.environ)
        if not spec.watchdog:
            return handed
        usec = ("WATCHDOG_USEC", str(round(spec.watchdog * 1e6)))
        return Handover(handed.extra, (*handed.environ, usec), ("WATCHDOG_PID",))

    def begin(self, key: Key, generation: int) -> None:
        """The child runs: look after it."""
        watch = self._watches.get(key)
        if watch is None or watch.generation != generation:
            return
        watch.begun = True
        for voice in watch.voices():
            voice.launched()
        if watch.watchdog is not None:
            watch.watchdog.begin()
        if watch.over:
            return
        if watch.spec.ready is None or watch.ready:
            self._guard(watch)
        if watch.spec.ready is not None or watch.spec.health is not None:
            self._look_after(watch)

    def resume(
        self,
        key: Key,
        generation: int,
        spec: Component,
        *,
        ready: bool,
        watchdog: float | None = None,
    ) -> Ready | None:
        """Look after a child that another piesd has started, and that was *ready* or not.

        Its watchdog counts anew: nobody has heard it meanwhile. *watchdog* is what it has made of
        that, see `State`.

        Returns:
            What is new about it, after that it runs: its only word that it is ready went, or goes,
            to somebody who is not there any more, so it is taken as ready.
        """
        watch = self._watches[key] = _Watch(key, generation, spec)
        kind = None if spec.ready is None else spec.ready.kind
        seconds = spec.watchdog if watchdog is None else watchdog
        if kind == "notify" or spec.watchdog:
            try:
                self._open_socket(watch, seconds)
            except OSError as error:
                text = f"cannot hear what {key!r} says about itself: {error.strerror or error}"
                self._note(watch, "unheard", text, "error")
        unheard = not ready and watch.voice is None and kind in ("fd", "notify")
        watch.ready = ready or unheard
        self.begin(key, generation)
        return Ready(generation) if unheard else None

    def end(self, key: Key, generation: int) -> None:
        """The child has ended, or never was."""
        watch = self._watches.get(key)
        if watch is None or watch.generation != generation:
            return
        del self._watches[key]
        watch.over = True
        watch.scope.cancel()
        watch.guard.cancel()
        for voice in watch.voices():
            voice.close()

    def retune(self, key: Key, spec: Component) -> None:
        """Go on with the health check of *spec*."""
        watch = self._watches.get(key)
        if watch is None:
            return
        before, watch.spec = watch.spec, spec
        if not watch.begun or watch.over or before.health == spec.health:
            return
        if watch.busy:
            watch.health.cancel()
        else:
            self._look_after(watch)

    def status(self, key: Key) -> str:
        """Return what the present child of *key* said last about itself."""
        watch = self._watches.get(key)
        return watch.status if watch else ""

    def _open_socket(self, watch: _Watch, seconds: float) -> None:
        """Let the child say something about itself, and have it *seconds* for its watchdog.

        Raises:
            OSError: with the reason.
        """
        watchdog = Watchdog(
            seconds,
            hear=lambda: watch.socket.hear() if watch.socket is not None else None,
            changed=partial(self._watchdog_set, watch),
            hangs=partial(self._hangs, watch),
        )
        watch.socket = self._notify_socket(watch, watchdog)
        watch.watchdog = watchdog
        if _announces(watch.spec):
            watch.voice = watch.socket

    def _notify_socket(self, watch: _Watch, watchdog: Watchdog) -> NotifySocket:
        if self._notify_prefix is None:
            raise OSError("there is no runtime directory for its notification socket")
        # Another piesd that goes on where this one ends must find it at the same place, for whose
        # path there is not much room.
        tag = watch.key.encode("utf-8", "surrogateescape")
        name = urlsafe_b64encode(blake2s(tag, digest_size=6).digest()).decode()
        return NotifySocket(
            self._system,
            f"{self._notify_prefix}{name}.{watch.generation}",
            watch.key,
            watch.generation,
            status=partial(self._said, watch),
            stopping=partial(self._stopping, watch),
            watchdog=watchdog,
        )

    # --- the life of a watch

    def _look_after(self, watch: _Watch) -> None:
        watch.busy = True
        self._tasks.start(f"the checks of {watch.key}", partial(self._watch, watch))

    async def _watch(self, watch: _Watch) -> None:
        try:
            with watch.scope:
                check = watch.spec.ready
                if check is not None and not watch.ready:
                    watch.ready = await self._becomes_ready(watch, check)
                    watch.over |= not watch.ready
                self._guard(watch)
                while not watch.over and watch.spec.health is not None:
                    with trio.CancelScope() as watch.health:
                        await self._fails(watch, watch.spec.health)
                        watch.over = True
        finally:
            watch.busy = False

    def _guard(self, watch: _Watch) -> None:
        """Let the watchdog count, once, if there is one and the child has to be well."""
        if watch.watchdog is None or watch.guarded or watch.over:
            return
        watch.guarded = True
        self._tasks.start(f"the watchdog of {watch.key}", partial(self._watch_dog, watch))

    async def _watch_dog(self, watch: _Watch) -> None:
        assert watch.watchdog is not None
        with watch.guard:
            await watch.watchdog.watch()

    async def _becomes_ready(self, watch: _Watch, check: Check) -> bool:
        """Wait until it is ready and say so, or say why it is not."""
        begun = trio.current_time()
        why: str | None = None
        with trio.move_on_after(check.timeout) as limit:
            if watch.voice is not None:
                why = await watch.voice.ready(limit)
            else:
                await self._answers(watch, check)
        if limit.cancelled_caught:
            why = f"awaited {subject(check)} for {round(trio.current_time() - begun, 1):g} s"
            why += f"; last try: {watch.last}" if watch.last else ""
        if why is None:
            self._happened(watch.key, Ready(watch.generation))
            return True
        self._happened(watch.key, NotReady(watch.generation, why))
        return False

    async def _answers(self, watch: _Watch, check: Check) -> None:
        """Return when a try was good."""
        most = max(check.timeout / TRIES, check.interval)
        if check.kind == "exec":
            most = check.timeout
        while True:
            begun = trio.current_time()
            why = await self._limited(watch, check, most)
            if why is None:
                return
            watch.last = why
            await trio.sleep_until(begun + check.interval)

    async def _fails(self, watch: _Watch, check: Check) -> None:
        """Return when the check has failed too often, and that has been said."""
        failures = 0
        due = trio.current_time() + check.interval
        while failures < check.failures:
            await trio.sleep_until(due)
            due = trio.current_time() + check.interval
            why = await self._limited(watch, check, check.timeout)
            if why is None:
                if failures:
                    self._note(watch, "health-recovered", f"{watch.key!r} is healthy again")
                failures = 0
                continue
            failures += 1
            watch.last = why
            if failures == 1 < check.failures:
                text = f"a health check of {watch.key!r} failed, the first of {check.failures}: "
                self._note(watch, "health-failing", text + why, "warning")
        times = f"{failures} times in a row" if failures > 1 else "once"
        text = f"the health check failed {times}; last: {watch.last}"
        self._happened(watch.key, Unhealthy(watch.generation, text))

    # --- one try

    async def _limited(self, watch: _Watch, check: Check, seconds: float) -> str | None:
        why: str | None = None
        with trio.move_on_after(seconds) as limit:
            why = await self._try(watch, check)
        if limit.cancelled_caught:
            why = f"{subject(check)} did not answer within {seconds:g} s"
        return why

    async def _try(self, watch: _Watch, check: Check) -> str | None:
        match check.kind:
            case "tcp":
                return await self._network.tcp(check.target)
            case "http":
                return await self._network.http(check.target)
            case "exec":
                return await self._run(watch, check)
            case "pass-fd":
                return await self._network.pass_on(check.target, self._sockets(watch.key))
            case "notify" | "fd":
                raise ValueError(f"{check.kind} is not a check that can be tried")

    async def _run(self, watch: _Watch, check: Check) -> str | None:
        if watch.errand is not None:
            with trio.move_on_after(KILL_AGAIN):  # It has been killed, and mostly just now.
                await watch.errand.gone.wait()
            if not watch.errand.gone.is_set():
                return f"{named(check.argv)} of the last try has not ended, though it was killed"
        self._count += 1
        watch.errand = errand = self._errands.start(
            f"{watch.key}#check{self._count}", 1, watch.spec, check.argv, capture=True
        )
        try:
            await errand.ended.wait()
        finally:
            self._errands.kill(errand)
        end = errand.exit
        if end is None or end.code == 0:
            return None
        why = f"{named(check.argv)} {outcome(end)}"
        return f"{why}: {errand.last_line}" if errand.last_line else why

    # --- what it says about itself

    def _said(self, watch: _Watch, text: str) -> None:
        if text == watch.status:
            return
        watch.status = text
        if not watch.telling:
            watch.telling = True
            due = watch.told_at + STATUS_EVERY
            if due <= trio.current_time():
                self._tell_status(watch)
            else:
                self._tasks.start(
                    f"the status of {watch.key}", partial(self._tell_later, watch, due)
                )

    async def _tell_later(self, watch: _Watch, due: float) -> None:
        await trio.sleep_until(due)
        self._tell_status(watch)

    def _tell_status(self, watch: _Watch) -> None:
        watch.telling = False
        watch.told_at = trio.current_time()
        self._note(watch, "status", f"{watch.key!r} says: {watch.status}")

    def _stopping(self, watch: _Watch) -> None:
        """What is going down by itself is not asked whether it is well."""
        watch.over = True
        watch.health.cancel()
        watch.guard.cancel()

    def _watchdog_set(self, watch: _Watch, seconds: float) -> None:
        self._happened(watch.key, WatchdogSet(watch.generation, seconds))

    def _hangs(self, watch: _Watch, why: str) -> None:
        if watch.over:
            return
        self._stopping(watch)
        self._happened(watch.key, Hung(watch.generation, why))

    def _note(self, watch: _Watch, kind: str, text: str, level: Level = "info") -> None:
        self._tell(Note(watch.key, kind, level, text))


def _announces(spec: Component) -> bool:
    """Return whether it says on a socket of its own that it is ready."""
    return spec.ready is not None and spec.ready.kind == "notify"


def subject(check: Check) -> str:
    """Return what is awaited, for a message."""
    match check.kind:
        case "notify":
            return "READY=1 on its notification socket"
        case "fd":
            return f"a newline on descriptor {check.fd}"
        case "tcp":
            return check.target
        case "http":
            return told_url(check.target)
        case "pass-fd":
            return f"{check.target} to take the listening socket"
        case "exec":
            return named(check.argv)
