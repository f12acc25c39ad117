"""Runlevels: the boot of a machine, changes of the level, alarms, and what people do meanwhile."""

from __future__ import annotations

from msgspec.structs import replace

from simulation import Simulation
from supervisor.engine.describe import describe, why
from supervisor.engine.initenv import MOST_VARIABLES, environment
from supervisor.model.component import Component, Environment, EnvStep, Mode, Tag
from supervisor.model.effects import Note
from supervisor.model.events import Alarm, Apply, SetRunlevel, SetVariable, Shutdown
from supervisor.model.state import Exit, Phase


def entry(tag: Tag, levels: str | None, mode: Mode, *prerequisites: Tag) -> Component:
    return Component(
        tag=tag, argv=(tag,), mode=mode, runlevels=levels, prerequisites=tuple(prerequisites)
    )


INITTAB = (
    entry("si", None, Mode.SYSINIT),
    entry("si2", None, Mode.SYSINIT),
    entry("bo", None, Mode.BOOT),
    entry("bw", None, Mode.BOOTWAIT),
    entry("l2", "2", Mode.WAIT),
    entry("l3", "3", Mode.WAIT),
    entry("on", "23", Mode.ONCE),
    entry("t1", "23", Mode.RESPAWN),
    entry("t2", "3", Mode.RESPAWN),
    entry("od", "a", Mode.ONDEMAND),
    entry("ca", "23", Mode.CTRLALTDEL),
    entry("pw", "23", Mode.POWERWAIT),
)


def machine(*more: Component, runlevel: str = "2", init: bool = True) -> Simulation:
    return Simulation((*INITTAB, *more), init=init, runlevel=runlevel).boot()


def booted(*more: Component, runlevel: str = "2", init: bool = True) -> Simulation:
    sim = machine(*more, runlevel=runlevel, init=init).settle()
    for tag in ("si", "si2", "bw", f"l{runlevel}"):
        sim.end(tag).settle()
    sim.end("on")
    sim.told()
    return sim


def blocked(sim: Simulation, key: Tag) -> str:
    block = describe(sim.engine.world, key, sim.now, 0.0).blocked_by
    return block.message if block else ""


def texts(sim: Simulation, kind: str) -> list[str]:
    return [note.text for note in sim.notes if note.kind == kind]


def test_an_inittab_goes_through_every_state() -> None:
    sim = machine()
    world = sim.engine.world
    assert (world.boot_state, world.runlevel, world.previous_runlevel) == ("sysinit", "N", "N")
    assert sim.settle().told() == ["start si"]
    assert blocked(sim, "si2") == "si comes first: its mode is sysinit"
    assert blocked(sim, "t1") == "sysinit components come first: si, si2"
    assert sim.end("si").settle().told() == ["start si2"]
    assert sim.end("si2").settle().told() == ["record boot", "start bo", "start bw"]
    assert world.boot_state == "boot"
    assert blocked(sim, "t1") == "bootwait components come first: bw"
    assert sim.end("bw").settle().told() == ["record runlevel N 2", "start l2"]
    assert (world.boot_state, world.runlevel, world.previous_runlevel) == ("normal", "2", "N")
    assert blocked(sim, "t1") == "l2 comes first: its mode is wait"
    assert blocked(sim, "t2") == "it belongs to runlevel 3, the runlevel is 2"
    assert blocked(sim, "od") == "it runs on demand: runlevel a asks for it"
    assert blocked(sim, "ca") == "it runs when Ctrl-Alt-Del is pressed"
    assert sim.end("l2").settle().told() == ["start on", "start t1"]
    assert sim.phase("bo") is Phase.RUNNING
    sim.end("t1").settle()
    assert sim.told() == ["start t1"]


