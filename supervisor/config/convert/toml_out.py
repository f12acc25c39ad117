"""Print the common form of every syntax as TOML that people like to read."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Sequence

from supervisor.config.convert.comments import Comment, placed, printable
from supervisor.config.tables import Node

WIDTH = 100
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_OF_TABLES = frozenset({"component", "identity-provider"})
"""Tables that hold tables with names of their own: those are printed, and not these."""


def print_toml(
    root: Node, *, top: Sequence[str] = (), comments: Iterable[Comment] = (), file: str = ""
) -> str:
    """Return *root* as the text of a TOML file, tables and keys in its order.

    Args:
        root: a table of tables, as the readers return it.
        top: lines of a comment at the beginning.
        comments: what the source says in comments; each comes before the first thing that is
            printed and stood behind it in *file*.
    """
    printer = _Printer(placed(comments, _places(root, file)), file)
    printer.lines += [_comment(line) for line in top]
    printer.root(root)
    printer.remarks(0)
    return "\n".join(printer.lines).strip("\n") + "\n" if printer.lines else ""


def _comment(line: str) -> str:
    return f"# {printable(line)}".rstrip()


def _places(root: Node, file: str) -> Iterator[int]:
    """Return the lines of what gets a line of its own."""
    for name, node in root.table.items():
        holders = node.table.values() if name in _OF_TABLES else _tables(node) or (node,)
        for holder in holders:
            for each in (holder, *holder.table.values()):
                if each.file == file:
                    yield each.line


def _tables(node: Node) -> tuple[Node, ...]:
    """Return the elements of a list that holds nothing but tables; of anything else nothing."""
    items = node.value if isinstance(node.value, tuple) else ()
    return items if all(isinstance(item.value, dict) for item in items) else ()


class _Printer:
    def __init__(self, comments: dict[int, list[str]], file: str) -> None:
        self.comments, self.file = comments, file
        self.lines: list[str] = []

    def root(self, root: Node) -> None:
        later = []
        for name, node in root.table.items():
            if isinstance(node.value, dict) or _tables(node):
                later.append((name, node))
            else:
                self.key(name, node)
        for name, node in later:
            if name in _OF_TABLES:
                for inner, member in node.table.items():
                    self.section(f"{key_text(name)}.{key_text(inner)}", member)
            else:
                self.section(key_text(name), node)

    def section(self, path: str, node: Node) -> None:
        """Print a table, or a list of tables, under headers of their own."""
        if not isinstance(node.value, dict):
            for item in _tables(node):
                self.header(f"[[{path}]]", item)
                self.members(path, item)
            return
        self.header(f"[{path}]", node)
        self.members(path, node)

    def header(self, header: str, node: Node) -> None:
        if self.lines:
            self.lines.append("")
        if node.file == self.file:
            self.remarks(node.line)
        self.lines.append(header)

    def members(self, path: str, node: Node) -> None:
        later = []
        for name, member in sorted(node.table.items(), key=lambda each: each[0] != "codes"):
            if _deserves_header(name, member):
                later.append((name, member))
            else:
                self.key(name, member)
        # What stands behind the header of an inner table would belong to that one.
        for name, member in later:
            self.section(f"{path}.{key_text(name)}", member)

    def key(self, name: str, node: Node) -> None:
        if node.file == self.file:
            self.remarks(node.line)
        start = f"{key_text(name)} = "
        if isinstance(node.value, str) and "\n" in node.value.rstrip("\n"):
            self.lines.append(start + long_text(node.value))
            return
        line = start + value_text(node)
        if len(line) > WIDTH and isinstance(node.value, tuple) and node.value:
            self.lines.append(f"{start}[")
            self.lines += [f"  {value_text(item)}," for item in node.value]
            self.lines.append("]")
        else:
            self.lines.append(line)

    def remarks(self, line: int) -> None:
        self.lines += [_comment(text) for text in self.comments.pop(line, ())]


def _deserves_header(name: str, node: Node) -> bool:
    """Return whether a table (or a list of them) is too large to stand behind its key."""
    if isinstance(node.value, dict):
        return len(f"{name} = {value_text(node)}") > WIDTH or _has_long_text(node)
    return bool(_tables(node)) and _has_long_text(node)


def _has_long_text(node: Node) -> bool:
    if isinstance(node.value, tuple):
        return any(_has_long_text(item) for item in node.value)
    if isinstance(node.value, dict):
        return any(_has_long_text(member) for member in node.value.values())
    return isinstance(node.value, str) and "\n" in node.value.rstrip("\n")


def key_text(name: str) -> str:
    """Return a key, in quotation marks if it needs them."""
    return name if _BARE_KEY.fullmatch(name) else _basic(name)


def value_text(node: Node) -> str:
    """Return a value on one line."""
    value = node.value
    if isinstance(value, dict):
        # The codes of an exit action say what the rest is about.
        names = sorted(value, key="codes".__ne__)
        members = ", ".join(f"{key_text(name)} = {value_text(value[name])}" for name in names)
        return f"{{ {members} }}" if members else "{}"
    if isinstance(value, tuple):
        return f"[{', '.join(value_text(item) for item in value)}]"
    if isinstance(value, str):
        quotes = '"' in value or "\\" in value
        literal = quotes and value.isprintable() and "'" not in value
        return f"'{value}'" if literal else _basic(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, dt.date | dt.time) else repr(value)


def long_text(text: str) -> str:
    """Return a text of several lines between triple quotation marks."""
    # The line end behind the opening marks is not part of the text.
    inner = "\n".join(_escaped(line, keep='"') for line in text.split("\n"))
    if inner.endswith('"'):
        inner = f'{inner[:-1]}\\"'
    inner = inner.replace('"""', '""\\"')
    return f'"""\n{inner}"""'


def _basic(text: str) -> str:
    return f'"{_escaped(text)}"'


_SHORT = {"\\": "\\\\", '"': '\\"', "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def _escaped(text: str, keep: str = "") -> str:
    return "".join(
        c if c in keep or (c.isprintable() and c not in _SHORT) else _SHORT.get(c) or _code(c)
        for c in text
    )


def _code(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
