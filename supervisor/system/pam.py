"""Ask PAM whether a password is right and the account may be used."""

from __future__ import annotations

import sys
from pathlib import Path

from supervisor.system import preprocess
from supervisor.system.pamcheck import NO, YES

LONGEST = 10.0
"""Seconds until an answer is given up, and what was to give it killed."""

_PROGRAM = str(Path(__file__).with_name("pamcheck.py"))


def check(service: str, user: str, password: str, *, timeout: float = LONGEST) -> bool:
    """Return whether PAM lets *user* in. Blocks, for seconds where a module delays failures.

    The account is checked too (expired, locked); no session is opened. A process of its own asks:
    modules hang, crash, and wait for helpers that our reaper would take from them.

    Raises:
        OSError: there is no PAM on this machine, or it gave no answer.
    """
    if "\0" in service + user + password:
        raise OSError("PAM: there is a NUL in the name or the password")
    # Nothing in the environment or around us is to say what is run with a password.
    words = [sys.executable, "-EP", _PROGRAM, service, str(int(timeout) + 1)]
    data = f"{user}\0{password}".encode("utf-8", "surrogateescape")
    code, _, said = preprocess.run(words, data, timeout=timeout)
    if code not in (YES, NO):
        lines = said.decode("utf-8", "replace").split("\n")
        raise OSError(f"PAM: {next(filter(None, reversed(lines)), f'it ended with {code}')}")
    return code == YES
