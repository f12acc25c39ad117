"""Whether the configuration on disk is still the one that was read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.engine.plan import Plan

Signature = tuple[object, ...] | None
"""What tells one version of a file from another without reading it; None: it is not there."""

Signatures = Mapping[str, Signature]


def plan_files(plan: Plan) -> tuple[str, ...]:
    """Return every file and directory that *plan* is known to come from."""
    given = [source.file for source in plan.files]
    return tuple(dict.fromkeys([*given, *(each.source.file for each in plan.components)]))


def sign(files: Iterable[str]) -> dict[str, Signature]:
    """Return what *files* look like now. May block: call it in a worker thread."""
    return {file: _sign(file) for file in files if file}


def drifted(before: Signatures) -> tuple[str, ...]:
    """Return which of the files do not look as *before*. May block: call it in a worker thread."""
    return tuple(file for file, old in before.items() if _sign(file) != old)


def _sign(file: str) -> Signature:
    try:
        if not os.path.isdir(file):
            return _stat(os.stat(file))
        with os.scandir(file) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
        return tuple(sorted((entry.name, _stat(entry.stat())) for entry in visible))
    except OSError:
        return None


def _stat(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
