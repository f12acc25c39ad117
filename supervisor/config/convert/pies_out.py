"""Print the common form of every syntax in pies' own, and list what pies cannot be told."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from supervisor.config.convert import pies_values as values
from supervisor.config.convert.carry import words
from supervisor.config.convert.comments import printable
from supervisor.config.convert.pies_text import is_changed_by_m4, listed, long_text, rule, value
from supervisor.config.tables import Node, as_items
from supervisor.model.component import Tag
from supervisor.model.errors import Problem

_STEP = "    "
_WORDS: Final = words(
    """
    mode program chdir user umask socket socket-type service tcpmux-master pass-fd-socket runlevels
    """
)
"""Statements with one value."""
_LISTS: Final = frozenset({"prerequisites", "dependents", "group"})
_NUMBERS: Final = frozenset({"max-instances", "max-rate", "max-ip-connections", "pass-fd-timeout"})
_TEXTS: Final = frozenset(
    {"max-instances-message", "max-ip-connections-message", "access-denied-message"}
)
_ACLS: Final = frozenset({"acl", "list-acl", "admin-acl", "user-acl"})
_FLAGS: Final = (
    *("disable", "precious", "wait", "internal", "sockenv", "resolve", "tcpmux", "tcpmuxplus"),
    *("shell", "expandenv", "nullinput", "siggroup"),
)
_ELSEWHERE: Final = frozenset({*_FLAGS, "flags", "enabled", "limits", "nice", "env"}) | {
    "env-clear",
    "env-keep",
    "instances",
}
"""Keys that are read together with others."""
_DAEMON: Final = frozenset({"umask", "state-directory", "pidfile", "qotd-file", "user"})


def print_pies(root: Node, problems: list[Problem], *, top: Sequence[str] = ()) -> str:
    """Return *root* as the text of a file in pies' syntax.

    What cannot be said in it goes to *problems* as a warning.

    Args:
        root: a table of tables, as the readers return it.
        top: lines of a comment at the beginning.
    """
    printer = _Printer(problems)
    printer.lines += [f"# {printable(line)}".rstrip() for line in top]
    printer.root(root)
    text = "\n".join(printer.lines).strip("\n")
    if is_changed_by_m4("\n".join(line for line in printer.lines if not line.startswith("#"))):
        what = "has a text that the preprocessor m4 would change: read it with --no-preprocessor"
        problems.append(Problem(root.file, 0, "", what, warning=True))
    return f"{text}\n" if text else ""


def _may_need(mode: str, needs: str) -> bool:
    """Return whether `all` of a component of *mode* includes an earlier one of mode *needs*."""
    return needs == mode if mode in ("startup", "shutdown") else needs != "shutdown"


class _Printer:
    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self.lines: list[str] = []
        self.depth = 0

    # --- lines

    def say(self, line: str) -> None:
        self.lines.append(f"{_STEP * self.depth}{line}")

    def statement(self, keyword: str, text: str) -> None:
        self.say(f"{keyword} {text};")

    def open(self, head: str) -> None:
        if self.depth == 0 and self.lines:
            self.lines.append("")
        self.say(f"{head} {{")
        self.depth += 1

    def close(self) -> None:
        self.depth -= 1
        self.say("}")

    def leave(self, node: Node, why: str = "pies has no such thing") -> None:
        self.problems.append(node.warning(f"is not carried over: {why}"))

    # --- the whole

    def root(self, root: Node) -> None:
        tables = root.table
        defaults = tables["defaults"].table if "defaults" in tables else {}
        for name, node in tables.items():
            match name:
                case "daemon":
                    self.daemon(node)
                case "control" | "syslog":
                    self.block(name, node)
                case "mail":
                    self.mail(node)
                case "acl":
                    self.named_acls(node)
                case "identity-provider":
                    self.providers(node)
                case "on-exit":
                    self.exit_actions(node)
                case "component" | "defaults":
                    pass
                case _:
                    self.leave(node)
        components = tables.get("component")
        if components is not None:
            self.components(components, defaults)

    def daemon(self, node: Node) -> None:
        table = node.table
        for name, member in table.items():
            if name == "runlevel":
                self.statement("initdefault", value(str(member.value)))
            elif name in _DAEMON:
                self.statement(name, value(str(member.value)))
            elif name == "group":
                self.statement(name, listed(str(item.value) for item in as_items(member)))
            elif name == "allgroups":
                self.statement(name, "yes" if member.value is True else "no")
            elif name == "shutdown-timeout":
                self.seconds(name, member)
            elif name not in ("limits", "env"):
                self.leave(member)
        self.limits(table)
        self.environment(table)

    def seconds(self, name: str, node: Node) -> None:
        number = node.value
        if isinstance(number, int | float) and number == int(number):
            self.statement(name, str(int(number)))
        else:
            self.leave(node, "pies takes whole seconds")

    def block(self, keyword: str, node: Node) -> None:
        """Print `control` or `syslog`."""
        self.open(keyword)
        for name, member in node.table.items():
            if name in _ACLS:
                self.acl(name, member)
            elif name == "socket":
                first, *others = as_items(member) or (member,)
                self.statement(name, value(str(first.value)))
                for other in others:
                    self.leave(other, "pies has one control socket")
            elif name in ("realm", "dev", "facility", "tag"):
                self.statement(name, value(str(member.value)))
            else:
                self.leave(member)
        self.close()

    def mail(self, node: Node) -> None:
        for name, member in node.table.items():
            if name in ("program", "command-line"):
                self.statement(f"mailer-{name}", value(str(member.value)))
            else:
                self.leave(member)

    def named_acls(self, node: Node) -> None:
        for name, member in node.table.items():
            self.open(f"defacl {value(name)}")
            self.rules(member)
            self.close()

    def providers(self, node: Node) -> None:
        for name, provider in node.table.items():
            kind = provider.table.get("type")
            if kind is not None and kind.value == "file":
                self.leave(provider, "pies knows the types system and pam")
                continue
            self.open(f"identity-provider {value(name)}")
            for key, member in provider.table.items():
                self.statement(key, value(str(member.value)))
            self.close()

    # --- components

    def components(self, node: Node, defaults: Mapping[str, Node]) -> None:
        named: dict[Tag, list[Tag]] = {}
        for tag, table in node.table.items():
            named[tag] = [made for made, _ in values.instances(tag, table)]
        before: list[tuple[Tag, str]] = []
        """The components that were printed, with their modes."""
        for tag, table in node.table.items():
            own = {**defaults, **table.table}
            mode = str(own["mode"].value) if "mode" in own else ""
            # For pies, 'all' of a later instance would include the earlier ones.
            everything = [each for each, other in before if _may_need(mode, other)] or ["none"]
            others = ChainMap({"all": everything}, named)
            for made, number in values.instances(tag, table):
                members = {
                    name: values.expanded(member, number, actions=name == "on-exit")
                    for name, member in own.items()
                }
                self.component(made, members, named if number in (None, 1) else others)
            before += [(made, mode) for made in named[tag]]

    def component(self, tag: Tag, members: dict[str, Node], named: Mapping[Tag, list[Tag]]) -> None:
        self.open(f"component {value(tag)}")
        for name, node in members.items():
            if name not in _ELSEWHERE:
                self.member(name, node, named, members.get("stdout"))
        flags = values.flags(members, _FLAGS)
        if flags:
            self.statement("flags", listed(flags))
        self.limits(members)
        self.environment(members)
        self.close()

    def member(
        self, name: str, node: Node, named: Mapping[Tag, list[Tag]], stdout: Node | None
    ) -> None:
        if name in _WORDS:
            self.statement(name, value(str(node.value)))
        elif name in _LISTS:
            names = (str(item.value) for item in as_items(node))
            tags = [tag for each in names for tag in named.get(each, [each])]
            self.statement(name, listed(tags))
        elif name in _NUMBERS:
            self.statement(name, str(node.value))
        elif name in _TEXTS:
            self.statement(name, value(str(node.value)))
        elif name in _ACLS:
            self.acl(name, node)
        elif name == "allgroups":
            self.statement(name, "yes" if node.value is True else "no")
        elif name == "command":
            self.statement(name, value(values.command(node)))
        elif name in ("remove-file", "rmfile"):
            self.remove_files(node)
        elif name in ("stdout", "stderr"):
            self.output(name, node, stdout)
        elif name == "on-exit":
            self.exit_actions(node)
        else:
            self.leave(node)

    def remove_files(self, node: Node) -> None:
        for number, item in enumerate(as_items(node)):
            if number:
                self.leave(item, "pies removes one file")
            else:
                self.statement("remove-file", value(str(item.value)))

    def output(self, name: str, node: Node, stdout: Node | None) -> None:
        target, left = values.output(name, node, stdout)
        if target is not None:
            kind, channel = target
            self.statement(name, f"{kind} {value(channel)}")
        for member, why in left:
            self.leave(member, why)

    def limits(self, members: Mapping[str, Node]) -> None:
        letters, left = values.limits(members.get("limits"), members.get("nice"))
        if letters:
            self.statement("limits", value(letters))
        for node in left:
            self.leave(node, "pies has no letter for it")

    # --- what occurs in several places

    def environment(self, members: Mapping[str, Node]) -> None:
        steps, left = values.environment(members)
        for node in left:
            self.leave(node, "pies reads no files for its environment")
        if not steps:
            return
        self.open("env")
        for kind, text in steps:
            if kind == "clear":
                self.say("clear;")
            else:
                self.statement(kind, value(text))
        self.close()

    def acl(self, name: str, node: Node) -> None:
        if isinstance(node.value, str):
            self.statement(name, value(node.value))
            return
        self.open(name)
        self.rules(node)
        self.close()

    def rules(self, node: Node) -> None:
        for item in as_items(node):
            self.say(f"{rule(str(item.value))};")

    def exit_actions(self, node: Node) -> None:
        for action in as_items(node):
            codes = action.table.get("codes")
            self.open(f"return-code {listed(_codes(codes))}" if codes else "return-code")
            for name, member in action.table.items():
                match name:
                    case "codes":
                        pass
                    case "exec":
                        self.statement(name, value(values.command(member)))
                    case "action":
                        self.statement(name, value(str(member.value)))
                    case "notify":
                        addresses = ",".join(str(item.value) for item in as_items(member))
                        self.statement(name, value(addresses))
                    case "message":
                        self.lines.append(
                            f"{_STEP * self.depth}message {long_text(str(member.value))}"
                        )
                    case _:
                        self.leave(member)
            self.close()


def _codes(node: Node) -> Iterator[str]:
    for item in as_items(node):
        yield from values.codes(item.value)
