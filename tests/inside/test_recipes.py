"""What is remembered of a component's starts, and what each start has for itself."""

from __future__ import annotations

import pytest

from supervisor.model.component import Component, Environment
from supervisor.system.program import CannotSpawn
from supervisor.system.recipes import MOST, Recipes
from supervisor.system.users import Identity

BASE = {"HOME": "/", "PATH": "/bin"}


def component(**fields: object) -> Component:
    return Component(tag="web", **{"argv": ("/bin/web", "-x"), **fields})  # type: ignore[arg-type]


def environment(recipes: Recipes, spec: Component, **own: str) -> list[bytes]:
    return sorted(recipes.program(spec, None, {}, own)[0].env)


def test_each_start_has_its_own_variables_and_none_of_another() -> None:
    recipes, spec = Recipes(BASE), component()
    assert environment(recipes, spec, M="1", A="x") == [b"A=x", b"HOME=/", b"M=1", b"PATH=/bin"]
    assert environment(recipes, spec, M="2") == [b"HOME=/", b"M=2", b"PATH=/bin"]
    assert environment(recipes, spec, M="3") == [b"HOME=/", b"M=3", b"PATH=/bin"]


def test_what_a_start_has_for_itself_wins_over_the_rules() -> None:
    recipes, spec = Recipes(BASE), component(env=Environment(set={"M": "rule"}))
    for value in ("1", "2"):
        assert environment(recipes, spec, M=value) == [
            b"HOME=/",
            b"M=" + value.encode(),
            b"PATH=/bin",
        ]


def test_a_program_is_looked_for_in_the_path_of_that_start() -> None:
    recipes, spec = Recipes({}), component(argv=("web",))
    for place in ("/a", "/b"):
        program, places = recipes.program(spec, None, {}, {"PATH": place})
        assert program.candidates == (f"{place}/web".encode(),)
        assert places[1:] == [f"{place}/web".encode()]


def test_another_user_or_another_configuration_is_another_recipe() -> None:
    recipes, spec = Recipes(BASE), component()
    somebody = Identity(uid=7, gid=7, groups=(), name="who", home="/who", shell="/sh", changed=True)
    for identity in (None, somebody, None):
        program, _ = recipes.program(spec, identity, {}, {})
        assert (b"USER=who" in program.env, program.identity) == (identity is not None, identity)
    assert recipes.program(component(argv=("/bin/new",)), None, {}, {})[0].argv == [b"/bin/new"]


def test_files_are_read_and_commands_expanded_for_each_start() -> None:
    recipes, spec = Recipes(BASE), component(env=Environment(files={"KEY": "/key"}))
    for content in ("one", "two"):
        program, _ = recipes.program(spec, None, {"/key": content}, {})
        assert f"KEY={content}".encode() in program.env
    spec = component(argv=("/bin/web", "$M"), command="/bin/web $M", expandenv=True)
    for value in ("1", "2"):
        assert recipes.program(spec, None, {}, {"M": value})[0].argv[1:] == [value.encode()]


def test_a_zero_byte_is_refused_at_each_start() -> None:
    recipes, spec = Recipes(BASE), component()
    environment(recipes, spec, M="1")
    with pytest.raises(CannotSpawn):
        environment(recipes, spec, M="\0")


def test_only_the_latest_are_remembered() -> None:
    recipes = Recipes(BASE)
    specs = [component() for _ in range(MOST + 1)]
    for spec in specs:
        environment(recipes, spec)
    assert len(recipes._known) == MOST
    assert environment(recipes, specs[0]) == [b"HOME=/", b"PATH=/bin"]
