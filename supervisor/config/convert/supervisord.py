"""Make a configuration of supervisord's: its programs become components, in order of priority."""

from __future__ import annotations

import os

from supervisor.config.convert.carry import ComponentDraft, Leftovers, configuration, tidy
from supervisor.config.convert.ini import Finder, Section, found_by, read_sections
from supervisor.config.convert.supervisord_program import (
    Context,
    environment_of,
    number_of,
    process_table,
)
from supervisor.config.nodes import Plain, make
from supervisor.config.tables import Node
from supervisor.model.errors import Problem

_USUAL_PRIORITY = 999
_NO_NEED = frozenset({"supervisorctl", "rpcinterface", "include"})
"""Sections about supervisord itself, which nobody misses here."""
_LEVELS = {
    "critical": "error",
    "error": "error",
    "warn": "warning",
    "info": "info",
    "debug": "debug",
    "trace": "debug",
    "blather": "debug",
}
_SILENT = frozenset({"nodaemon", "silent", "nocleanup", "identifier", "strip_ansi"})
_INSTEAD = {
    "logfile": "piesd's own log goes to standard error",
    "pidfile": "piesd has its own, 'pidfile' in [daemon]",
    "childlogdir": "set log-directory in [daemon]",
    "minfds": "raise the limit of piesd itself, or set limits of a component",
    "minprocs": "raise the limit of piesd itself, or set limits of a component",
    "directory": "set chdir in each component",
}


def read(text: str, file: str, problems: list[Problem], find: Finder = found_by) -> Node | None:
    """Return the configuration of *text* and of what it includes.

    What cannot be carried over goes to *problems* as warnings.

    Args:
        find: reads the files that a pattern finds.
    """
    sections = _all_sections(text, file, problems, find)
    if sections is None:
        return None
    conversion = _Conversion(file, problems, sections)
    return conversion.root()


def _all_sections(
    text: str, file: str, problems: list[Problem], find: Finder
) -> list[Section] | None:
    own = read_sections(text, file, problems)
    if own is None:
        return None
    sections = list(own)
    for section in own:
        files = section.settings.get("files")
        if section.name != "include" or files is None:
            continue
        for pattern in files.value.split():
            here = os.path.dirname(os.path.abspath(file))
            full = os.path.join(here, pattern.replace("%(here)s", here))
            try:
                found = find(full)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                problems.append(
                    Problem(file, files.line, "include.files", f"cannot read {full}: {reason}")
                )
                continue
            for name, inner in found:
                sections += read_sections(inner, name, problems) or ()
    return sections


class _Conversion:
    def __init__(self, file: str, problems: list[Problem], sections: list[Section]) -> None:
        self.file, self.problems, self.sections = file, problems, sections
        self.groups: dict[str, str] = {}
        """The group of each program."""
        self.longest_stop = 0.0

    def root(self) -> Node:
        daemon: dict[str, Plain] = {}
        priorities: dict[str, int] = {}
        for section in self.sections:
            left = Leftovers(section.file, self.problems)
            match section.kind:
                case "group":
                    self._group(left, section, priorities)
                case "supervisord":
                    daemon |= self._daemon(left, section)
                case "program":
                    pass
                case "eventlistener":
                    left.leave(section.line, section.name, "follow the events: piesctl events -f")
                case "fcgi-program":
                    what = "components that share a listening socket are not supported yet"
                    left.leave(section.line, section.name, what)
                case "unix_http_server" | "inet_http_server":
                    left.leave(section.line, section.name, "set socket in [control]")
                case kind if kind not in _NO_NEED:
                    left.leave(section.line, section.name, "the section is not known")
                case _:
                    pass
        programs = [section for section in self.sections if section.kind == "program"]
        drafts = self._programs(programs, priorities)
        if self.longest_stop:
            daemon["shutdown-timeout"] = tidy(self.longest_stop)
        first = next((each for each in self.sections if each.kind == "supervisord"), None)
        line = first.line if first else 1
        table = make(self.file, line, "daemon", daemon) if daemon else None
        return configuration(self.file, drafts, daemon=table)

    def _group(self, left: Leftovers, section: Section, priorities: dict[str, int]) -> None:
        programs = section.get("programs")
        if programs is None:
            left.fault(section.line, section.name, "the key 'programs' is missing")
            return
        priority = number_of(left, section, "priority")
        for name in programs.replace(",", " ").split():
            self.groups[name] = section.label
            if priority is not None:
                priorities.setdefault(name, priority)

    def _daemon(self, left: Leftovers, section: Section) -> dict[str, Plain]:
        daemon: dict[str, Plain] = {}
        for name, setting in section.settings.items():
            key = f"supervisord.{name}"
            match name:
                case "umask":
                    daemon["umask"] = setting.value
                case "user":
                    daemon["user"] = setting.value
                case "loglevel" if setting.value.lower() in _LEVELS:
                    daemon["log-level"] = _LEVELS[setting.value.lower()]
                case "environment":
                    context = Context(section, Leftovers(section.file, self.problems))
                    environment = environment_of(context)
                    if environment:
                        daemon["env"] = environment
                case _ if name.startswith("logfile") or name in _INSTEAD:
                    left.leave(setting.line, key, _INSTEAD.get(name, _INSTEAD["logfile"]))
                case _ if name not in _SILENT:
                    left.leave(setting.line, key)
                case _:
                    pass
        return daemon

    def _programs(
        self, programs: list[Section], priorities: dict[str, int]
    ) -> list[ComponentDraft]:
        made: list[tuple[int, list[ComponentDraft]]] = []
        taken: dict[str, ComponentDraft] = {}
        for section in programs:
            left = Leftovers(section.file, self.problems)
            priority = number_of(left, section, "priority")
            group = self.groups.get(section.label)
            drafts = process_table(section, left, group, taken)
            for draft in drafts:
                timeout = draft.members["stop-timeout"].value
                self.longest_stop = max(self.longest_stop, float(str(timeout)))
            rank = priorities.get(section.label, _USUAL_PRIORITY if priority is None else priority)
            made.append((rank, drafts))
        # Components are started in the order of the file; sorted() keeps equals in theirs.
        return [draft for _, drafts in sorted(made, key=lambda each: each[0]) for draft in drafts]
