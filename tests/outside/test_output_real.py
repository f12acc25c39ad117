"""Output of real children through real pipes into real files: nothing lost, torn or held up."""

from __future__ import annotations

import gzip
import os
import re
import signal
import socket
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from real_output import at_home
from supervisor.model.component import Component, Output
from supervisor.runtime.descriptor import DescriptorTarget
from supervisor.runtime.ownlog import OwnLine
from supervisor.system.logfile import LogFile

pytestmark = pytest.mark.real

NULL = Output(kind="null")
INHERIT = Output(kind="inherit")


def web(path: Path | str, **more: Any) -> Component:
    out = Output(kind="file", path=str(path), **more)
    return Component(tag="web", argv=("web",), stdout=out, stderr=NULL)


def oldest_first(directory: Path) -> list[Path]:
    return sorted(directory.iterdir(), key=lambda path: -int(path.suffix[1:] or 0))


def numbers(text: bytes) -> list[int]:
    """Return the numbers of the lines, every one of which must be whole."""
    found = []
    for line in text.splitlines():
        if line.startswith(b"piesd: "):
            continue
        body, _, check = line.rpartition(b" ")
        assert b"%08x" % zlib.crc32(body) == check, line
        found.append(int(line[:8]))
    return found


async def test_short_lived_programs_that_print_once_are_all_in_the_file(tmp_path: Path) -> None:
    count = 300
    async with at_home() as house:
        for _ in range(0, count, 20):
            children = [house.start(["/bin/echo", "one line"], web(tmp_path / "log"))]
            children += [
                house.start(["/bin/echo", "one line"], web(tmp_path / "log")) for _ in range(19)
            ]
            for child in children:
                await trio.to_thread.run_sync(child.wait)
                house.outputs.drain("web")
    assert (tmp_path / "log").read_bytes() == b"one line\n" * count


async def test_the_last_words_of_a_killed_program_are_a_line_of_their_own(tmp_path: Path) -> None:
    async with at_home() as house:
        spec = web(tmp_path / "log")
        await house.run(["/bin/sh", "-c", "printf 'whole\\nhal'; kill -9 $$"], spec)
        await house.run(["/bin/echo", "the next one"], spec)
    assert (tmp_path / "log").read_bytes() == b"whole\nhal\nthe next one\n"


async def test_a_grandchild_is_still_heard_after_its_leader(tmp_path: Path) -> None:
    async with at_home() as house:
        gate_read, gate_write = os.pipe()
        script = "(read line <&9; echo later) & echo now"
        argv = ["/bin/bash", "-c", script.replace("<&9", f"<&{gate_read}")]
        child = house.start(argv, web(tmp_path / "log"), pass_fds=[gate_read])
        await trio.to_thread.run_sync(child.wait)
        house.outputs.drain("web")
        with house.outputs.follow("web", backlog=9) as follower:
            assert [line.text for line in await anext(follower)] == [b"now"]
            os.write(gate_write, b"go\n")
            assert [line.text for line in await anext(follower)] == [b"later"]
        os.close(gate_read)
        os.close(gate_write)
    assert (tmp_path / "log").read_bytes() == b"now\nlater\n"


async def test_rotation_under_a_fast_writer_keeps_every_line_whole_and_once(
    tmp_path: Path,
) -> None:
    async with at_home() as house:
        spec = web(tmp_path / "log", rotate_size=300_000, rotate_keep=100)
        await house.numbered(spec, 0, 200_000)
    files = oldest_first(tmp_path)
    assert len(files) > 20
    seen = [number for path in files for number in numbers(path.read_bytes())]
    assert seen == list(range(200_000))
    assert all(path.stat().st_size <= 300_000 for path in files)


async def test_compression_and_times_under_a_fast_writer_keep_every_line_whole_and_once(
    tmp_path: Path,
) -> None:
    async with at_home() as house:
        spec = web(
            tmp_path / "log", rotate_size=300_000, rotate_keep=100, compress=True, timestamps=True
        )
        await house.numbered(spec, 0, 100_000)
    files = sorted(tmp_path.iterdir(), key=lambda path: -int(f"{path.name}.0".split(".")[1]))
    assert any(path.suffix == ".gz" for path in files)
    text = b"".join(
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in files
    )
    stamp = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")
    lines = text.splitlines(keepends=True)
    assert all(stamp.match(line) for line in lines)
    assert numbers(b"".join(line[25:] for line in lines)) == list(range(100_000))
    assert not (tmp_path / "log.gz.tmp").exists()


