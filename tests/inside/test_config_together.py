"""What is wrong with components only together: tags, cycles, sockets, keys set twice."""

from __future__ import annotations

from textwrap import dedent

import pytest

from config_text import plan_of, problems_of

HEAD = '[component.x]\ncommand = "prog"\n'


def test_a_tag_defined_in_two_files_names_both_places() -> None:
    (problem,) = problems_of(HEAD, "\n" + HEAD)
    assert (str(problem.where), problem.key) == ("b.toml:2", "component.x")
    assert problem.message == "'x' is already defined at a.toml:1"


def test_a_tag_defined_twice_in_one_file_names_both_places() -> None:
    (problem,) = problems_of(HEAD + HEAD)
    assert (problem.line, problem.key) == (3, "component.x")
    assert problem.message == "is already defined at a.toml:1"


def test_a_tag_that_an_instance_has_is_taken() -> None:
    other = '[component."x:2"]\ncommand = "prog"'
    (problem,) = problems_of(HEAD + "instances = 2\n" + other)
    assert (problem.line, problem.key) == (4, 'component."x:2"')
    assert problem.message == "'x:2' is already defined at a.toml:1"


def test_a_cycle_is_printed_as_a_path_and_only_once() -> None:
    text = dedent(
        """\
        [component.b]
        command = "prog"
        prerequisites = ["c"]
        [component.c]
        command = "prog"
        prerequisites = ["a"]
        [component.a]
        command = "prog"
        prerequisites = ["d", "b"]
        [component.d]
        command = "prog"
        [component.above]
        command = "prog"
        prerequisites = ["a"]
        """
    )
    (problem,) = problems_of(text)
    assert problem.message == "a cycle of prerequisites: b → c → a → b"
    assert (problem.line, problem.key) == (9, "component.a.prerequisites[1]")


def test_every_separate_cycle_is_told() -> None:
    names = ("a", "b", "c", "d")
    needs = {"a": "b", "b": "a", "c": "d", "d": "c"}
    text = "".join(
        f"[component.{tag}]\ncommand = 'prog'\nprerequisites = '{needs[tag]}'\n" for tag in names
    )
    assert [problem.message.rpartition(": ")[2] for problem in problems_of(text)] == [
        "a → b → a",
        "c → d → c",
    ]


def test_a_cycle_through_dependents_is_found() -> None:
    text = HEAD + "dependents = ['y']\n[component.y]\ncommand = 'prog'\ndependents = ['x']"
    (problem,) = problems_of(text)
    assert "x → y → x" in problem.message


@pytest.mark.slow
def test_a_chain_of_thousands_is_no_cycle() -> None:
    text = "".join(
        f"[component.c{n}]\ncommand = 'prog'\nprerequisites = 'c{n + 1}'\n" for n in range(3000)
    )
    assert len(plan_of(text + "[component.c3000]\ncommand = 'prog'").components) == 3001


@pytest.mark.parametrize(
    ("mode", "needed", "words"),
    [
        ("startup", "respawn", "ended before anything else starts"),
        ("startup", "shutdown", "ended before anything else starts"),
        ("shutdown", "respawn", "after everything else has ended"),
        ("shutdown", "startup", "after everything else has ended"),
        ("respawn", "shutdown", "only when piesd shuts down"),
        ("once", "shutdown", "only when piesd shuts down"),
    ],
)
def test_a_prerequisite_must_be_able_to_be_up_at_that_time(
    mode: str, needed: str, words: str
) -> None:
    other = f"[component.y]\ncommand = 'prog'\nmode = '{needed}'\n"
    (problem,) = problems_of(f"{HEAD}mode = '{mode}'\nprerequisites = ['y']\n{other}")
    assert (problem.line, problem.key) == (4, "component.x.prerequisites[0]")
    assert words in problem.message
    (problem,) = problems_of(f"{HEAD}mode = '{mode}'\n{other}dependents = 'x'\n")
    assert (problem.line, problem.key) == (7, "component.y.dependents")


