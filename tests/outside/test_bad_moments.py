"""Orders and ends at bad moments: storms, races, shutdowns and a daemon that is killed."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from piesd_process import PATIENCE, Answer, Piesd, alive, heir, piesd, with_marker

pytestmark = pytest.mark.real

QUIET = '[component.quiet]\ncommand = "sleep 1000000"\n'


def deaf(tag: str, timeout: float) -> str:
    # What is ignored stays so over an exec: it is one process, and SIGTERM is nothing to it.
    return (
        f"[component.{tag}]\nshell = true\nstop-timeout = {timeout}\n"
        "command = \"trap '' TERM; echo up; exec sleep 1000000\"\n"
    )


def only(tag: str) -> dict[str, str]:
    return {"op": "component", "arg": tag}


def up(daemon: Piesd, tag: str) -> None:
    daemon.until(lambda: b"up" in daemon.ask("GET", f"/v1/components/{tag}/log").body)


def together(*jobs: Callable[[], Any]) -> list[Any]:
    """Do all *jobs* at the same time; return what each returned, in their order."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result(PATIENCE) for future in [pool.submit(job) for job in jobs]]


def no_bug(daemon: Piesd) -> None:
    assert "this is a bug" not in daemon.log, daemon.log
    assert "Traceback" not in daemon.log, daemon.log


# --- many at once


def test_orders_that_race_on_one_component_leave_one_child_or_none(tmp_path: Path) -> None:
    config = f"""
[defaults]
env = {{ RACE = "{tmp_path}" }}
[component.base]
command = "sleep 1000000"
[component.web]
command = "sleep 1000000"
prerequisites = ["base"]
"""
    with piesd(tmp_path, config) as daemon:

        def shoot(number: int) -> Callable[[], Counter[int]]:
            def orders() -> Counter[int]:
                answers: Counter[int] = Counter()
                for turn in range(25):
                    method = ("PUT", "DELETE", "POST")[(number + turn) % 3]
                    tag = "base" if (number + turn) % 5 == 0 else "web"
                    answers[daemon.order(method, only(tag), None).status] += 1
                    # A moment at which there are two would be a bug.
                    assert len(daemon.rows(tag)) == 1
                return answers

            return orders

        answers: Counter[int] = sum(together(*map(shoot, range(8))), Counter())
        assert answers == {200: 200}
        for action, status, count in (("PUT", "running", 2), ("DELETE", "stopped", 0)):
            assert daemon.order(action, True).json == {"status": "OK"}
            assert {row["status"] for row in daemon.rows()} == {status}
            assert len(with_marker(f"RACE={tmp_path}")) == count
        assert not any(row["failures"] for row in daemon.rows()), "orders are no failures"
        no_bug(daemon)


def test_a_hundred_hangups_and_as_many_reloads_by_request_are_survived(tmp_path: Path) -> None:
    with piesd(tmp_path, QUIET) as daemon:
        pid = daemon.until_status("quiet", "running")["PID"]
        for number in range(50):
            daemon.write(QUIET + f'[component.c{number}]\ncommand = "sleep 1000000"\n')
            daemon.signal(signal.SIGHUP)
            daemon.signal(signal.SIGHUP)
        answers = together(
            *(lambda: daemon.ask("PUT", "/conf/runtime") for _ in range(20)),
            *(lambda: daemon.signal(signal.SIGHUP) for _ in range(20)),
        )
        assert {one.status for one in answers if one is not None} == {200}
        # The last file is what counts, whoever was served last.
        wanted = {("quiet", "running"), ("c49", "running")}
        daemon.until(lambda: {(row["tag"], row["status"]) for row in daemon.rows()} == wanted)
        assert daemon.row("quiet")["PID"] == pid
        no_bug(daemon)


def test_two_piesctl_at_once_both_get_what_they_asked_for(tmp_path: Path) -> None:
    with piesd(tmp_path, QUIET + deaf("slow", 2)) as daemon:
        up(daemon, "slow")
        answers = together(
            lambda: daemon.piesctl("stop", "slow", "--wait", "20"),
            lambda: daemon.piesctl("restart", "quiet", "--wait", "20"),
            lambda: daemon.piesctl("list"),
        )
        assert "quiet" in answers[2]
        assert daemon.row("slow")["status"] == "stopped"
        assert daemon.row("quiet")["status"] == "running"
        no_bug(daemon)


# --- at the end


