"""Make the environment of a child from piesd's own, a component's rules and its user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from supervisor.model.component import Environment

if TYPE_CHECKING:
    from supervisor.system.users import Identity

_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS")


def without_internals(environ: Mapping[str, str]) -> dict[str, str]:
    """Return *environ* without what the system's own supervisor meant for piesd alone."""
    return {
        name: value
        for name, value in environ.items()
        if name not in _OURS and not name.startswith(("WATCHDOG_", "LISTEN_"))
    }


def _matches(name: str, value: str, patterns: Iterable[str]) -> bool:
    """Tell whether a pattern fits: `NAME`, or `NAME=VALUE` for one that has just this value."""
    for pattern in patterns:
        wanted, equals, wanted_value = pattern.partition("=")
        if fnmatchcase(name, wanted) and (not equals or value == wanted_value):
            return True
    return False


def child_environment(
    rules: Environment, base: Mapping[str, str], identity: Identity | None
) -> dict[str, str]:
    """Return the variables of a child: `clear` or `keep`, `unset`, those of its user, `set`.

    Patterns are shell patterns; `NAME=VALUE` fits only a variable that has this value.

    Source: pies.md section 1.4 for the rules.
    """
    if rules.keep:
        result = {name: value for name, value in base.items() if _matches(name, value, rules.keep)}
    else:
        result = {} if rules.clear else dict(base)
    if rules.unset:
        result = {k: v for k, v in result.items() if not _matches(k, v, rules.unset)}
    if identity is not None and identity.name is not None:
        result["USER"] = result["LOGNAME"] = identity.name
        result["HOME"] = identity.home
        result["SHELL"] = identity.shell
    result.update(rules.set)
    return result
