"""From `[control]` and the identity providers to who may give orders, where."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Literal, cast

from msgspec import Struct
from msgspec.structs import replace

from supervisor.config import keys
from supervisor.config.acls import Acls
from supervisor.config.addresses import BadAddress, parse_address
from supervisor.config.fields import Fields, Record
from supervisor.config.host import Host
from supervisor.config.tables import Node, did_you_mean, quoted, right_since
from supervisor.model.component import Address, InetAddress, UnixAddress
from supervisor.model.errors import Problem
from supervisor.model.settings import ControlSettings, Provider

COMMAND_LINE = "command line"
"""Stands for the file in problems with options."""


class Secret(Struct, frozen=True):
    """A file that piesd needs, and the value that names it."""

    path: str
    node: Node
    needed: bool = False
    """Whether nothing goes without it."""
    public: bool = False
    """Whether everybody may read it."""


class Orders(Struct, frozen=True, kw_only=True):
    """The settings, and the places of what `check` looks at."""

    settings: ControlSettings
    sockets: tuple[tuple[Address, Node], ...]
    secrets: tuple[Secret, ...]


def build_orders(
    control: dict[str, Node],
    providers: Mapping[str, Node],
    acls: Acls,
    host: Host,
    problems: list[Problem],
    *,
    sockets: Sequence[str],
    otherwise: UnixAddress,
) -> Orders:
    """Return who may give orders.

    Args:
        sockets: from the command line; they replace those of the files.
        otherwise: the socket where none is named.
    """
    before = len(problems)
    fields = Fields(control, keys.CONTROL_KEYS, problems)
    known = _providers(providers, problems)
    chosen = _chosen(fields, providers, known, problems)
    # What is wrong with these is told already, and is no reason to say that they are missing.
    identities = bool(chosen) or not right_since(problems, before)
    settings = ControlSettings(
        sockets=(),
        anonymous=cast('Literal["list", "admin"] | None', fields.given(keys.ANONYMOUS)),
        realm=fields.need(keys.REALM),
        tls=fields.given(keys.TLS),
        providers=chosen,
        acl=acls.resolve(fields.given(keys.CONTROL_ACL)),
        admin_acl=acls.resolve(fields.given(keys.CONTROL_ADMIN_ACL)),
        user_acl=acls.resolve(fields.given(keys.USER_ACL)),
    )
    options = tuple(Node(COMMAND_LINE, 0, "--socket", url) for url in sockets)
    listening: list[tuple[Address, Node]] = []
    for node in options or fields.given(keys.CONTROL_SOCKET) or ():
        try:
            address = parse_address(str(node.value), host)
        except BadAddress as error:
            problems.append(node.problem(str(error)))
            continue
        listening.append((address, node))
        if isinstance(address, InetAddress):
            tls = fields.node(keys.TLS) is not None
            anonymous = fields.node(keys.ANONYMOUS) is not None
            problems += _refused(address, node, identities=identities, tls=tls, anonymous=anonymous)
    addresses = tuple(address for address, _ in listening) or (otherwise,)
    return Orders(
        settings=replace(settings, sockets=addresses),
        sockets=tuple(listening),
        secrets=(*_tls_files(fields), *_password_files(known)),
    )


def _refused(
    address: InetAddress, node: Node, *, identities: bool, tls: bool, anonymous: bool
) -> list[Problem]:
    """Return why a TCP control socket is not opened. Source: control-api.md section 3."""
    if ipaddress.ip_address(address.host).is_loopback:
        if identities or anonymous:
            return []
        what = (
            "a TCP socket for orders needs an [identity-provider.NAME], or, as it is on a loopback "
            'address, anonymous = "list" or "admin" in [control]'
        )
        return [node.problem(what)]
    missing = []
    if not identities:
        missing.append("an [identity-provider.NAME]")
    if not tls:
        missing.append("tls = {cert, key} in [control]")
    if not missing:
        return []
    what = "a TCP socket for orders that is not on a loopback address needs"
    also = "; 'anonymous' is for loopback addresses only" if anonymous and not identities else ""
    return [node.problem(f"{what} {' and '.join(missing)}{also}")]


# --- identity providers -----------------------------------------------------------------------


def _providers(
    tables: Mapping[str, Node], problems: list[Problem]
) -> dict[str, tuple[Provider, Node]]:
    """Return the providers that are right, by name, with the value of `path` or their table."""
    found: dict[str, tuple[Provider, Node]] = {}
    for name, node in tables.items():
        provider = Record(keys.PROVIDER_KEYS, _provider).read(node, problems)
        if not name.isprintable() or not name.strip():
            problems.append(node.problem("is no name for an identity provider"))
        elif provider is not None:
            place = node.table.get(keys.PROVIDER_PATH.name, node)
            found[name] = (replace(provider, name=name), place)
    return found


def _provider(fields: Fields, node: Node, problems: list[Problem]) -> Provider:
    kind = fields.given(keys.PROVIDER_TYPE)
    for key, only in ((keys.PROVIDER_SERVICE, "pam"), (keys.PROVIDER_PATH, "file")):
        written = fields.node(key)
        if written is not None and kind not in (only, None):
            problems.append(written.problem(f"is only for type {only}: this one has type {kind}"))
    if kind == "file" and fields.node(keys.PROVIDER_PATH) is None:
        problems.append(node.problem("the key 'path' is missing: type file needs it"))
    return Provider(
        name="",
        type=cast('Literal["system", "pam", "file"]', kind or "system"),
        service=fields.need(keys.PROVIDER_SERVICE),
        path=fields.given(keys.PROVIDER_PATH) or "",
    )


def _chosen(
    fields: Fields,
    tables: Mapping[str, Node],
    known: Mapping[str, tuple[Provider, Node]],
    problems: list[Problem],
) -> tuple[Provider, ...]:
    named = fields.given(keys.IDENTITY_PROVIDER)
    if named is None:
        return tuple(provider for provider, _ in known.values())
    for node in named:
        name = str(node.value)
        if name not in tables:
            hint = did_you_mean(name, tables)
            problems.append(node.problem(f"there is no identity provider {quoted(name)}{hint}"))
    names = dict.fromkeys(str(node.value) for node in named)
    return tuple(known[name][0] for name in names if name in known)


# --- files ------------------------------------------------------------------------------------


def _tls_files(fields: Fields) -> list[Secret]:
    tls, written = fields.given(keys.TLS), fields.node(keys.TLS)
    if tls is None or written is None:
        return []
    files = [
        (keys.TLS_CERT, tls.cert),
        (keys.TLS_KEY, tls.key),
        (keys.TLS_CLIENT_CA, tls.client_ca),
    ]
    return [
        Secret(path, written.table[key.name], needed=True, public=key is not keys.TLS_KEY)
        for key, path in files
        if path is not None
    ]


def _password_files(providers: Mapping[str, tuple[Provider, Node]]) -> list[Secret]:
    return [Secret(provider.path, node) for provider, node in providers.values() if provider.path]
