"""utmp and wtmp, read back by the system's own programs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from supervisor.system import utmp
from supervisor.system.utmp import DEAD_PROCESS, INIT_PROCESS, Entry


def dump(path: Path) -> list[list[str]]:
    """Return the fields of each record, without the time."""
    if shutil.which("utmpdump") is None:
        pytest.skip("there is no utmpdump on this machine (package util-linux-extra)")
    said = subprocess.run(
        ["utmpdump", path], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    return [[field.strip(" ]") for field in line.split("[")[1:5]] for line in said.splitlines()]


def files(tmp_path: Path) -> tuple[str, str]:
    for name in ("utmp", "wtmp"):
        (tmp_path / name).touch()
    return str(tmp_path / "utmp"), str(tmp_path / "wtmp")


def test_utmp_keeps_one_record_for_each_and_wtmp_all(tmp_path: Path) -> None:
    names = files(tmp_path)
    for entry in (
        utmp.boot(),
        utmp.runlevel("2", "N"),
        Entry(INIT_PROCESS, "tty1", 100),
        Entry(INIT_PROCESS, "tty2", 101),
        Entry(DEAD_PROCESS, "tty1", 100, code=3),
        utmp.runlevel("5", "2"),
    ):
        assert utmp.write(entry, *names) == []
    change = str(ord("5") + 256 * ord("2"))
    assert dump(tmp_path / "utmp") == [
        ["2", "00000", "~~", "reboot"],
        ["1", f"{change}", "~~", "runlevel"],
        ["8", "00100", "tty1", ""],
        ["5", "00101", "tty2", ""],
    ]
    assert [record[0] for record in dump(tmp_path / "wtmp")] == ["2", "1", "5", "5", "8", "1"]
    who = subprocess.run(
        ["who", "-br", names[0]], capture_output=True, text=True, check=True, timeout=30
    )
    assert "system boot" in who.stdout
    assert "run-level 5" in who.stdout


def test_a_boot_forgets_who_was_here(tmp_path: Path) -> None:
    names = files(tmp_path)
    utmp.write(Entry(INIT_PROCESS, "tty1", 100), *names)
    utmp.write(utmp.boot(), *names)
    assert [record[0] for record in dump(tmp_path / "utmp")] == ["2"]


def test_a_record_that_was_cut_off_does_not_shift_the_next(tmp_path: Path) -> None:
    names = files(tmp_path)
    for name in names:
        Path(name).write_bytes(b"rubbish")
    assert utmp.write(utmp.runlevel("3", "N"), *names) == []
    for name in names:
        assert dump(Path(name))[0][2:] == ["~~", "runlevel"]


def test_files_that_are_not_there_are_not_made(tmp_path: Path) -> None:
    assert utmp.write(utmp.boot(), str(tmp_path / "utmp"), str(tmp_path / "no" / "wtmp")) == []
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "utmp").mkdir()
    wtmp = tmp_path / "wtmp"
    wtmp.touch()
    told = utmp.write(utmp.boot(), str(tmp_path / "utmp"), str(wtmp))
    assert told == [f"cannot write to {tmp_path}/utmp: Is a directory"]
    assert dump(wtmp)
