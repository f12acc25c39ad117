"""How a command ends whose answer cannot be written: nobody reads it, or the disk is full."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

UNREAD = 141
"""What a shell says of a program that has died of SIGPIPE."""

UNWRITTEN = 74
"""The exit code when output cannot be written. Source: sysexits(3), EX_IOERR."""

_UNICODE = frozenset({"utf-8", "utf8"})
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def carried_out(program: str, job: Callable[[], int]) -> int:
    """Do *job*, which prints and returns an exit code, and return how it ended.

    What was to be done is done, whoever reads of it.
    """
    prepare_streams()
    try:
        code = job()
        sys.stdout.flush()
    except BrokenPipeError:
        _let_go(sys.stdout)
        return UNREAD
    except OSError as error:
        if not is_unwritten(error):
            raise
        _let_go(sys.stdout)
        try:
            sys.stderr.write(f"{program}: cannot write the answer: {error.strerror}\n")
            sys.stderr.flush()
        except OSError:
            _let_go(sys.stderr)
        return UNWRITTEN
    return code


def is_unwritten(error: OSError) -> bool:
    """Return whether *error* is of standard output or standard error, which have no name."""
    return error.errno in _UNWRITABLE and error.filename is None


def prepare_streams() -> None:
    r"""Put /dev/null where we were started without a standard stream, and have all text written.

    Otherwise the next file or socket that is opened would be in its place. What the encoding of
    the environment has no sign for is written out, as in `\u2026`.
    """
    with suppress(FileNotFoundError):  # The first process of a system has seen to it without.
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(number, True)
        os.close(number)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.encoding.lower() not in _UNICODE:
            stream.reconfigure(errors="backslashreplace")


def _let_go(stream: TextIO) -> None:
    # The interpreter flushes its streams once more at its end; that must find a taker.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
