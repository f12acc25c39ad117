"""The program that asks PAM: its exit code says yes or no, and any other that it got no answer.

It is run by its path and imports nothing of ours. Name and password come on standard input with a
NUL between them, the service and how many seconds this may take as arguments.
"""

# ruff: noqa: PLC0415  python-pam looks for its libraries when it is used first.

from __future__ import annotations

import signal
import sys

YES, NO, NONE = 0, 10, 11
"""Exit codes; 1 and 2 are Python's own, for what it cannot run."""


def main(service: str, seconds: str) -> int:
    """Ask, and return the exit code."""
    # Whoever started us ends us sooner, unless it is gone itself.
    signal.alarm(int(seconds))
    import pam

    user, _, password = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").partition("\0")
    try:
        authenticator = pam.PamAuthenticator()
        good = authenticator.authenticate(user, password, service, resetcreds=False)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        # A name that is none, or a library without the functions of PAM.
        print(error, file=sys.stderr)
        return NONE
    return YES if good else NO


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