def test_orders_while_it_shuts_down_are_refused_or_harmless(tmp_path: Path) -> None:
    config = f"[daemon]\nshutdown-timeout = 600\n{QUIET}{deaf('deaf', 600)}"
    with piesd(tmp_path, config) as daemon:
        up(daemon, "deaf")
        pid = daemon.row("deaf")["PID"]
        daemon.signal(signal.SIGTERM)
        daemon.told("STOPPING=1")
        daemon.until_status("quiet", "stopped")
        for method in ("PUT", "POST"):
            answer = daemon.order(method, True)
            assert (answer.status, answer.json["status"]) == (409, "ER")
            assert "piesd is shutting down" in answer.json["message"]
        assert daemon.ask("PUT", "/conf/runtime").status == 409
        assert daemon.ask("PUT", "/instance/PID").status == 409
        assert daemon.order("DELETE", True, None).status == 200
        assert daemon.ask("GET", "/alive/quiet").status == 503
        daemon.signal(signal.SIGHUP)
        daemon.signal(signal.SIGUSR1)
        assert [row["status"] for row in daemon.rows()] == ["stopped", "stopping"]
        assert daemon.row("deaf")["PID"] == pid
        os.kill(pid, signal.SIGKILL)
        assert daemon.wait_end() == 0
        no_bug(daemon)


def test_a_shutdown_that_is_asked_for_twice_is_one_shutdown(tmp_path: Path) -> None:
    with piesd(tmp_path, QUIET + deaf("deaf", 1)) as daemon:
        up(daemon, "deaf")
        first = daemon.ask("DELETE", "/instance/PID")
        second = daemon.ask("DELETE", f"/instance/{daemon.pid}")
        assert (first.json, second.json) == ({"status": "OK"}, {"status": "OK"})
        assert daemon.wait_end() == 0
        assert daemon.log.count("shutting down") == 1
        assert "killing what is left" not in daemon.log, "it is a signal that hurries"
        no_bug(daemon)


def test_a_signal_to_end_wins_over_an_execution_anew_that_is_under_way(tmp_path: Path) -> None:
    config = f"[daemon]\nshutdown-timeout = 600\n{QUIET}{deaf('deaf', 600)}"
    with piesd(tmp_path, config) as daemon:
        up(daemon, "deaf")
        assert daemon.ask("PUT", "/instance/PID").json["status"] == "OK"
        daemon.told("STOPPING=1")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_end() == 0
        assert not daemon.socket.exists()
        no_bug(daemon)


def test_a_shutdown_in_the_middle_of_the_start_leaves_nothing(tmp_path: Path) -> None:
    config = f"""
[daemon]
shutdown-timeout = 2
[defaults]
env = {{ EARLY = "{tmp_path}" }}
[component.first]
mode = "startup"
command = "sleep 1000000"
""" + "".join(f'[component.c{n}]\ncommand = "sleep 1000000"\n' for n in range(50))
    with piesd(tmp_path, config) as daemon:
        daemon.until_status("first", "running")
        assert {row["status"] for row in daemon.rows() if row["tag"] != "first"} == {"stopped"}
        assert "first" in daemon.piesctl("why", "c0")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_end() == 0
        assert with_marker(f"EARLY={tmp_path}") == []
        no_bug(daemon)


