"""What somebody who owns a directory does to lead a piesd that is root elsewhere; nothing follows.

The attacker is `nobody`, to whom the directory `theirs` belongs, as the directory of its log, its
socket or its pid file belongs to a component's user. What is to be hurt is in `precious`.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from supervisor.model.component import Component, Environment, UnixAddress
from supervisor.model.errors import AlreadyRunning
from supervisor.system.detach import open_log
from supervisor.system.footpath import Misled, open_for_reading, parent_of
from supervisor.system.ledgerfile import LedgerFile, read_records
from supervisor.system.locks import InstanceLock, PidFile
from supervisor.system.logfile import CannotWrite, LogFile
from supervisor.system.lognote import LogNote, Part
from supervisor.system.port import ListenError
from supervisor.system.preparing import prepare
from supervisor.system.program import CannotSpawn
from supervisor.system.sockets import Listeners, check_directory, make_directory

NOBODY = 65534

pytestmark = [
    pytest.mark.real,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to be led to"),
]


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    made = tmp_path / "theirs"
    made.mkdir()
    os.chown(made, NOBODY, NOBODY)
    return made


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    made = tmp_path / "precious"
    made.mkdir()
    (made / "file").write_text("precious\n")
    (made / "file").chmod(0o600)
    return made


def their_link(place: Path, target: Path) -> Path:
    """Have the attacker make a symbolic link."""
    place.symlink_to(target)
    os.chown(place, NOBODY, NOBODY, follow_symlinks=False)
    return place


def untouched(precious: Path) -> None:
    assert os.listdir(precious) == ["file"]
    status = (precious / "file").stat()
    assert (precious / "file").read_text() == "precious\n"
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o600)


# --- the way to a file


def test_a_link_of_root_is_followed_and_one_of_somebody_else_is_not(
    theirs: Path, precious: Path
) -> None:
    (theirs / "of-root").symlink_to(precious)
    with parent_of(str(theirs / "of-root" / "file")) as (directory, name):
        assert os.stat(name, dir_fd=directory).st_size == 9
    their_link(theirs / "of-them", precious)
    reason = "the symbolic link 'of-them' on the way belongs to uid 65534: it is not followed"
    with pytest.raises(Misled, match=reason), parent_of(str(theirs / "of-them" / "file")):
        pass


def test_links_of_links_and_dots_lead_where_the_kernel_would_go(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "up").symlink_to("../../a")
    (tmp_path / "again").symlink_to(tmp_path / "a" / "b" / "up" / "b" / ".." / "b")
    with parent_of(str(tmp_path / "again" / "." / "x")) as (directory, name):
        assert os.path.samestat(os.fstat(directory), (tmp_path / "a" / "b").stat())
        assert name == "x"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="Too many levels") as caught, parent_of(f"{tmp_path}/loop/x"):
        pass
    assert caught.value.errno == errno.ELOOP
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError), parent_of(f"{tmp_path}/file/x"):
        pass


def test_what_is_read_for_somebody_may_be_behind_links_of_root_alone(
    theirs: Path, precious: Path
) -> None:
    (theirs / "rooted").symlink_to(precious / "file")
    with open(open_for_reading(str(theirs / "rooted"))) as file:
        assert file.read() == "precious\n"
    for name in ("file", "directory"):
        target = precious / "file" if name == "file" else precious
        their_link(theirs / name, target)
    for path in (theirs / "file", theirs / "directory" / "file"):
        with pytest.raises(Misled):
            open_for_reading(str(path))


# --- logs


def refused_log(path: Path, word: str) -> None:
    with closing(LogFile(str(path))) as log, pytest.raises(CannotWrite, match=word):
        log.write([b"gotcha\n"])


def test_a_log_is_not_written_through_a_link_to_a_directory(theirs: Path, precious: Path) -> None:
    their_link(theirs / "logs", precious)
    refused_log(theirs / "logs" / "file", "belongs to uid 65534")
    refused_log(theirs / "logs" / "new", "belongs to uid 65534")
    untouched(precious)


def test_a_log_is_not_written_to_a_file_that_has_other_names(theirs: Path, precious: Path) -> None:
    os.link(precious / "file", theirs / "log")
    refused_log(theirs / "log", "hard links")
    untouched(precious)
    # Where nobody else can make names, several are the administrator's affair.
    os.link(precious / "file", precious / "log")
    with closing(LogFile(str(precious / "log"))) as log:
        assert log.write([b"line\n"]) == 5


def test_a_rotation_moves_and_removes_nothing_behind_a_link(theirs: Path, precious: Path) -> None:
    (theirs / "logs").mkdir()
    (precious / "file.1").write_text("precious too\n")
    with closing(LogFile(str(theirs / "logs" / "file"), rotate_size=10, rotate_keep=1)) as log:
        log.write([b"first\n"])
        (theirs / "logs").rename(theirs / "away")
        their_link(theirs / "logs", precious)
        with suppress(CannotWrite):
            log.write([b"second\n", b"third\n"])
    assert (precious / "file.1").read_text() == "precious too\n"
    (precious / "file.1").unlink()
    untouched(precious)


def test_a_compression_reads_and_removes_nothing_behind_links(theirs: Path, precious: Path) -> None:
    (precious / "file.1").write_text("precious too\n")
    (precious / "file.gz.tmp").write_text("precious as well\n")
    their_link(theirs / "logs", precious)
    log = LogFile(str(theirs / "logs" / "file"), rotate_size=10, compress=True)
    log.old.tidy()
    log.old.settle()
    assert sorted(os.listdir(precious)) == ["file", "file.1", "file.gz.tmp"]
    os.link(precious / "file", theirs / "log.1")
    log = LogFile(str(theirs / "log"), rotate_size=10, compress=True)
    log.old.tidy()
    log.old.settle()
    assert sorted(os.listdir(theirs)) == ["log.1", "logs"]


@pytest.fixture
def note(tmp_path: Path, precious: Path) -> Iterator[LogNote]:
    """Give what says that a predecessor was killed while it wrote to a file; that one is gone.

    Its inode is that of a file by now which the attacker would like to have cut back.
    """
    (precious / "file").write_text("no line of a log")
    victim = (precious / "file").stat()
    (tmp_path / "kept").mkdir()
    directory = os.open(tmp_path / "kept", os.O_RDONLY | os.O_DIRECTORY)
    with closing(LogNote(directory, "note")) as made:
        made.find("anything")
        made.begin([Part(7, 99, 99, 99, 0, 0)], [b"." * 98 + b"\n"])
        made.mark(victim.st_dev, victim.st_ino, 0, 0, 99)
        yield made
    os.close(directory)


def test_no_half_line_is_taken_back_from_a_file_behind_a_link(
    note: LogNote, theirs: Path, precious: Path
) -> None:
    their_link(theirs / "logs", precious)
    with pytest.raises(Misled):
        note.find(str(theirs / "logs" / "file"))
    assert (precious / "file").read_text() == "no line of a log"


def test_no_half_line_is_taken_back_from_a_file_that_has_other_names(
    note: LogNote, theirs: Path, precious: Path
) -> None:
    os.link(precious / "file", theirs / "log")
    with pytest.raises(Misled):
        note.find(str(theirs / "log"))
    (theirs / "log").rename(theirs / "log.moved")
    # It cannot be told from one that is gone; what is written next is written nevertheless.
    assert note.find(str(theirs / "log")).file == (0, 0, 0)
    assert (precious / "file").read_text() == "no line of a log"


def test_our_own_log_is_not_begun_behind_links(theirs: Path, precious: Path) -> None:
    their_link(theirs / "logs", precious)
    os.link(precious / "file", theirs / "piesd.log")
    os.mkfifo(theirs / "fifo")
    for path, number in (
        (theirs / "logs" / "file", errno.ELOOP),
        (theirs / "piesd.log", errno.EMLINK),
        (theirs / "fifo", errno.ENXIO),
    ):
        with pytest.raises(OSError, match=".") as caught:
            open_log(str(path))
        assert caught.value.errno == number
    untouched(precious)


# --- starts


def test_no_file_is_removed_behind_a_link(theirs: Path, precious: Path) -> None:
    their_link(theirs / "run", precious)
    spec = Component(tag="web", argv=("x",), remove_file=(str(theirs / "run" / "file"),))
    with pytest.raises(CannotSpawn, match="remove-file .* belongs to uid 65534") as caught:
        prepare(spec)
    assert caught.value.stage == "remove-file"
    untouched(precious)


@pytest.mark.parametrize("kind", ["symbolic", "hard", "directory"])
def test_no_secret_of_others_becomes_a_variable(theirs: Path, precious: Path, kind: str) -> None:
    path = theirs / "secret"
    if kind == "symbolic":
        their_link(path, precious / "file")
    elif kind == "hard":
        os.link(precious / "file", path)
    else:
        their_link(path, precious)
        path = path / "file"
    spec = Component(tag="web", argv=("x",), env=Environment(files={"PW": str(path)}))
    with pytest.raises(CannotSpawn, match="env PW: file ") as caught:
        prepare(spec)
    assert "precious\n" not in str(caught.value)


# --- sockets


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    made = Listeners()
    yield made
    made.dispose()


def swapping(monkeypatch: pytest.MonkeyPatch, swap: Callable[[], None]) -> None:
    """Have the attacker be fastest: *swap* happens between bind and what follows."""

    class Swapped(socket.socket):
        def bind(self, address: object) -> None:
            super().bind(address)  # type: ignore[arg-type]
            swap()

    monkeypatch.setattr(socket, "socket", Swapped)


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_mode_and_owner_go_to_the_socket_alone(
    theirs: Path,
    precious: Path,
    listeners: Listeners,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    path = theirs / "door"

    def swap() -> None:
        path.unlink()
        if kind == "hard":
            os.link(precious / "file", path)
        else:
            their_link(path, precious / "file")

    swapping(monkeypatch, swap)
    with pytest.raises(ListenError, match="somebody else has put something in its place"):
        listeners.listen(UnixAddress(path=str(path), mode=0o666, user="nobody"))
    assert os.path.lexists(path)
    untouched(precious)


def test_no_socket_is_made_or_removed_behind_a_link(
    theirs: Path, precious: Path, listeners: Listeners
) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(precious / "stale"))
    their_link(theirs / "run", precious)
    for name in ("stale", "new"):
        with pytest.raises(ListenError, match="belongs to uid 65534"):
            listeners.listen(UnixAddress(path=str(theirs / "run" / name)))
    assert sorted(os.listdir(precious)) == ["file", "stale"]
    (precious / "stale").unlink()
    untouched(precious)


# --- what is piesd's own


def test_a_pid_file_is_not_put_behind_a_link(theirs: Path, precious: Path) -> None:
    their_link(theirs / "run", precious)
    with pytest.raises(Misled):
        PidFile(str(theirs / "run" / "file")).write()
    untouched(precious)
    # In the place of a link it is put itself.
    their_link(theirs / "pid", precious / "file")
    PidFile(str(theirs / "pid")).write()
    assert (theirs / "pid").read_text() == f"{os.getpid()}\n"
    untouched(precious)


def test_a_directory_to_which_somebody_else_leads_is_neither_made_nor_taken(
    theirs: Path, precious: Path
) -> None:
    their_link(theirs / "run", precious)
    with pytest.raises(Misled):
        make_directory(str(theirs / "run" / "new"))
    with pytest.raises(OSError, match="belongs to uid 65534"):
        check_directory(str(theirs / "run"), {0})
    untouched(precious)


def test_a_ledger_of_others_or_with_other_names_is_not_read(theirs: Path, precious: Path) -> None:
    ledger = LedgerFile(str(precious / "x.ledger"))
    ledger.begin([b"start this"])
    ledger.close()
    os.link(precious / "x.ledger", theirs / "x.ledger")
    with pytest.raises(OSError, match="hard links"):
        read_records(str(theirs / "x.ledger"))
    os.chown(precious / "x.ledger", NOBODY, NOBODY)
    with pytest.raises(OSError, match="not a file of ours"):
        read_records(str(precious / "x.ledger"))


def test_nobody_else_can_hold_the_lock(tmp_path: Path) -> None:
    old = tmp_path / "x.lock"
    old.touch(0o644)  # As earlier versions made it.
    before = os.umask(0)
    try:
        for _ in range(2):
            lock = InstanceLock(str(tmp_path), "x")
            lock.acquire()
            assert stat.S_IMODE(old.stat().st_mode) == 0o600
            with pytest.raises(AlreadyRunning):
                InstanceLock(str(tmp_path), "x").acquire()
            lock.release()
    finally:
        os.umask(before)


def test_in_a_user_namespace_the_rest_of_the_system_is_nobodys(tmp_path: Path) -> None:
    """There, what belongs to users who are not mapped belongs to none who could attack."""
    (tmp_path / "real").mkdir()
    their_link(tmp_path / "link", tmp_path / "real")
    code = (
        "import sys; from supervisor.system.footpath import parent_of\n"
        "with parent_of(sys.argv[1]) as (_, name): print(name)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "link" / "file")]
    root = Path(__file__).parents[2]
    if subprocess.run(["unshare", "-Ur", "true"], check=False, capture_output=True).returncode:
        pytest.skip("user namespaces are not to be had here")

    def run(*wrapper: str) -> subprocess.CompletedProcess[str]:
        command = [*wrapper, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)

    inside = run("unshare", "-Ur")
    assert inside.stdout == "file\n", inside.stderr
    assert "belongs to uid 65534" in run().stderr
