"""From a `component` block to the table that TOML would have for it. Source: pies.md 1.2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from supervisor.config import keys, later
from supervisor.config.pies import blocks, shapes, words
from supervisor.config.pies.merge import Members, siggroup
from supervisor.config.pies.parser import Statement
from supervisor.config.tables import Node
from supervisor.model.errors import Problem

_NAMES: Final = {"rmfile": "remove-file", "return-code": "on-exit"}
"""The keys that have another name in TOML."""

_SHAPES: Final[Mapping[str, shapes.Shape]] = {
    "prerequisites": shapes.texts,
    "dependents": shapes.texts,
    "flags": shapes.texts,
    "group": shapes.texts,
    "allgroups": shapes.boolean,
    "disable": shapes.boolean,
    "precious": shapes.boolean,
    "limits": shapes.words,
    "max-instances": shapes.number,
    "max-rate": shapes.number,
    "max-ip-connections": shapes.number,
    "pass-fd-timeout": shapes.number,
    "max-instances-message": shapes.message,
    "max-ip-connections-message": shapes.message,
    "access-denied-message": shapes.message,
    "env": blocks.environment,
    "stdout": shapes.output,
    "stderr": shapes.output,
    "acl": blocks.acl,
    "list-acl": blocks.acl,
    "admin-acl": blocks.acl,
}
"""The statements that are not just one string."""

_FLAGS: Final = frozenset(keys.FLAG_NAMES) - words.COMPONENT
"""The flags that are no statements."""


def component(statement: Statement, problems: list[Problem]) -> Node:
    """Return the table of a component.

    What could not be read is there as a node with that fault, so that it is not told to be missing.
    """
    place = Node(statement.file, statement.line, statement.path, "")
    members = Members()
    for each in blocks.measured(statement.body or [], problems):
        name, made = each.keyword, None
        if name in words.COMPONENT:
            made = _value(each, problems)
            name = _NAMES.get(name, name)
        else:
            problems.append(blocks.unknown(each, words.COMPONENT, _elsewhere(name)))
            if "'command'" not in problems[-1].message:
                continue
            name = "command"
        if made is None:
            made = Node(each.file, each.line, each.path, "", fault=problems[-1])
        members.put(name, _literal(name, made))
    table = members.table()
    if statement.damage is not None:
        table.setdefault("command", replace(place, fault=statement.damage))
    # What pies sends to the group only if the flag says so, we send to it unless told not to.
    table["siggroup"] = replace(place, value=False)
    return replace(place, value=siggroup(table))


def _value(statement: Statement, problems: list[Problem]) -> Node | None:
    if statement.keyword == "return-code":
        action = blocks.exit_action(statement, problems)
        return action and Node(action.file, action.line, action.key, (action,))
    return _SHAPES.get(statement.keyword, shapes.text)(statement, problems)


def _elsewhere(name: str) -> str:
    """Say where a keyword belongs that means nothing in a component."""
    if name in _FLAGS:
        return f": it is a flag, as flags ({name})"
    if name in words.GLOBAL:
        return ": it is a global one, and stands outside of components"
    if name in keys.COMPONENT_KEYS.by_name or name in later.COMPONENT:
        return ": pies has none for it, it is a key of TOML files"
    return ""


def _literal(name: str, node: Node) -> Node:
    """Return the value of a key with `${instance}` in its strings kept: TOML replaces it.

    In the mail of an exit action it is replaced by neither.
    """
    value = node.value
    if isinstance(value, str):
        if "${instance}" not in value or name == "message":
            return node
        return replace(node, value=value.replace("${instance}", "$${instance}"))
    if isinstance(value, dict):
        return replace(node, value={key: _literal(key, each) for key, each in value.items()})
    if isinstance(value, tuple):
        return replace(node, value=tuple(_literal(name, each) for each in value))
    return node
