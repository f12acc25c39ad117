"""piesd as another user, and the pid file that keeps two of them apart."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from piesd_process import Piesd, piesd
from supervisor.model.errors import AlreadyRunning
from supervisor.system import locks, privileges
from supervisor.system.locks import PidFile
from supervisor.system.privileges import CannotBecome, become
from supervisor.system.users import Identity

ROOT = str(Path(__file__).parent.parent.parent)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


def in_another(text: str) -> str:
    """Run Python code in a process of its own, for what cannot be taken back."""
    done = subprocess.run(
        [sys.executable, "-c", text],
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_root
@pytest.mark.root
def test_piesd_becomes_a_user_with_all_ids_and_for_good() -> None:
    told = in_another(
        "import os\n"
        "from supervisor.system.privileges import become\n"
        "environ = {'HOME': '/root', 'X': '1'}\n"
        "become('nobody', ('adm',), False, environ)\n"
        "print(os.getresuid(), os.getresgid(), os.getgroups(), environ)\n"
        "try: os.setuid(0)\n"
        "except PermissionError: print('for good')\n"
    )
    assert told.splitlines() == [
        "(65534, 65534, 65534) (65534, 65534, 65534) [4, 65534] "
        "{'HOME': '/nonexistent', 'X': '1', 'USER': 'nobody', 'LOGNAME': 'nobody', "
        "'SHELL': '/usr/sbin/nologin'}",
        "for good",
    ]


@needs_root
@pytest.mark.root
def test_children_of_a_piesd_that_became_somebody_can_be_limited() -> None:
    told = in_another(
        "import sys, trio\n"
        f"sys.path.insert(0, {ROOT + '/tests'!r})\n"
        "from real_children import RealChildren\n"
        "from supervisor.system.privileges import become\n"
        "from supervisor.system.process_setup import prepare_process\n"
        "setup = prepare_process()\n"
        "become('nobody')\n"
        "async def main():\n"
        "    async with RealChildren(setup=setup) as children:\n"
        "        started = children.shell('ulimit -n; id -u', limits={'nofile': 99}, chdir='/')\n"
        "        print(await started.output())\n"
        "trio.run(main)\n"
    )
    assert told.split() == ["99", "65534"]


def test_a_name_that_means_nothing_is_refused_and_nothing_has_changed() -> None:
    before = os.getresuid(), os.getresgid(), os.getgroups()
    with pytest.raises(CannotBecome) as caught:
        become("nobodyy")
    assert str(caught.value) == "cannot run piesd as asked: user 'nobodyy': no such user"
    with pytest.raises(CannotBecome, match="group 'admm': no such group"):
        become(None, ("admm",))
    assert before == (os.getresuid(), os.getresgid(), os.getgroups())


def test_nothing_is_done_where_nothing_is_asked() -> None:
    environ: dict[str, str] = {}
    assert become(None, (), True, environ) is None
    assert environ == {}


def test_the_user_we_are_needs_no_right() -> None:
    environ: dict[str, str] = {}
    if os.geteuid() == 0 and set(os.getgroups()) - {0}:
        pytest.skip("root with further groups would lose them")
    identity = become(str(os.geteuid()), (), False, environ)
    assert identity is not None
    assert environ["USER"] == identity.name


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_an_ordinary_user_cannot_become_another() -> None:
    with pytest.raises(CannotBecome, match=r"user 'root': .* \(piesd is not root\)"):
        become("root")


def test_a_step_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_groups: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    undone: list[object] = []
    monkeypatch.setattr(os, "setgroups", refuse)
    monkeypatch.setattr(os, "setresgid", lambda *ids: undone.append(ids))
    identity = Identity(65534, 65534, (65534, 4), "nobody", "/", "/bin/sh", changed=True)
    with pytest.raises(CannotBecome) as caught:
        privileges._switch(identity)
    assert str(caught.value) == (
        "cannot run piesd as asked: groups 65534 4: Operation not permitted"
    )


# --- a whole piesd

SLEEPER = '[component.web]\ncommand = ["sleep", "1000"]\n'


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a directory that everybody may go into, and only root may write to."""
    path = Path(tempfile.mkdtemp(prefix="piesd-test."))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@needs_root
@pytest.mark.root
def test_a_piesd_that_became_somebody_works_and_has_written_its_pid_file_before(
    place: Path,
) -> None:
    config = f'[daemon]\nuser = "nobody"\npidfile = "{place}/pid"\n{SLEEPER}stdout = "web.log"\n'
    with piesd(place, config) as daemon:
        # It answers even where only root may read the modules that are loaded for that.
        row = daemon.until_status("web", "running")
        assert "Uid:\t65534\t" in Path(f"/proc/{row['PID']}/status").read_text()
        assert (place / "pid").read_text() == f"{daemon.pid}\n"
        assert (place / "pid").stat().st_uid == 0
        for made in ("run", "state", "log", "run/piesd.ctl"):
            assert (place / made).stat().st_uid == 65534, made
    # Its directory is root's: it stays, and names nobody.
    assert PidFile(str(place / "pid")).owner() is None
    (place / "notify").unlink()
    os.chown(place / "run", 0, 0)  # Root works in no directory that is somebody else's.
    with piesd(place, config.replace("nobody", "root")) as daemon:
        assert (place / "pid").read_text() == f"{daemon.pid}\n"
    assert not (place / "pid").exists()


