"""Read texts in pies' syntax, and look at what comes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from config_text import InventedHost
from supervisor.config.load import make_plan
from supervisor.config.pies.options import Reading
from supervisor.config.pies.reader import read
from supervisor.config.sources import Document, Sources
from supervisor.config.tables import Node
from supervisor.engine.plan import Plan
from supervisor.model.errors import Problem
from supervisor.model.settings import SourceFile


def plain(node: Node | None) -> object:
    """Return the values of a tree without their places."""
    assert node is not None
    if isinstance(node.value, dict):
        return {name: plain(each) for name, each in node.value.items()}
    if isinstance(node.value, tuple):
        return [plain(each) for each in node.value]
    return node.value


def root_of(text: str, problems: list[Problem] | None = None) -> Node:
    """Return the tables of a text that is read to its end."""
    found: list[Problem] = []
    root = read(text, "pies.conf", found)
    assert root is not None, found
    if problems is None:
        assert not found, found
    else:
        problems += found
    return root


def tree_of(text: str) -> Mapping[str, object]:
    """Return the tables of a text without faults, as plain values."""
    tree = plain(root_of(text))
    assert isinstance(tree, dict)
    return tree


def web(statements: str) -> Mapping[str, object]:
    """Return the table of a component with these statements, without the flag it always has."""
    component = tree_of(f"component web {{ {statements} }}")["component"]
    assert isinstance(component, dict)
    table = dict(component["web"])
    table.pop("siggroup", None)
    return table


def found_in(text: str, reading: Reading | None = None) -> list[tuple[int, str]]:
    """Return the line and the message of every problem and warning of a text, in their order."""
    problems: list[Problem] = []
    read(text, "pies.conf", problems, reading)
    return [(each.line, f"{each.key}: {each.message}") for each in sorted(problems)]


def one_fault(text: str) -> tuple[int, str]:
    """Return the only problem (or warning) of a text."""
    found = found_in(text)
    assert len(found) == 1, found
    return found[0]


def plan_of(*texts: str, names: Sequence[str] = ("a.conf", "b.conf", "c.conf")) -> Plan:
    """Build the plan of files in pies' syntax, on an invented machine."""
    problems: list[Problem] = []
    reading = Reading()
    documents = []
    for name, text in zip(names, texts, strict=False):
        root = read(text, name, problems, reading)
        if root is not None:
            documents.append(Document(name, "pies", root))
    return make_plan(
        Sources(tuple(documents), frozenset(reading.broken)),
        [SourceFile("a.conf", "pies")],
        problems,
        environ={"PATH": "/bin"},
        euid=0,
        instance=None,
        sockets=(),
        host=InventedHost(),
    )
