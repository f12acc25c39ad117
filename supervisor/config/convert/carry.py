"""What the converters from other programs share: tables in the making, what is left behind."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

from supervisor.config.keys import COMPONENT_KEYS
from supervisor.config.nodes import Plain, make
from supervisor.config.splitting import split_words
from supervisor.config.tables import Node, dotted
from supervisor.model.component import Tag
from supervisor.model.errors import Problem

_NOT_IN_A_TAG = re.compile(r"[^A-Za-z0-9_.:@-]+")
_LONGEST_TAG = 100
_ORDER = ("description", *(name for name in COMPONENT_KEYS.by_name if name != "description"))
_FOR_A_SHELL = re.compile(r"[|&;<>()$`*?\[\]~#\n{}!]|^\w+=")
"""Signs that mean something to a shell and nothing to shlex; also an assignment in front."""


def words(text: str) -> tuple[str, ...]:
    """Return the words of a list that is written as one text."""
    return tuple(text.split())


class Leftovers:
    """Lists what cannot be carried over, as warnings with file and line."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file, self.problems = file, problems

    def leave(self, line: int, key: str, why: str = "") -> None:
        """Say that *key* is not carried over, and what that means or what to do instead."""
        message = f"is not carried over{': ' if why else ''}{why}"
        self.problems.append(Problem(self.file, line, key, message, warning=True))

    def note(self, line: int, key: str, message: str) -> None:
        """Say what is different now."""
        self.problems.append(Problem(self.file, line, key, message, warning=True))

    def fault(self, line: int, key: str, message: str) -> None:
        """Say what is wrong with the source."""
        self.problems.append(Problem(self.file, line, key, message))


class ComponentDraft:
    """One component in the making: its keys, each with the line it comes from."""

    def __init__(self, file: str, line: int, tag: Tag) -> None:
        self.file, self.line, self.tag = file, line, tag
        self.members: dict[str, Node] = {}

    def set(self, name: str, value: Plain, line: int = 0) -> None:
        """Set a key; *line* is that of the source."""
        key = dotted(dotted("component", self.tag), name)
        self.members[name] = make(self.file, line or self.line, key, value)

    def node(self) -> Node:
        """Return the table, its keys in the order of the reference."""
        members = {name: self.members[name] for name in _ORDER if name in self.members}
        return Node(self.file, self.line, dotted("component", self.tag), members)


def configuration(file: str, drafts: Iterable[ComponentDraft], **tables: Node | None) -> Node:
    """Return the root of a configuration with these components behind these other tables."""
    components = {draft.tag: draft.node() for draft in drafts}
    root = {name: node for name, node in tables.items() if node is not None}
    if components:
        root["component"] = Node(file, 1, "component", components)
    return Node(file, 1, "", root)


def free_tag(name: str, taken: Container[Tag]) -> Tag:
    """Return a tag that is like *name* and none of *taken*."""
    tag = _NOT_IN_A_TAG.sub("-", name).lstrip(".:@-")[: _LONGEST_TAG - 8] or "program"
    if tag in ("all", "none"):
        tag += "-program"
    number, found = 1, tag
    while found in taken:
        number += 1
        found = f"{tag}-{number}"
    return found


def literal(text: str) -> str:
    """Return *text* so that piesd takes every `${instance}` in it as it stands."""
    return text.replace("${instance}", "$${instance}")


def needs_shell(command: str) -> bool:
    """Return whether only a shell understands *command*."""
    if _FOR_A_SHELL.search(command):
        return True
    try:
        return not split_words(command)
    except ValueError:
        return True


def size(count: int) -> int | str:
    """Return a number of bytes as people write it: as 50MiB where it is whole."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count and count % (1 << power) == 0:
            return f"{count >> power}{unit}"
    return count


def tidy(number: float) -> float:
    """Return a whole number as one: `5` reads better than `5.0`."""
    return int(number) if number == int(number) else round(number, 6)
