"""The table `cgroup` of a component: limits of all its processes together."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from supervisor.config.fields import Fields, Key, KeySet, Record
from supervisor.config.kinds import Count, Schema, Size
from supervisor.config.limits import UNLIMITED
from supervisor.config.tables import Node
from supervisor.model.component import GroupLimits
from supervisor.model.errors import Problem

_MOST_PIDS: Final = 4 * 1024 * 1024
"""Linux has no more. Source: proc_sys_kernel(5), `pid_max`."""


class OrUnlimited(Struct, frozen=True):
    """What `kind` takes, or `"unlimited"`."""

    kind: Size | Count

    @property
    def words(self) -> str:
        return f'{self.kind.words}, or `"unlimited"`'

    def schema(self) -> Schema:
        return {"anyOf": [self.kind.schema(), {"const": "unlimited"}]}

    def read(self, node: Node, problems: list[Problem]) -> int | None:
        return UNLIMITED if node.value == "unlimited" else self.kind.read(node, problems)


MEMORY_MAX = Key(
    name="memory-max",
    kind=OrUnlimited(Size()),
    shown="unlimited",
    meaning="the most memory, caches of files included; one that needs more is killed",
)
MEMORY_HIGH = Key(
    name="memory-high",
    kind=OrUnlimited(Size()),
    shown="unlimited",
    meaning="from there on it is slowed down, and gives memory back",
)
CPU_WEIGHT = Key(
    name="cpu-weight",
    kind=Count(least=1, most=10_000, few=True),
    shown="100",
    meaning="its share of the processors when they are busy; everybody has 100",
)
IO_WEIGHT = Key(
    name="io-weight",
    kind=Count(least=1, most=10_000, few=True),
    shown="100",
    meaning="its share of the disks when they are busy",
)
PIDS_MAX = Key(
    name="pids-max",
    kind=OrUnlimited(Count(least=1, most=_MOST_PIDS)),
    shown="unlimited",
    meaning="the most processes and threads; one more cannot be forked",
)


def _limits(fields: Fields, _node: Node, _problems: list[Problem]) -> GroupLimits:
    return GroupLimits(
        memory_max=fields.given(MEMORY_MAX),
        memory_high=fields.given(MEMORY_HIGH),
        cpu_weight=fields.given(CPU_WEIGHT),
        io_weight=fields.given(IO_WEIGHT),
        pids_max=fields.given(PIDS_MAX),
    )


CGROUP_TABLE = Record(KeySet((MEMORY_MAX, MEMORY_HIGH, CPU_WEIGHT, IO_WEIGHT, PIDS_MAX)), _limits)
