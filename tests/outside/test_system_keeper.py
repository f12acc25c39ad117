"""What outlives piesd of its children's output: pipes with names, stages, notes about logs."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.system.fifos import anonymous
from supervisor.system.keeper import Keeper
from supervisor.system.logfile import LogFile
from supervisor.system.lognote import LogNote, Part
from supervisor.system.owndirectory import is_in_memory

MEMORY = "/dev/shm"


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory on a tmpfs."""
    if not Path(MEMORY).is_dir():
        pytest.skip("there is no tmpfs at /dev/shm")
    place = Path(tempfile.mkdtemp(dir=MEMORY, prefix="piesd-test."))
    yield place
    shutil.rmtree(place)


@pytest.fixture
def keeper(memory: Path) -> Iterator[Keeper]:
    keeper = Keeper(str(memory), "web")
    yield keeper
    keeper.close()


def close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def test_the_next_one_finds_in_a_pipe_what_the_last_one_has_not_read(keeper: Keeper) -> None:
    reader, writer = keeper.pipe("web.stdout")
    child = os.dup(writer)
    os.write(child, b"before")
    close(reader, writer)
    os.write(child, b" and between")
    reader, writer = keeper.pipe("web.stdout")
    assert os.read(reader, 100) == b"before and between"
    with pytest.raises(BlockingIOError):
        os.read(reader, 100)
    close(reader, writer, child)


@pytest.mark.parametrize("named", [True, False])
def test_a_writer_that_nobody_reads_gets_no_error_before_the_pipe_is_full(
    keeper: Keeper, named: bool
) -> None:
    reader, writer = keeper.pipe("web.stdout") if named else anonymous()
    child = os.dup(writer)
    close(reader, writer)
    os.set_blocking(child, False)
    assert os.write(child, b"x" * 4096) == 4096
    with contextlib.suppress(BlockingIOError):
        while os.write(child, b"x" * 4096):
            pass
    close(child)


