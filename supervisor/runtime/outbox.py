"""Get letters out of the house: one after the other, again and again until they are gone.

A server that is down delays nobody: everything waits here, on disk too, and the world goes on.
"""

from __future__ import annotations

import importlib
import logging
import os
import shlex
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import trio
from msgspec import Struct
from msgspec.structs import replace

from supervisor.model.events import MailTried, Order, RunCommand
from supervisor.runtime.mail import Facts, Letter, write_letter
from supervisor.runtime.spool import Spool

if TYPE_CHECKING:
    from supervisor.model.component import Key
    from supervisor.model.effects import Mail
    from supervisor.model.settings import MailSettings
    from supervisor.model.state import Exit
    from supervisor.system.port import System

log = logging.getLogger(__name__)

DELAYS: Final = (60.0, 120.0, 300.0, 600.0, 900.0)
"""Seconds before each further try; the last stands for all that follow."""

PATIENCE: Final = 5 * 86400.0
"""Seconds after which a letter is given up. Source: RFC 5321, section 4.5.4.1."""

MOST: Final = 1000
"""Letters that wait at most. The oldest are kept: they tell how it began."""

LIMIT: Final = 600.0
"""Seconds that a server may take for one letter."""

MAILER_LIMIT: Final = 300.0
"""Seconds that the mailer may take for one letter."""

MAILER_END: Final = 30.0
"""Seconds after which a mailer that was stopped is no longer waited for."""

FAREWELL: Final = 1.0
"""Seconds that the end of piesd waits for letters that a server is about to take."""

MAILER: Final = "mailer"


class Delivery(Struct, frozen=True, kw_only=True):
    """What came of one try.

    `refused` says for each address why it will never get the letter, `later` why it did not get it
    now. `trouble` says why nobody can get any letter this way at present.
    """

    refused: dict[str, str] = {}
    later: dict[str, str] = {}
    trouble: str = ""


class Deliver(Protocol):
    """Sends a letter by an SMTP server, and can be cancelled."""

    async def __call__(self, server: str, letter: Letter, host: str) -> Delivery:
        """Return what came of it."""


class _Waiting:
    """A letter, when it is due, and when it is given up: monotonic times, for clocks jump."""

    def __init__(self, letter: Letter, now: float, age: float = 0.0) -> None:
        self.letter, self.due, self.tries = letter, now, 0
        self.awaited = False
        """Whether the engine waits for the first try."""
        # What is far too old, or comes from the future, was written by another clock.
        self.until = now + PATIENCE - (age if 0 <= age <= 2 * PATIENCE else 0.0)


