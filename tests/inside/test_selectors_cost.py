"""A selector that would keep the event loop is refused; one that is merely long is not."""

from __future__ import annotations

import json

import pytest

from supervisor.model.errors import BadSelector
from supervisor.selectors import parse_json, parse_text
from supervisor.selectors.cost import MAX_COMBINATIONS, MAX_GLOB


def test_a_thousand_tags_side_by_side_are_fine() -> None:
    tags = [f"web-{number}" for number in range(1000)]
    form = {"op": "or", "arg": [{"op": "tag", "arg": tag} for tag in tags]}
    assert parse_text(" or ".join(tags)) == parse_json(json.dumps(form))


def test_too_many_combinations_are_refused() -> None:
    pair = '{"op":"and","arg":[{"op":"active"},{"op":"mode","arg":"once"}]}'
    many = '{"op":"or","arg":[' + ",".join([pair] * MAX_COMBINATIONS) + "]}"
    with pytest.raises(BadSelector, match=r"\$: more than 512 times"):
        parse_json(many)
    with pytest.raises(BadSelector, match="column 1: more than 512 times"):
        parse_text(" or ".join(["(active and mode once)"] * MAX_COMBINATIONS))


def test_a_pattern_without_end_is_refused() -> None:
    with pytest.raises(BadSelector, match="a pattern of more than 1024 characters"):
        parse_text(f"glob '{'*' * (MAX_GLOB + 1)}'")


def test_a_string_that_is_never_closed_is_refused_at_once() -> None:
    with pytest.raises(BadSelector):
        parse_json("[" * 300 + '"' + '\\"' * 30_000)
