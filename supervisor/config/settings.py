"""From the tables about piesd itself to its settings, and to what it gives to every component."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from typing import Literal, cast

from msgspec import Struct
from msgspec.structs import replace

from supervisor.config import keys
from supervisor.config.acls import Acls
from supervisor.config.addresses import LONGEST_PATH
from supervisor.config.commands import split
from supervisor.config.fields import Fields
from supervisor.config.gather import Tables
from supervisor.config.host import Host
from supervisor.config.limits import Limits
from supervisor.config.orders import COMMAND_LINE, Secret, build_orders
from supervisor.config.sources import xdg_directory
from supervisor.config.tables import Node, quoted
from supervisor.model.component import Address, Environment, ExitAction, UnixAddress
from supervisor.model.errors import Problem
from supervisor.model.settings import (
    ControlSettings,
    DaemonSettings,
    MailSettings,
    SyslogSettings,
)

LAST_PORT = 65535
_INSTANCE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")


class Base(Struct, frozen=True, kw_only=True):
    """What `[daemon]` gives to every component."""

    umask: int | None
    env: Environment
    """Changes to the environment of each component."""
    env_base: Environment
    """What makes piesd's own environment into the one that they start from."""
    limits: Limits
    log_directory: str
    facility: str
    exit_actions: tuple[ExitAction, ...]
    acls: Acls


class Settings(Struct, frozen=True, kw_only=True):
    """What the files say about piesd itself, and where."""

    daemon: DaemonSettings
    control: ControlSettings
    base: Base
    fields: Fields
    """Of `[daemon]`."""
    mail: Fields
    sockets: tuple[tuple[Address, Node], ...]
    """The control sockets and their places."""
    secrets: tuple[Secret, ...]
    """Files that piesd itself reads."""
    on_exit: tuple[Node, ...]
    """Where the exit actions of all components stand."""


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
    syslog = _syslog(Fields(tables.syslog, keys.SYSLOG_KEYS, problems), host, problems)
    mail = Fields(tables.mail, keys.MAIL_KEYS, problems)
    daemon = replace(
        _daemon(fields, problems, environ, euid, instance),
        syslog=syslog,
        mail=_mail(mail, problems),
    )
    if not sockets and keys.CONTROL_SOCKET.name not in tables.control:
        problems += _too_long(daemon, fields)
    acls = Acls(tables.acls, host, problems)
    orders = build_orders(
        tables.control,
        tables.providers,
        acls,
        host,
        problems,
        sockets=sockets,
        otherwise=default_socket(daemon.runtime_directory, daemon.instance),
    )
    return Settings(
        daemon=daemon,
        control=orders.settings,
        base=_base(fields, daemon, acls, tables, problems),
        fields=fields,
        mail=mail,
        sockets=orders.sockets,
        secrets=orders.secrets,
        on_exit=tables.on_exit,
    )


def _base(
    fields: Fields, daemon: DaemonSettings, acls: Acls, tables: Tables, problems: list[Problem]
) -> Base:
    env = fields.given(keys.DAEMON_ENV) or Environment()
    listed = bool(env.clear or env.keep or env.steps)
    read = [keys.ON_EXIT_TABLES.read(node, problems) for node in tables.on_exit]
    return Base(
        umask=fields.given(keys.DAEMON_UMASK),
        env=Environment() if listed else env,
        env_base=env if listed else Environment(),
        limits=fields.given(keys.DAEMON_LIMITS) or Limits(),
        log_directory=daemon.log_directory,
        facility=daemon.syslog.facility,
        exit_actions=tuple(action for actions in read for action in actions or ()),
        acls=acls,
    )


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
        qotd_file=fields.given(keys.QOTD_FILE),
        pipe_size=fields.need(keys.PIPE_SIZE),
        cgroups=cast('Literal["limits", "all"]', fields.need(keys.CGROUPS)),
        shutdown_timeout=fields.need(keys.SHUTDOWN_TIMEOUT),
        max_starting=fields.need(keys.MAX_STARTING),
        log_level=cast('Literal["debug", "info", "warning", "error"]', fields.need(keys.LOG_LEVEL)),
        log_format=cast('Literal["auto", "text", "logfmt", "json"]', fields.need(keys.LOG_FORMAT)),
        log=cast('Literal["stderr", "syslog", "journal"]', fields.need(keys.LOG)),
        user=fields.given(keys.DAEMON_USER),
        group=fields.given(keys.DAEMON_GROUP) or (),
        allgroups=fields.need(keys.DAEMON_ALLGROUPS),
        runlevel=fields.given(keys.RUNLEVEL) or "",
    )


def _syslog(fields: Fields, host: Host, problems: list[Problem]) -> SyslogSettings:
    node, dev = fields.node(keys.SYSLOG_DEV), fields.need(keys.SYSLOG_DEV)
    return SyslogSettings(
        dev=dev if node is None else _syslog_address(dev, node, host, problems),
        facility=fields.need(keys.SYSLOG_FACILITY),
        tag=fields.given(keys.SYSLOG_TAG) or "",
    )


def _syslog_address(dev: str, node: Node, host: Host, problems: list[Problem]) -> str:
    """Return the path, or `IPv4[:PORT]` with the port as a number."""
    if dev.startswith("/"):
        return dev
    address, colon, port = dev.partition(":")
    try:
        plain = str(ipaddress.IPv4Address(address))
    except ValueError:
        what = "must be the full path of a UNIX socket, or an IPv4 address, with a port or without"
        problems.append(node.problem(f"{what}, not {quoted(dev)}"))
        return dev
    if not colon:
        return plain
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else host.datagram_port(port)
    if number is None or not 1 <= number <= LAST_PORT:
        what = f"{quoted(port)} is neither a port nor a UDP service in /etc/services"
        problems.append(node.problem(what))
        return dev
    return f"{plain}:{number}"


def _mail(fields: Fields, problems: list[Problem]) -> MailSettings:
    node = fields.node(keys.MAIL_COMMAND_LINE)
    if node is not None and fields.given(keys.MAIL_COMMAND_LINE) is not None:
        split(fields.need(keys.MAIL_COMMAND_LINE), node, problems, shell="write a script")
    return MailSettings(
        program=fields.need(keys.MAIL_PROGRAM),
        command_line=fields.need(keys.MAIL_COMMAND_LINE),
        smtp=fields.given(keys.MAIL_SMTP) or "",
        sender=fields.given(keys.MAIL_FROM) or "",
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


def _too_long(daemon: DaemonSettings, fields: Fields) -> list[Problem]:
    """Return whether the default socket would have a path that no socket can have."""
    directory = daemon.runtime_directory
    if len(os.fsencode(default_socket(directory, daemon.instance).path)) <= LONGEST_PATH:
        return []
    place = fields.node(keys.RUNTIME_DIRECTORY) or Node("environment", 0, "XDG_RUNTIME_DIR", "")
    return [place.problem(f"is too long for a socket in it: {quoted(directory)}")]
