"""What the handlers of both families need to read a request."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from quart import current_app, g, request

from supervisor.api.params import Query
from supervisor.control.orders import Outcome, Request
from supervisor.model.errors import BadRequest

if TYPE_CHECKING:
    from supervisor.control.control import Control
    from supervisor.control.identity import Caller
    from supervisor.control.selection import Match
    from supervisor.model.events import Action
    from supervisor.selectors import Selector

ORDER_PARAMETERS = ("wait", "dry-run")
"""What every order takes."""

T = TypeVar("T")


def control() -> Control:
    """Return what answers the requests of this application."""
    found: Control = current_app.extensions["control"]
    return found


def caller() -> Caller:
    """Return who sent this request, as was found out before it was handled."""
    found: Caller = g.caller
    return found


def query(*allowed: str, more: Collection[str] = ()) -> Query:
    """Return the query of this request, in which only these parameters may be."""
    return Query(request.query_string, (*allowed, *more))


async def body(kind: type[T]) -> T | None:
    """Return the body of this request, read strictly as *kind*; None if it is empty.

    Raises:
        BadRequest
    """
    data = await request.get_data(cache=False, as_text=False)
    if not data.strip():
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise BadRequest(f"cannot read the body: {error}") from None
    except UnicodeDecodeError:
        raise BadRequest("cannot read the body: it is not UTF-8") from None


def order_request(
    action: Action, selector: Selector, parameters: Query, signum: int = 0
) -> Request:
    """Return what *parameters* and the header ask for beside the action itself."""
    return Request(
        action=action,
        selector=selector,
        wait=parameters.seconds("wait"),
        dry_run=parameters.flag("dry-run"),
        if_match=_token(request.headers.get("If-Match")),
        signum=signum,
    )


def rehearsal(outcome: Outcome) -> dict[str, Any]:
    """Return what a rehearsal adds to its answer."""
    return {} if outcome.plan is None else {"plan": outcome.plan, "token": outcome.token}


async def rows(matches: Sequence[Match], *, usage: bool) -> list[Any]:
    """Return the descriptions among *matches*, with what their processes use if asked for."""
    if not usage:
        return [row for _, row in matches]
    measured = await control().usage([key for key, _ in matches], caller())
    objects: list[dict[str, Any]] = msgspec.to_builtins([row for _, row in matches])
    for (key, _), row in zip(matches, objects, strict=True):
        if key in measured:
            row["cpu"] = msgspec.to_builtins(measured[key].cpu)
            row["memory"] = msgspec.to_builtins(measured[key].memory)
            if (group := measured[key].group) is not None:
                row["memory"]["group"] = group.memory
                row["pressure"] = msgspec.to_builtins(group.pressure)
    return objects


def _token(header: str | None) -> str | None:
    """Return the token of `If-Match`, with or without the quotes of an entity tag."""
    if header is None:
        return None
    return header.strip().removeprefix("W/").strip('"')
