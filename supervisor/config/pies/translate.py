"""From the statements of a file to the tables that TOML would have. Source: pies.md 1.6 to 1.9."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from supervisor.config.pies import blocks, merge, shapes, words
from supervisor.config.pies.component import component
from supervisor.config.pies.parser import Statement
from supervisor.config.tables import Node
from supervisor.model.errors import Problem

ReadInetd = Callable[[Statement], Mapping[str, Node]]
"""Returns the components of the file that an `include-inetd` names."""

_NO_EFFECT = "has no effect here, and is left out"

_SIMPLE: Final[Mapping[str, tuple[str, str, shapes.Shape]]] = {
    "umask": ("daemon", "umask", shapes.text),
    "limits": ("daemon", "limits", shapes.words),
    "shutdown-timeout": ("daemon", "shutdown-timeout", shapes.number),
    "state-directory": ("daemon", "state-directory", shapes.text),
    "pidfile": ("daemon", "pidfile", shapes.text),
    "qotd-file": ("daemon", "qotd-file", shapes.text),
    "user": ("daemon", "user", shapes.text),
    "group": ("daemon", "group", shapes.texts),
    "allgroups": ("daemon", "allgroups", shapes.boolean),
    "initdefault": ("daemon", "runlevel", shapes.text),
    "mailer-program": ("mail", "program", shapes.text),
    "mailer-command-line": ("mail", "command-line", shapes.text),
}
"""For a global statement with a value: its table, its key there, and its shape."""

_SYSLOG: Final[Mapping[str, shapes.Shape]] = {
    "dev": shapes.text,
    "facility": shapes.text,
    "tag": shapes.text,
}
_PROVIDER: Final[Mapping[str, shapes.Shape]] = dict.fromkeys(words.PROVIDER, shapes.text)
_CONTROL: Final[Mapping[str, shapes.Shape]] = {
    "socket": shapes.text_or_texts,
    "acl": blocks.acl,
    "admin-acl": blocks.acl,
    "user-acl": blocks.acl,
    "realm": shapes.text,
}


def translate(
    statements: Sequence[Statement],
    file: str,
    problems: list[Problem],
    read_inetd: ReadInetd,
    broken: set[str],
) -> Node:
    """Return the tables of a file; what is wrong with a statement is a problem.

    Args:
        broken: gets the tags of components that are there, but could not be read.

    Raises:
        Stopped: there are too many problems.
    """
    return _Translator(file, problems, read_inetd, broken).root(statements)


class _Translator:
    def __init__(
        self, file: str, problems: list[Problem], read_inetd: ReadInetd, broken: set[str]
    ) -> None:
        self.file, self.problems = file, problems
        self.read_inetd, self.broken = read_inetd, broken
        self.tables: dict[str, merge.Members] = {}
        self.places: dict[str, Node] = {}
        self.actions: list[Node] = []

    def root(self, statements: Sequence[Statement]) -> Node:
        for statement in blocks.measured(list(statements), self.problems):
            self._global(statement)
        members: dict[str, Node] = {
            name: Node(self.file, self.places[name].line, name, table.table())
            for name, table in self.tables.items()
        }
        if self.actions:
            first = self.actions[0]
            members["on-exit"] = Node(first.file, first.line, "on-exit", tuple(self.actions))
        return Node(self.file, 1, "", members)

    def _put(self, table: str, name: str, node: Node) -> None:
        self.places.setdefault(table, node)
        if table not in self.tables:
            self.tables[table] = merge.Members(merge.component if table == "component" else None)
        self.tables[table].put(name, node)

    def _global(self, statement: Statement) -> None:
        keyword = statement.keyword
        if keyword in _SIMPLE:
            table, key, shape = _SIMPLE[keyword]
            if (node := shape(statement, self.problems)) is not None:
                self._put(table, key, node)
            return
        match keyword:
            case "component":
                self._component(statement)
            case "env":
                node = blocks.environment(statement, self.problems, legacy=False)
                if node is not None:
                    self._put("daemon", "env", node)
            case "control":
                self._control(statement)
            case "syslog":
                self._block(
                    "syslog", statement, _SYSLOG, "syslog { dev ADDRESS; facility F; tag T; }"
                )
            case "defacl":
                self._named_acl(statement)
            case "identity-provider":
                self._provider(statement)
            case "return-code":
                if (action := blocks.exit_action(statement, self.problems)) is not None:
                    self.actions.append(action)
            case "include-inetd":
                for tag, node in self.read_inetd(statement).items():
                    self._put("component", tag, node)
            case _:
                self._without_meaning(statement)

    def _without_meaning(self, statement: Statement) -> None:
        keyword = statement.keyword
        if keyword in words.WITHOUT_EFFECT:
            self.problems.append(shapes.warning(statement, _NO_EFFECT))
        else:
            where = ": it belongs in a block 'component TAG { … }'"
            hint = where if keyword in words.COMPONENT else ""
            self.problems.append(blocks.unknown(statement, words.GLOBAL, hint))

    # --- blocks

    def _label(self, statement: Statement, form: str) -> str | None:
        """Return the name that stands before a block."""
        values = statement.values
        if values and values[0].items is None and values[0].text:
            self.broken.add(values[0].text)
        if blocks.block(statement, self.problems, form, label=True) is None:
            return None
        if len(values) == 1 and values[0].items is None and values[0].text:
            self.broken.discard(values[0].text)
            return values[0].text
        what = f"needs a name before its block: {form}"
        if len(values) > 1:
            what = f"takes one name before its block: {form}"
        self.problems.append(shapes.problem(statement, what))
        return None

    def _component(self, statement: Statement) -> None:
        tag = self._label(statement, "component TAG { … }")
        if tag is not None:
            self._put("component", tag, component(statement, self.problems))

    def _block(
        self, table: str, statement: Statement, known: Mapping[str, shapes.Shape], form: str
    ) -> None:
        body = blocks.block(statement, self.problems, form)
        for name, node in blocks.table(body or [], known, self.problems).items():
            self._put(table, name, node)

    def _control(self, statement: Statement) -> None:
        form = "control { socket URL; acl NAME; }"
        for each in statement.body or ():
            if each.keyword == "idle-timeout":
                self.problems.append(shapes.warning(each, _NO_EFFECT))
        if statement.body is not None:
            statement.body = [each for each in statement.body if each.keyword != "idle-timeout"]
        self._block("control", statement, _CONTROL, form)

    def _named_acl(self, statement: Statement) -> None:
        name = self._label(statement, "defacl NAME { allow|deny …; }")
        if name is not None:
            self._put("acl", name, blocks.rules(statement, statement.body or [], self.problems))

    def _provider(self, statement: Statement) -> None:
        name = self._label(statement, "identity-provider NAME { type system; }")
        if name is None:
            return
        members = blocks.table(statement.body or [], _PROVIDER, self.problems)
        place = Node(statement.file, statement.line, statement.path, members)
        self._put("identity-provider", name, place)
