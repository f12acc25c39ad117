"""What the end of a component sets off, and the commands that run for it."""

from __future__ import annotations

import pytest
from msgspec import UNSET, json
from msgspec.structs import replace

from simulation import Simulation
from supervisor.engine.actions import MOST_COMMANDS, STOP_TIMEOUT, fitting
from supervisor.engine.describe import describe, summary
from supervisor.engine.gates import blocked_by
from supervisor.engine.rehearse import rehearse
from supervisor.model.access import Acl, Rule
from supervisor.model.component import (
    Check,
    Component,
    Environment,
    ExitAction,
    InetAddress,
    Mode,
    Output,
    Respawn,
    Tag,
)
from supervisor.model.effects import CommandEnded, Forget, Mail
from supervisor.model.events import Apply, Exited, Happened, Hurry, Order, RunCommand, Shutdown
from supervisor.model.state import Exit, Phase, Stage

WALL = 1_800_000_000.0
DONE = Exit(code=0, message="exited with 0")
BAD = Exit(code=78, message="exited with 78", at=WALL)
SEGV = Exit(signal=11, message="killed by SIGSEGV")
SAVE = ExitAction(signals=(11,), exec=("/bin/save", "a b"))
DISABLE = ExitAction(codes=(78,), action="disable")
TELL = ExitAction(codes=(78,), notify=("ops@example.org",), message="Subject: oh")


def component(tag: Tag, *needs: Tag, **fields: object) -> Component:
    return Component(tag=tag, argv=(tag,), prerequisites=needs, **fields)  # type: ignore[arg-type]  # tests pass right ones


def web(*actions: ExitAction, **fields: object) -> Component:
    return component("web", exit_actions=actions, **fields)


def running(*components: Component) -> Simulation:
    return Simulation(components).boot().settle()


def why(sim: Simulation, tag: Tag) -> str:
    block = blocked_by(sim.engine.world, tag)
    return "" if block is None else f"{block.type}: {block.message}"


def commands(sim: Simulation) -> list[str]:
    return [key for key, _ in sim.children if "#" in key]


# --- which action


def test_the_first_action_that_fits_is_taken() -> None:
    own, general = ExitAction(codes=(1, 2)), ExitAction(codes=(1, 3), signals=(11,))
    assert fitting((own, general), Exit(code=1)) is own
    assert fitting((own, general), Exit(code=3)) is general
    assert fitting((own, general), Exit(signal=11)) is general
    assert fitting((own, general), Exit(code=11)) is None
    assert fitting((own, general), Exit(signal=1)) is None


def test_an_end_that_no_action_fits_is_followed_by_a_restart_and_nothing_else() -> None:
    sim = running(web(SAVE, DISABLE, TELL))
    sim.exit(sim.child("web"), DONE)
    assert sim.history == ["start web", "start web"]


@pytest.mark.parametrize("how", ["stop", "restart", "remove", "shutdown", "prerequisite"])
def test_an_end_that_was_asked_for_sets_off_nothing(how: str) -> None:
    action = ExitAction(codes=(78,), exec=("x",), action="disable", notify=("a@b",))
    sim = running(component("db"), component("web", "db", exit_actions=(action,)))
    match how:
        case "remove":
            sim.post(Apply((component("db"),), 5.0))
        case "shutdown":
            sim.post(Shutdown("me"))
        case "prerequisite":
            sim.order("stop", "db")
        case _:
            sim.order(how, "web")
    sim.exit(sim.child("web"), BAD)
    assert not sim.mails
    assert not any("#" in line for line in sim.history)
    assert not sim.why_not()


def test_a_program_that_cannot_be_executed_has_ended_with_127_as_in_a_shell() -> None:
    sim = Simulation([web(ExitAction(codes=(127,), action="disable", exec=("x",)))]).boot()
    sim.spawn_one(fail=True)
    assert sim.phase("web") is Phase.STOPPED
    assert sim.launches["web#exec1"].spec.env.set == {
        "PIES_COMPONENT": "web",
        "PIES_STATUS": "127",
        "PIES_VERSION": "1.8",
    }
    assert "failed to start: exec x: No such file or directory" in why(sim, "web")


def test_a_check_of_ours_that_fails_sets_off_nothing() -> None:
    action = ExitAction(codes=(0, 127), signals=(15,), action="disable")
    sim = running(web(action, health=Check(kind="tcp", target="[::1]:80")))
    sim.fail_check(sim.child("web"))
    assert sim.settle().phase("web") is Phase.RUNNING


