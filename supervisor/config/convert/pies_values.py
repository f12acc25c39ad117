"""Say single values as pies does: flags, limits, environments, outputs, exit codes."""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from supervisor.config.kinds import Size
from supervisor.config.special import signal_number
from supervisor.config.tables import Node, Scalar, as_items, expand
from supervisor.model.component import Tag

_LETTERS = {
    "as": ("A", 1024),
    "core": ("C", 1024),
    "data": ("D", 1024),
    "fsize": ("F", 1024),
    "memlock": ("M", 1024),
    "nofile": ("N", 1),
    "rss": ("R", 1024),
    "stack": ("S", 1024),
    "cpu": ("T", 60),
    "nproc": ("U", 1),
}
"""The letter of a limit, and what its number is multiplied with. Source: pies.md section 1.2."""
_RANGE = re.compile(r"\s*(?P<first>[0-9]{1,3})\s*-\s*(?P<last>[0-9]{1,3})\s*")
_PLAIN = re.compile(r"[^\\\"'$`{}]*")
_PUNCTUATION = tuple(string.punctuation)
_PRIORITIES = {"stdout": "info", "stderr": "err"}


def instances(tag: Tag, table: Node) -> list[tuple[Tag, int | None]]:
    """Return the tags of the components that *table* makes, with their numbers."""
    count = table.table.get("instances")
    if count is None or not isinstance(count.value, int):
        return [(tag, None)]
    return [(f"{tag}:{number}", number) for number in range(1, count.value + 1)]


def expanded(node: Node, number: int | None, *, actions: bool) -> Node:
    """Return a member of a component with the number of its instance put in.

    Args:
        actions: it is `on-exit`, where mails have an `${instance}` of their own.
    """
    if not actions:
        return expand(node, number, [])
    if isinstance(node.value, tuple):
        items = tuple(expanded(item, number, actions=True) for item in node.value)
        return replace(node, value=items)
    members = {
        name: member if name == "message" else expand(member, number, [])
        for name, member in node.table.items()
    }
    return replace(node, value=members)


def flags(members: Mapping[str, Node], known: Sequence[str]) -> list[str]:
    """Return the flags of a component, from `flags` and from the keys of their names."""
    said = members.get("flags")
    found = {str(item.value) for item in as_items(said)} if said else set()
    # Where pies wants a flag for it, the group gets the stop signal here unless told not to.
    group = members.get("siggroup")
    if group is None or group.value is not False:
        found.add("siggroup")
    for name in known:
        node = members.get(name)
        if node is not None and node.value is True:
            found.add(name)
    enabled = members.get("enabled")
    if enabled is not None and enabled.value is False:
        found.add("disable")
    return [name for name in known if name in found]


def command(node: Node) -> str:
    """Return a command as one string."""
    if isinstance(node.value, tuple):
        return shlex.join(str(item.value) for item in node.value)
    return str(node.value)


def codes(value: object) -> Iterator[str]:
    """Yield what one item of `codes` means: ranges are spelt out."""
    text = str(value).strip()
    if match := _RANGE.fullmatch(text):
        first, last = int(match["first"]), int(match["last"])
        yield from (str(number) for number in range(first, last + 1))
    elif text.upper().startswith(("SIGRT", "RTM")) and (number := signal_number(text)):
        yield f"SIG+{number}"
    else:
        yield text


def limits(table: Node | None, nice: Node | None) -> tuple[str, list[Node]]:
    """Return the letters for limits and priority, and what has none."""
    letters: list[str] = []
    left: list[Node] = []
    if table is not None and isinstance(table.value, str):
        letters.append(table.value)
    for name, node in table.table.items() if table else ():
        number = _number(node)
        letter, unit = _LETTERS.get(name, ("", 1))
        if letter and number is not None and number % unit == 0:
            letters.append(f"{letter}{number // unit}")
        else:
            left.append(node)
    if nice is not None:
        letters.append(f"P{nice.value}")
    return " ".join(letters), left


def _number(node: Node) -> int | None:
    if isinstance(node.value, int):
        return node.value
    return Size().read(node, []) if isinstance(node.value, str) else None


def environment(members: Mapping[str, Node]) -> tuple[list[tuple[str, str]], list[Node]]:
    """Return the steps of an `env` block, and the variables that pies cannot make."""
    steps: list[tuple[str, str]] = []
    left: list[Node] = []
    clear, keep = members.get("env-clear"), members.get("env-keep")
    kept = as_items(keep) if keep is not None else ()
    # To keep nothing clears everything.
    if (clear is not None and clear.value is True) or (keep is not None and not kept):
        steps.append(("clear", ""))
    steps += [("keep", str(item.value)) for item in kept]
    env = members.get("env")
    for item in as_items(env) if env is not None and not env.table else ():
        steps += [_step(kind, str(text.value)) for kind, text in item.table.items()]
    for name, node in env.table.items() if env else ():
        if "file" in node.table:
            left.append(node)
        elif node.table:
            steps.append(("unset", name))
        else:
            steps.append(("set", f"{name}={_literally(node.value)}"))
    return steps, left


def _step(kind: str, text: str) -> tuple[str, str]:
    """Return a step; `append` and `prepend` have no statement of their own, and are spelt out."""
    name, _, added = text.partition("=")
    if kind == "append":
        sign, rest = (added[:1], added[1:]) if added[:1] in _PUNCTUATION else ("", added)
        before = f"${{{name}+${{{name}}}{_literally(sign)}}}"
        return "set", f"{name}={before}{_literally(rest)}"
    if kind == "prepend":
        sign, rest = (added[-1:], added[:-1]) if added[-1:] in _PUNCTUATION else ("", added)
        return "set", f"{name}={_literally(rest)}${{{name}+{_literally(sign)}${{{name}}}}}"
    return kind, text


def _literally(value: Scalar | object) -> str:
    """Return *value* so that the expansion of `set` leaves it as it is."""
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    escaped = re.sub(r'([\\"$`])', r"\\\1", text)
    return f'"{escaped}"'


def output(
    stream: str, node: Node, other: Node | None
) -> tuple[tuple[str, str] | None, list[tuple[Node, str]]]:
    """Return the type and channel of a redirector, and what pies cannot do, with the reason.

    Args:
        other: the value for standard output, which standard error may follow.
    """
    left: list[tuple[Node, str]] = []
    if isinstance(node.value, dict):
        for name, member in node.value.items():
            if name not in ("file", "syslog"):
                left.append((member, "pies does not rotate files"))
        syslog, file = node.table.get("syslog"), node.table.get("file")
        if syslog is not None:
            return ("syslog", str(syslog.value)), left
        text = f"file:{file.value}" if file else ""
    else:
        text = str(node.value)
    if text == "stdout" and other is not None:
        return output("stdout", other, None)
    kind, colon, rest = text.partition(":")
    if kind == "syslog":
        return ("syslog", rest if colon else _PRIORITIES[stream]), left
    if text == "null":
        return ("file", "/dev/null"), left
    path = rest if kind == "file" and colon else text
    if path.startswith("/"):
        return ("file", path), left
    if text != "inherit":
        left.append((node, "pies needs a full path, or syslog"))
    return None, left