def test_a_change_of_the_level_stops_and_starts_the_difference_in_order() -> None:
    front = entry("front", "2", Mode.RESPAWN, "back")
    back = entry("back", "2", Mode.RESPAWN)
    sim = booted(front, back)
    sim.level("3")
    assert sim.told() == ["record runlevel 2 3", "signal front 15"]
    assert blocked(sim, "l3") == "what leaves runlevel 2 stops first: front, back"
    sim.settle()
    assert sim.told() == ["signal back 15", "start l3"]
    assert sim.end("l3").settle().told() == ["start t2"]
    # What belongs to both goes on, and what ran once in the old one does not run again.
    assert sim.phase("t1") is Phase.RUNNING
    assert sim.phase("on") is Phase.FINISHED
    assert texts(sim, "runlevel")[-1] == "entering runlevel 3 from 2, as me asks"
    assert sim.level("2").settle().told() == ["record runlevel 3 2", "signal t2 15", "start l2"]
    assert sim.end("l2").settle().told() == ["start back", "start front"]


def test_what_runs_once_runs_again_when_its_level_is_entered_again() -> None:
    sim = booted()
    sim.level("4").settle()
    assert sim.phase("on") is Phase.WAITING
    sim.level("2").settle()
    sim.told()
    sim.end("l2").settle()
    assert sim.told() == ["start on", "start t1"]


def test_what_failed_too_often_is_tried_again_when_its_level_is_entered_again() -> None:
    sim = booted()
    for _ in range(10):
        sim.settle().end("t1", 1)
    assert sim.phase("t1") is Phase.SLEEPING
    sim.level("4").settle()
    assert blocked(sim, "t1") == "it belongs to runlevels 23, the runlevel is 4"
    sim.level("3").settle().end("l3").settle()
    assert sim.phase("t1") is Phase.RUNNING


def test_the_present_level_is_only_looked_at_again() -> None:
    sim = booted()
    assert sim.level("2").settle().told() == []
    assert texts(sim, "runlevel")[-1] == "the runlevel is 2 already, as me asks"


def test_what_ignores_the_signal_is_killed_and_no_change_waits_for_what_cannot_be_killed() -> None:
    sim = booted()
    sim.deaf.add("t1")
    sim.level("4")
    sim.wake()
    assert sim.told() == ["record runlevel 2 4", "signal t1 15", "signal t1 9"]
    later = entry("later", "4", Mode.RESPAWN)
    sim.post(Apply((*INITTAB, later), 5.0, runlevel="2"))
    assert blocked(sim, "later") == "what leaves runlevel 2 stops first: t1"
    sim.wake()
    sim.wake()
    assert sim.told()[-1] == "start later"


def test_whoever_asks_for_a_level_says_how_long_what_leaves_may_take() -> None:
    front = entry("front", "2", Mode.RESPAWN, "back")
    slow = replace(entry("back", "2", Mode.RESPAWN), stop_timeout=60.0)
    sim = booted(front, slow)
    sim.deaf |= {"t1", "back"}
    begun = sim.now
    sim.level("4", patience=2).settle()
    assert sim.now == begun
    assert {sim.engine.world.states[tag].deadline for tag in ("t1", "back")} == {begun + 2}
    sim.wake()
    assert set(sim.told()[-2:]) == {"signal t1 9", "signal back 9"}


def test_only_that_change_goes_by_it_and_only_what_leaves() -> None:
    other = entry("other", None, Mode.RESPAWN)
    sim = booted(other)
    sim.deaf |= {"t1", "t2", "other"}
    sim.level("4", patience=2)
    sim.order("stop", "other")
    assert sim.engine.world.states["other"].deadline == sim.now + 5
    sim.wake()
    sim.deaf.clear()
    sim.settle().level("3").settle().end("l3").settle()
    sim.deaf |= {"t1", "t2"}
    sim.level("4")
    assert sim.engine.world.states["t2"].deadline == sim.now + 5


def test_whoever_asks_again_can_be_less_patient_but_not_more() -> None:
    sim = booted()
    sim.deaf.add("t1")
    begun = sim.now
    sim.level("4", patience=30)
    for level, patience, due in (("4", 20, 20), ("4", 40, 20), ("4", None, 20), ("5", 1, 1)):
        sim.level(level, patience=patience)
        assert sim.engine.world.states["t1"].deadline == begun + due
    sim.wake()
    assert sim.told()[-1] == "signal t1 9"


def test_the_patience_is_for_a_change_that_begins_with_the_boot_too() -> None:
    sim = booted(entry("su", "S", Mode.RESPAWN), runlevel="2")
    sim.level("S").settle()
    sim.deaf.add("su")
    sim.level("2", patience=0)
    assert sim.engine.world.states["su"].deadline == sim.now


