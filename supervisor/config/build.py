"""From tables to components: defaults applied, instances made, strings expanded and split."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from itertools import chain
from typing import Any

from msgspec import Struct

from supervisor.config import keys
from supervisor.config.addresses import BadAddress, parse_address
from supervisor.config.fields import Fields, Key
from supervisor.config.gather import DEFAULTS_KEYS, Tables
from supervisor.config.host import Host
from supervisor.config.settings import Base
from supervisor.config.tables import Node, did_you_mean, expand, quoted
from supervisor.model.component import (
    Address,
    Component,
    Environment,
    Mode,
    Output,
    Respawn,
    Tag,
)
from supervisor.model.errors import Problem

TAG_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,99}$"
_TAG = re.compile(TAG_PATTERN.strip("^$"))
_RESERVED = frozenset({"all", "none"})
_FOR_A_SHELL = frozenset({"|", "||", "&", "&&", "<", ">", ">>", "2>", "2>&1", "|&", "&>", "<<"})


class Draft(Struct, frozen=True, kw_only=True):
    """One component as far as its own table tells; `check` and `links` look at all together.

    Where a value is wrong, `component` holds the default, so that one problem does not hide
    others. `mode` is None where the mode is wrong.
    """

    declared: Tag
    """The tag as written: for `web:2` it is `web`."""
    table: Node
    fields: Fields
    own: frozenset[str]
    """The keys of its own table; the others come from `[defaults]`."""
    mode: Mode | None
    component: Component

    @property
    def tag(self) -> Tag:
        """The tag of the component."""
        return self.component.tag


def build(tables: Tables, base: Base, host: Host, problems: list[Problem]) -> list[Draft]:
    """Return a draft of every component, in the order of the files."""
    # Read on their own, so that what is wrong with them is told even if nobody uses them.
    Fields(tables.defaults, DEFAULTS_KEYS, problems)
    builder = _Builder(tables.defaults, base, host)
    return list(chain.from_iterable(builder.drafts(*each, problems) for each in tables.components))


class _Builder:
    def __init__(self, defaults: dict[str, Node], base: Base, host: Host) -> None:
        self.defaults, self.base, self.host = defaults, base, host

    def drafts(self, tag: Tag, table: Node, problems: list[Problem]) -> Iterator[Draft]:
        """Make the component, or all instances, of one table."""
        if not _TAG.fullmatch(tag) or tag in _RESERVED:
            problems.append(table.problem(_bad_tag(tag)))
        written = table.table.get(keys.INSTANCES.name)
        count = keys.INSTANCES.kind.read(written, problems) if written else None
        if count is None:
            # A wrong number of instances is no reason to complain about ${instance} as well.
            number = 1 if written else None
            yield self._draft(tag, tag, number, table, problems)
            return
        told: set[tuple[str, int, str]] = set()
        for number in range(1, count + 1):
            found: list[Problem] = []
            yield self._draft(f"{tag}:{number}", tag, number, table, found)
            # What is wrong with one instance is mostly wrong with all: it is told once.
            places = {(each.file, each.line, each.key) for each in found}
            problems += [each for each in found if (each.file, each.line, each.key) not in told]
            told |= places

    def _draft(
        self, tag: Tag, declared: Tag, number: int | None, table: Node, problems: list[Problem]
    ) -> Draft:
        members = {**self.defaults, **table.table}
        nodes = {name: expand(node, number, problems) for name, node in members.items()}
        fields = Fields(nodes, keys.COMPONENT_KEYS, problems)
        one = _One(fields, frozenset(table.table), self.base, self.host, problems)
        mode = one.mode()
        if mode is not None:
            one.refuse_keys_of_other_modes(mode)
        argv, command, program = one.command(table)
        component = Component(
            tag=tag,
            mode=mode or Mode.RESPAWN,
            argv=argv,
            command=command,
            program=program,
            template=None if number is None else declared,
            instance=number,
            description=fields.need(keys.DESCRIPTION),
            labels=fields.given(keys.LABELS) or {},
            source=table.where,
            enabled=one.enabled(),
            precious=one.flag(keys.PRECIOUS),
            essential=fields.need(keys.ESSENTIAL),
            required=fields.need(keys.REQUIRED) and mode is Mode.STARTUP,
            respawn=fields.given(keys.RESPAWN) or Respawn(),
            stop_signal=fields.need(keys.STOP_SIGNAL),
            stop_timeout=fields.need(keys.STOP_TIMEOUT),
            user=fields.given(keys.USER),
            group=fields.given(keys.GROUP) or (),
            allgroups=fields.need(keys.ALLGROUPS),
            umask=one.umask(),
            chdir=fields.given(keys.CHDIR),
            env=one.environment(),
            nullinput=one.flag(keys.NULLINPUT) and mode is not Mode.INETD,
            stdout=one.output(keys.STDOUT),
            stderr=one.output(keys.STDERR),
            socket=one.socket(table) if mode is Mode.INETD else None,
            max_instances=fields.given(keys.MAX_INSTANCES) if mode is Mode.INETD else None,
        )
        return Draft(
            declared=declared,
            table=table,
            fields=fields,
            own=one.own,
            mode=mode,
            component=component,
        )


def _bad_tag(tag: str) -> str:
    if tag in _RESERVED:
        return f"{quoted(tag)} cannot be a tag: it has a meaning in prerequisites and selectors"
    rule = "1 to 100 letters, digits or _ - . : @, and begins with a letter, a digit or _"
    return f"{quoted(tag)} cannot be a tag: a tag is {rule}"


class _One:
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
        return None if self.fields.wrong(keys.MODE) else Mode(self.fields.need(keys.MODE))

    def refuse_keys_of_other_modes(self, mode: Mode) -> None:
        """Refuse a key that means nothing in *mode*; as a default it may, for others."""
        for key in keys.COMPONENT_KEYS.keys:
            node = self.fields.node(key)
            if node is None or mode in key.modes or key.name not in self.own:
                continue
            if node.value is False:
                continue
            only = " and ".join(sorted(key.modes))
            rule = f"only for mode {only}" if len(key.modes) == 1 else f"not for mode {mode}"
            self.problems.append(node.problem(f"is {rule}: this one has mode {mode}"))

    # --- flags

    def flag(self, key: Key[bool]) -> bool:
        """Return a flag, from its own key or from `flags`; what the component says itself wins."""
        return self._said(key, key) or False

    def enabled(self) -> bool:
        said = self._said(keys.DISABLE, keys.DISABLE, keys.ENABLED)
        return not said

    def _said(self, flag: Key[bool], *spellings: Key[bool]) -> bool | None:
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
        if node is None and not _misspelt(keys.COMMAND, table):
            self.problems.append(table.problem("the key 'command' is missing"))
        if given is None or node is None:
            return (), "", program
        if self.flag(keys.SHELL):
            if isinstance(given, tuple):
                what = "with 'shell' it must be one string, not a list"
                self.problems.append(node.problem(what))
                return (), "", None
            return (program or "/bin/sh", "-c", given), given, None
        if isinstance(given, tuple):
            return given, shlex.join(given), program
        return self._split(given, node), given, program

    def _split(self, text: str, node: Node) -> tuple[str, ...]:
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            self.problems.append(node.problem(f"cannot be split into words: {_reason(error)}"))
            return ()
        if not words or not words[0]:
            self.problems.append(node.problem("must name a program"))
            return ()
        if not _FOR_A_SHELL.isdisjoint(text.split()):
            signs = shlex.shlex(text, posix=False)
            signs.whitespace_split, signs.commenters = True, ""
            meant = next((sign for sign in signs if sign in _FOR_A_SHELL), None)
            if meant is not None:
                what = f"'{meant}' goes to the program as a word; if a shell is meant: shell = true"
                self.problems.append(node.warning(what))
        return words

    # --- the rest

    def umask(self) -> int | None:
        own = self.fields.given(keys.UMASK)
        return self.base.umask if own is None else own

    def environment(self) -> Environment:
        base, env = self.base.env, self.fields.given(keys.ENV) or Environment()
        keep = self.fields.given(keys.ENV_KEEP)
        clear, node = self.fields.given(keys.ENV_CLEAR), self.fields.node(keys.ENV_CLEAR)
        if clear is False and keep is not None and node is not None:
            self.problems.append(node.problem("contradicts 'env-keep', which clears the rest"))
        values = {name: value for name, value in base.set.items() if name not in env.unset}
        values |= env.set
        unset = dict.fromkeys((*base.unset, *env.unset))
        return Environment(
            clear=bool(clear) or keep is not None,
            keep=keep or (),
            unset=tuple(name for name in unset if name not in values),
            set=values,
        )

    def output(self, key: Key[Output]) -> Output:
        given = self.fields.given(key)
        if given is None or given.path is None or os.path.isabs(given.path):
            return given or Output()
        return Output(
            kind=given.kind,
            path=os.path.join(self.base.log_directory, given.path),
            rotate_size=given.rotate_size,
            rotate_keep=given.rotate_keep,
        )

    def socket(self, table: Node) -> Address | None:
        if self.fields.node(keys.SOCKET) is None and not _misspelt(keys.SOCKET, table):
            self.problems.append(table.problem("the key 'socket' is missing: mode inetd needs it"))
        for node in self.fields.given(keys.SOCKET) or ():
            try:
                base = self.fields.given(keys.CHDIR)
                return parse_address(str(node.value), self.host.service_port, base)
            except BadAddress as error:
                self.problems.append(node.problem(str(error)))
        return None


def _misspelt(key: Key[Any], table: Node) -> bool:
    """Return whether a required key seems to be there, in another spelling."""
    known = keys.COMPONENT_KEYS.by_name
    return any(
        name not in known and f"'{key.name}'" in did_you_mean(name, known) for name in table.table
    )


def _reason(error: ValueError) -> str:
    text = str(error)
    return {"No closing quotation": "a quotation mark is not closed"}.get(text, text.lower())


def written(draft: Draft, key: Key[Any]) -> Node:
    """Return where *key* was written for a component, else the component's own place."""
    return draft.fields.node(key) or draft.table