async def test_a_file_that_was_moved_away_is_made_anew_by_reopening(tmp_path: Path) -> None:
    async with at_home() as house:
        spec = web(tmp_path / "log")
        await house.run(["/bin/echo", "0"], spec)
        await house.outputs.written()
        (tmp_path / "log").rename(tmp_path / "old")
        house.outputs.reopen()
        await house.run(["/bin/echo", "1"], spec)
        await house.outputs.written()
        (tmp_path / "log").unlink()
        house.outputs.reopen()
        await house.run(["/bin/echo", "2"], spec)
    assert (tmp_path / "old").read_bytes() == b"0\n"
    assert (tmp_path / "log").read_bytes() == b"2\n"


async def test_a_target_that_is_always_full_costs_lines_and_nothing_else() -> None:
    async with at_home() as house:
        await house.numbered(web("/dev/full"), 0, 10_000)
        await house.reported("cannot write /dev/full: No space left on device; dropping")
        await house.outputs.aclose(5)
        lost = re.search(r"(\d+) lines .* of 'web' were lost", house.reports[-1])
        assert lost is not None
        assert int(lost[1]) == 10_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.root
async def test_a_disk_that_fills_and_gets_room_again_has_one_counted_gap(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 700_000)
    log = small_disk / "log"
    async with at_home() as house:
        await house.numbered(web(log), 0, 20_000)
        assert house.outputs.lost("web")["stdout"].lines > 0
        ballast.unlink()
        house.outputs.reopen()
        await house.reported("were lost")
        lost = house.outputs.lost("web")["stdout"].lines
        await house.numbered(web(log), 20_000, 21_000)
    text = log.read_bytes()
    seen = numbers(text)
    assert seen == [*range(20_000 - lost), *range(20_000, 21_000)]
    assert text.count(b"were lost here") == 1


