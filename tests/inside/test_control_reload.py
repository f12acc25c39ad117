"""The configuration: the list of files, what a reload would change, and the reload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from asked import GUEST, ROOT, desk
from supervisor.control.drift import drifted, sign
from supervisor.control.reload import restarts
from supervisor.engine.plan import Change, Plan
from supervisor.model.component import Component, GroupLimits
from supervisor.model.errors import (
    BadRequest,
    ConfigRejected,
    Forbidden,
    NotFound,
    Problem,
    ShuttingDown,
    TooManyRestarts,
)
from supervisor.model.settings import SourceFile

DB = Component(tag="db", argv=("db",))
WEB = Component(tag="web", argv=("web",), prerequisites=("db",))
JOB = Component(tag="job", argv=("job",))
OTHER_DB = replace(DB, argv=("db", "-v"))
Clock = trio.testing.MockClock


def actions(changes: Sequence[Change]) -> dict[str, str]:
    return {change.tag: change.action for change in changes}


async def test_a_reload_touches_what_changed_and_tells_what_it_did(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB, JOB]) as asked:
            before = {tag: asked.pid(tag) for tag in ("db", "web", "job")}
            asked.disk.write(OTHER_DB, WEB, JOB, replace(JOB, tag="new"))
            reloaded = await asked.control.reload(ROOT)
            assert reloaded.applied
            assert actions(reloaded.changes) == {
                "db": "restart",
                "web": "none",
                "job": "none",
                "new": "start",
            }
            assert reloaded.changes[0].keys == ("command",)
            assert reloaded.changes[0].dependents == ("web",)
            await asked.home.rest()
            after = {tag: asked.pid(tag) for tag in before}
            assert after["job"] == before["job"]
            assert after["db"] != before["db"]
            assert asked.status("new") == "running"
            assert asked.control.configuration.plan.components[0] == OTHER_DB


async def test_a_preview_tells_what_the_runlevel_makes_of_it(autojump_clock: Clock) -> None:
    leaves, enters = replace(DB, runlevels="2"), replace(JOB, runlevels="3")
    stopped = replace(JOB, tag="stopped", runlevels="3")
    with trio.fail_after(60):
        async with desk([leaves, WEB, enters, stopped], runlevel="2") as asked:
            await asked.home.rest()
            await asked.home.order("stop", "stopped")
            asked.disk.write(
                replace(DB, runlevels="35"),
                WEB,
                replace(JOB, runlevels="2"),
                replace(stopped, runlevels="2"),
                replace(JOB, tag="new", runlevels="5"),
                replace(JOB, tag="new2", runlevels="2"),
            )
            reloaded = await asked.control.reload(ROOT)
            assert {each.tag: (each.action, each.because) for each in reloaded.changes} == {
                "db": ("stop", "it belongs to runlevels 35, the runlevel is 2"),
                "web": ("none", "nothing of it changed"),
                "job": ("start", "it belongs to runlevel 2 now"),
                "stopped": ("live", "these take effect at once"),
                "new": ("none", "it belongs to runlevel 5, the runlevel is 2"),
                "new2": ("start", "it is new"),
            }
            assert reloaded.changes[0].dependents == ("web",)
            await asked.home.rest()
            tags = [each.tag for each in reloaded.changes]
            assert [tag for tag in tags if asked.status(tag) == "running"] == ["job", "new2"]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("", "3", {"db": ("stop", "it belongs to runlevel 2, the runlevel is 3")}),
        ("3", "", {"db": ("start", "there are no runlevels any more")}),
        ("3", "2", {}),
    ],
)
async def test_a_preview_tells_what_it_means_to_begin_with_runlevels_or_to_end_with_them(
    before: str, after: str, told: dict[str, tuple[str, str]], autojump_clock: Clock
) -> None:
    with trio.fail_after(60):
        async with desk([replace(DB, runlevels="2"), JOB], runlevel=before) as asked:
            await asked.home.rest()
            was = asked.status("db")
            asked.disk.plan = replace(
                asked.disk.plan, daemon=replace(asked.disk.plan.daemon, runlevel=after)
            )
            reloaded = await asked.control.reload(ROOT)
            await asked.home.rest()
            changes = [each for each in reloaded.changes if each.action != "none"]
            assert {each.tag: (each.action, each.because) for each in changes} == told
            assert (asked.status("db") != was) == bool(told)


async def test_other_limits_of_a_group_are_in_force_at_once(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            pid, limits = asked.pid("db"), GroupLimits(memory_max=5 << 20)
            asked.disk.write(replace(DB, cgroup=limits))
            reloaded = await asked.control.reload(ROOT)
            await asked.home.rest()
            assert [(each.action, each.keys) for each in reloaded.changes] == [
                ("live", ("cgroup",))
            ]
            assert asked.home.system.limits == {"db": limits}
            assert asked.pid("db") == pid
            asked.disk.write()
            await asked.control.reload(ROOT)
            await asked.home.rest()
            assert asked.home.system.limits == {}  # Forgotten together with its component.


async def test_a_preview_tells_the_same_and_does_nothing(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            asked.disk.write(OTHER_DB, JOB)
            revision = asked.home.runner.engine.revision
            preview = await asked.control.plan_preview(ROOT)
            rehearsed = await asked.control.reload(ROOT, dry_run=True)
            assert asked.home.runner.engine.revision == revision
            assert not preview.applied
            reloaded = await asked.control.reload(ROOT)
            assert preview.changes == rehearsed.changes == reloaded.changes


async def test_a_configuration_with_problems_changes_nothing(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB]) as asked:
            asked.disk.write(OTHER_DB)
            asked.disk.error = ConfigRejected([Problem("a.toml", 3, "user", "no such user")])
            revision, pid = asked.home.runner.engine.revision, asked.pid("db")
            cursor = asked.control.events(None, ROOT)
            with pytest.raises(ConfigRejected, match=r"a\.toml:3: user: no such user"):
                await asked.control.reload(ROOT)
            assert asked.home.runner.engine.revision == revision
            assert asked.pid("db") == pid
            assert asked.control.configuration.plan.components == (DB, WEB)
            assert [event.kind for event in cursor.take()] == ["reload-rejected"]
            asked.disk.error = None
            await asked.control.reload(ROOT)
            assert [event.kind for event in cursor.take()][-1] == "reloaded"


async def test_more_restarts_than_allowed_change_nothing(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB, WEB, JOB]) as asked:
            asked.disk.write(OTHER_DB, WEB, JOB)
            revision = asked.home.runner.engine.revision
            for dry_run in (True, False):
                with pytest.raises(TooManyRestarts, match="it would restart 2 components"):
                    await asked.control.reload(ROOT, max_restarts=1, dry_run=dry_run)
            assert asked.home.runner.engine.revision == revision
            await asked.control.reload(ROOT, max_restarts=2)
            assert asked.home.runner.engine.revision > revision


def test_dependents_count_as_restarted_and_what_is_stopped_does_not() -> None:
    changes = (
        Change(tag="gone", action="stop", dependents=("x",)),
        Change(tag="a", action="restart", dependents=("b", "c", "gone")),
        Change(tag="b", action="restart"),
        Change(tag="d", action="live"),
    )
    assert restarts(changes) == {"a", "b", "c"}


async def test_who_goes_away_does_not_cut_a_reload_in_two(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            asked.disk.write(OTHER_DB)
            with trio.CancelScope() as impatient:
                impatient.cancel()
                await asked.control.reload(ROOT)
                await trio.lowlevel.checkpoint()
            assert impatient.cancelled_caught
            await asked.home.rest()
            assert asked.control.configuration.plan.components == (OTHER_DB,)
            assert asked.home.runner.engine.world.specs["db"] == OTHER_DB
            assert asked.hooked == ["reloading", "ready: 1 components"]


async def test_two_reloads_that_come_together_are_applied_in_the_order_in_which_they_are_read(
    autojump_clock: Clock,
) -> None:
    versions = [replace(DB, argv=("db", str(n))) for n in range(3)]
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            applied: list[tuple[str, ...]] = []
            read = iter(versions)

            def load(files: Sequence[SourceFile]) -> Plan:
                asked.disk.write(next(read))
                return asked.disk.plan

            asked.control.configuration._load = load

            async def reload() -> None:
                await asked.control.reload(ROOT)
                applied.append(asked.home.runner.engine.world.specs["db"].argv)

            async with trio.open_nursery() as nursery:
                for _ in versions:
                    nursery.start_soon(reload)
            assert applied == [version.argv for version in versions]
            assert asked.hooked == ["reloading", "ready: 1 components"] * 3


async def test_no_reload_while_piesd_goes_down(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            asked.disk.write(JOB)
            await asked.control.shutdown(ROOT)
            with pytest.raises(ShuttingDown, match="cannot reload"):
                await asked.control.reload(ROOT)


async def test_a_reload_says_which_settings_of_piesd_itself_have_to_wait(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            plan = asked.disk.plan
            daemon = replace(plan.daemon, log_level="debug", shutdown_timeout=9.0)
            control = replace(plan.control, sockets=())
            asked.disk.plan = replace(plan, daemon=daemon, control=control)
            message = (await asked.control.reload(ROOT)).message
            assert message == (
                "nothing changed; [daemon] log-level, [control] socket: "
                "these take effect when piesd itself is executed anew"
            )


# --- the list of files


async def test_files_are_added_and_removed_and_only_a_reload_reads_them(
    autojump_clock: Clock,
) -> None:
    one, two = SourceFile("/etc/one.toml", "toml"), SourceFile("/etc/two.toml", "")
    with trio.fail_after(60):
        async with desk([DB], files=[one]) as asked:
            control = asked.control
            control.add_file(two, ROOT)
            shown = replace(two, syntax="toml")
            assert control.files(ROOT) == (one, shown)
            assert asked.disk.read == []
            await control.reload(ROOT)
            assert asked.disk.read == [(one, two)]
            control.add_file(SourceFile("/etc/one.toml", "pies"), ROOT)
            assert control.files(ROOT) == (shown, SourceFile("/etc/one.toml", "pies"))
            control.remove_files(["/etc/one.toml"], ROOT)
            assert control.files(ROOT) == (shown,)
            control.remove_files(True, ROOT)
            assert control.files(ROOT) == ()


async def test_of_names_of_which_one_is_unknown_none_is_removed(autojump_clock: Clock) -> None:
    one = SourceFile("/etc/one.toml", "toml")
    with trio.fail_after(60):
        async with desk([DB], files=[one]) as asked:
            with pytest.raises(NotFound, match="'/etc/none'"):
                asked.control.remove_files(["/etc/one.toml", "/etc/none"], ROOT)
            assert asked.control.files(ROOT) == (one,)


async def test_a_relative_path_is_refused_because_it_depends_on_where_one_is(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            with pytest.raises(BadRequest, match="it is a relative path"):
                asked.control.add_file(SourceFile("one.toml", ""), ROOT)


async def test_the_configuration_is_for_administrators(autojump_clock: Clock) -> None:
    with trio.fail_after(60):
        async with desk([DB]) as asked:
            control = asked.control
            for question in (
                lambda: control.files(GUEST),
                lambda: control.add_file(SourceFile("/x", ""), GUEST),
                lambda: control.remove_files(True, GUEST),
            ):
                with pytest.raises(Forbidden):
                    question()
            with pytest.raises(Forbidden):
                await control.reload(GUEST)
            with pytest.raises(Forbidden):
                await control.plan_preview(GUEST)


# --- drift


def test_a_file_that_was_written_replaced_or_removed_has_drifted(tmp_path: Any) -> None:
    names = ["written", "replaced", "removed", "left alone"]
    files = [tmp_path / name for name in names]
    for file in files:
        file.write_text("one")
    before = sign(str(file) for file in files)
    assert drifted(before) == ()
    files[0].write_text("two!")
    other = tmp_path / "other"
    other.write_text("one")
    other.rename(files[1])
    files[2].unlink()
    assert drifted(before) == tuple(str(file) for file in files[:3])


def test_a_directory_drifts_when_a_file_in_it_comes_goes_or_changes(tmp_path: Any) -> None:
    (tmp_path / "a.toml").write_text("one")
    before = sign([str(tmp_path)])
    (tmp_path / ".hidden").write_text("editors leave such things")
    assert drifted(before) == ()
    (tmp_path / "b.toml").write_text("two")
    assert drifted(before) == (str(tmp_path),)
    (tmp_path / "b.toml").unlink()
    assert drifted(before) == ()
    (tmp_path / "a.toml").write_text("other")
    assert drifted(before) == (str(tmp_path),)
