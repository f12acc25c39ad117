"""The ASGI application: both families of endpoints, the checks before them, the errors after."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from quart import Response, g, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from supervisor.api import asking
from supervisor.api.answers import JSON
from supervisor.api.errors import Internal, error_body, of_http_status, status_of
from supervisor.api.limits import LimitedApp, Limits
from supervisor.api.machine import machine
from supervisor.api.peer import check_host, check_origin, peer_of
from supervisor.api.pies import pies
from supervisor.api.v1 import v1
from supervisor.control.identity import Caller, Unauthorized
from supervisor.model.errors import SupervisorError

if TYPE_CHECKING:
    from supervisor.control.control import Control

log = logging.getLogger(__name__)

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def create_app(control: Control, limits: Limits | None = None) -> QuartTrio:
    """Return the application that answers for *control*.

    Who asks is told by `state["peer"]` of the ASGI scope (see `supervisor.api.peer`); a request
    without that is refused.
    """
    app = QuartTrio(__name__, static_folder=None)
    app.extensions["control"] = control
    # An answer may take as long as an order is waited for, and a stream for ever. That nobody is
    # waited for who does not read is the connection's affair.
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["BODY_TIMEOUT"] = None
    app.config["MAX_CONTENT_LENGTH"] = None
    # An answer that sends the client elsewhere is none of ours, and a JSON text in a path may
    # well have two slashes in a row.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.register_blueprint(pies)
    app.register_blueprint(machine)
    app.register_blueprint(v1)
    app.before_request(_check)
    app.after_request(_complete)
    app.register_error_handler(SupervisorError, _refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _fault)
    wrapped: Any = LimitedApp(app.asgi_app, limits or Limits())
    app.asgi_app = wrapped  # type: ignore[method-assign]  # This is how Quart has it.
    return app


async def _check() -> None:
    """Refuse what a web page elsewhere made a browser send, and who may do nothing."""
    peer = peer_of(request.scope)
    # First, so that no such page can have passwords tried.
    check_host(peer, request.headers.get("Host", ""))
    check_origin(request.method, request.headers)
    who = peer.origin
    if not isinstance(who, Caller):
        shown = request.headers.get("Authorization")
        who = await asking.control().identities.identify(who, shown)
    g.caller = who
    asking.control().admit(who)


async def _complete(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


async def _refused(error: SupervisorError) -> Response:
    if status_of(error) == 500:
        log.error("%s %s: %s", request.method, request.path, error)
    response = Response(error_body(request.path, error), status_of(error), content_type=JSON)
    if isinstance(error, Unauthorized):
        for scheme in error.schemes:
            response.headers.add("WWW-Authenticate", _challenge(scheme, error.realm))
    return response


def _challenge(scheme: str, realm: str) -> str:
    """Return what a client is told to come back with. Source: RFC 7617 and RFC 6750."""
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    more = ', charset="UTF-8"' if scheme == "Basic" else ""
    return f'{scheme} realm="{quoted}"{more}'


async def _http_error(error: HTTPException) -> Response:
    ours = of_http_status(error.code or 500, request.path)
    response = await _refused(ours)
    methods = getattr(error, "valid_methods", None)
    if methods:
        response.headers["Allow"] = ", ".join(sorted(methods))
    return response


async def _fault(error: Exception) -> Response:
    """Log what went wrong, and tell the client that something did."""
    log.error("a bug: %s %s failed", request.method, request.path, exc_info=error)
    return Response(error_body(request.path, Internal()), 500, content_type=JSON)
