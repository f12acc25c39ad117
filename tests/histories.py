"""Random plans and random histories for hypothesis: whatever can happen to a set of components."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import strategies as st

from simulation import Simulation
from supervisor.engine.modes import ALARMS
from supervisor.model.component import Check, Component, ExitAction, InetAddress, Mode, Respawn
from supervisor.model.events import Alarm, Apply, SetVariable
from supervisor.model.state import Exit


def examples(count: int) -> int:
    """Return how many examples to draw where *count* are wanted: few in `make quick`."""
    return max(5, count // 20) if os.environ.get("QUICK") else count


LISTENING = (Mode.INETD, Mode.ACCEPT, Mode.PASS_FD)
TAGS = [f"c{n}" for n in range(6)]
EXITS = [Exit(code=0, message="exited with 0"), Exit(code=1, message="exited with 1")]
ACTIONS = [
    ExitAction(codes=(1,), action="disable"),
    ExitAction(codes=(0, 127), exec=("/bin/cleanup",), notify=("ops@example.org",)),
    ExitAction(codes=(1,), signals=(9,), exec=("/bin/save",)),
]


@st.composite
def plans(draw: st.DrawFn) -> list[Component]:
    """Draw up to six components whose prerequisites have no cycle."""
    order = draw(st.permutations(TAGS))
    size = draw(st.integers(1, len(TAGS)))
    plan: list[Component] = []
    for index, tag in enumerate(order[:size]):
        mode = draw(st.sampled_from([*Mode, Mode.RESPAWN, Mode.RESPAWN]))
        early = [
            other.tag
            for other in plan
            if (mode is Mode.STARTUP) == (other.mode is Mode.STARTUP)
            and (mode is Mode.SHUTDOWN) == (other.mode is Mode.SHUTDOWN)
        ]
        limited = mode not in LISTENING and draw(st.integers(0, 3)) == 0
        needs = draw(st.lists(st.sampled_from(early), unique=True, max_size=3)) if early else []
        masters = [each.tag for each in plan if each.tag in early and each.service == "tcpmux"]
        kind = draw(st.sampled_from(["", "tcpmux", "below"])) if mode is Mode.INETD else ""
        master = draw(st.sampled_from(masters)) if kind == "below" and masters else None
        if master is not None:
            needs = [*needs, master] if master not in needs else needs
        serving = _serving(draw, mode, 1000 + index, ours=kind == "tcpmux" or master is not None)
        if master is not None:
            serving["sockets"] = ()
        plan.append(
            Component(
                tag=tag,
                argv=(draw(st.sampled_from(["a", "b"])),),
                mode=mode,
                prerequisites=tuple(needs),
                enabled=draw(st.integers(0, 5)) > 0,
                precious=draw(st.booleans()),
                respawn=Respawn(max=2, window=60, sleep=30, delay=draw(st.sampled_from([0, 2]))),
                service="tcpmux" if kind == "tcpmux" else None,
                internal=kind == "tcpmux",
                tcpmux_master=master,
                ready=draw(st.sampled_from([None, None, Check(kind="notify")])),
                start_condition=draw(st.sampled_from([(), (), ("test",)])),
                exit_actions=tuple(draw(st.lists(st.sampled_from(ACTIONS), max_size=2))),
                stop_scope=draw(st.sampled_from(["group", "leader"])),
                runlevels=draw(st.sampled_from([None, None, "2", "23", "3S", "a", ""])),
                template="t" if limited else None,
                **{"max_instances": 2 if limited else None, **serving},
            )
        )
    return draw(st.permutations(plan))


MACHINES: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        *[{"init": False, "runlevel": ""}] * 3,
        {"init": False, "runlevel": "2"},
        {"init": True, "runlevel": ""},
        {"init": True, "runlevel": "2"},
        {"init": True, "runlevel": "S"},
    ]
)
"""How piesd is started: mostly without runlevels, sometimes with, sometimes as init."""


def _serving(draw: st.DrawFn, mode: Mode, port: int, *, ours: bool) -> dict[str, Any]:
    """Draw what a component says about sockets and about how many it serves.

    *ours* says that piesd serves it: then no server owns the listener.
    """
    if mode not in LISTENING:
        return {}
    owned = draw(st.booleans()) and not ours
    return {
        "sockets": (InetAddress(host="::1", port=port),),
        "wait": mode is Mode.INETD and owned,
        "on_demand": mode is Mode.ACCEPT and owned,
        "max_rate": draw(st.sampled_from([0, 0, 1, 2])),
        "max_ip_connections": draw(st.sampled_from([None, 1])),
        "max_instances": draw(st.sampled_from([None, 1, 2])) if mode is Mode.INETD else None,
    }


STEPS = st.sampled_from(
    [
        *["spawn", "exit", "wake", "order"] * 3,
        *["ready", "answer"] * 2,
        *["refuse", "check", "hang", "command", "idle", "alarm", "level", "level", "variable"],
        *["fail", "open", "close", "connect", "lose", "clear", "later", "apply", "settle"],
    ]
)


def one_step(sim: Simulation, data: st.DataObject) -> None:  # noqa: C901 - It is one table.
    """Let something happen that can happen now."""
    world = sim.engine.world
    match data.draw(STEPS):
        case "spawn" if sim.starting:
            sim.spawn_one(data.draw(st.integers(0, 5)))
        case "fail" if sim.starting:
            room = data.draw(st.booleans())
            sim.spawn_one(data.draw(st.integers(0, 5)), fail=True, room=room)
        case "ready" if sim.children:
            sim.become_ready(data.draw(st.sampled_from(list(sim.children))))
        case "check" if sim.children:
            sim.fail_check(data.draw(st.sampled_from(list(sim.children))))
        case "hang" if sim.children:
            sim.hang(data.draw(st.sampled_from(list(sim.children))))
        case "idle" if served := sim.served():
            sim.idle(data.draw(st.sampled_from(served)))
        case "answer" if sim.probing:
            sim.answer_one(data.draw(st.integers(0, 5)))
        case "refuse" if sim.probing:
            refusal = Exit(stage="start-condition", message="exited with 1")
            sim.answer_one(data.draw(st.integers(0, 5)), refusal)
        case "command":
            sim.run_command(data.draw(st.sampled_from([*TAGS, "unknown"])))
        case "open" if sim.opening:
            sim.open_one()
        case "close" if sim.closing:
            sim.close_one()
        case "exit" if sim.children:
            sim.exit(
                data.draw(st.sampled_from(list(sim.children))), data.draw(st.sampled_from(EXITS))
            )
        case "lose" if any(sim.children.values()):
            child = data.draw(st.sampled_from([one for one, pid in sim.children.items() if pid]))
            sim.exit(child, data.draw(st.sampled_from(EXITS)), lost=(7777,))
        case "clear" if sim.orphans:
            sim.clear(data.draw(st.sampled_from(list(sim.orphans))))
        case "connect" if accepting := sim.accepting():
            tag = data.draw(st.sampled_from(accepting))
            if world.specs[tag].owned:
                sim.offer(tag)
            else:
                sim.connect(tag, data.draw(st.sampled_from(["", "10.0.0.1", "10.0.0.2"])))
        case "order" if world.states:
            action = data.draw(st.sampled_from(["start", "stop", "restart", "reset", "signal"]))
            keys = data.draw(st.lists(st.sampled_from(list(world.states)), unique=True))
            sim.order(action, *keys)
        case "apply":
            runlevel = data.draw(st.sampled_from([sim.engine.world.initdefault, "", "2", "3", "S"]))
            sim.post(Apply(tuple(data.draw(plans())), 5.0, runlevel=runlevel))
        case "level":
            sim.level(data.draw(st.sampled_from("23Sabs4x")))
        case "alarm":
            sim.post(Alarm(data.draw(st.sampled_from(list(ALARMS)))))
        case "variable":
            sim.post(SetVariable("LANG", data.draw(st.sampled_from([None, "C"]))))
        case "later":
            sim.now += data.draw(st.floats(0, 100))
        case "wake":
            sim.wake()
        case "settle":
            sim.settle()
        case _:
            pass  # What was drawn cannot happen now.