def test_a_change_goes_on_when_a_reload_removes_what_is_leaving() -> None:
    late = entry("late", "4", Mode.RESPAWN)
    sim = booted(late)
    assert sim.level("4").told() == ["record runlevel 2 4", "signal t1 15"]
    sim.post(Apply([*(each for each in INITTAB if each.tag != "t1"), late], 5.0, runlevel="2"))
    assert blocked(sim, "late") == "what leaves runlevel 2 stops first: t1"
    assert sim.settle().told() == ["start late"]
    assert "t1" not in sim.engine.world.states


def test_a_slow_wait_component_of_the_old_level_does_not_outlive_it() -> None:
    sim = machine(runlevel="2").settle()
    for tag in ("si", "si2", "bw"):
        sim.end(tag).settle()
    assert sim.phase("l2") is Phase.RUNNING
    sim.told()
    sim.level("3").settle()
    assert sim.told() == ["record runlevel 2 3", "signal l2 15", "start l3"]


def test_an_alarm_runs_what_is_there_for_it_each_time() -> None:
    sim = booted()
    sim.post(Alarm("ctrlaltdel"))
    assert sim.told() == ["start ca"]
    sim.settle().end("ca")
    assert sim.phase("ca") is Phase.FINISHED
    sim.post(Alarm("ctrlaltdel"))
    assert sim.told() == ["start ca"]
    sim.post(Alarm("kbrequest"))
    assert texts(sim, "alarm")[-1] == "kbrequest: nothing is configured for it"


def test_the_alarms_of_the_power_run_what_is_there_for_each() -> None:
    modes = (Mode.POWERFAIL, Mode.POWERFAILNOW, Mode.POWEROKWAIT)
    late = entry("late", "3", Mode.RESPAWN)
    sim = booted(*(entry(mode.value, "23", mode) for mode in modes), late)
    sim.post(Alarm("powerfail"))
    assert sim.told() == ["start pw", "start powerfail"]
    sim.post(Alarm("powerfailnow"))
    assert sim.told() == ["start powerfailnow"]
    sim.post(Alarm("powerok"))
    assert sim.told() == ["start powerokwait"]
    # The power is back: the rest waits for the end of that, and no longer for what came before.
    sim.settle().end("pw").settle().order("start", "late")
    assert blocked(sim, "late") == "powerokwait comes first: its mode is powerokwait"
    sim.end("powerokwait")
    assert sim.told() == ["start late"]


def test_powerwait_is_waited_for_and_an_alarm_waits_for_nobody() -> None:
    late = entry("late", "3", Mode.RESPAWN)
    sim = booted(late)
    sim.post(Alarm("powerfail"))
    sim.settle().told()
    sim.order("start", "late")
    assert blocked(sim, "late") == "pw comes first: its mode is powerwait"
    sim.post(Alarm("ctrlaltdel"))
    assert sim.told() == ["start ca"]
    sim.settle().end("pw")
    assert sim.told() == ["start late"]


def test_an_alarm_is_obeyed_while_a_script_hangs_and_not_again_in_another_level() -> None:
    sim = machine().settle()
    for tag in ("si", "si2", "bw"):
        sim.end(tag).settle()
    assert sim.phase("l2") is Phase.RUNNING
    sim.told()
    sim.post(Alarm("ctrlaltdel"))
    assert sim.told() == ["start ca"]
    sim.settle().end("ca").end("l2").settle()
    sim.level("4").settle()
    sim.level("2").settle()
    sim.end("l2").settle()
    assert "start ca" not in sim.told()


def test_an_alarm_before_the_first_level_is_obeyed_when_it_is_entered() -> None:
    sim = machine().settle()
    sim.post(Alarm("ctrlaltdel"))
    assert blocked(sim, "ca") == "sysinit components come first: si, si2"
    sim.end("si").settle().end("si2").settle().told()
    sim.end("bw")
    assert "start ca" in sim.told()


def test_an_alarm_does_not_run_what_somebody_has_stopped() -> None:
    sim = booted()
    sim.order("stop", "ca")
    sim.post(Alarm("ctrlaltdel"))
    assert sim.told() == []
    sim.order("start", "ca").settle()
    assert sim.told() == ["start ca"]