@pytest.mark.parametrize(
    ("mode", "needed"),
    [
        ("startup", "startup"),
        ("shutdown", "shutdown"),
        ("respawn", "startup"),
        ("respawn", "once"),
        ("once", "respawn"),
    ],
)
def test_other_prerequisites_are_fine(mode: str, needed: str) -> None:
    other = f"[component.y]\ncommand = 'prog'\nmode = '{needed}'\n"
    plan = plan_of(f"{HEAD}mode = '{mode}'\nprerequisites = ['y']\n{other}")
    assert plan.components[0].prerequisites == ("y",)


LISTENER = "[component.{}]\ncommand = 'prog'\nmode = 'inetd'\nsocket = '{}'\n"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("inet://127.0.0.1:80", "inet+tcp://localhost:http"),
        ("inet://*:80", "inet://127.0.0.1:80"),
        ("inet://127.0.0.1:80", "inet://0.0.0.0:80"),
        ("inet://[::1]:80", "inet6://localhost:80"),
        ("inet://[::]:80", "inet://[::1]:80"),
        ("unix:///run/x", "local:///run//x;mode=600"),
    ],
)
def test_two_components_on_one_socket_are_a_problem(one: str, other: str) -> None:
    (problem,) = problems_of(LISTENER.format("x", one) + LISTENER.format("y", other))
    assert (problem.line, problem.key) == (8, "component.y.socket")
    assert "is already taken by" in problem.message
    assert "component.x.socket at a.toml:4" in problem.message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("inet://127.0.0.1:80", "inet://127.0.0.1:81"),
        ("inet://127.0.0.1:80", "inet://127.0.0.2:80"),
        ("inet://127.0.0.1:80", "inet://[::1]:80"),
        ("inet://127.0.0.1:0", "inet://127.0.0.1:0"),
        ("unix:///run/x", "unix:///run/y"),
    ],
)
def test_different_sockets_are_fine(one: str, other: str) -> None:
    plan = plan_of(LISTENER.format("x", one) + LISTENER.format("y", other))
    assert len(plan.components) == 2


def test_instances_cannot_share_a_socket() -> None:
    (problem,) = problems_of(LISTENER.format("x", "unix:///run/x") + "instances = 2")
    assert "is already taken by" in problem.message


def test_a_component_cannot_have_a_control_socket() -> None:
    control = "[control]\nsocket = 'unix:///run/x'\n"
    (problem,) = problems_of(control + LISTENER.format("x", "unix:///run/x"))
    assert "control.socket at a.toml:2" in problem.message


@pytest.mark.parametrize(
    ("table", "key"), [("daemon", "umask"), ("control", "anonymous"), ("defaults", "umask")]
)
def test_a_key_set_in_two_files_names_both_places(table: str, key: str) -> None:
    value = "'list'" if key == "anonymous" else "'022'"
    (problem,) = problems_of(f"{HEAD}[{table}]\n{key} = {value}", f"[{table}]\n\n{key} = {value}")
    assert (str(problem.where), problem.key) == ("b.toml:3", f"{table}.{key}")
    assert problem.message == "is already set at a.toml:4"


def test_a_fault_in_defaults_is_told_once_however_many_use_it() -> None:
    text = "[defaults]\nchdir = 'x'\nuser = 'nope'\n" + HEAD + HEAD.replace("x]", "y]")
    assert [problem.line for problem in problems_of(text)] == [2, 3]


def test_a_fault_in_defaults_that_nobody_uses_is_told() -> None:
    (problem,) = problems_of("[defaults]\nchdir = 'x'\n" + HEAD + "chdir = '/srv'")
    assert problem.key == "defaults.chdir"


def test_a_component_in_a_file_that_is_not_toml_is_not_called_unknown() -> None:
    (problem,) = problems_of(HEAD + "prerequisites = ['y']", "[component.y]\ncommand = = 'prog'")
    assert (problem.file, problem.line) == ("b.toml", 2)
    assert problem.message.startswith("is not valid TOML: invalid value")
