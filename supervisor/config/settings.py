"""From the tables `[daemon]` and `[control]` to the settings of piesd itself."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from typing import Literal, cast

from msgspec import Struct

from supervisor.config import keys
from supervisor.config.addresses import LONGEST_PATH, BadAddress, parse_address
from supervisor.config.fields import Fields
from supervisor.config.gather import Tables
from supervisor.config.host import Host
from supervisor.config.sources import xdg_directory
from supervisor.config.tables import Node, quoted
from supervisor.model.component import Address, Environment, InetAddress, UnixAddress
from supervisor.model.errors import Problem
from supervisor.model.settings import ControlSettings, DaemonSettings

_INSTANCE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")

COMMAND_LINE = "command line"
"""Stands for the file in problems with options."""


class Base(Struct, frozen=True, kw_only=True):
    """What `[daemon]` gives to every component."""

    umask: int | None
    env: Environment
    log_directory: str


class Settings(Struct, frozen=True, kw_only=True):
    """What the files say about piesd itself; `sockets` are the control sockets and their places."""

    daemon: DaemonSettings
    control: ControlSettings
    base: Base
    fields: Fields
    sockets: tuple[tuple[Address, Node], ...]


def build_settings(
    tables: Tables,
    host: Host,
    problems: list[Problem],
    *,
    environ: Mapping[str, str],
    euid: int,
    instance: str | None,
    sockets: Sequence[str],
) -> Settings:
    """Return the settings; *instance* and *sockets*, from the command line, win over the files."""
    fields = Fields(tables.daemon, keys.DAEMON_KEYS, problems)
    daemon = _daemon(fields, problems, environ, euid, instance)
    if not sockets and keys.CONTROL_SOCKET.name not in tables.control:
        problems += _too_long(daemon, fields)
    control, listening = _control(
        Fields(tables.control, keys.CONTROL_KEYS, problems), daemon, host, problems, sockets
    )
    base = Base(
        umask=fields.given(keys.DAEMON_UMASK),
        env=fields.given(keys.DAEMON_ENV) or Environment(),
        log_directory=daemon.log_directory,
    )
    return Settings(daemon=daemon, control=control, base=base, fields=fields, sockets=listening)


def runtime_directory(environ: Mapping[str, str], euid: int) -> str:
    """Return the default directory of the control socket, see control-api.md section 3."""
    if euid == 0:
        return "/run/piesd"
    given = environ.get("XDG_RUNTIME_DIR", "")
    return os.path.join(given, "piesd") if os.path.isabs(given) else f"/tmp/piesd-{euid}"


def default_socket(directory: str, instance: str) -> UnixAddress:
    """Return the control socket of an instance that configures none."""
    return UnixAddress(path=os.path.join(directory, f"{instance}.ctl"), mode=0o600)


def _daemon(
    fields: Fields,
    problems: list[Problem],
    environ: Mapping[str, str],
    euid: int,
    instance: str | None,
) -> DaemonSettings:
    if euid == 0:
        state, log = "/var/lib/piesd", "/var/log/piesd"
    else:
        own = xdg_directory(environ, euid, "XDG_STATE_HOME", ".local/state")
        state = os.path.join(own, "piesd")
        log = os.path.join(state, "log")
    return DaemonSettings(
        instance=_instance(fields, problems, environ, instance),
        runtime_directory=fields.given(keys.RUNTIME_DIRECTORY) or runtime_directory(environ, euid),
        state_directory=fields.given(keys.STATE_DIRECTORY) or state,
        log_directory=fields.given(keys.LOG_DIRECTORY) or log,
        pidfile=fields.given(keys.PIDFILE),
        shutdown_timeout=fields.need(keys.SHUTDOWN_TIMEOUT),
        log_level=cast('Literal["debug", "info", "warning", "error"]', fields.need(keys.LOG_LEVEL)),
        log_format=cast('Literal["auto", "text", "logfmt", "json"]', fields.need(keys.LOG_FORMAT)),
    )


def _instance(
    fields: Fields, problems: list[Problem], environ: Mapping[str, str], option: str | None
) -> str:
    written = fields.node(keys.INSTANCE) or Node("", 0, "", "")
    candidates = [
        (option, Node(COMMAND_LINE, 0, "--instance", "")),
        (environ.get("PIESD_INSTANCE") or None, Node("environment", 0, "PIESD_INSTANCE", "")),
        (fields.given(keys.INSTANCE), written),
    ]
    for name, node in candidates:
        if name is not None and not _INSTANCE_NAME.fullmatch(name):
            rule = "1 to 64 letters, digits, '_', '.', '@' or '-', and begin with neither . @ nor -"
            problems.append(node.problem(f"must be {rule}, not {quoted(name)}"))
    given = (name for name, _ in candidates if name is not None)
    return next(given, fields.need(keys.INSTANCE))


def _control(
    fields: Fields,
    daemon: DaemonSettings,
    host: Host,
    problems: list[Problem],
    sockets: Sequence[str],
) -> tuple[ControlSettings, tuple[tuple[Address, Node], ...]]:
    anonymous = fields.given(keys.ANONYMOUS)
    options = tuple(Node(COMMAND_LINE, 0, "--socket", url) for url in sockets)
    listening = []
    for node in options or fields.given(keys.CONTROL_SOCKET) or ():
        try:
            address = parse_address(str(node.value), host.service_port)
        except BadAddress as error:
            problems.append(node.problem(str(error)))
            continue
        listening.append((address, node))
        if isinstance(address, InetAddress):
            problems += _refused(address, node, anonymous)
    addresses = tuple(address for address, _ in listening)
    if not addresses:
        addresses = (default_socket(daemon.runtime_directory, daemon.instance),)
    chosen = cast('Literal["list", "admin"] | None', anonymous)
    return ControlSettings(sockets=addresses, anonymous=chosen), tuple(listening)


def _too_long(daemon: DaemonSettings, fields: Fields) -> list[Problem]:
    """Return whether the default socket would have a path that no socket can have."""
    directory = daemon.runtime_directory
    if len(os.fsencode(default_socket(directory, daemon.instance).path)) <= LONGEST_PATH:
        return []
    place = fields.node(keys.RUNTIME_DIRECTORY) or Node("environment", 0, "XDG_RUNTIME_DIR", "")
    return [place.problem(f"is too long for a socket in it: {quoted(directory)}")]


def _refused(address: InetAddress, node: Node, anonymous: str | None) -> list[Problem]:
    """Return why a TCP control socket is not opened. Source: control-api.md section 3."""
    if not ipaddress.ip_address(address.host).is_loopback:
        what = "a TCP socket for orders must be on a loopback address: there are no identities yet"
        return [node.problem(what)]
    if anonymous is None:
        what = 'a TCP socket for orders needs anonymous = "list" or "admin" to be written'
        return [node.problem(what)]
    return []
