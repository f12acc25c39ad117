"""Log files: no line lost or torn, whatever happens to the file and the disk."""

from __future__ import annotations

import ctypes
import errno
import gzip
import itertools
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.system import logfile
from supervisor.system.logfile import CannotWrite, LogFile
from supervisor.system.rotation import OldFiles

pytestmark = pytest.mark.real


def lines(first: int, count: int) -> bytes:
    return b"".join(b"line %06d\n" % n for n in range(first, first + count))


def rotated(path: Path) -> list[Path]:
    """Return the files of a log, the oldest first."""
    numbered = sorted(
        (p for p in path.parent.glob(path.name + ".*")), key=lambda p: -int(p.name.split(".")[1])
    )
    return [*numbered, path]


def test_blocks_are_appended_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    log = LogFile(str(path))
    assert log.write([b"a\n", b"b\n"]) == 4
    assert log.write([]) == 0
    log.close()
    log.write([b"c\n"])
    log.close()
    assert path.read_bytes() == b"before\na\nb\nc\n"


def test_a_new_file_is_for_its_owner_and_group(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"))
    before = os.umask(0)
    try:
        log.write([b"a\n"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o640
    assert not os.get_inheritable(log._fd)
    log.close()


def test_rotation_keeps_so_many_files_of_that_size_and_tears_no_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), rotate_size=100, rotate_keep=3)
    for n in range(20):
        log.write([lines(n * 3, 3)])
    log.close()
    files = rotated(path)
    assert [p.name for p in files] == ["log.3", "log.2", "log.1", "log"]
    text = b"".join(p.read_bytes() for p in files)
    assert text == lines(60 - text.count(b"\n"), text.count(b"\n"))
    for file in files:
        assert file.stat().st_size <= 100
        assert file.read_bytes().endswith(b"\n")


def test_one_large_write_is_spread_over_the_files(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), rotate_size=100, rotate_keep=50)
    assert log.write([lines(0, 100)]) == 1200
    log.close()
    assert b"".join(p.read_bytes() for p in rotated(path)) == lines(0, 100)
    assert all(p.stat().st_size <= 100 for p in rotated(path))


def test_to_keep_nothing_is_to_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), rotate_size=100, rotate_keep=0)
    log.write([lines(0, 8)])
    log.write([lines(8, 8)])
    log.close()
    assert os.listdir(tmp_path) == ["log"]
    assert path.read_bytes() == lines(8, 8)


def test_a_smaller_number_to_keep_removes_the_older_ones(tmp_path: Path) -> None:
    for number in range(1, 6):
        (tmp_path / f"log.{number}").write_text(f"{number}\n")
    (tmp_path / "log").write_text("0\n")
    log = LogFile(str(tmp_path / "log"), rotate_size=2, rotate_keep=2)
    log.write([b"a\n"])
    log.close()
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "log": "a\n",
        "log.1": "0\n",
        "log.2": "1\n",
    }


def test_only_a_line_longer_than_a_file_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), rotate_size=100, rotate_keep=50)
    log.write([b"a\n", b"x" * 250 + b"\n", b"b\n"])
    log.close()
    assert b"".join(p.read_bytes() for p in rotated(path)) == b"a\n" + b"x" * 250 + b"\nb\n"
    assert all(p.stat().st_size <= 200 for p in rotated(path))


def test_the_rest_of_a_begun_line_follows_it_into_its_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), rotate_size=100, rotate_keep=5)
    log.write([b"x" * 90])
    log.write([b"y" * 9 + b"\n" + b"next\n"])
    log.write([b"z" * 60, b"z" * 39 + b"\n"])
    log.close()
    assert [p.read_bytes() for p in rotated(path)] == [
        b"x" * 90 + b"y" * 9 + b"\n",
        b"next\n",
        b"z" * 99 + b"\n",
    ]


