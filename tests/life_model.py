"""What must hold of a piesd to which anything may happen, whoever looks, and when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from life_plans import SLEEP, Part, Plan
from lives import Sighting, owner_of
from supervisor.system.proctable import InExec, ProcessInfo, read_process, read_variable

Row = dict[str, Any]


class Floor(NamedTuple):
    """What the counters of a component have shown; less they never show again."""

    generation: int = 0
    restarts: int = 0


def up(row: Row) -> bool:
    """Whether a component is what its dependents need."""
    if row["status"] == "finished":
        return (row["last-exit"] or {}).get("code") == 0
    return row["status"] in ("running", "listener") and row["ready"] and row["mode"] != "once"


def starting(row: Row) -> bool:
    """Whether it is on its way up: then nothing blocks it, and it is not running yet."""
    return row["status"] == "stopped" and row["blocked-by"] is None


class Model:
    """What people want, and what was seen."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.wanted = {tag: part.enabled for tag, part in plan.parts.items()}
        self.floors: dict[str, Floor] = {}
        self.leaving: set[str] = set()
        """What was removed, and may not be gone yet: it may go on counting, or begin anew."""
        self.since: dict[str, int | None] = {}
        """The first generation of each whose whole life was under what is configured now."""
        self.unsure: set[str] = set()
        """Of what only piesd knows whether it is wanted now."""

    # --- what people do

    def order(self, action: str, tags: Iterable[str]) -> None:
        """Somebody starts, stops or restarts these, in the order of the configuration."""
        named = set(tags)
        for tag in (each for each in self.plan.parts if each in named):
            if action != "stop":
                for needed in self.plan.needed_by(tag):
                    self._need(needed)
            self.wanted[tag] = action != "stop"

    def _need(self, tag: str) -> None:
        """What is needed is started as well; what has done its work has done it."""
        if self.plan.parts[tag].kind.once and not self.wanted[tag]:
            self.unsure.add(tag)
        else:
            self.wanted[tag] = True

    def reload(self, plan: Plan) -> None:
        """The configuration is another one: only what it says about being enabled is an order."""
        old, self.plan = self.plan, plan
        for tag in old.parts.keys() - plan.parts.keys():
            del self.wanted[tag]
            self.unsure.discard(tag)
            self.leaving.add(tag)
            self.floors.pop(tag, None)
            self.since.pop(tag, None)
        for tag, part in plan.parts.items():
            before = old.parts.get(tag)
            if before is not None and before != part:
                self.since[tag] = None  # It may go on running, and be started anew later.
            if before is None or before.enabled is not part.enabled:
                self.wanted[tag] = part.enabled

    def begin_afresh(self, plan: Plan) -> None:
        """Everything leaves, and nothing is known of it any more."""
        self.leaving |= self.plan.parts.keys()
        self.plan = plan
        self.wanted = {tag: part.enabled for tag, part in plan.parts.items()}
        self.floors.clear()
        self.since.clear()
        self.unsure.clear()

    # --- what must hold at every moment

    def check(self, rows: list[Row], age: float) -> None:
        """Look at the rows of one answer.

        Args:
            rows: all of them.
            age: the seconds since the first piesd began.
        """
        main = {row["tag"]: row for row in rows if "peer" not in row}
        assert self.plan.parts.keys() <= main.keys(), "a component is missing"
        others = main.keys() - self.plan.parts.keys()
        assert others <= self.leaving, f"{others} are not configured"
        for tag in self.unsure:
            self.wanted[tag] = main[tag]["wanted"]
        self.unsure.clear()
        for row in rows:
            self._check_row(row, age)
        for tag, part in self.plan.parts.items():
            row = main[tag]
            assert row["wanted"] is self.wanted[tag], f"{tag}: wanted {row['wanted']}: {row}"
            self._check_counters(row)
            self._check_place(part, row, main, rows)
            self._check_order(part, row, main)

    def _check_row(self, row: Row, age: float) -> None:
        tag = row["tag"]
        if row["status"] in ("finished", "sleeping", "stopping"):
            assert row["blocked-by"] is not None, f"{tag} does not say why: {row}"
        # Whatever the clock on the wall says.
        assert row["uptime"] is None or 0 <= row["uptime"] <= age, row
        assert 0 <= row.get("wakeup-time", 0) <= SLEEP + 1, row
        if row["status"] == "running":
            assert row.get("PID"), row
            self._check_process(row)

    def _check_process(self, row: Row) -> None:
        """The process that a row names is the one that it means, if it is still there."""
        try:
            marker = read_variable(row["PID"], b"PIESD_MARKER")
        except (InExec, OSError):
            return
        if marker:
            key, generation = owner_of(marker)
            assert key.partition("#")[0] == row["tag"], f"{marker!r}: {row}"
            assert generation == row["generation"], f"{marker!r}: {row}"

    def _check_counters(self, row: Row) -> None:
        tag = row["tag"]
        floor, seen = self.floors.get(tag, Floor()), Floor(row["generation"], row["restarts"])
        if tag not in self.leaving:
            assert seen.generation >= floor.generation, f"{tag}: {floor} before {row}"
            assert seen.restarts >= floor.restarts, f"{tag}: {floor} before {row}"
        self.floors[tag] = seen

    def _check_place(self, part: Part, row: Row, main: dict[str, Row], rows: list[Row]) -> None:
        """Whoever runs without what it needs waits for those who need it in turn."""
        missing = [tag for tag in part.prerequisites if not up(main[tag])]
        if row["status"] in ("running", "listener") and (missing or not row["wanted"]):
            waits = any(part.tag in each["prerequisites"] and _live(each) for each in rows)
            assert waits, f"{part.tag} runs, without {missing}: {row}"

    def _check_order(self, part: Part, row: Row, main: dict[str, Row]) -> None:
        """Whoever lives was started after what it needs, and goes before that is told to go."""
        if not self._is_of_this_plan(row) or not _live(row):
            return
        process = _process(row)
        for tag in part.prerequisites:
            needed = main[tag]
            other = _process(needed)
            if process is not None and other is not None:
                assert process.started >= other.started, f"{row} is older than {needed}"
            # What is one process has no remains to be waited for: it was brought down by us.
            if self.plan.parts[tag].kind.single and self._is_of_this_plan(needed):
                assert needed["status"] != "stopping", f"{needed} goes before {row}"

    def _is_of_this_plan(self, row: Row) -> bool:
        since = self.since.setdefault(row["tag"], 0)
        if since is None:
            since = self.since[row["tag"]] = row["generation"] + 1
        return bool(row["generation"] >= since)

    # --- what must hold as soon as nothing happens any more

    def unrest(self, rows: list[Row], seen: list[Sighting]) -> list[str]:
        """Return what is not yet as it must be in the end."""
        main = {row["tag"]: row for row in rows if "peer" not in row}
        found = [f"{tag} is still listed" for tag in main.keys() - self.plan.parts.keys()]
        by_key: dict[str, list[Sighting]] = {}
        for one in seen:
            by_key.setdefault(one.tag, []).append(one)
        found += [f"{tag} still lives" for tag in by_key.keys() - self.plan.parts.keys()]
        for tag, part in self.plan.parts.items():
            if not self.restless(tag) or not self.wanted[tag]:
                why = self._unrest(part, main, by_key.get(tag, []))
                found += [f"{tag} {why}: {main[tag]}"] if why else []
        return found

    def _unrest(self, part: Part, main: dict[str, Row], processes: list[Sighting]) -> str:
        row, kind = main[part.tag], part.kind
        if starting(row) or row["status"] == "stopping":
            return "is not settled"
        down = [tag for tag in part.prerequisites if not up(main[tag])]
        if row["status"] == "finished" and kind.once:
            return "has finished and lives" if processes else ""
        if not self.wanted[part.tag] or down:
            expected = {"stopped", "finished"} if not self.wanted[part.tag] else {"stopped"}
            if row["status"] not in expected:
                return f"is not down (it lacks {down})"
            if row["blocked-by"] is None or processes:
                return f"is down, with {processes}"
            return ""
        if row["status"] != ("listener" if kind.listens else "running") or not row["ready"]:
            return "is not up"
        if kind.listens:
            return ""
        ours = [one for one in processes if one.generation == row["generation"]]
        if not any(one.pid == row["PID"] for one in ours) or len(ours) != len(processes):
            return f"is not alone: {processes}"
        return f"is more than one: {ours}" if kind.single and len(ours) > 1 else ""

    def restless(self, tag: str) -> bool:
        """Whether it comes and goes by itself, or with something that does."""
        tags = {tag, *self.plan.needed_by(tag)}
        return any(not self.plan.parts[each].kind.steady for each in tags)

    def rested(self) -> None:
        """Everything is as it must be: what was removed is gone, and what came back counts."""
        self.leaving.clear()


def _process(row: Row) -> ProcessInfo | None:
    return read_process(row["PID"]) if row["status"] == "running" else None


def _live(row: Row) -> bool:
    return row["status"] in ("running", "stopping", "listener") or starting(row)
