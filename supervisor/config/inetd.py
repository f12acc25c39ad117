"""Read inetd.conf: each line becomes a component of mode inetd for each of its addresses."""

from __future__ import annotations

import re

from msgspec import Struct

from supervisor.config.nodes import Plain, make
from supervisor.config.splitting import split_words
from supervisor.config.tables import Node, did_you_mean, dotted, quoted
from supervisor.model.component import Tag
from supervisor.model.errors import Problem

_TYPES = ("stream", "dgram", "raw", "rdm", "seqpacket")
_SCHEMES = {
    "tcp": "inet+tcp",
    "tcp4": "inet+tcp",
    "tcp6": "inet6+tcp",
    "udp": "inet+udp",
    "udp4": "inet+udp",
    "udp6": "inet6+udp",
    "icmp": "inet+icmp",
    "sctp": "inet+sctp",
    "unix": "unix",
}
"""The protocols, and what a socket URL of each begins with."""
_FEWEST = 6
_FIELDS = ("SERVICE", "TYPE", "PROTOCOL", "WAIT", "USER", "PROGRAM")
_WAIT = re.compile(r"(?P<word>wait|nowait)(?:\.(?P<most>[0-9]{1,9}))?")
_NOT_IN_A_TAG = re.compile(r"[^A-Za-z0-9_.:@-]+")


def read(text: str, file: str, problems: list[Problem]) -> Node | None:
    """Return the components of *text* as the table `component`; faults go to *problems*.

    A line with one address, or none, makes the component `SERVICE`; with several, `SERVICE@ADDRESS`
    for each. Where the tag is taken it is `SERVICE@ADDRESS` or, without one, `SERVICE-PROTOCOL`.
    Whether piesd can do what a line says is not asked here: its keys are read as those of TOML.

    Source: pies.md section 1.10.
    """
    reading = _Reading(file, problems)
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        reading.line(number, line.removesuffix("\r"))
    components = Node(file, 1, "component", reading.components)
    return Node(file, 1, "", {"component": components} if reading.components else {})


class _Entry(Struct, frozen=True, kw_only=True):
    """One line: its service, its addresses (empty for any), and the keys that all of them share."""

    line: int
    service: str
    name: str
    """The service as a tag."""
    addresses: tuple[str, ...]
    protocol: str
    keys: dict[str, Plain]


