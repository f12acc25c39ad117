"""Ask PAM whether a password is right and the account may be used."""

# ruff: noqa: PLC0415  python-pam looks for its libraries when it is used first.

from __future__ import annotations


def check(service: str, user: str, password: str) -> bool:
    """Return whether PAM lets *user* in. Blocks, for seconds where a module delays failures.

    The account is checked too (expired, locked); no session is opened. Where piesd is not root,
    pam_unix starts a helper whose end our reaper may see first: then the answer is no.

    Raises:
        OSError: there is no PAM on this machine.
    """
    import pam

    try:
        authenticator = pam.PamAuthenticator()
        return bool(authenticator.authenticate(user, password, service, resetcreds=False))
    except (ValueError, AttributeError, TypeError) as error:
        # A NUL in a name, or a library without the functions of PAM.
        raise OSError(f"PAM: {error}") from None
