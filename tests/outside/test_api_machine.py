"""`/runlevel` and `/environ`, asked as the server asks the application, and piesctl telinit."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from asked import GUEST, STRANGER, desk
from fake_system import Script
from guarded import anonymous
from piesd_process import Piesd, piesd
from running import House
from supervisor.model.access import Acl, Rule
from supervisor.model.component import Component, Mode
from supervisor.model.events import Alarm, Shutdown

Clock = trio.testing.MockClock

WEB = Component(tag="web", argv=("web",), runlevels="3")
DB = Component(tag="db", argv=("db",), runlevels="23")
CALLED = Component(tag="called", argv=("called",), mode=Mode.ONDEMAND, runlevels="a")
OK = {"status": "OK"}


async def test_the_runlevel_is_told_and_changed_in_pies_form(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([WEB, DB, CALLED], runlevel="2") as asked:
            answer = await asked.ask("GET", "/runlevel")
            assert answer.json == {
                "runlevel": "2",
                "prevlevel": "N",
                "bootstate": "normal",
                "initdefault": "2",
            }
            assert asked.status("web") == "stopped"
            for target in ('/runlevel/{"runlevel":"3"}', "/runlevel/" + quote('{"runlevel":3}')):
                answer = await asked.ask("PUT", target)
                assert (answer.status, answer.json) == (200, OK)
            await asked.home.rest()
            assert (asked.status("web"), asked.status("db")) == ("running", "running")
            answer = await asked.ask("PUT", "/runlevel", b'{"runlevel":"A"}')
            assert answer.json == OK
            await asked.home.rest()
            assert asked.status("called") == "running"
            answer = await asked.ask("GET", "/runlevel")
            assert (answer.json["runlevel"], answer.json["prevlevel"]) == ("3", "2")


@pytest.mark.parametrize(
    ("target", "status", "words"),
    [
        ('/runlevel/{"runlevel":"x"}', 400, "cannot go to runlevel 'x': there is no such thing"),
        ('/runlevel/{"runlevel":"23"}', 400, "cannot go to runlevel '23'"),
        ('/runlevel/{"level":"3"}', 400, "cannot read the end of the path"),
        ("/runlevel/3", 400, "cannot read the end of the path"),
        ("/runlevel", 400, "the body is empty"),
        ('/runlevel/{"runlevel":"3","timeout":-1}', 400, "cannot give what leaves -1 seconds"),
        ('/runlevel/{"runlevel":"3","timeout":"x"}', 400, "cannot read the end of the path"),
    ],
)
async def test_a_wrong_runlevel_is_refused(
    target: str, status: int, words: str, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with desk([DB], runlevel="2") as asked:
            answer = await asked.ask("PUT", target)
            assert answer.status == status
            assert answer.json["status"] == "ER"
            assert words in answer.json["message"]


async def test_what_leaves_has_the_time_that_the_request_says(autojump_clock: Clock) -> None:
    def deaf(home: House) -> None:
        home.system.scripts["db"] = Script(ignores=frozenset({15}))

    with trio.fail_after(60):
        async with desk([replace(DB, stop_timeout=60.0)], deaf, runlevel="2") as asked:
            await asked.home.rest()
            runner = asked.home.runner
            begun = trio.current_time()
            answer = await asked.ask("PUT", '/runlevel/{"runlevel":"4","timeout":1.5}')
            assert answer.status == 200
            assert runner.engine.world.states["db"].deadline == pytest.approx(begun + 1.5, abs=0.1)


async def test_where_there_are_no_runlevels_there_is_no_such_thing(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            for method, target in (
                ("GET", "/runlevel"),
                ("PUT", '/runlevel/{"runlevel":"3"}'),
                ("GET", "/environ/"),
                ("GET", "/environ/PATH"),
                ("PUT", "/environ/A=b"),
                ("DELETE", "/environ/A"),
            ):
                answer = await asked.ask(method, target)
                assert (answer.status, answer.json["status"]) == (404, "ER"), target
                assert answer.json["message"].startswith("cannot tell the "), target


async def test_a_machine_that_goes_down_changes_its_level_no_more(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB], runlevel="2") as asked:
            asked.home.runner.post(Shutdown("me"))
            answer = await asked.ask("PUT", '/runlevel/{"runlevel":"3"}')
            assert answer.status == 409


async def test_who_may_only_look_sees_the_level_and_changes_nothing(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB], init=True, runlevel="2") as asked:
            for method, target, status in (
                ("GET", "/runlevel", 200),
                ("PUT", '/runlevel/{"runlevel":"3"}', 403),
                ("GET", "/environ/", 403),
                ("PUT", "/environ/A=b", 403),
            ):
                answer = await asked.ask(method, target, peer=GUEST)
                assert answer.status == status, target
            answer = await asked.ask("GET", "/runlevel", peer=STRANGER)
            assert answer.status == 403


async def test_the_environment_of_init_is_told_and_changed_in_pies_form(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB], init=True, runlevel="2") as asked:
            answer = await asked.ask("GET", "/environ/")
            assert answer.json == ["RUNLEVEL=2", "PREVLEVEL=N"]
            answer = await asked.ask("PUT", "/environ/LANG=C.UTF-8//x=y%20z")
            assert (answer.status, answer.json) == (200, OK | {"value": "C.UTF-8//x=y z"})
            answer = await asked.ask("GET", "/environ/LANG")
            assert (answer.status, answer.json) == (200, OK | {"value": "C.UTF-8//x=y z"})
            answer = await asked.ask("GET", "/environ")
            assert answer.json[0] == "LANG=C.UTF-8//x=y z"
            answer = await asked.ask("DELETE", "/environ/LANG")
            assert (answer.status, answer.json) == (200, OK)
            for method in ("GET", "DELETE"):
                answer = await asked.ask(method, "/environ/LANG")
                assert (answer.status, answer.json["status"]) == (404, "ER")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("PUT", "/environ/RUNLEVEL=5", 403),
        ("DELETE", "/environ/PREVLEVEL", 403),
        ("PUT", "/environ/A", 400),
        ("PUT", "/environ/=b", 400),
        ("PUT", "/environ/A%20B=c", 400),
        ("PUT", "/environ/A=%00", 400),
        ("PUT", f"/environ/A={'x' * 5000}", 400),
    ],
)
async def test_what_cannot_be_a_variable_is_refused(
    method: str, target: str, status: int, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with desk([DB], init=True, runlevel="2") as asked:
            answer = await asked.ask(method, target)
            assert (answer.status, answer.json["status"]) == (status, "ER")
            answer = await asked.ask("GET", "/environ/")
            assert answer.json == ["RUNLEVEL=2", "PREVLEVEL=N"]


async def test_there_is_an_end_to_the_number_of_variables(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB], init=True, runlevel="2") as asked:
            statuses = [
                (await asked.ask("PUT", f"/environ/V{number}=x")).status for number in range(300)
            ]
            assert statuses == [200] * 254 + [400] * 46
            assert (await asked.ask("PUT", "/environ/V0=y")).status == 200


async def test_what_is_waited_for_and_hidden_is_not_named(autojump_clock: Clock) -> None:
    nobody = Acl((Rule(allow=False),))
    secret = Component(
        tag="secret", argv=("secret",), mode=Mode.WAIT, list_acl=nobody, runlevels="2"
    )
    alarm = Component(tag="secret2", argv=("x",), mode=Mode.CTRLALTDEL, list_acl=nobody)
    demand = Component(
        tag="secret3", argv=("x",), mode=Mode.ONDEMAND, list_acl=nobody, runlevels="a"
    )
    with trio.fail_after(60):
        async with desk([secret, alarm, demand, DB], runlevel="2") as asked:
            asked.home.runner.post(Alarm("ctrlaltdel"))
            await asked.ask("PUT", '/runlevel/{"runlevel":"a"}')
            for target in ("/programs", "/v1/diag/why/db", "/v1/events?follow=false"):
                answer = await asked.ask("GET", target, peer=anonymous("list"))
                assert answer.status == 200
                assert b"secret" not in answer.body, target
            (row,) = (await asked.ask("GET", "/programs", peer=anonymous("list"))).json
            assert row["blocked-by"]["message"] == "what stands before it comes first"


# --- for real

CONFIG = """
[daemon]
runlevel = "2"

