"""Random configurations that change, and what each of their components is like."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

COUNT = 12
SLEEP = 0.5
"""Seconds for which what ends too often is left alone."""


@dataclass(frozen=True)
class Kind:
    """How a component behaves.

    `steady`: it comes up, and stays up until somebody ends it. `single`: it is one process, from
    its start to its end. `once`: it is finished when it has ended.
    """

    table: str
    mode: str = "respawn"
    steady: bool = True
    single: bool = False
    instances: int = 0

    @property
    def once(self) -> bool:
        return self.mode == "once"

    @property
    def listens(self) -> bool:
        return self.mode == "inetd"


_ALWAYS = "respawn = {{ max = 100000 }}\n"
_SELDOM = f"respawn = {{{{ max = 3, window = 30, sleep = {SLEEP} }}}}\n"
_SHELL = "shell = true\n"

KINDS = {
    "plain": Kind('command = "sleep {some}"\n' + _ALWAYS, single=True),
    "tired": Kind('command = "sleep {some}"\n' + _SELDOM, single=True),
    "slow": Kind(
        'command = "sleep {some}"\nrespawn = {{ max = 100000, delay = 0.05, delay-max = 0.3 }}\n',
        single=True,
    ),
    "deaf": Kind(_SHELL + "command = \"trap '' TERM; exec sleep {some}\"\n" + _ALWAYS, single=True),
    "leaves": Kind(_SHELL + 'command = "setsid sleep {some} & exec sleep {some}"\n' + _ALWAYS),
    "checked": Kind(
        'command = "sleep {some}"\nready = {{ exec = "true", interval = 0.1 }}\n' + _ALWAYS
    ),
    "late": Kind(
        _SHELL
        + 'command = "sleep 0.1; echo >&3; exec 3>&-; exec sleep {some}"\nready = {{ fd = 3 }}\n'
        + _ALWAYS
    ),
    "asking": Kind('command = "sleep {some}"\nstart-condition = "true"\n' + _ALWAYS),
    "several": Kind('command = "sleep {some}"\ninstances = 2\n' + _ALWAYS, instances=2),
    "echo": Kind('mode = "inetd"\ncommand = "cat"\nsocket = "unix://{home}/{tag}.sock"\n', "inetd"),
    "job": Kind('mode = "once"\ncommand = "sleep {some}"\n', "once", single=True),
    "done": Kind('mode = "once"\nshell = true\ncommand = "exit 0 # {some}"\n', "once"),
    "quick": Kind('command = "sleep 0.0{digit}"\n' + _ALWAYS, steady=False),
    "failing": Kind(_SHELL + 'command = "exit 3 # {some}"\n' + _SELDOM, steady=False),
    "missing": Kind('command = "/nowhere/{some}"\n' + _SELDOM, steady=False),
    "daemon": Kind(
        _SHELL + 'command = "(setsid sleep {some} &); exit 0"\n' + _SELDOM, steady=False
    ),
}


@dataclass(frozen=True)
class Table:
    """What is written about one component, or about several instances of it."""

    number: int
    kind: Kind
    some: int
    prerequisites: tuple[int, ...] = ()
    enabled: bool = True

    @property
    def name(self) -> str:
        return f"c{self.number}"

    @property
    def tags(self) -> list[str]:
        many = self.kind.instances
        return [f"{self.name}:{each + 1}" for each in range(many)] if many else [self.name]


@dataclass(frozen=True)
class Part:
    """One component, as it is to be."""

    tag: str
    kind: Kind
    prerequisites: tuple[str, ...]
    enabled: bool


class Plan:
    """A configuration: tables by number. Each needs some of those with lower numbers at most."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self._tables = {table.number: table for table in sorted(tables, key=_number)}
        self.parts = {part.tag: part for part in self._expanded()}

    def _expanded(self) -> Iterator[Part]:
        for table in self._tables.values():
            needs = tuple(tag for each in table.prerequisites for tag in self._tables[each].tags)
            for tag in table.tags:
                yield Part(tag, table.kind, needs, table.enabled)

    def text(self, home: Path) -> str:
        text = f'[daemon]\nshutdown-timeout = 5\n[defaults]\nenv = {{ CHAOS = "{home}" }}\n'
        text += "stop-timeout = 0.3\n"
        for table in self._tables.values():
            filled = table.kind.table.format(
                some=1_000_000 + table.some, digit=table.some % 9 + 1, home=home, tag=table.name
            )
            text += f"[component.{table.name}]\n{filled}"
            if table.prerequisites:
                text += f"prerequisites = {[f'c{each}' for each in table.prerequisites]}\n"
            if not table.enabled:
                text += "enabled = false\n"
        return text

    def needed_by(self, tag: str) -> set[str]:
        """Return what *tag* needs, and what that needs, and so on."""
        found: set[str] = set()
        rest = [tag]
        while rest:
            new = set(self.parts[rest.pop()].prerequisites) - found
            found |= new
            rest += new
        return found

    def dependents_of(self, tag: str) -> set[str]:
        return {each for each in self.parts if tag in self.needed_by(each)}

    def changed(self, luck: random.Random) -> Plan:
        """Return a plan in which one or two things are different."""
        tables = dict(self._tables)
        for _ in range(luck.randint(1, 2)):
            number = luck.randrange(COUNT)
            old = tables.get(number)
            deed = luck.choice(["remove", "kind", "command", "needs", "enabled"])
            if old is None:
                tables[number] = _table(luck, number, tables)
            elif deed == "remove":
                del tables[number]
            elif deed == "kind":
                tables[number] = replace(old, kind=KINDS[luck.choice(list(KINDS))])
            elif deed == "command":
                tables[number] = replace(old, some=old.some + 1)
            elif deed == "needs":
                tables[number] = replace(old, prerequisites=_needs(luck, number, tables))
            else:
                tables[number] = replace(old, enabled=not old.enabled)
            tables = {
                each: replace(
                    table, prerequisites=tuple(n for n in table.prerequisites if n in tables)
                )
                for each, table in tables.items()
            }
        return Plan(tables.values())


def _number(table: Table) -> int:
    return table.number


def _needs(luck: random.Random, number: int, tables: Iterable[int]) -> tuple[int, ...]:
    lower = sorted(each for each in tables if each < number)
    return tuple(sorted(luck.sample(lower, min(len(lower), luck.choice([0, 0, 1, 1, 2])))))


def _table(luck: random.Random, number: int, tables: Iterable[int]) -> Table:
    kind = KINDS[luck.choice([*KINDS, "plain", "plain", "leaves", "deaf"])]
    return Table(number, kind, luck.randrange(100), _needs(luck, number, tables))


def first_plan(luck: random.Random) -> Plan:
    """Return a plan in which there is one of most kinds."""
    tables: dict[int, Table] = {}
    for number in range(COUNT):
        tables[number] = _table(luck, number, tables)
    return Plan(tables.values())
