"""Who asks: from how somebody came, and what they show, to a name, groups and rights."""

from __future__ import annotations

import binascii
import ipaddress
import os
import pwd
from base64 import b64decode
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeVar

import trio
from msgspec import Struct

from supervisor.control.access import hopeless
from supervisor.control.logins import PATIENCE, Counts, Logins, in_threads
from supervisor.control.providers import Account, Accounts, NoAccounts, Providers
from supervisor.model.access import Subject
from supervisor.model.errors import Forbidden, SupervisorError
from supervisor.model.settings import ControlSettings

if TYPE_CHECKING:
    from supervisor.control.logins import Blocking

Rights = Literal["none", "list", "admin"]

REMEMBERED = 30.0
"""Seconds for which the name and the groups of a uid are not looked up again."""

_MOST_REMEMBERED = 256

_LOOKUPS = 4
"""Names that are looked up at once."""

T = TypeVar("T")
R = TypeVar("R")


class Unauthorized(SupervisorError):
    """Credentials are missing, or wrong. `realm` and `schemes` say what to come back with."""

    code = "unauthorized"

    def __init__(self, realm: str, schemes: tuple[str, ...]) -> None:
        super().__init__("You are unauthorized to access this area")
        self.realm, self.schemes = realm, schemes


class Caller(Struct, frozen=True):
    """Somebody who asks. `name` says who it is and from where, for people to read later.

    `rights` are those that come with the way somebody came, whatever the rules allow: `admin` may
    do everything that no rule forbids, `list` may look at everything that no rule forbids, `none`
    may do what rules allow expressly, if it has a name. `subject` is what rules look at; it is
    None for piesd itself (a signal, say), whom no rule binds.
    """

    name: str
    rights: Rights = "none"
    subject: Subject | None = None

    @property
    def by_rules(self) -> bool:
        """Whether it has no rights but those that rules give it."""
        return self.rights == "none" and self.subject is not None and self.subject.user is not None

    @property
    def trusted(self) -> bool:
        """Whether it could look into our memory anyway: there is nothing to be kept from it."""
        return self.rights == "admin" and (self.subject is None or self.subject.user is not None)


NOBODY = Caller("an unknown client")
"""Whoever comes without an identity."""


class Origin(Struct, frozen=True, kw_only=True):
    """How somebody came: over a UNIX socket (`uid` is set, `address` its path) or over TCP.

    `certificate` is the name in a client certificate that was found good, `secure` says TLS.
    """

    address: str
    port: int = 0
    uid: int | None = None
    certificate: str | None = None
    secure: bool = False

    @property
    def shown(self) -> str:
        """The place as people write it."""
        if self.uid is not None:
            return self.address
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


