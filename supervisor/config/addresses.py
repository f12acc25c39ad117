"""Socket URLs: from their text to an address to listen on."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Literal, Protocol

from supervisor.config.kinds import octal
from supervisor.config.tables import did_you_mean, quoted
from supervisor.model.component import Address, InetAddress, SocketType, UnixAddress

_URL = re.compile(r"(?P<scheme>[A-Za-z0-9]+)(?:\+(?P<proto>[\w-]*))?://(?P<rest>.*)", re.DOTALL)
_SCHEMES = ("inet", "inet6", "unix", "local", "file")
_ARGUMENTS = ("mode", "umask", "user", "group")
_ANY = {"inet": "0.0.0.0", "inet6": "::"}
_LOCALHOST = {"inet": "127.0.0.1", "inet6": "::1"}

LONGEST_PATH = 107
"""Bytes of a UNIX socket's path. Source: unix(7), sun_path with its final null byte is 108."""

SCHEMA_PATTERN = r"^(([iI][nN][eE][tT]6?)(\+([tT][cC]|[uU][dD])[pP])?|[uU][nN][iI][xX]|[lL][oO][cC][aA][lL]|[fF][iI][lL][eE])://"
"""What every URL that is accepted begins with."""


_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?")


class Lookup(Protocol):
    """What this machine knows of services and hosts; see `supervisor.config.host.Host`."""

    def service_port(self, name: str) -> int | None: ...
    def addresses(self, name: str) -> tuple[str, ...]: ...


class BadAddress(ValueError):
    """A URL that is no address. The message says what is wrong with it."""


def parse_address(
    url: str, lookup: Lookup, base: str | None = None, kind: SocketType | None = None
) -> Address:
    """Return the address that *url* stands for.

    Args:
        lookup: who knows services and hosts by their names.
        base: the directory in which a relative path of a UNIX socket lies; None: there must be
            none.
        kind: the type of the socket where that was said apart from the URL.

    Raises:
        BadAddress: with a message that can follow the key.
    """
    match = _URL.fullmatch(url)
    if match is None:
        example = "inet://127.0.0.1:8080 or unix:///run/NAME.sock"
        raise BadAddress(f"must be a socket URL as {example}, not {quoted(url)}")
    scheme, proto = match["scheme"].lower(), match["proto"]
    if scheme not in _SCHEMES:
        raise BadAddress(f"unknown kind of socket {quoted(scheme)}{did_you_mean(scheme, _SCHEMES)}")
    if scheme.startswith("inet"):
        protocol = _protocol(proto, kind)
        return _inet(scheme, protocol, match["rest"], lookup)
    if proto is not None:
        raise BadAddress(f"a UNIX socket has no protocol {quoted(proto)}: see 'socket-type'")
    return _unix(match["rest"], base, kind or "stream")


_PROTOCOLS: dict[str, Literal["tcp", "udp"]] = {"tcp": "tcp", "udp": "udp"}
_OF_TYPE: dict[SocketType, Literal["tcp", "udp"]] = {"stream": "tcp", "dgram": "udp"}


def _protocol(proto: str | None, kind: SocketType | None) -> Literal["tcp", "udp"]:
    """Return the protocol that is said, or goes with the type that is."""
    said = None if proto is None else _PROTOCOLS.get(proto.lower())
    if proto is not None and said is None:
        raise BadAddress(f"the protocol must be tcp or udp, not {quoted(proto)}")
    meant = None if kind is None else _OF_TYPE.get(kind)
    if kind is not None and meant is None:
        raise BadAddress(f"only a UNIX socket can have the type {kind}")
    if said and meant and said != meant:
        raise BadAddress(f"the protocol {said} contradicts the 'socket-type' {kind}")
    return said or meant or "tcp"


