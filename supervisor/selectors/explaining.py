"""Why a selector matches a description or does not: the leaves that decided, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from msgspec import Struct

from supervisor.model.description import Description
from supervisor.selectors.compiling import Test, leaf_test
from supervisor.selectors.jsonform import Json, to_json
from supervisor.selectors.nodes import (
    All,
    And,
    DependentOf,
    HasLabels,
    HasMode,
    HasStatus,
    HasTag,
    HasType,
    IsActive,
    Leaf,
    Not,
    Nothing,
    Or,
    PrerequisiteOf,
    Selector,
    TagGlob,
)
from supervisor.selectors.printing import leaf_text, to_text
from supervisor.selectors.reach import NO_PREREQUISITES, Prerequisites, Reach


class Decision(Struct, frozen=True):
    """The part that one leaf played. `path` is the leaf's place in the JSON form."""

    path: str
    leaf: str
    """The leaf's text form."""
    matches: bool
    because: str


class Verdict(Struct, frozen=True):
    """Whether a description is matched, and the leaves that were enough to decide it.

    A conjunction that does not match is decided by the first selector in it that does not, one
    that matches by all of them; a disjunction the other way round.
    """

    matches: bool
    decided_by: tuple[Decision, ...]


class Explanation(Struct, frozen=True):
    """A selector in all its forms; `verdict` is about the description asked for, if any."""

    json: Json
    text: str
    tree: str
    verdict: Verdict | None


def explain(
    selector: Selector,
    description: Description | None = None,
    prerequisites: Prerequisites = NO_PREREQUISITES,
) -> Explanation:
    """Return *selector* in all its forms, and what decided about *description*.

    For many descriptions call this without one, and `explainer` once.
    """
    verdict = explainer(selector, prerequisites)(description) if description else None
    return Explanation(to_json(selector), to_text(selector), tree(selector), verdict)


def explainer(
    selector: Selector, prerequisites: Prerequisites = NO_PREREQUISITES
) -> Callable[[Description], Verdict]:
    """Return the function that tells what decided about a description."""
    return _explainer(selector, "$", Reach(prerequisites))


def tree(selector: Selector) -> str:
    """Return *selector* as a drawing, one line for each node."""
    return "\n".join(_lines(selector))


def _lines(selector: Selector) -> list[str]:
    match selector:
        case Not(inner):
            return ["not", *_branches((inner,))]
        case And(parts):
            return ["and" if parts else "and (of nothing: everything)", *_branches(parts)]
        case Or(parts):
            return ["or" if parts else "or (of nothing: nothing)", *_branches(parts)]
        case _:
            return [leaf_text(selector)]


def _branches(parts: tuple[Selector, ...]) -> list[str]:
    lines = []
    for number, part in enumerate(parts, start=1):
        first, further = ("└─ ", "   ") if number == len(parts) else ("├─ ", "│  ")
        head, *rest = _lines(part)
        lines += [first + head, *(further + line for line in rest)]
    return lines


def _explainer(selector: Selector, path: str, reach: Reach) -> Callable[[Description], Verdict]:
    match selector:
        case Not(inner):
            return _not(_explainer(inner, f"{path}.arg", reach))
        case And(parts) | Or(parts):
            explainers = [
                _explainer(part, f"{path}.arg[{n}]", reach) for n, part in enumerate(parts)
            ]
            return _list(explainers, decisive=isinstance(selector, Or))
        case _:
            return _leaf(selector, path, leaf_test(selector, reach))


def _not(inner: Callable[[Description], Verdict]) -> Callable[[Description], Verdict]:
    def verdict(description: Description) -> Verdict:
        found = inner(description)
        return Verdict(not found.matches, found.decided_by)

    return verdict


def _list(
    parts: list[Callable[[Description], Verdict]], *, decisive: bool
) -> Callable[[Description], Verdict]:
    def verdict(description: Description) -> Verdict:
        decisions: list[Decision] = []
        for part in parts:
            found = part(description)
            if found.matches is decisive:
                return found
            decisions += found.decided_by
        return Verdict(not decisive, tuple(decisions))

    return verdict


def _leaf(leaf: Leaf, path: str, test: Test) -> Callable[[Description], Verdict]:
    text = leaf_text(leaf)

    def verdict(description: Description) -> Verdict:
        matches = test(description)
        decision = Decision(path, text, matches, _because(leaf, description, matches))
        return Verdict(matches, (decision,))

    return verdict


def _because(leaf: Leaf, description: Description, matches: bool) -> str:
    match leaf:
        case All() | Nothing():
            return f"'{leaf_text(leaf)}' says so"
        case HasTag(tag):
            if matches and tag != description.tag:
                return f"it is an instance of {tag!r}"
            return f"its tag is {description.tag!r}"
        case TagGlob():
            return f"its tag is {description.tag!r}"
        case HasType():
            return f"its type is {description.type!r}"
        case HasMode() | IsActive() if description.type != "component":
            return f"its type is {description.type!r}"
        case HasMode():
            return f"its mode is {description.mode!r}"
        case IsActive():
            return "it is active" if description.active else "it is not active"
        case HasStatus():
            return f"its status is {description.status!r}"
        case HasLabels(labels):
            return _because_of_labels(labels, description)
        case PrerequisiteOf(tag):
            is_not = "is" if matches else "is not"
            return f"{description.tag!r} {is_not} a prerequisite of {tag!r}"
        case DependentOf(tag):
            is_not = "is" if matches else "is not"
            return f"{description.tag!r} {is_not} a dependent of {tag!r}"
        case _:
            assert_never(leaf)


def _because_of_labels(labels: tuple[tuple[str, str], ...], description: Description) -> str:
    for name, value in labels:
        found = description.labels.get(name)
        if found is None:
            return f"it has no label {name!r}"
        if found != value:
            return f"its label {name!r} is {found!r}"
    names = ", ".join(f"{name!r} is {value!r}" for name, value in labels)
    return f"its label {names}"
