"""Who asks, and what they may do."""

from __future__ import annotations

import ipaddress
import os
import pwd
from typing import Literal

from msgspec import Struct

from supervisor.model.errors import Forbidden

Rights = Literal["none", "list", "admin"]

_RANK: dict[Rights, int] = {"none": 0, "list": 1, "admin": 2}


class Caller(Struct, frozen=True):
    """Somebody who asks. `name` says who it is and from where, for people to read later."""

    name: str
    rights: Rights = "none"

    def need(self, rights: Literal["list", "admin"], what: str) -> None:
        """Return if the caller has *rights*.

        Raises:
            Forbidden: it has not. *what* completes "cannot …".
        """
        if _RANK[self.rights] >= _RANK[rights]:
            return
        error = Forbidden(f"cannot {what}: {self.name} has no right to it")
        if self.rights == "none":
            error.hint = "Only root and the user that piesd runs as may use this socket."
        else:
            error.hint = "On this socket anybody may look, and nobody may change anything."
        raise error


NOBODY = Caller("an unknown client")
"""Whoever comes without an identity."""


class Identities:
    """Who is who: peers of UNIX sockets by their uid, loopback peers by what was configured.

    Names are looked up once, here: asking the user database for every connection could block on a
    network. (Others than these two have no rights, so their number is name enough.)

    Args:
        anonymous: what strangers on a loopback TCP socket may do; None refuses them.
        uid: the daemon's own effective uid.
    """

    def __init__(
        self, anonymous: Literal["list", "admin"] | None = None, uid: int | None = None
    ) -> None:
        self.anonymous = anonymous
        own = os.geteuid() if uid is None else uid
        self._admins = {number: _user_name(number) for number in (0, own)}

    def unix_peer(self, uid: int, where: str) -> Caller:
        """Return who it is that connected to the UNIX socket *where*."""
        name = self._admins.get(uid)
        if name is None:
            return Caller(f"uid {uid} over {where}", "none")
        return Caller(f"uid {uid}{name} over {where}", "admin")

    def inet_peer(self, host: str, port: int) -> Caller:
        """Return who it is that connected from this TCP address."""
        rights: Rights = "none"
        if self.anonymous is not None and is_loopback(host):
            rights = self.anonymous
        shown = f"[{host}]" if ":" in host else host
        return Caller(f"anonymous at {shown}:{port}", rights)


def is_loopback(host: str) -> bool:
    """Return whether *host* is a literal address of this machine's loopback."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _user_name(uid: int) -> str:
    try:
        return f" ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return ""
