"""Turn a configuration into TOML or into pies' syntax: ours, pies', and those of other programs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Final

from supervisor.config.convert import comments, procfile, supervisord, systemd_unit
from supervisor.config.convert.comments import Comment
from supervisor.config.convert.pies_out import print_pies
from supervisor.config.convert.toml_out import print_toml
from supervisor.config.pies.options import Reading
from supervisor.config.sources import READERS
from supervisor.config.tables import Node
from supervisor.model.errors import Problem

Foreign = Callable[[str, str, list[Problem]], Node | None]

FOREIGN: Final[Mapping[str, Foreign]] = {
    "supervisord": supervisord.read,
    "procfile": procfile.read,
    "systemd": systemd_unit.read,
}
"""The syntaxes that piesd itself does not read."""

SYNTAXES: Final = tuple(sorted({*READERS, *FOREIGN}))

_COMMENTS: Mapping[str, Callable[[str], list[Comment]]] = {
    "pies": comments.of_pies,
    "inetd": comments.of_lines,
    "inittab": comments.of_lines,
    "procfile": comments.of_lines,
    "supervisord": comments.of_ini,
    "systemd": comments.of_ini,
}
_PASSED_OVER = re.compile(r"\s+|[#;][^\n]*|//[^\n]*|/\*.*?\*/", re.DOTALL)


def syntax_of(file: str, text: str) -> str | None:
    """Return the syntax that the name of a file (and, for `.conf`, its beginning) stands for."""
    name = os.path.basename(file).lower()
    if name in ("inetd.conf", "inittab"):
        return name.removesuffix(".conf")
    if name.startswith("procfile") or name.endswith(".procfile"):
        return "procfile"
    match os.path.splitext(name)[1]:
        case ".toml":
            return "toml"
        case ".service":
            return "systemd"
        case ".ini":
            return "supervisord"
        case ".conf":
            # Both of them use this suffix; a section in brackets means nothing to pies.
            return "supervisord" if _begins_with_section(text) else "pies"
        case _:
            return None


def _begins_with_section(text: str) -> bool:
    at = 0
    while match := _PASSED_OVER.match(text, at):
        at = match.end()
    return text.startswith("[", at)


def convert(
    text: str, file: str, syntax: str, reading: Reading | None = None
) -> tuple[str, list[Problem]]:
    """Return *text*, which stands in *file*, as TOML, and what is to be said about it.

    What could not be carried over is a warning, and is listed in a comment at the top. After a
    problem that is no warning, the TOML is empty.

    Args:
        reading: how files in pies' syntax are preprocessed, and by whom.

    Raises:
        KeyError: *syntax* is none of `SYNTAXES`.
    """
    root, problems = _read(text, file, syntax, reading)
    if root is None:
        return "", problems
    found = _COMMENTS[syntax](text) if syntax in _COMMENTS else []
    printed = print_toml(root, top=_listed(problems), comments=found, file=file)
    return printed, problems


def convert_to_pies(
    text: str, file: str, syntax: str, reading: Reading | None = None
) -> tuple[str, list[Problem]]:
    """Return *text* in pies' syntax, and what is to be said about it, as `convert` does."""
    root, problems = _read(text, file, syntax, reading)
    if root is None:
        return "", problems
    printed = print_pies(root, problems)
    problems = sorted(set(problems))
    return print_pies(root, [], top=_listed(problems)) if problems else printed, problems


def _read(
    text: str, file: str, syntax: str, reading: Reading | None
) -> tuple[Node | None, list[Problem]]:
    problems: list[Problem] = []
    if syntax in FOREIGN:
        root = FOREIGN[syntax](text, file, problems)
    else:
        if syntax == "inittab":
            reading = Reading()
        root = READERS[syntax](text, file, problems, reading)
        for name, _ in reading.following if reading is not None else ():
            problems.append(name.warning("is not carried over: convert that file, too"))
    problems = sorted(set(problems))
    refused = any(not problem.warning for problem in problems)
    return None if refused else root, problems


def _listed(problems: list[Problem]) -> list[str]:
    if not problems:
        return []
    lines = [str(problem).replace(": warning:", ":", 1) for problem in problems]
    return ["Look at these: they are different here, or could not be carried over.", "", *lines]
