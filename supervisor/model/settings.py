"""What the operator configured about piesd itself."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from supervisor.model.component import InetAddress, UnixAddress


class DaemonSettings(Struct, frozen=True, kw_only=True):
    """The table `[daemon]`, defaults applied; directories are full paths."""

    instance: str = "piesd"
    runtime_directory: str
    state_directory: str
    log_directory: str
    pidfile: str | None = None
    shutdown_timeout: float = 5.0
    """Seconds for all components together, and again for the shutdown components."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "logfmt", "json"] = "auto"


class ControlSettings(Struct, frozen=True, kw_only=True):
    """The table `[control]`. `anonymous` is what strangers on a loopback TCP socket may do."""

    sockets: tuple[InetAddress | UnixAddress, ...]
    anonymous: Literal["list", "admin"] | None = None


class SourceFile(Struct, frozen=True):
    """One configuration file (or directory) as given, and its syntax."""

    file: str
    syntax: str
