"""Orders: who may give them, what they match, when they are answered, how they are rehearsed."""

from __future__ import annotations

from signal import SIGHUP, SIGTERM
from typing import Any, Literal, cast

import pytest
import trio
import trio.testing

from asked import ABOUT, GUEST, ROOT, STRANGER, Disk, desk, plan_of
from fake_system import Script
from running import House
from supervisor.control.control import Control
from supervisor.control.orders import Request, signal_number
from supervisor.model.component import Component, InetAddress, Mode
from supervisor.model.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    NotRunning,
    NotSettled,
    PlanChanged,
    ShuttingDown,
)
from supervisor.model.events import Apply, Boot, Shutdown
from supervisor.model.settings import SourceFile
from supervisor.selectors import All, HasTag, Or

DB = Component(tag="db", argv=("db",))
WEB = Component(tag="web", argv=("web",), prerequisites=("db",))
OFF = Component(tag="off", argv=("off",), enabled=False)
ONE = Component(tag="w:1", argv=("w",), template="w", instance=1)
TWO = Component(tag="w:2", argv=("w",), template="w", instance=2)
PORT = InetAddress(host="127.0.0.1", port=7)
ECHO = Component(tag="echo", argv=("cat",), mode=Mode.INETD, sockets=(PORT,))

Clock = trio.testing.MockClock


def deaf(home: House) -> None:
    home.system.scripts["web"] = Script(ignores=frozenset({SIGTERM}))


async def test_an_order_is_answered_when_it_is_accepted_and_not_when_it_is_done(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB], deaf) as asked:
            begun = trio.current_time()
            outcome = await asked.order("stop", "web")
            assert outcome.tags == ("web",)
            assert not outcome.settled
            assert asked.status("web") == "stopping"
            assert trio.current_time() == begun


async def test_with_wait_it_is_answered_when_all_that_matched_has_settled(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB], deaf) as asked:
            begun = trio.current_time()
            outcome = await asked.order("stop", All(), wait=60)
            assert outcome.settled
            assert [asked.status(tag) for tag in ("db", "web")] == ["stopped", "stopped"]
            assert trio.current_time() - begun == pytest.approx(WEB.stop_timeout, abs=0.5)


async def test_a_restart_has_settled_when_a_new_child_is_up(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            before = asked.pid("db"), asked.pid("web")
            assert (await asked.order("restart", "db", wait=10)).settled
            assert asked.status("db") == "running"
            assert asked.pid("db") != before[0]


async def test_when_the_time_is_up_the_answer_names_what_has_not_settled_and_why(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB], deaf) as asked:
            with pytest.raises(NotSettled) as refused:
                await asked.order("stop", All(), wait=2)
            assert refused.value.tags == ("db", "web")
            text = str(refused.value)
            assert "db: its dependents stop first: web" in text
            assert f"web: it is stopping: waiting for process {asked.pid('web')}" in text


async def test_nobody_waits_longer_than_an_hour(autojump_clock: Clock) -> None:
    def slow(home: House) -> None:
        home.system.scripts["db"] = Script(delayed=True)

    with trio.fail_after(5000):
        async with desk([DB], slow) as asked:
            begun = trio.current_time()
            with pytest.raises(NotSettled):
                await asked.order("start", "db", wait=1e9)
            assert trio.current_time() - begun == pytest.approx(3600)


async def test_who_goes_away_while_waiting_takes_nothing_back(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB], deaf) as asked:
            with trio.move_on_after(1):
                await asked.order("stop", All(), wait=60)
            assert asked.status("web") == "stopping"
            await trio.sleep(10)
            assert asked.status("web") == asked.status("db") == "stopped"


async def test_waiting_for_a_start_ends_when_piesd_begins_to_shut_down(
    autojump_clock: Clock,
) -> None:
    def failing(home: House) -> None:
        home.system.scripts["off"] = Script(ignores=frozenset({SIGTERM}))

    with trio.fail_after(60):
        async with desk([DB, OFF], failing) as asked, trio.open_nursery() as nursery:
            await asked.order("start", "off", wait=1)
            await asked.order("restart", "off")

            async def shut_down() -> None:
                await trio.sleep(1)
                asked.home.runner.post(Shutdown("somebody"))

            nursery.start_soon(shut_down)
            with pytest.raises(ShuttingDown):
                await asked.order("restart", "off", wait=60)
            assert trio.current_time() < 30


