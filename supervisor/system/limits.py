"""Set what belongs to a process as a whole, from outside: resource limits and the OOM score."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import resource

from msgspec import Struct

_LOCKS = 10
"""RLIMIT_LOCKS, which Python has no name for and Linux no use any more; setrlimit(2)."""

_CAP_SYS_RESOURCE = 24


class Bounds(Struct, frozen=True, kw_only=True):
    """What a child must have before its program executes.

    `limits` are pairs of a name as in `Component.limits` and a value, -1 for none.
    """

    limits: tuple[tuple[str, int], ...] = ()
    oom_score_adj: int | None = None

    def __bool__(self) -> bool:
        return bool(self.limits) or self.oom_score_adj is not None


class BoundRefused(Exception):
    """One of the bounds could not be set. `stage` is `limits` or `oom-score-adj`."""

    def __init__(self, stage: str, number: int, message: str) -> None:
        super().__init__(message)
        self.stage, self.number, self.message = stage, number, message


def number_of(name: str) -> int | None:
    """Return the kernel's number of the limit called *name*, or None if there is none here."""
    if name == "locks":
        return _LOCKS
    number = getattr(resource, f"RLIMIT_{name.upper()}", None)
    return number if isinstance(number, int) else None


def set_limits(pid: int, limits: tuple[tuple[str, int], ...]) -> None:
    """Set limits, soft and hard, of our child *pid*.

    Raises:
        BoundRefused: one of them cannot be set; those before it are.
    """
    for name, value in limits:
        number = number_of(name)
        shown = "unlimited" if value < 0 else value
        if number is None:
            raise BoundRefused("limits", errno.EINVAL, f"limits {name}: no such limit here")
        try:
            resource.prlimit(pid, number, (value, value))
        except OSError as error:
            code, why = error.errno or errno.EPERM, error.strerror
        except (ValueError, OverflowError) as error:
            # Python hides EINVAL behind this one.
            code, why = errno.EINVAL, str(error)
        else:
            continue
        raise BoundRefused("limits", code, f"limits {name} = {shown}: {why}{_hint(number, code)}")


def _hint(number: int, code: int) -> str:
    """Return what the most is that we may give."""
    if code != errno.EPERM:
        return ""
    with contextlib.suppress(OSError, ValueError):
        most = resource.getrlimit(number)[1]
        if most != resource.RLIM_INFINITY:
            return f" (the most that piesd may give is {most})"
    return ""


def set_oom_score(pid: int, value: int) -> None:
    """Tell the kernel how gladly it may kill our child *pid* when memory runs out.

    Raises:
        BoundRefused: with the reason.
    """
    try:
        fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"%d" % value)
        finally:
            os.close(fd)
    except OSError as error:
        code = error.errno or errno.EIO
        hint = " (piesd has no right to lower it)" if code == errno.EACCES else ""
        raise BoundRefused(
            "oom-score-adj", code, f"oom-score-adj = {value}: {os.strerror(code)}{hint}"
        ) from None


@functools.cache
def may_limit_others() -> bool:
    """Tell whether we may set limits of processes that run as somebody else.

    Root in a container usually may not: the capability CAP_SYS_RESOURCE is taken from it.

    Source: prlimit(2), capabilities(7).
    """
    try:
        with open("/proc/thread-self/status", encoding="ascii", errors="replace") as status:
            effective = next(int(line[7:], 16) for line in status if line.startswith("CapEff:"))
    except (OSError, StopIteration, ValueError):
        return True  # Then the attempt will tell.
    return bool(effective & (1 << _CAP_SYS_RESOURCE))
