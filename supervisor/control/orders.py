"""Orders: select, validate, rehearse or post, and wait if asked to."""

from __future__ import annotations

import signal
from hashlib import blake2b
from typing import TYPE_CHECKING, get_args

import msgspec
import trio
from msgspec import Struct

from supervisor.control.selection import Match, Rows, tags_of
from supervisor.control.settle import GOING_DOWN, Settling
from supervisor.engine.rehearse import Rehearsed, rehearse
from supervisor.model.errors import BadRequest, NotRunning, PlanChanged, ShuttingDown
from supervisor.model.events import Action, Order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supervisor.control.access import Access
    from supervisor.control.identity import Caller
    from supervisor.runtime.runner import Runner
    from supervisor.selectors import Selector

ACTIONS: tuple[Action, ...] = get_args(Action)
LATER = ("hold", "unhold", "suspend", "resume")
"""Actions of the interface that are refused for now."""

MAX_WAIT = 3600.0
"""Seconds that an order is waited for at most."""

_NAMED = 5


class Request(Struct, frozen=True, kw_only=True):
    """What somebody wants done to everything that a selector matches.

    `wait` is how many seconds to wait until it has settled; None answers when it is accepted.
    `if_match` is the token of a rehearsal.
    """

    action: Action
    selector: Selector
    wait: float | None = None
    dry_run: bool = False
    if_match: str | None = None
    signum: int = 0


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of a request. `plan` and `token` are set by a rehearsal alone."""

    action: Action
    tags: tuple[str, ...]
    settled: bool = False
    message: str = ""
    plan: tuple[Rehearsed, ...] | None = None
    token: str = ""


class Orders:
    """Gives orders to the engine. What is posted stays posted, whoever stops waiting for it."""

    def __init__(self, runner: Runner, rows: Rows, settling: Settling, access: Access) -> None:
        self._runner, self._rows, self._settling = runner, rows, settling
        self._access = access

    async def give(self, request: Request, caller: Caller) -> Outcome:
        """Do, or rehearse, what *request* says.

        Raises:
            Forbidden, ShuttingDown, NotRunning, PlanChanged, NotSettled
        """
        self._access.view(caller).order(f"{request.action} components")
        # What was posted before is to be seen by the selector.
        await self._runner.handled()
        self._check_stage(request.action)
        view = self._access.view(caller)
        matches = self._rows.select(request.selector, view)
        view.command([key for key, _ in matches], request.action)
        order = self._order(request, matches, caller)
        tags, token = tags_of(matches), self._token(order)
        if request.if_match not in (None, "*", token):
            raise _plan_changed(request.if_match or "", token)
        if request.dry_run:
            # A rehearsal of a thousand takes a while, and works on a copy.
            double, now = self._runner.engine.copy(), trio.current_time()
            steps = await self._runner.system.blocking(rehearse, double, order, now)
            plan = tuple(step for step in steps if view.sees(step.tag))
            return Outcome(action=order.action, tags=tags, plan=plan, token=token)
        generations = self._generations(order)
        # From the choice of the keys to here nothing was awaited, so they are what was matched.
        self._runner.post(order)
        await self._runner.handled()
        if request.wait is not None:
            seconds = min(request.wait, MAX_WAIT)
            await self._settling.wait(order.action, generations, seconds, view)
        return Outcome(action=order.action, tags=tags, settled=request.wait is not None)

    def _check_stage(self, action: Action) -> None:
        if action in ("start", "restart") and self._runner.engine.stage in GOING_DOWN:
            raise ShuttingDown(f"cannot {action} anything: piesd is shutting down")

    def _order(self, request: Request, matches: Sequence[Match], caller: Caller) -> Order:
        keys = [key for key, _ in matches]
        if request.action == "signal":
            states = self._runner.engine.world.states
            keys = [key for key in keys if states[key].pid is not None]
            if matches and not keys:
                raise _not_running(matches)
        return Order(
            request.action,
            tuple(keys),
            caller.name,
            self._runner.system.wall(),
            request.signum,
        )

    def _generations(self, order: Order) -> dict[str, int]:
        states = self._runner.engine.world.states
        return {key: states[key].generation for key in order.keys}

    def _token(self, order: Order) -> str:
        """Return what tells this order on these states from any other."""
        states = self._runner.engine.world.states
        rows = [
            (key, state.phase, state.wanted, state.generation, state.pid, state.wish)
            for key, state in ((key, states[key]) for key in order.keys)
        ]
        text = msgspec.json.encode(
            (order.action, order.signum, sorted(rows, key=lambda row: row[0]))
        )
        return blake2b(text, digest_size=12).hexdigest()


def signal_number(name: str) -> int:
    """Return 1 for `HUP`, `SIGHUP`, `hup`, `1` and `SIG+1`.

    Raises:
        BadRequest: there is no such signal.
    """
    word = name.upper()
    digits = word.removeprefix("SIG+")
    if digits.isascii() and digits.isdigit() and len(digits) < 4:
        number = int(digits)
        if number in signal.valid_signals():
            return number
    known = {one.name: one.value for one in signal.Signals}
    number = known.get(word) or known.get(f"SIG{word}") or 0
    if not number:
        error = BadRequest(f"cannot send the signal {name[:40]!r}: there is no such signal")
        error.hint = "Give a name such as HUP or SIGUSR1, or a number."
        raise error
    return number


def _not_running(matches: Sequence[Match]) -> NotRunning:
    tags = tags_of(matches)
    if len(tags) == 1:
        return NotRunning(tags[0], matches[0][1].status)
    more = f" and {len(tags) - _NAMED} more" if len(tags) > _NAMED else ""
    return NotRunning(", ".join(tags[:_NAMED]) + more, "not running")


def _plan_changed(given: str, token: str) -> PlanChanged:
    error = PlanChanged(
        f"cannot do what was rehearsed: what it matches, or its state, is not as it was then "
        f"(token {given[:64]!r}, now {token!r})"
    )
    error.hint = "Rehearse it again."
    return error
