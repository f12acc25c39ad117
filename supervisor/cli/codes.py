"""The exit codes of piesctl: `docs/piesctl.md` is the promise, this is the table."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

from enum import IntEnum

from supervisor.cli import ending


class Code(IntEnum):
    """How piesctl ends, and what its help says about it."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Code:
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    DONE = 0, "done"
    REFUSED = 1, "refused: not allowed, not found, bad configuration, not alive"
    USAGE = 2, "the command line, a selector or an address cannot be understood"
    UNREACHABLE = 3, "no answer from piesd: not running, no right, stale socket"
    NOT_SETTLED = 4, "ordered, but not settled within the time to wait"
    OUTDATED = 5, "restarted, but with a configuration older than its files"
    BUG = 70, "a fault of piesctl itself"
    UNWRITTEN = ending.UNWRITTEN, "the output cannot be written: a full disk"
    INTERRUPTED = 130, "interrupted by Ctrl-C"
    UNREAD = ending.UNREAD, "the reader of the output has gone"


def for_error(error: Exception) -> Code:
    """Return the exit code that an error of the client becomes."""
    from supervisor.client import BadAddress, BadFile, NotSettled, Refused, Unreachable

    match error:
        case BadAddress() | BadFile():
            return Code.USAGE
        case Unreachable():
            return Code.UNREACHABLE
        case NotSettled():
            return Code.NOT_SETTLED
        case Refused():
            return Code.REFUSED
        case _:
            return Code.BUG


def table() -> str:
    """Return the codes as lines for the help."""
    return "\n".join(f"{code.value:>3}  {code.meaning}" for code in Code)
