"""A process that hangs at its end is ended all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

HANGS = """
import select
from supervisor.system.lastresort import exit_anyway
call_off = exit_anyway({seconds}, 7, lambda: print("clean", flush=True))
{then}
"""


def run(seconds: float, then: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HANGS.format(seconds=seconds, then=then)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parent.parent.parent,
    )


def test_what_hangs_is_ended_with_its_code_after_cleaning_up() -> None:
    ended = run(0.05, "select.select([], [], [])")
    assert (ended.returncode, ended.stdout) == (7, "clean\n")


def test_what_ends_by_itself_is_left_alone() -> None:
    ended = run(600, "call_off()")
    assert (ended.returncode, ended.stdout) == (0, "")
