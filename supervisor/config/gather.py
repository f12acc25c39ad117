"""Put the tables of all files together: one of each kind, and the components in order."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from supervisor.config import keys, later
from supervisor.config.fields import KeySet
from supervisor.config.pies import merge
from supervisor.config.sources import Document
from supervisor.config.tables import Node, as_table, did_you_mean
from supervisor.model.component import Tag
from supervisor.model.errors import Problem


class Tables(Struct, frozen=True, kw_only=True):
    """What all files say together. Only known keys are left."""

    daemon: dict[str, Node]
    control: dict[str, Node]
    syslog: dict[str, Node]
    mail: dict[str, Node]
    acls: dict[str, Node]
    providers: dict[str, Node]
    """The tables of identity providers by their names, in reading order."""
    on_exit: tuple[Node, ...]
    """The lists `[[on-exit]]` (or single tables) of all files."""
    defaults: dict[str, Node]
    components: tuple[tuple[Tag, Node], ...]
    """In reading order. A tag may occur twice: that is for `check` to tell."""


DEFAULTS_KEYS = KeySet(
    tuple(key for key in keys.COMPONENT_KEYS.keys if not key.own),
    keys.COMPONENT_KEYS.later,
    keys.COMPONENT_KEYS.renamed,
)


_RENAMED = {
    "defacl": "[acl]",
    "limits": "'limits' in [daemon]",
    "return-code": "[[on-exit]]",
}
"""Tables that pies or other sections have, and what they are called here."""


def gather(documents: Sequence[Document], problems: list[Problem]) -> Tables:
    """Return the tables of *documents*; unknown keys and keys set twice are problems."""
    documents = merge.documents(documents)
    for document in documents:
        _refuse_unknown_tables(document.root, problems)
    return Tables(
        daemon=_merged("daemon", documents, keys.DAEMON_KEYS, problems),
        control=_merged("control", documents, keys.CONTROL_KEYS, problems),
        syslog=_merged("syslog", documents, keys.SYSLOG_KEYS, problems),
        mail=_merged("mail", documents, keys.MAIL_KEYS, problems),
        acls=_named("acl", documents, problems),
        providers=_named("identity-provider", documents, problems),
        on_exit=tuple(
            node for document in documents if (node := document.root.table.get("on-exit"))
        ),
        defaults=_merged("defaults", documents, DEFAULTS_KEYS, problems),
        components=tuple(
            (tag, node)
            for document in documents
            if (table := document.root.table.get("component")) is not None
            for tag, node in as_table(table, problems).items()
            if _is_component(node, problems)
        ),
    )


def _refuse_unknown_tables(root: Node, problems: list[Problem]) -> None:
    for name, node in root.table.items():
        if name in later.TABLES:
            problems.append(node.problem("is not supported yet"))
        elif name not in keys.TABLES:
            what = "table" if isinstance(node.value, dict) else "key"
            if name in _RENAMED:
                problems.append(node.problem(f"unknown {what}; it is {_RENAMED[name]} here"))
                continue
            hint = did_you_mean(name, keys.TABLES) or _missing_header(name)
            problems.append(node.problem(f"unknown {what}{hint}"))


def _named(name: str, documents: Sequence[Document], problems: list[Problem]) -> dict[str, Node]:
    """Return the members of a table whose keys are names that people choose."""
    named: dict[str, Node] = {}
    for document in documents:
        table = document.root.table.get(name)
        for key, node in (as_table(table, problems) if table else {}).items():
            first = named.setdefault(key, node)
            if first is not node:
                problems.append(node.problem(f"is already defined at {first.where}"))
    return named


def _missing_header(name: str) -> str:
    """Say where a key belongs that stands outside of every table."""
    for table, known in (
        ("component.TAG", keys.COMPONENT_KEYS),
        ("daemon", keys.DAEMON_KEYS),
        ("control", keys.CONTROL_KEYS),
    ):
        if name in known.by_name:
            return f"; it belongs under [{table}]"
    return ""


def _is_component(node: Node, problems: list[Problem]) -> bool:
    if not isinstance(node.value, dict):
        as_table(node, problems)
        return False
    problems += keys.COMPONENT_KEYS.refuse_unknown(node.value)
    return True


def _merged(
    name: str, documents: Sequence[Document], known: KeySet, problems: list[Problem]
) -> dict[str, Node]:
    merged: dict[str, Node] = {}
    for document in documents:
        table = document.root.table.get(name)
        if table is None:
            continue
        members = as_table(table, problems)
        for key, node in members.items():
            if node.key == "daemon.include":
                continue  # Every file may include others; `sources` has done it.
            first = merged.get(key)
            if first is not None:
                problems.append(node.problem(f"is already set at {first.where}"))
            elif key in known.by_name:
                merged[key] = node
            elif name == "defaults" and key in keys.COMPONENT_KEYS.by_name:
                what = "belongs to one component: it cannot be a default"
                problems.append(node.problem(what))
            else:
                problems += known.refuse_unknown({key: node})
    return merged
