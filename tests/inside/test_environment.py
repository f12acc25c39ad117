"""The order in which an environment is made, and what each step does."""

from __future__ import annotations

import pytest

from supervisor.model.component import Environment, EnvStep
from supervisor.system.environment import BadStep, child_environment
from supervisor.system.users import Identity

BASE = {"PATH": "/bin", "LC_ALL": "C", "LC_TIME": "C", "HOME": "/root", "A": "1"}


def made(*steps: EnvStep, base: dict[str, str] | None = None) -> dict[str, str]:
    return child_environment(Environment(steps=steps), {} if base is None else base, None)


def test_each_step_sees_what_those_before_it_have_made() -> None:
    assert made(
        EnvStep("set", "X=1"),
        EnvStep("set", "X=${X}2"),
        EnvStep("eval", "${Y:=$X}"),
        EnvStep("set", "Z='$Y'$Y"),
        EnvStep("unset", "X"),
    ) == {"Y": "12", "Z": "$Y12"}


def test_clear_and_keep_come_first_and_steps_last() -> None:
    rules = Environment(
        keep=("LC_*", "A=2", "PATH=/bin"),
        unset=("LC_TIME",),
        set={"A": "3", "B": "$A"},
        files={"F": "/f"},
        steps=(EnvStep("set", "A=${A}$F"), EnvStep("unset", "LC_*")),
    )
    assert child_environment(rules, BASE, None, {"/f": "secret"}) == {
        "PATH": "/bin",
        "A": "3secret",
        "B": "$A",
        "F": "secret",
    }


def test_unset_takes_patterns_and_single_values() -> None:
    assert made(EnvStep("unset", "LC_*"), EnvStep("unset", "A=2"), base=BASE) == {
        "PATH": "/bin",
        "HOME": "/root",
        "A": "1",
    }
    assert "A" not in made(EnvStep("unset", "A=1"), base=BASE)


def test_append_and_prepend_are_literal_and_leave_the_joint_out_where_nothing_was() -> None:
    base = {"P": "/a"}
    assert made(
        EnvStep("append", "P=:$HOME"),
        EnvStep("prepend", "P=/0:"),
        EnvStep("append", "Q=:/b"),
        EnvStep("prepend", "R=/c:"),
        EnvStep("append", "S=x"),
        EnvStep("append", "T="),
        base=base,
    ) == {"P": "/0:/a:$HOME", "Q": "/b", "R": "/c", "S": "x", "T": ""}
    assert base == {"P": "/a"}


def test_the_user_comes_after_what_is_inherited_and_before_what_is_set() -> None:
    identity = Identity(5, 5, (5,), "web", "/srv", "/bin/sh", changed=True)
    rules = Environment(clear=True, set={"SHELL": "/mine"}, steps=(EnvStep("set", "X=$HOME/x"),))
    assert child_environment(rules, BASE, identity) == {
        "USER": "web",
        "LOGNAME": "web",
        "HOME": "/srv",
        "SHELL": "/mine",
        "X": "/srv/x",
    }


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (EnvStep("set", "X"), "env set: NAME=VALUE is wanted, and there is no '='"),
        (EnvStep("set", "X=${none:?give it}"), "env X: column 1: none: give it"),
        (EnvStep("eval", "'"), "env eval: column 1: this quote is never closed"),
    ],
)
def test_a_step_that_cannot_be_taken_says_which(step: EnvStep, message: str) -> None:
    with pytest.raises(BadStep) as caught:
        made(step)
    assert str(caught.value) == message
