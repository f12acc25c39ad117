"""`/runlevel` and `/environ` as pies has them. Source: pies.md sections 4.5 and 4.6."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from quart import Blueprint, Response

from supervisor.api import asking
from supervisor.api.answers import json_answer, ok
from supervisor.model.errors import BadRequest

_FORM = '{"runlevel":"3"}'


class _Level(Struct, forbid_unknown_fields=True):
    runlevel: str | int
    timeout: float | None = None
    """Only here: seconds between the signal and SIGKILL for what leaves."""


machine = Blueprint("machine", __name__)
"""The endpoints at the root that are about the machine."""


@machine.get("/runlevel")
async def runlevel() -> Response:
    query = asking.query("pretty")
    answer = asking.control().runlevel(asking.caller())
    return json_answer(answer, pretty=query.flag("pretty"))


@machine.put("/runlevel")
async def go_to_runlevel() -> Response:
    asking.query()
    return await _go_to(await asking.body(_Level))


@machine.put("/runlevel/<path:what>")
async def go_to_runlevel_by_path(what: str) -> Response:
    asking.query()
    try:
        level = msgspec.json.decode(what, type=_Level)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise BadRequest(f"cannot read the end of the path as {_FORM}: {error}") from None
    return await _go_to(level)


@machine.get("/environ")
async def environ() -> Response:
    query = asking.query("pretty")
    found = asking.control().environ(asking.caller())
    listed = [f"{name}={value}" for name, value in found.items()]
    return json_answer(listed, pretty=query.flag("pretty"))


@machine.get("/environ/")
async def environ_with_a_slash() -> Response:
    return await environ()


@machine.get("/environ/<name>")
async def variable(name: str) -> Response:
    asking.query()
    return ok(value=asking.control().variable(name, asking.caller()))


@machine.put("/environ/<path:assignment>")
async def set_variable(assignment: str) -> Response:
    asking.query()
    name, equals, value = assignment.partition("=")
    if not equals:
        raise BadRequest(f"cannot set {name[:40]!r}: the path has to end in NAME=VALUE")
    await asking.control().set_variable(name, value, asking.caller())
    return ok(value=value)


@machine.delete("/environ/<name>")
async def unset_variable(name: str) -> Response:
    asking.query()
    await asking.control().unset_variable(name, asking.caller())
    return ok()


async def _go_to(level: _Level | None) -> Response:
    if level is None:
        raise BadRequest(f"cannot change the runlevel: the body is empty; send {_FORM}")
    control, caller = asking.control(), asking.caller()
    await control.go_to_runlevel(str(level.runlevel), caller, level.timeout)
    return ok()
