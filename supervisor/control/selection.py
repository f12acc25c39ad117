"""From a selector to the entities it matches, with their descriptions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import trio

from supervisor.engine.describe import Describer
from supervisor.selectors import All, And, HasTag, Selector, compile_selector

if TYPE_CHECKING:
    from supervisor.control.access import View
    from supervisor.engine.world import World
    from supervisor.model.component import Key
    from supervisor.model.description import Description
    from supervisor.model.effects import Note
    from supervisor.runtime.runner import Runner

Match = tuple["Key", "Description"]


class Rows:
    """The entities as people see them. What is up and stays so is not described twice."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._describer = Describer(runner.engine.world)
        runner.observe(self._observed)

    def select(self, selector: Selector, view: View) -> list[Match]:
        """Return what *selector* matches of what *view* shows, in the order of the configuration.

        What is not shown is not described: a selector cannot find out anything about it.
        """
        world, row = self._runner.engine.world, self._describer.row
        now, wall = trio.current_time(), self._runner.system.wall()
        rows = (
            (key, view.row(key, row(key, now, wall)))
            for key in _candidates(world, selector, view)
            if view.sees(key)
        )
        if isinstance(selector, All):
            return list(rows)
        test = compile_selector(selector, view.prerequisites())
        return [(key, row) for key, row in rows if test(row)]

    def row(self, key: Key, view: View) -> Description:
        """Return the description of *key*, which has to exist, and for *view* too."""
        row = self._describer.row(key, trio.current_time(), self._runner.system.wall())
        return view.row(key, row)

    def _observed(self, _: int, changed: frozenset[Key], notes: Sequence[Note]) -> None:
        states = self._runner.engine.world.states
        for key in changed:  # Not `changed - states.keys()`, which looks at all of them.
            if key not in states:
                self._describer.forget(key)


def tags_of(matches: Iterable[Match]) -> tuple[str, ...]:
    """Return the tags matched, each once: connections have the tag of their listener."""
    return tuple(dict.fromkeys(row.tag for _, row in matches))


def keys_of_tag(world: World, tag: str, view: View) -> list[Key]:
    """Return the keys that the selector `component TAG` can match: few, found quickly.

    A tag that *view* does not show is looked for like one that does not exist, and takes as long.
    """
    parts = [*world.connections.get(tag, ()), *world.commands.get(tag, ())]
    if tag in world.states and view.sees(tag):
        return [tag, *parts]
    if any(view.sees(part) for part in parts):
        return parts  # Of a component that is gone.
    return [key for key in world.ordered() if world.specs[key].template == tag and view.sees(key)]


def _candidates(world: World, selector: Selector, view: View) -> Iterable[Key]:
    """Return the keys worth describing: a question about one tag needs not look at a thousand."""
    parts = selector.selectors if isinstance(selector, And) else (selector,)
    for part in parts:
        if isinstance(part, HasTag):
            return keys_of_tag(world, part.tag, view)
    return world.ordered()
