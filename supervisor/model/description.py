"""What people and selectors see of an entity."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from supervisor.model.component import Where


class BlockView(Struct, frozen=True, kw_only=True):
    """Why it is not running. `until` is RFC 3339 in UTC, None where nobody knows."""

    type: str
    message: str
    until: str | None = None


class ExitView(Struct, frozen=True, kw_only=True):
    """How it ended last. `at` is RFC 3339 in UTC; `stage` and `errno` name a failed start.

    `oom`: the kernel has killed it, because its group had used up its memory, or the machine had.
    """

    code: int | UnsetType = UNSET
    signal: str | UnsetType = UNSET
    core: bool | UnsetType = UNSET
    oom: bool | UnsetType = UNSET
    stage: str | UnsetType = UNSET
    errno: str | UnsetType = UNSET
    at: str
    message: str
    lasted: float
    cpu: float
    peak: int


_RENAMED = {"pid": "PID", "url": "URL"}


def _json_name(name: str) -> str:
    return _RENAMED.get(name, name.replace("_", "-"))


class Description(Struct, frozen=True, kw_only=True, rename=_json_name):
    """One row of a listing. What does not apply is left out of the JSON.

    The first block is exactly what GNU pies shows (pies.md section 4.3); the rest is ours
    (control-api.md section 2). `type` is `component`, or `command` for an exit action.
    """

    tag: str
    type: str = "component"
    mode: str
    status: str
    active: bool
    pid: int | UnsetType = UNSET
    url: str | UnsetType = UNSET
    service: str | UnsetType = UNSET
    master: str | UnsetType = UNSET
    runlevels: str | UnsetType = UNSET
    wakeup_time: int | UnsetType = UNSET
    """Seconds until the next try; sleeping components only."""
    argv: tuple[str, ...] | UnsetType = UNSET
    command: str | UnsetType = UNSET

    blocked_by: BlockView | None = None
    ready: bool = False
    uptime: float | None = None
    started_at: str | None = None
    restarts: int = 0
    failures: int = 0
    last_exit: ExitView | None = None
    prerequisites: tuple[str, ...] = ()
    dependents: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    source: Where | None = None
    user: str | None = None
    log: dict[str, str] = {}
    """For `stdout` and `stderr`, where the stream goes."""
    generation: int = 0
    description: str | UnsetType = UNSET
    template: str | UnsetType = UNSET
    instance: int | UnsetType = UNSET
    wanted: bool = False
    waits_for: tuple[int, ...] | UnsetType = UNSET
    """While stopping: the processes that are not gone yet."""
    connections: int | UnsetType = UNSET
    """Listeners: how many connections are being served."""
    refused: int | UnsetType = UNSET
    """Listeners: how many connections were refused, in all."""
    sockets: tuple[str, ...] | UnsetType = UNSET
    """The URLs of all sockets, where there are several."""
    peer: str | UnsetType = UNSET
    """Connections: the client's address."""
    wish: dict[str, str] | UnsetType = UNSET
    """Who asked for what last, and when."""
