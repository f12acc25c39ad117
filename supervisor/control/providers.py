"""Identity providers: who a name and a password, or a token, belong to. To ask them may block."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from msgspec import Struct

from supervisor.config import passwords
from supervisor.config.passwords import Entry, PasswordFileError
from supervisor.model.settings import Provider

log = logging.getLogger(__name__)

LONGEST = 1024
"""Characters of a name, a password or a token that are looked at."""


class Account(Struct, frozen=True):
    """Somebody whose name is known, and the groups it is in."""

    name: str
    groups: frozenset[str] = frozenset()


class Try(NamedTuple):
    """A provider that can be asked: its name, and what asks it and may block.

    Tries of one lane may wait for each other, those of different lanes never: what hangs holds up
    its own kind alone.
    """

    provider: str
    lane: str
    ask: Callable[[], Account | None]


class Accounts(Protocol):
    """The users of this machine. `supervisor.system.accounts` knows them; all of it may block."""

    def of_uid(self, uid: int) -> tuple[str, frozenset[str]] | None:
        """Return the name and the groups of the user with that number."""

    def groups(self, user: str) -> frozenset[str]:
        """Return the groups of *user*, none if there is no such user."""

    def check_system(self, user: str, password: str) -> bool:
        """Return whether the user database says that this is the password of *user*.

        Raises:
            OSError: the database cannot be read.
        """

    def check_pam(self, service: str, user: str, password: str) -> bool:
        """Return whether PAM says so.

        Raises:
            OSError: there is no PAM.
        """


class NoAccounts:
    """Knows nobody."""

    def of_uid(self, uid: int) -> tuple[str, frozenset[str]] | None:
        return None

    def groups(self, user: str) -> frozenset[str]:
        return frozenset()

    def check_system(self, user: str, password: str) -> bool:
        raise OSError("there is no user database")

    def check_pam(self, service: str, user: str, password: str) -> bool:
        raise OSError("there is no PAM")


class Providers:
    """The providers of a configuration, to be asked in their order, in worker threads."""

    def __init__(self, providers: Sequence[Provider], accounts: Accounts) -> None:
        self._providers, self._accounts = tuple(providers), accounts

    def password(self, user: str, password: str) -> tuple[Try, ...]:
        """Return what finds out who *user* is if that is the password: the first to say yes.

        A name that nobody knows costs what a wrong password costs.
        """
        if len(user) > LONGEST or len(password) > LONGEST or "\0" in user + password:
            return ()
        return tuple(
            Try(each.name, _lane(each), partial(self._ask, each, user, password))
            for each in self._providers
        )

    def token(self, token: str) -> tuple[Try, ...]:
        """Return what finds out whose *token* is."""
        return tuple(
            Try(provider.name, "tokens", partial(self._of_token, provider, token[:LONGEST]))
            for provider in self._providers
            if provider.type == "file"
        )

    def groups(self, user: str) -> frozenset[str]:
        """Return the groups that the providers know *user* to be in."""
        found: set[str] = set()
        for provider in self._providers:
            if provider.type == "file":
                for entry in self._entries(provider):
                    found.update(entry.groups if entry.user == user else ())
            else:
                found |= self._accounts.groups(user)
        return frozenset(found)

    def _ask(self, provider: Provider, user: str, password: str) -> Account | None:
        try:
            return self._asked(provider, user, password)
        except (OSError, PasswordFileError) as error:
            log.error("cannot ask the identity provider %s: %s", provider.name, error)
            return None

    def _of_token(self, provider: Provider, token: str) -> Account | None:
        entry = passwords.find_token(self._entries(provider), token)
        return None if entry is None else Account(entry.user, frozenset(entry.groups))

    def _asked(self, provider: Provider, user: str, password: str) -> Account | None:
        if provider.type == "file":
            return _in_file(passwords.read(provider.path), user, password)
        if provider.type == "pam":
            good = self._accounts.check_pam(provider.service, user, password)
        else:
            good = self._accounts.check_system(user, password)
        return Account(user, self._accounts.groups(user)) if good else None

    def _entries(self, provider: Provider) -> tuple[Entry, ...]:
        if provider.type != "file":
            return ()
        try:
            return passwords.read(provider.path)
        except PasswordFileError as error:
            log.error("cannot ask the identity provider %s: %s", provider.name, error)
            return ()


def _lane(provider: Provider) -> str:
    return f"pam {provider.service}" if provider.type == "pam" else provider.type


def _in_file(entries: Sequence[Entry], user: str, password: str) -> Account | None:
    mine = [each for each in entries if each.user == user and each.kind == "password"]
    if not mine:
        passwords.waste(entries, password)
        return None
    # One password for each user: the last line counts.
    if passwords.is_password(mine[-1].hash, password):
        return Account(user, frozenset(mine[-1].groups))
    return None
