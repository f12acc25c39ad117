"""The PROXY protocol: who a client is, as the balancer in front of us says it.

Source: haproxy's doc/proxy-protocol.txt, versions 1 and 2.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final, NamedTuple

LONGEST_V1: Final = 107
"""Bytes of a header of version 1, its line end included."""

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V1: Final = b"PROXY "
_FIXED: Final = 16
"""Bytes of a header of version 2 before its addresses."""
_LONGEST_V2: Final = 4096
_ADDRESSES: Final = {0x1: 4, 0x2: 16}
"""Bytes of an address of version 2, by its family: IPv4 and IPv6."""


class Client(NamedTuple):
    """The client's address and port; None where the balancer speaks for itself."""

    address: str | None
    port: int = 0


class BadHeaderError(ValueError):
    """What came is no header of this protocol. The message says why."""


def wanted(header: bytes, following: bytes) -> int:
    """Return how many bytes of *following* belong to the header that begins with *header*.

    Raises:
        BadHeaderError: this is no header.
    """
    seen = header + following
    if seen.startswith(_SIGNATURE):
        total = _length(seen)
    elif seen.startswith(_V1):
        end = seen.find(b"\n", 0, LONGEST_V1)
        if end < 0 and len(seen) >= LONGEST_V1:
            raise BadHeaderError("its line is too long")
        total = end + 1 if end >= 0 else len(seen)
    elif _SIGNATURE.startswith(seen) or _V1.startswith(seen):
        total = len(seen)
    else:
        raise BadHeaderError("it does not begin as a header")
    return min(total, len(seen)) - len(header)


def _length(seen: bytes) -> int:
    if len(seen) < _FIXED:
        return len(seen)
    total = _FIXED + int.from_bytes(seen[14:16], "big")
    if total > _LONGEST_V2:
        raise BadHeaderError("it is too long")
    return total


def parse(header: bytes) -> Client | None:
    """Return who the client is, or None while the header is not complete.

    Raises:
        BadHeaderError: this is no header.
    """
    if header.startswith(_SIGNATURE):
        complete = len(header) >= _FIXED and len(header) >= _length(header)
        return _version_2(header) if complete else None
    if header.startswith(_V1) and header.endswith(b"\n"):
        return _version_1(header)
    return None


def _version_1(header: bytes) -> Client:
    if not header.endswith(b"\r\n"):
        raise BadHeaderError("its line does not end in CR LF")
    words = header[:-2].decode("ascii", "replace").split(" ")
    if words[1:2] == ["UNKNOWN"]:
        return Client(None)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise BadHeaderError("it does not say TCP4 or TCP6, two addresses and two ports")
    try:
        address = ip_address(words[2])
    except ValueError:
        raise BadHeaderError("its address is none") from None
    port = words[4]
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise BadHeaderError("its port is none")
    if address.version != int(words[1][3]):
        raise BadHeaderError("its address is of another version than it says")
    return Client(str(address), int(port))


def _version_2(header: bytes) -> Client:
    version, command = header[12] >> 4, header[12] & 0xF
    if version != 2 or command > 1:
        raise BadHeaderError("it is of another version")
    size = _ADDRESSES.get(header[13] >> 4)
    if command == 0 or size is None:
        return Client(None)  # The balancer's own check, or no address that we know.
    if len(header) < _FIXED + 2 * size + 4:
        raise BadHeaderError("it is too short for its addresses")
    address = ip_address(header[_FIXED : _FIXED + size])
    port = int.from_bytes(header[_FIXED + 2 * size : _FIXED + 2 * size + 2], "big")
    return Client(str(address), port)