class Outbox:
    """Takes what is to be told, and sends it as the settings say.

    One letter is under way at a time. It needs `serve` to be run, and a runner that has it.
    """

    def __init__(
        self,
        system: System,
        settings: MailSettings,
        facts: Facts,
        directory: str | None,
        *,
        deliver: Deliver | None = None,
        delays: tuple[float, ...] = DELAYS,
    ) -> None:
        """Take what the outbox works with.

        Args:
            directory: where letters are kept, for this instance alone; None for memory only.
            deliver: what sends by SMTP, if not `supervisor.runtime.smtp`.
        """
        self.settings = settings
        self.dropped = 0
        """Letters that were not taken because too many wait; since when there was room."""
        self._system = system
        self._facts = facts
        self._spool = None if directory is None else Spool(system, directory)
        self._deliver = deliver or _by_smtp
        self._delays = delays
        self._post: Callable[[RunCommand | Order | MailTried], None] = _nobody
        self._drafts: list[Callable[..., Letter | None]] = []
        self._drafted = trio.Event()
        self._written = trio.Event()
        self._waiting: list[_Waiting] = []
        self._count = 0
        self._news = trio.Event()
        self._progress = trio.Event()
        self._pause_until = 0.0
        self._failures = 0
        self._mailer = _Mailer("")

    # --- for the runner and the daemon

    def attach(self, post: Callable[[RunCommand | Order | MailTried], None]) -> None:
        """Use *post* to have commands run."""
        self._post = post

    @property
    def waiting(self) -> int:
        """How many letters are not gone yet."""
        return len(self._drafts) + len(self._waiting)

    def send(self, mail: Mail) -> None:
        """Take a letter; it is written and goes when it can."""
        if self.waiting >= MOST:
            self.dropped += 1
            if self.dropped == 1:
                log.error("%d mails wait; new ones are dropped until there is room", MOST)
            self._post(MailTried())
            return
        if self.dropped:
            log.error("%d mails were dropped: too many waited", self.dropped)
            self.dropped = 0
        self._count += 1
        wall = self._system.wall()
        name = f"{int(wall * 1e6):016x}-{self._count:04x}-{self._luck()}"
        self._drafts.append(partial(write_letter, mail, self._facts, name=name, at=wall))
        self._drafted.set()

    def _luck(self) -> str:
        return f"{int(self._system.chance() * 0x10000):04x}"

    def retune(self, settings: MailSettings) -> None:
        """Go on with other settings; what waits is tried by them at once."""
        if settings == self.settings:
            return
        self.settings = settings
        self._pause_until, self._failures = 0.0, 0
        for waiting in self._waiting:
            waiting.due = trio.current_time()
        self._news.set()

    def command_begun(self, key: Key) -> None:
        """A command is being started; it may be our mailer."""
        self._mailer.begun(key)

    def command_ended(self, key: Key, end: Exit) -> None:
        """A command has ended; it may be our mailer."""
        self._mailer.over(key, end)

    async def serve(self) -> None:
        """Send what there is and what will come, until cancelled."""
        async with trio.open_nursery() as nursery:
            if self._spool is not None:
                nursery.start_soon(self._spool.serve)
                await self._load(self._spool)
            nursery.start_soon(self._write)
            while True:
                waiting = await self._next()
                self._take(waiting, await self._try(waiting.letter))
                if waiting.awaited:
                    waiting.awaited = False
                    self._post(MailTried())
                self._progress.set()
                self._progress = trio.Event()

    async def aclose(self, timeout: float) -> None:
        """Wait until what has not been sent is on disk, for at most *timeout* seconds.

        What is due is sent first, as far as that is a matter of a moment: who is taking a letter
        just now would get it once more from our successor, and there may be none.
        """
        with trio.move_on_after(timeout):
            while self._drafts:
                await self._written.wait()
            with trio.move_on_after(FAREWELL):
                while self._is_due():
                    await self._progress.wait()
            if self._spool is not None:
                await self._spool.settled()
        if self._spool is not None and (lost := self._spool.unkept):
            log.error("%d mails are lost: they were not sent, and could not be kept on disk", lost)

    async def _write(self) -> None:
        """Write the letters, in a thread, for the first one loads a lot."""
        while True:
            while self._drafts:
                letter: Letter | None = None
                try:
                    draft = self._drafts[0]
                    letter = await self._system.blocking(draft, sender=self.settings.sender)
                except Exception:
                    log.exception("cannot write a mail: this is a bug in piesd")
                self._drafts.pop(0)
                if letter is not None:
                    self._add(letter)
                else:
                    self._post(MailTried())
            self._written.set()
            self._written = trio.Event()
            self._drafted = trio.Event()
            await self._drafted.wait()

    def _add(self, letter: Letter) -> None:
        waiting = _Waiting(letter, trio.current_time())
        self._waiting.append(waiting)
        if self.settings.smtp:
            self._post(MailTried())  # It needs no command: what is left to do, `aclose` waits for.
        else:
            waiting.awaited = True
        if self._spool is not None:
            self._spool.keep(letter)
        self._news.set()

    async def _load(self, spool: Spool) -> None:
        now, wall = trio.current_time(), self._system.wall()
        here = {waiting.letter.name for waiting in self._waiting}
        letters = [letter for letter in await spool.load(MOST) if letter.name not in here]
        self._waiting[:0] = [_Waiting(letter, now, wall - letter.at) for letter in letters]
        if letters:
            log.info("%d mails still wait from before", len(letters))

    # --- one after the other

    async def _next(self) -> _Waiting:
        """Wait until something is due, and return the oldest that is."""
        while True:
            now = trio.current_time()
            at = max(
                min((one.due for one in self._waiting), default=float("inf")), self._pause_until
            )
            if at <= now:
                return next(one for one in self._waiting if one.due <= now)
            self._news = trio.Event()
            with trio.move_on_at(at):
                await self._news.wait()

    def _is_due(self) -> bool:
        now = trio.current_time()
        return self._pause_until <= now and any(one.due <= now for one in self._waiting)

    async def _try(self, letter: Letter) -> Delivery:
        try:
            if not self.settings.smtp:
                return await self._by_program(letter)
            with trio.move_on_after(LIMIT):
                return await self._deliver(self.settings.smtp, letter, self._facts.host)
            return Delivery(trouble=f"it takes longer than {LIMIT:g} s")
        except Exception as bug:
            log.exception("cannot send a mail about %r: this is a bug in piesd", letter.tag)
            return Delivery(later=dict.fromkeys(letter.to, repr(bug)))

    def _take(self, waiting: _Waiting, delivery: Delivery) -> None:
        """Go on from what came of a try."""
        letter = waiting.letter
        if delivery.trouble:
            self._wait_for_better_times(waiting, delivery.trouble)
            self._give_up()
            return
        self._failures = 0
        for address, why in delivery.refused.items():
            log.error("cannot send a mail about %r to %s, ever: %s", letter.tag, address, why)
        if delivery.later:
            self._try_again(waiting, delivery.later)
            self._give_up()
            return
        if len(delivery.refused) < len(letter.to):
            log.info("sent a mail about %r to %s", letter.tag, _to(letter))
        self._remove(waiting)

    def _wait_for_better_times(self, waiting: _Waiting, why: str) -> None:
        """The server is of no use at present: leave it alone for a while."""
        self._failures += 1
        delay = self._delay(self._failures)
        self._pause_until = trio.current_time() + delay
        # If it was this letter that the server cannot bear, the others have their turn first.
        self._waiting.remove(waiting)
        self._waiting.append(waiting)
        log.warning(
            "cannot send mail by %s: %s; %d wait, next try in %g s",
            self.settings.smtp,
            why,
            len(self._waiting),
            delay,
        )

    def _try_again(self, waiting: _Waiting, later: dict[str, str]) -> None:
        waiting.tries += 1
        delay = self._delay(waiting.tries)
        waiting.due = trio.current_time() + delay
        letter = waiting.letter
        for address, why in later.items():
            log.warning(
                "cannot send a mail about %r to %s: %s; next try in %g s",
                letter.tag,
                address,
                why,
                delay,
            )
        if tuple(later) != letter.to:
            waiting.letter = replace(letter, to=tuple(later))
            if self._spool is not None:
                self._spool.keep(waiting.letter)

    def _give_up(self) -> None:
        """Give up what could not be sent for too long; only ever after a try in vain."""
        now, days = trio.current_time(), PATIENCE / 86400
        for waiting in [one for one in self._waiting if one.until <= now]:
            tag, to = waiting.letter.tag, _to(waiting.letter)
            log.error("giving up a mail about %r to %s after %g days", tag, to, days)
            self._remove(waiting)

    def _delay(self, number: int) -> float:
        return self._delays[min(number, len(self._delays)) - 1]

    def _remove(self, waiting: _Waiting) -> None:
        self._waiting.remove(waiting)
        if self._spool is not None:
            self._spool.drop(waiting.letter)

    # --- by a program

    async def _by_program(self, letter: Letter) -> Delivery:
        program, words = self.settings.program, self._words()
        self._mailer = mailer = _Mailer(letter.tag)
        wall = self._system.wall()
        self._post(
            RunCommand(letter.tag, MAILER, (*words, *letter.to), program or None, letter.text, wall)
        )
        with trio.move_on_after(MAILER_LIMIT):
            await mailer.ended.wait()
        if mailer.end is None and mailer.key:
            by = f"the outbox: it takes longer than {MAILER_LIMIT:g} s"
            self._post(Order("stop", (mailer.key,), by, self._system.wall()))
            with trio.move_on_after(MAILER_END):
                await mailer.ended.wait()
        why = _why_not(program or words[0], mailer.end)
        return Delivery(later=dict.fromkeys(letter.to, why) if why else {})

    def _words(self) -> list[str]:
        """Return the words of the mailer's command line.

        The `-t` of a sendmail would have it take the addresses from the headers, and make it
        ignore or double those that follow, so it is left out.
        """
        try:
            words = shlex.split(self.settings.command_line)
        except ValueError:  # A quotation mark without its mate.
            words = self.settings.command_line.split()
        words = words or [self.settings.program]
        if any("sendmail" in os.path.basename(name) for name in (self.settings.program, words[0])):
            words = [word for word in words if word != "-t"]
        return words


