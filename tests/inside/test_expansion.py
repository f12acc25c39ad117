"""`$name` and its relatives: what they become, and where words begin and end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.model.expansion import ExpansionError, check, expand, split

ENV = {"name": "value", "empty": "", "two": "a b", "star": "*"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$name", "value"),
        ("${name}", "value"),
        ("x${name}y$name.z", "xvalueyvalue.z"),
        ("$none", ""),
        ("${none:-word}", "word"),
        ("${empty:-word}", "word"),
        ("${name:-word}", "value"),
        ("${none-word}", "word"),
        ("${empty-word}", ""),
        ("${none:=word}$none", "wordword"),
        ("${empty:=word}$empty", "wordword"),
        ("${empty=word}$empty", ""),
        ("${none=word}$none", "wordword"),
        ("${name:+word}", "word"),
        ("${empty:+word}", ""),
        ("${none:+word}", ""),
        ("${empty+word}", "word"),
        ("${none+word}", ""),
        ("${name:?word}", "value"),
        ("${empty?word}", ""),
        ("${none:-${empty:-$name}}", "value"),
        ("${none:-a}b}", "ab}"),
        ("${none:-'}'}", "}"),
        ("${none:-\\}}", "}"),
        ('${none:-"${two}"}', "a b"),
        ("a b", "a b"),
        ("\\$name", "$name"),
        ("'$name'", "$name"),
        ('"$name"', "value"),
        ('"\\$name \\\\ \\n \\""', '$name \\ \\n "'),
        ('"it\'s"', "it's"),
        ('"${none:-it\'s}"', "it's"),
        ("a\\\nb", "ab"),
        ("5$", "5$"),
        ("$1 $$ $(date) `date`", "$1 $$ $(date) `date`"),
        ("", ""),
    ],
)
def test_a_text_is_expanded_as_a_shell_does_it(text: str, result: str) -> None:
    assert expand(text, dict(ENV)) == result


def test_an_assignment_stays_in_the_environment() -> None:
    env = dict(ENV)
    assert expand("${new:=${name}s}", env) == "values"
    assert env["new"] == "values"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b  c", ["a", "b", "c"]),
        (" a\tb\n", ["a", "b"]),
        ("$two", ["a", "b"]),
        ("x$two.y", ["xa", "b.y"]),
        ('"$two"', ["a b"]),
        ("'a b' c", ["a b", "c"]),
        ("a\\ b", ["a b"]),
        ('"" $empty $none ""', ["", ""]),
        ('$empty""', [""]),
        ("$empty", []),
        ("", []),
        ("${none:-a b}", ["a", "b"]),
        ('${none:-"a b"}', ["a b"]),
        ('"${none:-a b}"', ["a b"]),
        ("$star /etc/*", ["*", "/etc/*"]),
        ("a'b'\"c\"d", ["abcd"]),
        ("a\\\n b", ["a", "b"]),
    ],
)
def test_words_end_at_blanks_that_are_in_no_quotes(text: str, words: list[str]) -> None:
    assert split(text, dict(ENV)) == words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ab ${none:?say it}", "column 4: none: say it"),
        ("${none?}", "column 1: none: not set"),
        ("${empty:?}", "column 1: empty: is empty or not set"),
        ("x'abc", "column 2: this quote is never closed"),
        ('x "abc', "column 3: this quote is never closed"),
        ("${name", "column 1: '${' without its '}'"),
        ("${name:-x", "column 1: '${' without its '}'"),
        ("${}", "column 1: '${' without the name of a variable"),
        ("${1}", "column 1: '${' without the name of a variable"),
        ("abc\\", "column 4: nothing follows the backslash"),
        (
            "${name#x}",
            "column 7: '#' after the name 'name': only - = ? + are known here, "
            "each with or without ':'",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ExpansionError) as caught:
        expand(text, dict(ENV))
    assert str(caught.value) == message


def test_the_reason_of_a_missing_variable_shows_no_value() -> None:
    with pytest.raises(ExpansionError) as caught:
        expand("${none:?not $secret}", {"secret": "hunter2"})
    assert str(caught.value) == "column 1: none: not $secret"


def test_what_can_be_known_without_variables_is_checked_without_them() -> None:
    check("${a:?x} $b '${'")
    with pytest.raises(ExpansionError):
        check("${a:-${b}")


def test_without_quotes_only_references_are_special() -> None:
    assert expand('it\'s "$name" \\n \\$name', dict(ENV), quotes=False) == (
        'it\'s "value" \\n $name'
    )


def test_references_in_each_other_end_somewhere() -> None:
    deep = "${a:-" * 5000 + "}" * 5000
    with pytest.raises(ExpansionError, match="in each other"):
        expand(deep, {})


def test_a_result_cannot_grow_without_end() -> None:
    env = {"a": "x" * 100_000}
    with pytest.raises(ExpansionError, match="longer"):
        expand("$a" * 11, env)


def place_of_mistake(run: Callable[..., object], text: str) -> int | None:
    try:
        run(text, {"a": "x y", "b": ""})
    except ExpansionError as error:
        return error.position
    return None


@given(st.text(alphabet="ab ${}:-=?+'\"\\\n\t$"))
def test_any_text_is_expanded_or_refused_with_a_place_in_it(text: str) -> None:
    for run in (expand, split):
        place = place_of_mistake(run, text)
        assert place is None or 1 <= place <= len(text)


@given(st.lists(st.text(alphabet="ab ${}'\"\\\n\t*", min_size=0)))
def test_words_in_single_quotes_come_out_as_they_are(words: list[str]) -> None:
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    assert split(quoted, {}) == words
