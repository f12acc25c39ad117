"""The words that selectors know, and what to say about one that they do not."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Final

from supervisor.model.component import Mode
from supervisor.model.state import Status

TYPES: Final = ("component", "command")

STATUSES: Final = tuple(status.value for status in Status)

_MODE_NAMES: Final = (
    *("respawn", "exec", "inetd", "nostartaccept", "pass", "pass-fd", "accept"),
    *("startup", "shutdown", "once"),
    *("sysinit", "boot", "bootwait", "wait", "ctrlaltdel", "kbrequest", "ondemand"),
    *("powerfail", "powerwait", "powerfailnow", "powerokwait", "off", "initdefault"),
)

MODES: Final = tuple(dict.fromkeys((*_MODE_NAMES, *(mode.value for mode in Mode))))
"""Every mode of GNU pies, those of init too, and ours. Source: pies.md sections 2.1 and 6."""

_SAME_MODE: Final = (("respawn", "exec"), ("inetd", "nostartaccept"), ("pass", "pass-fd"))

NOT_YET: Final = ("group", "query")
"""Words of the language that are refused for now."""

RESERVED: Final = frozenset(
    {
        *("all", "none", "component", "tag", "type", "mode", "active", "status"),
        *("not", "and", "or", "glob", "label", "prerequisite-of", "dependent-of"),
        *NOT_YET,
    }
)
"""The keywords of the text form: a tag that equals one must be quoted there."""

_SHORT = 40


def same_mode(mode: str) -> frozenset[str]:
    """Return the names of *mode*: pies has two for some."""
    return next((frozenset(names) for names in _SAME_MODE if mode in names), frozenset({mode}))


def short(value: str) -> str:
    """Return *value* quoted for a message, cut if it is long."""
    return json.dumps(value if len(value) <= _SHORT else value[:_SHORT] + "…", ensure_ascii=True)


def nearest(value: str, known: Iterable[str]) -> str:
    """Return `; did you mean "…"?` where one of *known* is near, or an empty string."""
    # Comparing costs the product of the lengths, and nothing long is near a short word.
    near = difflib.get_close_matches(value, list(known), 1) if len(value) <= _SHORT else []
    return f"; did you mean {short(near[0])}?" if near else ""


def unknown(what: str, value: str, known: tuple[str, ...]) -> str:
    """Return the message about a *value* that is not among those *known*."""
    hint = nearest(value, known) or ";"
    return f"unknown {what} {short(value)}{hint} known: {', '.join(known)}"


def not_yet(word: str) -> str:
    """Return the message about a word of `NOT_YET`."""
    return f"{short(word)} is not supported yet"
