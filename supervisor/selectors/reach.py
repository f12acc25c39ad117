"""What is reached from a tag along the prerequisites, or against them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from supervisor.model.description import Description

Prerequisites = Mapping[str, Sequence[str]]
"""For each tag the tags of its direct prerequisites, templates expanded."""

NO_PREREQUISITES: Final[Prerequisites] = MappingProxyType({})


def prerequisites_among(descriptions: Iterable[Description]) -> dict[str, tuple[str, ...]]:
    """Return the mapping that `compile_selector` takes, as far as *descriptions* tell it."""
    return {
        description.tag: description.prerequisites
        for description in descriptions
        if description.prerequisites
    }


class Reach:
    """Answers for one query: what stands transitively before or after a tag.

    A template's tag, `web`, stands for all of `web:1`, `web:2` …. Cycles do no harm.
    """

    def __init__(self, prerequisites: Prerequisites = NO_PREREQUISITES) -> None:
        self._prerequisites = prerequisites
        self._dependents: dict[str, list[str]] | None = None
        self._instances: dict[str, list[str]] | None = None

    def prerequisites(self, tags: Iterable[str]) -> frozenset[str]:
        """Return everything that at least one of *tags* needs, directly or not."""
        return self._closure(self._prerequisites, tags)

    def dependents(self, tags: Iterable[str]) -> frozenset[str]:
        """Return everything that needs at least one of *tags*, directly or not."""
        if self._dependents is None:
            self._dependents = defaultdict(list)
            for tag, needed in self._prerequisites.items():
                for prerequisite in needed:
                    self._dependents[prerequisite].append(tag)
        return self._closure(self._dependents, tags)

    def _closure(self, edges: Prerequisites, tags: Iterable[str]) -> frozenset[str]:
        reached: set[str] = set()
        todo = [start for tag in tags for start in self._meant_by(tag)]
        while todo:
            new = set(edges.get(todo.pop(), ())) - reached
            reached |= new
            todo.extend(new)
        return frozenset(reached)

    def _meant_by(self, tag: str) -> tuple[str, ...]:
        """Return *tag* itself and, where it is a template's, those of the instances."""
        if self._instances is None:
            self._instances = defaultdict(list)
            known = {*self._prerequisites, *(t for ts in self._prerequisites.values() for t in ts)}
            for name in known:
                template, colon, number = name.rpartition(":")
                if colon and number.isascii() and number.isdigit():
                    self._instances[template].append(name)
        return tag, *self._instances.get(tag, ())
