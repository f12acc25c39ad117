"""Everything a daemon can be asked, as methods: the same as `supervisor.control`, over HTTP."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlencode

from supervisor.client.connection import Credentials, Exchange, Telling, Trust
from supervisor.client.errors import NotSettled, Refused, Unreachable
from supervisor.client.stream import Message, messages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from supervisor.client.place import Place

Json = Any
"""A decoded JSON value."""

Selector = Json
"""The JSON form of a selector."""

ALL: Selector = True

# What pies asks by methods of /programs. What it does not know goes to /v1/components.
_METHODS = {"start": "PUT", "stop": "DELETE", "restart": "POST"}

# A shorter wait of ours than the daemon's would turn "not settled" into "no answer".
_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Order:
    """A request to everything that a selector matches.

    `action` is `start`, `stop`, `restart`, `reset` or `signal/NAME`. With `wait` it is answered
    when all have settled or so many seconds are over. `rehearse` changes nothing and answers with
    the plan and a token, which as `token` makes sure that the plan still holds.
    """

    action: str
    selector: Selector
    wait: float | None = None
    rehearse: bool = False
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Alive:
    """Whether a component is up: `status` is the HTTP status, `retry_after` in seconds."""

    status: int
    retry_after: int | None = None

    @property
    def verdict(self) -> Literal["up", "down", "unknown"]:
        """The answer as a word."""
        if self.status == 200:
            return "up"
        return "unknown" if self.status == 404 else "down"


class Pending:
    """An order that waits for its answer."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def ready(self, seconds: float) -> bool:
        """Wait at most *seconds* for the answer; return whether it is there."""
        return self._exchange.ready(seconds)

    def answer(self) -> dict[str, Json]:
        """Return the answer, waiting for it if need be.

        Raises:
            Refused, NotSettled, Unreachable
        """
        return _object(_decode(self._exchange))

    def close(self) -> None:
        """Wait no longer. The order stays given."""
        self._exchange.close()