def test_what_is_on_demand_survives_other_levels_but_not_that_of_a_single_user() -> None:
    sim = booted()
    sim.level("a").settle()
    assert sim.told() == ["start od"]
    assert sim.engine.world.runlevel == "2"
    sim.level("4").settle()
    assert sim.phase("od") is Phase.RUNNING
    sim.end("od")
    assert sim.phase("od") is Phase.STARTING
    sim.level("S").settle()
    assert sim.phase("od") is Phase.STOPPED
    sim.level("2").settle()
    assert blocked(sim, "od") == "it runs on demand: runlevel a asks for it"
    sim.order("start", "od").settle()
    sim.level("S").settle()
    assert blocked(sim, "od") == "it runs on demand: runlevel a asks for it"


def test_what_a_person_stopped_stays_down_and_what_one_started_goes_with_the_level() -> None:
    sim = booted()
    sim.order("stop", "t1").settle()
    sim.order("start", "t2").settle()
    assert sim.phase("t2") is Phase.RUNNING
    sim.level("4").settle()
    assert sim.phase("t2") is Phase.WAITING
    sim.level("3").settle()
    sim.end("l3").settle()
    assert sim.phase("t2") is Phase.RUNNING
    assert sim.phase("t1") is Phase.STOPPED
    assert blocked(sim, "t1") == "it was stopped by me"


def test_what_is_started_outside_of_its_level_brings_what_it_needs() -> None:
    need = entry("need", "4", Mode.RESPAWN)
    sim = booted(need, entry("user", "4", Mode.RESPAWN, "need"))
    sim.order("start", "user").settle()
    assert sim.told() == ["start need", "start user"]
    sim.order("stop", "need").settle()
    assert sim.phase("user") is Phase.WAITING


def test_a_prerequisite_of_another_level_is_named_as_the_reason() -> None:
    sim = booted(entry("need", "4", Mode.RESPAWN), entry("user", "24", Mode.RESPAWN, "need"))
    expected = "prerequisite need belongs to runlevel 4, the runlevel is 2"
    assert blocked(sim, "user") == expected


def test_a_wait_component_that_needs_something_behind_it_does_not_block_it() -> None:
    first = entry("first", "2", Mode.WAIT, "behind")
    sim = Simulation((first, entry("behind", "2", Mode.RESPAWN)), init=True, runlevel="2")
    assert sim.boot().settle().told()[-2:] == ["start behind", "start first"]


def test_what_waits_for_a_free_slot_is_not_waited_for() -> None:
    plan = [
        replace(each, template="t", max_instances=1)
        for each in (entry("first", "2", Mode.RESPAWN), entry("second", "2", Mode.WAIT))
    ]
    sim = Simulation([*plan, entry("third", "2", Mode.RESPAWN)], init=True, runlevel="2")
    assert sim.boot().settle().told()[-2:] == ["start first", "start third"]


def test_a_single_user_who_leaves_lets_the_machine_boot() -> None:
    shell = entry("shell", "S", Mode.WAIT)
    sim = Simulation((*INITTAB, shell), init=True, runlevel="2")
    sim.post(SetRunlevel("S"))
    sim.boot().settle()
    sim.end("si").settle().end("si2").settle()
    world = sim.engine.world
    assert (world.boot_state, world.runlevel) == ("single", "S")
    assert blocked(sim, "bw") == "it runs when the machine has left single-user mode"
    sim.told()
    sim.end("shell").settle()
    assert sim.told() == ["start bo", "start bw"]
    sim.end("bw").settle()
    assert (world.boot_state, world.runlevel, world.previous_runlevel) == ("normal", "2", "S")


def test_a_single_user_has_not_left_before_all_that_is_for_one_has_ended() -> None:
    shells = [entry("one", "S", Mode.WAIT), entry("two", "S", Mode.WAIT)]
    sim = Simulation(shells, init=True, runlevel="2")
    sim.post(SetRunlevel("S"))
    sim.boot().settle()
    assert sim.told()[-1] == "start one"
    sim.end("one").settle()
    assert sim.told() == ["start two"]
    sim.end("two").settle()
    assert sim.told() == ["record runlevel S 2"]


