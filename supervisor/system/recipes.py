"""Remember what all starts of one component have in common: it starts for each connection anew."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from supervisor.model.component import Component
from supervisor.system.environment import BadStep, child_environment
from supervisor.system.program import CannotSpawn, Program, make_program
from supervisor.system.users import Identity

MOST = 16
"""Components whose starts are remembered."""


class _Recipe(Struct, frozen=True, kw_only=True):
    """`names` are the variables of `program`, which is without those of a single start.

    It holds `spec`, so that no other one has its number.
    """

    spec: Component
    identity: Identity | None
    names: frozenset[str]
    program: Program
    places: list[bytes]


class Recipes:
    """Makes programs of components.

    Args:
        environ: the variables that all rules begin with.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._known: dict[int, _Recipe] = {}

    def program(
        self,
        spec: Component,
        identity: Identity | None,
        contents: Mapping[str, str],
        own: Mapping[str, str],
        *,
        often: bool = True,
    ) -> tuple[Program, list[bytes]]:
        """Return what a start executes, and the full paths that it touches.

        Args:
            contents: the contents of the files that the rules of *spec* name.
            own: the variables of this start alone, which win.
            often: more starts of the same *spec* are to be expected soon.

        Raises:
            CannotSpawn: it is nothing that can be executed, or a rule cannot be applied.
        """
        recipe = self._known.get(id(spec))
        if recipe is not None and recipe.identity is identity and recipe.names.isdisjoint(own):
            env = [os.fsencode(f"{name}={value}") for name, value in own.items()]
            if not any(b"\0" in entry for entry in env):
                return replace(recipe.program, env=recipe.program.env + env), recipe.places
        environ = self._variables(spec, identity, contents)
        program = make_program(spec, {**environ, **own}, identity)
        places = program.places()
        # What files say, and what a command is expanded to, may be another thing next time.
        if often and not contents and not spec.expandenv:
            self._remember(spec, identity, environ, places)
        return program, places

    def _variables(
        self, spec: Component, identity: Identity | None, contents: Mapping[str, str]
    ) -> dict[str, str]:
        """Return the variables of all starts: by the rules for all, then by its own.

        Raises:
            CannotSpawn: a rule cannot be applied.
        """
        try:
            base = child_environment(spec.env_base, self._environ, None, contents)
            return child_environment(spec.env, base, identity, contents)
        except BadStep as error:
            raise CannotSpawn("env", errno.EINVAL, str(error)) from None

    def _remember(
        self,
        spec: Component,
        identity: Identity | None,
        environ: dict[str, str],
        places: list[bytes],
    ) -> None:
        while len(self._known) >= MOST:
            del self._known[next(iter(self._known))]
        self._known[id(spec)] = _Recipe(
            spec=spec,
            identity=identity,
            # PATH is not only for the program: it is looked for there.
            names=frozenset(environ) | {"PATH"},
            program=make_program(spec, environ, identity),
            places=places,
        )