class _Mailer:
    """One run of the mailer, as far as it is known."""

    def __init__(self, tag: str) -> None:
        self._prefix = f"{tag}#{MAILER}"
        self.key = ""
        self.end: Exit | None = None
        self.ended = trio.Event()

    def begun(self, key: Key) -> None:
        if not self.key and key.startswith(self._prefix):
            self.key = key

    def over(self, key: Key, end: Exit) -> None:
        if key == self.key or (not self.key and key.startswith(self._prefix)):
            self.end = end
            self.ended.set()


def _why_not(program: str, end: Exit | None) -> str:
    if end is None:
        return f"{program} has not ended"
    if end.code == 0:
        return ""
    if end.code is not None:
        return f"{program} exited with {end.code}"
    return f"{program}: {end.message}"


async def _by_smtp(server: str, letter: Letter, host: str) -> Delivery:
    """Send a letter in a thread, which is left alone when nobody waits for it any more.

    So a server that does not answer delays nothing, and least of all the end of piesd.
    """
    # Loading smtplib and ssl takes a while, and most never need them.
    module = await trio.to_thread.run_sync(importlib.import_module, "supervisor.runtime.smtp")
    delivery: Delivery = await trio.to_thread.run_sync(
        module.deliver, server, letter, host, abandon_on_cancel=True
    )
    return delivery


def _to(letter: Letter) -> str:
    return ", ".join(letter.to)


def _nobody(event: RunCommand | Order | MailTried) -> None:
    raise RuntimeError(f"nobody can carry out {event!r}")
