"""Random selectors, descriptions and garbage: the rules that always hold."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from histories import examples
from supervisor.model.description import Description
from supervisor.model.errors import BadSelector
from supervisor.selectors import (
    All,
    And,
    DependentOf,
    HasLabels,
    HasMode,
    HasStatus,
    HasTag,
    HasType,
    IsActive,
    Not,
    Nothing,
    Or,
    PrerequisiteOf,
    Selector,
    TagGlob,
    compile_selector,
    explainer,
    from_json,
    parse_json,
    parse_text,
    to_json,
    to_text,
)
from supervisor.selectors.globs import glob_matcher
from supervisor.selectors.words import MODES, RESERVED, STATUSES, TYPES

# How long an example takes is the machine's affair, and no reason to fail.
CALM = settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

any_string = st.text(st.characters(codec="utf-8"), max_size=6)
strings = (
    st.sampled_from(sorted(RESERVED)) | st.from_regex(r"[a-z:*?'\"\\ ,=()]{0,4}", fullmatch=True)
) | any_string
tags = st.sampled_from(["a", "b", "c", "d", "web", "web:1", "web:2"])
labels = st.dictionaries(st.sampled_from("xy"), st.sampled_from("12"), min_size=1)
pairs = st.dictionaries(strings, strings, min_size=1, max_size=3)


def selectors(
    names: st.SearchStrategy[str], sets: st.SearchStrategy[dict[str, str]]
) -> st.SearchStrategy[Selector]:
    leaves: st.SearchStrategy[Selector] = st.one_of(
        st.sampled_from([All(), Nothing(), IsActive()]),
        *(st.builds(kind, names) for kind in (HasTag, TagGlob, PrerequisiteOf, DependentOf)),
        st.builds(HasType, st.sampled_from(TYPES)),
        st.builds(HasMode, st.sampled_from(MODES)),
        st.builds(HasStatus, st.sampled_from(STATUSES)),
        sets.map(lambda found: HasLabels(tuple(found.items()))),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(Not, inner),
            st.builds(And, st.lists(inner, max_size=3).map(tuple)),
            st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
        ),
        max_leaves=8,
    )


odd_selectors = selectors(strings, pairs)
fitting_selectors = selectors(tags | st.sampled_from(["web*", "[!a]", "*:1", "?"]), labels)

descriptions = st.builds(
    lambda tag, kind, mode, status, active, found: Description(
        tag=tag,
        type=kind,
        mode=mode,
        status=status,
        active=active,
        labels=found,
        template="web" if ":" in tag else UNSET,
    ),
    tags,
    st.sampled_from(TYPES),
    st.sampled_from(["respawn", "inetd", "pass", "once"]),
    st.sampled_from(STATUSES),
    st.booleans(),
    st.just({}) | labels,
)
graphs = st.dictionaries(tags, st.lists(tags, max_size=3), max_size=6)

SAME = {"exec": "respawn", "nostartaccept": "inetd", "pass-fd": "pass"}


def needs(graph: Mapping[str, Sequence[str]], upper: str, lower: str, seen: frozenset[str]) -> bool:
    """Tell naively whether there is a way down from *upper* to *lower*."""
    return any(
        step == lower or (step not in seen and needs(graph, step, lower, seen | {step}))
        for step in graph.get(upper, ())
    )


def names(tag: str) -> list[str]:
    return ["web", "web:1", "web:2"] if tag == "web" else [tag]


def naive(selector: Selector, row: Description, graph: Mapping[str, Sequence[str]]) -> bool:
    """Interpret *selector* as the specification reads, with no thought of speed."""
    match selector:
        case All():
            return True
        case Nothing():
            return False
        case HasTag(tag):
            return tag in {row.tag, row.template}
        case HasType(kind):
            return row.type == kind
        case HasMode(mode):
            return row.type == "component" and row.mode == SAME.get(mode, mode)
        case IsActive():
            return row.type == "component" and row.active
        case HasStatus(status):
            return row.status == status
        case TagGlob(pattern):
            return fnmatch.fnmatchcase(row.tag, pattern)
        case HasLabels(wanted):
            return all(row.labels.get(name) == value for name, value in wanted)
        case PrerequisiteOf(tag):
            return any(needs(graph, name, row.tag, frozenset()) for name in names(tag))
        case DependentOf(tag):
            return any(needs(graph, row.tag, name, frozenset()) for name in names(tag))
        case Not(inner):
            return not naive(inner, row, graph)
        case And(parts):
            return all(naive(part, row, graph) for part in parts)
        case Or(parts):
            return any(naive(part, row, graph) for part in parts)


@CALM
@given(odd_selectors)
def test_text_that_is_printed_reads_as_the_same_selector(selector: Selector) -> None:
    assert parse_text(to_text(selector)) == selector


@CALM
@given(odd_selectors)
def test_from_json_to_text_and_back_nothing_is_lost(selector: Selector) -> None:
    written = json.dumps(to_json(selector))
    through_text = parse_text(to_text(parse_json(written)))
    assert to_json(through_text) == json.loads(written)
    assert from_json(json.loads(written)) == selector


@CALM
@given(fitting_selectors, st.lists(descriptions, min_size=1, max_size=6), graphs)
def test_what_is_compiled_matches_what_the_specification_says(
    selector: Selector, rows: list[Description], graph: dict[str, list[str]]
) -> None:
    test = compile_selector(selector, graph)
    verdict = explainer(selector, graph)
    for row in rows:
        expected = naive(selector, row, graph)
        assert test(row) is expected
        assert verdict(row).matches is expected


@settings(CALM, max_examples=examples(120))
@given(
    st.text("ab-!^][*?|&~\\", max_size=8),
    st.lists(st.text("ab-!^][*?|&~\\\n", max_size=5), max_size=5),
)
def test_patterns_match_as_those_of_fnmatch(pattern: str, texts: list[str]) -> None:
    matches = glob_matcher([pattern])
    for text in (pattern, *texts):
        assert matches(text) is fnmatch.fnmatchcase(text, pattern)


def read(source: bytes | str) -> None:
    """Read *source* in every way: nothing but a refusal may be raised."""
    with suppress(BadSelector):
        parse_json(source)
    if isinstance(source, str):
        with suppress(BadSelector):
            parse_text(source)


@CALM
@given(st.binary(max_size=40) | st.text(max_size=40))
def test_garbage_is_refused_and_nothing_worse(source: bytes | str) -> None:
    read(source)


@settings(CALM, max_examples=examples(80))
@given(
    st.lists(
        st.sampled_from([*RESERVED, "web", "'w b'", '"x"', *"()=,'\"{}[]!*", "running", "respawn"]),
        max_size=9,
    ).map(" ".join)
)
def test_words_in_any_order_are_refused_and_nothing_worse(source: str) -> None:
    read(source)


@CALM
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | strings,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(strings, inner, max_size=2)
            | st.fixed_dictionaries(
                {"op": st.sampled_from(sorted(RESERVED)) | inner}, optional={"arg": inner}
            )
        ),
        max_leaves=6,
    )
)
def test_any_other_json_is_refused_and_nothing_worse(value: object) -> None:
    read(json.dumps(value))
