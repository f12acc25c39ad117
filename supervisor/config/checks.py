"""How readiness and health are found out: one way each, and how often it is tried."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from supervisor.config.commands import Words
from supervisor.config.fields import Fields, Key, KeySet, Record
from supervisor.config.kinds import Boolean, Count, Schema, Seconds, read_text
from supervisor.config.tables import Node, quoted
from supervisor.model.component import Check
from supervisor.model.errors import Problem

_HOST_PORT = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<name>[^\s:/\[\]]+)):(?P<port>[0-9]+)"
)
_MOST_PORT = 65535


class TcpTarget(Struct, frozen=True):
    """`HOST:PORT`, or the full path of a UNIX socket."""

    words: str = '`"HOST:PORT"`, or the full path of a UNIX socket'

    def schema(self) -> Schema:
        return {"type": "string", "pattern": r"^/|:[0-9]+$"}

    def read(self, node: Node, problems: list[Problem]) -> str | None:
        text = read_text(node, problems)
        if text is None or (text.startswith("/") and not text.endswith("/")):
            return text
        match = _HOST_PORT.fullmatch(text)
        if match is None:
            example = "HOST:PORT (an IPv6 address in brackets) or the full path of a UNIX socket"
            problems.append(node.problem(f"must be {example}, not {quoted(text)}"))
            return None
        if not _is_port(match["port"]):
            problems.append(node.problem(f"the port must be 1 to 65535, not {match['port'][:20]}"))
            return None
        return text


class HttpUrl(Struct, frozen=True):
    """A URL that can be asked for."""

    words: str = "`http://` or `https://` URL"

    def schema(self) -> Schema:
        return {"type": "string", "pattern": "^[hH][tT][tT][pP][sS]?://."}

    def read(self, node: Node, problems: list[Problem]) -> str | None:
        text = read_text(node, problems)
        if text is None:
            return None
        try:
            url = urlsplit(text)
            right = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:  # A port that is no number, brackets that are not closed.
            right = False
        if not right or not text.isascii() or not text.isprintable() or " " in text:
            example = "a URL as http://127.0.0.1:8080/healthy"
            problems.append(node.problem(f"must be {example}, not {quoted(text)}"))
            return None
        return text


def _is_port(text: str) -> bool:
    return len(text) <= len(str(_MOST_PORT)) and 1 <= int(text) <= _MOST_PORT


NOTIFY = Key(
    name="notify",
    kind=Boolean(),
    meaning=(
        'it sends `READY=1` to `NOTIFY_SOCKET`, as sd_notify(3) does; the word `"notify"` alone '
        "means the same"
    ),
)
FD = Key(
    name="fd",
    kind=Count(least=3, most=9, few=True),
    meaning="it writes a newline to that descriptor",
)
TCP = Key(name="tcp", kind=TcpTarget(), meaning="it accepts connections there")
HTTP = Key(name="http", kind=HttpUrl(), meaning="it answers with a status of 2xx or 3xx")
EXEC = Key(
    name="exec",
    kind=Words(),
    meaning="this command, run as the component itself is, exits with code 0",
)
READY_TIMEOUT = Key(
    name="timeout",
    kind=Seconds(positive=True),
    default=60.0,
    shown="60",
    meaning="ready by then, or it has failed and is restarted",
)
READY_INTERVAL = Key(
    name="interval",
    kind=Seconds(positive=True),
    default=1.0,
    shown="1",
    meaning="from one try to the next",
)
HEALTH_TIMEOUT = Key(
    name="timeout", kind=Seconds(positive=True), default=5.0, shown="5", meaning="for each try"
)
HEALTH_INTERVAL = Key(
    name="interval",
    kind=Seconds(positive=True),
    default=10.0,
    shown="10",
    meaning="from one try to the next",
)
HEALTH_FAILURES = Key(
    name="failures",
    kind=Count(least=1, most=1_000_000),
    default=3,
    shown="3",
    meaning="so many in a row restart it",
)

_READY_WAYS: tuple[Key[Any], ...] = (NOTIFY, FD, TCP, HTTP, EXEC)
_HEALTH_WAYS: tuple[Key[Any], ...] = (TCP, HTTP, EXEC)
READY_KEYS = KeySet((*_READY_WAYS, READY_TIMEOUT, READY_INTERVAL))
HEALTH_KEYS = KeySet((*_HEALTH_WAYS, HEALTH_TIMEOUT, HEALTH_INTERVAL, HEALTH_FAILURES))


def _way(
    known: KeySet, ways: tuple[Key[Any], ...], fields: Fields, node: Node, problems: list[Problem]
) -> Key[Any] | None:
    """Return the one way that is written; none, or more, is a problem."""
    written = [key for key in ways if fields.node(key) is not None]
    # A key that is unknown is likely to be meant for one of them.
    if not written and node.table.keys() <= known.by_name.keys():
        names = ", ".join(key.name for key in ways)
        problems.append(node.problem(f"must say how: one of {names}"))
    if len(written) > 1:
        both = " and ".join(f"'{key.name}'" for key in written)
        problems.append(node.problem(f"{both} exclude each other"))
    said = fields.node(NOTIFY)
    if said is not None and said.value is False:
        problems.append(said.problem("must be true; otherwise leave it out"))
    return written[0] if written else None


def _check(way: Key[Any] | None, fields: Fields) -> Check:
    match way.name if way else None:
        case "fd":
            return Check(kind="fd", fd=fields.given(FD) or 3)
        case "tcp":
            return Check(kind="tcp", target=fields.given(TCP) or "")
        case "http":
            return Check(kind="http", target=fields.given(HTTP) or "")
        case "exec":
            return Check(kind="exec", argv=fields.given(EXEC) or ())
        case _:
            return Check(kind="notify")


def _ready(fields: Fields, node: Node, problems: list[Problem]) -> Check:
    return replace(
        _check(_way(READY_KEYS, _READY_WAYS, fields, node, problems), fields),
        timeout=fields.need(READY_TIMEOUT),
        interval=fields.need(READY_INTERVAL),
    )


def _health(fields: Fields, node: Node, problems: list[Problem]) -> Check:
    return replace(
        _check(_way(HEALTH_KEYS, _HEALTH_WAYS, fields, node, problems), fields),
        timeout=fields.need(HEALTH_TIMEOUT),
        interval=fields.need(HEALTH_INTERVAL),
        failures=fields.need(HEALTH_FAILURES),
    )


class ReadyCheck(Struct, frozen=True):
    """The word `notify`, or a table."""

    record: Record[Check] = Record(READY_KEYS, _ready)
    words: str = '`"notify"`, or a table with one of `notify` `fd` `tcp` `http` `exec`'

    def schema(self) -> Schema:
        return {"anyOf": [{"const": "notify"}, self.record.schema()]}

    def read(self, node: Node, problems: list[Problem]) -> Check | None:
        if node.value == "notify":
            return Check(kind="notify")
        if isinstance(node.value, str):
            what = f'must be "notify" or a table, not {quoted(node.value)}'
            problems.append(node.problem(what))
            return None
        return self.record.read(node, problems)


HEALTH_CHECK = Record(HEALTH_KEYS, _health, words="table with one of `tcp` `http` `exec`")
