"""The protocol of telinit: records, garbage between them, and the limits of one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.system import initctl
from supervisor.system.initctl import RUNLVL, SETENV, SIZE, Fifo, Request, pack, requests, send
from supervisor.system.powerstatus import read_power_status

_VARIABLE = st.text("ABC=xyz", min_size=1, max_size=20)
REQUESTS = st.one_of(
    st.builds(
        Request,
        st.sampled_from([1, 2, 3, 4]),
        st.sampled_from("0123456789Sabcq"),
        st.integers(0, 900),
        st.just(()),
    ),
    st.builds(
        lambda names: Request(SETENV, variables=tuple(names)), st.lists(_VARIABLE, max_size=15)
    ),
)


def test_a_record_is_what_sysvinit_reads() -> None:
    block = pack(Request(RUNLVL, "2", 5))
    assert len(block) == SIZE
    assert block[:16] == bytes.fromhex("69190903 01000000 32000000 05000000")
    assert not any(block[16:])


@given(REQUESTS)
def test_a_record_says_what_was_packed(request: Request) -> None:
    assert requests(pack(request)) == ([request], 0)


@given(
    st.lists(
        st.tuples(st.binary(max_size=500).filter(lambda b: b"\x69" not in b), REQUESTS), max_size=4
    )
)
def test_garbage_between_records_costs_nothing_but_itself(
    parts: list[tuple[bytes, Request]],
) -> None:
    data = b"".join(garbage + pack(request) for garbage, request in parts)
    found, lost = requests(data)
    assert found == [request for _, request in parts]
    assert lost == sum(len(garbage) for garbage, _ in parts)


@given(REQUESTS, st.integers(1, SIZE - 1))
def test_a_record_that_was_cut_off_does_not_swallow_the_next(request: Request, length: int) -> None:
    whole = pack(request)
    assert requests(whole[:length] + whole) == ([request], length)
    assert requests(whole + whole[:length]) == ([request], length)


@given(st.binary(max_size=3000))
def test_any_bytes_are_survived(data: bytes) -> None:
    found, lost = requests(data)
    assert len(found) * SIZE + lost == len(data)


def test_variables_have_a_limit() -> None:
    """With n of them the limit is 367-n bytes. Source: pies.md section 6."""
    fits = ("A=" + "x" * 179, "B=" + "y" * 182)
    assert sum(map(len, fits)) == 367 - 2
    assert requests(pack(Request(SETENV, variables=fits)))[0][0].variables == fits
    with pytest.raises(ValueError, match="at most 365 bytes"):
        pack(Request(SETENV, variables=(fits[0], fits[1] + "y")))


def test_records_go_through_a_fifo_that_is_made_anew(tmp_path: Path) -> None:
    path = str(tmp_path / "initctl")
    fifo = Fifo(path)
    fifo.open()
    try:
        assert send((Request(RUNLVL, "3"), Request(RUNLVL, "5", 7)), path) == path
        assert requests(fifo.read()) == ([Request(RUNLVL, "3"), Request(RUNLVL, "5", 7)], 0)
        assert fifo.read() == b""
        removed = initctl.watch_removal(path)
        os.unlink(path)
        assert os.read(removed, 1000)
        os.close(removed)
        assert not fifo.current
        Path(path).write_text("no FIFO")
        fifo.open()
        assert fifo.current
        assert os.stat(path).st_mode & 0o777 == 0o600
    finally:
        fifo.close()


def test_without_an_init_nothing_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "initctl"
    with pytest.raises(FileNotFoundError):
        send((Request(RUNLVL, "3"),), str(path))
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device"):
        send((Request(RUNLVL, "3"),), str(path))
    path.unlink()
    path.write_text("")
    with pytest.raises(OSError, match="no FIFO"):
        send((Request(RUNLVL, "3"),), str(path))
    assert not path.read_text()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("F", "powerfail"),
        ("O", "powerok"),
        ("L", "powerfailnow"),
        ("", "powerfail"),
        ("x\n", "powerfail"),
    ],
)
def test_the_power_status_is_read_once(tmp_path: Path, said: str, kind: str) -> None:
    path = tmp_path / "powerstatus"
    path.write_text(said)
    assert read_power_status((str(tmp_path / "missing"), str(path))) == kind
    assert not path.exists()
    assert read_power_status((str(path),)) == "powerfail"
