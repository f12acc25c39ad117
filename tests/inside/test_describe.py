"""What people see: rows that are kept must be the rows that would be made anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, json
from msgspec.structs import fields

from histories import MACHINES, examples, one_step, plans
from simulation import Simulation
from supervisor.engine.describe import Describer, describe, rfc3339, signal_name
from supervisor.model.component import Component, InetAddress, Mode, Respawn
from supervisor.model.description import Description
from supervisor.model.state import Exit

WALL = 1_800_000_000.0


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(plan=plans(), data=st.data(), length=st.integers(5, 40))
def test_a_kept_row_is_the_row_that_would_be_made_anew(
    plan: list[Component], data: st.DataObject, length: int
) -> None:
    sim = Simulation(plan, **data.draw(MACHINES)).boot()
    describer = Describer(sim.engine.world)
    for _ in range(length):
        one_step(sim, data)
        for key in sim.engine.world.ordered():
            kept = describer.row(key, sim.now, WALL)
            assert kept == describe(sim.engine.world, key, sim.now, WALL)


def test_the_attributes_of_pies_come_under_their_names_and_only_where_they_apply() -> None:
    sim = Simulation([Component(tag="web", argv=("web", "-v"), command="web -v")]).boot().settle()
    row = json.decode(json.encode(describe(sim.engine.world, "web", sim.now, WALL)))
    pies = {name: row[name] for name in ("tag", "type", "mode", "status", "active", "PID", "argv")}
    assert pies == {
        "tag": "web",
        "type": "component",
        "mode": "respawn",
        "status": "running",
        "active": True,
        "PID": 101,
        "argv": ["web", "-v"],
    }
    assert not {"URL", "service", "master", "runlevels", "wakeup-time"} & row.keys()


def test_each_attribute_is_told_of_in_the_document_about_the_control_api() -> None:
    page = (Path(__file__).parents[2] / "docs" / "control-api.md").read_text()
    (paragraph,) = re.findall(r"^A row has the attributes of pies.*?\n\n", page, re.M | re.S)
    told = set(re.findall(r"[\w-]+", " ".join(re.findall(r"`([^`]+)`", paragraph))))
    assert {each.encode_name for each in fields(Description)} <= told


def test_a_sleeper_tells_the_seconds_until_its_next_try_and_the_date() -> None:
    web = Component(tag="web", argv=("web",), respawn=Respawn(max=1, sleep=300))
    sim = Simulation([web]).boot().settle()
    sim.exit(sim.child("web"), Exit(code=1, message="exited with 1"))
    row = describe(sim.engine.world, "web", sim.now + 10.4, WALL)
    assert (row.status, row.wakeup_time) == ("sleeping", 290)
    assert row.blocked_by is not None
    assert row.blocked_by.until == rfc3339(WALL + 289.6)


def test_a_listener_shows_its_address_and_its_connections_are_rows_with_its_tag() -> None:
    address = InetAddress(host="::1", port=79)
    echo = Component(tag="echo", argv=("cat",), mode=Mode.INETD, sockets=(address,))
    sim = Simulation([echo]).boot().settle()
    sim.connect("echo")
    sim.settle()
    listener, connection = (
        describe(sim.engine.world, key, sim.now, WALL) for key in sim.engine.world.ordered()
    )
    assert (listener.status, listener.url) == ("listener", "inet+tcp://[::1]:79")
    assert listener.connections == 1
    assert (connection.tag, connection.mode, connection.status) == ("echo", "inetd", "running")
    assert (connection.url, connection.peer) == (UNSET, "client")


def test_services_masters_and_runlevels_are_told_of_those_that_have_them() -> None:
    mux = Component(
        tag="mux",
        argv=(),
        mode=Mode.INETD,
        sockets=(InetAddress(host="::1", port=1),),
        internal=True,
        service="tcpmux",
        runlevels="35",
    )
    below = Component(
        tag="below", argv=("cat",), mode=Mode.INETD, service="copy", tcpmux_master="mux"
    )
    sim = Simulation([mux, below], runlevel="3").boot().settle()
    rows = [describe(sim.engine.world, tag, sim.now, WALL) for tag in ("mux", "below")]
    assert [(row.service, row.master, row.runlevels) for row in rows] == [
        ("tcpmux", UNSET, "35"),
        ("copy", "mux", UNSET),
    ]


def test_signals_without_a_name_are_written_as_pies_writes_them() -> None:
    assert (signal_name(15), signal_name(70)) == ("SIGTERM", "SIG+70")
