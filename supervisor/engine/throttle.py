"""The failure policy: what happens to a component that has ended by itself."""

from __future__ import annotations

from msgspec import Struct

from supervisor.model.component import Respawn

PRECIOUS_PAUSE = 1.0
"""Seconds a precious component waits before a start that is one too many."""


class Verdict(Struct, frozen=True, kw_only=True):
    """When to start it again: at `until`, or at once if that is None.

    `throttled` says that it has used up its starts; `starts` and `failures` are the counters to
    go on with.
    """

    until: float | None
    throttled: bool
    starts: tuple[float, ...]
    failures: int


def recent(starts: tuple[float, ...], policy: Respawn, now: float) -> tuple[float, ...]:
    """Return those of *starts* that count at *now*: the ones within the window."""
    return tuple(start for start in starts if start > now - policy.window)


def after_end(
    policy: Respawn,
    starts: tuple[float, ...],
    failures: int,
    lasted: float,
    now: float,
    *,
    chance: float,
    precious: bool = False,
    at_least: float = 0.0,
) -> Verdict:
    """Decide when a component that ended after *lasted* seconds starts again.

    The window slides: the limit is on starts in any `window` seconds, so a component that dies
    every few seconds is caught as surely as one that dies at once. What lasted a whole window
    is taken as stable and the delay begins anew.

    Args:
        starts: the times of its automatic starts.
        failures: quick ends in a row before this one.
        chance: a random number in [0, 1). The delay is spread over its upper half, so that a
            thousand components that died together do not come back together.
        precious: it is never put to sleep, but waits a moment when it is over the limit.
        at_least: seconds that must pass in any case.

    Source: pies.md section 2.3; ARCHITECTURE section 3, "Throttle".
    """
    counted = recent(starts, policy, now)
    over = len(counted) >= policy.max
    if over and not precious:
        return Verdict(until=now + policy.sleep, throttled=True, starts=(), failures=0)
    quick = lasted < policy.window
    failures = failures + 1 if quick else 0
    delay = 0.0
    if policy.delay > 0:
        # The exponent is bounded so that a long night of failures cannot overflow a float.
        grown = policy.delay * 2.0 ** min(max(failures - 1, 0), 60)
        delay = min(grown, max(policy.delay_max, policy.delay)) * (0.5 + chance / 2)
    # Never put to sleep is not never made to wait: one that fails at once would keep us busy.
    delay = max(delay, at_least, PRECIOUS_PAUSE if over else 0.0)
    return Verdict(
        until=now + delay if delay > 0 else None,
        throttled=False,
        starts=counted,
        failures=failures,
    )
