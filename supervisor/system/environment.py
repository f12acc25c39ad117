"""Make the environment of a child from piesd's own, a component's rules and its user."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, MutableMapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, assert_never

from supervisor.model.component import Environment, EnvStep
from supervisor.model.expansion import ExpansionError, expand
from supervisor.system.firstprocess import given_environment

if TYPE_CHECKING:
    from supervisor.system.users import Identity

NOTHING: Mapping[str, str] = MappingProxyType({})

_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS")


class BadStep(Exception):
    """A step of an environment that cannot be taken; the message is for people."""


def without_internals(environ: Mapping[str, str]) -> dict[str, str]:
    """Return *environ* without what the system's own supervisor meant for piesd alone."""
    return {
        name: value
        for name, value in environ.items()
        if name not in _OURS and not name.startswith(("WATCHDOG_", "LISTEN_"))
    }


def forget_coercion(environ: MutableMapping[str, str]) -> None:
    """Take out of *environ*, which is this process's own, what Python alone has put there.

    Where no locale is set, Python gives itself `LC_CTYPE=C.UTF-8` before it begins (PEP 538), and
    programs that we start would inherit a locale that nobody has asked for.
    """
    # Without /proc nobody can say whose it is, and it stays.
    if b"LC_CTYPE" not in given_environment():
        environ.pop("LC_CTYPE", None)


def _matches(name: str, value: str, patterns: Iterable[str]) -> bool:
    """Tell whether a pattern fits: `NAME`, or `NAME=VALUE` for one that has just this value."""
    for pattern in patterns:
        wanted, equals, wanted_value = pattern.partition("=")
        if fnmatchcase(name, wanted) and (not equals or value == wanted_value):
            return True
    return False


def child_environment(
    rules: Environment,
    base: Mapping[str, str],
    identity: Identity | None,
    contents: Mapping[str, str] = NOTHING,
) -> dict[str, str]:
    """Return what *rules* make of *base*.

    In this order: `clear` or `keep`, `unset`, the variables of its user, `set`, `files`, and then
    the `steps` one by one. Patterns are shell patterns; `NAME=VALUE` fits only a variable that has
    this value.

    Args:
        contents: the contents of the files that the rules name, by path.

    Raises:
        BadStep: a step cannot be taken. The message shows no value of a variable.

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
    result.update({name: contents[path] for name, path in rules.files.items()})
    for step in rules.steps:
        _take(step, result)
    return result


def _take(step: EnvStep, env: dict[str, str]) -> None:
    """Change *env* as *step* says."""
    name, equals, value = step.text.partition("=")
    if not equals and step.kind in ("set", "append", "prepend"):
        raise BadStep(f"env {step.kind}: NAME=VALUE is wanted, and there is no '='")
    match step.kind:
        case "set":
            env[name] = _expand(f"env {name}", value, env)
        case "eval":
            _expand("env eval", step.text, env)
        case "unset":
            for found in [n for n, v in env.items() if _matches(n, v, (step.text,))]:
                del env[found]
        case "append":
            env[name] = env[name] + value if name in env else _without_joint(value, 0)
        case "prepend":
            env[name] = value + env[name] if name in env else _without_joint(value, -1)
        case _:
            assert_never(step.kind)


def _expand(what: str, text: str, env: dict[str, str]) -> str:
    try:
        return expand(text, env)
    except ExpansionError as error:
        raise BadStep(f"{what}: {error}") from None


def _without_joint(value: str, place: Literal[0, -1]) -> str:
    """Return *value* without the punctuation that would join it to what was there before."""
    if value and value[place] in string.punctuation:
        return value[1:] if place == 0 else value[:-1]
    return value