class Identities:
    """Who is who. Whatever may block happens in worker threads, and is remembered for a while.

    Args:
        settings: of the control interface; `use` replaces them.
        accounts: users, groups and passwords of this machine.
        blocking: how to run a job that may block; it may be given up. By default in threads, of
            which those that look names up are others than those that ask a kind of provider.
        uid: the daemon's own effective uid.
    """

    def __init__(
        self,
        settings: ControlSettings | None = None,
        *,
        accounts: Accounts | None = None,
        blocking: Blocking | None = None,
        uid: int | None = None,
    ) -> None:
        self.settings = settings or ControlSettings(sockets=())
        self._accounts = accounts or NoAccounts()
        self._blocking = blocking or in_threads(_LOOKUPS)
        own = os.geteuid() if uid is None else uid
        self._admins = {number: self._admin(number) for number in (0, own)}
        self._users: dict[int, tuple[float, Account]] = {}
        self._providers = Providers(self.settings.providers, self._accounts)
        self._logins = Logins(self._providers, blocking)

    @property
    def counts(self) -> Counts:
        """How many have logged in, and how many have tried in vain, since the start."""
        return self._logins.counts

    def use(self, settings: ControlSettings) -> None:
        """Go over to other settings. Who has logged in has to be found good again."""
        self.settings = settings
        self._providers = Providers(settings.providers, self._accounts)
        self._logins.use(self._providers)

    async def identify(self, origin: Origin, authorization: str | None = None) -> Caller:
        """Return who it is that came so and shows *authorization* (the header of HTTP).

        Credentials that are shown replace everything else: who shows wrong ones is not let in by
        its uid or its certificate either.

        Raises:
            Unauthorized: credentials are missing or wrong.
            Forbidden: nobody is let in from there.
        """
        if hopeless(self.settings.acl, origin.address):
            raise _not_from(origin)
        if origin.uid is None and not origin.secure and not is_loopback(origin.address):
            # What crosses a network unprotected is nobody's password any more.
            raise _in_the_clear(origin)
        if authorization is not None:
            return await self._by_credentials(origin, authorization)
        if origin.uid is not None:
            return await self._by_uid(origin, origin.uid)
        if origin.certificate is not None:
            groups = await self._look_up(self._providers.groups, origin.certificate)
            return _by_name("certificate of", origin, Account(origin.certificate, groups))
        return self._anonymous(origin)

    # --- UNIX sockets

    async def _by_uid(self, origin: Origin, uid: int) -> Caller:
        account = self._admins.get(uid)
        rights: Rights = "none" if account is None else "admin"
        if account is None:
            account = await self._account(uid)
        known = "" if account.name == unnamed(uid) else f" ({account.name})"
        subject = Subject(user=account.name, groups=account.groups, address=origin.address)
        return Caller(f"uid {uid}{known} over {origin.address}", rights, subject)

    async def _account(self, uid: int) -> Account:
        now, known = trio.current_time(), self._users.get(uid)
        if known is not None and now - known[0] < REMEMBERED:
            return known[1]
        found = await self._look_up(self._accounts.of_uid, uid)
        account = Account(unnamed(uid)) if found is None else Account(*found)
        if len(self._users) >= _MOST_REMEMBERED:
            self._users.pop(next(iter(self._users)))
        self._users.pop(uid, None)
        self._users[uid] = now, account
        return account

    async def _look_up(self, question: Callable[[T], R], about: T) -> R:
        """Return the answer of a user database, which may be far away.

        Raises:
            Forbidden: there is none. A rule may forbid something to this user or its groups.
        """
        with trio.move_on_after(PATIENCE):
            answer: R = await self._blocking(question, about)
            return answer
        error = Forbidden(f"cannot find out who {about} is: the user database gives no answer")
        error.hint = "Try again later."
        raise error

    def _admin(self, uid: int) -> Account:
        """Return who an administrator is. This is before the start, when blocking holds up nobody.

        Its groups matter only where rules name them.
        """
        found = self._accounts.of_uid(uid)
        if found is not None:
            return Account(*found)
        try:
            return Account(pwd.getpwuid(uid).pw_name)
        except KeyError:
            return Account(unnamed(uid))

    # --- TCP

    def _anonymous(self, origin: Origin) -> Caller:
        subject = Subject(address=origin.address)
        if self.settings.anonymous is not None and is_loopback(origin.address):
            return Caller(f"anonymous at {origin.shown}", self.settings.anonymous, subject)
        if self.settings.providers:
            raise self._unauthorized()
        return Caller(f"anonymous at {origin.shown}", "none", subject)

    # --- credentials

    async def _by_credentials(self, origin: Origin, authorization: str) -> Caller:
        scheme, _, rest = authorization.partition(" ")
        account: Account | None = None
        match scheme.lower():
            case "basic":
                pair = _basic(rest.strip())
                if pair is not None:
                    account = await self._logins.password(_source(origin), *pair)
            case "bearer":
                account = await self._logins.token(_source(origin), rest.strip())
            case _:
                pass
        if account is None:
            raise self._unauthorized()
        return _by_name("user", origin, account)

    def _unauthorized(self) -> Unauthorized:
        tokens = any(provider.type == "file" for provider in self.settings.providers)
        return Unauthorized(self.settings.realm, ("Basic", "Bearer") if tokens else ("Basic",))


def unnamed(uid: int) -> str:
    """Return what rules call a user without a name. No user has such a name."""
    return f"#{uid}"


def is_loopback(host: str) -> bool:
    """Return whether *host* is a literal address of this machine's loopback."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _by_name(how: str, origin: Origin, account: Account) -> Caller:
    subject = Subject(user=account.name, groups=account.groups, address=origin.address)
    return Caller(f"{how} {account.name} at {origin.shown}", "none", subject)


def _source(origin: Origin) -> str:
    """Return from where somebody tries to log in: all that one can easily come from counts as one.

    On a UNIX socket that is a uid, with IPv6 a network of 64 bits: whoever has one address of it
    has mostly all of them.
    """
    if origin.uid is not None:
        return f"uid {origin.uid} over {origin.address}"
    if ":" not in origin.address or is_loopback(origin.address):
        return origin.address
    address = ipaddress.IPv6Address(origin.address.partition("%")[0])
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))


def _basic(text: str) -> tuple[str, str] | None:
    """Return name and password. Source: RFC 7617."""
    try:
        user, colon, password = b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon and user else None


def _not_from(origin: Origin) -> Forbidden:
    error = Forbidden(f"cannot use this socket: nobody may connect from {origin.address}")
    error.hint = "The rules of acl say so."
    return error


def _in_the_clear(origin: Origin) -> Forbidden:
    error = Forbidden(f"cannot use this socket: {origin.shown} came over a network without TLS")
    error.hint = "Give piesd a certificate: tls in [control]."
    return error
