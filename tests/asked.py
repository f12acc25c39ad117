"""A control over a real runner on the simulated operating system, and a way to ask it over ASGI."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import unquote

import trio
from msgspec.structs import replace
from quart_trio import QuartTrio

from running import House, house
from supervisor.api.app import create_app
from supervisor.api.limits import Limits
from supervisor.api.peer import Peer
from supervisor.control.about import About, Hooks
from supervisor.control.control import Control
from supervisor.control.identity import Caller, Identities
from supervisor.control.orders import Outcome, Request
from supervisor.engine.plan import Plan
from supervisor.model.component import Component, Key, UnixAddress
from supervisor.model.errors import SupervisorError
from supervisor.model.settings import ControlSettings, DaemonSettings, SourceFile
from supervisor.selectors import HasTag, Selector

ROOT = Caller("root of the tests", "admin")
GUEST = Caller("a guest", "list")
STRANGER = Caller("a stranger", "none")

ABOUT = About(
    pid=42,
    argv=("piesd", "-c", "/etc/piesd"),
    binary="/usr/bin/python3",
    instance="tested",
    version="1.2.3",
    started_at=1_700_000_000.0,
)


def plan_of(*components: Component, files: Sequence[SourceFile] = ()) -> Plan:
    """A plan with nothing special about it but its components."""
    return Plan(
        components=components,
        daemon=DaemonSettings(
            runtime_directory="/run/x", state_directory="/var/x", log_directory="/log/x"
        ),
        control=ControlSettings(sockets=(UnixAddress(path="/run/x/x.ctl"),)),
        files=tuple(files),
    )


class Disk:
    """What a reload reads: a plan, or an error that is raised."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.error: SupervisorError | None = None
        self.read: list[tuple[SourceFile, ...]] = []

    def write(self, *components: Component) -> None:
        """Let the files hold these components."""
        self.plan = replace(self.plan, components=components)

    def load(self, files: Sequence[SourceFile]) -> Plan:
        self.read.append(tuple(files))
        if self.error is not None:
            raise self.error
        return replace(self.plan, files=tuple(files))


class Desk:
    """A control, and what stands behind it."""

    def __init__(self, home: House, control: Control, disk: Disk, hooked: list[str]) -> None:
        self.home, self.control, self.disk, self.hooked = home, control, disk, hooked

    @functools.cached_property
    def app(self) -> QuartTrio:
        """What answers requests; most tests ask the control itself, and it costs 20 ms."""
        return create_app(self.control, Limits())

    async def order(self, action: str, what: Selector | str, **more: Any) -> Outcome:
        """Give an order as root; a string is a tag."""
        selector = HasTag(what) if isinstance(what, str) else what
        request = Request(action=cast("Any", action), selector=selector, **more)
        return await self.control.order(request, ROOT)

    def status(self, key: Key) -> str:
        return self.control.describe(key, ROOT)[1].status

    def pid(self, key: Key) -> int | None:
        return self.home.runner.engine.world.states[key].pid

    async def ask(self, method: str, target: str, body: Any = b"", **more: Any) -> Answer:
        """Send one request as root (`peer`, `headers` may say otherwise)."""
        return await ask(self.app, method, target, body, **more)


@asynccontextmanager
async def desk(
    components: Sequence[Component],
    prepare: Callable[[House], None] = lambda _: None,
    *,
    files: Sequence[SourceFile] = (),
    init: bool = False,
    runlevel: str = "",
) -> AsyncIterator[Desk]:
    """Run *components*, and a control that answers for them."""
    async with house(components, prepare, init=init, runlevel=runlevel) as home:
        plan = plan_of(*components, files=files)
        plan = replace(plan, daemon=replace(plan.daemon, runlevel=runlevel))
        disk, hooked = Disk(plan), list[str]()
        hooks = Hooks(
            reexec=lambda: hooked.append("reexec"),
            reloading=lambda: hooked.append("reloading"),
            ready=lambda status: hooked.append(f"ready: {status}"),
        )
        control = Control(
            home.runner,
            plan=plan,
            load=disk.load,
            about=ABOUT,
            hooks=hooks,
            identities=Identities(uid=1000),
        )
        yield Desk(home, control, disk, hooked)


class Answer:
    """What came back. `body` is raw, `json` decoded."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def tags(self) -> list[str]:
        return [row["tag"] for row in self.json]


async def ask(
    app: QuartTrio,
    method: str,
    target: str,
    body: Any = b"",
    *,
    peer: Peer | Caller = ROOT,
    headers: dict[str, str] | None = None,
    answer: Answer | None = None,
) -> Answer:
    """Send one request to *app* as the server would; *target* goes as it is, encoded or not.

    What comes back is put into *answer* as it comes.
    """
    path, _, query = target.partition("?")
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    raw = {"host": "piesd", **(headers or {})}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "asgi": {"spec_version": "2.1", "version": "3.0"},
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in raw.items()],
        "client": None,
        "server": None,
        "state": {"peer": peer if isinstance(peer, Peer) else Peer(peer)},
        "extensions": {},
    }
    answer, sent = answer or Answer(), False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await trio.sleep_forever()
        sent = True
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            pairs = message["headers"]
            answer.headers = {name.decode().lower(): value.decode() for name, value in pairs}
        else:
            answer.body += message.get("body", b"")

    await app(cast("Any", scope), cast("Any", receive), cast("Any", send))
    return answer
