"""One table from error codes to HTTP statuses, and the two shapes in which errors are answered."""

from __future__ import annotations

import msgspec

from supervisor.model.errors import NotFound, SupervisorError

PROBLEM = "A problem occurred while processing the request"
"""All that a client learns of a fault of ours; the rest is in our log."""

STATUS = {
    "already-running": 409,
    "bad-request": 400,
    "bad-selector": 400,
    "cannot-become": 500,
    "cannot-go-on": 500,
    "cannot-listen": 500,
    "config-rejected": 400,
    "error": 500,
    "forbidden": 403,
    "header-too-large": 431,
    "illegal-event": 500,
    "internal": 500,
    "method-not-allowed": 405,
    "not-found": 404,
    "not-running": 409,
    "not-settled": 504,
    "plan-changed": 409,
    "request-timeout": 408,
    "shutting-down": 409,
    "too-large": 413,
    "too-many-logins": 429,
    "too-many-restarts": 409,
    "cannot-upgrade": 409,
    "unauthorized": 401,
}
"""The HTTP status for each error code. A test makes sure that none is missing."""


class MethodNotAllowed(SupervisorError):
    """The path exists, and this cannot be done with it."""

    code = "method-not-allowed"

    def __init__(self) -> None:
        super().__init__("The specified HTTP method is not allowed for the requested resource")


class TooLarge(SupervisorError):
    """A body that is too long."""

    code = "too-large"

    def __init__(self, most: int) -> None:
        super().__init__(f"cannot read the request: its body is longer than {most} bytes")


class HeaderTooLarge(SupervisorError):
    """A request line and header that are too long."""

    code = "header-too-large"

    def __init__(self, most: int) -> None:
        super().__init__(f"cannot read the request: its header is longer than {most} bytes")
        self.hint = "A long selector can be sent as the body of POST /programs."


class RequestTimeout(SupervisorError):
    """A request that did not arrive in time."""

    code = "request-timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"cannot wait for the rest of the request any longer than {seconds:g} s")


class Internal(SupervisorError):
    """A fault of ours."""

    code = "internal"

    def __init__(self) -> None:
        super().__init__(PROBLEM)


def status_of(error: SupervisorError) -> int:
    """Return the HTTP status of *error*."""
    return STATUS.get(error.code, 500)


def is_v1(path: str) -> bool:
    """Return whether *path* belongs to our own family of answers, and not to that of pies."""
    return path == "/v1" or path.startswith("/v1/")


def error_body(path: str, error: SupervisorError) -> bytes:
    """Return what to answer: pies' diagnostics, or under `/v1` our envelope."""
    if status_of(error) == 500:
        error = Internal()
    if is_v1(path):
        messages = [str(error), error.hint] if error.hint else [str(error)]
        return msgspec.json.encode({"messages": messages, "code": error.code})
    message = f"{error}. {error.hint}" if error.hint else str(error)
    return msgspec.json.encode({"status": "ER", "message": message})


def of_http_status(status: int, path: str) -> SupervisorError:
    """Return our error for one that the HTTP library raises."""
    if status == 404:
        return NotFound(path)
    if status == 405:
        return MethodNotAllowed()
    return Internal()
