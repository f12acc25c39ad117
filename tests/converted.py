"""Convert texts of other programs, and look at the plan that comes of them."""

from __future__ import annotations

from config_text import plan_of
from supervisor.config.convert import convert
from supervisor.model.component import Component


def components(text: str, file: str, syntax: str) -> dict[str, Component]:
    """Return the components of the TOML that *text* becomes, by tag."""
    printed, problems = convert(text, file, syntax)
    assert all(problem.warning for problem in problems), problems
    return {component.tag: component for component in plan_of(printed).components}


def told(text: str, file: str, syntax: str) -> list[tuple[int, str]]:
    """Return line and text of what is told about a conversion that comes to an end."""
    printed, problems = convert(text, file, syntax)
    assert all(problem.warning for problem in problems), problems
    for problem in problems:
        assert problem.message in printed
    return [(problem.line, f"{problem.key}: {problem.message}") for problem in problems]


def refused(text: str, file: str, syntax: str) -> list[tuple[int, str]]:
    """Return line and text of what is wrong with a source."""
    printed, problems = convert(text, file, syntax)
    assert printed == ""
    return [
        (problem.line, f"{problem.key}: {problem.message}")
        for problem in problems
        if not problem.warning
    ]
