"""The processes of components, found by what is in their environment and not by what piesd says."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from supervisor.system.proctable import InExec, every_process, read_variable


def ours(home: Path) -> dict[str, list[tuple[int, int]]]:
    """Return PID and start time of every live process of a component, by its marker.

    The environment of the components has CHAOS=*home*.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    for info in every_process():
        with suppress(OSError, InExec):
            if info.alive and read_variable(info.pid, b"CHAOS") == str(home).encode():
                marker = (read_variable(info.pid, b"PIESD_MARKER") or b"").decode()
                if marker:  # Else it has ended meanwhile.
                    found.setdefault(marker.rpartition(" ")[2], []).append((info.pid, info.started))
    return found


def key_of(marker: str) -> str:
    """Return the tag of the component with this marker; of a connection that of its listener."""
    return marker.split("/")[2].partition("%23")[0]


def doubles(home: Path) -> dict[str, set[str]]:
    """Return the generations of those components of which more than one lives."""
    generations: dict[str, set[str]] = {}
    for marker in ours(home):
        _, _, key, generation = marker.split("/")
        if "%23" not in key:  # Connections are as many as there are clients.
            generations.setdefault(key, set()).add(generation)
    return {key: each for key, each in generations.items() if len(each) > 1}
