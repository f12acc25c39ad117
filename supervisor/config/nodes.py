"""Make the common form of every syntax out of plain values, and plain values out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from supervisor.config.tables import Node, Scalar, dotted

Plain = Scalar | Node | Sequence["Plain"] | Mapping[str, "Plain"]
"""What a value can be made from. A `Node` in it stays as it is, with its own place."""


def make(file: str, line: int, key: str, value: Plain) -> Node:
    """Return *value* as a node; all that is in it stands at the same line."""
    if isinstance(value, Node):
        return value
    if isinstance(value, Mapping):
        table = {name: make(file, line, dotted(key, name), each) for name, each in value.items()}
        return Node(file, line, key, table)
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = (make(file, line, f"{key}[{number}]", each) for number, each in enumerate(value))
        return Node(file, line, key, tuple(items))
    return Node(file, line, key, value)


def plain(node: Node) -> Plain:
    """Return the value of *node* without places: scalars, tuples and dicts."""
    value = node.value
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    return value
