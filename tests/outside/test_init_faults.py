"""piesd as process 1 when it goes wrong inside: what fails, it survives, and it goes on reaping.

What cannot be brought about from outside is brought about by a program that breaks one function of
ours and then runs piesd as ever.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from init_container import answers, ask, container
from init_machine import Machine
from namespaces import PIESD, Inmate, break_piesd, inmate, why_not
from piesd_process import UnixConnection

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "none"),
]

PLAIN = '[component.main]\ncommand = "sleep 1000000"\nprecious = true\n'


def broken(tmp_path: Path, fault: str) -> list[str]:
    """Return the words that run piesd in a container after the Python statements *fault*."""
    program = break_piesd(tmp_path / "broken.py", fault)
    return [*program, *container(tmp_path, PLAIN)[len(PIESD) :]]


def inside(one: Inmate, *words: str) -> None:
    """Run a program in there."""
    enter = ["nsenter", "-t", str(one.pid), "-p", "-m", "-r", "-w", "--"]
    subprocess.run([*enter, *words], check=True, timeout=30)


def reaps(one: Inmate) -> None:
    """Make orphans, and wait until it has reaped them."""
    first = psutil.Process(one.pid)
    before = {child.pid for child in first.children()}
    script = "import os\nfor _ in range(50):\n    os.fork() or os._exit(0)\nos._exit(0)\n"
    # The child of nsenter is ours; those that it leaves behind are of process 1.
    inside(one, sys.executable, "-c", script)
    one.until(
        lambda: not {child.pid for child in first.children()} - before, "the end of the orphans"
    )


# --- crashes


def test_a_crash_in_a_task_is_logged_and_the_task_taken_up_again(tmp_path: Path) -> None:
    fault = """
from supervisor.system.linux import LinuxSystem
serve, calls = LinuxSystem.serve, []
async def once_broken(self):
    calls.append(1)
    if len(calls) == 1:
        raise ZeroDivisionError("a crash in a task")
    await serve(self)
LinuxSystem.serve = once_broken
"""
    with inmate(broken(tmp_path, fault)) as one:
        one.hear("cannot go on with watching descriptors")
        answers(one, tmp_path)
        row = json.loads(ask(tmp_path, "/programs"))[0]
        assert row["status"] == "running"
        reaps(one)
        one.signal(signal.SIGTERM)
        assert one.end() == 0


@pytest.mark.parametrize("error", ["ZeroDivisionError", "MemoryError", "SystemExit"])
def test_a_crash_of_the_loop_leaves_it_reaping(tmp_path: Path, error: str) -> None:
    fault = f"""
from supervisor.daemon import Daemon
def crash(self):
    raise {error}("a crash of the loop")
Daemon._announce = crash
"""
    with inmate(broken(tmp_path, fault)) as one:
        one.hear("a crash of the loop")
        one.hear("supervising nothing any more; reaping only")
        reaps(one)
        one.signal(signal.SIGTERM)
        assert one.end() == 70


@pytest.mark.parametrize("what", ["supervisor.main.parse", "supervisor.main.prepare_streams"])
def test_a_crash_before_the_loop_leaves_it_reaping(tmp_path: Path, what: str) -> None:
    module, _, name = what.rpartition(".")
    fault = f"""
import {module}
def crash(*args):
    raise ZeroDivisionError("a crash before the loop")
{module}.{name} = crash
"""
    with inmate(broken(tmp_path, fault)) as one:
        one.hear("a crash before the loop")
        one.hear("reaping only")
        reaps(one)
        one.signal(signal.SIGTERM)
        assert one.end() == 70


# --- what the machine has no more of


def limit(one: Inmate, what: int, most: int | None) -> None:
    """Lower a limit of process 1, or (None) raise it again."""
    _, hard = resource.prlimit(one.pid, what)
    resource.prlimit(one.pid, what, (hard if most is None else most, hard))


def test_without_memory_it_goes_on_reaping_and_says_so(tmp_path: Path) -> None:
    with inmate(container(tmp_path, PLAIN)) as one:
        answers(one, tmp_path)
        limit(one, resource.RLIMIT_AS, psutil.Process(one.pid).memory_info().vms // 2)
        reaps(one)
        file = tmp_path / "piesd.toml"
        text = file.read_text() + '[component.more]\ncommand = "sleep 1000000"\n'
        file.write_text(text + "# It takes more than there is to read this.\n" * 100_000)
        one.signal(signal.SIGHUP)
        one.hear("cannot reload the configuration: out of memory")
        reaps(one)
        main = json.loads(ask(tmp_path, "/programs"))[0]["PID"]
        inside(one, "kill", "-9", str(main))
        one.hear("'main' started")
        limit(one, resource.RLIMIT_AS, None)
        file.write_text(text)
        one.signal(signal.SIGHUP)
        one.hear("'more' started")
        one.signal(signal.SIGTERM)
        assert one.end() == 0


def test_without_descriptors_it_goes_on_reaping_and_comes_to_itself(tmp_path: Path) -> None:
    with inmate(container(tmp_path, PLAIN)) as one:
        answers(one, tmp_path)
        main = json.loads(ask(tmp_path, "/programs"))[0]["PID"]
        limit(one, resource.RLIMIT_NOFILE, 3)
        inside(one, "kill", "-9", str(main))
        one.hear("Too many open files")
        reaps(one)
        limit(one, resource.RLIMIT_NOFILE, None)
        one.hear("'main' started")
        one.signal(signal.SIGTERM)
        assert one.end() == 0


def test_on_a_full_disk_it_boots_changes_its_level_and_says_what_it_lacks(tmp_path: Path) -> None:
    fill = "mount -t tmpfs -o size=4k full /run; touch /run/utmp; cat /dev/zero >/run/x; echo full"
    table = f"""
id:2:initdefault:
si::sysinit:/bin/sh -c '{fill}'
r1:23:respawn:/bin/sleep 1000000
r3:3:respawn:/bin/sleep 2000000
"""
    one = Machine(tmp_path, table)
    try:
        one.hear("| full")
        one.hear("cannot write to /run/utmp: No space left on device")
        one.telinit("3")
        one.hear("'r3' started")
        assert "'r1' started" in one.said
        reaps(one)
        assert "Traceback" not in one.said
    finally:
        one.kill()


# --- executed anew


@pytest.mark.parametrize("fault", ["missing", "broken"])
def test_a_new_program_that_cannot_be_executed_is_no_end(tmp_path: Path, fault: str) -> None:
    breaks = f"""
import os
if os.path.exists({str(tmp_path / "new")!r}):
    sys.modules["supervisor.runtime.runner"] = None
elif {fault == "missing"}:
    sys.executable = "/no/such/python"
"""
    with inmate(broken(tmp_path, breaks)) as one:
        answers(one, tmp_path)
        (tmp_path / "new").touch()
        connection = UnixConnection(str(tmp_path / "runtime" / "piesd.ctl"))
        connection.request("PUT", "/instance/PID")
        connection.getresponse().read()
        connection.close()
        one.hear("cannot execute")
        one.hear("'main' started")
        reaps(one)
        one.signal(signal.SIGTERM)
        assert one.end() == 0
