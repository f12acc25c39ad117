"""The file of an identity provider `file`: names, hashes of passwords and tokens, groups."""

# ruff: noqa: PLC0415  What only few need is loaded where it is used: argon2, and what writes.

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import Literal

from msgspec import Struct

_NAME = re.compile(r"[^\s:,#'][^\s:,']*")
_TOKEN = "sha256="
_PASSWORD = "$argon2"

HEAD = "# Written by piesctl passwd. NAME:HASH:GROUPS; a hash is argon2, or sha256= for a token.\n"

TOKEN_BYTES = 32
"""Random bytes of a token: more than anybody can try."""


class Cost(Struct, frozen=True):
    """What trying one password costs: rounds, KiB of memory, and threads. Source: RFC 9106."""

    rounds: int = 3
    memory: int = 65536
    threads: int = 2


class Entry(Struct, frozen=True):
    """One line: a password or a token of a user, and the groups that come with it."""

    user: str
    hash: str
    groups: tuple[str, ...] = ()

    @property
    def kind(self) -> Literal["password", "token"]:
        """What the hash is of."""
        return "token" if self.hash.startswith(_TOKEN) else "password"


class PasswordFileError(Exception):
    """A file of passwords that cannot be used; the message says why."""


# --- the form


def is_name(text: str) -> bool:
    """Return whether *text* can be the name of a user or group in such a file."""
    return len(text) <= 256 and _NAME.fullmatch(text) is not None


def parse(text: str) -> tuple[Entry, ...]:
    """Read the lines of a file.

    Raises:
        PasswordFileError: with the number of the line that means nothing.
    """
    return tuple(
        _entry(number, line.strip())
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    )


def _entry(number: int, line: str) -> Entry:
    user, colon, rest = line.partition(":")
    hashed, _, names = rest.partition(":")
    groups = tuple(filter(None, (name.strip() for name in names.split(","))))
    if not colon or not is_name(user) or not all(is_name(group) for group in groups):
        raise PasswordFileError(f"line {number}: expected NAME:HASH:GROUPS")
    digest = hashed.removeprefix(_TOKEN)
    token = hashed.startswith(_TOKEN) and re.fullmatch(r"[0-9a-f]{64}", digest)
    if not token and not hashed.startswith(_PASSWORD):
        raise PasswordFileError(f"line {number}: the hash is neither argon2 nor {_TOKEN}HEX")
    return Entry(user, hashed, groups)


def render(entries: Iterable[Entry]) -> str:
    """Return the text of a file with these lines."""
    lines = (f"{each.user}:{each.hash}:{','.join(each.groups)}\n" for each in entries)
    return HEAD + "".join(lines)


# --- hashes


def hash_password(password: str, cost: Cost | None = None) -> str:
    """Return the hash of *password*, with a salt of its own. Takes a while on purpose."""
    from argon2 import PasswordHasher

    cost = cost or Cost()
    hasher = PasswordHasher(cost.rounds, cost.memory, cost.threads)
    return hasher.hash(password.encode("utf-8", "surrogateescape"))


def is_password(hashed: str, password: str) -> bool:
    """Return whether *password* is that of *hashed*. Takes as long as making the hash did."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(hashed, password.encode("utf-8", "surrogateescape"))
    except (VerificationError, InvalidHashError):
        return False


def waste(entries: Iterable[Entry], password: str) -> None:
    """Spend the time that trying *password* costs, where there is nothing to try it on."""
    for entry in entries:
        if entry.kind == "password":
            is_password(entry.hash, secrets.token_hex(8) + password)
            return
    hash_password(password)


def make_token() -> str:
    """Return a new random token."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def hash_token(token: str) -> str:
    """Return what is kept of a token. It is random, so that a fast hash will do."""
    return _TOKEN + sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def find_token(entries: Iterable[Entry], token: str) -> Entry | None:
    """Return the entry of *token*; all are looked at, whether an earlier one fits or not."""
    hashed, found = hash_token(token), None
    for entry in entries:
        if compare_digest(entry.hash.encode(), hashed.encode()):
            found = entry
    return found


# --- the file


def read(path: str) -> tuple[Entry, ...]:
    """Read the file at *path*. May block.

    Raises:
        PasswordFileError: it cannot be read, or others than root and we could have written it.
    """
    try:
        with open(path, encoding="utf-8", opener=_open) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PasswordFileError("it is not a regular file")
            text = file.read()
    except OSError as error:
        raise PasswordFileError(error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise PasswordFileError("it is not UTF-8") from None
    if status.st_uid not in (0, os.geteuid()):
        raise PasswordFileError(f"it belongs to uid {status.st_uid}, and not to root or to us")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PasswordFileError("others may write it: chmod 600")
    return parse(text)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # A FIFO without a writer would never open.


def write(path: str, entries: Iterable[Entry]) -> None:
    """Let the file at *path* have these lines: at one blow, for its owner alone.

    Raises:
        OSError
    """
    import tempfile

    path = os.path.realpath(path)
    number, draft = tempfile.mkstemp(prefix=".", dir=os.path.dirname(path))  # Its mode is 0600.
    try:
        with open(number, "w", encoding="utf-8") as file:
            file.write(render(entries))
            file.flush()
            _keep_owner(path, number)
            os.fsync(number)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def _keep_owner(path: str, number: int) -> None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(number, status.st_uid, status.st_gid)
