"""Mail: who gets it, and by which server."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from supervisor.config.kinds import TEXT_SCHEMA, Schema, read_text
from supervisor.config.tables import Node, as_items, kind_of, quoted, right_since
from supervisor.model.errors import Problem

# A local part without a domain is a user of this machine. What is put into a header, or on a
# command line, has no blanks and cannot be taken for an option.
_ADDRESS: Final = re.compile(r"(?!-)[^\s<>,;:\"()\[\]\\\x00-\x20\x7f]+")
_SERVER: Final = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]*))(?::(?P<port>[0-9]{1,5}))?"
)
_MOST_PORT = 65535


class Addresses(Struct, frozen=True):
    """Mail addresses: a list, or a string with commas."""

    words: str = 'list of addresses, or a string as `"a@example.org,b"`'

    def schema(self) -> Schema:
        return {"anyOf": [TEXT_SCHEMA, {"type": "array", "items": TEXT_SCHEMA, "minItems": 1}]}

    def read(self, node: Node, problems: list[Problem]) -> tuple[str, ...] | None:
        if not isinstance(node.value, str | tuple):
            what = f"must be a list of addresses, not {kind_of(node.value)}"
            problems.append(node.problem(what))
            return None
        before = len(problems)
        found: dict[str, None] = {}
        for item in as_items(node):
            text = read_text(item, problems)
            for part in () if text is None else text.split(","):
                if _ADDRESS.fullmatch(part.strip()):
                    found[part.strip()] = None
                else:
                    what = f"must be mail addresses with commas between them, not {quoted(part)}"
                    problems.append(item.problem(what))
        if not found and len(problems) == before:
            problems.append(node.problem("must hold an address"))
        return tuple(found) if right_since(problems, before) else None


class Sender(Struct, frozen=True):
    """One mail address."""

    words: str = "mail address"

    def schema(self) -> Schema:
        return TEXT_SCHEMA

    def read(self, node: Node, problems: list[Problem]) -> str | None:
        text = read_text(node, problems)
        if text is not None and not _ADDRESS.fullmatch(text):
            problems.append(node.problem(f"must be a mail address, not {quoted(text)}"))
            return None
        return text


class Server(Struct, frozen=True):
    """The name or address of a server, and its port."""

    words: str = "`HOST` or `HOST:PORT`"

    def schema(self) -> Schema:
        return TEXT_SCHEMA

    def read(self, node: Node, problems: list[Problem]) -> str | None:
        text = read_text(node, problems)
        if text is None:
            return None
        match = _SERVER.fullmatch(text)
        if match is None or not 1 <= int(match["port"] or 1) <= _MOST_PORT:
            example = "HOST or HOST:PORT, an IPv6 address in brackets"
            problems.append(node.problem(f"must be {example}, not {quoted(text)}"))
            return None
        return text