async def test_the_selector_is_evaluated_first_and_then_all_matches_are_acted_on(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            outcome = await asked.order("stop", Or((HasTag("db"), HasTag("web"))), wait=10)
            assert outcome.tags == ("db", "web")
            wishes = [state.wish for state in asked.home.runner.engine.world.states.values()]
            assert [wish and (wish.action, wish.by) for wish in wishes] == [
                ("stop", ROOT.name),
                ("stop", ROOT.name),
            ]


async def test_what_was_posted_before_an_order_is_seen_by_its_selector(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            home = House(nursery, 5.0)
            plan = plan_of(DB, WEB)
            control = Control(home.runner, plan=plan, load=Disk(plan).load, about=ABOUT)
            home.runner.post(Apply(plan.components, 5.0))
            home.runner.post(Boot())
            # Nothing of this is handled before the runner gets its turn.
            nursery.start_soon(home.runner.run)
            outcome = await control.order(Request(action="stop", selector=All()), ROOT)
            assert outcome.tags == ("db", "web")
            nursery.cancel_scope.cancel()


async def test_a_tag_that_does_not_exist_matches_nothing_and_that_is_no_error(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            assert (await asked.order("stop", "nobody", wait=1)).tags == ()
            with pytest.raises(NotFound):
                await asked.control.order_existing(
                    "nobody", Request(action="stop", selector=HasTag("nobody")), ROOT
                )


async def test_the_tag_of_a_template_matches_all_its_instances(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([ONE, TWO, DB]) as asked:
            assert (await asked.order("stop", "w", wait=10)).tags == ("w:1", "w:2")
            assert asked.status("db") == "running"


async def test_a_connection_is_stopped_with_its_listener_and_shows_the_listeners_tag(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([ECHO]) as asked:
            asked.home.system.connect(PORT)
            await asked.home.rest()
            rows = asked.control.list(HasTag("echo"), ROOT)
            assert [row.status for _, row in rows] == ["listener", "running"]
            assert [row.tag for _, row in rows] == ["echo", "echo"]
            assert (await asked.order("stop", "echo", wait=10)).tags == ("echo",)
            rows = asked.control.list(HasTag("echo"), ROOT)
            assert [row.status for _, row in rows] == ["stopped"]


async def test_nothing_is_kept_of_a_connection_that_has_ended(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([ECHO]) as asked:
            for _ in range(3):
                asked.home.system.connect(PORT)
                await asked.home.rest()
                key = asked.control.list(HasTag("echo"), ROOT)[1][0]
                asked.home.system.exit(key)
                await asked.home.rest()
            asked.control.list(All(), ROOT)
            assert asked.control._rows._describer._rows.keys() == {"echo"}
            assert asked.control.feed._shown.keys() <= {"echo"}


async def test_one_that_takes_long_to_stop_delays_no_other_order(autojump_clock: Clock) -> None:
    others = [Component(tag=f"c{n}", argv=("c",)) for n in range(100)]
    with trio.fail_after(60):
        async with desk([DB, WEB, *others], deaf) as asked, trio.open_nursery() as nursery:

            async def stop_slowly() -> None:
                await asked.order("stop", "web", wait=60)

            nursery.start_soon(stop_slowly)
            await asked.home.rest()
            begun = trio.current_time()
            for other in others:
                await asked.order("restart", other.tag, wait=1)
            assert trio.current_time() == begun
            assert asked.status("web") == "stopping"


# --- who may


@pytest.mark.parametrize("action", ["start", "stop", "restart", "signal", "reset"])
@pytest.mark.parametrize("caller", [GUEST, STRANGER], ids=["guest", "stranger"])
async def test_only_administrators_give_orders(
    action: str, caller: Any, autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            pid = asked.pid("db")
            for dry_run in (False, True):
                request = Request(action=cast("Any", action), selector=All(), dry_run=dry_run)
                with pytest.raises(Forbidden, match="has no right to it"):
                    await asked.control.order(request, caller)
            assert asked.pid("db") == pid


# --- the end


@pytest.mark.parametrize("action", ["start", "restart"])
async def test_nothing_is_started_any_more_while_piesd_goes_down(
    action: Literal["start", "restart"], autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB], deaf) as asked:
            await asked.control.shutdown(ROOT)
            with pytest.raises(ShuttingDown, match=f"cannot {action} anything"):
                await asked.order(action, "db")
            await asked.order("stop", "web")


# --- rehearsals


async def test_a_rehearsal_tells_who_would_be_touched_in_which_order_and_touches_nobody(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            revision = asked.home.runner.engine.revision
            outcome = await asked.order("restart", "db", dry_run=True)
            assert outcome.plan is not None
            assert [(each.action, each.tag) for each in outcome.plan] == [
                ("stop", "web"),
                ("stop", "db"),
                ("start", "db"),
                ("start", "web"),
            ]
            assert asked.home.runner.engine.revision == revision
            assert not asked.home.system.signals


async def test_an_order_with_the_token_of_its_rehearsal_is_obeyed_if_nothing_has_changed(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            token = (await asked.order("restart", "db", dry_run=True)).token
            await asked.order("restart", "db", if_match=token, wait=10)
            assert asked.home.runner.engine.world.states["db"].generation == 2


async def test_it_is_refused_if_the_state_has_changed_since(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            token = (await asked.order("stop", "db", dry_run=True)).token
            asked.home.system.exit("db", 1)
            await asked.home.rest()
            with pytest.raises(PlanChanged, match="cannot do what was rehearsed"):
                await asked.order("stop", "db", if_match=token)
            assert asked.status("db") == "running"


async def test_it_is_refused_if_it_matches_others_or_is_another_order(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            token = (await asked.order("stop", "db", dry_run=True)).token
            for action, what in (("stop", "web"), ("restart", "db")):
                with pytest.raises(PlanChanged):
                    await asked.order(action, what, if_match=token)
            hup = (await asked.order("signal", "db", signum=1, dry_run=True)).token
            with pytest.raises(PlanChanged):
                await asked.order("signal", "db", signum=15, if_match=hup)


# --- signals


async def test_a_signal_goes_to_those_that_have_a_child(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, OFF]) as asked:
            outcome = await asked.order("signal", All(), signum=SIGHUP)
            assert outcome.tags == ("db", "off")
            assert [(sent.key, sent.signum) for sent in asked.home.system.signals] == [
                ("db", SIGHUP)
            ]


async def test_a_signal_for_what_has_no_child_is_refused(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, OFF, ONE, TWO]) as asked:
            await asked.order("stop", "w", wait=10)
            asked.home.system.signals.clear()
            with pytest.raises(NotRunning, match="cannot signal 'off': it is stopped"):
                await asked.order("signal", "off", signum=SIGHUP)
            with pytest.raises(NotRunning, match="'w:1, w:2': it is not running"):
                await asked.order("signal", "w", signum=SIGHUP)
            assert (await asked.order("signal", "nobody", signum=SIGHUP)).tags == ()
            assert not asked.home.system.signals


@pytest.mark.parametrize("name", ["HUP", "SIGHUP", "hup", "1", "SIG+1"])
def test_a_signal_has_several_names(name: str) -> None:
    assert signal_number(name) == 1


@pytest.mark.parametrize("name", ["", "NONE", "0", "-1", "99", "1.0", "¹", "SIG", "9" * 5000])
def test_what_is_no_signal_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="there is no such signal"):
        signal_number(name)


# --- drift


async def test_a_restart_says_when_the_configuration_has_changed_since_it_was_read(
    tmp_path: Any, autojump_clock: Clock
) -> None:
    file = tmp_path / "web.toml"
    file.write_text("one")
    with trio.fail_after(60):
        async with desk([DB], files=[SourceFile(str(file), "toml")]) as asked:
            assert (await asked.order("restart", "db", wait=5)).message == ""
            file.write_text("another")
            message = (await asked.order("restart", "db", wait=5)).message
            assert message == ("the configuration has changed since it was read; run config reload")
            assert (await asked.order("stop", "db")).message == ""
            await asked.control.reload(ROOT)
            assert (await asked.order("restart", "db")).message == ""
