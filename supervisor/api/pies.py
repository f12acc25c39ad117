"""The endpoints of GNU pies, which answer as pies does. Source: pies.md section 4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response, request

from supervisor.api import asking
from supervisor.api.answers import json_answer, ok
from supervisor.api.listing import PARAMETERS, arrange, shape_of
from supervisor.model.errors import BadRequest, Forbidden, NotFound
from supervisor.model.settings import SourceFile
from supervisor.selectors import All, And, HasTag, HasType, Selector, parse_json

if TYPE_CHECKING:
    from supervisor.api.params import Query
    from supervisor.control.about import About
    from supervisor.control.orders import Outcome
    from supervisor.model.events import Action

_ACTIONS: dict[str, Action] = {"PUT": "start", "DELETE": "stop", "POST": "restart"}


class _File(Struct, forbid_unknown_fields=True):
    file: Annotated[str, Meta(min_length=1, max_length=4096)]
    syntax: str = ""


class _Reexec(Struct, forbid_unknown_fields=True):
    keep: bool = False
    """Ours: every component goes on as it is."""


class _Reload(Struct, forbid_unknown_fields=True, rename="kebab"):
    reload: bool = True
    max_restarts: Annotated[int, Meta(ge=0)] | None = None


pies = Blueprint("pies", __name__)
"""The endpoints at the root."""


# --- programs


@pies.get("/programs")
async def list_programs() -> Response:
    query = asking.query("selector", "usage", more=PARAMETERS)
    selector = query.selector()
    return await _listing(All() if selector is None else selector, query)


@pies.get("/programs/<path:tag>")
async def list_program(tag: str) -> Response:
    return await _listing(_program(tag), asking.query("usage", more=PARAMETERS))


@pies.route("/programs", methods=["PUT", "DELETE"])
async def order_programs() -> Response:
    query = asking.query("selector", more=asking.ORDER_PARAMETERS)
    return await _order(query.selector(), query)


@pies.post("/programs")
async def restart_programs() -> Response:
    query = asking.query("selector", more=asking.ORDER_PARAMETERS)
    data = await request.get_data(cache=False, as_text=False)
    selector = query.selector()
    if data.strip():
        if selector is not None:
            raise BadRequest("cannot restart: there is a selector in the query and in the body")
        selector = parse_json(data)
    return await _order(selector, query)


@pies.route("/programs/<path:tag>", methods=["PUT", "DELETE", "POST"])
async def order_program(tag: str) -> Response:
    return await _order(_program(tag), asking.query(more=asking.ORDER_PARAMETERS))


# --- the instance


@pies.get("/instance")
async def instance() -> Response:
    query = asking.query("pretty")
    answer = _instance(asking.control().about(asking.caller()))
    return json_answer(answer, pretty=query.flag("pretty"))


@pies.get("/instance/<key>")
async def instance_key(key: str) -> Response:
    asking.query()
    facts = _instance(asking.control().about(asking.caller()))
    if key not in facts:
        raise NotFound(key)
    return json_answer({key: facts[key]})


@pies.route("/instance/<key>", methods=["DELETE", "PUT", "POST"])
async def end_instance(key: str) -> Response:
    asking.query()
    caller = asking.caller()
    # The name of the attribute, as pies has it; its value is as clear.
    if key not in ("PID", str(asking.control().about(caller).pid)):
        raise NotFound(key)
    if request.method == "DELETE":
        await asking.control().shutdown(caller)
        return ok()
    wish = await asking.body(_Reexec)
    if wish is not None and wish.keep:
        await asking.control().upgrade(caller)
    else:
        await asking.control().reexec(caller)
    return ok()


# --- the configuration


@pies.get("/conf/files")
async def files() -> Response:
    query = asking.query("pretty")
    return json_answer(asking.control().files(asking.caller()), pretty=query.flag("pretty"))


@pies.post("/conf/files")
async def add_file() -> Response:
    asking.query()
    file = await asking.body(_File)
    if file is None:
        raise BadRequest('cannot add a file: the body is empty; send {"file":…,"syntax":…}')
    asking.control().add_file(SourceFile(file.file, file.syntax), asking.caller())
    return ok(status=201)


@pies.delete("/conf/files/<path:which>")
async def remove_files(which: str) -> Response:
    asking.query()
    names = _file_names(which)
    asking.control().remove_files(names, asking.caller())
    return ok("file list cleared" if names is True else "")


@pies.put("/conf/runtime")
async def reload() -> Response:
    return await _reload(await asking.body(_Reload))


@pies.put("/conf/runtime/<path:what>")
async def reload_by_path(what: str) -> Response:
    return await _reload(_decoded(what, _Reload))


# --- alive


@pies.get("/alive")
@pies.get("/alive/")
async def alive_nobody() -> Response:
    raise Forbidden("cannot tell what is alive: no component was named")


@pies.get("/alive/<tag>")
async def alive(tag: str) -> Response:
    asking.query()
    answer = asking.control().alive(tag, asking.caller())
    if answer.up:
        return ok()
    retry = answer.retry_after
    headers = {} if retry is None else {"Retry-After": str(retry)}
    down = {"status": "ER", "message": f"{tag} is not up"}
    return json_answer(down, 503, headers=headers)


def _program(tag: str) -> Selector:
    return And((HasType("component"), HasTag(tag)))


async def _listing(selector: Selector, query: Query) -> Response:
    shape, usage = shape_of(query), query.flag("usage")
    matches = asking.control().list(selector, asking.caller())
    rows = await asking.rows(matches, usage=usage)
    return json_answer(arrange(rows, shape), pretty=query.flag("pretty"))


async def _order(selector: Selector | None, query: Query) -> Response:
    action = _ACTIONS[request.method]
    if selector is None:
        error = BadRequest(f"cannot {action}: there is no selector")
        error.hint = "Everything is the selector true."
        raise error
    order = asking.order_request(action, selector, query)
    outcome: Outcome = await asking.control().order(order, asking.caller())
    return ok(outcome.message, **asking.rehearsal(outcome))


async def _reload(body: _Reload | None) -> Response:
    query = asking.query("dry-run", "all", "pretty")
    body = body or _Reload()
    if not body.reload:
        raise BadRequest('cannot reload: the body says {"reload":false}')
    reloaded = await asking.control().reload(
        asking.caller(), max_restarts=body.max_restarts, dry_run=query.flag("dry-run")
    )
    shown = query.flag("all")
    changes = [each for each in reloaded.changes if shown or each.action != "none"]
    answer = {"status": "OK", "message": reloaded.message, "changes": changes}
    return json_answer(answer, pretty=query.flag("pretty"))


def _instance(about: About) -> dict[str, Any]:
    return {
        "PID": about.pid,
        "argv": about.argv,
        "binary": about.binary,
        "instance": about.instance,
        "package": about.package,
        "version": about.version,
    }


def _file_names(which: str) -> list[str] | Literal[True]:
    names: list[str] | Literal[True] | None = _decoded(which, list[str] | bool) or None
    if names is None:
        raise BadRequest("cannot remove files: give true for all, or an array of names")
    return names


def _decoded(text: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise BadRequest(f"cannot read the end of the path as JSON: {error}") from None
