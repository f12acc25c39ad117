"""Keys, and tables read by them: what was written, what is wrong with it, what the default is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Generic, TypeVar, cast

from msgspec import Struct

from supervisor.config.kinds import Kind, Schema
from supervisor.config.tables import Node, as_items, did_you_mean, kind_of, right_since
from supervisor.model.component import Mode
from supervisor.model.errors import Problem

T = TypeVar("T")


class Key(Struct, Generic[T], frozen=True, kw_only=True):
    """One key of a table: the source for reading, for the reference, and for the JSON Schema."""

    name: str
    kind: Kind[T]
    meaning: str
    """For the reference: Markdown, a sentence or two without the final stop."""
    default: T | None = None
    """The value where the key is absent; None where absence has a meaning of its own."""
    shown: str = ""
    """The default as the reference shows it; empty: it has none."""
    required: bool = False
    modes: frozenset[Mode] = frozenset(Mode)
    """The modes in which the key means something."""
    own: bool = False
    """It belongs to one component and has no place in `[defaults]`."""


class KeySet(Struct, frozen=True, dict=True):
    """All keys of one table. `later` are known and not supported yet."""

    keys: tuple[Key[Any], ...]
    later: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = {}
    """Names that other programs or syntaxes use, and what the thing is called here."""

    @cached_property
    def by_name(self) -> dict[str, Key[Any]]:
        """The keys by their names."""
        return {key.name: key for key in self.keys}

    def refuse_unknown(self, members: Mapping[str, Node]) -> list[Problem]:
        """Return a problem for every member that is no key of this table."""
        return [
            node.problem(self._unknown(name))
            for name, node in members.items()
            if name not in self.by_name
        ]

    def _unknown(self, name: str) -> str:
        if name in self.later:
            return "is not supported yet"
        if name in self.renamed:
            return f"unknown key; it is called '{self.renamed[name]}' here"
        return f"unknown key{did_you_mean(name, self.by_name)}"


class Fields:
    """The members of one table, read."""

    def __init__(self, nodes: Mapping[str, Node], keys: KeySet, problems: list[Problem]) -> None:
        """Read those of *nodes* that *keys* knows; what is wrong with them goes to *problems*."""
        self.nodes = nodes
        self._values: dict[str, object] = {}
        for name, node in nodes.items():
            key = keys.by_name.get(name)
            if key is not None and node.fault is not None:
                problems.append(node.fault)
            elif key is not None:
                value = key.kind.read(node, problems)
                if value is not None:
                    self._values[name] = value

    def given(self, key: Key[T]) -> T | None:
        """Return the value that was written, or None if there is none or it is wrong."""
        return cast("T | None", self._values.get(key.name))

    def get(self, key: Key[T]) -> T | None:
        """Return the value that was written, else the key's default."""
        return cast("T | None", self._values.get(key.name, key.default))

    def need(self, key: Key[T]) -> T:
        """Return the same for a key that always has a default."""
        value = self.get(key)
        if value is None:
            raise LookupError(f"{key.name} has no default")
        return value

    def wrong(self, key: Key[Any]) -> bool:
        """Return whether something was written that is no value of the key."""
        return key.name in self.nodes and key.name not in self._values

    def node(self, key: Key[Any]) -> Node | None:
        """Return what was written, right or wrong, or None."""
        return self.nodes.get(key.name)


class Record(Struct, Generic[T], frozen=True):
    """A table with keys of its own, made into a value."""

    keys: KeySet
    make: Callable[[Fields, Node, list[Problem]], T]
    """Called even if some fields are wrong, to find what else is; its result is dropped then."""
    words: str = "table"

    def schema(self) -> Schema:
        return table_schema(self.keys)

    def read(self, node: Node, problems: list[Problem]) -> T | None:
        if not isinstance(node.value, dict):
            problems.append(node.problem(f"must be a table, not {kind_of(node.value)}"))
            return None
        before = len(problems)
        problems += self.keys.refuse_unknown(node.value)
        fields = Fields(node.value, self.keys, problems)
        for key in self.keys.keys:
            if key.required and key.name not in node.value:
                problems.append(node.problem(f"the key '{key.name}' is missing"))
        made = self.make(fields, node, problems)
        return made if right_since(problems, before) else None


class Records(Struct, Generic[T], frozen=True):
    """A list of such tables, or one of them."""

    record: Record[T]
    words: str = "list of tables"

    def schema(self) -> Schema:
        table = self.record.schema()
        return {"anyOf": [table, {"type": "array", "items": table}]}

    def read(self, node: Node, problems: list[Problem]) -> tuple[T, ...] | None:
        if not isinstance(node.value, dict | tuple):
            problems.append(node.problem(f"must be a list of tables, not {kind_of(node.value)}"))
            return None
        made = [self.record.read(item, problems) for item in as_items(node)]
        right = tuple(each for each in made if each is not None)
        return right if len(right) == len(made) else None


def table_schema(keys: KeySet, *, defaults: bool = False) -> Schema:
    """Return the schema of a table; with *defaults*, of one that gives defaults for such tables."""
    members = [key for key in keys.keys if not (defaults and key.own)]
    required = [key.name for key in members if key.required and not defaults]
    properties: Schema = {key.name: _described(key) for key in members}
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


def _described(key: Key[Any]) -> Schema:
    described: Schema = {"description": key.meaning}
    if isinstance(key.default, bool | int | float | str):
        described["default"] = key.default
    return {**key.kind.schema(), **described}