class Client:
    """A daemon as seen from elsewhere. Each method is one request on a connection of its own.

    Every method may raise `Unreachable`, and `Refused` when the daemon says no.

    Args:
        place: where the daemon is (see `supervisor.client.place.find`).
        timeout: seconds to wait for anything but what was asked to take longer.
        telling: who is told of each request and its answer.
        credentials: who we say we are; without, the daemon goes by our uid or our certificate.
        trust: for `https`.
    """

    def __init__(
        self,
        place: Place,
        timeout: float = 10.0,
        telling: Telling | None = None,
        *,
        credentials: Credentials | None = None,
        trust: Trust | None = None,
    ) -> None:
        self.place, self.timeout = place, timeout
        self._credentials, self._trust = credentials, trust
        self._telling = telling

    # --- pies' endpoints

    def identity(self, key: str | None = None) -> dict[str, Json]:
        """Return the attributes of the instance, or only that one."""
        return _object(self._ask("GET", f"/instance/{_word(key)}" if key else "/instance"))

    def programs(
        self, selector: Selector = ALL, *, fields: Sequence[str] = (), usage: bool = False
    ) -> list[dict[str, Json]]:
        """Return the descriptions of what *selector* matches.

        Args:
            selector: JSON form; everything by default.
            fields: only these attributes; all by default.
            usage: with the processor and memory use of the whole process trees.
        """
        query: dict[str, str] = {}
        if fields:
            query["fields"] = ",".join(fields)
        if usage:
            query["usage"] = "true"
        return _objects(self._ask("GET", _programs(selector, query)))

    def begin(self, order: Order) -> Pending:
        """Send *order* and return at once; for callers that have something to do meanwhile."""
        patience = self.timeout if order.wait is None else order.wait + _GRACE
        method, target, body = _order_request(order)
        headers = {"If-Match": order.token} if order.token else {}
        return Pending(self._exchange(method, target, body, headers, patience))

    def order(self, order: Order) -> dict[str, Json]:
        """Send *order* and return its answer.

        Raises:
            NotSettled: the time to wait was over before all had settled.
        """
        return self.begin(order).answer()

    def alive(self, tag: str) -> Alive:
        """Return whether *tag* is up."""
        exchange = self._exchange("GET", f"/alive/{_word(tag)}")
        response = exchange.response()
        retry = response.getheader("Retry-After", "")
        if response.status == 200:
            if _object(_decode(exchange)).get("status") != "OK":
                raise _strange()
        elif isinstance(
            error := _error(response.status, exchange.read()), Unreachable
        ) or response.status not in {404, 503}:
            raise error
        return Alive(response.status, int(retry) if retry.isdigit() else None)

    def files(self) -> list[dict[str, Json]]:
        """Return the configuration files that a reload reads, each with its syntax."""
        return _objects(self._ask("GET", "/conf/files"))

    def add_file(self, file: str, syntax: str) -> dict[str, Json]:
        """Add a configuration file; a reload reads it."""
        return _object(self._ask("POST", "/conf/files", {"file": file, "syntax": syntax}))

    def forget_files(self, files: Sequence[str] | Literal[True]) -> dict[str, Json]:
        """Remove these configuration files from the list, or all of them."""
        which = files if files is True else list(files)
        return _object(self._ask("DELETE", f"/conf/files/{quote(_compact(which), safe='')}"))

    def reload(self, max_restarts: int | None = None, *, rehearse: bool = False) -> dict[str, Json]:
        """Read the configuration again and apply it; return what was done to whom.

        Args:
            max_restarts: refuse when more components than this would be restarted, their
                dependents counted.
            rehearse: apply nothing; return what would be done.

        Raises:
            Refused: with every problem of the configuration, a line each. Nothing has changed.
        """
        body: dict[str, Json] = {"reload": True}
        if max_restarts is not None:
            body["max-restarts"] = max_restarts
        # Reading and checking many files may take longer than a question does.
        target = _with("/conf/runtime", {"dry-run": "true"} if rehearse else {})
        return _object(self._ask("PUT", target, body, timeout=6 * self.timeout))

    def shutdown(self) -> dict[str, Json]:
        """Bring everything down and end the daemon; answered when that has begun."""
        return _object(self._ask("DELETE", "/instance/PID"))

    def reexec(self, *, keep: bool = False) -> dict[str, Json]:
        """Make the daemon execute itself anew; *keep*: while every component goes on as it is."""
        if not keep:
            return _object(self._ask("PUT", "/instance/PID"))
        # It is rehearsed before.
        body: dict[str, Json] = {"keep": True}
        return _object(self._ask("PUT", "/instance/PID", body, timeout=6 * self.timeout))

    # --- the machine, as pies has it

    def runlevel(self) -> dict[str, Json]:
        """Return the runlevel, the one before, the state of the boot, and the configured one."""
        return _object(self._ask("GET", "/runlevel"))

    def set_runlevel(self, level: str, timeout: float | None = None) -> dict[str, Json]:
        """Go over to *level*; answered when that has begun.

        Args:
            level: the runlevel.
            timeout: seconds between the signal and SIGKILL for what leaves.
        """
        asked: dict[str, Json] = {"runlevel": level}
        if timeout is not None:
            asked["timeout"] = timeout
        what = quote(_compact(asked), safe="")
        return _object(self._ask("PUT", f"/runlevel/{what}"))

    def environ(self) -> list[str]:
        """Return the environment of what an init process starts, as `NAME=VALUE`."""
        found = self._ask("GET", "/environ/")
        if not isinstance(found, list):
            raise _strange()
        return [str(each) for each in found]

    def set_variable(self, assignment: str) -> dict[str, Json]:
        """Set a variable of it, by `NAME=VALUE`."""
        return _object(self._ask("PUT", f"/environ/{_word(assignment)}"))

    def unset_variable(self, name: str) -> dict[str, Json]:
        """Remove a variable of it."""
        return _object(self._ask("DELETE", f"/environ/{_word(name)}"))

    # --- /v1

    def components(self, **parameters: str) -> dict[str, Json]:
        """Return the list envelope of the components; *parameters* as for every list."""
        query = {name.replace("_", "-"): value for name, value in parameters.items()}
        return _object(self._ask("GET", _with("/v1/components", query)))

    def component(self, tag: str) -> dict[str, Json]:
        """Return the description of one component.

        Raises:
            Refused: there is none of that tag (404).
        """
        return _object(self._ask("GET", f"/v1/components/{_word(tag)}"))

    def act(
        self, tag: str, action: str, *, wait: float | None = None, token: str | None = None
    ) -> dict[str, Json]:
        """Give an order to one component, which must exist. *action* as in `Order`."""
        query = {} if wait is None else {"wait": f"{wait:g}"}
        target = _with(f"/v1/components/{_word(tag)}/{quote(action)}", query)
        patience = self.timeout if wait is None else wait + _GRACE
        headers = {"If-Match": token} if token else {}
        return _object(_decode(self._exchange("PUT", target, None, headers, patience)))

    def plan(self) -> list[dict[str, Json]]:
        """Return what a reload would do to whom.

        Raises:
            Refused: with every problem of the configuration, a line each.
        """
        envelope = _object(self._ask("GET", "/v1/plan", timeout=6 * self.timeout))
        return _objects(envelope.get("results", []))

    def why(self, tag: str) -> dict[str, Json]:
        """Return why a component is as it is: its gates, each with its answer."""
        return _object(self._ask("GET", f"/v1/diag/why/{_word(tag)}"))

    def about(self) -> dict[str, Json]:
        """Return the version and build of the daemon."""
        return _object(self._ask("GET", "/v1/diag/about"))

    def log(self, tag: str, *, tail: int | None = None, stream: str | None = None) -> bytes:
        """Return the last lines that a component has written, as it has written them."""
        exchange = self._exchange("GET", _log_target(tag, tail, stream, follow=False))
        return _checked(exchange).read()

    def follow_log(
        self, tag: str, *, tail: int | None = None, stream: str | None = None
    ) -> Iterator[Message]:
        """Yield the last lines, then each new one; the kind of a message is its stream."""
        return self._stream(_log_target(tag, tail, stream, follow=True))

    def events(self, *, since: int | None = None, follow: bool = True) -> Iterator[Message]:
        """Yield events after number *since*, and with *follow* those to come.

        The text of each message is a JSON object.
        """
        query = {"follow": "true" if follow else "false"}
        if since is not None:
            query["since"] = str(since)
        return self._stream(_with("/v1/events", query))

    # --- how

    def _exchange(
        self,
        method: str,
        target: str,
        body: Json = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Exchange:
        # The type is sent with every request, body or not: it is what tells the daemon that no web
        # page made a browser send it.
        kind = {"Content-Type": "application/json", "Accept": "*/*", **(headers or {})}
        if self._credentials is not None:
            kind["Authorization"] = self._credentials.header()
        return Exchange(
            self.place,
            method,
            target,
            body=None if body is None else _compact(body).encode(),
            headers=kind,
            timeout=self.timeout if timeout is None else timeout,
            trust=self._trust,
            telling=self._telling,
        )

    def _ask(
        self, method: str, target: str, body: Json = None, timeout: float | None = None
    ) -> Json:
        return _decode(self._exchange(method, target, body, timeout=timeout))

    def _stream(self, target: str) -> Iterator[Message]:
        exchange = _checked(self._exchange("GET", target))
        exchange.patient()
        try:
            yield from messages(iter(exchange.read_line, b""))
        finally:
            exchange.close()


def _order_request(order: Order) -> tuple[str, str, Json]:
    """Return the method, target and body that carry *order*."""
    query: dict[str, str] = {}
    if order.wait is not None:
        query["wait"] = f"{order.wait:g}"
    if order.rehearse:
        query["dry-run"] = "true"
    method = _METHODS.get(order.action)
    if method is None:
        query = {"action": order.action, "selector": _compact(order.selector), **query}
        return "PUT", _with("/v1/components", query), None
    if method == "POST":
        return method, _with("/programs", query), order.selector
    return method, _programs(order.selector, query), None


def _programs(selector: Selector, query: Mapping[str, str]) -> str:
    """Return /programs with a selector: pies' own form where nothing stands beside it."""
    if query:
        return _with("/programs", {"selector": _compact(selector), **query})
    return "/programs?" + quote(_compact(selector), safe="")


def _log_target(tag: str, tail: int | None, stream: str | None, *, follow: bool) -> str:
    query: dict[str, str] = {}
    if tail is not None:
        query["tail"] = str(tail)
    if stream is not None:
        query["stream"] = stream
    if follow:
        query["follow"] = "true"
    return _with(f"/v1/components/{_word(tag)}/log", query)


def _with(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query, quote_via=quote)}" if query else path


