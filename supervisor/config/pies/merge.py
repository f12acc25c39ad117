"""Make one of what is declared more than once, as pies does.

Repeated declarations of a component are one component: of a value the later counts, and lists grow.
Source: pies.md section 1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeVar

from msgspec.structs import replace

from supervisor.config.tables import Node, as_items

GROWING: Final = frozenset({"prerequisites", "dependents", "flags", "group", "env", "on-exit"})
"""The keys whose values are lists that grow; of all others the later value counts."""

SYNTAXES: Final = frozenset({"pies", "inetd", "inittab"})
"""The syntaxes in which the same tag may be declared again, also in another file."""


class _Document(Protocol):
    """What is asked of `supervisor.config.sources.Document`."""

    @property
    def syntax(self) -> str: ...
    @property
    def root(self) -> Node: ...


D = TypeVar("D", bound=_Document)


class Members:
    """The members of a table in the making, those with the same name together.

    They are made one at the end: doing it at each would take quadratic time.
    """

    def __init__(self, together: Callable[[str, Sequence[Node]], Node] | None = None) -> None:
        self._together = together or one_of
        self._nodes: dict[str, list[Node]] = {}

    def put(self, name: str, node: Node) -> None:
        """Add a member, which may be there already."""
        self._nodes.setdefault(name, []).append(node)

    def table(self) -> dict[str, Node]:
        """Return what all of them mean together."""
        return {
            name: nodes[0] if len(nodes) == 1 else self._together(name, nodes)
            for name, nodes in self._nodes.items()
        }


def component(tag: str, nodes: Sequence[Node]) -> Node:
    """Return the component that declarations make; it stands where the first does."""
    del tag
    members = Members()
    for node in nodes:
        for name, member in node.table.items():
            members.put(name, member)
    return replace(nodes[0], value=siggroup(members.table()))


def siggroup(table: dict[str, Node]) -> dict[str, Node]:
    """Drop `siggroup = false`, pies' default, from a component that has the flag."""
    written = table.get("siggroup")
    flags = table.get("flags")
    if written is None or written.value is not False or flags is None:
        return table
    if all(flag.value != "siggroup" for flag in as_items(flags)):
        return table
    return {name: node for name, node in table.items() if name != "siggroup"}


def one_of(name: str, nodes: Sequence[Node]) -> Node:
    """Return what the values of one key mean together."""
    # A table replaces what was before it, and is replaced.
    tables = [place for place, node in enumerate(nodes) if isinstance(node.value, dict)]
    lists = nodes[tables[-1] + 1 :] if tables else nodes
    if name not in GROWING or len(lists) < 2:
        return nodes[-1]
    items = tuple(item for node in lists for item in as_items(node))
    if name == "prerequisites":
        # `none` adds nothing to other names.
        items = tuple(item for item in items if item.value != "none") or items[:1]
    return replace(lists[0], value=items)


def documents(read: Iterable[D]) -> list[D]:
    """Return the documents with what pies' syntax declares again moved to where it was first.

    Each member of a table stays with the document that had it first, so that the order of
    components is that of reading. Other syntaxes keep what they have, and are told of clashes.
    """
    result = list(read)
    homes: dict[tuple[str, str], Members] = {}
    """For a table and a member's name: the members where it was first."""
    tables: list[dict[str, Members]] = []
    for document in result:
        tables.append({})
        if document.syntax not in SYNTAXES:
            continue
        for table, node in document.root.table.items():
            if not isinstance(node.value, dict):
                continue
            own = tables[-1][table] = Members(component if table == "component" else None)
            for name, member in node.value.items():
                homes.setdefault((table, name), own).put(name, member)
    return [
        _with(document, {name: members.table() for name, members in own.items()})
        for document, own in zip(result, tables, strict=True)
    ]


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
