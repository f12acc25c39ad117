"""A wrong file of many different faults gives that many problems, each at its line, in one run."""

from __future__ import annotations

import pytest

from pies_text import found_in, plan_of
from supervisor.config.pies.faults import MOST, MOST_IN_ALL
from supervisor.model.errors import ConfigRejected

FAULTY = r"""
# The end of a line names the fault that it has.
component one {
    mode respwan;                       #! must be one of
    command "/bin/prog one";
    program prog;                       #! must be a full path
    user nobody-at-all;                 #! there is no user
    umask 999;                          #! octal
    limits N64 X3;                      #! X
}
component two {
    mode respawn                        #! a ';' is missing
    command "/bin/prog two;             #! is not closed
    prerequisites (one, three;          #! ')' is missing
    max-instances several;              #! must be a number, not 'several'
    flags (shell precious);             #! ',' is missing
    allgroups perhaps;                  #! must be yes or no
    chdir = /srv;                       #! '=' means nothing here
    comand "/bin/prog";                 #! did you mean 'command'?
    stderr sylog daemon.err;            #! did you mean 'syslog'?
    stdout syslog daemon.wrong;         #! wrong
    expandenv yes;                      #! it is a flag, as flags (expandenv)
}
component three {                       #! the block of
    command "/bin/prog three";
    prerequisites (four);               #! there is no component 'four'
    env { sett "A=b"; }                 #! did you mean 'set'?
    return-code EX_CONFG { action disable; }    #! EX_CONFG
    return-code 7 { action stop; }      #! stop
component five {
    socket inet://127.0.0.1:70;         #! mode
    command /bin/prog;
    list-acl nowhere;                   #! nowhere
}
component six { flags shel; command /bin/prog; }                        #! did you mean 'shell'?
component seven { chdir /srv; }         #! 'command' is missing
componet eight { command /bin/prog; }   #! did you mean 'component'?
12 monkeys;                             #! begins with a keyword
control { socket foo://bar; }           #! foo
defacl local { permit all; }            #! unknown statement
defacl far { allow from 300.0.0.1; }    #! 300.0.0.1
identity-provider pam { type pamm; }    #! pamm
syslog { facility local9; }             #! local9
shutdown-timeout;                       #! needs a value
}                                       #! closes nothing
#error "that was all"                   #! that was all
"""


def test_every_fault_of_a_file_is_told_once_at_its_line() -> None:
    expected = [
        (number, line.partition("#! ")[2].strip())
        for number, line in enumerate(FAULTY.splitlines(), start=1)
        if "#! " in line
    ]
    assert len(expected) > 30
    with pytest.raises(ConfigRejected) as caught:
        plan_of(FAULTY)
    told = [problem for problem in caught.value.problems if not problem.warning]
    # A brace that is missing is noticed where the next component begins.
    moved = {24: 30}
    lines = sorted(moved.get(line, line) for line, _ in expected)
    assert [problem.line for problem in told] == lines, "\n".join(map(str, told))
    for line, said in expected:
        here = [str(problem) for problem in told if problem.line == moved.get(line, line)]
        assert any(said in message for message in here), (line, said, here)


def test_a_fault_hides_no_other_component() -> None:
    with pytest.raises(ConfigRejected) as caught:
        plan_of("component a {\n command 'x';\n}\ncomponent b {\n command /bin/prog; user nix;\n}")
    assert [problem.line for problem in caught.value.problems if not problem.warning] == [2, 5]


@pytest.mark.parametrize(
    "statement", ["command;", 'command "a" "b" c;', "command (a, b);", "command { }"]
)
def test_a_command_that_is_wrong_is_not_missing_as_well(statement: str) -> None:
    with pytest.raises(ConfigRejected) as caught:
        plan_of(f"component a {{\n {statement}\n}}")
    (problem,) = caught.value.problems
    assert problem.line == 2
    assert "'command' is missing" not in problem.message


def test_a_file_with_too_many_faults_is_given_up() -> None:
    found = found_in("1;\n" * 5000)
    assert len(found) == MOST + 1
    assert "the rest is not read" in found[-1][1]


@pytest.mark.slow
def test_a_file_with_too_many_unknown_words_is_given_up() -> None:
    found = found_in("".join(f"unknown{number};\n" for number in range(5000)))
    assert len(found) == MOST_IN_ALL + 1
    assert "the rest is not looked at" in found[-1][1]


def test_any_number_of_warnings_refuses_nothing() -> None:
    found = found_in("debug 1;\n" * (MOST_IN_ALL + 10))
    assert len(found) == MOST_IN_ALL + 10
    assert all("has no effect" in what for _, what in found)


def test_components_behind_the_point_where_reading_ends_are_not_said_to_be_missing() -> None:
    text = 'component a { command /bin/prog; prerequisites late; }\n#abend "stop"\n'
    with pytest.raises(ConfigRejected) as caught:
        plan_of(
            "component first { command /bin/prog; prerequisites late; }",
            text + "component late { }",
        )
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.message) == ("b.conf", 2, "stop")


def test_the_forced_diagnostics_warn_refuse_or_end_the_reading() -> None:
    text = '#warning "w"\n#error "e"\nmode x;\n#abend "a"\nmode y;\n'
    found = found_in(text)
    assert [line for line, _ in found] == [1, 2, 4]
    assert found[0][1] == "#warning: w"
    found = found_in('#warning "w"\n  #error "e\\t\\"x\\""  # why\nmode x;\n')
    assert [line for line, _ in found] == [1, 2, 3]
    assert found[1][1] == '#error: e\t"x"'


@pytest.mark.parametrize(
    "comment",
    ["# error log of the day", "# include what is needed", "#includes", 'x; #error "x"', "#errors"],
)
def test_a_comment_that_begins_like_a_directive_is_a_comment(comment: str) -> None:
    text = f"umask 022;\n{comment.replace('x;', 'umask 022;')}\n"
    assert not found_in(text)


def test_a_directive_without_its_quotes_is_a_comment_with_a_warning() -> None:
    ((line, what),) = found_in("\n#error something\n")
    assert line == 2
    assert "in double quotes" in what
