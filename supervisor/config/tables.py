"""The common form of every syntax: values that know their file, line and key."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from supervisor.model.component import Where
from supervisor.model.errors import Problem

Scalar = str | int | float | bool | dt.date | dt.time
"""`dt.datetime` is a `dt.date`. No key takes a date: it is here to be refused politely."""


class Node(Struct, frozen=True):
    """One value of a configuration file, and where it stands.

    `key` is the dotted path as messages show it. A reader makes one `Node` for each file, whose
    value is a table; tables keep the order of the file.
    """

    file: str
    line: int
    key: str
    value: Scalar | tuple[Node, ...] | dict[str, Node]
    fault: Problem | None = None
    """Why the value could not be read; then there is none, and nothing else is wrong with it."""

    @property
    def where(self) -> Where:
        """The place it stands at."""
        return Where(self.file, self.line)

    @property
    def table(self) -> dict[str, Node]:
        """The members of a table; of anything else none."""
        return self.value if isinstance(self.value, dict) else {}

    def problem(self, message: str) -> Problem:
        """Return a problem with this value. Of one that could not be read, it is always that."""
        if self.fault is not None:
            return self.fault
        return Problem(self.file, self.line, self.key, message)

    def warning(self, message: str) -> Problem:
        """Return a warning about this value."""
        if self.fault is not None:
            return self.fault
        return Problem(self.file, self.line, self.key, message, warning=True)


_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def dotted(parent: str, name: str) -> str:
    """Return the key *name* of the table *parent* as it would be written in TOML."""
    if not _BARE_KEY.fullmatch(name):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        name = f'"{"".join(c if c.isprintable() else _escape(c) for c in escaped)}"'
    return f"{parent}.{name}" if parent else name


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def kind_of(value: object) -> str:
    """Return what *value* is, in the words of a message."""
    match value:
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case int():
            return "an integer"
        case float():
            return "a number"
        case dict():
            return "a table"
        case tuple():
            return "a list"
        case _:
            return "a date or time"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'X'?` with the nearest of *known*, or nothing."""
    choices = {choice.lower(): choice for choice in known}
    # Underscores are the commonest slip of all, and a length beyond reason costs quadratic time.
    typed = word.lower().replace("_", "-")[:80]
    nearest = difflib.get_close_matches(typed, choices, n=1, cutoff=0.6)
    return f"; did you mean '{choices[nearest[0]]}'?" if nearest else ""


def quoted(word: str) -> str:
    """Return *word* as messages show it: on one line, and not longer than one reads."""
    shown = "".join(c if c.isprintable() else _escape(c) for c in word)
    return f"'{shown[:80]}…'" if len(shown) > 80 else f"'{shown}'"


_INSTANCE = re.compile(r"\$?\$\{instance\}")


def expand(node: Node, instance: int | None, problems: list[Problem]) -> Node:
    """Return *node* with `${instance}` in its strings replaced, and `$${instance}` unescaped.

    Nodes without such a string come back as the same objects. With no *instance*, a
    `${instance}` is a problem: it would mean nothing.
    """
    value = node.value
    if isinstance(value, str):
        if "${instance}" not in value:
            return node
        if instance is None and any(m.group() == "${instance}" for m in _INSTANCE.finditer(value)):
            message = "'${instance}' needs the key 'instances'; '$${instance}' means it literally"
            problems.append(node.problem(message))
        text = "" if instance is None else str(instance)
        return replace(
            node,
            value=_INSTANCE.sub(
                lambda match: "${instance}" if match.group().startswith("$$") else text, value
            ),
        )
    if isinstance(value, dict):
        members = {name: expand(member, instance, problems) for name, member in value.items()}
        same = all(members[name] is value[name] for name in value)
        return node if same else replace(node, value=members)
    if isinstance(value, tuple):
        items = tuple(expand(item, instance, problems) for item in value)
        same = all(new is old for new, old in zip(items, value, strict=True))
        return node if same else replace(node, value=items)
    return node


def right_since(problems: Sequence[Problem], before: int) -> bool:
    """Return whether nothing but warnings was added to *problems* since they were *before* many."""
    return all(problem.warning for problem in problems[before:])


def as_table(node: Node, problems: list[Problem]) -> dict[str, Node]:
    """Return the members of *node*; what is not a table is a problem and has none."""
    if not isinstance(node.value, dict):
        problems.append(node.problem(f"must be a table, not {kind_of(node.value)}"))
    return node.table


def as_items(node: Node) -> tuple[Node, ...]:
    """Return the elements of a list, or the value itself as the only one."""
    return node.value if isinstance(node.value, tuple) else (node,)