def test_a_level_asked_for_in_single_user_mode_comes_after_the_boot() -> None:
    shell = entry("shell", "S", Mode.RESPAWN)
    sim = Simulation((*INITTAB, shell), init=True, runlevel="S").boot().settle()
    sim.end("si").settle().end("si2").settle()
    sim.told()
    sim.level("3").settle()
    assert sim.told() == ["signal shell 15", "start bo", "start bw"]
    sim.end("bw").settle()
    assert sim.told() == ["record runlevel S 3", "start l3"]


def test_a_level_asked_for_while_the_machine_boots_is_the_first_one() -> None:
    sim = machine().settle()
    sim.level("3")
    assert texts(sim, "runlevel") == ["the first runlevel will be 3, as me asks"]
    sim.end("si").settle().end("si2").settle().end("bw").settle()
    assert sim.engine.world.runlevel == "3"


def test_an_init_process_without_a_configured_level_takes_3() -> None:
    sim = Simulation([entry("web", None, Mode.RESPAWN)], init=True).boot().settle()
    assert sim.engine.world.runlevel == "3"
    assert sim.phase("web") is Phase.RUNNING


def test_without_runlevels_nothing_asks_for_them() -> None:
    plan = [entry("web", "5", Mode.RESPAWN), entry("si", None, Mode.SYSINIT)]
    sim = Simulation(plan).boot().settle()
    assert sim.told() == ["start web"]
    assert sim.engine.world.runlevel == ""
    sim.level("3").settle()
    assert sim.why_not() == [
        "cannot go to runlevel '3': no runlevel is configured; 'runlevel' in [daemon] would be one"
    ]
    assert blocked(sim, "si") == "it runs when the machine boots"


def test_runlevels_work_without_being_init() -> None:
    plan = [entry("web", "35", Mode.RESPAWN), entry("db", "3", Mode.RESPAWN)]
    sim = Simulation(plan, runlevel="3").boot().settle()
    assert sim.told() == ["start web", "start db"]
    assert sim.level("5").settle().told() == ["signal db 15"]
    assert describe(sim.engine.world, "db", 0.0, 0.0).active


def test_a_level_that_does_not_exist_is_refused() -> None:
    sim = booted()
    sim.level("x")
    expected = "there is no such runlevel: it is one of 0 to 9, S, a, b and c"
    assert sim.why_not() == [f"cannot go to runlevel 'x': {expected}"]


# --- reloads


def test_a_reload_stops_what_no_longer_belongs_and_starts_what_does_now() -> None:
    sim = booted()
    plan = [
        replace(each, runlevels={"t1": "3", "t2": "23"}.get(each.tag, each.runlevels))
        for each in INITTAB
    ]
    sim.post(Apply(plan, 5.0, runlevel="3"))
    assert sim.settle().told() == ["signal t1 15", "start t2"]
    assert sim.engine.world.runlevel == "2"
    assert sim.engine.world.initdefault == "3"


def test_a_reload_that_begins_to_use_runlevels_enters_the_configured_one() -> None:
    plan = [entry("web", "3", Mode.RESPAWN), entry("db", "2", Mode.RESPAWN)]
    sim = Simulation(plan).boot().settle()
    sim.told()
    sim.post(Apply(plan, 5.0, runlevel="3"))
    assert sim.settle().told() == ["signal db 15"]
    sim.post(Apply(plan, 5.0))
    assert sim.settle().told() == ["start db"]


def test_a_reload_runs_nothing_that_has_to_be_called_for() -> None:
    sim = booted()
    more = [entry("new", "2", Mode.CTRLALTDEL), entry("newboot", None, Mode.SYSINIT)]
    plan = [replace(each, mode=Mode.KBREQUEST) if each.tag == "t1" else each for each in INITTAB]
    plan = [replace(each, enabled=False) if each.tag == "ca" else each for each in plan]
    sim.post(Apply([*plan, *more], 5.0, runlevel="2"))
    assert sim.settle().told() == ["signal t1 15"]
    assert blocked(sim, "t1") == "it runs when its key is pressed"
    assert blocked(sim, "newboot") == "it runs when the machine boots"
    sim.post(Apply([*INITTAB, *more], 5.0, runlevel="2"))
    assert sim.settle().told() == ["start t1"]
    sim.post(Alarm("ctrlaltdel"))
    assert sim.told() == ["start ca", "start new"]