def test_pipes_are_as_large_as_asked_for(memory: Path) -> None:
    for size in (65536, 262144):
        keeper = Keeper(str(memory), f"web{size}", size)
        ends = keeper.pipe("web.stdout")
        assert fcntl.fcntl(ends[0], fcntl.F_GETPIPE_SZ) == size
        close(*ends)
        keeper.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_an_ordinary_user_still_gets_pipes_of_the_usual_size_after_many_of_ours(
    memory: Path,
) -> None:
    program = """
import fcntl, os, sys
from supervisor.system.fifos import Room, anonymous
os.setresuid(61234, 61234, 61234)
room, held = Room(), []
for _ in range(100):
    held.append(anonymous())
    room.enlarge(held[-1][0])
print(fcntl.fcntl(held[0][0], fcntl.F_GETPIPE_SZ), fcntl.fcntl(os.pipe()[0], fcntl.F_GETPIPE_SZ))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == [b"1048576", b"65536"], done.stderr


@pytest.mark.parametrize("there", ["file", "link"])
def test_what_is_no_pipe_of_ours_is_replaced_and_a_link_is_not_followed(
    keeper: Keeper, memory: Path, there: str
) -> None:
    other = memory / "other"
    other.write_text("not ours")
    place = memory / "web.output" / "web.stdout"
    if there == "file":
        place.write_text("not a pipe")
    else:
        place.symlink_to(other)
    ends = keeper.pipe("web.stdout")
    assert place.is_fifo()
    assert not place.is_symlink()
    assert other.read_text() == "not ours"
    close(*ends)


def test_what_cannot_be_replaced_costs_the_name_and_not_the_pipe(
    keeper: Keeper, memory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (memory / "web.output" / "web.stdout").mkdir()
    reader, writer = keeper.pipe("web.stdout")
    os.write(writer, b"hello")
    assert os.read(reader, 9) == b"hello"
    assert "cannot keep a pipe for web.stdout" in caplog.text
    close(reader, writer)


def test_a_directory_that_others_get_into_is_not_used(memory: Path) -> None:
    (memory / "web.output").mkdir(mode=0o755)
    keeper = Keeper(str(memory), "web")
    assert "should have the mode 0700" in keeper.lack or "others may get into it" in keeper.lack
    ends = keeper.pipe("web.stdout")
    assert list((memory / "web.output").iterdir()) == []
    assert keeper.stage("web.stdout") is None
    close(*ends)


def test_a_directory_that_is_a_link_is_not_used(memory: Path) -> None:
    (memory / "elsewhere").mkdir(mode=0o700)
    (memory / "web.output").symlink_to(memory / "elsewhere")
    assert Keeper(str(memory), "web").lack


def test_tags_of_any_length_and_with_any_letters_have_pipes_of_their_own(
    keeper: Keeper, memory: Path
) -> None:
    tags = ["a/b", "a%2Fb", "x" * 300, "x" * 301, "..", "ä" * 100]
    ends = [keeper.pipe(tag) for tag in tags]
    for number, (_, writer) in enumerate(ends):
        os.write(writer, b"%d" % number)
    assert [os.read(reader, 9) for reader, _ in ends] == [b"%d" % n for n in range(len(tags))]
    for pair in ends:
        close(*pair)


def test_where_the_runtime_directory_is_on_a_disk_another_place_is_taken(
    tmp_path: Path, memory: Path
) -> None:
    keeper = Keeper(str(tmp_path), "web", memory=str(memory))
    stage = keeper.stage("web.stdout")
    assert stage is not None
    reader, writer = keeper.pipe("web.stdout")
    os.write(writer, b"hello")
    assert stage.take(reader, 100) == b"hello"
    assert list(memory.glob("*/*.stage"))
    keeper.clear()
    assert list(memory.iterdir()) == list(tmp_path.iterdir()) == []
    keeper.close()
    close(reader, writer)


def test_without_any_memory_pipes_are_kept_and_the_rest_is_told(tmp_path: Path) -> None:
    if is_in_memory(str(tmp_path)):
        pytest.skip("temporary files are on a tmpfs")
    keeper = Keeper(str(tmp_path), "web", memory=str(tmp_path))
    assert keeper.lack.endswith("is on a tmpfs")
    close(*keeper.pipe("web.stdout"))
    assert (tmp_path / "web.output" / "web.stdout").is_fifo()
    assert keeper.stage("web.stdout") is keeper.note("/log") is None
    keeper.close()


def test_a_stage_has_what_was_read_and_not_settled(keeper: Keeper, memory: Path) -> None:
    reader, writer = keeper.pipe("web.stdout")
    stage = keeper.stage("web.stdout")
    assert stage is not None
    assert stage.take(reader, 100) is None
    os.write(writer, b"one\ntwo\nthr")
    assert stage.take(reader, 4) == b"one\n"
    assert stage.take(reader, 100) == b"two\nthr"
    stage.settle(4, midline=False)
    os.write(writer, b"ee\n")
    follower = Keeper(str(memory), "web").stage("web.stdout")
    assert follower is not None
    assert (follower.left, follower.size, follower.midline) == (b"two\nthr", 11, False)
    assert follower.take(reader, 100) == b"ee\n"
    follower.settle(14, midline=False)
    third = Keeper(str(memory), "web").stage("web.stdout")
    assert third is not None
    assert (third.left, third.identity) == (b"", stage.identity)
    close(reader, writer)


def test_a_stage_needs_memory_for_what_is_not_settled_alone(keeper: Keeper, memory: Path) -> None:
    reader, writer = keeper.pipe("web.stdout")
    stage = keeper.stage("web.stdout")
    assert stage is not None
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(50):
        os.write(writer, b"x" * 200_000)
        assert len(stage.take(reader, 1_000_000) or b"") == 200_000
        stage.settle(stage.size, midline=False)
    assert (memory / "web.output" / "web.stdout.stage").stat().st_blocks * 512 <= 3 * 4096
    assert set(os.listdir("/proc/self/fd")) == before, "what is idle needs no descriptor"
    close(reader, writer)


def test_where_nothing_can_be_kept_output_goes_its_way_all_the_same(
    keeper: Keeper, memory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = keeper.pipe("web.stdout")
    stage = keeper.stage("web.stdout")
    assert stage is not None
    shutil.rmtree(memory / "web.output")
    for number in range(3):
        os.write(writer, b"%d\n" % number)
        assert stage.take(reader, 100) == b"%d\n" % number
    assert stage.take(reader, 100) is None
    assert len(caplog.records) == 1, "it is told once"
    close(reader, writer)


@pytest.mark.parametrize("failures", [1, 100])
def test_output_that_is_in_a_stage_is_read_again_and_its_loss_is_told(
    keeper: Keeper,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failures: int,
) -> None:
    reader, writer = keeper.pipe("web.stdout")
    stage = keeper.stage("web.stdout")
    assert stage is not None
    left = iter(range(failures))
    pread = os.pread

    def failing(fd: int, count: int, offset: int) -> bytes:
        if next(left, None) is not None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, count, offset)

    with monkeypatch.context() as broken:
        broken.setattr(os, "pread", failing)
        os.write(writer, b"one\n")
        assert stage.take(reader, 100) == (b"one\n" if failures == 1 else None)
    assert [record.getMessage() for record in caplog.records] == (
        []
        if failures == 1
        else ["lost 4 bytes of output: cannot read web.stdout.stage: Input/output error"]
    )
    os.write(writer, b"two\n")
    assert stage.take(reader, 100) == b"two\n"
    close(reader, writer)


@pytest.mark.parametrize(
    ("there", "expected", "left"),
    [
        (b"", 0, b""),
        (b"one\ntw", 4, b"one\n"),
        (b"one\ntwo\n", 8, b"one\ntwo\n"),
        (b"one\ntwo\nof another\n", 8, b"one\ntwo\nof another\n"),
    ],
)
def test_a_note_tells_how_much_of_a_write_was_done(
    keeper: Keeper, memory: Path, there: bytes, expected: int, left: bytes
) -> None:
    path = memory / "log"
    path.write_bytes(b"before\n")
    note = keeper.note(str(path))
    assert isinstance(note, LogNote)
    assert note.find(str(path)).done == {}
    place = path.stat()
    note.begin([Part(7, 108, 8, 8, 0, 0)], [b"one\ntwo\n"])
    note.mark(place.st_dev, place.st_ino, 7, 0, 8)
    with path.open("ab") as log:
        log.write(there)
    path.rename(memory / "log.old")  # Somebody has moved it away meanwhile.
    again = keeper.note(str(path))
    assert again is not None
    assert again.find(str(path)).done.get(7, 100) == 100 + expected
    assert (memory / "log.old").read_bytes() == b"before\n" + left


def test_what_was_found_is_not_forgotten_when_another_stream_writes_first(
    keeper: Keeper, memory: Path
) -> None:
    path = memory / "log"
    path.write_bytes(b"one\n")
    place = path.stat()
    note = keeper.note(str(path))
    assert note is not None
    note.find(str(path))
    note.begin([Part(7, 4, 4, 4, 0, 0)], [b"one\n"])
    note.mark(place.st_dev, place.st_ino, 0, 0, 4)
    second = keeper.note(str(path))
    assert second is not None
    assert second.find(str(path)).done == {7: 4}
    second.begin([Part(8, 14, 4, 4, 0, 0)], [b"two\n"])
    second.mark(place.st_dev, place.st_ino, 4, 0, 4)
    third = keeper.note(str(path))
    assert third is not None
    assert third.find(str(path)).done == {7: 4}
    with path.open("ab") as log:
        log.write(b"two\n")
    assert third.find(str(path)).done == {7: 4, 8: 14}


def test_what_is_in_an_old_file_that_is_gone_is_known_to_be_written(
    keeper: Keeper, memory: Path
) -> None:
    path = memory / "log"
    log, note = LogFile(str(path), rotate_size=8, rotate_keep=0), keeper.note(str(path))
    assert note is not None
    note.find(str(path))
    log.about_to = note.mark

    def killed() -> None:
        path.unlink()  # That much of the rotation was done.
        raise KeyboardInterrupt

    log.old.take_in = killed  # type: ignore[method-assign] # Here it is killed.
    blocks = [b"one\ntwo\n", b"three\n"]
    note.begin([Part(7, 8, 8, 8, 0, 0), Part(7, 14, 6, 6, 0, 0)], blocks)
    with pytest.raises(KeyboardInterrupt):
        log.write(blocks)
    again = keeper.note(str(path))
    assert again is not None
    assert again.find(str(path)).done == {7: 8}
