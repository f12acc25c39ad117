"""What the values of a statement may be: each shape makes a node of them, or says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from supervisor.config.pies.parser import Statement, Value
from supervisor.config.tables import Node, did_you_mean, quoted
from supervisor.model.errors import Problem

Shape = Callable[[Statement, list[Problem]], Node | None]

TRUE: Final = ("yes", "true", "t", "1")
FALSE: Final = ("no", "false", "nil", "0")


def problem(statement: Statement, message: str) -> Problem:
    """Return a problem with a statement."""
    return Problem(statement.file, statement.line, statement.path, message)


def warning(statement: Statement, message: str) -> Problem:
    """Return a warning about a statement."""
    return Problem(statement.file, statement.line, statement.path, message, warning=True)


def _one(statement: Statement, problems: list[Problem]) -> Value | None:
    """Return the only value of a simple statement; a list of one is that one."""
    if not _simple(statement, problems):
        return None
    values = statement.values
    first = values[0]
    if len(values) == 1 and first.items is not None and len(first.items) == 1:
        first = first.items[0]
    if len(values) > 1:
        rest = quoted(values[1].text[:100]) if values[1].items is None else "a list"
        what = f"takes one value: what does {rest} mean, is a ';' or a quotation mark missing?"
        problems.append(Problem(values[1].file, values[1].line, statement.path, what))
    elif first.items is not None:
        problems.append(problem(statement, "takes one value, not a list"))
    else:
        return first
    return None


def _simple(statement: Statement, problems: list[Problem]) -> bool:
    """Return whether a statement has values and no block."""
    if statement.body is not None:
        problems.append(problem(statement, "takes a value, not a block"))
    elif not statement.values:
        problems.append(problem(statement, "needs a value"))
    else:
        return True
    return False


def node(value: Value, path: str) -> Node:
    """Return the node of a scalar; the last line break of a here-document is not part of it."""
    text = value.text.removesuffix("\n") if value.here else value.text
    return Node(value.file, value.line, path, text)


def text(statement: Statement, problems: list[Problem]) -> Node | None:
    """Take one string."""
    value = _one(statement, problems)
    return node(value, statement.path) if value else None


def message(statement: Statement, problems: list[Problem]) -> Node | None:
    """Take one string as it is, with the last line break of a here-document."""
    value = _one(statement, problems)
    return Node(value.file, value.line, statement.path, value.text) if value else None


def number(statement: Statement, problems: list[Problem]) -> Node | None:
    """Take one decimal number."""
    value = _one(statement, problems)
    if value is None:
        return None
    if not (value.text.isascii() and value.text.isdigit()):
        what = f"must be a number, not {quoted(value.text[:100])}"
    elif len(value.text) > 18:
        what = "must be a number of fewer digits"
    else:
        return Node(value.file, value.line, statement.path, int(value.text))
    problems.append(Problem(value.file, value.line, statement.path, what))
    return None


def boolean(statement: Statement, problems: list[Problem]) -> Node | None:
    """Take one of pies' words for true and false."""
    value = _one(statement, problems)
    if value is None:
        return None
    word = value.text.lower()
    if word in TRUE or word in FALSE:
        return Node(value.file, value.line, statement.path, word in TRUE)
    what = f"must be yes or no, not {quoted(value.text[:100])}"
    problems.append(Problem(value.file, value.line, statement.path, what))
    return None


def words(statement: Statement, problems: list[Problem]) -> Node | None:
    """Take several words for one string with blanks, as `limits T10 N64`."""
    if not _simple(statement, problems):
        return None
    if any(value.items is not None for value in statement.values):
        problems.append(problem(statement, "takes a string, not a list"))
        return None
    first = statement.values[0]
    together = " ".join(str(node(value, "").value) for value in statement.values)
    return Node(first.file, first.line, statement.path, together)


def texts(statement: Statement, problems: list[Problem]) -> Node | None:
    """Take a list of strings, or one."""
    if not _simple(statement, problems):
        return None
    items: list[Node] = []
    for value in flat(statement.values):
        if value.items is not None:
            what = "takes a list of words, not of lists"
            problems.append(Problem(value.file, value.line, statement.path, what))
            return None
        items.append(node(value, statement.path))
    return Node(statement.file, statement.line, statement.path, tuple(items))


def text_or_texts(statement: Statement, problems: list[Problem]) -> Node | None:
    """Take one string, or a list."""
    alone = len(statement.values) == 1 and statement.values[0].items is None
    return text(statement, problems) if alone else texts(statement, problems)


def flat(values: Iterable[Value]) -> list[Value]:
    """Return values with lists replaced by what they hold."""
    return [each for value in values for each in ((value,) if value.items is None else value.items)]


def output(statement: Statement, problems: list[Problem]) -> Node | None:
    """Take `file PATH` or `syslog [FACILITY.]PRIORITY`. Source: pies.md section 1.5."""
    if not _simple(statement, problems):
        return None
    form = "'file PATH' or 'syslog [FACILITY.]PRIORITY'"
    kind, *rest = statement.values
    if kind.items is not None or kind.text not in ("file", "syslog"):
        what = quoted(kind.text[:100]) if kind.items is None else "a list"
        hint = did_you_mean(kind.text, ("file", "syslog"))
        found = f"must be {form}, not {what}{hint}"
    elif len(rest) != 1 or rest[0].items is not None:
        found = f"must be {form}: {quoted(kind.text[:100])} takes one value"
    elif kind.text == "file" and not rest[0].text.startswith("/"):
        found = f"must be a full path, not {quoted(rest[0].text[:100])}"
    else:
        target = node(rest[0], f"{statement.path}.{kind.text}")
        return Node(statement.file, statement.line, statement.path, {kind.text: target})
    problems.append(Problem(kind.file, kind.line, statement.path, found))
    return None
