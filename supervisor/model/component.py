"""What the operator configured: one `Component` for each thing that is supervised."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct

Tag = str
"""The unique name of a component. It never contains `#`, which marks connections (see `Key`)."""

Key = str
"""What the engine calls an entity: a component's tag, or `TAG#N` for its connection number N."""

LIVE = Meta(extra={"change": "live"})
"""Marks a field of `Component` whose change applies without a new child."""


class Mode(StrEnum):
    """How a component lives. Source: pies.md section 2.1."""

    RESPAWN = "respawn"
    ONCE = "once"
    STARTUP = "startup"
    SHUTDOWN = "shutdown"
    INETD = "inetd"


class Where(Struct, frozen=True):
    """A place in a configuration file. Lines count from 1; 0 means the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Respawn(Struct, frozen=True, kw_only=True):
    """The failure policy: when a component that keeps ending is left alone for a while.

    More than `max` starts within `window` seconds put it to sleep for `sleep` seconds. `delay`
    seconds (0: none) pass before a restart; each quick failure in a row doubles them up to
    `delay_max`.

    Source: pies.md section 2.3 for the defaults.
    """

    max: int = 10
    window: float = 120.0
    sleep: float = 300.0
    delay: float = 0.0
    delay_max: float = 30.0


class Output(Struct, frozen=True, kw_only=True):
    """Where one output stream of a child goes.

    `stdout` is meant for standard error only: the same place as standard output. `path` is set
    exactly for `file`; `rotate_size` is bytes, 0 for never.
    """

    kind: Literal["inherit", "null", "file", "stdout"] = "inherit"
    path: str | None = None
    rotate_size: int = 0
    rotate_keep: int = 5


class Environment(Struct, frozen=True, kw_only=True):
    """How the environment of a child is made from piesd's own, computed at each start.

    `clear` starts from nothing, `keep` (shell patterns; implies clear) lets some names through,
    then `unset` removes and `set` adds.
    """

    clear: bool = False
    keep: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    set: dict[str, str] = {}


class InetAddress(Struct, frozen=True, kw_only=True, tag="inet"):
    """A TCP address to listen on. `host` is a literal IPv4 or IPv6 address, `port` 0..65535."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address in the form that listings show."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"inet+tcp://{host}:{self.port}"


class UnixAddress(Struct, frozen=True, kw_only=True, tag="unix"):
    """A UNIX stream socket to listen on. `mode` is an octal permission number."""

    path: str
    mode: int | None = None
    user: str | None = None
    group: str | None = None

    @property
    def url(self) -> str:
        """The address in the form that listings show."""
        return f"unix://{self.path}"


Address = InetAddress | UnixAddress


class Component(Struct, frozen=True, kw_only=True):
    """One supervised thing, fully resolved: defaults applied, names checked, strings expanded.

    A field marked `LIVE` takes effect without a new child; any other change needs one (see
    `supervisor.engine.plan`). Durations are seconds.
    """

    tag: Tag
    mode: Mode = Mode.RESPAWN
    argv: tuple[str, ...]
    """The words given to execve; for a shell command `("/bin/sh", "-c", TEXT)`."""
    command: Annotated[str, LIVE] = ""
    """The command as a person wrote it, for listings."""
    program: str | None = None
    """The file to execute where it is not the first word of `argv`."""

    template: Annotated[Tag | None, LIVE] = None
    """For `web:2` the name it was made from, `web`."""
    instance: Annotated[int | None, LIVE] = None
    description: Annotated[str, LIVE] = ""
    labels: Annotated[dict[str, str], LIVE] = {}
    source: Annotated[Where, LIVE] = Where("", 0)

    prerequisites: Annotated[tuple[Tag, ...], LIVE] = ()
    """Tags of components that must be up first; templates are already expanded."""
    enabled: Annotated[bool, LIVE] = True
    """False for pies' `disable`: known, but not started by itself."""
    precious: Annotated[bool, LIVE] = False
    """Never put to sleep, however fast it ends."""
    essential: Annotated[bool, LIVE] = False
    required: Annotated[bool, LIVE] = False
    respawn: Annotated[Respawn, LIVE] = Respawn()
    stop_signal: Annotated[int, LIVE] = 15
    stop_timeout: Annotated[float, LIVE] = 5.0

    user: str | None = None
    group: tuple[str, ...] = ()
    """Supplementary groups beside the primary group of `user`."""
    allgroups: bool = False
    umask: int | None = None
    chdir: str | None = None
    env: Environment = Environment()
    nullinput: bool = False

    stdout: Annotated[Output, LIVE] = Output()
    stderr: Annotated[Output, LIVE] = Output()

    socket: Address | None = None
    """Set exactly for the mode inetd."""
    max_instances: Annotated[int | None, LIVE] = None
    """The number of connections served at once; None for no limit."""
