"""piesd as another user, and the pid file that keeps two of them apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