async def test_two_hundred_megabytes_go_through_in_flat_memory_and_delay_no_neighbour(
    tmp_path: Path,
) -> None:
    async with at_home() as house:
        flood = web(tmp_path / "log", rotate_size=20_000_000, rotate_keep=1)
        neighbour = Component(tag="quiet", argv=("quiet",), stdout=NULL, stderr=NULL)
        before = memory("VmRSS")
        forget_peak()
        argv = ["/bin/sh", "-c", "yes 0123456789012345678901234567890123456789 | head -c 200000000"]
        child = house.start(argv, flood)
        answers = 0
        with house.outputs.follow("quiet") as follower:
            while child.poll() is None:
                await house.run(["/bin/echo", "here"], neighbour)
                assert [line.text for line in await anext(follower)] == [b"here"]
                answers += 1
        house.outputs.drain("web")
        assert memory("VmHWM") - before < 40 * 1024 * 1024
        assert answers >= 3, "the neighbour was served all along"
        assert house.outputs.tail("web", "stdout", 1)[0].number == 200_000_000 // 41 + 1
        assert house.outputs.lost("web")["stdout"].lines == 0
    assert all(path.stat().st_size <= 20_000_000 for path in oldest_first(tmp_path))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def memory(name: str) -> int:
    """Return a figure of our own memory, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)[0]) * 1024


async def test_a_stuck_stdout_of_ours_stops_no_component_and_loses_whole_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("supervisor.runtime.depot.PATIENCE", 0.1)
    reader, writer = os.pipe()
    async with at_home(own_stdout_fd=writer) as house:
        spec = Component(tag="web", argv=("web",), stdout=INHERIT, stderr=NULL)
        await house.numbered(spec, 0, 50_000)
        assert os.get_blocking(writer), "others have this pipe, too"
        os.set_blocking(reader, False)
        seen = b""
        while b"were lost here\n" not in seen:
            await trio.lowlevel.wait_readable(reader)
            seen += os.read(reader, 65536)
        lost = house.outputs.lost("web")["stdout"].lines
    os.close(reader)
    os.close(writer)
    lines = seen.splitlines()
    assert all(line.startswith(b"web | ") for line in lines)
    text = b"\n".join(line[6:] for line in lines)
    assert numbers(text) == list(range(50_000 - lost))
    assert lost > 0


async def test_the_end_does_not_wait_for_ever_for_a_stuck_stdout() -> None:
    reader, writer = os.pipe()
    async with at_home(own_stdout_fd=writer) as house:
        spec = Component(tag="web", argv=("web",), stdout=INHERIT, stderr=NULL)
        await house.numbered(spec, 0, 10_000)
        with trio.fail_after(60):
            await house.outputs.aclose(0.3)
        assert "of 'web' were lost: standard output" in house.reports[-1]
    os.close(reader)
    os.close(writer)


async def test_a_stdout_of_ours_that_nobody_reads_any_more_is_survived() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    async with at_home(own_stdout_fd=writer) as house:
        spec = Component(tag="web", argv=("web",), stdout=INHERIT, stderr=NULL)
        await house.run(["/bin/echo", "hello"], spec)
        await house.reported("cannot write standard output: Broken pipe")
    os.close(writer)


async def test_two_streams_of_ours_that_are_one_pipe_do_not_mix_lines(tmp_path: Path) -> None:
    with (tmp_path / "both").open("wb") as both:
        fd = both.fileno()
        opened = []

        def open_own(fd: int) -> DescriptorTarget:
            opened.append(fd)
            return DescriptorTarget(fd)

        async with at_home(own_stdout_fd=fd, own_stderr_fd=fd, open_own=open_own) as house:
            spec = Component(tag="web", argv=("web",), stdout=INHERIT, stderr=INHERIT)
            script = "for i in $(seq 500); do echo out $i; echo err $i >&2; done"
            await house.run(["/bin/sh", "-c", script], spec)
            house.outputs.write_own(OwnLine(b"piesd: mine\n"))
            await house.system.blocking(house.outputs.write_own, OwnLine(b"piesd: from a thread\n"))
    lines = (tmp_path / "both").read_text("ascii").splitlines()
    assert [line for line in lines if " out " in line] == [f"web | out {n}" for n in range(1, 501)]
    assert [line for line in lines if " err " in line] == [f"web | err {n}" for n in range(1, 501)]
    assert len(opened) == 1
    assert lines[-2:] == ["piesd: mine", "piesd: from a thread"]


async def test_our_own_streams_are_one_place_whatever_they_are_called(tmp_path: Path) -> None:
    def open_log(settings: Output) -> LogFile:
        raise AssertionError(f"{settings.path} is opened as a file of its own")

    with (tmp_path / "out").open("wb") as out:
        fd = out.fileno()
        places = {
            "inherited": INHERIT,
            "devfd": Output(kind="file", path=f"/dev/fd/{fd}"),
            "self": Output(kind="file", path=f"/proc/self/fd/{fd}", timestamps=True),
            "pid": Output(kind="file", path=f"/proc/{os.getpid()}/fd/{fd}", rotate_size=10),
        }
        async with at_home(own_stdout_fd=fd, open_log=open_log) as house:
            for tag, place in places.items():
                spec = Component(tag=tag, argv=("web",), stdout=place, stderr=NULL)
                await house.run(["/bin/echo", f"hello from {tag}"], spec)
    lines = (tmp_path / "out").read_text("ascii").splitlines()
    assert [lines[0], lines[1], lines[3]] == [
        "inherited | hello from inherited",
        "hello from devfd",
        "hello from pid",
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z hello from self", lines[2])


def open_terminal() -> tuple[int, int]:
    ours, theirs = os.openpty()
    return ours, theirs


def open_sockets() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


@pytest.mark.parametrize("make", [os.pipe, open_sockets, open_terminal])
def test_whatever_our_stdout_is_a_write_to_it_returns_with_what_went(
    make: Callable[[], tuple[int, int]],
) -> None:
    reader, writer = make()
    target = DescriptorTarget(writer)
    assert target.write([b"hello\n"]) == 6
    assert os.read(reader, 100).replace(b"\r", b"") == b"hello\n"
    big = b"0123456\n" * 500_000
    signal.alarm(20)  # A blocking write would never return.
    went = target.write([big])
    signal.alarm(0)
    assert 0 < went < len(big)
    assert os.get_blocking(writer)
    target.close()
    os.close(reader)
    os.close(writer)


def test_a_file_as_our_stdout_is_appended_to_where_others_are(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "out", os.O_CREAT | os.O_WRONLY)
    target = DescriptorTarget(fd)
    os.write(fd, b"one\n")
    target.write([b"two\n"])
    os.write(fd, b"three\n")
    target.close()
    os.close(fd)
    assert (tmp_path / "out").read_bytes() == b"one\ntwo\nthree\n"