@given(
    blocks=st.lists(st.lists(st.text("ab\n", max_size=30), max_size=5), max_size=20),
    size=st.integers(1, 60),
    again=st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_nothing_is_lost_whatever_the_pieces(
    blocks: list[list[str]], size: int, again: list[bool], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    log = LogFile(str(path), rotate_size=size, rotate_keep=10_000)
    written = b""
    for block, reopen in zip(blocks, again, strict=False):
        data = [piece.encode() for piece in block]
        assert log.write(data) == len(b"".join(data))
        written += b"".join(data)
        if reopen:
            log.reopen()
    log.close()
    files = [p.read_bytes() for p in rotated(path) if p.exists()]
    assert b"".join(files) == written
    for before, after in itertools.pairwise(files):
        if not before.endswith(b"\n"):
            torn = before.split(b"\n")[-1] + after.split(b"\n")[0]
            assert len(torn) >= size
        assert len(before) <= 2 * size


def test_a_reader_during_rotation_never_sees_a_file_end_in_half_a_line(tmp_path: Path) -> None:
    path, count = tmp_path / "log", 2000
    log = LogFile(str(path), rotate_size=500, rotate_keep=1000)
    log.write([lines(0, 1)])
    files: list[bytes] = []
    reading, done = threading.Event(), threading.Event()

    def is_current(fd: int) -> bool:
        try:
            return os.path.samestat(os.stat(path), os.fstat(fd))
        except FileNotFoundError:
            return False

    def follow() -> None:
        while not done.is_set():
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue  # Just between the move of the old one and the birth of the new.
            with file:
                reading.set()
                data = b""
                while is_current(file.fileno()) and not done.is_set():
                    data += file.read()
                files.append(data + file.read())

    reader = threading.Thread(target=follow)
    reader.start()
    assert reading.wait(30)
    for n in range(1, count):
        log.write([lines(n, 1)])
    log.close()
    done.set()
    reader.join(30)
    for data in files:
        first = int(data.split()[1]) if data else 0
        assert data == lines(first, data.count(b"\n"))
    assert len(files) > 1
    assert b"".join(p.read_bytes() for p in rotated(path)) == lines(0, count)


def test_a_file_that_was_moved_or_deleted_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "_LOOK_EVERY", 0.0)
    path = tmp_path / "log"
    log = LogFile(str(path))
    log.write([b"a\n"])
    path.rename(tmp_path / "moved")
    log.write([b"b\n"])
    path.unlink()
    log.write([b"c\n"])
    log.close()
    assert (tmp_path / "moved").read_bytes() == b"a\n"
    assert path.read_bytes() == b"c\n"


def test_reopen_goes_on_with_the_file_that_has_the_name_now(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path))
    log.write([b"a\n"])
    path.rename(tmp_path / "moved")
    log.write([b"b\n"])
    log.reopen()
    log.write([b"c\n"])
    log.close()
    assert (tmp_path / "moved").read_bytes() == b"a\nb\n"
    assert path.read_bytes() == b"c\n"


def test_a_half_line_of_a_predecessor_is_ended_first(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"half a li")
    log = LogFile(str(path))
    log.write([b"whole\n"])
    log.close()
    assert path.read_bytes() == b"half a li\nwhole\n"


