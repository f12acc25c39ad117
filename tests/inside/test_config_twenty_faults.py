"""A file with twenty faults gives twenty problems in one run, each in its line."""

from __future__ import annotations

from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config_text import problems_of
from supervisor.config import toml
from supervisor.model.errors import Problem

# Behind each line that is wrong stands what is said about it.
FIRST = """\
[daemon]
log-level = "loud"                          #! one of debug, info, warning, error
limits = { nofle = 5 }                      #! did you mean 'nofile'
umask = 0022                                #! not valid TOML

[control]
socket = "inet://0.0.0.0:8073"              #! needs an [identity-provider.NAME] and tls
admin-acl = "ofice"                         #! did you mean 'office'

[acl]
office = ["allow all from 10.0.0.0/40"]     #! '10.0.0.0/40'

[mail
program = "sendmail"

[component.db]
comand = "postgres"                         #! did you mean 'command'
ready = { tcp = "localhost" }               #! HOST:PORT

[component.db]
command = "again"
"""
FIRST_SAYS = {13: "not valid TOML", 20: "is already defined at a.toml:16"}
SECOND = """\
[component.web]
command = "prog 'x"                         #! quotation mark
prerequisites = ["db", "cache"]             #! there is no component 'cache'
instances = 2
env = { PORT = 80 }                         #! write "80"
stop-signal = "SIGTREM                      #! not valid TOML
stderr = "syslog:daemon.error"              #! did you mean 'err'
on-exit = [
  { codes = ["EX_CONFIG", 300] },           #! 0 to 255
  { codes = 1, action = "stop" },           #! one of restart, disable
]
nice = 40                                   #! 19 or less

[component.web.limits]
as = "lots"                                 #! must be a size
core = = 0                                  #! not valid TOML
"""


def expected(text: str, more: dict[int, str]) -> dict[int, str]:
    """Return the lines that are wrong and what is said about them."""
    marked = {
        number: line.partition("#! ")[2]
        for number, line in enumerate(text.splitlines(), start=1)
        if "#! " in line
    }
    return dict(sorted({**marked, **more}.items()))


def test_twenty_faults_of_all_kinds_are_twenty_problems_with_their_lines() -> None:
    first, second = expected(FIRST, FIRST_SAYS), expected(SECOND, {})
    found = [problem for problem in problems_of(FIRST, SECOND) if not problem.warning]
    places = [(problem.file, problem.line) for problem in found]
    assert places == [*(("a.toml", n) for n in first), *(("b.toml", n) for n in second)]
    assert len(found) == 20
    for problem, words in zip(found, [*first.values(), *second.values()], strict=True):
        assert words in problem.message, problem


# --- going on after a fault of the syntax

SYNTAX = [
    ("a = 1\nb = \nc = = 2\nd = 3 4\n", [2, 3, 4]),
    ("[a]\nx = 'y\nz = 1\n[b\nx = 1\n[c]\nx = = 1\n", [2, 4, 7]),
    ("a = 'x\nb = = 1\n", [1, 2]),
    ('a = """x\nb = 1\n', [1]),
    ("a = [1,\nb = 2\nc = = 3\n", [1, 3]),
    ('a = [\n  "x"\n  "y",\n]\nb = = 1\n', [3, 5]),
    ("x = 1\nx = 2\ny = = 1\n", [2, 3]),
    ("x = 1\nx = [\n1]\ny = = 1\n", [2, 4]),
    ("[a]\n[b]\n[a]\nx = = 1\n[b]\n", [3, 4, 5]),
    ("a.b = 1\na = 2\nc = = 1\n", [2, 3]),
    ("# pies\nmode exec;\n}\n", [2, 3]),
]


@pytest.mark.parametrize(("text", "lines"), SYNTAX)
def test_every_fault_of_the_syntax_is_found(text: str, lines: list[int]) -> None:
    problems: list[Problem] = []
    assert toml.read(text, "a.toml", problems) is not None
    assert [problem.line for problem in problems] == lines


def test_what_could_not_be_read_is_told_once_and_missed_by_nobody() -> None:
    text = dedent(
        """\
        [component.x]
        command = prog
        mode = "once
        [component.y
        command = "prog"
        [component.z]
        command = "prog"
        prerequisites = ["y", "x"]
        """
    )
    assert [problem.line for problem in problems_of(text)] == [2, 3, 4]


def test_a_value_that_could_not_be_read_hides_no_other() -> None:
    text = "[component.x]\ncommand = 'prog'\nrespawn.max = x\nrespawn.window = -1\n"
    assert [problem.line for problem in problems_of(text)] == [3, 4]


def test_a_file_that_is_no_toml_at_all_is_left_after_fifty_faults() -> None:
    problems: list[Problem] = []
    assert toml.read("what is this\n" * 1000, "a.toml", problems) is None
    assert [problem.line for problem in problems] == list(range(1, 52))


@pytest.mark.slow
def test_a_large_file_with_many_faults_is_left_soon() -> None:
    problems: list[Problem] = []
    assert toml.read("a = = 1\n" * 200_000, "a.toml", problems) is None
    assert 1 <= len(problems) <= 10


RIGHT = """\
[daemon]
env = { A = "b" }
[component.x]
command = [
  "prog",
  "a",
]
description = \"\"\"
several
lines\"\"\"
[component.y]
command = 'prog'
on-exit = [
  { codes = 1, exec = "prog" },
]
"""
FAULTS = [
    "= 1",
    "[",
    "]",
    '"',
    "'",
    '"""',
    "'''",
    "{",
    "}",
    "a b",
    "x = ",
    "x = [",
    "[x",
    "#",
    "x =",
]


@given(st.dictionaries(st.integers(0, 15), st.sampled_from(FAULTS), min_size=1, max_size=4))
def test_reading_goes_on_or_ends_whatever_is_wrong_with_the_lines(faults: dict[int, str]) -> None:
    lines = RIGHT.splitlines()
    for number in sorted(faults, reverse=True):
        lines.insert(number, faults[number])
    problems: list[Problem] = []
    root = toml.read("\n".join(lines), "a.toml", problems)
    assert root is not None or problems
    assert all(1 <= problem.line <= len(lines) for problem in problems)
    assert len(set(problems)) == len(problems) <= len(lines)
