"""Who needs whom: prerequisites and dependents, levels, closures and cycles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from supervisor.model.component import Tag


def find_cycle(edges: Mapping[Tag, Sequence[Tag]]) -> tuple[Tag, ...] | None:
    """Return one cycle as a path whose first and last tags are equal, or None.

    Args:
        edges: each tag's prerequisites; tags that are not keys are ignored.
    """
    done: set[Tag] = set()
    for root in edges:
        if root in done:
            continue
        # An explicit stack, because a chain of prerequisites may be longer than Python's own.
        path: list[Tag] = [root]
        on_path = {root}
        pending = [iter(edges[root])]
        while pending:
            following = next(pending[-1], None)
            if following is None:
                pending.pop()
                finished = path.pop()
                on_path.discard(finished)
                done.add(finished)
            elif following in on_path:
                return (*path[path.index(following) :], following)
            elif following in edges and following not in done:
                path.append(following)
                on_path.add(following)
                pending.append(iter(edges[following]))
    return None


class Graph:
    """The prerequisites of a set of components, in the order of the configuration.

    Prerequisites that are not configured stay in `prerequisites`: they are never up.
    """

    def __init__(self, edges: Mapping[Tag, Sequence[Tag]]) -> None:
        self.prerequisites: dict[Tag, tuple[Tag, ...]] = {
            tag: tuple(dict.fromkeys(needed)) for tag, needed in edges.items()
        }
        self.dependents: dict[Tag, list[Tag]] = {tag: [] for tag in edges}
        self.index: dict[Tag, int] = {tag: index for index, tag in enumerate(edges)}
        for tag, needed in self.prerequisites.items():
            for prerequisite in needed:
                self.dependents.setdefault(prerequisite, []).append(tag)
        self.depth: dict[Tag, int] = {}
        for tag in edges:
            self._measure(tag)

    def _measure(self, root: Tag) -> None:
        """Set the depth of *root*: the length of its longest chain of prerequisites.

        A cycle cannot be configured; if one is met all the same, its closing edge counts nothing.
        """
        stack = [root]
        entered: set[Tag] = set()
        while stack:
            tag = stack[-1]
            if tag in self.depth:
                stack.pop()
                continue
            missing = [
                needed
                for needed in self.prerequisites.get(tag, ())
                if needed not in self.depth and needed not in entered
            ]
            entered.add(tag)
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            below = [self.depth.get(needed, 0) for needed in self.prerequisites.get(tag, ())]
            self.depth[tag] = 1 + max(below) if below else 0

    def all_prerequisites(self, tag: Tag) -> list[Tag]:
        """Return everything *tag* needs, directly or not, nearest first."""
        return _closure(tag, self.prerequisites)

    def all_dependents(self, tag: Tag) -> list[Tag]:
        """Return everything that needs *tag*, directly or not, nearest first."""
        return _closure(tag, self.dependents)

    def in_order(self, tags: Iterable[Tag]) -> list[Tag]:
        """Return *tags* in the order of the configuration, unknown ones last."""
        last = len(self.index)
        return sorted(tags, key=lambda tag: self.index.get(tag, last))


def _closure(start: Tag, edges: Mapping[Tag, Sequence[Tag]]) -> list[Tag]:
    found: dict[Tag, None] = {}
    frontier = [start]
    while frontier:
        following = [to for tag in frontier for to in edges.get(tag, ())]
        frontier = [tag for tag in dict.fromkeys(following) if tag not in found and tag != start]
        found.update(dict.fromkeys(frontier))
    return list(found)