def test_a_half_line_of_our_own_goes_on_after_a_reopen(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"))
    log.write([b"half "])
    log.reopen()
    log.write([b"line\n"])
    log.close()
    assert (tmp_path / "log").read_bytes() == b"half line\n"


def test_a_rotation_that_is_impossible_lets_the_file_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def replace(_from: str, _to: str, **_directories: int) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    path = tmp_path / "log"
    log = LogFile(str(path), rotate_size=100)
    monkeypatch.setattr(os, "replace", replace)
    for n in range(30):
        assert log.write([lines(n, 1)]) == 12
    log.close()
    assert path.read_bytes() == lines(0, 30)
    assert "cannot rotate" in caplog.text
    assert len(caplog.records) < 6


def test_a_moment_without_descriptors_is_waited_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.open, []

    def scarce(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        calls.append(path)
        if len(calls) < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", scarce)
    log = LogFile(str(tmp_path / "log"))
    assert log.write([b"a\n"]) == 2
    log.close()


# --- a full disk


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a tiny disk")
    place = tmp_path / "tiny"
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", bytes(place), b"tmpfs", 0, b"size=64k") != 0:
        pytest.skip(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    yield place
    libc.umount2(bytes(place), 2)


@pytest.mark.root
def test_a_full_disk_costs_lines_that_are_counted_and_tears_none(tiny_disk: Path) -> None:
    path = tiny_disk / "log"
    log = LogFile(str(path))
    data = lines(0, 10_000)  # 120,000 bytes for 64 KiB.
    with pytest.raises(CannotWrite) as caught:
        log.write([data])
    assert caught.value.errno == errno.ENOSPC
    written = caught.value.written
    assert 0 < written < len(data)
    assert path.read_bytes() == data[:written]
    assert data[:written].endswith(b"\n")
    # Still full, and still nothing torn.
    with pytest.raises(CannotWrite):
        log.write([b"x" * 100_000 + b"\n"])
    # Somebody makes room: it goes on by itself, on a line of its own.
    os.truncate(path, 12)
    log.write([lines(7, 1)])
    log.close()
    assert path.read_bytes() == lines(0, 1) + lines(7, 1)


@pytest.mark.root
def test_a_full_disk_in_the_middle_of_a_rotation_loses_only_what_does_not_fit(
    tiny_disk: Path,
) -> None:
    log = LogFile(str(tiny_disk / "log"), rotate_size=10_000, rotate_keep=100)
    data = lines(0, 10_000)
    with pytest.raises(CannotWrite) as caught:
        log.write([data])
    log.close()
    whole = b"".join(p.read_bytes() for p in rotated(tiny_disk / "log"))
    assert whole == data[: caught.value.written]
    assert whole.endswith(b"\n")


# --- compression of old files


def content(path: Path) -> bytes:
    """Return what is in a log file, compressed or not."""
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def names(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir())


def test_old_files_are_compressed_and_kept_in_their_number(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), rotate_size=100, rotate_keep=3, compress=True)
    for n in range(20):
        log.write([lines(n * 3, 3)])
        log.old.settle()
    log.close()
    assert names(path) == ["log", "log.1.gz", "log.2.gz", "log.3.gz"]
    text = b"".join(content(p) for p in rotated(path))
    assert text == lines(60 - text.count(b"\n"), text.count(b"\n"))


def test_a_writer_that_is_faster_than_the_compression_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), rotate_size=1000, rotate_keep=1000, compress=True)
    for n in range(0, 20_000, 50):
        log.write([lines(n, 50)])
    log.old.settle()
    log.close()
    assert b"".join(content(p) for p in rotated(path)) == lines(0, 20_000)
    assert [p.suffix for p in rotated(path)[:-1]] == [".gz"] * (len(rotated(path)) - 1)
    assert len(rotated(path)) > 200


def test_a_compressed_file_has_permissions_and_time_of_the_plain_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    path.chmod(0o604)
    os.utime(path, (1_000_000, 2_000_000))
    log = LogFile(str(path), rotate_size=4, compress=True)
    log.write([b"new\n"])
    log.old.settle()
    log.close()
    status = (tmp_path / "log.1.gz").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o604, 2_000_000)


