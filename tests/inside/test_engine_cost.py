"""What must not grow with the square of how many there are: calls are counted, not seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from msgspec.structs import replace

from simulation import Simulation
from supervisor.engine.admission import refusal
from supervisor.model.access import Subject
from supervisor.model.component import Component, InetAddress, Mode
from supervisor.model.events import Accepted, Apply

FEW, MANY = 50, 200
"""Four times as many may cost little more than four times as much, and not sixteen."""


def listeners(prefix: str, count: int, first_port: int = 1000) -> tuple[Component, ...]:
    return tuple(
        Component(
            tag=f"{prefix}{number}",
            argv=("cat",),
            mode=Mode.INETD,
            sockets=(InetAddress(host="127.0.0.1", port=first_port + number),),
        )
        for number in range(count)
    )


def running(count: int) -> Simulation:
    return Simulation(listeners("old", count)).boot().settle()


def calls(job: Callable[[], object]) -> int:
    """Return how many functions, of Python and of C, are called by *job*."""
    count = 0

    def count_up(_frame: FrameType, event: str, _arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count_up)
    try:
        job()
    finally:
        sys.setprofile(before)
    return count


@pytest.fixture(params=["removed", "added", "renamed", "moved"])
def reload(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """What a reload that concerns so many listeners costs the engine."""

    def cost(count: int) -> int:
        sim = running(0 if request.param == "added" else count)
        after = {
            "removed": (),
            "added": listeners("new", count),
            "renamed": listeners("new", count),
            "moved": listeners("old", count, first_port=30_000),
        }[request.param]
        return calls(lambda: sim.engine.handle(Apply(after, 5.0), sim.now))

    return cost


def test_a_reload_of_many_listeners_costs_what_each_of_them_costs(
    reload: Callable[[int], int],
) -> None:
    assert reload(MANY) < 6 * reload(FEW)


def test_a_client_more_is_no_dearer_where_many_are_served() -> None:
    (one,) = listeners("old", 1)
    sim = Simulation([replace(one, max_ip_connections=10_000)]).boot().settle()
    who = Subject(address="10.0.0.1")

    def cost() -> int:
        return calls(lambda: refusal(sim.engine.world, one.tag, who))

    alone = cost()
    for number in range(1, MANY + 1):
        sim.engine.handle(Accepted(one.tag, number, "10.0.0.1:1", 0.0, who), sim.now)
    assert len(sim.engine.world.connections[one.tag]) == MANY
    assert cost() == alone
