"""The views of who needs whom, and pies' own table."""

from __future__ import annotations

import datetime as dt

import pytest

from supervisor.cli.dependencies import (
    graph_of,
    matrix,
    shutdown_sequence,
    trace_dependents,
    trace_prerequisites,
)
from supervisor.cli.pieslist import flags, lines
from supervisor.model.component import Component, Mode

WEB = (
    Component(tag="db", argv=("db",)),
    Component(tag="cache", argv=("cache",)),
    Component(tag="app", argv=("app",), prerequisites=("db", "cache")),
    Component(tag="front", argv=("front",), prerequisites=("app",)),
    Component(tag="bye", argv=("bye",), mode=Mode.SHUTDOWN),
)


def test_the_map_shows_direct_and_indirect_prerequisites() -> None:
    assert list(matrix(graph_of(WEB))) == [
        "Dependency map:",
        "  0 1 2 3 4",
        "0 . . . . .",
        "1 . . . . .",
        "2 X X . . .",
        "3 x x X . .",
        "4 . . . . .",
        "",
        "Legend:",
        "0: db",
        "1: cache",
        "2: app",
        "3: front",
        "4: bye",
    ]


def test_a_trace_names_what_is_needed_and_what_needs() -> None:
    graph = graph_of(WEB)
    assert list(trace_prerequisites(graph, ["front", "db"])) == ["front: app db cache", "db: -"]
    assert list(trace_dependents(graph, ["db"])) == ["db: app front"]
    assert len(list(trace_prerequisites(graph, []))) == len(WEB)


def test_the_shutdown_sequence_has_dependents_first_and_shutdown_components_last() -> None:
    assert list(shutdown_sequence(WEB)) == [
        "0: front",
        "1: app",
        "2: db cache",
        "3: bye (started then)",
    ]


def test_a_long_chain_goes_down_step_by_step_beside_a_short_one() -> None:
    chain = [
        Component(tag=f"c{n}", argv=("x",), prerequisites=(f"c{n - 1}",) if n else ())
        for n in range(3)
    ]
    short = Component(tag="short", argv=("x",), prerequisites=("c0",))
    assert list(shutdown_sequence([*chain, short])) == ["0: c2 short", "1: c1", "2: c0"]


def test_the_table_of_pies_has_its_flags_and_columns() -> None:
    rows = [
        {"tag": "pmult", "type": "component", "mode": "respawn", "status": "running"}
        | {"active": True, "PID": 4678, "command": "/usr/local/sbin/pmult"},
        {"tag": "finger", "mode": "inetd", "status": "listener", "active": True}
        | {"URL": "inet+tcp://0.0.0.0:79", "command": "in.fingerd -u"},
        {"tag": "bad", "mode": "respawn", "status": "sleeping", "active": True}
        | {"wakeup-time": 90, "command": "false"},
        {"tag": "off", "mode": "once", "status": "stopped", "active": False, "command": "x"},
        {"tag": "gone", "mode": "once", "status": "stopped", "active": False, "command": "x"}
        | {"wish": {"action": "stop", "by": "me"}},
        {"tag": "pmult", "type": "command", "mode": "once", "status": "running"}
        | {"active": True, "PID": 9, "argv": ["save", "core"]},
    ]
    assert list(lines(rows, dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC))) == [
        "pmult  CR 4678 /usr/local/sbin/pmult",
        "finger IL inet+tcp://0.0.0.0:79 in.fingerd -u",
        "bad    Cs N/A 03:05:35 false",
        "off    c- N/A x",
        "gone   cT N/A x",
        "pmult  E  9 save core",
    ]


@pytest.mark.parametrize(
    ("mode", "letter"),
    [
        *(("ctrlaltdel", "3"), ("accept", "A"), ("boot", "B"), ("respawn", "C"), ("once", "c")),
        *(("ondemand", "D"), ("powerfail", "F"), ("powerwait", "f"), ("inetd", "I")),
        *(("sysinit", "i"), ("kbrequest", "k"), ("powerfailnow", "n"), ("powerokwait", "o")),
        *(("pass-fd", "P"), ("wait", "W"), ("bootwait", "w")),
    ],
)
def test_each_mode_has_the_letter_that_it_has_in_pies(mode: str, letter: str) -> None:
    assert flags({"mode": mode, "status": "running"}) == f"{letter}R"


def test_no_mode_is_without_a_letter_and_no_letter_is_for_two() -> None:
    letters = [flags({"mode": mode.value, "status": "running"})[0] for mode in Mode]
    assert "?" not in letters
    assert len(set(letters)) == len(Mode)
