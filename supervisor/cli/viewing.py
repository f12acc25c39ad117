"""A configuration from the sides that pies' options show: who needs whom, what goes down when."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from supervisor.cli.dependencies import (
    graph_of,
    matrix,
    shutdown_sequence,
    trace_dependents,
    trace_prerequisites,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervisor.cli.piesd import Options
    from supervisor.engine.plan import Plan


def show(plan: Plan, options: Options) -> int:
    """Print the view that *options* ask for; return the exit code."""
    graph = graph_of(plan.components)
    unknown = [tag for tag in options.tags if tag not in graph.index]
    for tag in unknown:
        print(f"piesd: there is no component {tag!r}", file=sys.stderr)
    if unknown:
        return 1
    for line in _lines(plan, options):
        print(line)
    return 0


def _lines(plan: Plan, options: Options) -> Iterator[str]:
    graph = graph_of(plan.components)
    match options.task:
        case "dump-depmap":
            return matrix(graph)
        case "trace-prereq":
            return trace_prerequisites(graph, options.tags)
        case "trace-depend":
            return trace_dependents(graph, options.tags)
        case "list-shutdown-sequence":
            return shutdown_sequence(plan.components)
        case _:
            raise ValueError(options.task)
