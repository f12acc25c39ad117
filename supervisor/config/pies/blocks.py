"""The blocks that occur in several places: `env`, access control lists, exit actions.

Source: pies.md sections 1.4, 1.8 and 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from supervisor.config.pies import shapes, words
from supervisor.config.pies.faults import give_up_beyond_measure
from supervisor.config.pies.merge import Members
from supervisor.config.pies.parser import Statement, Value
from supervisor.config.splitting import split_words
from supervisor.config.tables import Node, did_you_mean, dotted, quoted
from supervisor.model.errors import Problem


def measured(statements: list[Statement], problems: list[Problem]) -> Iterator[Statement]:
    """Yield the statements of a block, while there are not too many problems."""
    for statement in statements:
        give_up_beyond_measure(problems, statement.file, statement.line)
        yield statement


def block(
    statement: Statement, problems: list[Problem], form: str, *, label: bool = False
) -> list[Statement] | None:
    """Return the statements of a block that has no label, unless one is allowed."""
    if statement.body is None:
        problems.append(shapes.problem(statement, f"needs a block: {form}"))
        return None
    if statement.values and not label:
        value = statement.values[0]
        what = f"takes no name before its block: {form}"
        problems.append(Problem(value.file, value.line, statement.path, what))
    return statement.body


def unknown(statement: Statement, known: frozenset[str], hint: str = "") -> Problem:
    """Return the problem with a keyword that is not one of *known*; *hint* says where it is."""
    said = hint or did_you_mean(statement.keyword, known)
    return shapes.problem(statement, f"unknown statement{said}")


def table(
    statements: list[Statement], known: Mapping[str, shapes.Shape], problems: list[Problem]
) -> dict[str, Node]:
    """Return the members of a block in which each keyword has one shape; the later one counts."""
    members = Members()
    for statement in measured(statements, problems):
        shape = known.get(statement.keyword)
        if shape is None:
            problems.append(unknown(statement, frozenset(known)))
        elif (made := shape(statement, problems)) is not None:
            members.put(statement.keyword, made)
    return members.table()


# --- env

_ENV_FORM = 'env { clear; keep PATTERN; set "NAME=VALUE"; eval "TEXT"; unset PATTERN; }'
_LONGEST_LEGACY = 100_000
_LEGACY = re.compile(r"(?P<name>[^=+]+)(?P<sign>\+=|=\+|=)(?P<value>.*)", re.DOTALL)


def environment(
    statement: Statement, problems: list[Problem], *, legacy: bool = True
) -> Node | None:
    """Return the steps of an `env` block, or those that the string before 1.4 stands for."""
    if statement.body is None and statement.values and legacy:
        return _legacy(statement, problems)
    body = block(statement, problems, _ENV_FORM)
    if body is None:
        return None
    steps: list[Node] = []
    for each in measured(body, problems):
        steps += _env_step(each, problems)
    return Node(statement.file, statement.line, statement.path, tuple(steps))


def _env_step(statement: Statement, problems: list[Problem]) -> list[Node]:
    keyword = statement.keyword
    if keyword not in words.ENV:
        problems.append(unknown(statement, words.ENV))
        return []
    if keyword == "clear":
        if statement.values or statement.body is not None:
            problems.append(shapes.problem(statement, "takes no value"))
            return []
        return [_step(statement, keyword, Node(statement.file, statement.line, "", True))]
    many = keyword in ("keep", "unset")
    made = (shapes.texts if many else shapes.text)(statement, problems)
    if made is None:
        return []
    items = made.value if isinstance(made.value, tuple) else (made,)
    return [_step(statement, keyword, item) for item in items]


def _step(statement: Statement, kind: str, value: Node) -> Node:
    member = Node(value.file, value.line, statement.path, value.value)
    return Node(value.file, value.line, statement.path, {kind: member})


def _legacy(statement: Statement, problems: list[Problem]) -> Node | None:
    """Return the steps of the deprecated form of one line.

    Without `-` as its first word nothing is cleared, and so a name to be kept says nothing.
    """
    given = shapes.words(statement, problems)
    if given is None:
        return None
    problems.append(given.warning("the form of one string is deprecated: write a block, env { … }"))
    try:
        if len(str(given.value)) > _LONGEST_LEGACY:
            problems.append(given.problem("is too long"))
            return None
        found = split_words(str(given.value))
    except ValueError:
        problems.append(given.problem("cannot be split into words: a quotation mark is not closed"))
        return None
    cleared = found[:1] == ["-"]
    members: list[tuple[str, str | bool]] = [("clear", True)] if cleared else []
    for word in found[cleared:]:
        if word.startswith("-") and len(word) > 1:
            members.append(("unset", word[1:]))
        elif match := _LEGACY.fullmatch(word):
            kind = {"=": "set", "+=": "append", "=+": "prepend"}[match["sign"]]
            members.append((kind, f"{match['name']}={match['value']}"))
        elif re.fullmatch(r"[^=+-]+", word):
            if cleared:
                members.append(("keep", word))
        else:
            problems.append(given.problem(f"means nothing: {quoted(word)}"))
            return None
    nodes = tuple(
        _step(statement, kind, Node(given.file, given.line, "", value)) for kind, value in members
    )
    return Node(given.file, given.line, statement.path, nodes)


# --- access control lists

_ACL_FORM = "acl { allow|deny [all|authenticated|user LIST|group LIST] [acl NAME] [from LIST]; }"


def acl(statement: Statement, problems: list[Problem]) -> Node | None:
    """Return the name of a list, or the rules of a block as strings."""
    if statement.body is None:
        return shapes.text(statement, problems)
    if statement.values:
        what = (
            "takes a name or a block, not both: a list with a name is a global 'defacl NAME { … }'"
        )
        problems.append(shapes.problem(statement, what))
    return rules(statement, statement.body, problems)


def rules(statement: Statement, body: list[Statement], problems: list[Problem]) -> Node:
    """Return the rules of a block as strings."""
    said = (_rule(each, problems) for each in measured(body, problems))
    found = [rule for rule in said if rule is not None]
    return Node(statement.file, statement.line, statement.path, tuple(found))


def _rule(statement: Statement, problems: list[Problem]) -> Node | None:
    if statement.keyword not in words.ACL:
        near = did_you_mean(statement.keyword, words.ACL)
        problems.append(unknown(statement, words.ACL, near or f"; a rule is {_ACL_FORM[6:-2]}"))
        return None
    if statement.body is not None:
        problems.append(shapes.problem(statement, "takes words, not a block"))
        return None
    said = [statement.keyword]
    for value in statement.values:
        word = _rule_word(value)
        if word is None:
            what = "a name or an address in a rule is one word without commas"
            problems.append(Problem(value.file, value.line, statement.path, what))
            return None
        said.append(word)
    return Node(statement.file, statement.line, statement.path, " ".join(said))


def _rule_word(value: Value) -> str | None:
    parts = [value.text] if value.items is None else [item.text for item in value.items]
    nested = value.items is not None and any(item.items is not None for item in value.items)
    if nested or not parts or not all(re.fullmatch(r"[^\s,]+", part) for part in parts):
        return None
    return ",".join(parts)


# --- exit actions

_CODES_FORM = "return-code CODES { exec COMMAND; action restart; notify ADDRESS; message TEXT; }"
_ACTION: Mapping[str, shapes.Shape] = {
    "exec": shapes.text,
    "action": shapes.text,
    "notify": shapes.text_or_texts,
    "message": shapes.message,
}


def exit_action(statement: Statement, problems: list[Problem]) -> Node | None:
    """Return a `return-code` block as a table of `on-exit`."""
    body = block(statement, problems, _CODES_FORM, label=True)
    if body is None:
        return None
    codes = shapes.flat(statement.values)
    if not codes or any(code.items is not None for code in codes):
        what = f"needs the codes that it is for: {_CODES_FORM}"
        problems.append(shapes.problem(statement, what))
    members = table(body, _ACTION, problems)
    nodes = tuple(_code(code, dotted(statement.path, "codes")) for code in codes)
    members["codes"] = Node(statement.file, statement.line, statement.path, nodes)
    return Node(statement.file, statement.line, statement.path, members) if nodes else None


def _code(value: Value, path: str) -> Node:
    digits = value.text.isascii() and value.text.isdigit() and len(value.text) < 10
    return Node(value.file, value.line, path, int(value.text) if digits else value.text)