def test_files_from_before_and_after_a_change_of_mind_are_shifted_alike(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_bytes(b"1\n")
    (tmp_path / "log.2.gz").write_bytes(gzip.compress(b"2\n"))
    (tmp_path / "log.3").write_bytes(b"3\n")
    (tmp_path / "log.4.gz").write_bytes(gzip.compress(b"4\n"))
    path = tmp_path / "log"
    path.write_bytes(b"0\n")
    log = LogFile(str(path), rotate_size=2, rotate_keep=4)
    log.write([b"a\n"])
    log.close()
    assert names(path) == ["log", "log.1", "log.2", "log.3.gz", "log.4"]
    assert [content(p) for p in rotated(path)] == [b"3\n", b"2\n", b"1\n", b"0\n", b"a\n"]
    log = LogFile(str(path), rotate_size=2, rotate_keep=3, compress=True)
    log.write([b"b\n"])
    log.old.settle()
    log.close()
    assert names(path) == ["log", "log.1.gz", "log.2.gz", "log.3.gz"]
    assert [content(p) for p in rotated(path)] == [b"1\n", b"0\n", b"a\n", b"b\n"]


def test_an_interrupted_compression_is_made_good_at_the_next_opening(tmp_path: Path) -> None:
    path = tmp_path / "log"
    (tmp_path / "log.gz.tmp").write_bytes(b"half of som")  # Killed while compressing.
    (tmp_path / "log.1").write_bytes(b"1\n")
    (tmp_path / "log.2").write_bytes(b"2\n")  # Killed between the last two steps.
    (tmp_path / "log.2.gz").write_bytes(gzip.compress(b"2\n"))
    log = LogFile(str(path), rotate_size=100, compress=True)
    log.write([b"a\n"])
    log.old.settle()
    log.close()
    assert names(path) == ["log", "log.1.gz", "log.2.gz"]
    assert [content(p) for p in rotated(path)] == [b"2\n", b"1\n", b"a\n"]


def test_closing_gives_a_compression_up_and_leaves_the_plain_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"0\n")
    begun, closing = threading.Event(), threading.Event()
    real = os.read

    def slow(fd: int, most: int) -> bytes:
        begun.set()
        assert closing.wait(30)
        return real(fd, most)

    log = LogFile(str(path), rotate_size=2, compress=True)
    log.write([b"a\n"])
    log.old.settle()
    monkeypatch.setattr(os, "read", slow)
    log.write([b"b\n"])
    assert begun.wait(30)

    def settle() -> None:
        closing.set()
        OldFiles.settle(log.old)

    monkeypatch.setattr(log.old, "settle", settle)
    log.close()
    monkeypatch.undo()
    assert names(path) == ["log", "log.1", "log.2.gz"]
    log.write([b""])
    log.old.settle()
    log.close()
    assert names(path) == ["log", "log.1.gz", "log.2.gz"]
    assert [content(p) for p in rotated(path)] == [b"0\n", b"a\n", b"b\n"]


def test_a_compression_that_is_impossible_leaves_the_plain_file_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "log"
    path.write_bytes(b"0\n")
    log = LogFile(str(path), rotate_size=2, compress=True)
    monkeypatch.setattr(os, "fsync", full)
    log.write([b"a\n"])
    log.old.settle()
    assert names(path) == ["log", "log.1"]
    assert "cannot compress the old files of" in caplog.text
    assert "No space left on device" in caplog.text
    monkeypatch.undo()
    log.write([b"b\n"])
    log.old.settle()
    log.close()
    assert names(path) == ["log", "log.1.gz", "log.2.gz"]


def test_what_only_has_the_name_of_an_old_file_is_not_compressed(tmp_path: Path) -> None:
    (tmp_path / "log.1").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_bytes(b"secret\n")
    os.mkfifo(tmp_path / "log.2")
    log = LogFile(str(tmp_path / "log"), rotate_size=2, compress=True)
    log.write([b"a\n"])
    log.old.settle()
    log.close()
    assert names(tmp_path / "log") == ["elsewhere", "log", "log.1", "log.2"]


def test_to_keep_nothing_leaves_nothing_to_compress(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"), rotate_size=2, rotate_keep=0, compress=True)
    for _ in range(5):
        log.write([b"a\n"])
    log.close()
    assert names(tmp_path / "log") == ["log"]
