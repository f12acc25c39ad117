"""piesd is killed at any moment: what children print is in its files, whole, once and in order."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from killing import Kernel, Lives, Loop, component, contents
from piesd_process import piesd, with_marker
from supervisor.model.component import Component, Output
from supervisor.runtime.output import Outputs
from supervisor.system.keeper import Keeper
from supervisor.system.port import System


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A directory on a tmpfs."""
    if not Path("/dev/shm").is_dir():
        pytest.skip("there is no tmpfs at /dev/shm")
    place = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="piesd-test."))
    yield place
    shutil.rmtree(place)


@pytest.fixture
def place(memory: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=memory))


def lead(lives: Lives, steps: list[int]) -> None:
    for calls in steps:
        lives.live(calls, rounds=12)
    lives.end()


steps = st.lists(st.integers(0, 300), min_size=1, max_size=12)
seeds = st.integers(0, 2**32)
often = settings(max_examples=int(os.environ.get("PIESD_EXAMPLES", "15")), deadline=None)


@often
@given(steps=steps, seed=seeds, rotate=st.sampled_from([0, 0, 3000, 100_000]))
def test_a_file_has_exactly_what_was_printed(
    memory: Path, steps: list[int], seed: int, rotate: int
) -> None:
    place = Path(tempfile.mkdtemp(dir=memory))
    spec = component("web", place / "log", rotate_size=rotate, rotate_keep=10_000)
    with pytest.MonkeyPatch.context() as patch:
        lives = Lives(place, [spec], seed, patch)
        lead(lives, steps)
    assert contents(place / "log") == lives.printed["web"]


@often
@given(steps=steps, seed=seeds, rotate=st.sampled_from([0, 0, 3000, 100_000]))
def test_each_line_of_a_file_with_times_is_there_once(
    memory: Path, steps: list[int], seed: int, rotate: int
) -> None:
    place = Path(tempfile.mkdtemp(dir=memory))
    spec = component("web", place / "log", rotate_size=rotate, rotate_keep=10_000, timestamps=True)
    with pytest.MonkeyPatch.context() as patch:
        lives = Lives(place, [spec], seed, patch)
        lead(lives, steps)
    lines = contents(place / "log").split(b"\n")
    label = len(b"2026-10-19T07:33:34.123Z ")
    text = b"".join(line[label:] for line in lines)
    assert text == lives.printed["web"].replace(b"\n", b"")


@often
@given(steps=steps, seed=seeds, rotate=st.sampled_from([0, 3000]), times=st.booleans())
def test_components_that_share_a_file_are_each_there_line_by_line(
    memory: Path, steps: list[int], seed: int, rotate: int, times: bool
) -> None:
    place = Path(tempfile.mkdtemp(dir=memory))
    target = {"rotate_size": rotate, "rotate_keep": 10_000, "timestamps": times}
    specs = [component(tag, place / "log", **target) for tag in ("small", "large")]
    with pytest.MonkeyPatch.context() as patch:
        lives = Lives(place, specs, seed, patch, longest=1000)
        lead(lives, steps)
    label = len(b"2026-10-19T07:33:34.123Z ") if times else 0
    lines = [line[label:] for line in contents(place / "log").splitlines()]
    for tag, mine in (("small", bytes.islower), ("large", bytes.isupper)):
        printed = [line for line in lives.printed[tag].splitlines() if line]
        assert [line for line in lines if mine(line)] == printed
    assert len(lines) == sum(text.count(b"\n") for text in lives.printed.values())


async def lead_a_life(
    place: Path, doing: Callable[[Outputs], None], reports: list[str] | None = None
) -> None:
    """Have outputs on what is kept at *place*, until all is written; then they are killed."""
    kernel = Kernel(10**9, random.Random(0))
    loop = Loop(kernel)
    heard = [] if reports is None else reports
    async with trio.open_nursery() as nursery:
        outputs = Outputs(
            cast("System", loop),
            nursery,
            lambda *words: heard.append(str(words)),
            keeper=Keeper(str(place), "test"),
        )
        doing(outputs)
        while loop.pump():
            await trio.lowlevel.checkpoint()
        await outputs.written()
        nursery.cancel_scope.cancel()


async def test_a_child_that_lives_on_is_heard_on_the_pipes_that_it_has(place: Path) -> None:
    target = Output(kind="file", path=str(place / "log"))
    before = Component(tag="web", argv=("web",), stdout=target, stderr=Output(kind="null"))
    now = Component(tag="web", argv=("web",), stdout=target, stderr=Output(kind="stdout"))
    ends: list[int] = []

    def begin(outputs: Outputs) -> None:
        ends.extend(map(os.dup, outputs.descriptors("web", before)))
        os.write(ends[0], b"one\nhalf a ")

    await lead_a_life(place, begin)
    os.write(ends[1], b"an error\n")
    await lead_a_life(place, lambda outputs: outputs.recover([now], living={"web"}))
    assert (place / "log").read_bytes() == b"one\nan error\n"
    os.write(ends[0], b"line\nand no end")
    await lead_a_life(place, lambda outputs: outputs.recover([now]))
    assert (place / "log").read_bytes() == b"one\nan error\nhalf a line\nand no end\n"
    for end in ends:
        os.close(end)


