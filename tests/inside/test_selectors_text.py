"""The text form of selectors is read strictly, and a fault is named by its column."""

from __future__ import annotations

import pytest

from supervisor.model.errors import BadSelector
from supervisor.selectors import (
    MAX_BYTES,
    MAX_LEVELS,
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
    parse_text,
    to_text,
)
from supervisor.selectors.words import RESERVED

A, B, C = HasTag("a"), HasTag("b"), HasTag("c")


def refused(text: str) -> tuple[str, str]:
    with pytest.raises(BadSelector) as caught:
        parse_text(text)
    return caught.value.where, caught.value.what


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("all", All()),
        ("none", Nothing()),
        ("active", IsActive()),
        ("web", HasTag("web")),
        ("  web:1\t\n", HasTag("web:1")),
        ("pmult/stderr", HasTag("pmult/stderr")),
        ("grün", HasTag("grün")),
        ("component web", HasTag("web")),
        ("tag web", HasTag("web")),
        ("'all'", HasTag("all")),
        ("component 'tag'", HasTag("tag")),
        ("'a b'", HasTag("a b")),
        (r"'a\b'", HasTag(r"a\b")),
        (r'"it\u0027s \"so\""', HasTag('it\'s "so"')),
        ("''", HasTag("")),
        ("type component", HasType("component")),
        ("type 'command'", HasType("command")),
        ("mode pass-fd", HasMode("pass-fd")),
        ("status running", HasStatus("running")),
        ("glob web-[!a]?*", TagGlob("web-[!a]?*")),
        ("glob 'a b*'", TagGlob("a b*")),
        ("glob 'all'", TagGlob("all")),
        ("label tier=web", HasLabels((("tier", "web"),))),
        ("label tier = web , 'a b'=\"\"", HasLabels((("a b", ""), ("tier", "web")))),
        ("prerequisite-of web", PrerequisiteOf("web")),
        ("dependent-of db", DependentOf("db")),
        ("not not a", Not(Not(A))),
        ("not(a)and(b)", And((Not(A), B))),
        ("'a'and'b'", And((A, B))),
        ("((a))", A),
        ("and ()", And(())),
        ("or ( )", Or(())),
        ("and (a,)", And((A,))),
        ("not or (a and b,)", Not(Or((And((A, B)),)))),
        ("and (label a=b,)", And((HasLabels((("a", "b"),)),))),
    ],
)
def test_what_is_right_is_read(text: str, selector: Selector) -> None:
    assert parse_text(text) == selector


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("not a and b or c", Or((And((Not(A), B)), C))),
        ("a or b and c", Or((A, And((B, C))))),
        ("(a or b) and c", And((Or((A, B)), C))),
        ("not (a and b)", Not(And((A, B)))),
        ("a and b and c", And((A, B, C))),
        ("(a and b) and c", And((And((A, B)), C))),
        ("a or (b or c)", Or((A, Or((B, C))))),
    ],
)
def test_not_binds_tightest_then_and_then_or(text: str, selector: Selector) -> None:
    assert parse_text(text) == selector


