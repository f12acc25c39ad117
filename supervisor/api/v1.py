"""Everything that pies does not have. Source: control-api.md section 4."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from quart import Blueprint, Response, request

from supervisor.api import asking
from supervisor.api.answers import EVENTS, EventStream, json_answer, sent_event, stream_answer
from supervisor.api.listing import PARAMETERS, Shape, arrange, project, shape_of
from supervisor.control.logs import MOST_LINES
from supervisor.control.orders import ACTIONS, LATER, signal_number
from supervisor.model.errors import BadRequest
from supervisor.selectors import All, HasTag

if TYPE_CHECKING:
    from supervisor.control.feed import Cursor, Event
    from supervisor.control.logs import LogLine
    from supervisor.control.orders import Outcome
    from supervisor.model.events import Action

_PLAIN_ACTIONS = "start,stop,restart,reset"


v1 = Blueprint("v1", __name__, url_prefix="/v1")
"""The endpoints under `/v1`."""


# --- components


@v1.get("/components")
async def components() -> Response:
    query = asking.query("selector", "usage", more=PARAMETERS)
    selector, caller = query.selector(), asking.caller()
    matches = asking.control().list(All() if selector is None else selector, caller)
    rows = await asking.rows(matches, usage=query.flag("usage"))
    return _envelope(
        rows, shape_of(query), asking.control().count(caller), pretty=query.flag("pretty")
    )


@v1.get("/components/<tag>")
async def component(tag: str) -> Response:
    query = asking.query("usage", "fields", "exclude-fields", "pretty")
    match = asking.control().describe(tag, asking.caller())
    (row,) = await asking.rows([match], usage=query.flag("usage"))
    shown = project(msgspec.to_builtins(row), shape_of(query))
    return json_answer(shown, pretty=query.flag("pretty"))


@v1.put("/components")
async def order_components() -> Response:
    query = asking.query("action", "selector", more=asking.ORDER_PARAMETERS)
    action, signum = _action(query.text("action"))
    selector = query.selector()
    if selector is None:
        error = BadRequest(f"cannot {action}: there is no selector")
        error.hint = "Everything is the selector true."
        raise error
    order = asking.order_request(action, selector, query, signum)
    return _outcome(await asking.control().order(order, asking.caller()))


@v1.put(f"/components/<tag>/<any({_PLAIN_ACTIONS}):action>")
async def order_component(tag: str, action: Action) -> Response:
    return await _order_one(tag, action, 0)


@v1.put("/components/<tag>/signal/<name>")
async def signal_component(tag: str, name: str) -> Response:
    return await _order_one(tag, "signal", signal_number(name))


@v1.put(f"/components/<tag>/<any({','.join(LATER)}):action>")
async def order_later(tag: str, action: str) -> Response:
    raise BadRequest(f"cannot {action} {tag!r}: this is not supported yet")


async def _order_one(tag: str, action: Action, signum: int) -> Response:
    query = asking.query(more=asking.ORDER_PARAMETERS)
    order = asking.order_request(action, HasTag(tag), query, signum)
    return _outcome(await asking.control().order_existing(tag, order, asking.caller()))


# --- output and events


@v1.get("/components/<tag>/log")
async def log(tag: str) -> Response:
    query = asking.query("tail", "stream", "follow")
    stream, caller, control = _stream(query.text("stream")), asking.caller(), asking.control()
    tail = query.number("tail")
    most = 2 * MOST_LINES if tail is None else min(tail, 2 * MOST_LINES)
    # Also where it is to be followed: it says now what would be wrong with that.
    lines = control.log_tail(tag, stream, most, caller)
    if not query.flag("follow"):
        text = b"".join(line.text + b"\n" for line in lines)
        return Response(text, content_type="text/plain; charset=utf-8")
    if request.method == "HEAD":
        return Response(b"", content_type=EVENTS)
    seen = _seen(request.headers.get("Last-Event-ID"))
    return stream_answer(
        EventStream(lambda: control.log_follow(tag, stream, most, seen, caller), _log_event)
    )


@v1.get("/events")
async def events() -> Response:
    query = asking.query("since", "follow")
    follow = query.flag("follow", default=True)
    # Who comes back sends the same query again; only the header knows how far it has come.
    since = _number(request.headers.get("Last-Event-ID"))
    if since is None:
        since = query.number("since")
    if since is None and not follow:
        since = 0
    cursor = asking.control().events(since, asking.caller())
    if request.method == "HEAD":
        return Response(b"", content_type=EVENTS)
    reader = cursor if follow else _Kept(cursor)
    return stream_answer(EventStream(lambda: _as_context(reader), _feed_event))


# --- the plan, and questions about piesd itself


@v1.get("/plan")
async def plan() -> Response:
    query = asking.query("all", more=PARAMETERS)
    preview = await asking.control().plan_preview(asking.caller())
    shown = query.flag("all")
    changes = [each for each in preview.changes if shown or each.action != "none"]
    total = len(preview.changes)
    return _envelope(changes, shape_of(query), total, pretty=query.flag("pretty"))


@v1.get("/diag/about")
async def about() -> Response:
    query = asking.query("pretty")
    facts = asking.control().about(asking.caller())
    answer = msgspec.to_builtins(facts) | {
        "started-at": facts.started,
        "logins": asking.control().logins(asking.caller()),
        "longest-hold": asking.control().longest_hold(asking.caller()),
    }
    return json_answer(answer, pretty=query.flag("pretty"))


@v1.get("/diag/why/<tag>")
async def why(tag: str) -> Response:
    query = asking.query("pretty")
    answer = await asking.control().why(tag, asking.caller())
    return json_answer(answer, pretty=query.flag("pretty"))


def _envelope(rows: Sequence[Any], shape: Shape, total: int, *, pretty: bool) -> Response:
    shown = arrange(rows, shape)
    counts = {"totalCount": total, "matchCount": len(rows), "resultCount": len(shown)}
    return json_answer(counts | {"results": shown}, pretty=pretty)


def _outcome(outcome: Outcome) -> Response:
    messages = [outcome.message] if outcome.message else []
    answer = {"messages": messages, "matched": outcome.tags, **asking.rehearsal(outcome)}
    done = outcome.settled or outcome.plan is not None
    return json_answer(answer, 200 if done else 202)


def _action(text: str | None) -> tuple[Action, int]:
    """Read `stop`, or `signal/HUP`.

    Raises:
        BadRequest
    """
    word, _, name = (text or "").partition("/")
    if word == "signal" and name:
        return "signal", signal_number(name)
    for action in ACTIONS:
        if action == text and action != "signal":
            return action, 0
    if word in LATER:
        raise BadRequest(f"cannot {word}: this is not supported yet")
    error = BadRequest(f"cannot do {(text or '')[:40]!r}: there is no such action")
    error.hint = f"The actions are {_PLAIN_ACTIONS.replace(',', ', ')} and signal/NAME."
    raise error


# --- output and events


def _stream(text: str | None) -> Literal["stdout", "stderr"] | None:
    match text:
        case None | "stdout" | "stderr":
            return text
        case _:
            raise BadRequest(f"cannot use stream={text[:40]!r}: expected stdout or stderr")


def _log_event(line: LogLine) -> bytes:
    seen = f"{line.seen.get('stdout', 0)}.{line.seen.get('stderr', 0)}"
    return sent_event(line.stream, line.text, seen)


def _seen(header: str | None) -> dict[Literal["stdout", "stderr"], int] | None:
    """Read what `_log_event` has written; anything else is as good as nothing."""
    out, _, err = (header or "").partition(".")
    first, second = _number(out), _number(err)
    if first is None or second is None:
        return None
    return {"stdout": first, "stderr": second}


def _feed_event(event: Event) -> bytes:
    return sent_event(event.kind, msgspec.json.encode(event), str(event.number))


def _number(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 16):
        return None
    return int(text)


class _Kept:
    """Reads what there is, and does not wait for more."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    async def next(self) -> list[Event]:
        """Return what is there."""
        return self._cursor.take()


@contextmanager
def _as_context(reader: Cursor | _Kept) -> Iterator[Cursor | _Kept]:
    yield reader