[component.two]
command = "sleep 1000"
runlevels = "2"

[component.both]
command = "sleep 1000"
runlevels = "23"

[component.three]
command = "sleep 1000"
runlevels = "3"
"""


def up(daemon: Piesd) -> set[str]:
    return {row["tag"] for row in daemon.rows() if row["status"] == "running"}


@pytest.mark.real
def test_piesctl_changes_the_runlevel_of_a_running_piesd(tmp_path: Path) -> None:
    with piesd(tmp_path, CONFIG) as daemon:
        daemon.until(lambda: up(daemon) == {"two", "both"})
        assert daemon.piesctl("telinit", "runlevel").split() == [
            *("runlevel:", "2", "prevlevel:", "N"),
            *("bootstate:", "normal", "initdefault:", "2"),
        ]
        both = daemon.row("both")["PID"]
        assert daemon.piesctl("telinit", "runlevel", "3") == "asked for runlevel 3\n"
        daemon.until(lambda: up(daemon) == {"both", "three"})
        assert daemon.row("both")["PID"] == both
        why = daemon.piesctl("why", "two")
        assert "two is not running: it belongs to runlevel 2, the runlevel is 3" in why
        table = daemon.piesctl("list").splitlines()
        assert table[0].split()[:3] == ["TAG", "LEVELS", "STATUS"]
        assert table[1].split()[:3] == ["two", "2", "stopped"]
        refused = daemon.piesctl("telinit", "environ", "list", code=1)
        assert refused == ""


INITTAB = """
id:2:initdefault:
si::sysinit:echo si >> {log}
bo::boot:echo bo >> {log}
bw::bootwait:echo bw >> {log}
l2:2:wait:echo l2 $RUNLEVEL >> {log}
on:23:once:echo on >> {log}
l3:3:wait:echo l3 >> {log}
t2:2:respawn:/bin/sleep 1000
t3:3:respawn:/bin/sleep 1000
od:a:ondemand:/bin/sleep 1000
of:2:off:/bin/sleep 1000
ca::ctrlaltdel:echo ca >> {log}
"""


@pytest.mark.real
def test_an_inittab_runs_under_a_piesd_that_is_not_process_1(tmp_path: Path) -> None:
    log, table = tmp_path / "log", tmp_path / "inittab"
    table.write_text(INITTAB.format(log=log))
    with piesd(tmp_path, "[daemon]\n", options=("-c", str(table))) as daemon:
        daemon.until(lambda: up(daemon) == {"t2"})
        daemon.until_status("on", "finished")
        first, *boot, fourth, fifth = log.read_text().split()
        assert (first, sorted(boot), fourth, fifth) == ("si", ["bo", "bw"], "l2", "on")
        daemon.piesctl("telinit", "runlevel", "a")
        daemon.until(lambda: up(daemon) == {"t2", "od"})
        daemon.piesctl("telinit", "runlevel", "3")
        daemon.until(lambda: up(daemon) == {"t3", "od"})
        assert log.read_text().split()[5:] == ["l3"]
        assert "of" not in {row["tag"] for row in daemon.rows()}


@pytest.mark.real
def test_children_of_an_init_process_get_its_environment(tmp_path: Path) -> None:
    log, table = tmp_path / "log", tmp_path / "inittab"
    say = "echo $RUNLEVEL $PREVLEVEL $CONSOLE $LANG"
    table.write_text(f"id:2:initdefault:\nl2:2:wait:{say} >> {log}\nl3:3:wait:{say} >> {log}\n")
    options, environ = ("--init", "-c", str(table)), {"LANG": "", "CONSOLE": "/dev/x"}
    with piesd(tmp_path, "[daemon]\n", options=options, environ=environ) as daemon:
        daemon.until_status("l2", "finished")
        assert daemon.piesctl("telinit", "environ", "set", "LANG=C") == "LANG is set\n"
        daemon.piesctl("telinit", "runlevel", "3")
        daemon.until_status("l3", "finished")
        assert log.read_text() == "2 N /dev/x\n3 2 /dev/x C\n"
        listed = daemon.piesctl("telinit", "environ", "list").splitlines()
        assert {"RUNLEVEL=3", "PREVLEVEL=2", "LANG=C", "CONSOLE=/dev/x"} <= set(listed)
        assert any(each.startswith("INIT_VERSION=piesd ") for each in listed)
        # There is a shell for a single user, as none is configured.
        assert daemon.row("single-user")["status"] == "stopped"


@pytest.mark.real
@pytest.mark.parametrize(
    ("wrapper", "path"),
    [
        (("env", "PATH=/opt/bin:/bin"), "/opt/bin:/bin"),
        (("env", "-u", "PATH"), "/bin:/usr/bin:/sbin:/usr/sbin"),
    ],
)
def test_an_init_process_that_was_given_no_path_has_that_of_pies(
    wrapper: tuple[str, ...], path: str, tmp_path: Path
) -> None:
    table = tmp_path / "inittab"
    table.write_text("id:2:initdefault:\nl2:2:respawn:/bin/sleep 1000\n")
    options = ("--init", "-c", str(table))
    with piesd(tmp_path, "[daemon]\n", options=options, wrapper=wrapper) as daemon:
        assert daemon.ask("GET", "/environ/PATH").json["value"] == path


@pytest.mark.real
def test_a_word_of_the_kernel_is_the_first_runlevel(tmp_path: Path) -> None:
    table = tmp_path / "inittab"
    table.write_text("id:2:initdefault:\nsu:S:respawn:/bin/sleep 1000\n")
    options = ("--init", "-c", str(table), "quiet", "single")
    with piesd(tmp_path, "[daemon]\n", options=options) as daemon:
        daemon.until_status("su", "running")
        assert daemon.ask("GET", "/runlevel").json["bootstate"] == "single"
