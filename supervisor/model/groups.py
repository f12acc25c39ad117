"""What is known of the control group of a component."""

from __future__ import annotations

from msgspec import Struct


class Pressure(Struct, frozen=True):
    """The share of time, in percent over ten seconds, in which some process had to wait."""

    cpu: float | None = None
    io: float | None = None
    memory: float | None = None


class GroupFigures(Struct, frozen=True):
    """What the kernel counts for a group. `memory`: bytes, caches of files too; None if unknown."""

    memory: int | None
    pressure: Pressure


class Enclosure(Struct, frozen=True):
    """What keeps the processes of a child together, and why limits of its group do not hold."""

    means: str
    lack: str = ""