def crowd(home: Path) -> str:
    head = f'[defaults]\nenv = {{ CROWD = "{home}" }}\n'
    names = range(200)
    return head + "".join(
        f'[component.c{n}]\ncommand = "sleep 1000000"\n'
        f'[component.s{n}]\nmode = "inetd"\ncommand = "cat"\nsocket = "unix://{home}/s{n}"\n'
        for n in names
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_after_an_end_in_the_middle_of_the_start_a_new_one_starts_as_ever(
    tmp_path: Path, number: signal.Signals
) -> None:
    mark = f"CROWD={tmp_path}"
    with heir():
        daemon = Piesd(tmp_path, crowd(tmp_path))
        try:
            daemon.until(lambda: with_marker(mark), "the first of many has started")
            daemon.signal(number)
            if number is signal.SIGHUP:  # A reload before there was anything to reload.
                daemon.wait_ready()
                assert daemon.until_status("c199", "running")
                daemon.signal(signal.SIGTERM)
            code = daemon.wait_end()
            assert code == (-signal.SIGKILL if number is signal.SIGKILL else 0)
            if number is not signal.SIGKILL:
                assert with_marker(mark) == []
                assert list(tmp_path.glob("s[0-9]*")) == []
            no_bug(daemon)
        finally:
            daemon.end()
    (tmp_path / "notify").unlink()
    with piesd(tmp_path, crowd(tmp_path)) as again:
        assert again.order("PUT", True).json == {"status": "OK"}
        statuses = Counter(row["status"] for row in again.rows())
        assert statuses == {"running": 200, "listener": 200}
        no_bug(again)
    assert with_marker(mark) == []


def test_whoever_waits_for_an_order_is_told_when_the_daemon_ends(tmp_path: Path) -> None:
    config = f"[daemon]\nshutdown-timeout = 1\n{QUIET}{deaf('deaf', 600)}"
    with piesd(tmp_path, config) as daemon:
        up(daemon, "deaf")
        pid = daemon.row("deaf")["PID"]

        def wait_for_restart() -> Answer | str:
            try:
                return daemon.order("POST", only("deaf"), 25)
            except (OSError, http.client.HTTPException) as error:
                return str(error)

        def end() -> None:
            daemon.until_status("deaf", "stopping")
            daemon.signal(signal.SIGTERM)

        answer, _ = together(wait_for_restart, end)
        assert isinstance(answer, Answer), answer
        assert answer.status == 409
        assert "piesd is shutting down" in answer.json["message"]
        assert daemon.wait_end() == 0
        assert not alive(pid), "it was going down already, and is killed all the same"
        no_bug(daemon)


def test_a_daemon_that_was_stopped_by_a_signal_goes_on_where_it_was(tmp_path: Path) -> None:
    config = f'{QUIET}respawn = {{ delay = 0.2 }}\nenv = {{ STILL = "{tmp_path}" }}\n'
    with piesd(tmp_path, config) as daemon:
        pid = daemon.until_status("quiet", "running")["PID"]
        daemon.signal(signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        daemon.signal(signal.SIGHUP)
        daemon.signal(signal.SIGCONT)
        row = daemon.until(
            lambda: next((r for r in daemon.rows() if r.get("PID", pid) != pid), None)
        )
        assert (row["status"], row["restarts"]) == ("running", 1)
        assert len(with_marker(f"STILL={tmp_path}")) == 1
        no_bug(daemon)


def test_all_that_it_has_on_disk_may_vanish_and_it_goes_on_and_ends_in_order(
    tmp_path: Path,
) -> None:
    log = tmp_path / "own" / "quiet.log"
    log.parent.mkdir()
    config = (
        f"{QUIET.replace('sleep 1000000', 'while echo tick; do read x < gate; done')}"
        f'shell = true\nchdir = "{tmp_path}"\nstdout = "{log}"\n'
    )
    os.mkfifo(tmp_path / "gate")
    with piesd(tmp_path, config) as daemon:
        daemon.until(log.exists)
        pid = daemon.row("quiet")["PID"]
        subprocess.run(["rm", "-rf", tmp_path / "run", log.parent, daemon.config], check=True)
        daemon.signal(signal.SIGHUP)
        daemon.told("READY=1")
        # Each line lets it print one more. Not with each does piesd look for its file anew.
        daemon.until(
            lambda: (tmp_path / "gate").write_text("\n") and "cannot write" in daemon.log,
            "the loss of the log is told",
        )
        daemon.until(lambda: "cannot use the configuration" in daemon.log)
        assert alive(pid)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_end() == 0
        assert not alive(pid)
        no_bug(daemon)


def test_the_end_of_whoever_reads_our_log_does_not_end_us(tmp_path: Path) -> None:
    # As `piesd 2>&1 | head -1` does.
    config = QUIET + '[component.chatty]\ncommand = "yes"\n'
    own = ("sh", "-c", '"$@" 2>&1 | head -1', "-")
    daemon = Piesd(tmp_path, config, wrapper=own)
    try:
        daemon.wait_ready()
        pid = daemon.until_status("quiet", "running")["PID"]
        os.kill(pid, signal.SIGKILL)
        daemon.until(lambda: daemon.rows("quiet")[0].get("PID", pid) != pid)
        real = daemon.ask("GET", "/instance/PID").json["PID"]
        assert daemon.ask("DELETE", "/instance/PID").json == {"status": "OK"}
        daemon.wait_end()
        assert not alive(real)
    finally:
        daemon.end()
