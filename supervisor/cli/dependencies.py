"""Who needs whom, as text: the views that pies has of a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from supervisor.engine.graph import Graph
from supervisor.model.component import Component, Mode, Tag


def graph_of(components: Sequence[Component]) -> Graph:
    """Return the graph of the prerequisites of *components*."""
    return Graph({component.tag: component.prerequisites for component in components})


def matrix(graph: Graph) -> Iterator[str]:
    """Yield the dependency map: a row for each component, an X where it needs that of the column.

    Direct prerequisites are `X`, indirect ones `x`. The legend follows. Source: pies.md section
    2.4; how the matrix looks is ours.
    """
    tags = list(graph.index)
    width = len(str(len(tags) - 1))
    yield "Dependency map:"
    yield " ".join([" " * width, *(f"{n:{width}}" for n in range(len(tags)))])
    for number, tag in enumerate(tags):
        direct, all_ = set(graph.prerequisites[tag]), set(graph.all_prerequisites(tag))
        marks = ("X" if each in direct else "x" if each in all_ else "." for each in tags)
        yield " ".join([f"{number:{width}}", *(f"{mark:>{width}}" for mark in marks)])
    yield ""
    yield "Legend:"
    for number, tag in enumerate(tags):
        yield f"{number:{width}}: {tag}"


def trace_prerequisites(graph: Graph, tags: Sequence[Tag]) -> Iterator[str]:
    """Yield a line for each of *tags* (all, if none) that says what it needs, nearest first."""
    for tag in tags or graph.index:
        yield _line(tag, graph.all_prerequisites(tag))


def trace_dependents(graph: Graph, tags: Sequence[Tag]) -> Iterator[str]:
    """Yield a line for each of *tags* (all, if none) that says what needs it, nearest first."""
    for tag in tags or graph.index:
        yield _line(tag, graph.all_dependents(tag))


def _line(tag: Tag, others: Sequence[Tag]) -> str:
    return f"{tag}: {' '.join(others) if others else '-'}"


def shutdown_sequence(components: Sequence[Component]) -> Iterator[str]:
    """Yield a line for each step of the shutdown: what goes down together, dependents first.

    The components of mode shutdown run after all others have ended.
    """
    graph = graph_of(components)
    last = [component.tag for component in components if component.mode is Mode.SHUTDOWN]
    steps: dict[int, list[Tag]] = {}
    height: dict[Tag, int] = {}
    # Whoever has the longest way to go to something that nobody needs goes down last.
    for tag in sorted(graph.index, key=graph.depth.__getitem__, reverse=True):
        above = [height[each] for each in graph.dependents[tag]]
        height[tag] = 1 + max(above) if above else 0
    for tag in graph.index:
        if tag not in last:
            steps.setdefault(height[tag], []).append(tag)
    for number, tags in enumerate(steps[each] for each in sorted(steps)):
        yield f"{number}: {' '.join(tags)}"
    if last:
        yield f"{len(steps)}: {' '.join(last)} (started then)"
