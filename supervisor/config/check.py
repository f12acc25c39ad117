"""What only shows when all components are looked at together."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Sequence

from supervisor.config import keys
from supervisor.config.build import Draft, written
from supervisor.config.settings import Settings
from supervisor.config.tables import Node
from supervisor.model.component import (
    Address,
    InetAddress,
    Mode,
    Output,
    Tag,
    UnixAddress,
)
from supervisor.model.errors import Problem


def check_together(drafts: Sequence[Draft], settings: Settings) -> list[Problem]:
    """Return the problems that lie between components."""
    return [
        *_tags_defined_twice(drafts),
        *_sockets_used_twice(drafts, settings),
        *_files_rotated_twice(drafts),
        *_timeouts_too_long(drafts, settings),
        *_without_effect(drafts),
    ]


# --- between components -----------------------------------------------------------------------


def _tags_defined_twice(drafts: Sequence[Draft]) -> Iterable[Problem]:
    owners: dict[Tag, Node] = {}
    for draft in drafts:
        for name in dict.fromkeys((draft.declared, draft.tag)):
            first = owners.setdefault(name, draft.table)
            if first is not draft.table:
                which = "" if name == draft.declared else f" ({name} is one of its instances)"
                what = f"'{name}' is already defined at {first.where}{which}"
                yield draft.table.problem(what)


def _sockets_used_twice(drafts: Sequence[Draft], settings: Settings) -> Iterable[Problem]:
    taken: list[tuple[Address, Node]] = []
    by_key: dict[object, list[int]] = {}
    components = (
        (address, written(draft, keys.SOCKET))
        for draft in drafts
        for address in draft.component.sockets
    )
    for address, node in (*settings.sockets, *components):
        key = _where(address)
        others = by_key.setdefault(key, [])
        clash = next((n for n in others if _clash(taken[n][0], address)), None)
        if clash is not None:
            other, first = taken[clash]
            what = f"{address.url} is already taken by {other.url} ({first.key} at {first.where})"
            yield node.problem(what)
        others.append(len(taken))
        taken.append((address, node))


def _where(address: Address) -> object:
    """Return what addresses must have in common to exclude each other."""
    if isinstance(address, InetAddress):
        return address.protocol, address.port
    return address.path if address.abstract else os.path.normpath(address.path)


def _clash(one: Address, other: Address) -> bool:
    """Return whether two addresses with the same port or the same path exclude each other."""
    if isinstance(one, UnixAddress) or isinstance(other, UnixAddress):
        return isinstance(one, UnixAddress) and isinstance(other, UnixAddress)
    if one.port == 0:  # Any free port: two of these are two ports.
        return False
    first, second = ipaddress.ip_address(one.host), ipaddress.ip_address(other.host)
    if first.version != second.version:
        return False
    return first == second or first.is_unspecified or second.is_unspecified


def _files_rotated_twice(drafts: Sequence[Draft]) -> Iterable[Problem]:
    owners: dict[str, tuple[Tag, Output]] = {}
    for draft in drafts:
        for key, output in (
            (keys.STDOUT, draft.component.stdout),
            (keys.STDERR, draft.component.stderr),
        ):
            if output.path is None:
                continue
            tag, first = owners.setdefault(os.path.normpath(output.path), (draft.tag, output))
            if tag != draft.tag and (output.rotate_size or first.rotate_size):
                what = (
                    f"'{tag}' and '{draft.tag}' write the same file, {output.path}, which rotates"
                )
                yield written(draft, key).warning(what)


def _timeouts_too_long(drafts: Sequence[Draft], settings: Settings) -> Iterable[Problem]:
    most = settings.daemon.shutdown_timeout
    for draft in drafts:
        node, timeout = draft.fields.node(keys.STOP_TIMEOUT), draft.component.stop_timeout
        if node is not None and timeout > most:
            what = f"{timeout:g} s is longer than shutdown-timeout in [daemon], {most:g} s"
            yield node.warning(f"{what}: when piesd shuts down, it gets SIGKILL sooner")


def _without_effect(drafts: Sequence[Draft]) -> Iterable[Problem]:
    for draft in drafts:
        if draft.mode is Mode.INETD and keys.STDOUT.name in draft.own:
            what = "has no effect: the connection is its standard output"
            yield written(draft, keys.STDOUT).warning(what)
        if (
            draft.mode is not Mode.INETD
            and draft.component.template is None
            and keys.MAX_INSTANCES.name in draft.own
            and draft.fields.given(keys.MAX_INSTANCES) is not None
        ):
            what = "has no effect without 'instances': there is one"
            yield written(draft, keys.MAX_INSTANCES).warning(what)
