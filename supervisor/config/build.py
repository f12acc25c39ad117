"""From tables to components: defaults applied, instances made, strings expanded and split."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from supervisor.config import keys
from supervisor.config.fields import Fields, Key
from supervisor.config.gather import DEFAULTS_KEYS, Tables
from supervisor.config.host import Host
from supervisor.config.meanings import Meanings
from supervisor.config.serving import Serving
from supervisor.config.settings import Base
from supervisor.config.tables import Node, expand, quoted
from supervisor.model.component import NO_LIMITS, Component, Mode, Respawn, Tag
from supervisor.model.errors import Problem

TAG_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,99}$"
_TAG = re.compile(TAG_PATTERN.strip("^$"))
_RESERVED = frozenset({"all", "none"})


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
        nodes = {name: _expanded(name, node, number, problems) for name, node in members.items()}
        fields = Fields(nodes, keys.COMPONENT_KEYS, problems)
        one = Meanings(fields, frozenset(table.table), self.base, self.host, problems)
        mode = one.mode()
        if mode is not None:
            one.refuse_keys_of_other_modes(mode)
        argv, command, program = one.command(table)
        limits, nice = one.limits()
        serving = Serving(one, mode, table, self.host)
        sockets = serving.sockets()
        serving.refuse_what_it_cannot_honour(sockets)
        many = mode is Mode.INETD or number is not None
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
            runlevels=fields.given(keys.RUNLEVELS),
            utmp=fields.need(keys.UTMP),
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
            env_base=self.base.env_base,
            expandenv=one.expandenv(),
            nullinput=one.flag(keys.NULLINPUT) and mode in keys.NULLINPUT.modes,
            remove_file=one.remove_file(),
            limits=limits,
            cgroup=fields.given(keys.CGROUP) or NO_LIMITS,
            nice=nice,
            cpu_affinity=fields.given(keys.CPU_AFFINITY) or (),
            oom_score_adj=fields.given(keys.OOM_SCORE_ADJ),
            no_new_privileges=fields.need(keys.NO_NEW_PRIVILEGES),
            start_condition=fields.given(keys.START_CONDITION) or (),
            ready=serving.ready(),
            health=fields.given(keys.HEALTH) if mode in keys.HEALTH.modes else None,
            watchdog=fields.need(keys.WATCHDOG) if mode in keys.WATCHDOG.modes else 0.0,
            stop_scope=one.stop_scope(),
            exit_actions=one.exit_actions(),
            list_acl=one.acl(keys.LIST_ACL),
            admin_acl=one.acl(keys.ADMIN_ACL),
            stdout=one.output(keys.STDOUT),
            stderr=one.output(keys.STDERR),
            sockets=sockets,
            backlog=fields.need(keys.BACKLOG),
            wait=serving.wait(),
            on_demand=serving.on_demand(),
            listen_fds=serving.listen_fds(),
            socket_names=serving.names(sockets),
            idle_stop=serving.idle_stop(),
            service=serving.service(),
            internal=serving.internal(),
            tcpmux_master=serving.master(),
            tcpmux_plus=serving.tcpmux_plus(),
            acl=one.acl(keys.CONNECT_ACL) if mode is Mode.INETD else None,
            max_rate=serving.max_rate() if mode is Mode.INETD else 0,
            max_ip_connections=fields.given(keys.MAX_IP_CONNECTIONS),
            max_instances_message=fields.need(keys.MAX_INSTANCES_MESSAGE),
            max_ip_connections_message=fields.need(keys.MAX_IP_CONNECTIONS_MESSAGE),
            access_denied_message=fields.need(keys.ACCESS_DENIED_MESSAGE),
            sockenv=one.flag(keys.SOCKENV),
            resolve=one.flag(keys.RESOLVE),
            idle_timeout=serving.idle_timeout(sockets),
            proxy_protocol=fields.given(keys.PROXY_PROTOCOL) or (),
            max_instances=fields.given(keys.MAX_INSTANCES) if many else None,
        )
        return Draft(
            declared=declared,
            table=table,
            fields=fields,
            own=one.own,
            mode=mode,
            component=component,
        )


def _expanded(name: str, node: Node, number: int | None, problems: list[Problem]) -> Node:
    """Return a member of a component's table with `${instance}` replaced.

    The mail of an exit action has variables of its own, an `${instance}` among them.
    """
    if name != keys.ON_EXIT.name:
        return expand(node, number, problems)
    if isinstance(node.value, tuple):
        items = tuple(_expanded(name, item, number, problems) for item in node.value)
        return replace(node, value=items)
    kept = keys.EXIT_MESSAGE.name
    members = {
        key: member if key == kept else expand(member, number, problems)
        for key, member in node.table.items()
    }
    return replace(node, value=members) if node.table else expand(node, number, problems)


def _bad_tag(tag: str) -> str:
    if tag in _RESERVED:
        return f"{quoted(tag)} cannot be a tag: it has a meaning in prerequisites and selectors"
    rule = "1 to 100 letters, digits or _ - . : @, and begins with a letter, a digit or _"
    return f"{quoted(tag)} cannot be a tag: a tag is {rule}"


def written(draft: Draft, key: Key[Any]) -> Node:
    """Return where *key* was written for a component, else the component's own place."""
    return draft.fields.node(key) or draft.table
