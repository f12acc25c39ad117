"""Execute a piesd in the place of this one: the same process, the same words, the same PID."""

from __future__ import annotations

import os
import sys
from typing import Final

import msgspec

from supervisor.system import firstprocess, handover
from supervisor.system.handover import Handover
from supervisor.system.process_setup import ProcessSetup, restore_nofile

EX_UNAVAILABLE: Final = 69
"""The exit code when piesd cannot start for another reason."""

PATIENCE: Final = 30.0
"""Seconds that the new program has to be ready, and that its rehearsal may take."""


def own_command(*, resolved: bool = False) -> list[str]:
    """Return the words that execute this program again.

    Args:
        resolved: this very version, also if a link by which we were called leads elsewhere now.
    """
    words = [word for word in sys.orig_argv if word != "--daemon"]
    program = sys.executable
    if resolved:
        # The interpreter of a virtual environment is a link itself, and must be called by it.
        program = os.path.join(
            os.path.realpath(os.path.dirname(sys.executable)), os.path.basename(sys.executable)
        )
    return [program, *words[1:]]


def execute_again(environment: dict[str, str], setup: ProcessSetup) -> int:
    """Replace this process by a new piesd: the same PID, the same arguments.

    Returns the exit code if that cannot be done.
    """
    restore_nofile(setup)
    words = own_command()
    if os.getpid() == 1 and (fault := firstprocess.try_out([*words, "--version"], environment)):
        # Once it is executed there is no way back, and its end would be that of everything.
        firstprocess.say(f"cannot execute the new piesd: it does not work: {fault}")
        return EX_UNAVAILABLE
    try:
        os.execve(words[0], words, environment)
    except OSError as error:
        print(f"piesd: cannot execute {words[0]} again: {error.strerror}", file=sys.stderr)
    return EX_UNAVAILABLE


def hand_over(environment: dict[str, str], setup: ProcessSetup, given: Handover) -> Handover:
    """Replace this process by the piesd that is on disk now, and let it go on from *given*.

    Returns with what to go on from ourselves, if that cannot be done.
    """
    restore_nofile(setup)
    try:
        handover.execute(own_command(), environment, given, PATIENCE)
    except OSError as error:
        why = f"cannot execute {sys.executable} again: {error.strerror}"
        return msgspec.structs.replace(given, back=why)
    raise AssertionError("execve has returned")
