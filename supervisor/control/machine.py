"""The runlevel, and the environment of what an init process starts: asked for and changed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from supervisor.control.settle import GOING_DOWN
from supervisor.engine.initenv import COMPUTED, MOST_VARIABLES, environment
from supervisor.engine.modes import LEVELS, ON_DEMAND
from supervisor.model.errors import BadRequest, Forbidden, NotFound, ShuttingDown
from supervisor.model.events import SetRunlevel, SetVariable

if TYPE_CHECKING:
    from supervisor.control.identity import Caller
    from supervisor.engine.world import World
    from supervisor.runtime.runner import Runner

LONGEST = 4096
"""Bytes of a name and its value."""

LONGEST_PATIENCE = 86400
"""Seconds that what leaves a runlevel may be given: a day."""

_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


class Runlevel(Struct, frozen=True, kw_only=True):
    """Where the machine is. Source: pies.md section 4.5."""

    runlevel: str
    prevlevel: str
    """`N` if there was none."""
    bootstate: str
    initdefault: str


class NotInUse(NotFound):
    """What there is only where runlevels are used, or in an init process."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__("")
        self.args = (message,)
        self.hint = hint


class Machine:
    """Tells the runlevel and the environment of init, and changes them."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    @property
    def _world(self) -> World:
        return self._runner.engine.world

    def runlevel(self) -> Runlevel:
        """Return what the runlevel is.

        Raises:
            NotFound: there are no runlevels.
        """
        world = self._world
        if not world.runlevel:
            raise NotInUse(
                "cannot tell the runlevel: there is none",
                "'runlevel' in [daemon] would be one; an init process always has one.",
            )
        return Runlevel(
            runlevel=world.runlevel,
            prevlevel=world.previous_runlevel,
            bootstate=world.boot_state,
            initdefault=world.initdefault,
        )

    async def go_to(self, level: str, caller: Caller, patience: float | None = None) -> None:
        """Go over to *level*, or start what is on demand `a`, `b` or `c`; return when it has begun.

        Args:
            level: as people write it.
            caller: who asks.
            patience: seconds that what leaves may take; None for as long as each has configured.

        Raises:
            NotFound: there are no runlevels.
            BadRequest: there is no such runlevel.
            ShuttingDown
        """
        self.runlevel()
        plain = level.upper() if level in ("s", "S") else level.lower()
        if len(plain) != 1 or plain not in LEVELS + ON_DEMAND:
            error = BadRequest(f"cannot go to runlevel {level[:40]!r}: there is no such thing")
            error.hint = "It is one of 0 to 9 and S; a, b and c start what is on demand."
            raise error
        if patience is not None and not 0 <= patience <= LONGEST_PATIENCE:
            raise BadRequest(
                f"cannot give what leaves {patience:g} seconds: the timeout is a number of seconds "
                f"from 0 to {LONGEST_PATIENCE}"
            )
        if self._runner.engine.stage in GOING_DOWN:
            raise ShuttingDown("cannot change the runlevel: piesd is shutting down")
        now = self._runner.system.wall()
        self._runner.post(SetRunlevel(plain, caller.name, now, patience))
        await self._runner.handled()

    # --- the environment

    def environ(self) -> dict[str, str]:
        """Return the variables that everything started from now on gets.

        Raises:
            NotFound: piesd is no init process.
        """
        if not self._world.init:
            raise NotInUse(
                "cannot tell the environment of init: piesd is no init process here",
                "The environment of components is for 'env' in the configuration to say.",
            )
        return environment(self._world)

    def variable(self, name: str) -> str:
        """Return the value of a variable.

        Raises:
            NotFound: it is not set, or piesd is no init process.
        """
        environ = self.environ()
        if name not in environ:
            raise NotFound(name)
        return environ[name]

    async def set_variable(self, name: str, value: str) -> None:
        """Set a variable.

        Raises:
            BadRequest, Forbidden, NotFound
        """
        environ = self.environ()
        if not _NAME.fullmatch(name):
            error = BadRequest(f"cannot set {name[:40]!r}: that is no name of a variable")
            error.hint = "NAME=VALUE, and NAME has letters, digits and _."
            raise error
        _refuse_computed(name, "set")
        try:
            size = len(f"{name}={value}".encode())
        except UnicodeEncodeError:
            raise BadRequest(f"cannot set {name}: its value is not UTF-8") from None
        if "\0" in value or size > LONGEST:
            raise BadRequest(
                f"cannot set {name}: its value has a null character, or more than {LONGEST} bytes"
            )
        if name not in environ and len(environ) >= MOST_VARIABLES:
            raise BadRequest(f"cannot set {name}: there are {MOST_VARIABLES} variables already")
        self._runner.post(SetVariable(name, value))
        await self._runner.handled()

    async def unset_variable(self, name: str) -> None:
        """Remove a variable.

        Raises:
            Forbidden, NotFound
        """
        self.variable(name)
        _refuse_computed(name, "unset")
        self._runner.post(SetVariable(name))
        await self._runner.handled()


def _refuse_computed(name: str, verb: str) -> None:
    if name in COMPUTED:
        raise Forbidden(f"cannot {verb} {name}: it says what the runlevel is")