class _Reading:
    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file, self.problems = file, problems
        self.components: dict[Tag, Node] = {}
        self.usual: tuple[str, ...] = ()
        """The addresses for lines that name none."""
        self.places: dict[tuple[str, str, str], int] = {}
        """The line of each service, address and protocol."""

    def line(self, number: int, line: str) -> None:
        text = line.strip()
        if not text or text.startswith("#"):
            return
        try:
            words = split_words(text)
        except ValueError:
            self._problem(
                number, "", "a quotation mark is not closed, or a backslash ends the line"
            )
            return
        if len(words) == 1 and words[0].endswith(":"):
            nodes = _addresses(words[0][:-1])
            if nodes is None:
                self._problem(number, "", f"an address is missing in {quoted(words[0])}")
            else:
                self.usual = nodes
            return
        entry = self._entry(number, words)
        if entry is not None:
            self._add(entry)

    def _problem(self, line: int, key: str, message: str) -> None:
        self.problems.append(Problem(self.file, line, key, message))

    def _entry(self, line: int, words: list[str]) -> _Entry | None:
        """Return what the fields say, or None after telling everything that is wrong with them."""
        if len(words) < _FEWEST:
            missing = " ".join(_FIELDS[len(words) :])
            what = f"a line has at least {_FEWEST} fields, this one {len(words)}: {missing} missing"
            self._problem(line, "", what)
            return None
        before = len(self.problems)
        where, kind, protocol, wait, user, program = words[:_FEWEST]
        service, addresses = self._service(line, where)
        key = dotted("component", _as_tag(service))
        keys = self._type(line, key, kind.lower(), protocol.lower())
        keys |= self._wait(line, key, wait.lower())
        keys |= self._user(line, key, user)
        keys |= _program(service, program, words[_FEWEST:])
        if len(self.problems) > before:
            return None
        return _Entry(
            line=line,
            service=service,
            name=_as_tag(service),
            addresses=addresses,
            protocol=protocol.lower(),
            keys=keys,
        )

    def _service(self, line: int, where: str) -> tuple[str, tuple[str, ...]]:
        nodes, colon, service = where.rpartition(":")
        if where.endswith("]") or where.startswith("/"):
            nodes, colon, service = "", "", where
        addresses = _addresses(nodes) if colon else self.usual
        if addresses is None:
            self._problem(line, "", f"an address is missing in {quoted(where)}")
            addresses = ()
        if not _as_tag(service):
            self._problem(line, "", f"the name of the service is missing in {quoted(where)}")
        return service, addresses

    def _type(self, line: int, key: str, kind: str, protocol: str) -> dict[str, Plain]:
        if kind not in _TYPES:
            what = f"unknown type of socket {quoted(kind)}{did_you_mean(kind, _TYPES)}"
            self._problem(line, f"{key}.socket-type", what)
        if protocol.startswith("rpc/"):
            self._problem(line, f"{key}.socket", "services of RPC are not supported")
        elif protocol not in _SCHEMES:
            what = f"unknown protocol {quoted(protocol)}{did_you_mean(protocol, _SCHEMES)}"
            self._problem(line, f"{key}.socket", what)
        return {} if kind == "stream" else {"socket-type": kind}

    def _wait(self, line: int, key: str, wait: str) -> dict[str, Plain]:
        match = _WAIT.fullmatch(wait)
        if match is None:
            what = f"must be wait, nowait or nowait.MAX, not {quoted(wait)}"
            self._problem(line, f"{key}.wait", what)
            return {}
        keys: dict[str, Plain] = {"wait": True} if match["word"] == "wait" else {}
        return {**keys, "max-rate": int(match["most"])} if match["most"] else keys

    def _user(self, line: int, key: str, user: str) -> dict[str, Plain]:
        name, sign, group = user.partition(":")
        if not sign:
            name, sign, group = user.partition(".")
        if not name or (sign and not group):
            what = f"must be USER, USER.GROUP or USER:GROUP, not {quoted(user)}"
            self._problem(line, f"{key}.user", what)
        return {"user": name, "group": (group,)} if group else {"user": name}

    def _add(self, entry: _Entry) -> None:
        for address in entry.addresses or ("",):
            tag = self._tag(entry, address)
            place = (entry.service, address, entry.protocol)
            first = self.places.setdefault(place, entry.line)
            if first != entry.line:
                what = f"is already defined at {self.file}:{first}"
                self._problem(entry.line, dotted("component", tag), what)
                continue
            table: dict[str, Plain] = {"mode": "inetd", **_place(entry, address), **entry.keys}
            key = dotted("component", tag)
            self.components[tag] = make(self.file, entry.line, key, table)

    def _tag(self, entry: _Entry, address: str) -> Tag:
        at = f"{entry.name}@{_NOT_IN_A_TAG.sub('-', address.strip('[]')) or 'any'}"
        tags = [entry.name] if len(entry.addresses) < 2 else []
        tags += [at] if entry.addresses else []
        tags.append(f"{tags[-1]}-{entry.protocol}")
        return next((tag for tag in tags if tag not in self.components), tags[-1])


def _as_tag(service: str) -> Tag:
    """Return *service* as a tag: for `tcpmux/+date` it is `date`, for `/run/x` it is `run-x`."""
    name = service.removeprefix("tcpmux/").removeprefix("+")
    return _NOT_IN_A_TAG.sub("-", name).lstrip(".:@-")


def _addresses(nodes: str) -> tuple[str, ...] | None:
    """Return the addresses of a comma list, empty for any; None if one is missing."""
    addresses = tuple(nodes.split(","))
    if not all(addresses):
        return None
    return () if addresses == ("*",) else tuple("" if each == "*" else each for each in addresses)


def _place(entry: _Entry, address: str) -> dict[str, Plain]:
    """Return the keys that say where it is reached."""
    name = entry.service.removeprefix("tcpmux/")
    if name != entry.service:
        flag = "tcpmuxplus" if name.startswith("+") else "tcpmux"
        return {"service": name.removeprefix("+"), "tcpmux-master": "tcpmux", flag: True}
    scheme = _SCHEMES[entry.protocol]
    if scheme == "unix":
        return {"socket": f"unix://{entry.service}"}
    six = ":" in address and not address.startswith("[")
    host = f"[{address}]" if six else address or ("[::]" if "6" in scheme else "0.0.0.0")
    return {"socket": f"{scheme}://{host}:{entry.service}"}


def _program(service: str, program: str, arguments: list[str]) -> dict[str, Plain]:
    if program == "internal":
        return {"internal": True, "service": service}
    if not arguments or arguments[0] == program:
        return {"command": tuple(arguments or [program])}
    return {"program": program, "command": tuple(arguments)}
