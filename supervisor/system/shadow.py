"""Check a password against /etc/shadow, as login(1) would without PAM."""

from __future__ import annotations

import ctypes
import time
from hmac import compare_digest
from typing import NamedTuple

PATH = "/etc/shadow"

_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2")
_CRYPT_DATA = 256 * 1024
"""Bytes of `struct crypt_data`: 32 KiB in libxcrypt, 128 KiB in the C library before."""

_DAY = 86400.0
_NOBODYS = "$6$rounds=5000$nobodysnobodysno$x"
"""Tried where there is no such user, so that this takes as long."""


class Line(NamedTuple):
    """What shadow(5) says about a user, as far as it matters here; days since 1970, None unset."""

    hash: str
    changed: int | None
    oldest: int | None
    grace: int | None
    expires: int | None


def check(user: str, password: str, path: str = PATH) -> bool:
    """Return whether *password* is that of *user*, whose account has not expired. May block.

    Raises:
        OSError: the file cannot be read (only root may), or there is no libcrypt.
    """
    crypt = _crypt()
    lines = _read(path)
    line = lines.get(user)
    usable = line is not None and line.hash[:1] not in ("", "!", "*", "x")
    setting = line.hash if line is not None and usable else _like_others(lines)
    hashed = crypt(password, setting)
    if hashed is None or hashed.startswith("*"):
        return False
    good = compare_digest(hashed.encode(), setting.encode())
    return good and usable and line is not None and not _expired(line, time.time())


def _read(path: str) -> dict[str, Line]:
    lines: dict[str, Line] = {}
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for text in file:
            user, *rest = text.rstrip("\n").split(":")
            if user and rest:
                days = [int(each) if each.isdigit() else None for each in (*rest, *[""] * 7)]
                lines[user] = Line(rest[0], days[1], days[3], days[5], days[6])
    return lines


def _expired(line: Line, now: float) -> bool:
    today = int(now // _DAY)
    if line.expires is not None and today >= line.expires:
        return True
    if line.changed is None:
        return False
    if line.changed == 0:
        return True  # It has to be changed first, which cannot be done here.
    if line.oldest is None:
        return False
    return today > line.changed + line.oldest + (line.grace or 0)


def _like_others(lines: dict[str, Line]) -> str:
    return next((line.hash for line in lines.values() if line.hash.startswith("$")), _NOBODYS)


class _Crypt:
    """crypt_r(3). Python's own module `crypt` is gone since 3.13."""

    def __init__(self) -> None:
        library = _library()
        self._function = library.crypt_r
        self._function.restype = ctypes.c_char_p
        self._function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)

    def __call__(self, password: str, setting: str) -> str | None:
        data = ctypes.create_string_buffer(_CRYPT_DATA)
        word, salt = (text.encode("utf-8", "surrogateescape") for text in (password, setting))
        result: bytes | None = self._function(word, salt, data)
        return None if result is None else result.decode("ascii", "replace")


def _library() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise OSError(f"cannot check passwords: there is neither {' nor '.join(_LIBRARIES)}")


_known: list[_Crypt] = []


def _crypt() -> _Crypt:
    if not _known:
        _known.append(_Crypt())
    return _known[0]
