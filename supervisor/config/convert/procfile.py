"""Make components of a Procfile: each line `NAME: COMMAND` becomes one that is kept running."""

from __future__ import annotations

import os
import re

from supervisor.config.convert.carry import (
    ComponentDraft,
    Leftovers,
    configuration,
    free_tag,
    literal,
    needs_shell,
)
from supervisor.config.tables import Node, quoted
from supervisor.model.errors import Problem

_LINE = re.compile(r"(?P<name>[^\s:#][^\s:]*)\s*:\s*(?P<command>.*)")
_PORT = re.compile(r"\$(?:PORT\b|\{PORT[}:-])")
_FIRST_PORT = 5000
_STEP = 100
"""Foreman gives the first process the port 5000, the second 5100, and so on."""


def read(text: str, file: str, problems: list[Problem]) -> Node | None:
    """Return the components of *text*; what is different now goes to *problems* as warnings."""
    left = Leftovers(file, problems)
    drafts: dict[str, ComponentDraft] = {}
    first: dict[str, int] = {}
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            left.fault(number, "", f"must be 'NAME: COMMAND', not {quoted(line)}")
        elif not match["command"]:
            left.fault(number, match["name"], "the command is missing")
        elif "\0" in line:
            left.fault(number, match["name"], "must not contain a null character")
        elif match["name"] in first:
            what = f"is already defined at {file}:{first[match['name']]}"
            left.fault(number, match["name"], what)
        else:
            first[match["name"]] = number
            tag = free_tag(match["name"], drafts)
            port = _FIRST_PORT + _STEP * len(drafts)
            drafts[tag] = _component(ComponentDraft(file, number, tag), match["command"], port)
            _remarks(left, drafts[tag], match["name"])
    return configuration(file, drafts.values())


def _component(draft: ComponentDraft, command: str, port: int) -> ComponentDraft:
    if draft.tag == "release":
        draft.set("mode", "startup")
        draft.set("required", True)
    draft.set("command", literal(command))
    if needs_shell(command):
        draft.set("shell", True)
    # Commands of a Procfile are written for the directory that it lies in.
    if draft.file and not draft.file.startswith("<"):
        draft.set("chdir", literal(os.path.dirname(os.path.abspath(draft.file))))
    if _PORT.search(command):
        draft.set("env", {"PORT": str(port)})
    return draft


def _remarks(left: Leftovers, draft: ComponentDraft, name: str) -> None:
    if draft.tag != name:
        left.note(draft.line, name, f"is called '{draft.tag}' now: it could not be a tag")
    if "env" in draft.members:
        left.note(draft.line, name, "its PORT is the one that foreman gives; set it in env")
    if draft.tag == "release":
        left.note(draft.line, name, "runs before everything else, and its failure stops the start")