def test_a_late_report_about_an_older_child_sets_off_nothing() -> None:
    sim = running(web(TELL))
    sim.exit(sim.child("web"), DONE)
    sim.settle()
    sim.post(Happened("web", Exited(1, BAD)))
    assert sim.mails == []


# --- disable


def test_what_is_disabled_stays_down_with_all_its_dependents_until_somebody_asks() -> None:
    sim = running(
        component("db", exit_actions=(DISABLE,)),
        component("web", "db"),
        component("edge", "web"),
        component("mail"),
    )
    sim.exit(sim.child("db"), BAD)
    sim.settle()
    said = "disabled: it was disabled by the exit action of db: exited with 78"
    for tag in ("db", "web", "edge"):
        row = describe(sim.engine.world, tag, sim.now, WALL)
        assert (row.status, row.active, why(sim, tag)) == ("stopped", False, said)
        assert row.restarts == 0
    assert sim.phase("mail") is Phase.RUNNING
    assert sim.engine.next_deadline() is None
    assert "'db' is disabled, and with it 'web', 'edge', as it exited with 78" in sim.why_not()
    sim.order("start", "edge").settle()
    assert {sim.phase(tag) for tag in ("db", "web", "edge")} == {Phase.RUNNING}


def test_who_disabled_it_and_when_is_its_wish() -> None:
    sim = running(web(DISABLE))
    sim.exit(sim.child("web"), BAD)
    row = describe(sim.engine.world, "web", sim.now, WALL)
    assert row.wish is not UNSET
    assert (row.wish["action"], row.wish["by"]) == ("disable", "exit action of web: exited with 78")
    assert row.wish["at"].startswith("2027-01-15")


def test_what_a_signal_has_ended_was_killed() -> None:
    sim = running(web(replace(SAVE, action="disable")))
    sim.exit(sim.child("web"), SEGV)
    assert "'web' is disabled, as it was killed by SIGSEGV" in sim.why_not()


def test_disabling_leaves_what_somebody_stopped_as_it_was() -> None:
    sim = running(component("db", exit_actions=(DISABLE,)), component("web", "db"))
    sim.order("stop", "web").settle()
    sim.exit(sim.child("db"), BAD)
    assert why(sim, "web") == "stopped: it was stopped by me"


def test_a_disabled_component_whose_processes_live_on_is_brought_down_and_not_restarted() -> None:
    sim = running(web(DISABLE))
    sim.exit(sim.child("web"), BAD, lost=(7777,))
    assert sim.settle().phase("web") is Phase.STOPPED


def test_a_reload_does_not_bring_back_what_an_action_disabled() -> None:
    sim = running(web(DISABLE))
    sim.exit(sim.child("web"), BAD)
    sim.post(Apply((web(DISABLE, umask=0o77),), 5.0))
    assert sim.settle().phase("web") is Phase.STOPPED


def test_a_reload_that_changes_exit_actions_keeps_the_child_and_takes_effect_at_once() -> None:
    sim = running(web())
    sim.history.clear()
    sim.post(Apply((web(TELL),), 5.0))
    assert sim.history == []
    sim.exit(sim.child("web"), BAD)
    assert [mail.to for mail in sim.mails] == [("ops@example.org",)]


@pytest.mark.parametrize("essential", ["db", "web"])
def test_disabling_what_is_essential_is_the_end_with_the_code_of_the_failure(
    essential: Tag,
) -> None:
    sim = running(
        component("db", exit_actions=(DISABLE,), essential=essential == "db"),
        component("web", "db", essential=essential == "web"),
    )
    sim.exit(sim.child("db"), BAD)
    sim.settle()
    assert sim.ended == 78


# --- notify


def test_a_notification_names_component_recipients_text_and_end() -> None:
    sim = running(web(TELL))
    sim.exit(sim.child("web"), BAD)
    assert sim.mails == [Mail("web", ("ops@example.org",), "Subject: oh", BAD)]
    assert sim.phase("web") is Phase.STARTING


def test_exec_comes_before_the_notification() -> None:
    sim = running(web(replace(TELL, exec=("x",))))
    sim.history.clear()
    sim.exit(sim.child("web"), BAD)
    assert sim.history == ["start web#exec1", "mail web", "start web"]


def last_words() -> Simulation:
    """An essential component that has failed, and somebody is to be told: all else is down."""
    tell = replace(TELL, action="disable")
    sim = running(web(tell, essential=True, mode=Mode.ONCE))
    sim.nobody_mails = True
    sim.exit(sim.child("web"), BAD)
    return sim.settle()


