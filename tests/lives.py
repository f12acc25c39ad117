"""The processes of components as the kernel shows them, found by their markers."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from supervisor.system.proctable import InExec, every_process, is_same, read_variable

VARIABLE = b"CHAOS"
"""What everything has in its environment that is started for a test: the test's directory."""


class Sighting(NamedTuple):
    """A live process, and whose child or further descendant it is."""

    key: str
    generation: int
    pid: int
    started: int

    @property
    def serves(self) -> bool:
        """Whether it serves a connection: of these there are as many as there are clients."""
        return "#" in self.key

    @property
    def tag(self) -> str:
        return self.key.partition("#")[0]


def owner_of(marker: bytes) -> tuple[str, int]:
    """Return whose marker that is: the key and the generation."""
    _, _, key, generation = marker.decode().rpartition(" ")[2].split("/")
    return unquote(key), int(generation)


def sightings(home: Path) -> list[Sighting]:
    """Return every live process of a component of the test in *home*."""
    found = []
    for info in every_process():
        with suppress(OSError, InExec):
            if info.alive and read_variable(info.pid, VARIABLE) == str(home).encode():
                marker = read_variable(info.pid, b"PIESD_MARKER")
                if marker:  # Else it has ended meanwhile.
                    found.append(Sighting(*owner_of(marker), info.pid, info.started))
    return sorted(found)


def doubles(seen: Iterable[Sighting]) -> dict[str, list[Sighting]]:
    """Return the components of which processes of two generations live at once.

    Looking takes a while, so the older ones are looked at again: who lives now has lived together
    with the one that was seen before.
    """
    by_key: dict[str, list[Sighting]] = {}
    for one in seen:
        if not one.serves:
            by_key.setdefault(one.key, []).append(one)
    found = {}
    for key, processes in by_key.items():
        latest = max(one.generation for one in processes)
        older = [one for one in processes if one.generation < latest]
        if older and any(is_same(one.pid, one.started) for one in older):
            found[key] = processes
    return found
