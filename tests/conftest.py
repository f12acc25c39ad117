"""Settings that all tests share."""

import os

import pytest
from hypothesis import HealthCheck, settings

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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow ones out of `make quick`."""
    slow = [item for item in items if QUICK and item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