def test_the_end_comes_behind_the_program_that_sends_the_last_mail() -> None:
    sim = last_words()
    assert (sim.engine.stage, sim.ended) == (Stage.LAST, None)
    sim.run_command("web")
    sim.settle()
    sim.exit(sim.child("web#mailer1"), DONE)
    assert sim.ended is None
    sim.try_mail()
    assert sim.ended == 78


def test_the_end_waits_for_a_mail_no_longer_than_for_shutdown_components() -> None:
    sim = last_words()
    begun = sim.now
    sim.wake()
    assert (sim.now - begun, sim.ended) == (5.0, 78)


def test_who_is_tired_of_waiting_waits_for_no_mail() -> None:
    sim = last_words()
    sim.post(Hurry())
    assert sim.ended == 78


# --- exec


def test_a_command_knows_who_ended_and_how_and_prints_where_that_component_does() -> None:
    log = Output(kind="file", path="/var/log/web")
    acl = Acl((Rule(allow=False),))
    sim = running(
        web(SAVE, ExitAction(codes=(78,), exec=("x",)), stdout=log, stderr=log, list_acl=acl)
    )
    pid = sim.children[sim.child("web")]
    sim.exit(sim.child("web"), SEGV)
    launch = sim.launches["web#exec1"]
    assert launch.spec.argv == ("/bin/save", "a b")
    assert launch.spec.env == Environment(
        set={
            "PIES_COMPONENT": "web",
            "PIES_PID": str(pid),
            "PIES_SIGNAL": "11",
            "PIES_VERSION": "1.8",
        }
    )
    assert (launch.spec.stdout, launch.spec.list_acl, launch.spec.user) == (log, acl, None)
    sim.settle()
    sim.exit(sim.child("web"), BAD)
    variables = sim.launches["web#exec2"].spec.env.set
    assert (variables["PIES_STATUS"], "PIES_SIGNAL" in variables) == ("78", False)


def test_a_command_is_a_row_of_its_own_while_it_runs_and_holds_up_nobody() -> None:
    sim = running(web(SAVE), component("db", "web"))
    sim.exit(sim.child("web"), SEGV)
    sim.settle()
    assert sim.phase("web") is Phase.RUNNING
    assert list(sim.engine.world.ordered()) == ["web", "web#exec1", "db"]
    row = describe(sim.engine.world, "web#exec1", sim.now, WALL)
    assert (row.tag, row.type, row.mode, row.status) == ("web", "command", "once", "running")
    assert (row.argv, row.command) == (("/bin/save", "a b"), "/bin/save 'a b'")
    assert (row.prerequisites, row.dependents, row.ready) == ((), (), True)
    assert json.decode(json.encode(row))["PID"] > 100
    assert summary(sim.engine.world) == "2 of 2 up"


def test_a_command_is_forgotten_when_it_ends_however_it_ends() -> None:
    sim = running(web(SAVE))
    for end in (DONE, SEGV, Exit(code=1, message="exited with 1")):
        sim.exit(sim.child("web"), SEGV)
        sim.settle()
        (key,) = commands(sim)
        sim.exit(sim.child(key), end)
        assert key not in sim.engine.world.states
        assert sim.over[key].message == end.message
    assert not commands(sim)


def test_the_end_of_a_command_is_told_and_then_it_is_forgotten() -> None:
    sim = running(web())
    sim.run_command("web")
    sim.settle()
    child = sim.child("web#mailer1")
    effects = sim.engine.handle(Happened(child[0], Exited(child[1], DONE)), sim.now)
    told = [effect for effect in effects if isinstance(effect, CommandEnded | Forget)]
    assert told == [CommandEnded("web#mailer1", DONE), Forget("web#mailer1")]


def test_a_command_that_cannot_be_started_is_not_tried_again() -> None:
    sim = running(web(SAVE))
    sim.exit(sim.child("web"), SEGV)
    sim.spawn_one(fail=True)
    sim.settle()
    assert "web#exec1" not in sim.engine.world.states
    assert sim.over["web#exec1"].stage == "exec"
    assert sim.spawned.count("web#exec1") == 1


def test_the_processes_a_command_leaves_are_brought_down_before_it_is_forgotten() -> None:
    sim = running(web(SAVE))
    sim.exit(sim.child("web"), SEGV)
    sim.settle()
    sim.exit(sim.child("web#exec1"), DONE, lost=(7777,))
    assert sim.phase("web#exec1") is Phase.STOPPING
    sim.settle()
    assert "web#exec1" not in sim.engine.world.states


