"""What the operator configured about piesd itself."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from supervisor.model.access import Acl
from supervisor.model.component import InetAddress, UnixAddress


class SyslogSettings(Struct, frozen=True, kw_only=True):
    """Where syslog is and what piesd's lines say there. Source: pies.md section 1.6.

    `dev` is the full path of a UNIX socket, or `IPv4[:PORT]` for UDP. An empty `tag` means the name
    of the instance.
    """

    dev: str = "/dev/log"
    facility: str = "daemon"
    tag: str = ""


class MailSettings(Struct, frozen=True, kw_only=True):
    """How notifications of exit actions are sent.

    With `smtp` (`HOST[:PORT]`) by that server, else by the program: the text on its standard input,
    the recipients behind `command_line`. `sender` is empty for the one piesd makes up.
    """

    program: str = "/usr/sbin/sendmail"
    command_line: str = "sendmail -oi"
    smtp: str = ""
    sender: str = ""


class DaemonSettings(Struct, frozen=True, kw_only=True):
    """The table `[daemon]`, defaults applied; directories are full paths."""

    instance: str = "piesd"
    runtime_directory: str
    state_directory: str
    log_directory: str
    pidfile: str | None = None
    qotd_file: str | None = None
    """None is `INSTANCE.qotd` in the state directory."""
    pipe_size: int = 1024 * 1024
    """Bytes that a child may print before somebody has to read."""
    cgroups: Literal["limits", "all"] = "limits"
    """Who has a control group, where there may be some."""
    shutdown_timeout: float = 5.0
    """Seconds for all components together, and again for the shutdown components."""
    max_starting: int = 0
    """Components that may be on their way up at once; 0 for any number."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "logfmt", "json"] = "auto"
    log: Literal["stderr", "syslog", "journal"] = "stderr"
    syslog: SyslogSettings = SyslogSettings()
    mail: MailSettings = MailSettings()
    user: str | None = None
    """Who piesd becomes once its sockets are open; None stays."""
    group: tuple[str, ...] = ()
    allgroups: bool = False
    runlevel: str = ""
    """The runlevel that is entered first; empty where there are no runlevels."""


class Provider(Struct, frozen=True, kw_only=True):
    """Somebody who knows names and passwords. Source: pies.md section 1.9.

    `service` is for `pam`, `path` (of a file that `piesctl passwd` writes) for `file`.
    """

    name: str
    type: Literal["system", "pam", "file"]
    service: str = "pies"
    path: str = ""


class Tls(Struct, frozen=True, kw_only=True):
    """Full paths of PEM files. With `client_ca`, clients need a certificate that it has signed."""

    cert: str
    key: str
    client_ca: str | None = None


class ControlSettings(Struct, frozen=True, kw_only=True):
    """The table `[control]`. `anonymous` is what strangers on a loopback TCP socket may do.

    `providers` are asked in their order. `acl` says who may connect, `admin_acl` who may deal with
    the instance and its configuration, `user_acl` who may do the rest.
    """

    sockets: tuple[InetAddress | UnixAddress, ...]
    anonymous: Literal["list", "admin"] | None = None
    realm: str = "pies"
    tls: Tls | None = None
    providers: tuple[Provider, ...] = ()
    acl: Acl | None = None
    admin_acl: Acl | None = None
    user_acl: Acl | None = None


class SourceFile(Struct, frozen=True):
    """One configuration file (or directory) as given, and its syntax."""

    file: str
    syntax: str
