"""The program that asks PAM: its exit code says 0 yes, 1 no, 2 that there is no PAM.

It is run by its path and imports nothing of ours. Name and password come on standard input with a
NUL between them, the service and how many seconds this may take as arguments.
"""

# ruff: noqa: PLC0415  python-pam looks for its libraries when it is used first.

from __future__ import annotations

import signal
import sys


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
        return 2
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