@pytest.mark.parametrize(
    "text",
    [
        "not component a and component b or component c",
        "(component a or component b) and component c",
        "(component a and component b) and component c",
        "not (component a and component b)",
        "and (component a or component b,)",
        "glob web-*",
        "component 'web-*' or component 'and'",
        r'component "it\'s"'.replace("\\", ""),
        r'component "a\nb"',
        "label tier=web,zone='a b'",
        "prerequisite-of web and dependent-of db",
    ],
)
def test_it_is_printed_with_no_more_parentheses_and_quotes_than_it_needs(text: str) -> None:
    assert to_text(parse_text(text)) == text


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "column 1", "expected a selector, found the end"),
        ("  ", "column 3", "expected a selector, found the end"),
        ("web adn db", "column 5", "expected 'and', 'or' or the end, found \"adn\""),
        ("web db", "column 5", "expected 'and', 'or' or the end"),
        ("web 'db'", "column 5", 'found the string "db"'),
        ("web)", "column 4", 'found ")"'),
        ("(web", "column 5", "expected 'and', 'or' or ')', found the end"),
        ("()", "column 2", 'expected a selector, found ")"'),
        ("web and", "column 8", "expected a selector, found the end"),
        ("a and and b", "column 7", 'expected a selector, found "and"'),
        ("or b", "column 1", 'expected a selector, found "or"'),
        ("not", "column 4", "expected a selector, found the end"),
        ("and (a)", "column 7", "as in 'and (S,)'"),
        ("and (a,b)", "column 8", "')' after the only selector"),
        ("component", "column 10", "expected a tag after 'component', found the end"),
        ("component all", "column 11", '"all" is a keyword: as a tag it must be quoted'),
        ("dependent-of (a)", "column 14", "expected a tag after 'dependent-of', found \"(\""),
        ("web*", "column 1", "write 'glob PATTERN'"),
        ("!web", "column 1", "must be quoted"),
        ("component w?b", "column 11", "write 'glob PATTERN'"),
        ("glob", "column 5", "expected a pattern"),
        ("type service", "column 6", 'unknown type "service"; known: component, command'),
        ("mode", "column 5", "expected a mode (respawn, exec"),
        ("mode rspawn", "column 6", 'did you mean "respawn"?'),
        ("status runing", "column 8", 'did you mean "running"? known: stopped'),
        ("status=running", "column 7", "expected a status (stopped, running, listener"),
        ("label", "column 6", "expected a label NAME=VALUE, found the end"),
        ("label tier", "column 11", "expected '=' after the name of a label"),
        ("label tier=", "column 12", "expected the value of the label, found the end"),
        ("label tier=web,", "column 16", "expected a label NAME=VALUE, found the end"),
        ("label tier=*", "column 12", "a label value with one of"),
        ("label a=1,b=2,a=3", "column 15", 'the label "a" is there twice'),
        ("active web", "column 8", 'found "web"'),
        ("group web", "column 1", '"group" is not supported yet'),
        ("a and query '{}'", "column 7", '"query" is not supported yet'),
        ("a && b", "column 3", "unexpected character \"&\"; write 'and'"),
        ("a | b", "column 3", "write 'or'"),
        ('{"op":"all"}', "column 1", "looks like JSON"),
        ("a#1", "column 2", 'unexpected character "#"; quote it'),
        ("a\u00a0b", "column 2", "unexpected character"),
        ("a and 'b", "column 7", "the quote ' is not closed"),
        ('a and "b', "column 7", "in a quoted string: Unterminated"),
        (r'a and "b\x"', "column 9", "in a quoted string: Invalid \\escape"),
        (r'"\ud800"', "column 1", "half a character"),
        ("a\udcff", "column 2", "not UTF-8"),
    ],
)
def test_what_is_wrong_is_refused_with_its_column(text: str, where: str, what: str) -> None:
    assert refused(text)[0] == where
    assert what in refused(text)[1]


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_a_tag_that_is_a_keyword_is_printed_in_quotes(word: str) -> None:
    assert to_text(HasTag(word)) == f"component '{word}'"
    assert parse_text(f"'{word}'") == HasTag(word)
    assert "must be quoted" in refused(f"component {word}")[1]


def test_64_levels_are_read_and_65_are_refused_where_the_65th_begins() -> None:
    parse_text("not " * (MAX_LEVELS - 1) + "a")
    assert refused("not " * MAX_LEVELS + "a") == ("column 257", "more than 64 levels")
    # Each pair of parentheses holds two levels: a disjunction, and a conjunction in it.
    pairs = "(" * 31 + "a" + " and b or c)" * 31
    parse_text(f"not {pairs}")
    assert refused(f"not not {pairs}") == ("column 40", "more than 64 levels")


def test_the_column_is_that_of_the_deepest_selector() -> None:
    deep = "not " * 63 + "b"
    assert refused(f"a and {deep} and c") == ("column 259", "more than 64 levels")


@pytest.mark.parametrize("one", ["(a)", "not a", "and (a,)", "or ()"])
def test_selectors_side_by_side_are_no_levels(one: str) -> None:
    parse_text(" or ".join([one] * 100))


def test_parentheses_alone_are_levels_too_when_there_are_too_many() -> None:
    assert parse_text("(" * 64 + "a" + ")" * 64) == A
    assert refused("(" * MAX_BYTES) == ("column 65", "more than 64 levels")
    assert refused("and(" * (MAX_BYTES // 4)) == ("column 260", "more than 64 levels")
    assert refused("not " * (MAX_BYTES // 4)) == ("column 257", "more than 64 levels")


def test_64_kib_are_read_and_a_byte_more_is_refused() -> None:
    text = "'" + "ü" * (MAX_BYTES // 2 - 1) + "'"
    parse_text(text)
    assert refused(text + " ") == ("column 1", "longer than 65536 bytes")


def test_a_message_stays_short_whatever_the_selector_holds() -> None:
    long = "x" * 60_000
    for text in (f"a {long}", f"mode {long}", f"label '{long}'=1,'' = 2,=", f"a '{long}'"):
        assert len(refused(text)[1]) < 400
