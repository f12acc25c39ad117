"""Logging in: what was found good is remembered for a moment, what was wrong is delayed."""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

import trio
from msgspec import Struct

from supervisor.model.errors import SupervisorError

if TYPE_CHECKING:
    from supervisor.control.providers import Account, Providers, Try

log = logging.getLogger(__name__)

REMEMBERED = 15.0
"""Seconds for which credentials that were found good are not tried again. A password that is
changed meanwhile is good for so long."""

PATIENCE = 10.0
"""Seconds for the providers to answer, shared out evenly over those that are still to be asked."""

FIRST_DELAY, LONGEST_DELAY = 0.5, 10.0
"""Seconds of delay after the first failure, doubled by each further one, and at most."""

FREE_NAMES = 10
"""Failures of one address, with whatever names, that do not delay its other names."""

FORGOTTEN = 900.0
"""Seconds after which a failure counts no more."""

_MOST_GOOD, _MOST_BAD = 256, 1024
"""Entries that are kept; the oldest go first."""

MOST_PENDING = 8
"""Attempts of one address that are kept waiting: they hold connections that others need."""

AT_ONCE = 2
"""Passwords that one kind of provider tries at once: one costs 64 MiB and a processor."""


class Blocking(Protocol):
    """Runs a job that may block, in a worker thread; whoever waits for it may give up."""

    def __call__(self, job: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        """Return what *job* returns."""


def in_threads(most: int) -> Blocking:
    """Return what runs jobs in worker threads, *most* at once; a given up one ends by itself."""
    limiter: trio.CapacityLimiter | None = None

    async def run(job: Callable[..., Any], *args: Any) -> Any:
        nonlocal limiter
        limiter = limiter or trio.CapacityLimiter(most)
        return await trio.to_thread.run_sync(
            partial(job, *args), abandon_on_cancel=True, limiter=limiter
        )

    return run


class Counts(Struct, frozen=True):
    """Logins since the start. Those that were remembered count as well."""

    good: int = 0
    failed: int = 0


class TooManyLogins(SupervisorError):
    """More attempts of one address wait for their turn than we keep waiting. None was tried."""

    code = "too-many-logins"

    def __init__(self, address: str) -> None:
        super().__init__(f"cannot log you in: others from {address} have failed and wait already")
        self.hint = "Try again later."


class _Failures:
    """What an address (and a name) have tried in vain."""

    def __init__(self) -> None:
        self.count = 0
        self.pending = 0
        self.latest = 0.0
        self.until = 0.0
        """Before that, nothing more is tried."""
        self.turn = trio.Lock()


class Logins:
    """Tries credentials. Attempts for one name from one address are made one after the other.

    Args:
        providers: who knows.
        blocking: how to ask them; by default in threads, those of each lane in their own.
    """

    def __init__(self, providers: Providers, blocking: Blocking | None = None) -> None:
        self._providers, self._blocking = providers, blocking
        self._lanes: dict[str, Blocking] = {}
        self._key = secrets.token_bytes(32)
        self._good: OrderedDict[bytes, tuple[float, Account]] = OrderedDict()
        self._bad: OrderedDict[tuple[str, str | None], _Failures] = OrderedDict()
        self._good_count = self._failed_count = 0

    @property
    def counts(self) -> Counts:
        """How it went so far."""
        return Counts(self._good_count, self._failed_count)

    def use(self, providers: Providers) -> None:
        """Go over to other providers, who have to be asked anew."""
        self._providers = providers
        self._good.clear()

    async def password(self, address: str, user: str, password: str) -> Account | None:
        """Return who that is; None after a delay if the password is wrong.

        Raises:
            TooManyLogins
        """
        tries = self._providers.password(user, password)
        return await self._try(address, user, tries, ("password", user, password))

    async def token(self, address: str, token: str) -> Account | None:
        """Return whose token that is; None after a delay if it is nobody's."""
        return await self._try(address, None, self._providers.token(token), ("token", token))

    async def _try(
        self,
        address: str,
        user: str | None,
        tries: Sequence[Try],
        credentials: tuple[str, ...],
    ) -> Account | None:
        digest = self._digest(credentials)
        if (known := self._remembered(digest)) is not None:
            self._good_count += 1
            return known
        own, all_names = self._failures(address, user or ""), self._failures(address, None)
        if all_names.pending >= MOST_PENDING:
            raise TooManyLogins(address)
        all_names.pending += 1
        try:
            return await self._in_turn(own, all_names, address, user, tries, digest)
        finally:
            all_names.pending -= 1

    async def _in_turn(
        self,
        own: _Failures,
        all_names: _Failures,
        address: str,
        user: str | None,
        tries: Sequence[Try],
        digest: bytes,
    ) -> Account | None:
        # Held while a failure is delayed: a hundred attempts at once take as long as one by one.
        async with own.turn:
            # Whoever goes away while its failure is delayed leaves the delay to the next attempt.
            await trio.sleep_until(max(own.until, all_names.until))
            account = self._remembered(digest) or await self._ask(tries)
            if account is not None:
                self._good_count += 1
                self._remember(digest, account)
                own.count = 0
                return account
            await self._failed(address, user, own, all_names)
            return None

    async def _ask(self, tries: Sequence[Try]) -> Account | None:
        """Return what the first says that does not say no. One that is silent is passed over."""
        end = trio.current_time() + PATIENCE
        for number, (provider, lane, ask) in enumerate(tries):
            seconds = (end - trio.current_time()) / (len(tries) - number)
            account: Account | None = None
            with trio.move_on_after(seconds) as patience:
                account = await self._in_lane(lane)(ask)
            if account is not None:
                return account
            if patience.cancelled_caught:
                text = "cannot ask the identity provider %s: it gave no answer in %.3g s"
                log.error(text, provider, seconds)
        return None

    def _in_lane(self, lane: str) -> Blocking:
        if self._blocking is not None:
            return self._blocking
        if lane not in self._lanes:
            self._lanes[lane] = in_threads(AT_ONCE)
        return self._lanes[lane]

    # --- what was good

    def _digest(self, credentials: tuple[str, ...]) -> bytes:
        """Return what stands for credentials in memory: worth nothing without our key."""
        text = "\0".join((str(len(credentials[1])), *credentials))
        data = text.encode("utf-8", "surrogatepass")
        return blake2b(data, key=self._key, digest_size=32).digest()

    def _remembered(self, digest: bytes) -> Account | None:
        known = self._good.get(digest)
        if known is None or trio.current_time() >= known[0]:
            return None
        return known[1]

    def _remember(self, digest: bytes, account: Account) -> None:
        self._good.pop(digest, None)
        self._good[digest] = trio.current_time() + REMEMBERED, account
        if len(self._good) > _MOST_GOOD:
            self._good.popitem(last=False)

    # --- what was bad

    def _failures(self, address: str, user: str | None) -> _Failures:
        key = (address, user)
        found = self._bad.pop(key, None)
        if found is None or (
            trio.current_time() - found.latest > FORGOTTEN
            and not (found.pending or found.turn.locked())
        ):
            found = _Failures()
        self._bad[key] = found
        if len(self._bad) > _MOST_BAD:
            self._bad.popitem(last=False)
        return found

    async def _failed(
        self, address: str, user: str | None, own: _Failures, all_names: _Failures
    ) -> None:
        self._failed_count += 1
        now = trio.current_time()
        for each, free in ((own, 0), (all_names, FREE_NAMES)):
            each.count += 1
            each.latest = now
            each.until = max(each.until, now + _delay(each.count - free))
        who = "a token" if user is None else f"the user {user[:64]!r}"
        log.warning("a login failed: %s from %s, attempt %d", who, address, own.count)
        await trio.sleep_until(max(own.until, all_names.until))


def _delay(failures: int) -> float:
    """Return the seconds to wait after so many failures."""
    if failures <= 0:
        return 0.0
    return float(min(FIRST_DELAY * 2 ** min(failures - 1, 16), LONGEST_DELAY))
