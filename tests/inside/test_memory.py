"""Whoever goes on from what was kept is in the same place as the one who kept it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import MACHINES, examples, one_step, plans
from simulation import Simulation
from supervisor.engine.engine import Engine
from supervisor.engine.world import World
from supervisor.model.component import Component, Environment
from supervisor.model.events import Happened, Spawned
from supervisor.runtime.ledger import FORMAT, Head, Ledger, Unusable, read, translated
from supervisor.system.ledgerfile import LedgerFile, read_records

HEAD = Head(version="1", life="life", system="here", shift=0.0)

NOT_KEPT = {
    "_servers",  # Computed when asked for.
    "_deadlines",  # A heap, with deadlines that are void.
    "changed",
    "dirty",  # Everything is looked at once.
    "heirs",  # Of clients whose connections are gone.
    "untried_mails",  # What was to be sent is on disk.
    "init",  # The caller says so.
    "environ",
}


class File(LedgerFile):
    """One in memory."""

    def __init__(self) -> None:
        super().__init__("/nowhere")
        self.records: list[bytes] = []

    def begin(self, records: object) -> None:
        self.records = list(records)  # type: ignore[call-overload]

    def append(self, record: bytes) -> None:
        self.records.append(record)


def known(world: World) -> dict[str, Any]:
    facts: dict[str, Any] = {
        name: value for name, value in vars(world).items() if name not in NOT_KEPT
    }
    for name in ("live_dependents", "live_instances"):
        facts[name] = {key: count for key, count in facts[name].items() if count}
    facts["graph"] = world.graph.depth
    facts["slots"] = world.slots.most, set(world.slots.taken)
    # The order of the configuration comes with the configuration.
    for name in ("startup", "waited"):
        facts[name] = set(facts[name])
    # What was forgotten may stand there until the next reload.
    for name in ("siblings", "claims"):
        present = {key: set(tags) & world.states.keys() for key, tags in facts[name].items()}
        facts[name] = {key: tags for key, tags in present.items() if tags}
    return facts


@settings(max_examples=examples(60))
@given(plan=plans(), data=st.data(), length=st.integers(1, 30))
def test_after_any_history_another_engine_is_in_the_same_place(
    plan: list[Component], data: st.DataObject, length: int
) -> None:
    sim = Simulation(plan, **data.draw(MACHINES))
    file = File()
    ledger = Ledger(file, sim.engine, HEAD, lambda: sim.now)
    ledger.begin()

    def write() -> None:
        ledger.observe(sim.engine.changed)

    sim.after = write
    sim.boot()
    for _ in range(length):
        one_step(sim, data)
    kept = read(file.records, "here")
    assert kept is not None
    before, other = sim.engine.world, Engine()
    other.recall(kept.memory, sim.now)
    other.world.stage = before.stage  # A shutdown is not gone on with.
    other.world.rebuild()
    mine, theirs = known(before), known(other.world)
    for name in mine:
        assert theirs[name] == mine[name], name
    assert other.general() == sim.engine.general()
    live = {key for key, state in before.states.items() if state.live and not state.listener}
    assert kept.born.keys() == live
    assert other.next_deadline() == before.deadline()


def test_times_are_those_of_another_clock() -> None:
    sim = Simulation([Component(tag="a", argv=("a",))]).boot().settle()
    later = translated(sim.engine.memory(), 100.0).memos[0].state
    now = sim.engine.world.states["a"]
    assert (later.born, later.since) == (now.born + 100, now.since + 100)
    assert later.starts == tuple(start + 100 for start in now.starts)
    assert later.deadline is None


def test_names_that_are_no_unicode_are_kept() -> None:
    odd = Component(tag="a", argv=("b\udcff", "é"), env=Environment(set={"\udc80": "x"}))
    sim = Simulation([odd]).boot().settle()
    file = File()
    Ledger(file, sim.engine, HEAD, lambda: 0.0).begin()
    kept = read(file.records, "here")
    assert kept is not None
    assert kept.memory.memos[0].spec == odd


def test_what_another_boot_has_written_says_nothing() -> None:
    file, sim = File(), Simulation([])
    Ledger(file, sim.engine, HEAD, lambda: 0.0).begin()
    assert read(file.records, "elsewhere") is None
    assert read([], "here") is None


def test_a_format_that_is_not_known_is_refused_and_so_is_nonsense() -> None:
    file, sim = File(), Simulation([])
    other = Head(format=FORMAT + 1, version="2", life="life", system="here", shift=0.0)
    Ledger(file, sim.engine, other, lambda: 0.0).begin()
    with pytest.raises(Unusable, match=f"format {FORMAT + 1}"):
        read(file.records, "here")
    for nonsense in (b"\x00", b"\xc1\x00", b"\x91\x81\xa4type\xa1x"):
        with pytest.raises(Unusable):
            read([nonsense], "here")


# --- the file


def test_a_record_that_was_cut_short_ends_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    file = LedgerFile(str(path))
    file.begin([b"one"])
    file.append(b"two" * 1000)
    whole = path.read_bytes()
    for cut in (len(whole) - 1, len(whole) - 2999, len(whole) - 3003):
        path.write_bytes(whole[:cut])
        assert read_records(str(path)) == [b"one"]
    path.write_bytes(whole[:-1] + b"X")
    assert read_records(str(path)) == [b"one"]
    path.write_bytes(whole)
    assert read_records(str(path)) == [b"one", b"two" * 1000]


def test_a_beginning_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    file = LedgerFile(str(tmp_path / "ledger"))
    file.begin([b"one"])

    def broken() -> object:
        yield b"two"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        file.begin(broken())  # type: ignore[arg-type]
    file.append(b"three")
    assert read_records(file.path) == [b"one", b"three"]
    assert [each.name for each in tmp_path.iterdir()] == ["ledger"]
    assert (tmp_path / "ledger").stat().st_mode & 0o777 == 0o600


def test_a_link_at_its_place_is_neither_followed_nor_read(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "ledger").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        read_records(str(tmp_path / "ledger"))
    (tmp_path / "ledger.new").symlink_to(victim)
    LedgerFile(str(tmp_path / "ledger")).begin([b"one"])
    assert victim.read_bytes() == b"precious"
    assert read_records(str(tmp_path / "ledger")) == [b"one"]


def test_a_child_that_is_found_was_started_until_it_was_found() -> None:
    sim, clock = Simulation([Component(tag="a", argv=("a",))]).boot(), [10.0]
    file = File()
    Ledger(file, sim.engine, HEAD, lambda: clock[0]).begin()
    kept = read(file.records, "here")
    assert kept is not None
    assert kept.born == {"a": (10.0, 10.0)}
    other = Engine()
    other.recall(kept.memory, sim.now)
    later = Ledger(file, other, HEAD, lambda: clock[0])
    later.adopt(kept.born)
    later.begin()
    clock[0] = 12.0
    other.handle(Happened("a", Spawned(1, 100, 0.0)), sim.now)
    later.observe(other.changed)
    kept = read(file.records, "here")
    assert kept is not None
    assert kept.born == {"a": (10.0, 12.0)}
