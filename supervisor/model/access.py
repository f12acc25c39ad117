"""Who may do what: rules, and the one function that goes through them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal

from msgspec import Struct


class Subject(Struct, frozen=True, kw_only=True):
    """Who asks, as far as rules look at it.

    `user` is None for somebody unknown; `address` is a literal IP address, or the path of the UNIX
    socket that was used.
    """

    user: str | None = None
    groups: frozenset[str] = frozenset()
    address: str = ""


class Rule(Struct, frozen=True, kw_only=True):
    """One rule of an access control list. Source: pies.md section 1.8.

    `names` are users or groups, for `who` of these kinds. `sources` are IP addresses or networks as
    `10.0.0.0/8`, or full paths of UNIX sockets; none means anywhere. Each list of `also` must allow
    the subject, too.
    """

    allow: bool
    who: Literal["all", "authenticated", "user", "group"] = "all"
    names: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    also: tuple[Acl, ...] = ()


class Acl(Struct, frozen=True):
    """Rules of which the first that matches decides; where none does, the answer is yes."""

    rules: tuple[Rule, ...] = ()


def allows(acl: Acl | None, subject: Subject) -> bool:
    """Return whether *acl* lets *subject* pass; no list lets everybody."""
    if acl is None:
        return True
    for rule in acl.rules:
        if _matches(rule, subject):
            return rule.allow
    return True


def _matches(rule: Rule, subject: Subject) -> bool:
    return (
        _is_meant(rule, subject)
        and _comes_from(rule.sources, subject.address)
        and all(allows(acl, subject) for acl in rule.also)
    )


def _is_meant(rule: Rule, subject: Subject) -> bool:
    match rule.who:
        case "all":
            return True
        case "authenticated":
            return subject.user is not None
        case "user":
            return subject.user is not None and subject.user in rule.names
        case "group":
            return not subject.groups.isdisjoint(rule.names)


def _comes_from(sources: tuple[str, ...], address: str) -> bool:
    if not sources or address in sources:
        return True
    if not address or address.startswith("/"):
        return False
    plain = _plain(address)
    return any(plain in ip_network(source, strict=False) for source in sources if source[0] != "/")


def _plain(address: str) -> IPv4Address | IPv6Address:
    """Return *address*; IPv4 that came over IPv6 is IPv4."""
    parsed = ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return mapped or parsed