@needs_root
@pytest.mark.root
def test_a_directory_that_the_user_may_not_write_to_is_named(place: Path) -> None:
    (place / "run").mkdir(0o755)
    daemon = Piesd(place, f'[daemon]\nuser = "nobody"\n{SLEEPER}')
    try:
        assert daemon.wait_end() == 69
    finally:
        daemon.end()
    assert daemon.log == (
        f"piesd: cannot run piesd as 'nobody': it may not write to {place}/run; chown that "
        "directory, or name another one as 'runtime-directory' in [daemon]\n"
    )


@needs_root
@pytest.mark.root
@pytest.mark.parametrize(("other", "again"), [(False, False), (True, False), (False, True)])
def test_the_usual_directory_goes_to_the_user_unless_another_instance_is_there(
    place: Path, other: bool, again: bool
) -> None:
    shown = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    if shown.returncode != 0:
        pytest.skip("this root may not have a /run of its own")
    script = 'mount -t tmpfs none /run && mkdir /run/piesd || exit; "$@"; ls -n /run/piesd'
    if again:
        script = script.replace("|| exit", "&& chown 1234 /run/piesd || exit")
    if other:
        script = script.replace("|| exit", "&& touch /run/piesd/other.lock || exit")
    config = place / "piesd.toml"
    config.write_text(f'[daemon]\nuser = "nobody"\nstate-directory = "{place}/state"\n{SHORT}')
    done = subprocess.run(
        [
            *["unshare", "-m", "sh", "-c"],
            script,
            "sh",
            sys.executable,
            "-m",
            "supervisor",
            "-c",
            str(config),
        ],
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if other:
        assert "it may not write to /run/piesd; chown" in done.stderr
    else:
        assert "ending with code 7" in done.stderr
        assert done.stdout == "total 0\n", "nothing is left that the user could not remove"


SHORT = '[component.web]\nmode = "once"\ncommand = ["sh", "-c", "exit 7"]\nessential = true\n'


# --- the pid file


def test_a_pid_file_of_a_living_process_refuses_the_start(tmp_path: Path) -> None:
    path = tmp_path / "piesd.pid"
    path.write_text(f"{os.getppid()}\n")
    file = PidFile(str(path))
    with pytest.raises(AlreadyRunning) as caught:
        file.check()
    assert str(caught.value) == (
        f"cannot start: the pid file {path} names process {os.getppid()}, which is alive; "
        "stop that first, or say --force if it is something else"
    )
    file.check(force=True)
    file.write()
    file.check()  # Our own does not stand in our way.
    assert path.read_text() == f"{os.getpid()}\n"


def test_a_pid_file_that_names_nobody_is_no_obstacle(tmp_path: Path) -> None:
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    path = tmp_path / "piesd.pid"
    file = PidFile(str(path))
    file.check()
    for content in (f"{ended.pid}\n", "", "nonsense\n", "-1\n", "0\n", "9" * 30, "é"):
        path.write_text(content)
        assert file.owner() is None, content
        file.check()


def test_a_pid_file_that_is_no_file_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "piesd.pid"
    os.mkfifo(path)
    file = PidFile(str(path))
    file.check()
    file.remove()
    assert path.is_fifo()
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"


def test_a_pid_file_is_never_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious\n")
    path = tmp_path / "piesd.pid"
    path.symlink_to(victim)
    PidFile(str(path)).write()
    assert not path.is_symlink()
    assert victim.read_text() == "precious\n"
    for put in ("symlink_to", "hardlink_to"):
        draft = tmp_path / f"piesd.pid.{os.getpid()}.tmp"
        getattr(draft, put)(victim)
        PidFile(str(path)).write()
        assert not draft.exists()
        assert victim.read_text() == "precious\n"
        assert not path.samefile(victim)


def test_a_number_that_was_given_anew_since_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "piesd.pid"
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as later:
        path.write_text(f"{later.pid}\n")
        file = PidFile(str(path))
        assert file.owner() == later.pid
        os.utime(path, (1e9, 1e9))
        assert file.owner() is None
        later.communicate()


def test_a_process_that_proc_hides_counts_as_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "piesd.pid"
    path.write_text(f"{os.getppid()}\n")
    monkeypatch.setattr(locks, "read_process", lambda _pid: None)
    assert PidFile(str(path)).owner() == os.getppid()
