"""piesd as the init process of a machine that cannot boot: a shell on its console, and what next.

The shell is a sulogin of ours, which says that it is there and waits until somebody writes to a
FIFO; it stands over the machine's own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from init_machine import Machine
from namespaces import PIESD, break_piesd, inmate, why_not

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "none"),
]

SULOGIN = """\
#!/bin/sh
echo "sulogin is there, with $CONSOLE" >/proc/1/fd/2
read word </world/gate
echo "sulogin has read $word" >/proc/1/fd/2
"""

RIGHT = """
id:2:initdefault:
si::sysinit:/bin/echo sysinit
l2:2:wait:/bin/echo level two
r1:2:respawn:/bin/sleep 1000000
"""

WRONG = RIGHT + "one:2:respaun:/bin/true\ntwo:x:once:/bin/true\n"


@contextmanager
def broken(
    home: Path,
    inittab: str | None,
    *options: str,
    sulogin: str = SULOGIN,
    toml: str | None = None,
    piesd: tuple[str, ...] = PIESD,
) -> Iterator[Machine]:
    one = Machine(home, inittab, *options, sulogin=sulogin, toml=toml, piesd=piesd)
    try:
        yield one
    finally:
        one.kill()


def leave(home: Path) -> None:
    """Let the shell end."""
    gate = os.open(home / "files" / "gate", os.O_WRONLY)
    os.write(gate, b"bye\n")
    os.close(gate)


def mend(home: Path) -> None:
    (home / "files" / "inittab").write_text(RIGHT)


def boots(one: Machine) -> None:
    boots_anew(one)
    assert "Traceback" not in one.said


def boots_anew(one: Machine) -> None:
    one.hear("| sysinit")
    one.hear("| level two")
    one.hear("'r1' started")


def test_every_fault_is_told_and_the_end_of_the_shell_is_another_try(tmp_path: Path) -> None:
    with broken(tmp_path, WRONG) as one:
        one.hear("sulogin is there, with /dev/console")
        assert "respaun" in one.said
        assert "is no runlevel" in one.said
        assert "| sysinit" not in one.said
        leave(tmp_path)
        one.hear("sulogin has read bye")
        one.hear("respaun")
        one.hear("sulogin is there")
        mend(tmp_path)
        leave(tmp_path)
        boots(one)


@pytest.mark.parametrize("how", ["SIGHUP", "telinit q"])
def test_whoever_has_mended_it_can_ask_to_go_on(tmp_path: Path, how: str) -> None:
    def ask() -> None:
        if how == "SIGHUP":
            one.signal(signal.SIGHUP)
        else:
            one.telinit("q")

    with broken(tmp_path, WRONG) as one:
        one.hear("sulogin is there")
        ask()
        one.hear("respaun")
        mend(tmp_path)
        ask()
        one.hear("the shell on the console has to leave")
        boots(one)
        assert one.said.count("sulogin is there") == 1
        one.telinit("3")
        one.hear("entering runlevel 3 from 2")


@pytest.mark.parametrize("fault", ["missing", "unreadable"])
def test_an_inittab_that_cannot_be_read_is_a_fault_like_others(tmp_path: Path, fault: str) -> None:
    with broken(tmp_path, None if fault == "missing" else "") as one:
        one.hear("inittab")
        one.hear("sulogin is there")
        if fault == "unreadable":
            (tmp_path / "files" / "inittab").unlink()
        mend(tmp_path)
        leave(tmp_path)
        boots(one)


def test_nothing_else_is_heeded_meanwhile_and_orphans_are_reaped(tmp_path: Path) -> None:
    with broken(tmp_path, WRONG) as one:
        one.hear("sulogin is there")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPWR):
            one.signal(number)
            one.hear(f"{number.name} is not heeded")
        one.telinit("3")
        one.hear("nothing but 'telinit q' is heeded")
        one.shell("(sleep 0 &) ; (true &)")
        one.until(lambda: "Z" not in one.shell("cat /proc/[0-9]*/stat | cut -d' ' -f3"), "reaped")
        mend(tmp_path)
        leave(tmp_path)
        boots(one)


def test_without_sulogin_it_is_a_plain_shell(tmp_path: Path) -> None:
    with broken(tmp_path, WRONG, sulogin="-") as one:
        one.hear("there is a shell on the console")
        one.until(lambda: "sh" in one.children(), "a shell")


def test_a_shell_that_cannot_run_is_tried_again_and_does_not_spin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUSHELL", "/no/such/shell")
    with broken(tmp_path, WRONG, sulogin="#!/no/such/sulogin\n") as one:
        for _ in range(2):
            one.hear("has ended with code 127")
        used = psutil.Process(one.pid).cpu_times().user
        one.hear("has ended with code 127")
        assert psutil.Process(one.pid).cpu_times().user - used < 0.5
        mend(tmp_path)
        one.signal(signal.SIGHUP)
        boots(one)


@pytest.mark.parametrize("word", ["emergency", "-b"])
def test_emergency_is_a_shell_and_the_boot_after_it(tmp_path: Path, word: str) -> None:
    with broken(tmp_path, RIGHT, word) as one:
        one.hear("sulogin is there")
        one.signal(signal.SIGHUP)
        one.hear("SIGHUP is not heeded")
        assert "sysinit" not in one.said
        leave(tmp_path)
        boots(one)


def test_one_that_cannot_start_does_not_end_either(tmp_path: Path) -> None:
    table = RIGHT + "#pies pragma next toml /world/more.toml\n"
    settings = '[daemon]\nuser = "nobody"\nruntime-directory = "/usr/sbin"\n'
    with broken(tmp_path, table, toml=settings) as one:
        one.hear("cannot run piesd as asked")
        one.hear("there is a shell on the console, as it cannot start")


@pytest.mark.parametrize(
    ("word", "told", "then"),
    [
        ("--quiet-please", "ignored on the command line: --quiet-please", "sysinit"),
        ("--debug=x", "invalid int value: 'x'", "sulogin is there"),
    ],
)
def test_a_command_line_that_cannot_be_understood_is_no_end(
    tmp_path: Path, word: str, told: str, then: str
) -> None:
    (tmp_path / "files").mkdir()
    words = break_piesd(tmp_path / "files" / "init", "", Path("/world/init"))
    with broken(tmp_path, RIGHT, word, piesd=words) as one:
        one.hear(told)
        one.hear(then)


@pytest.mark.parametrize("when", ["main.parse", "daemon.Daemon._engine"])
def test_ctrl_alt_del_before_it_is_listened_for_is_no_end(tmp_path: Path, when: str) -> None:
    fault = f"""
