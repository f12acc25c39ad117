"""From a selector to one Python function over descriptions, made once for each query.

Nothing looks at nodes while descriptions are tested. Leaves of one kind in a disjunction become
one lookup, so that the cost of `a or b or c …` does not grow with its length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from supervisor.model.description import Description
from supervisor.selectors.globs import glob_matcher
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
    Or,
    PrerequisiteOf,
    Selector,
    TagGlob,
)
from supervisor.selectors.reach import NO_PREREQUISITES, Prerequisites, Reach
from supervisor.selectors.words import same_mode

L = TypeVar("L", bound=Leaf)

Test = Callable[[Description], bool]
"""Tells whether a description is matched."""


def compile_selector(selector: Selector, prerequisites: Prerequisites = NO_PREREQUISITES) -> Test:
    """Return the function that tells whether a description is matched by *selector*.

    Args:
        selector: what to match.
        prerequisites: the direct prerequisites of each tag, templates expanded. It is read now:
            the function does not see later changes.
    """
    return _test(selector, Reach(prerequisites))


def leaf_test(leaf: Leaf, reach: Reach) -> Test:
    """Return the test for a selector without another one in it."""
    return _any_leaf([leaf], reach)


def _test(selector: Selector, reach: Reach) -> Test:
    match selector:
        case Not(inner):
            return _negation(_test(inner, reach))
        case Or(parts):
            return _or(parts, reach)
        case And(parts):
            return _and(parts, reach)
        case _:
            return leaf_test(selector, reach)


def _or(parts: Iterable[Selector], reach: Reach) -> Test:
    leaves: list[Leaf] = []
    tests: list[Test] = []
    for part in dict.fromkeys(parts):
        if isinstance(part, Not | And | Or):
            tests.append(_test(part, reach))
        else:
            leaves.append(part)
    # Leaves first: they are the cheaper tests.
    return _disjunction([_any_leaf(leaves, reach), *tests] if leaves else tests)


def _and(parts: Iterable[Selector], reach: Reach) -> Test:
    # "not a and not b" is "not (a or b)", where leaves can be put together.
    refused: list[Selector] = []
    tests: list[Test] = []
    for part in dict.fromkeys(parts):
        if isinstance(part, Not):
            refused.append(part.selector)
        else:
            tests.append(_test(part, reach))
    return _conjunction([*tests, _negation(_or(refused, reach))] if refused else tests)


def _any_leaf(leaves: Sequence[Leaf], reach: Reach) -> Test:
    """Return the test whether at least one of *leaves* matches: one lookup for each kind."""

    def of(kind: type[L]) -> list[L]:
        return [leaf for leaf in leaves if isinstance(leaf, kind)]

    if of(All):
        return _everything
    tests: list[Test] = []
    if of(IsActive):
        tests.append(_active)
    if tags := frozenset(leaf.tag for leaf in of(HasTag)):
        tests.append(_tag(tags))
    if types := frozenset(leaf.type for leaf in of(HasType)):
        tests.append(_type(types))
    if modes := [same_mode(leaf.mode) for leaf in of(HasMode)]:
        tests.append(_mode(frozenset().union(*modes)))
    if statuses := frozenset(leaf.status for leaf in of(HasStatus)):
        tests.append(_status(statuses))
    if below := of(PrerequisiteOf):
        tests.append(_exact_tag(reach.prerequisites(leaf.tag for leaf in below)))
    if above := of(DependentOf):
        tests.append(_exact_tag(reach.dependents(leaf.tag for leaf in above)))
    if patterns := of(TagGlob):
        tests.append(_glob(leaf.pattern for leaf in patterns))
    if single := frozenset(leaf.labels[0] for leaf in of(HasLabels) if len(leaf.labels) == 1):
        tests.append(_any_label(single))
    tests += [_labels(leaf.labels) for leaf in of(HasLabels) if len(leaf.labels) != 1]
    return _disjunction(tests)


# --- tests of one description


def _everything(_: Description) -> bool:
    return True


def _nothing(_: Description) -> bool:
    return False


def _active(description: Description) -> bool:
    return description.active and description.type == "component"


def _tag(tags: frozenset[str]) -> Test:
    return lambda description: description.tag in tags or description.template in tags


def _exact_tag(tags: frozenset[str]) -> Test:
    return lambda description: description.tag in tags


def _type(types: frozenset[str]) -> Test:
    return lambda description: description.type in types


def _mode(modes: frozenset[str]) -> Test:
    return lambda description: description.mode in modes and description.type == "component"


def _status(statuses: frozenset[str]) -> Test:
    return lambda description: description.status in statuses


def _glob(patterns: Iterable[str]) -> Test:
    matches = glob_matcher(patterns)
    return lambda description: matches(description.tag)


def _any_label(labels: frozenset[tuple[str, str]]) -> Test:
    return lambda description: not labels.isdisjoint(description.labels.items())


def _labels(labels: tuple[tuple[str, str], ...]) -> Test:
    wanted = frozenset(labels)
    return lambda description: wanted <= description.labels.items()


# --- tests of tests


def _negation(test: Test) -> Test:
    return lambda description: not test(description)


def _conjunction(tests: list[Test]) -> Test:
    match tests:
        case []:
            return _everything
        case [only]:
            return only
        case [first, second]:
            return lambda description: first(description) and second(description)
        case _:
            return _all_of(tuple(tests))


def _all_of(tests: tuple[Test, ...]) -> Test:
    def matches(description: Description) -> bool:
        # Not all(…): making a generator for each description costs more than the tests.
        for test in tests:  # noqa: SIM110
            if not test(description):
                return False
        return True

    return matches


def _disjunction(tests: list[Test]) -> Test:
    match tests:
        case []:
            return _nothing
        case [only]:
            return only
        case [first, second]:
            return lambda description: first(description) or second(description)
        case _:
            return _any_of(tuple(tests))


def _any_of(tests: tuple[Test, ...]) -> Test:
    def matches(description: Description) -> bool:
        for test in tests:  # noqa: SIM110
            if test(description):
                return True
        return False

    return matches