async def test_what_is_left_of_a_component_that_is_not_there_any_more_is_told_and_removed(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone, spec = component("gone", place / "log"), component("web", place / "log")
    ends: list[int] = []

    def begin(outputs: Outputs) -> None:
        ends.extend(os.dup(outputs.descriptors(each.tag, each)[0]) for each in (gone, spec))

    await lead_a_life(place, begin)
    os.write(ends[0], b"never\n")
    await lead_a_life(place, lambda outputs: outputs.recover([spec]))
    assert [one.getMessage() for one in caplog.records] == [
        "output in gone.stdout is dropped: its component is gone"
    ]
    assert [path.name for path in (place / "test.output").glob("*.stdout")] == ["web.stdout"]
    for end in ends:
        os.close(end)


def test_a_piesd_that_was_killed_has_a_successor_that_writes_the_rest(tmp_path: Path) -> None:
    config = """
[defaults]
env = {{ KILLED = "{home}" }}
[component.web]
shell = true
command = "{command}; exec sleep 1000000"
stdout = {{ file = "{home}/log" }}
"""
    first = config.format(home=tmp_path, command="printf 'one\\\\nhalf'")
    with piesd(tmp_path, first) as daemon:
        daemon.until(lambda: b"half" in daemon.ask("GET", "/v1/components/web/log").body)
        daemon.until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").stat().st_size)
        daemon.process.kill()
        daemon.process.wait()
    for pid in with_marker(f"KILLED={tmp_path}"):
        os.kill(pid, signal.SIGKILL)
    assert (tmp_path / "log").read_bytes() == b"one\n"
    (tmp_path / "notify").unlink()
    with piesd(tmp_path, config.format(home=tmp_path, command="true")) as daemon:
        daemon.until(lambda: (tmp_path / "log").read_bytes() == b"one\nhalf\n")
    assert (tmp_path / "log").read_bytes() == b"one\nhalf\n"
    assert not (tmp_path / "run" / "piesd.output").exists()


WRITER = """
import os, random, select, sys, zlib
chance, number, held = random.Random(7), 0, b""
while True:
    over = bool(select.select([0], [], [], 0)[0])
    for stream in (1, 2):
        lines = []
        for _ in range(0 if over else chance.choice((1, 10, 300))):
            text = b"%d %09d " % (stream, number) + b"x" * (number % 150)
            lines.append(text + b" %08x\\n" % zlib.crc32(text))
            number += 1
        data = b"".join(lines)
        cut = chance.randrange(len(data)) if lines else 0
        os.write(stream, data[:cut])
        os.write(stream, data[cut:])
    if over:
        break
print(number, file=open(sys.argv[1], "w"))
"""
"""Prints numbered lines on both streams, as fast as they are taken, until its input is closed."""


def reader(place: Path) -> subprocess.Popen[bytes]:
    program = Path(__file__).parents[1] / "output_reader.py"
    command = [sys.executable, str(program), str(place), str(place / "log")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def test_no_line_is_lost_torn_or_there_twice_after_any_number_of_kills(place: Path) -> None:
    chance = random.Random()
    first = reader(place)
    out, err = (
        os.open(place / f"reader.output/web.{one}", os.O_RDWR) for one in ("stdout", "stderr")
    )
    command = [sys.executable, "-c", WRITER, str(place / "count")]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=err)
    for _ in range(int(os.environ.get("PIESD_KILLS", "4"))):
        with contextlib.suppress(subprocess.TimeoutExpired):
            first.wait(chance.random() / 4)  # The kill comes at any moment; nothing waits for it.
        first.kill()
        first.communicate()
        first = reader(place)
    assert writer.stdin is not None
    writer.stdin.close()
    assert writer.wait(60) == 0
    first.communicate(timeout=60)
    for fd in (out, err):
        os.close(fd)
    lines = log_lines(place / "log")
    numbers: dict[bytes, list[int]] = {b"1": [], b"2": []}
    for line in lines:
        text, check = line.rsplit(b" ", 1)
        assert int(check, 16) == zlib.crc32(text), line
        stream, number, _ = text.split(b" ", 2)
        numbers[stream].append(int(number))
    assert sorted(numbers[b"1"] + numbers[b"2"]) == list(range(int((place / "count").read_text())))
    assert all(those == sorted(those) for those in numbers.values()), "they are in order"


def log_lines(path: Path) -> list[bytes]:
    old = [one for one in path.parent.glob(f"{path.name}.*") if not one.name.endswith(".tmp")]
    old.sort(key=lambda one: -int(one.name.split(".")[1]))
    data = b"".join(
        gzip.decompress(one.read_bytes()) if one.suffix == ".gz" else one.read_bytes()
        for one in (*old, path)
    )
    assert data.endswith(b"\n")
    return data[:-1].split(b"\n")
