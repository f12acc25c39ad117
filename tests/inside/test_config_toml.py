"""TOML is read with the line of everything in it, and garbage is only ever refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config_text import plan_of
from supervisor.config import keys, toml
from supervisor.config.tables import did_you_mean
from supervisor.model.errors import ConfigRejected, Problem

# --- nothing else is ever raised


def found_in(text: str) -> tuple[Problem, ...]:
    """Return problems and warnings; anything but a plan or a rejection is an error."""
    try:
        return plan_of(text).warnings
    except ConfigRejected as rejected:
        return rejected.problems


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_garbage_is_rejected_and_nothing_else(text: str) -> None:
    assert all(0 <= problem.line <= text.count("\n") + 1 for problem in found_in(text))


VALUES = st.recursive(
    st.sampled_from(
        [
            "1",
            "-1",
            "nan",
            "inf",
            "true",
            "1.5",
            "''",
            "'x'",
            "'all'",
            "'${instance}'",
            "'/'",
            "1979-05-27",
            "07:32:00",
            "'inetd'",
            "'unix:///x'",
            "'inet://*:1'",
            "9999999999999999999999",
        ]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=2).map(
            lambda table: "{" + ", ".join(f"{k} = {v}" for k, v in table.items()) + "}"
        ),
    ),
    max_leaves=5,
)


@given(st.data())
def test_any_value_for_any_key_is_accepted_or_refused(data: st.DataObject) -> None:
    key_sets = {
        "component.x": keys.COMPONENT_KEYS,
        "defaults": keys.COMPONENT_KEYS,
        "daemon": keys.DAEMON_KEYS,
        "control": keys.CONTROL_KEYS,
        "syslog": keys.SYSLOG_KEYS,
        "mail": keys.MAIL_KEYS,
        "identity-provider.x": keys.PROVIDER_KEYS,
    }
    lines = []
    for table, key_set in key_sets.items():
        names = st.lists(st.sampled_from(sorted(key_set.by_name)), unique=True, max_size=4)
        lines.append(f"[{table}]")
        lines += [f"{name} = {data.draw(VALUES)}" for name in data.draw(names)]
    text = "\n".join(lines)
    assert all(problem.line <= len(lines) for problem in found_in(text))


@given(st.text(max_size=30))
def test_suggestions_never_fail(word: str) -> None:
    assert isinstance(did_you_mean(word, ["command", "mode"]), str)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a = 1\nb = ", 2, "invalid value"),
        ("a = 1\nb", 2, "expected '='"),
        ("a = 'x", 1, "expected"),
        ("\n\n[a", 3, "expected ']'"),
        ("a = 1\na = 2", 2, "cannot overwrite"),
        ("a = 1\r\nb = = 2\r\n", 2, "invalid value"),
        ("a = 1\rb = 2", 1, ""),
        ("[" * 5000, 1, ""),
        ("\na = " + "[" * 20000, 2, "too deeply nested"),
        (
            "".join(f"x{n} = '[' # [\n" for n in range(40)) + "a = " + "{a=" * 20000,
            41,
            "too deeply nested",
        ),
        ("\n\na = " + "[" * 40 + "]" * 40, 3, "too deeply nested"),
        ("a = '" + "1" * 5000 + "'\nb = " + "1_" * 5000 + "1", 2, "4300 digits"),
        ("a = 2000-02-31", 1, "invalid date"),
        ("[a]\n[b]\n[a]", 3, "is defined twice"),
        ('a = "\\ud800"', 1, "scalar value"),
        ("a = '\0'", 1, "character"),
    ],
    ids=lambda value: repr(value)[:30] + repr(value)[-5:],
)
def test_what_is_no_toml_is_a_problem_with_its_line(text: str, line: int, words: str) -> None:
    problems: list[Problem] = []
    toml.read(text, "a.toml", problems)
    (problem,) = problems
    assert problem.line == line
    assert words.lower() in problem.message.lower()
