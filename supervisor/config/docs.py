"""Write the reference and the JSON Schema from the keys: `python -m supervisor.config.docs`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from supervisor.config import keys, later, schema
from supervisor.config.fields import Key, KeySet, Record
from supervisor.config.limits import LETTERS
from supervisor.model.component import Mode

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "configuration.md"
SCHEMA: Final = Path(__file__).with_name(schema.NAME)

_BLOCK = re.compile(r"(<!-- begin: (?P<name>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """Return *page* with what stands between its `begin` and `end` marks made anew."""
    return _BLOCK.sub(
        lambda match: f"{match[1]}\n{BLOCKS[match['name']]()}\n{match[3]}",
        page,
    )


def table(key_set: KeySet) -> str:
    """Return a Markdown table of keys, those of inner tables below the key they belong to."""
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    rows += [_row(name, key) for name, key in _with_inner(key_set)]
    return "\n".join(rows) + "\n"


def _with_inner(key_set: KeySet) -> Iterator[tuple[str, Key[Any]]]:
    for key in key_set.keys:
        yield key.name, key
        for inner in _inner(key):
            yield f"{key.name}.{inner.name}", inner


def _inner(key: Key[Any]) -> tuple[Key[Any], ...]:
    record = getattr(key.kind, "record", key.kind)
    return record.keys.keys if isinstance(record, Record) else ()


def _row(name: str, key: Key[Any]) -> str:
    default = "**required**" if key.required else key.shown
    meaning = key.meaning
    if len(key.modes) < len(Mode):
        listed = [f"`{mode}`" for mode in Mode if mode in key.modes]
        missing = [f"`{mode}`" for mode in Mode if mode not in key.modes]
        few = len(listed) < len(missing)
        meaning += f" (only for {_and(listed)})" if few else f" (not for {_and(missing)})"
    cells = (f"`{name}`", key.kind.words, default, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _and(words: list[str]) -> str:
    return " and ".join(words)


def _later() -> str:
    """Return what is known and refused for now."""
    lists = {
        "Component keys": later.COMPONENT,
        "Modes": later.MODES,
        "Keys of `[daemon]`": later.DAEMON,
        "Tables": later.TABLES,
        "Syntaxes": later.SYNTAXES,
    }
    return (
        "\n".join(
            f"- {what}: {', '.join(f'`{word}`' for word in sorted(words))}."
            for what, words in lists.items()
        )
        + "\n"
    )


def _limits() -> str:
    """Return the letters of pies, each with the limit that it is."""
    rows = ["| letter | limit | counted in |", "| --- | --- | --- |"]
    units = {1: "pieces", 60: "minutes", 1024: "KiB"}
    rows += [
        f"| `{letter}` | `{name}` | {units[unit]} |" for letter, (name, unit) in LETTERS.items()
    ]
    return "\n".join(rows) + "\n"


BLOCKS: Final = {
    "component": lambda: table(keys.COMPONENT_KEYS),
    "daemon": lambda: table(keys.DAEMON_KEYS),
    "control": lambda: table(keys.CONTROL_KEYS),
    "on-exit": lambda: table(keys.ON_EXIT_KEYS),
    "syslog": lambda: table(keys.SYSLOG_KEYS),
    "mail": lambda: table(keys.MAIL_KEYS),
    "identity-provider": lambda: table(keys.PROVIDER_KEYS),
    "limits": _limits,
    "later": _later,
}
"""What stands between the marks of the page."""


def main() -> None:
    """Write both files anew."""
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    SCHEMA.write_text(schema.rendered(), encoding="utf-8")


if __name__ == "__main__":
    main()
