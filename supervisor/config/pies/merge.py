"""Make one of what is declared more than once, as pies does.

Repeated declarations of a component are one component: of a value the later counts, and lists grow.
Source: pies.md section 1.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol, TypeVar

from msgspec.structs import replace

from supervisor.config.tables import Node, as_items

GROWING: Final = frozenset({"prerequisites", "dependents", "flags", "group", "env", "on-exit"})
"""The keys whose values are lists that grow; of all others the later value counts."""

SYNTAXES: Final = frozenset({"pies", "inetd"})
"""The syntaxes in which the same tag may be declared again, also in another file."""


class _Document(Protocol):
    """What is asked of `supervisor.config.sources.Document`."""

    @property
    def syntax(self) -> str: ...
    @property
    def root(self) -> Node: ...


D = TypeVar("D", bound=_Document)


def put(table: dict[str, Node], name: str, node: Node) -> None:
    """Add a member to *table*; if it is there already, it becomes what both mean together."""
    first = table.get(name)
    table[name] = node if first is None else _together(name, first, node)


def component(first: Node, second: Node) -> Node:
    """Return the component that two declarations make; it stands where the first does."""
    table = dict(first.table)
    for name, node in second.table.items():
        put(table, name, node)
    return replace(first, value=siggroup(table))


def siggroup(table: dict[str, Node]) -> dict[str, Node]:
    """Drop `siggroup = false`, pies' default, from a component that has the flag."""
    written = table.get("siggroup")
    flags = table.get("flags")
    if written is None or written.value is not False or flags is None:
        return table
    if all(flag.value != "siggroup" for flag in as_items(flags)):
        return table
    return {name: node for name, node in table.items() if name != "siggroup"}


def _together(name: str, first: Node, second: Node) -> Node:
    if name not in GROWING or isinstance(first.value, dict) or isinstance(second.value, dict):
        return second
    items = (*as_items(first), *as_items(second))
    if name == "prerequisites":
        # `none` adds nothing to other names.
        items = tuple(item for item in items if item.value != "none") or items[:1]
    return replace(first, value=items)


def documents(read: Iterable[D]) -> list[D]:
    """Return the documents with what pies' syntax declares again moved to where it was first.

    Each member of a table stays with the document that had it first, so that the order of
    components is that of reading. Other syntaxes keep what they have, and are told of clashes.
    """
    result: list[D] = []
    homes: dict[tuple[str, str], tuple[int, dict[str, Node]]] = {}
    """For a table and a member's name: the place in the result, and the members there."""
    tables: list[dict[str, dict[str, Node]]] = []
    for place, document in enumerate(read):
        result.append(document)
        tables.append({})
        if document.syntax not in SYNTAXES:
            continue
        for table, node in document.root.table.items():
            if not isinstance(node.value, dict):
                continue
            own = tables[place].setdefault(table, {})
            for name, member in node.value.items():
                home = homes.get((table, name))
                if home is None:
                    homes[table, name] = (place, own)
                    own[name] = member
                elif table == "component":
                    home[1][name] = component(home[1][name], member)
                else:
                    put(home[1], name, member)
    return [_with(document, tables[place]) for place, document in enumerate(result)]


def _with(document: D, tables: dict[str, dict[str, Node]]) -> D:
    """Return *document* with these members in its tables."""
    old = document.root.table
    if all(tables[name] == old[name].value for name in tables):
        return document
    root = {
        name: replace(node, value=tables[name]) if name in tables else node
        for name, node in old.items()
    }
    return replace(document, root=replace(document.root, value=root))  # type: ignore[type-var]  # a Struct