import os, signal
import supervisor.daemon, supervisor.main
plain = supervisor.{when}
def interrupted(*args):
    os.kill(os.getpid(), signal.SIGINT)
    return plain(*args)
supervisor.{when} = interrupted
"""
    (tmp_path / "files").mkdir()
    words = break_piesd(tmp_path / "files" / "init", fault, Path("/world/init"))
    with broken(tmp_path, RIGHT, piesd=words) as one:
        boots(one)


def test_one_whose_own_program_is_broken_has_a_shell_to_mend_it(tmp_path: Path) -> None:
    fault = """
import os
if not os.path.exists("/world/mended"):
    sys.modules["supervisor.runtime.runner"] = None
"""
    (tmp_path / "files").mkdir()
    words = break_piesd(tmp_path / "files" / "piesd", fault, Path("/world/piesd"))
    with broken(tmp_path, RIGHT, "--init", piesd=words) as one:
        one.hear("supervisor.runtime.runner")
        one.hear("sulogin is there")
        (tmp_path / "files" / "mended").touch()
        leave(tmp_path)
        boots_anew(one)


def test_in_a_container_a_wrong_configuration_is_the_end(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("[component.a]\ncommand = 3\n")
    with inmate([*PIESD, "-c", str(tmp_path / "wrong.toml")]) as one:
        assert one.end() == 78
        assert "component.a.command" in one.said
