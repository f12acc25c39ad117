"""Errors of the client, one type for each decision that its caller can take.

They are not `SupervisorError`s: the shared errors need msgspec, whose import costs a client that
only asks one question a third of its time.
"""

from __future__ import annotations

from typing import ClassVar


class ClientError(Exception):
    """The base of everything the client raises on purpose.

    `code` is stable: scripts match it. `hint` says what to do, as a sentence of its own.
    """

    code: str = "error"
    hint: str = ""


class BadAddress(ClientError):
    """An address that names no control socket."""

    code = "bad-address"

    def __init__(self, url: str, what: str) -> None:
        super().__init__(f"cannot use the address {url!r}: {what}")
        self.hint = "write unix:///PATH or http://HOST:PORT"


class BadFile(ClientError):
    """A file that should say where a daemon is, or who we are, cannot be used."""

    code = "bad-file"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Unreachable(ClientError):
    """No answer came from a daemon.

    `code` is one of `NOT_RUNNING`, `NO_RIGHT`, `STALE`, `NO_ANSWER`, `LOST` and `NOT_PIESD`.
    """

    NOT_RUNNING: ClassVar = "not-running"
    """Nothing is where the socket should be."""
    NO_RIGHT: ClassVar = "no-right"
    """The socket is there, and the caller may not use it."""
    STALE: ClassVar = "stale-socket"
    """The socket is there, and nobody listens on it any more."""
    NO_ANSWER: ClassVar = "no-answer"
    """Somebody listens and did not answer in time."""
    LOST: ClassVar = "connection-lost"
    """The connection ended in the middle of an answer."""
    NOT_PIESD: ClassVar = "not-piesd"
    """Whoever answered does not speak as piesd does."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.hint = code, hint


class Refused(ClientError):
    """The daemon understood the request and did not do it. `status` is the HTTP status."""

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.hint = status, code, hint


class NotSettled(ClientError):
    """The order was accepted, but the time was up before everything matched had settled."""

    code = "not-settled"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.hint = "the order stays given; 'piesctl why TAG' tells what a component waits for"
