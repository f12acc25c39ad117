"""What the keys of one component mean together."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Set
from typing import Any, Literal

from msgspec.structs import replace

from supervisor.config import keys
from supervisor.config.acls import WrittenAcl
from supervisor.config.commands import split
from supervisor.config.fields import Fields, Key
from supervisor.config.host import Host
from supervisor.config.limits import Limits
from supervisor.config.settings import Base
from supervisor.config.tables import Node, did_you_mean, quoted
from supervisor.model.access import Acl
from supervisor.model.component import Environment, ExitAction, Mode, Output
from supervisor.model.errors import Problem
from supervisor.model.expansion import ExpansionError, check


class Meanings:
    """What the keys of one component mean together."""

    def __init__(
        self,
        fields: Fields,
        own: frozenset[str],
        base: Base,
        host: Host,
        problems: list[Problem],
    ) -> None:
        self.fields, self.own, self.base, self.host = fields, own, base, host
        self.problems = problems

    def mode(self) -> Mode | None:
        """Return the mode, None where it is wrong."""
        return None if self.fields.wrong(keys.MODE) else Mode(self.fields.need(keys.MODE))

    def refuse_keys_of_other_modes(self, mode: Mode) -> None:
        """Refuse a key that means nothing in *mode*; as a default it may, for others."""
        for name, node in self.fields.nodes.items():
            key = keys.COMPONENT_KEYS.by_name.get(name)
            if key is None or mode in key.modes or name not in self.own or node.value is False:
                continue
            self.problems.append(node.problem(f"is {_only_for(key, mode)}"))
        flags = self.fields.node(keys.FLAGS) if keys.FLAGS.name in self.own else None
        if flags is None:
            return
        for name in sorted(self.fields.given(keys.FLAGS) or ()):
            key = keys.COMPONENT_KEYS.by_name[name]
            if mode not in key.modes:
                self.problems.append(flags.problem(f"'{name}' is {_only_for(key, mode)}"))

    # --- flags

    def flag(self, key: Key[bool]) -> bool:
        """Return a flag, from its own key or from `flags`; what the component says itself wins."""
        return self._said(key, key) or False

    def enabled(self) -> bool:
        """Return whether it starts by itself."""
        said = self._said(keys.DISABLE, keys.DISABLE, keys.ENABLED)
        return not said

    def _said(self, flag: Key[bool], *spellings: Key[bool]) -> bool | None:
        if self.fields.nodes.keys().isdisjoint({keys.FLAGS.name, *(key.name for key in spellings)}):
            return None
        for own in (True, False):
            said = [
                (value is (key is not keys.ENABLED), node)
                for key in spellings
                if (value := self.fields.given(key)) is not None
                and (key.name in self.own) is own
                and (node := self.fields.node(key)) is not None
            ]
            flags = self.fields.node(keys.FLAGS)
            if flags and (keys.FLAGS.name in self.own) is own:
                listed = self.fields.given(keys.FLAGS) or ()
                said += [(True, flags)] if flag.name in listed else []
            if len({value for value, _ in said}) > 1:
                node = max((node for _, node in said), key=lambda node: node.line)
                what = f"contradicts what is said elsewhere about '{flag.name}'"
                self.problems.append(node.problem(what))
            if said:
                return said[0][0]
        return None

    # --- the command

    def command(self, table: Node) -> tuple[tuple[str, ...], str, str | None]:
        """Return the words to execute, the command as written, and the program if it differs."""
        given, node = self.fields.given(keys.COMMAND), self.fields.node(keys.COMMAND)
        program = self.fields.given(keys.PROGRAM)
        if self.flag(keys.INTERNAL):
            return self._no_command(), "", None
        if node is None and not misspelt(keys.COMMAND, table):
            self.problems.append(table.problem("the key 'command' is missing"))
        if given is None or node is None:
            return (), "", program
        if self.flag(keys.SHELL):
            if isinstance(given, tuple):
                what = "with 'shell' it must be one string, not a list"
                self.problems.append(node.problem(what))
                return (), "", None
            if self.flag(keys.EXPANDENV):
                flag = self.fields.node(keys.EXPANDENV) or self.fields.node(keys.FLAGS) or node
                self.problems.append(flag.warning("has no effect with 'shell': the shell expands"))
            return (program or "/bin/sh", "-c", given), given, None
        if self.flag(keys.EXPANDENV):
            return self._expandable(given, node), _as_text(given), program
        if isinstance(given, tuple):
            return given, _as_text(given), program
        return split(given, node, self.problems), given, program

    def _no_command(self) -> tuple[str, ...]:
        """Refuse a command for what piesd serves itself; return what listings show instead."""
        for key in (keys.COMMAND, keys.PROGRAM):
            node = self.fields.node(key)
            if node is not None and key.name in self.own:
                self.problems.append(node.problem("has no place beside 'internal'"))
        return ("internal", self.fields.given(keys.SERVICE) or "")

    def expandenv(self) -> bool:
        """Return whether `command` is expanded at each start."""
        return self.flag(keys.EXPANDENV) and not self.flag(keys.SHELL)

    def _expandable(self, given: str | tuple[str, ...], node: Node) -> tuple[str, ...]:
        if isinstance(given, tuple):
            what = "with 'expandenv' it must be one string, not a list"
            self.problems.append(node.problem(what))
            return ()
        try:
            check(given)
        except ExpansionError as error:
            self.problems.append(node.problem(f"cannot be expanded: {error}"))
            return ()
        # What the words will be is known at the start only: these are for people.
        return tuple(given.split())

    # --- the rest

    def umask(self) -> int | None:
        """Return its own umask, else that of all."""
        own = self.fields.given(keys.UMASK)
        return self.base.umask if own is None else own

    def environment(self) -> Environment:
        """Return the changes to the environment: those of `[daemon]`, then its own."""
        base, env = self.base.env, self.fields.given(keys.ENV) or Environment()
        keep = self.fields.given(keys.ENV_KEEP)
        clear, node = self.fields.given(keys.ENV_CLEAR), self.fields.node(keys.ENV_CLEAR)
        if clear is False and keep is not None and node is not None:
            self.problems.append(node.problem("contradicts 'env-keep', which clears the rest"))
        said = {*env.set, *env.files, *env.unset}
        values = {**_without(base.set, said), **env.set}
        files = {**_without(base.files, said), **env.files}
        unset = dict.fromkeys((*base.unset, *env.unset))
        return Environment(
            clear=bool(clear) or env.clear or keep is not None,
            keep=(*(keep or ()), *env.keep),
            unset=tuple(name for name in unset if name not in values and name not in files),
            set=values,
            files=files,
            steps=env.steps,
        )

    def limits(self) -> tuple[dict[str, int], int | None]:
        """Return the resource limits, and the priority: pies has it among them."""
        limits = (self.fields.given(keys.LIMITS) or Limits()).over(self.base.limits)
        nice = self.fields.given(keys.NICE)
        return limits.resources, limits.nice if nice is None else nice

    def remove_file(self) -> tuple[str, ...]:
        """Return the full paths of the files to remove."""
        paths: dict[str, None] = {}
        for key in (keys.REMOVE_FILE, keys.RMFILE):
            node = self.fields.node(key)
            base = self.fields.given(keys.CHDIR)
            for path in self.fields.given(key) or ():
                if os.path.isabs(path) or base is not None:
                    paths[os.path.join(base or "/", path)] = None
                elif node is not None and not self.fields.wrong(keys.CHDIR):
                    what = f"must be full paths where 'chdir' is not set, not {quoted(path)}"
                    self.problems.append(node.problem(what))
        return tuple(paths)

    def stop_scope(self) -> Literal["group", "leader"]:
        """Return who gets the stop signal."""
        return "leader" if self._said(keys.SIGGROUP, keys.SIGGROUP) is False else "group"

    def exit_actions(self) -> tuple[ExitAction, ...]:
        """Return its own exit actions, then those of all components."""
        return (*(self.fields.given(keys.ON_EXIT) or ()), *self.base.exit_actions)

    def acl(self, key: Key[WrittenAcl]) -> Acl | None:
        """Return an access control list with its names resolved."""
        return self.base.acls.resolve(self.fields.given(key))

    def output(self, key: Key[Output]) -> Output:
        """Return a target that says everything: full path, facility."""
        given = self.fields.given(key) or Output()
        if given.kind == "syslog" and given.facility is None:
            return replace(given, facility=self.base.facility)
        if given.path is None or os.path.isabs(given.path):
            return given
        return replace(given, path=os.path.join(self.base.log_directory, given.path))


def _only_for(key: Key[Any], mode: Mode) -> str:
    """Say for which modes *key* is, if these are few."""
    modes = sorted(key.modes)
    if len(modes) == 1:
        return f"only for mode {modes[0]}: this one has mode {mode}"
    few = f"it is for {', '.join(modes[:-1])} and {modes[-1]}"
    return f"not for mode {mode}: {few if len(modes) < 4 else 'leave it out'}"


def _as_text(given: str | tuple[str, ...]) -> str:
    return given if isinstance(given, str) else shlex.join(given)


def _without(values: Mapping[str, str], names: Set[str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name not in names}


def misspelt(key: Key[Any], table: Node) -> bool:
    """Return whether a required key seems to be there, in another spelling."""
    known = keys.COMPONENT_KEYS.by_name
    return any(
        name not in known and f"'{key.name}'" in did_you_mean(name, known) for name in table.table
    )