def test_a_reload_does_not_obey_an_alarm_that_was_refused_before() -> None:
    refusing = replace(entry("ca", None, Mode.CTRLALTDEL), start_condition=("false",))
    sim = Simulation([refusing], init=True, runlevel="2").boot()
    sim.post(Alarm("ctrlaltdel"))
    sim.answer_one(refusal=Exit(stage="start-condition", message="exited with 1"))
    sim.told()
    sim.post(Apply([replace(refusing, start_condition=())], 5.0, runlevel="2"))
    assert sim.settle().told() == []
    sim.post(Alarm("ctrlaltdel"))
    assert sim.told() == ["start ca"]


def test_a_reload_does_not_do_again_what_a_boot_script_is_in_the_middle_of() -> None:
    sim = machine().settle()
    sim.told()
    plan = [replace(each, argv=("other",)) if each.tag == "si" else each for each in INITTAB]
    sim.post(Apply(plan, 5.0, runlevel="2"))
    assert sim.told() == []


# --- the rest


def test_the_shutdown_brings_a_machine_down_whatever_it_waits_for() -> None:
    for ended in ([], ["si", "si2"], ["si", "si2", "bw"]):
        sim = machine().settle()
        for tag in ended:
            sim.end(tag).settle()
        sim.post(Shutdown("me"))
        sim.settle()
        assert sim.ended == 0
        assert not sim.children


def test_children_of_an_init_process_are_told_the_runlevel() -> None:
    sim = booted()
    assert sim.launches["t1"].spec.env_base.set == {
        "CONSOLE": "/dev/console",
        "RUNLEVEL": "2",
        "PREVLEVEL": "N",
    }
    sim.post(SetVariable("LANG", "C"))
    sim.post(SetVariable("CONSOLE"))
    sim.level("3").settle()
    expected = {"LANG": "C", "RUNLEVEL": "3", "PREVLEVEL": "2"}
    assert sim.launches["l3"].spec.env_base.set == expected
    assert environment(sim.engine.world) == expected


def test_there_is_an_end_to_the_variables_that_telinit_can_set() -> None:
    sim = booted()
    for number in range(300):
        sim.post(SetVariable(f"V{number}", "x"))
    assert len(sim.engine.world.environ) == MOST_VARIABLES
    sim.post(SetVariable("V0", "y"))
    assert sim.engine.world.environ["V0"] == "y"
    assert (
        texts(sim, "variable-refused")[-1] == "cannot set 'V299': there are 256 variables already"
    )


def test_the_configuration_decides_what_of_that_environment_is_let_through() -> None:
    base = Environment(clear=True, keep=("RUN*",), steps=(EnvStep("set", "A=1"),))
    plan = [Component(tag="web", argv=("web",), env_base=base)]
    sim = Simulation(plan, init=True, runlevel="2").boot()
    assert sim.launches["web"].spec.env_base == replace(base, set={"RUNLEVEL": "2"})
    base = Environment(unset=("PREV*", "RUNLEVEL=3"), set={"CONSOLE": "/dev/tty1"})
    sim = Simulation([replace(plan[0], env_base=base)], init=True, runlevel="2").boot()
    expected = {"RUNLEVEL": "2", "CONSOLE": "/dev/tty1"}
    assert sim.launches["web"].spec.env_base == replace(base, set=expected)


def test_why_tells_the_answer_of_every_gate() -> None:
    sim = booted()
    answers = {gate: view.message for gate, view in why(sim.engine.world, "t2", 0.0, 0.0) if view}
    assert answers == {"outside-runlevel": "it belongs to runlevel 3, the runlevel is 2"}


def test_a_double_goes_its_own_way() -> None:
    sim = booted()
    double = sim.engine.copy()
    effects = double.handle(SetRunlevel("3"), sim.now)
    assert any(isinstance(effect, Note) and effect.kind == "runlevel" for effect in effects)
    assert (double.world.runlevel, sim.engine.world.runlevel) == ("3", "2")
