"""Settings that all tests share."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import seated
from piesd_process import heir

# CI must give the same verdict for the same commit, so it draws the same examples each time and
# does not judge speed. A developer draws new ones each time and gets the shortest failing one kept.
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("dev", deadline=None)
# `make quick` is for every minute: a few examples of everything, and nothing that takes seconds.
settings.register_profile("quick", deadline=None, max_examples=10)
QUICK = bool(os.environ.get("QUICK"))
if QUICK:
    settings.load_profile("quick")
else:
    settings.load_profile("ci" if os.environ.get("CI") else "dev")

MOST_WORKERS = 4
"""Each worker imports and collects everything, so that many more would not pay."""


def pytest_configure(config: pytest.Config) -> None:
    """In a worker: keep what sits on the low descriptors from the children of tests."""
    if hasattr(config, "workerinput"):
        for number in range(seated.FIRST, seated.LAST + 1):
            os.set_inheritable(number, False)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Say how many workers `-n auto` has: two for each processor, as half of the time is waited."""
    return min(2 * len(os.sched_getaffinity(0)), MOST_WORKERS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Start the workers so that the children of tests do not get in the way of their pipes."""
    for spec in specs:
        spec.python = shlex.join([sys.executable, str(Path(seated.__file__).resolve())])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow ones out of `make quick`."""
    slow = [item for item in items if QUICK and item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """End whatever a piesd leaves behind that a test kills."""
    with heir():
        yield
