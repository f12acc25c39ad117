"""What only shows when everything is looked at together, and on this machine."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from supervisor.config import keys
from supervisor.config.build import Draft, written
from supervisor.config.host import Host
from supervisor.config.settings import Settings
from supervisor.config.tables import Node, quoted
from supervisor.model.component import (
    Address,
    Component,
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
        *_outputs_without_effect(drafts),
    ]


def check_machine(
    drafts: Sequence[Draft],
    settings: Settings,
    host: Host,
    *,
    environ: Mapping[str, str],
    euid: int,
) -> list[Problem]:
    """Return what does not fit this machine: users, groups, directories, programs."""
    problems = list(_control_sockets(settings, host))
    for draft in drafts:
        problems += _user_and_groups(draft, host, euid)
        problems += _directories(draft, settings, host)
        problems += _program(draft, host, environ)
    return problems


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
        (draft.component.socket, written(draft, keys.SOCKET))
        for draft in drafts
        if draft.component.socket is not None
    )
    for address, node in (*settings.sockets, *components):
        key = address.port if isinstance(address, InetAddress) else os.path.normpath(address.path)
        others = by_key.setdefault(key, [])
        clash = next((n for n in others if _clash(taken[n][0], address)), None)
        if clash is not None:
            other, first = taken[clash]
            what = f"{address.url} is already taken by {other.url} ({first.key} at {first.where})"
            yield node.problem(what)
        others.append(len(taken))
        taken.append((address, node))


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


def _outputs_without_effect(drafts: Sequence[Draft]) -> Iterable[Problem]:
    for draft in drafts:
        if draft.mode is Mode.INETD and keys.STDOUT.name in draft.own:
            what = "has no effect: the connection is its standard output"
            yield written(draft, keys.STDOUT).warning(what)


# --- this machine -----------------------------------------------------------------------------


def _user_and_groups(draft: Draft, host: Host, euid: int) -> Iterable[Problem]:
    component = draft.component
    user = component.user
    node = written(draft, keys.USER)
    if user is not None:
        uid = host.user(user)
        if uid is None:
            yield node.problem(f"there is no user {quoted(user)}")
        elif euid not in (0, uid):
            yield node.warning(f"only root can run as {quoted(user)}: the start will fail")
    listed = written(draft, keys.GROUP)
    for group in component.group:
        if not host.has_group(group):
            yield listed.problem(f"there is no group {quoted(group)}")
    if component.group and euid != 0:
        yield listed.warning("only root can set groups: the start will fail")
    if component.allgroups and user is None and keys.ALLGROUPS.name in draft.own:
        what = "has no effect without 'user'"
        yield written(draft, keys.ALLGROUPS).warning(what)
    if isinstance(component.socket, UnixAddress):
        yield from _socket_owner(component.socket, written(draft, keys.SOCKET), host)


def _control_sockets(settings: Settings, host: Host) -> Iterable[Problem]:
    for address, node in settings.sockets:
        if isinstance(address, UnixAddress):
            yield from _socket_owner(address, node, host)


def _socket_owner(address: UnixAddress, node: Node, host: Host) -> Iterable[Problem]:
    if address.user is not None and host.user(address.user) is None:
        yield node.problem(f"there is no user {quoted(address.user)}")
    if address.group is not None and not host.has_group(address.group):
        yield node.problem(f"there is no group {quoted(address.group)}")


def _directories(draft: Draft, settings: Settings, host: Host) -> Iterable[Problem]:
    component = draft.component
    if component.chdir is not None and not host.is_directory(component.chdir):
        yield written(draft, keys.CHDIR).warning(f"there is no directory {quoted(component.chdir)}")
    for key, output in ((keys.STDOUT, component.stdout), (keys.STDERR, component.stderr)):
        if output.path is None:
            continue
        directory = os.path.dirname(output.path)
        if directory != settings.daemon.log_directory and not host.is_directory(directory):
            yield written(draft, key).warning(f"there is no directory {quoted(directory)}")


def _program(draft: Draft, host: Host, environ: Mapping[str, str]) -> Iterable[Problem]:
    component = draft.component
    if not component.argv:
        return
    name = component.program or component.argv[0]
    node = written(draft, keys.PROGRAM if component.program else keys.COMMAND)
    if "/" in name:
        found = host.executable(os.path.join(component.chdir or "", name))
        where = ""
    else:
        path = search_path(component, environ)
        found = host.find_program(name, path)
        where = " in its PATH"
    if found == "missing":
        yield node.warning(f"there is no program {quoted(name)}{where}")
    elif found == "not executable":
        yield node.warning(f"{quoted(name)} is not executable")


def search_path(component: Component, environ: Mapping[str, str]) -> str:
    """Return the PATH in which the child of *component* is looked for."""
    env = component.env
    if "PATH" in env.set:
        return env.set["PATH"]
    inherited = environ.get("PATH")
    if inherited is None or "PATH" in env.unset or (env.clear and not _keeps_path(env.keep)):
        return os.defpath
    return inherited


def _keeps_path(patterns: Iterable[str]) -> bool:
    return any(fnmatchcase("PATH", pattern) for pattern in patterns)