def _inet(scheme: str, protocol: Literal["tcp", "udp"], rest: str, lookup: Lookup) -> InetAddress:
    host, colon, port = rest.rpartition(":")
    if not colon or host.count("[") != host.count("]") or "]" in port:
        raise BadAddress(f"must end in ':PORT', unlike {quoted(rest)}")
    where = _host(scheme, host, lookup)
    if protocol == "tcp" and _is_for_many(where):
        raise BadAddress(f"{quoted(where)} is for many: nobody can connect to it by TCP")
    return InetAddress(host=where, port=_port(port, lookup), protocol=protocol)


def _host(scheme: str, host: str, lookup: Lookup) -> str:
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if not bracketed:
        if bare in ("", "*"):
            return _ANY[scheme]
        if bare.lower() == "localhost":
            return _LOCALHOST[scheme]
        if ":" in bare:
            raise BadAddress(f"an IPv6 address stands in brackets: [{bare}]:PORT")
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        if bracketed or not _HOST_NAME.fullmatch(bare) or bare.replace(".", "").isdigit():
            raise BadAddress(f"{quoted(bare)} is not an IP address") from None
        return _looked_up(scheme, bare, lookup)
    if bracketed != (address.version == 6):
        raise BadAddress(f"{quoted(bare)} is not an IPv6 address: it takes no brackets")
    if scheme == "inet6" and address.version == 4:
        raise BadAddress(f"{quoted(bare)} is not an IPv6 address")
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise BadAddress(f"{quoted(bare)} is an IPv4 address: write it as {address.ipv4_mapped}")
    return str(address)


def _is_for_many(host: str) -> bool:
    """Return whether *host* is a multicast or the broadcast address."""
    return ipaddress.ip_address(host).is_multicast or host == "255.255.255.255"


def _looked_up(scheme: str, name: str, lookup: Lookup) -> str:
    version = 6 if scheme == "inet6" else 4
    found = [ipaddress.ip_address(each) for each in lookup.addresses(name)]
    fitting = next((each for each in found if each.version == version), None)
    if fitting is None:
        raise BadAddress(f"cannot look up the IPv{version} address of {quoted(name)}")
    return str(fitting)


def _port(port: str, lookup: Lookup) -> int:
    if re.fullmatch("[0-9]+", port):
        if len(port) > 5 or int(port) > 65535:
            raise BadAddress(f"the port must be at most 65535, not {quoted(port)}")
        return int(port)
    if not port:
        raise BadAddress("the port is missing")
    known = lookup.service_port(port)
    if known is None:
        raise BadAddress(f"{quoted(port)} is neither a port nor a service in /etc/services")
    return known


def _unix(rest: str, base: str | None, kind: SocketType) -> UnixAddress:
    path, *arguments = rest.split(";")
    if path in ("", "@"):
        raise BadAddress("the path of the socket is missing")
    if path.startswith("@"):
        if arguments:
            raise BadAddress("a socket in the abstract namespace has no mode and no owner")
    elif not os.path.isabs(path):
        if base is None:
            raise BadAddress(f"the socket needs a full path, not {quoted(path)}")
        path = os.path.join(base, path)
    if len(os.fsencode(path)) > LONGEST_PATH:
        what = f"the path of a socket may have {LONGEST_PATH} bytes at most"
        raise BadAddress(f"{what}: {quoted(path)}")
    given = _arguments(arguments)
    mode, umask = (_permissions(name, given.get(name)) for name in ("mode", "umask"))
    if mode is None and umask is not None:
        mode = 0o777 & ~umask
    user, group = given.get("user"), given.get("group")
    return UnixAddress(path=path, mode=mode, user=user, group=group, kind=kind)


def _permissions(name: str, digits: str | None) -> int | None:
    if digits is None:
        return None
    number = octal(digits)
    if number is None:
        raise BadAddress(f"{name} must be octal digits as 0660, not {quoted(digits)}")
    return number


def _arguments(arguments: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name not in _ARGUMENTS:
            hint = did_you_mean(name, _ARGUMENTS)
            raise BadAddress(f"unknown argument {quoted(name)} of a socket{hint}")
        if not equals or not value:
            raise BadAddress(f"{name} needs a value, as {name}=…")
        if name in given:
            raise BadAddress(f"{name} is given twice")
        given[name] = value
    return given
