"""What is printed as TOML or in pies' syntax reads back as the same configuration."""

import pytest
from hypothesis import Phase, given, settings

import models
from supervisor.config import keys, toml
from supervisor.config.convert.carry import words
from supervisor.config.convert.pies_out import print_pies
from supervisor.config.convert.toml_out import print_toml
from supervisor.config.nodes import plain
from supervisor.config.tables import Node
from supervisor.model.errors import Problem


@given(models.configurations())
def test_a_configuration_means_the_same_in_toml_and_in_pies_syntax(root: models.Table) -> None:
    node = models.tree(root)
    problems: list[Problem] = []
    again = toml.read(print_toml(node), "a", problems)
    assert again is not None
    assert plain(again) == plain(node)
    as_toml, as_pies = print_toml(node), print_pies(node, problems)
    ours = models.plan(as_toml, "toml")
    theirs = models.plan(as_pies, "pies")
    assert models.placeless(ours.components) == models.placeless(theirs.components)
    assert ours.daemon == theirs.daemon
    assert ours.control == theirs.control
    told = [problem for problem in problems if "m4" not in problem.message]
    assert told == []


_NOT_PIES = words(
    """
    cpu-affinity description enabled essential health labels no-new-privileges oom-score-adj ready
    required respawn socket-type start-condition stop-signal stop-timeout
    backlog idle-stop idle-timeout listen-fds on-demand proxy-protocol socket-names
    tcpmux tcpmux-master tcpmuxplus runlevel
    anonymous identity-provider tls from smtp
    include instance log log-directory log-format log-level runtime-directory
    cgroup cgroups max-starting pipe-size utmp watchdog
    """
)
"""The keys that pies' syntax has nothing for, or only what random tables cannot vary."""


@pytest.mark.slow
def test_every_key_that_pies_has_too_is_among_the_random_ones() -> None:
    drawn: set[str] = set()

    @settings(max_examples=200, database=None, derandomize=True, phases=[Phase.generate])
    @given(models.configurations())
    def look(root: models.Table) -> None:
        for name in ("daemon", "control", "syslog", "mail"):
            drawn.update(models.tree(root).table.get(name, Node("", 0, "", {})).table)
        for component in models.tree(root).table["component"].table.values():
            drawn.update(component.table)

    look()
    known = (
        *(keys.COMPONENT_KEYS, keys.DAEMON_KEYS, keys.CONTROL_KEYS),
        *(keys.SYSLOG_KEYS, keys.MAIL_KEYS),
    )
    every = {key.name for each in known for key in each.keys}
    assert every - drawn <= set(_NOT_PIES)
