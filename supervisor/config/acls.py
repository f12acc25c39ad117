"""Access control lists: from rules as people write them to rules that can be gone through."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final, Literal, cast

from msgspec import Struct

from supervisor.config.host import Host
from supervisor.config.kinds import TEXT_SCHEMA, Schema, read_text
from supervisor.config.tables import Node, did_you_mean, kind_of, quoted
from supervisor.model.access import Acl, Rule
from supervisor.model.errors import Problem

NAME_PATTERN: Final = "^[A-Za-z_][A-Za-z0-9_.-]{0,99}$"
_NAME = re.compile(NAME_PATTERN.strip("^$"))
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_COMMA = re.compile(r"\s*,\s*")
_WORDS = ("all", "authenticated", "user", "group", "acl", "from")
_SHAPE = "allow|deny [all|authenticated|user A,B|group A,B] [acl NAME] [from A,B]"
_RULE_PATTERN = r"^\s*([aA][lL][lL][oO][wW]|[dD][eE][nN][yY])(\s|$)"

Who = Literal["all", "authenticated", "user", "group"]


class WrittenRule(Struct, frozen=True, kw_only=True):
    """One rule as it was written: names are not looked up yet."""

    node: Node
    allow: bool
    who: Who = "all"
    names: tuple[str, ...] = ()
    acls: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


WrittenAcl = Node | tuple[WrittenRule, ...]
"""The name of a list, or the rules themselves."""


class AclRules(Struct, frozen=True):
    """A list of rules, or (where `named`) the name of one in the table `[acl]`."""

    named: bool = True

    @property
    def words(self) -> str:
        return "list of rules, or the name of one, see below" if self.named else "list of rules"

    def schema(self) -> Schema:
        rules: Schema = {
            "type": "array",
            "items": {"type": "string", "pattern": _RULE_PATTERN},
        }
        name: Schema = {**TEXT_SCHEMA, "pattern": NAME_PATTERN}
        return {"anyOf": [name, rules]} if self.named else rules

    def read(self, node: Node, problems: list[Problem]) -> WrittenAcl | None:
        if isinstance(node.value, str) and self.named:
            if _NAME.fullmatch(node.value):
                return node
            what = f'must be the name of a list, or a list of rules as ["{_SHAPE}"]'
            problems.append(node.problem(f"{what}, not {quoted(node.value)}"))
            return None
        if not isinstance(node.value, tuple):
            what = f'must be a list of rules as ["{_SHAPE}"], not {kind_of(node.value)}'
            problems.append(node.problem(what))
            return None
        rules = [_rule(item, problems) for item in node.value]
        right = tuple(rule for rule in rules if rule is not None)
        return right if len(right) == len(rules) else None


def _rule(node: Node, problems: list[Problem]) -> WrittenRule | None:
    text = read_text(node, problems)
    if text is None:
        return None
    try:
        return _parsed(_COMMA.sub(",", text).split(), node)
    except _BadRuleError as error:
        problems.append(node.problem(f"{error}: a rule is {_SHAPE}"))
        return None


class _BadRuleError(ValueError):
    """A rule that is none. The message says why."""


def _parsed(words: list[str], node: Node) -> WrittenRule:
    if not words or words[0].lower() not in ("allow", "deny"):
        raise _BadRuleError("must begin with allow or deny")
    allow, rest = words[0].lower() == "allow", words[1:]
    who: Who = "all"
    names: tuple[str, ...] = ()
    if rest and rest[0].lower() in ("all", "authenticated"):
        who = cast("Who", rest.pop(0).lower())
    elif rest and rest[0].lower() in ("user", "group"):
        who = cast("Who", rest.pop(0).lower())
        names = _listed(rest, f"{who} needs a name")
    acls: list[str] = []
    while rest and rest[0].lower() == "acl":
        rest.pop(0)
        acls += _listed(rest, "acl needs a name")
    sources: tuple[str, ...] = ()
    if rest and rest[0].lower() == "from":
        rest.pop(0)
        sources = _listed(rest, "from needs an address")
    if rest:
        hint = did_you_mean(rest[0], _WORDS)
        raise _BadRuleError(f"{quoted(rest[0])} is out of place{hint}")
    return WrittenRule(
        node=node, allow=allow, who=who, names=names, acls=tuple(acls), sources=sources
    )


def _listed(rest: list[str], missing: str) -> tuple[str, ...]:
    """Take a word off *rest* and return what is between its commas."""
    if not rest:
        raise _BadRuleError(missing)
    names = tuple(rest.pop(0).split(","))
    if not all(names):
        raise _BadRuleError("there is nothing between two commas")
    return names


class Acls:
    """The named lists of a configuration; it makes what was written into what can be asked."""

    def __init__(self, named: Mapping[str, Node], host: Host, problems: list[Problem]) -> None:
        """Resolve all of *named*, so that what is wrong is told even if nobody uses it."""
        self.host, self.problems = host, problems
        self.nodes = named
        self.written: dict[str, WrittenAcl | None] = {}
        self.resolved: dict[str, Acl] = {}
        self.path: list[str] = []
        for name, node in named.items():
            if not _NAME.fullmatch(name):
                rule = "1 to 100 letters, digits or _ - . and begins with a letter or _"
                problems.append(node.problem(f"is no name for a list: a name has {rule}"))
            self.written[name] = AclRules(named=False).read(node, problems)
        for name in named:
            self._named(name)

    def resolve(self, written: WrittenAcl | None) -> Acl | None:
        """Return the list that *written* stands for; None stays None."""
        if written is None:
            return None
        if isinstance(written, Node):
            return self._called(str(written.value), written)
        return Acl(tuple(self._rule(rule) for rule in written))

    def _called(self, name: str, node: Node) -> Acl:
        if name in self.nodes and name not in self.path:
            return self._named(name)
        if name in self.path:
            cycle = " → ".join([*self.path[self.path.index(name) :], name])
            self.problems.append(node.problem(f"a cycle of access control lists: {cycle}"))
        else:
            hint = did_you_mean(name, self.nodes)
            what = f"there is no access control list {quoted(name)}"
            self.problems.append(node.problem(f"{what} in [acl]{hint}"))
        return Acl()

    def _named(self, name: str) -> Acl:
        if name not in self.resolved:
            self.path.append(name)
            self.resolved[name] = self.resolve(self.written[name]) or Acl()
            self.path.pop()
        return self.resolved[name]

    def _rule(self, rule: WrittenRule) -> Rule:
        sources = [each for source in rule.sources for each in self._source(source, rule.node)]
        return Rule(
            allow=rule.allow,
            who=rule.who,
            names=rule.names,
            sources=tuple(dict.fromkeys(sources)),
            also=tuple(self._called(name, rule.node) for name in rule.acls),
        )

    def _source(self, text: str, node: Node) -> tuple[str, ...]:
        """Return the addresses, networks or paths that one word behind `from` means."""
        if text.startswith("/"):
            return (text,)
        try:
            network = ipaddress.ip_network(text, strict=False)
            return (str(network) if "/" in text else text,)
        except ValueError:
            pass
        if not _HOST_NAME.fullmatch(text) or text.replace(".", "").isdigit():
            what = "must be an IP address, a network, a host name or the path of a socket"
            self.problems.append(node.problem(f"{what}, not {quoted(text)}"))
            return ()
        found = self.host.addresses(text)
        if not found:
            # Without its addresses, the rule would let pass, or keep out, whom it should not.
            what = f"cannot look up the address of {quoted(text)}; an address needs no looking up"
            self.problems.append(node.problem(what))
        return found
