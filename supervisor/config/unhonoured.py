"""What a way of serving cannot honour: a key that would only be read is refused, with the reason.

Keys that mean nothing in a mode say so themselves (`Key.modes`). Here is what depends on more than
the mode. As defaults, for others, all of them may be said.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from supervisor.config import keys
from supervisor.config.fields import Key
from supervisor.config.meanings import Meanings
from supervisor.model.component import Address, Mode, UnixAddress

_Keys = tuple[Key[Any], ...]

_OF_CLIENTS: _Keys = (
    keys.CONNECT_ACL,
    keys.ACCESS_DENIED_MESSAGE,
    keys.MAX_IP_CONNECTIONS,
    keys.MAX_IP_CONNECTIONS_MESSAGE,
    keys.PROXY_PROTOCOL,
    keys.SOCKENV,
    keys.RESOLVE,
)
"""What needs piesd to see each client."""
_OF_SERVERS: _Keys = (keys.LISTEN_FDS, keys.SOCKET_NAMES, keys.IDLE_STOP)
"""What is about a program that has the listening sockets."""
_OF_CONNECTIONS: _Keys = (
    keys.MAX_INSTANCES,
    keys.MAX_INSTANCES_MESSAGE,
    keys.MAX_IP_CONNECTIONS,
    keys.MAX_IP_CONNECTIONS_MESSAGE,
    keys.ACCESS_DENIED_MESSAGE,
    keys.IDLE_TIMEOUT,
    keys.PROXY_PROTOCOL,
)
"""What datagrams have no use for, where piesd answers them."""
_OF_ADDRESSES: _Keys = (
    keys.MAX_IP_CONNECTIONS,
    keys.MAX_IP_CONNECTIONS_MESSAGE,
    keys.PROXY_PROTOCOL,
    keys.RESOLVE,
)
_NEEDS: tuple[tuple[Key[Any], Key[Any]], ...] = (
    (keys.ACCESS_DENIED_MESSAGE, keys.CONNECT_ACL),
    (keys.MAX_INSTANCES_MESSAGE, keys.MAX_INSTANCES),
    (keys.MAX_IP_CONNECTIONS_MESSAGE, keys.MAX_IP_CONNECTIONS),
)
"""What is said to a client, and when."""


class Way(Struct, frozen=True, kw_only=True):
    """How a component that listens serves."""

    mode: Mode
    sockets: tuple[Address, ...]
    wait: bool
    internal: bool
    subordinate: bool
    """It gets its connections from a `tcpmux-master`."""
    listen_fds: bool
    on_demand: bool
    sockenv: bool


def refuse(way: Way, one: Meanings) -> None:
    """Add a problem for each key that *way* cannot honour, a warning where nothing is lost."""
    told: set[str] = set()
    for listed, why in _rules(way):
        _tell(listed, why, one, told)
    for key, why in _without_effect(way, one):
        _tell((key,), why, one, told, warn=True)


def _rules(way: Way) -> Iterator[tuple[_Keys, str]]:
    """Yield what *way* cannot honour, and why; of several reasons the first is told."""
    if way.subordinate:
        own: _Keys = (keys.SOCKET_TYPE, keys.BACKLOG, keys.WAIT, keys.PROXY_PROTOCOL, *_OF_SERVERS)
        yield own, "has no place beside 'tcpmux-master', which hands connections over"
    if way.internal:
        yield _OF_SERVERS, "is about a program, and with 'internal' there is none: leave it out"
        yield (
            (keys.SOCKENV, keys.RESOLVE),
            "is for the environment of a program, and with 'internal' there is none: leave it out",
        )
        if way.sockets and all(each.kind == "dgram" for each in way.sockets):
            yield _OF_CONNECTIONS, "is about connections, and datagrams have none: leave it out"
        elif all(each.kind != "dgram" for each in way.sockets):
            yield (keys.WAIT,), "beside 'internal' is for datagrams only: leave it out"
    if way.wait:
        what = "with 'wait' the server accepts, and piesd does not see its clients"
        yield _OF_CLIENTS, f"cannot be: {what}; leave out one of the two"
    elif way.mode is Mode.INETD:
        what = "is about a server that owns the socket: it needs 'wait = true'"
        yield _OF_SERVERS, what
    if not way.listen_fds:
        yield (keys.SOCKET_NAMES,), "is for LISTEN_FDNAMES: it needs 'listen-fds = true'"
    if way.on_demand:
        what = "cannot be asked of a server that its first connection starts, as it is up when"
        yield (keys.READY, keys.HEALTH), f"{what} its socket is open: leave out one of the two"
    if way.sockets and all(isinstance(each, UnixAddress) for each in way.sockets):
        yield _OF_ADDRESSES, "is about IP addresses, and clients of a UNIX socket have none"


def _without_effect(way: Way, one: Meanings) -> Iterator[tuple[Key[Any], str]]:
    """Yield what changes nothing, though nothing that it says is wrong."""
    one_at_a_time = "has no effect: there is one server at a time"
    if way.wait:
        yield keys.MAX_INSTANCES, one_at_a_time
        yield keys.MAX_INSTANCES_MESSAGE, one_at_a_time
    elif way.on_demand and one.fields.node(keys.INSTANCES) is not None:
        yield keys.MAX_INSTANCES, one_at_a_time
    elif way.mode is Mode.INETD:
        for key, when in _NEEDS:
            if one.fields.node(when) is None:
                yield key, f"has no effect without '{when.name}'"
    if not way.sockenv:
        yield keys.RESOLVE, "has no effect without 'sockenv'"
    if way.sockets and all(each.kind == "dgram" for each in way.sockets):
        yield keys.BACKLOG, "has no effect: datagrams have no connections"


def _tell(listed: _Keys, why: str, one: Meanings, told: set[str], *, warn: bool = False) -> None:
    """Say *why* of those *listed* that the component says itself, by name or among its flags."""
    flags = one.fields.node(keys.FLAGS) if keys.FLAGS.name in one.own else None
    for key in listed:
        node, what = one.fields.node(key), why
        if key.name in told or one.fields.wrong(key) or (node is not None and node.value is False):
            continue
        if node is None or key.name not in one.own:
            if key.name not in (one.fields.given(keys.FLAGS) or ()):
                continue
            node, what = flags, f"'{key.name}' {why}"
        if node is not None:
            one.problems.append(node.warning(what) if warn else node.problem(what))
            told.add(key.name)
