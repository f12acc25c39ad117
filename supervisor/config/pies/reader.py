"""Read a file of pies' syntax, with everything that it includes."""

from __future__ import annotations

import os
from collections.abc import Mapping

from supervisor.config.files import contents, reason, shown
from supervisor.config.pies import shapes
from supervisor.config.pies.faults import Faults, Stopped
from supervisor.config.pies.include import Feed
from supervisor.config.pies.options import Reading
from supervisor.config.pies.parser import Statement, parse
from supervisor.config.pies.translate import translate
from supervisor.config.tables import Node, as_table
from supervisor.model.errors import Problem


def read(
    text: str, file: str, problems: list[Problem], reading: Reading | None = None
) -> Node | None:
    """Return the tables of *text*, or None where it is not read to its end.

    What is wrong goes to *problems*; the tables are then what could be understood.
    """
    reading = Reading() if reading is None else reading
    faults = Faults(problems)
    feed = Feed(faults, reading)

    def read_inetd(statement: Statement) -> Mapping[str, Node]:
        return _inetd(statement, file, problems)

    try:
        statements = parse(feed.tokens(text, file), file, faults)
        return translate(statements, file, problems, read_inetd, reading.broken)
    except Stopped:
        reading.broken.update(feed.tags)
        return None


def _inetd(statement: Statement, file: str, problems: list[Problem]) -> Mapping[str, Node]:
    """Return the components of the file (or of the files in the directory) that is named."""
    node = shapes.text(statement, problems)
    name = str(node.value) if node else ""
    if node is None or not name or "\0" in name:
        if node is not None:
            problems.append(node.problem("must be the path of a file"))
        return {}
    if not os.path.exists(name):
        name = os.path.join(os.path.dirname(file), name)
    try:
        names = sorted(os.listdir(name)) if os.path.isdir(name) else None
        paths = [name] if names is None else [os.path.join(name, each) for each in names]
        # Beside its files, such a directory holds what packages and editors leave.
        if names is not None:
            paths = [path for path in paths if _is_entry(path)]
        found: dict[str, Node] = {}
        for path in paths:
            found |= _inetd_file(path, problems)
    except (OSError, ValueError) as error:
        problems.append(node.problem(f"cannot read {shown(name)}: {reason(error)}"))
        return {}
    return found


def _is_entry(path: str) -> bool:
    return os.path.isfile(path) and not os.path.basename(path).startswith(".")


def _inetd_file(path: str, problems: list[Problem]) -> Mapping[str, Node]:
    from supervisor.config import inetd  # noqa: PLC0415  # Few files ask for it.

    text = contents(path)[0].decode(errors="replace")
    root = inetd.read(text, shown(path), problems)
    table = root.table.get("component") if root is not None else None
    return as_table(table, problems) if table is not None else {}
