"""The environment of children: a table of variables, or pies' list of steps."""

from __future__ import annotations

from typing import Literal, cast

from msgspec import Struct

from supervisor.config.kinds import Schema, read_text
from supervisor.config.tables import Node, did_you_mean, kind_of, quoted
from supervisor.model.component import Environment, EnvStep
from supervisor.model.errors import Problem
from supervisor.model.expansion import ExpansionError, check

_ASSIGNS = ("set", "append", "prepend")
_STEPS = ("set", "eval", "unset", "append", "prepend", "keep", "clear")
_NO_NAME = "is no name for a variable: it must not be empty, and have no '='"


class EnvironmentValue(Struct, frozen=True):
    """Variables to set and to remove, in a table, or the steps of pies' `env` block, in a list.

    Only the list gives an `Environment` that clears, keeps, or has steps.
    """

    words: str = "table of variables, or a list of steps, see below"

    def schema(self) -> Schema:
        text: Schema = {"type": "string"}
        only: Schema = {"type": "object", "additionalProperties": False}
        unset = {**only, "properties": {"unset": {"const": True}}, "required": ["unset"]}
        path: Schema = {"type": "string", "pattern": "^/"}
        file = {**only, "properties": {"file": path}, "required": ["file"]}
        step: Schema = {name: {"type": "string", "minLength": 1} for name in _STEPS[:-1]}
        step["clear"] = {"const": True}
        table: Schema = {
            "type": "object",
            "propertyNames": {"pattern": "^[^=]+$"},
            "additionalProperties": {"anyOf": [text, unset, file]},
        }
        steps: Schema = {**only, "properties": step, "minProperties": 1, "maxProperties": 1}
        return {"anyOf": [table, {"type": "array", "items": steps}]}

    def read(self, node: Node, problems: list[Problem]) -> Environment | None:
        before = len(problems)
        if isinstance(node.value, dict):
            environment = _table(node.value, problems)
        elif isinstance(node.value, tuple):
            environment = _steps(node.value, problems)
        else:
            what = f"must be a table or a list of steps, not {kind_of(node.value)}"
            problems.append(node.problem(what))
            return None
        return environment if len(problems) == before else None


def _table(members: dict[str, Node], problems: list[Problem]) -> Environment:
    values: dict[str, str] = {}
    files: dict[str, str] = {}
    unset: list[str] = []
    for name, member in members.items():
        if not name or "=" in name or "\0" in name:
            problems.append(member.problem(_NO_NAME))
        if not isinstance(member.value, dict):
            values[name] = read_text(member, problems, empty=True) or ""
        elif "file" in member.value:
            files[name] = _file(member.value, problems)
        else:
            _check_unset(member, member.value, problems)
            unset.append(name)
    return Environment(set=values, files=files, unset=tuple(unset))


def _file(table: dict[str, Node], problems: list[Problem]) -> str:
    for name, member in table.items():
        if name != "file":
            problems.append(member.problem("stands beside 'file', which stands alone"))
    path = read_text(table["file"], problems) or "/"
    if not path.startswith("/"):
        problems.append(table["file"].problem(f"must be a full path, not {quoted(path)}"))
    return path


def _check_unset(node: Node, table: dict[str, Node], problems: list[Problem]) -> None:
    for name, member in table.items():
        if name != "unset":
            hint = did_you_mean(name, ["unset", "file"])
            problems.append(member.problem(f"unknown key{hint}"))
        elif member.value is not True:
            problems.append(member.problem("must be true; to keep a variable, leave it out"))
    if not table:
        problems.append(node.problem('must be a string, {file = "PATH"} or {unset = true}'))


def _steps(items: tuple[Node, ...], problems: list[Problem]) -> Environment:
    clear = False
    keep: list[str] = []
    steps: list[EnvStep] = []
    for item in items:
        said = _step(item, problems)
        match said:
            case None:
                pass
            case ("clear", _):
                clear = True
            case ("keep", text):
                keep.append(text)
            case (word, text):
                kind = cast('Literal["set", "eval", "unset", "append", "prepend"]', word)
                steps.append(EnvStep(kind, text))
    return Environment(clear=clear or bool(keep), keep=tuple(keep), steps=tuple(steps))


def _step(item: Node, problems: list[Problem]) -> tuple[str, str] | None:
    """Return the one word of a step and its text, or None after a problem."""
    if not isinstance(item.value, dict) or len(item.value) != 1:
        example = '{set = "NAME=VALUE"}'
        what = f"must be a table with one key, as {example}, not {kind_of(item.value)}"
        if isinstance(item.value, dict):
            what = f"must be a table with one key, as {example}: it has {len(item.value)}"
        problems.append(item.problem(what))
        return None
    ((word, node),) = item.value.items()
    if word not in _STEPS:
        problems.append(node.problem(f"unknown step{did_you_mean(word, _STEPS)}"))
        return None
    if word == "clear":
        if node.value is True:
            return word, ""
        problems.append(node.problem("must be true; to clear nothing, leave it out"))
        return None
    text = read_text(node, problems)
    if text is None:
        return None
    return (word, text) if _right(word, text, node, problems) else None


def _right(word: str, text: str, node: Node, problems: list[Problem]) -> bool:
    name, equals, _ = text.partition("=")
    if word in _ASSIGNS and not (name and equals):
        problems.append(node.problem(f"must be NAME=VALUE, not {quoted(text)}"))
        return False
    if word in ("unset", "keep") and not name:
        problems.append(node.problem(_NO_NAME))
        return False
    if word in ("set", "eval"):
        try:
            check(text)
        except ExpansionError as error:
            problems.append(node.problem(f"cannot be expanded: {error}"))
            return False
    return True
