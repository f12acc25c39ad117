"""What the tests from outside share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from places import public_directory


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that other users may enter."""
    with public_directory() as path:
        yield path