def test_an_order_can_stop_a_command_and_cannot_start_or_restart_it() -> None:
    sim = running(web(SAVE))
    sim.exit(sim.child("web"), SEGV)
    sim.settle()
    sim.history.clear()
    for action in ("start", "restart", "reset"):
        sim.order(action, "web#exec1")
    assert sim.history == []
    sim.order("stop", "web#exec1")
    assert sim.history == ["signal web#exec1 15"]
    sim.settle()
    assert "web#exec1" not in sim.engine.world.states
    assert sim.phase("web") is Phase.RUNNING


def test_a_command_that_does_not_stop_is_killed() -> None:
    sim = running(web(SAVE))
    sim.exit(sim.child("web"), SEGV)
    sim.settle()
    sim.deaf = {"web#exec1"}
    begun = sim.now
    sim.order("stop", "web#exec1").settle()
    sim.wake()
    assert sim.settle().now == begun + STOP_TIMEOUT
    assert not commands(sim)


def test_a_command_outlives_the_configuration_of_its_component() -> None:
    sim = running(web(SAVE))
    sim.exit(sim.child("web"), SEGV)
    sim.settle()
    sim.post(Apply((), 5.0))
    sim.settle()
    assert list(sim.engine.world.states) == ["web#exec1"]
    sim.post(Apply((web(SAVE),), 5.0))
    sim.settle()
    assert list(sim.engine.world.ordered()) == ["web", "web#exec1"]
    sim.exit(sim.child("web#exec1"), DONE)
    assert list(sim.engine.world.states) == ["web"]


@pytest.mark.slow
def test_a_crash_loop_with_a_hanging_command_does_not_fill_the_machine() -> None:
    sim = running(web(SAVE, respawn=Respawn(max=1000)))
    for _ in range(MOST_COMMANDS + 5):
        sim.exit(sim.child("web"), SEGV)
        sim.settle()
    assert len(commands(sim)) == MOST_COMMANDS
    dropped = [note.text for note in sim.notes if note.kind == "dropped"]
    assert len(dropped) == 5
    assert dropped[0] == (
        "cannot run the command '/bin/save' of 'web': 100 of its commands have not ended yet"
    )
    sim.exit(sim.child("web#exec1"), DONE)
    sim.exit(sim.child("web"), SEGV)
    assert len([note for note in sim.notes if note.kind == "dropped"]) == 5


def test_the_commands_of_one_component_leave_room_for_those_of_another() -> None:
    sim = running(web(), component("db"))
    for _ in range(MOST_COMMANDS):
        sim.run_command("web")
    sim.run_command("db")
    assert sim.spawned[-1] == "db#mailer101"


def test_the_command_of_a_startup_component_does_not_wait_for_the_end_of_the_start() -> None:
    startup = component("s", mode=Mode.STARTUP, exit_actions=(replace(SAVE, codes=(0,)),))
    sim = running(startup, component("t", mode=Mode.STARTUP))
    sim.exit(sim.child("s"), DONE)
    assert (sim.engine.stage, sim.spawned[-1]) == (Stage.STARTUP, "s#exec1")


def test_commands_are_in_the_copy_that_a_rehearsal_uses_up() -> None:
    sim = running(web(SAVE))
    sim.exit(sim.child("web"), SEGV)
    sim.settle()
    before = dict(sim.engine.world.commands["web"])
    double = sim.engine.copy()
    assert double.world.states == sim.engine.world.states
    steps = rehearse(double, Order("stop", ("web", "web#exec1"), "me"), sim.now)
    assert [(step.action, step.tag) for step in steps] == [("stop", "web"), ("stop", "web")]
    assert "web#exec1" not in double.world.states
    assert sim.engine.world.commands["web"] == before
    assert "web#exec1" in sim.engine.world.states


# --- commands that somebody else asks for


def test_a_command_gets_its_text_and_its_program() -> None:
    sim = running(web())
    sim.post(RunCommand("web", "mailer", ("sendmail", "-oi"), "/usr/sbin/sendmail", "Subject: x"))
    launch = sim.launches["web#mailer1"]
    assert (launch.text, launch.connection) == ("Subject: x", None)
    assert (launch.spec.argv, launch.spec.program) == (("sendmail", "-oi"), "/usr/sbin/sendmail")


def test_a_command_can_run_for_somebody_who_is_not_configured_any_more() -> None:
    sim = running(web())
    sim.run_command("gone")
    sim.settle()
    row = describe(sim.engine.world, "gone#mailer1", sim.now, WALL)
    assert (row.tag, row.type, row.status) == ("gone", "command", "running")
    sim.exit(sim.child("gone#mailer1"), DONE)
    assert sim.over == {"gone#mailer1": replace(DONE, lasted=0.0)}


# --- connections


