"""Run piesd as somebody who is held to limits: root is let off that of processes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

STRANGER = 54321
"""A user whom nobody is."""


def unprivileged(home: Path) -> tuple[str, ...]:
    """Return what makes piesd a user of no rights, to whom *home* belongs then; nothing if we are.

    Where there is nothing for that, the test is skipped.
    """
    if os.geteuid() != 0:
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("there is no setpriv to make piesd another user than root")
    os.chown(home, STRANGER, STRANGER)
    # Python may be where only root can read it.
    rights = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    return ("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", *rights)
