"""Real programs in foreground mode: they are killed, reloaded around, changed, and stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from piesd_process import Piesd, piesd, with_marker
from real_programs import MAKE, Program, missing

pytestmark = [pytest.mark.real, pytest.mark.slow]

OTHER = '[component.other]\ncommand = "sleep 1000000"\n'


def mark(home: Path) -> str:
    return f"REAL_PROGRAM={home}"


def config(home: Path, *tables: str) -> str:
    defaults = f'[daemon]\nshutdown-timeout = 60\n[defaults]\nenv = {{ REAL_PROGRAM = "{home}" }}\n'
    return defaults + "".join(tables)


@pytest.fixture(params=sorted(MAKE))
def program(request: pytest.FixtureRequest, home: Path) -> Program:
    name: str = request.param
    if why := missing(name):
        pytest.skip(why)
    own = home / name
    own.mkdir()
    return MAKE[name](own)


def serves(daemon: Piesd, program: Program) -> str:
    answer: str = daemon.until(program.ask, f"{program.tag} serves")
    return answer


def pid_of(daemon: Piesd, program: Program) -> int:
    pid: int = daemon.until_status(program.tag, "running")["PID"]
    return pid


def new_pid(daemon: Piesd, program: Program, old: int) -> int:
    def changed() -> int | None:
        row = daemon.row(program.tag)
        return row["PID"] if row["status"] == "running" and row["PID"] != old else None

    pid: int = daemon.until(changed, f"{program.tag} has another PID than {old}")
    return pid


def test_killed_it_comes_back_and_has_kept_what_it_was_given(home: Path, program: Program) -> None:
    with piesd(home, config(home, program.table)) as daemon:
        written = daemon.until(program.write, f"{program.tag} serves")
        for _ in range(3):
            pid = pid_of(daemon, program)
            os.kill(pid, signal.SIGKILL)
            new_pid(daemon, program, pid)
            assert serves(daemon, program) == written
        row = daemon.row(program.tag)
        assert row["last-exit"]["signal"] == "SIGKILL"
        # Each came up at the first attempt: what the dead leader left was gone before that.
        assert row["restarts"] == 3, daemon.log


def test_a_reload_that_changes_another_component_does_not_touch_it(
    home: Path, program: Program
) -> None:
    with piesd(home, config(home, program.table, OTHER)) as daemon:
        written = daemon.until(program.write, f"{program.tag} serves")
        pid = pid_of(daemon, program)
        daemon.write(config(home, program.table, OTHER.replace("1000000", "999999")))
        reloaded = daemon.ask("PUT", "/conf/runtime").json
        assert [(one["tag"], one["action"]) for one in reloaded["changes"]] == [
            ("other", "restart")
        ]
        daemon.until(lambda: daemon.row("other")["command"] == "sleep 999999")
        assert pid_of(daemon, program) == pid
        assert daemon.row(program.tag)["restarts"] == 0
        assert serves(daemon, program) == written


def test_a_reload_that_changes_it_ends_it_cleanly_and_starts_the_new_one(
    home: Path, program: Program
) -> None:
    with piesd(home, config(home, program.table, OTHER)) as daemon:
        written = daemon.until(program.write, f"{program.tag} serves")
        pid, other = pid_of(daemon, program), daemon.row("other")["PID"]
        assert program.changed[0] in program.table
        daemon.write(config(home, program.table.replace(*program.changed), OTHER))
        daemon.signal(signal.SIGHUP)
        new_pid(daemon, program, pid)
        assert serves(daemon, program) == written
        row = daemon.row(program.tag)
        assert row["last-exit"].get("code") == 0
        assert row["restarts"] == 0
        assert daemon.row("other")["PID"] == other
        daemon.until(lambda: program.clean in program.log.read_text())


def test_stopped_it_is_gone_with_all_it_had_and_its_log_says_so(
    home: Path, program: Program
) -> None:
    with piesd(home, config(home, program.table)) as daemon:
        daemon.until(program.write, f"{program.tag} serves")
        answer = daemon.order("DELETE", {"op": "component", "arg": program.tag}, wait=60)
        assert answer.json == {"status": "OK"}
        assert with_marker(mark(home)) == []
        assert program.ask() is None
        row = daemon.row(program.tag)
        assert row["status"] == "stopped"
        assert row["last-exit"]["code"] == 0
        daemon.until(lambda: program.clean in program.log.read_text())
        assert daemon.order("PUT", {"op": "component", "arg": program.tag}).json["status"] == "OK"
        serves(daemon, program)


def test_the_three_together_stop_in_order_and_leave_no_process(home: Path) -> None:
    programs: list[Program] = []
    for name, make in MAKE.items():
        if why := missing(name):
            pytest.skip(why)
        (home / name).mkdir()
        programs.append(make(home / name))
    web, store, base = programs
    table = web.table + 'prerequisites = ["redis-server", "postgres"]\n'
    with piesd(home, config(home, table, store.table, base.table)) as daemon:
        for program in programs:
            daemon.until(program.write, f"{program.tag} serves")
        pid = pid_of(daemon, web)
        os.kill(pid_of(daemon, base), signal.SIGKILL)
        new_pid(daemon, web, pid)
        for program in programs:
            serves(daemon, program)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_end() == 0
        assert with_marker(mark(home)) == []
        log = daemon.log.rpartition("shutting down")[2]
        assert log.index("'nginx' is down") < log.index("'redis-server' is stopping")
        assert log.index("'nginx' is down") < log.index("'postgres' is stopping")
        for program in programs:
            assert program.clean in program.log.read_text()
