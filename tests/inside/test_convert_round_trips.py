"""What is printed as TOML or in pies' syntax reads back as the same configuration."""

from hypothesis import given

import models
from supervisor.config.convert.pies_out import print_pies
from supervisor.config.convert.toml_out import print_toml
from supervisor.model.errors import Problem


@given(models.configurations())
def test_a_configuration_means_the_same_in_toml_and_in_pies_syntax(root: models.Table) -> None:
    node = models.tree(root)
    problems: list[Problem] = []
    as_toml, as_pies = print_toml(node), print_pies(node, problems)
    ours = models.plan(as_toml, "toml")
    theirs = models.plan(as_pies, "pies")
    assert models.placeless(ours.components) == models.placeless(theirs.components)
    assert ours.daemon == theirs.daemon
    told = [problem for problem in problems if "m4" not in problem.message]
    assert told == []
