"""Who needs whom: names become tags, and every prerequisite can be up when it is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from msgspec import Struct
from msgspec.structs import replace

from supervisor.config import keys
from supervisor.config.build import Draft
from supervisor.config.tables import Node, did_you_mean, quoted
from supervisor.model.component import Component, Mode, Tag
from supervisor.model.errors import Problem

_MOST_GUESSES = 50
"""Looking for the nearest of thousands of tags takes long; after so many, no more is guessed."""


class Links(Struct, frozen=True):
    """The components with their prerequisites, and where each one's were written."""

    components: tuple[Component, ...]
    places: dict[tuple[Tag, Tag], Node]
    """For a component and one of its prerequisites, the word that says so."""


def link(drafts: Sequence[Draft], broken: frozenset[str], problems: list[Problem]) -> Links:
    """Return the components of *drafts* with prerequisites and dependents resolved.

    Args:
        drafts: in the order of the files.
        broken: tags that are defined in files that could not be read: whoever names them is not
            at fault.
    """
    linker = _Linker(drafts, broken, problems)
    for draft in drafts:
        linker.prerequisites(draft)
    for draft in drafts:
        linker.dependents(draft)
    components = tuple(
        replace(draft.component, prerequisites=tuple(linker.edges[draft.tag])) for draft in drafts
    )
    links = Links(components, linker.places)
    problems += cycles(links)
    return links


class _Linker:
    def __init__(
        self, drafts: Sequence[Draft], broken: frozenset[str], problems: list[Problem]
    ) -> None:
        self.broken, self.problems = broken, problems
        self.guesses = 0
        self.components = {draft.tag: draft.component for draft in drafts}
        self.modes = {draft.tag: draft.mode for draft in drafts}
        self.enabled = {draft.tag: draft.component.enabled for draft in drafts}
        # Ordered sets: a name may be given twice, and order is what people see.
        self.edges: dict[Tag, dict[Tag, None]] = {draft.tag: {} for draft in drafts}
        self.places: dict[tuple[Tag, Tag], Node] = {}
        self.by_name: dict[Tag, list[Tag]] = {}
        for draft in drafts:
            self.by_name.setdefault(draft.declared, []).append(draft.tag)
            if draft.tag != draft.declared:
                self.by_name.setdefault(draft.tag, []).append(draft.tag)
        self.order = [draft.tag for draft in drafts]
        self.first: dict[Tag, int] = {}
        """For the tag of a table, how many components stand before it."""
        for number, draft in enumerate(drafts):
            self.first.setdefault(draft.declared, number)

    def prerequisites(self, draft: Draft) -> None:
        for node in draft.fields.given(keys.PREREQUISITES) or ():
            if node.value == "all":
                for tag in self.order[: self.first[draft.declared]]:
                    if _possible(draft.mode, self.modes[tag]):
                        self._edge(draft.tag, tag, node)
            elif node.value != "none":
                for tag in self._named(node):
                    self._edge(draft.tag, tag, node)
        self._master(draft)

    def _master(self, draft: Draft) -> None:
        """What connections come from is needed, and has to be something that hands them over."""
        node = draft.fields.node(keys.TCPMUX_MASTER)
        if node is None or draft.component.tcpmux_master is None:
            return
        for tag in self._named(node):
            if self.components[tag].service != "tcpmux" or not self.components[tag].internal:
                what = f"'{tag}' is not internal with the service tcpmux"
                self.problems.append(node.problem(what))
            self._edge(draft.tag, tag, node)

    def dependents(self, draft: Draft) -> None:
        for node in draft.fields.given(keys.DEPENDENTS) or ():
            for tag in self._named(node):
                self._edge(tag, draft.tag, node)

    def _named(self, node: Node) -> list[Tag]:
        name = str(node.value)
        found = self.by_name.get(name)
        if found is None and self.broken.isdisjoint({name, name.partition(":")[0]}):
            self.guesses += 1
            hint = did_you_mean(name, self.by_name) if self.guesses <= _MOST_GUESSES else ""
            self.problems.append(node.problem(f"there is no component {quoted(name)}{hint}"))
        return found or []

    def _edge(self, tag: Tag, needs: Tag, node: Node) -> None:
        if needs in self.edges[tag]:
            return
        self.edges[tag][needs] = None
        self.places[tag, needs] = node
        mode, other = self.modes[tag], self.modes[needs]
        if not _possible(mode, other):
            what = f"'{tag}' has mode {mode} and cannot need '{needs}' of mode {other}"
            self.problems.append(node.problem(f"{what}: {_when(mode, other)}"))
        elif self.enabled[tag] and not self.enabled[needs]:
            what = f"'{needs}' is disabled: '{tag}' waits until somebody starts it"
            self.problems.append(node.warning(what))


def _possible(mode: Mode | None, needs: Mode | None) -> bool:
    """Return whether a component of *needs* can be up when one of *mode* starts."""
    if mode is None or needs is None:
        return True
    if mode in (Mode.STARTUP, Mode.SHUTDOWN):
        return needs is mode
    return needs is not Mode.SHUTDOWN


def _when(mode: Mode | None, needs: Mode | None) -> str:
    if mode is Mode.STARTUP:
        return "startup components have ended before anything else starts"
    if mode is Mode.SHUTDOWN:
        return "shutdown components run after everything else has ended"
    return f"{needs} components run only when piesd shuts down"


def cycles(links: Links) -> list[Problem]:
    """Return a problem for each cycle of prerequisites, printed as a path.

    Of cycles that share components one is told; it has to be broken anyway.
    """
    edges = {component.tag: component.prerequisites for component in links.components}
    problems = []
    remaining = _in_cycles_or_above(edges, edges.keys())
    while remaining:
        path = _walk(edges, remaining)
        last, first = path[-2], path[-1]
        place = links.places[last, first]
        problems.append(place.problem(f"a cycle of prerequisites: {' → '.join(path)}"))
        remaining = _in_cycles_or_above(edges, remaining - set(path))
    return problems


def _in_cycles_or_above(edges: Mapping[Tag, Iterable[Tag]], among: Set[Tag]) -> set[Tag]:
    """Return what is left of *among* when what needs nothing is taken away, again and again."""
    needs = {tag: {each for each in edges[tag] if each in among} for tag in among}
    needed_by: dict[Tag, list[Tag]] = {}
    for tag, prerequisites in needs.items():
        for each in prerequisites:
            needed_by.setdefault(each, []).append(tag)
    free = [tag for tag, prerequisites in needs.items() if not prerequisites]
    while free:
        tag = free.pop()
        del needs[tag]
        for dependent in needed_by.get(tag, ()):
            needs[dependent].discard(tag)
            if not needs[dependent]:
                free.append(dependent)
    return set(needs)


def _walk(edges: Mapping[Tag, Iterable[Tag]], among: Set[Tag]) -> list[Tag]:
    """Return a cycle in *among*, whose members all need another one; its first tag is its last."""
    tag = next(tag for tag in edges if tag in among)
    path: dict[Tag, None] = {}
    while tag not in path:
        path[tag] = None
        tag = next(each for each in edges[tag] if each in among)
    cycle = list(path)
    cycle = cycle[cycle.index(tag) :]
    order = {each: number for number, each in enumerate(edges)}
    start = cycle.index(min(cycle, key=order.__getitem__))
    return [*cycle[start:], *cycle[:start], cycle[start]]
