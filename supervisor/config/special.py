"""The kinds of value that only one or two keys have: tags, names, signals, processors, flags."""

from __future__ import annotations

import re
import signal
from ipaddress import ip_network
from typing import Final

from msgspec import Struct

from supervisor.config.addresses import SCHEMA_PATTERN
from supervisor.config.kinds import TEXT_SCHEMA, Schema, read_text
from supervisor.config.tables import Node, as_items, did_you_mean, kind_of, quoted
from supervisor.model.component import SocketType
from supervisor.model.errors import Problem


class Tags(Struct, frozen=True):
    """Names of components: a list, one name, or (where `keywords` are) `all` or `none`."""

    keywords: bool

    @property
    def words(self) -> str:
        return "list of tags, `all` or `none`" if self.keywords else "list of tags, or one"

    def schema(self) -> Schema:
        return {"anyOf": [TEXT_SCHEMA, {"type": "array", "items": TEXT_SCHEMA}]}

    def read(self, node: Node, problems: list[Problem]) -> tuple[Node, ...] | None:
        """Return the nodes of the names: each may turn out to be unknown, at its own line."""
        if not isinstance(node.value, str | tuple):
            what = f"must be a tag or a list of tags, not {kind_of(node.value)}"
            problems.append(node.problem(what))
            return None
        right = [item for item in as_items(node) if read_text(item, problems) is not None]
        if self.keywords and len(right) > 1 and any(item.value == "none" for item in right):
            problems.append(node.problem("'none' stands alone"))
            return None
        return tuple(right)


class Names(Struct, frozen=True):
    """Names of things that are configured elsewhere: a list, or one."""

    words: str

    def schema(self) -> Schema:
        return {"anyOf": [TEXT_SCHEMA, {"type": "array", "items": TEXT_SCHEMA}]}

    def read(self, node: Node, problems: list[Problem]) -> tuple[Node, ...] | None:
        """Return the nodes of the names: each may turn out to be unknown, at its own line."""
        if not isinstance(node.value, str | tuple):
            problems.append(node.problem(f"must be a list of names, not {kind_of(node.value)}"))
            return None
        return tuple(item for item in as_items(node) if read_text(item, problems) is not None)


class SocketUrl(Struct, frozen=True):
    """The text of a socket URL, or several."""

    many: bool = False

    @property
    def words(self) -> str:
        return "socket URL, or a list of them" if self.many else "socket URL"

    def schema(self) -> Schema:
        url: Schema = {"type": "string", "pattern": SCHEMA_PATTERN}
        urls: Schema = {"type": "array", "items": url, "minItems": 1}
        return {"anyOf": [url, urls]} if self.many else url

    def read(self, node: Node, problems: list[Problem]) -> tuple[Node, ...] | None:
        """Return the nodes of the URLs; what they mean depends on other keys."""
        items = as_items(node) if self.many else (node,)
        if not items:
            problems.append(node.problem("must hold a socket URL"))
        before = len(problems)
        for item in items:
            read_text(item, problems)
        return items if items and len(problems) == before else None


_SOCKET_TYPES: Final[dict[str, SocketType]] = {
    "stream": "stream",
    "dgram": "dgram",
    "seqpacket": "seqpacket",
}
_NO_SERVICE: Final = ("raw", "rdm")
"""Types that pies names, and of which Linux has none that anything could be served on."""


class SocketKind(Struct, frozen=True):
    """The type of a socket."""

    words: str = " ".join(f"`{word}`" for word in _SOCKET_TYPES)

    def schema(self) -> Schema:
        return {"enum": list(_SOCKET_TYPES)}

    def read(self, node: Node, problems: list[Problem]) -> SocketType | None:
        word = read_text(node, problems)
        if word is None or word in _SOCKET_TYPES:
            return None if word is None else _SOCKET_TYPES[word]
        hint = did_you_mean(word, _SOCKET_TYPES)
        what = f"must be one of {', '.join(_SOCKET_TYPES)}, not {quoted(word)}{hint}"
        if word in _NO_SERVICE:
            what = f"sockets of the type {word} are not supported: nobody serves them on Linux"
        problems.append(node.problem(what))
        return None


MOST_CPUS: Final = 8192
"""Processors that Linux can be built for."""
_CPUS = re.compile(r"(?P<first>[0-9]{1,5})(?:-(?P<last>[0-9]{1,5}))?")


class Cpus(Struct, frozen=True):
    """Numbers of processors: a list, or a string of numbers and ranges."""

    words: str = 'list of numbers, or ranges as `"0-3,6"`'

    def schema(self) -> Schema:
        number: Schema = {"type": "integer", "minimum": 0, "maximum": MOST_CPUS - 1}
        one = "[0-9]+(-[0-9]+)?"
        return {
            "anyOf": [
                {"type": "array", "items": number, "minItems": 1},
                {"type": "string", "pattern": rf"^\s*{one}\s*(,\s*{one}\s*)*$"},
            ]
        }

    def read(self, node: Node, problems: list[Problem]) -> tuple[int, ...] | None:
        """Return the numbers in their order, each once."""
        value = node.value
        found = (
            _cpus_of(value) if isinstance(value, str) else [each.value for each in as_items(node)]
        )
        numbers = [
            each
            for each in found
            if isinstance(each, int) and not isinstance(each, bool) and 0 <= each < MOST_CPUS
        ]
        if not isinstance(value, str | tuple) or not numbers or len(numbers) < len(found):
            what = 'must be numbers of processors, as [0, 1] or "0-3,6"'
            problems.append(node.problem(what))
            return None
        return tuple(sorted(set(numbers)))