def listener(*actions: ExitAction) -> Component:
    address = InetAddress(host="::1", port=79)
    return component("ftp", mode=Mode.INETD, sockets=(address,), exit_actions=actions)


def test_the_end_of_a_connection_runs_its_command_and_restart_means_nothing_to_it() -> None:
    sim = running(listener(ExitAction(codes=(0,), exec=("/bin/log",), notify=("a@b",))))
    sim.connect("ftp")
    sim.settle()
    sim.exit(sim.child("ftp#1"), DONE)
    assert sim.history == ["listen ftp", "start ftp#1", "start ftp#exec1", "mail ftp"]
    assert sim.launches["ftp#exec1"].connection is None
    assert sim.launches["ftp#exec1"].spec.env.set["PIES_COMPONENT"] == "ftp"
    assert sim.phase("ftp") is Phase.LISTENING
    assert "ftp#1" not in sim.engine.world.states


def test_a_connection_can_disable_its_listener() -> None:
    sim = running(listener(DISABLE))
    sim.connect("ftp")
    sim.connect("ftp")
    sim.settle()
    sim.exit(sim.child("ftp#1"), BAD)
    sim.settle()
    assert sim.phase("ftp") is Phase.STOPPED
    assert not sim.children
    assert why(sim, "ftp") == "disabled: it was disabled by the exit action of ftp: exited with 78"


# --- the shutdown


def test_a_shutdown_brings_commands_down_with_the_first_and_within_its_budget() -> None:
    sim = running(component("db"), component("edge", "db"), web(SAVE))
    sim.exit(sim.child("web"), SEGV)
    sim.settle()
    sim.deaf = {"web#exec1"}
    begun = sim.now
    sim.history.clear()
    sim.post(Shutdown("me"))
    assert sim.history == ["signal edge 15", "signal web 15", "signal web#exec1 15"]
    while not sim.has_ended():
        sim.settle()
        sim.wake()
    assert sim.now - begun <= 5
    assert not sim.children


def test_what_the_end_of_an_essential_component_sets_off_runs_when_everything_is_down() -> None:
    action = ExitAction(codes=(78,), exec=("/bin/save",), notify=("a@b",))
    job = component("job", mode=Mode.ONCE, essential=True, exit_actions=(action,))
    sim = running(job, component("db"))
    sim.history.clear()
    sim.exit(sim.child("job"), BAD)
    sim.settle()
    assert sim.history == ["mail job", "signal db 15", "start job#exec1"]
    assert not sim.has_ended()
    sim.exit(sim.child("job#exec1"), DONE)
    assert sim.ended == 78


def test_a_command_that_waits_for_the_last_stage_says_so_and_can_be_stopped() -> None:
    sim = running(component("db"))
    sim.deaf = {"db"}
    sim.post(Shutdown("me"))
    sim.run_command("db")
    assert why(sim, "db#mailer1") == "shutdown: piesd is shutting down"
    sim.order("stop", "db#mailer1")
    assert sim.over["db#mailer1"].stage == "stopped"
    assert sim.spawned == ["db"]


def test_a_command_of_the_last_stage_that_hangs_ends_with_its_budget() -> None:
    sim = running(component("db"))
    begun = sim.now
    sim.post(Shutdown("me"))
    sim.run_command("db")
    sim.settle()
    sim.deaf = {"db#mailer1"}
    while not sim.has_ended():
        sim.settle()
        sim.wake()
    assert "start db#mailer1" in sim.history
    assert 5 <= sim.now - begun <= 7
    assert not sim.children


def test_a_hurried_shutdown_does_not_wait_for_commands() -> None:
    sim = running(component("db"))
    begun = sim.now
    sim.post(Shutdown("me"))
    sim.run_command("db")
    sim.settle()
    sim.post(Hurry())
    sim.settle()
    assert (sim.ended, sim.now) == (0, begun)


def test_a_shutdown_component_has_exit_actions_too() -> None:
    bye = component("bye", mode=Mode.SHUTDOWN, exit_actions=(ExitAction(codes=(78,), exec=("x",)),))
    sim = running(bye)
    sim.post(Shutdown("me"))
    sim.settle()
    sim.exit(sim.child("bye"), BAD)
    sim.settle()
    assert not sim.has_ended()
    sim.exit(sim.child("bye#exec1"), DONE)
    assert sim.ended == 0


def test_after_the_end_a_command_is_dropped_and_that_is_told() -> None:
    sim = running(component("db"))
    sim.post(Shutdown("me"))
    sim.settle()
    assert sim.has_ended()
    sim.run_command("db")
    assert sim.over["db#mailer1"].stage == "dropped"
    assert sim.spawned == ["db"]
