"""Show text that comes from elsewhere without what could steer a terminal or forge a line."""

from __future__ import annotations

import re
from typing import Final

STEERING: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""C0 and C1 controls, DEL, the separators that end a line for some, the marks that change the
direction of writing, and bytes that were no UTF-8. Source: ECMA-48; UAX #9, "Explicit Formatting".
"""


def shown(text: str) -> str:
    r"""Return *text* with all of that written out, as in `\x1b`: one line stays one line."""
    return STEERING.sub(lambda match: _written_out(match[0]), text)


def shown_in_json(text: str) -> str:
    r"""Return JSON with all of that as `\u001b`: the same, as it can only be in strings."""
    return STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def told_url(url: str) -> str:
    """Return *url* as it may be told: a password is often in what is before `@` or after `?`."""
    scheme, colon, rest = url.partition("://")
    place, mark, _ = rest.partition("?")
    host, slash, path = place.partition("/")
    host = host.rpartition("@")[2]
    return f"{scheme}{colon}{host}{slash}{path}{mark and '?…'}"


def _written_out(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # How Python carries a byte that was no UTF-8.
        return f"\\x{number - 0xDC00:02x}"
    return (
        character.encode("ascii", "backslashreplace").decode()
        if number > 0x7F
        else _ESCAPED[number]
    )


_ESCAPED: Final = {number: repr(chr(number))[1:-1] for number in range(0x80)}
