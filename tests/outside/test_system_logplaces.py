"""Log files that are no plain file: links, pipes, sockets, and streams that somebody has open."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from supervisor.system import logfile
from supervisor.system.logfile import CannotWrite, LogFile

pytestmark = pytest.mark.real


def lines(first: int, count: int) -> bytes:
    return b"".join(b"line %06d\n" % n for n in range(first, first + count))


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotWrite) as caught:
        LogFile(str(tmp_path / "log")).write([b"a\n"])
    assert (caught.value.errno, caught.value.written) == (errno.ELOOP, 0)
    assert "symbolic link" in str(caught.value)
    assert not (tmp_path / "elsewhere").exists()


def test_a_socket_is_no_log_file(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as collector:
        collector.bind(str(tmp_path / "log"))
        with pytest.raises(CannotWrite, match="it is a socket"):
            LogFile(str(tmp_path / "log")).write([b"a\n"])


def test_a_fifo_without_a_reader_is_an_error_and_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CannotWrite, match="nobody reads") as caught:
        LogFile(str(tmp_path / "fifo")).write([b"a\n"])
    assert caught.value.errno == errno.ENXIO


def test_a_fifo_is_never_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "_PATIENCE", 0.0)
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    log = LogFile(str(tmp_path / "fifo"), rotate_size=10)
    assert log.write([lines(0, 10)]) == 120
    assert os.read(reader, 1000) == lines(0, 10)
    assert os.listdir(tmp_path) == ["fifo"]
    # A reader that sleeps costs lines, counted, and after a bounded time.
    with pytest.raises(CannotWrite) as caught:
        log.write([b"x" * 1_000_000])
    assert caught.value.errno == errno.EAGAIN
    assert 0 < caught.value.written < 1_000_000
    assert len(os.read(reader, 1_000_000)) == caught.value.written
    os.close(reader)
    with pytest.raises(CannotWrite) as caught:
        log.write([b"a\n"])
    assert caught.value.errno == errno.EPIPE
    log.close()


@pytest.mark.parametrize("name", ["/dev/fd/{fd}", "/proc/self/fd/{fd}", "/proc/{pid}/fd/{fd}"])
def test_our_own_stream_is_shared_and_never_rotated(tmp_path: Path, name: str) -> None:
    path = tmp_path / "out"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"before\n")
    log = LogFile(name.format(pid=os.getpid(), fd=fd), rotate_size=10)
    log.write([lines(0, 5)])
    os.write(fd, b"after\n")
    log.write([lines(5, 1)])
    log.close()
    os.close(fd)
    assert os.listdir(tmp_path) == ["out"]
    assert path.read_bytes() == b"before\n" + lines(0, 5) + b"after\n" + lines(5, 1)


def test_the_stream_of_another_process_is_shared_and_never_rotated(tmp_path: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        log = LogFile(f"/proc/{other.pid}/fd/1", rotate_size=10)
        log.write([lines(0, 5)])
        log.close()
        other.stdin.close()
        assert other.stdout.read() == lines(0, 5)
    with (
        (tmp_path / "out").open("ab") as out,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=out) as other,
    ):
        log = LogFile(f"/proc/{other.pid}/fd/1", rotate_size=10)
        log.write([lines(0, 5)])
        log.close()
    assert os.listdir(tmp_path) == ["out"]
    assert (tmp_path / "out").read_bytes() == lines(0, 5)
    with pytest.raises(CannotWrite):
        LogFile(f"/proc/{other.pid}/fd/1").write([b"a\n"])


def test_standard_output_goes_where_it_is_connected_to(
    capfd: pytest.CaptureFixture[str],
) -> None:
    log = LogFile("/dev/stdout")
    log.write([b"hello\n"])
    log.close()
    log = LogFile("/dev/stderr")
    log.write([b"oh\n"])
    log.close()
    assert capfd.readouterr() == ("hello\n", "oh\n")


def test_a_directory_of_our_own_is_made_whenever_it_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "state" / "log" / "web"
    log = LogFile(str(path), own_directory=True)
    log.write([b"a\n"])
    shutil.rmtree(tmp_path / "state")
    log.reopen()
    log.write([b"b\n"])
    log.close()
    assert path.read_bytes() == b"b\n"
    with pytest.raises(CannotWrite):
        LogFile(str(tmp_path / "elsewhere" / "web")).write([b"a\n"])