def _word(text: str) -> str:
    return quote(text, safe=":", errors="surrogateescape")


def _compact(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))


def _checked(exchange: Exchange) -> Exchange:
    """Return *exchange* when its answer is good.

    Raises:
        NotSettled, Refused, Unreachable: it is not.
    """
    response = exchange.response()
    if response.status < 400:
        return exchange
    raise _error(response.status, exchange.read())


def _decode(exchange: Exchange) -> Json:
    body = _checked(exchange).read()
    try:
        return json.loads(body)
    except ValueError:
        raise _strange() from None


def _object(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise _strange()
    return value


def _objects(value: Json) -> list[dict[str, Json]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _strange()
    return value


def _strange() -> Unreachable:
    return Unreachable(
        Unreachable.NOT_PIESD,
        "cannot understand the answer: it is not what piesd would say",
        "give the address of piesd's control socket (--url)",
    )


def _error(status: int, body: bytes) -> Refused | NotSettled | Unreachable:
    """Return the error that an answer stands for, in either of the two families of answers.

    Whoever says no in another way is not a piesd.
    """
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    code, hint = "refused", ""
    match answer:
        case {"messages": [str(first), *rest]}:
            message, hint = first, " ".join(str(text) for text in rest)
        case {"status": "ER", "message": str(text)}:
            message = text
        case _:
            return _strange()
    if isinstance(answer.get("code"), str):
        code = answer["code"]
    if status == 401:
        hint = hint or "give a name and a password (piesctl takes them from ~/.netrc), or a token"
    if status == 504:
        return NotSettled(message)
    return Refused(status, code, message, hint)