def _cpus_of(text: str) -> list[object]:
    """Return the numbers in *text*; none where it is not right."""
    found: list[object] = []
    for part in text.split(","):
        match = _CPUS.fullmatch(part.strip())
        if match is None:
            return []
        first, last = int(match["first"]), int(match["last"] or match["first"])
        if not first <= last < MOST_CPUS:
            return []
        found += range(first, last + 1)
    return found


_REAL_TIME = re.compile(r"(?:SIG)?RT(?P<end>MIN|MAX)(?P<offset>[+-][0-9]{1,2})?")


class SignalNumber(Struct, frozen=True):
    """A signal by name, with or without `SIG`, or by number."""

    words: str = 'signal, as `"SIGTERM"`, `"TERM"`, `"SIGRTMIN+3"` or `15`'

    def schema(self) -> Schema:
        last = int(signal.SIGRTMAX)
        return {"anyOf": [{"type": "integer", "minimum": 1, "maximum": last}, TEXT_SCHEMA]}

    def read(self, node: Node, problems: list[Problem]) -> int | None:
        value = node.value
        if isinstance(value, int) and not isinstance(value, bool):
            if value in signal.valid_signals():
                return value
            problems.append(node.problem("there is no signal with that number"))
            return None
        if not isinstance(value, str):
            what = f"must be the name or the number of a signal, not {kind_of(value)}"
            problems.append(node.problem(what))
            return None
        number = signal_number(value)
        if number is None:
            known = [name for each in signal.Signals for name in (each.name, each.name[3:])]
            hint = did_you_mean(value, known)
            problems.append(node.problem(f"there is no signal {quoted(value)}{hint}"))
        return number


def signal_number(name: str) -> int | None:
    """Return the number of the signal *name* (`TERM`, `sigterm`, `SIGRTMIN+3`), or None."""
    name = name.upper()
    match = _REAL_TIME.fullmatch(name)
    if match:
        end = signal.SIGRTMIN if match["end"] == "MIN" else signal.SIGRTMAX
        number = int(end) + int(match["offset"] or 0)
        return number if signal.SIGRTMIN <= number <= signal.SIGRTMAX else None
    known: dict[str, signal.Signals] = dict(signal.Signals.__members__)
    found = known.get(name) or known.get(f"SIG{name}")
    return int(found) if found else None


class Networks(Struct, frozen=True):
    """IP networks: a list, one, or `true` for all."""

    words: str = 'boolean, or networks as `["10.0.0.0/8"]`'

    def schema(self) -> Schema:
        return {
            "anyOf": [
                {"type": "boolean"},
                TEXT_SCHEMA,
                {"type": "array", "items": TEXT_SCHEMA, "minItems": 1},
            ]
        }

    def read(self, node: Node, problems: list[Problem]) -> tuple[str, ...] | None:
        """Return the networks in their normal form."""
        if isinstance(node.value, bool):
            return ("0.0.0.0/0", "::/0") if node.value else ()
        if not isinstance(node.value, str | tuple):
            problems.append(node.problem(f"must be a list of networks, not {kind_of(node.value)}"))
            return None
        before, found = len(problems), []
        for item in as_items(node):
            text = read_text(item, problems)
            if text is None:
                continue
            try:
                found.append(str(ip_network(text, strict=False)))
            except ValueError:
                problems.append(item.problem(f"{quoted(text)} is not an IP address or network"))
        return tuple(found) if len(problems) == before else None


class Flags(Struct, frozen=True):
    """A flag or a list of them."""

    flags: tuple[str, ...]

    @property
    def words(self) -> str:
        return "list of " + " ".join(f"`{flag}`" for flag in self.flags)

    def schema(self) -> Schema:
        flag: Schema = {"enum": list(self.flags)}
        return {"anyOf": [flag, {"type": "array", "items": flag}]}

    def read(self, node: Node, problems: list[Problem]) -> frozenset[str] | None:
        if not isinstance(node.value, str | tuple):
            problems.append(node.problem(f"must be a list of flags, not {kind_of(node.value)}"))
            return None
        before = len(problems)
        found = set()
        for item in as_items(node):
            flag = read_text(item, problems)
            if flag is not None and flag not in self.flags:
                hint = did_you_mean(flag, self.flags)
                problems.append(item.problem(f"unknown flag {quoted(flag)}{hint}"))
            elif flag is not None:
                found.add(flag)
        return frozenset(found) if len(problems) == before else None


class Runlevels(Struct, frozen=True):
    """Runlevels, one character each; `one` takes a single one and nothing that is on demand."""

    one: bool = False

    @property
    def words(self) -> str:
        if self.one:
            return "one of `0` to `9`, or `S`"
        return "string of `0` to `9`, `S`, and for mode ondemand `a`, `b` and `c`"

    def schema(self) -> Schema:
        pattern = "^[0-9Ss]$" if self.one else "^[0-9SsA-Ca-c]+$"
        return {"type": "string", "pattern": pattern}

    def read(self, node: Node, problems: list[Problem]) -> str | None:
        text = read_text(node, problems)
        if text is None:
            return None
        levels = dict.fromkeys(each.upper() if each in "sS" else each.lower() for each in text)
        known = "0123456789S" if self.one else "0123456789Sabc"
        wrong = "".join(level for level in levels if level not in known)
        if wrong:
            what = f"{quoted(wrong)} is no runlevel: it must be {self.words.replace('`', '')}"
            problems.append(node.problem(what))
        elif self.one and len(levels) > 1:
            problems.append(node.problem(f"must be one runlevel, not {quoted(text)}"))
        else:
            return "".join(levels)
        return None
