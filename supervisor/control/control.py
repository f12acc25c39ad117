"""The one place that says what can be asked of a daemon, by whom, and how it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING, Literal

from msgspec import UNSET, Struct
from msgspec.structs import replace

from supervisor.control.about import About, Hooks
from supervisor.control.access import Access, View
from supervisor.control.feed import Cursor, Feed
from supervisor.control.identity import Caller, Identities
from supervisor.control.logs import LogReader, Logs, Seen
from supervisor.control.machine import Machine, Runlevel
from supervisor.control.orders import Orders, Outcome, Request
from supervisor.control.reload import Configuration, Load, Reloaded
from supervisor.control.selection import Match, Rows, keys_of_tag
from supervisor.control.settle import GOING_DOWN, Settling
from supervisor.control.usage import Meter, Usage
from supervisor.control.why import Why, explain
from supervisor.model.errors import BadRequest, Forbidden, NotFound, ShuttingDown
from supervisor.model.events import Shutdown
from supervisor.model.state import Status

if TYPE_CHECKING:
    from supervisor.control.logins import Blocking, Counts
    from supervisor.engine.plan import Plan
    from supervisor.model.component import Key
    from supervisor.model.settings import ControlSettings, SourceFile
    from supervisor.runtime.followers import Line, StreamName
    from supervisor.runtime.holds import Hold
    from supervisor.runtime.runner import Runner
    from supervisor.selectors import Selector

DRIFTED = "the configuration has changed since it was read; run config reload"


class Alive(Struct, frozen=True):
    """Whether something is up; `retry_after` is the seconds until a sleeping one is tried again."""

    up: bool
    retry_after: int | None = None


class Control:
    """Everything that can be asked. Each method says who may ask, and answers with values.

    Args:
        runner: the running engine.
        plan: the configuration that the engine was given.
        load: reads and checks files; may block, and raises `ConfigRejected`.
        about: this process.
        hooks: what the daemon around it does.
        identities: who is who; without, root and our own user alone have names.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        plan: Plan,
        load: Load,
        about: About,
        hooks: Hooks | None = None,
        identities: Identities | None = None,
    ) -> None:
        hooks = hooks or Hooks()
        self._runner = runner
        self._about = about
        self._hooks = hooks
        self.identities = identities or Identities(plan.control)
        self.access = Access(runner, plan.control)
        self.feed = Feed(runner)
        self.configuration = Configuration(runner, self.feed, hooks, plan=plan, load=load)
        self.configuration.prepare.append(self._get_ready)
        self._rows = Rows(runner)
        self._orders = Orders(runner, self._rows, Settling(runner), self.access)
        self._logs = Logs(runner)
        self._meter = Meter(runner)
        self._machine = Machine(runner)

    def close(self) -> None:
        """The end: those who follow events or output get what is left, and no more."""
        self.feed.close()
        self._logs.close()

    @property
    def settings(self) -> ControlSettings:
        """What is configured about who may ask."""
        return self.access.settings

    @property
    def blocking(self) -> Blocking:
        """How to run a job that may block."""
        return self._runner.system.blocking

    async def _get_ready(self, settings: ControlSettings) -> Callable[[], None]:
        """Return what goes over to other settings of who may ask."""

        def go_over() -> None:
            self.access.settings = settings
            self.identities.use(settings)

        return go_over

    def admit(self, caller: Caller) -> None:
        """Return if *caller* may ask anything at all.

        Raises:
            Forbidden
        """
        self.access.view(caller).admit()

    # --- components

    def list(self, selector: Selector, caller: Caller) -> Sequence[Match]:
        """Return key and description of everything that *selector* matches."""
        return self._rows.select(selector, self._looking(caller, "list components"))

    def count(self, caller: Caller) -> int:
        """Return how many entities a list of everything has."""
        view = self._looking(caller, "list components")
        states = self._runner.engine.world.states
        return sum(view.sees(key) for key in states) if view.hidden else len(states)

    def describe(self, tag: str, caller: Caller) -> Match:
        """Return the component (or, as `TAG#N`, the connection) of that name.

        Raises:
            NotFound: there is none.
        """
        view = self._looking(caller, f"describe {tag!r}")
        if tag not in self._runner.engine.world.states or not view.sees(tag):
            raise NotFound(tag)
        return tag, self._rows.row(tag, view)

    async def usage(self, keys: Sequence[Key], caller: Caller) -> dict[Key, Usage]:
        """Return the processor and memory use of those of *keys* that have processes."""
        view = self._looking(caller, "measure components")
        usage = await self._meter.measure([key for key in keys if view.sees(key)])
        self._meter.forget(self._runner.engine.world.states)
        return usage

    def alive(self, tag: str, caller: Caller) -> Alive:
        """Return whether *tag* is up; of a template, whether all its instances are.

        Raises:
            NotFound: there is nothing of that tag.
        """
        view = self._looking(caller, f"ask for {tag!r}")
        world = self._runner.engine.world
        keys = [key for key in keys_of_tag(world, tag, view) if "#" not in key]
        if not keys:
            raise NotFound(tag)
        rows = [self._rows.row(key, view) for key in keys]
        down = [row for row in rows if row.status not in (Status.RUNNING, Status.LISTENER)]
        waits = [row.wakeup_time for row in down if row.wakeup_time is not UNSET]
        return Alive(not down, max(1, ceil(max(waits))) if waits else None)

    async def why(self, tag: str, caller: Caller) -> Why:
        """Return why *tag* is as it is.

        Raises:
            NotFound: there is no component of that tag.
        """
        view = self._looking(caller, f"explain {tag!r}")
        key = self._one_key(tag, view)
        drift = await self.configuration.drift(view)
        # It may have been forgotten while the files were looked at, or hidden.
        view = self._looking(caller, f"explain {tag!r}")
        return explain(self._runner, self._one_key(key, view), drift, view)

    # --- orders

    async def order(self, request: Request, caller: Caller) -> Outcome:
        """Do what *request* says to everything that its selector matches.

        An order is given before anything is waited for: whoever asked may go away.

        Raises:
            Forbidden, ShuttingDown, NotRunning, PlanChanged, NotSettled
        """
        outcome = await self._orders.give(request, caller)
        view = self.access.view(caller)
        if request.action == "restart" and outcome.tags and await self.configuration.drift(view):
            return Outcome(
                action=outcome.action,
                tags=outcome.tags,
                settled=outcome.settled,
                message=DRIFTED,
                plan=outcome.plan,
                token=outcome.token,
            )
        return outcome

    async def order_existing(self, tag: str, request: Request, caller: Caller) -> Outcome:
        """Do the same, but to a tag that has to exist.

        Raises:
            NotFound: there is no such component, nor a template of that name.
        """
        view = self.access.view(caller)
        view.order(f"{request.action} {tag!r}")
        if not keys_of_tag(self._runner.engine.world, tag, view):
            raise NotFound(tag)
        return await self.order(request, caller)

    # --- output and events

    def log_tail(
        self, tag: str, stream: StreamName | None, most: int, caller: Caller
    ) -> Sequence[Line]:
        """Return the last lines that *tag* has written."""
        return self._logs.tail(self._readable(tag, caller), stream, most)

    def log_follow(
        self,
        tag: str,
        stream: StreamName | None,
        backlog: int,
        seen: Seen | None,
        caller: Caller,
    ) -> LogReader:
        """Return a reader of what *tag* has written last and writes from now on."""
        return self._logs.follow(self._readable(tag, caller), stream, backlog, seen)

    def events(self, since: int | None, caller: Caller) -> Cursor:
        """Return a reader of the events after number *since* (see `Feed.cursor`)."""
        self._looking(caller, "read events")
        return self.feed.cursor(since, lambda: self.access.view(caller))

    # --- the configuration

    def files(self, caller: Caller) -> tuple[SourceFile, ...]:
        """Return the files that a reload reads, each with the syntax in which it is read."""
        self._administering(caller, "list the configuration files")
        return self.configuration.listed()

    def add_file(self, source: SourceFile, caller: Caller) -> None:
        """Add a file to that list."""
        self._administering(caller, "change the list of configuration files")
        self.configuration.add(source)

    def remove_files(self, names: Sequence[str] | Literal[True], caller: Caller) -> None:
        """Take files off that list; True takes all.

        Raises:
            NotFound: one of them is not on it; then all stay.
        """
        self._administering(caller, "change the list of configuration files")
        if names is True:
            self.configuration.clear()
        else:
            self.configuration.remove(names)

    async def plan_preview(self, caller: Caller) -> Reloaded:
        """Return what a reload would change."""
        view = self._administering(caller, "read the configuration")
        return await self.configuration.preview(view)

    async def reload(
        self, caller: Caller, *, max_restarts: int | None = None, dry_run: bool = False
    ) -> Reloaded:
        """Read the configuration again and apply it, or change nothing.

        Raises:
            ConfigRejected, TooManyRestarts, ShuttingDown
        """
        view = self._administering(caller, "reload the configuration")
        return await self.configuration.reload(
            caller, view, max_restarts=max_restarts, dry_run=dry_run
        )

    # --- the machine

    def runlevel(self, caller: Caller) -> Runlevel:
        """Return what the runlevel is (see `Machine.runlevel`)."""
        self._looking(caller, "read the runlevel")
        return self._machine.runlevel()

    async def go_to_runlevel(
        self, level: str, caller: Caller, patience: float | None = None
    ) -> None:
        """Go over to *level* (see `Machine.go_to`)."""
        self._administering(caller, "change the runlevel")
        await self._machine.go_to(level, caller, patience)

    def environ(self, caller: Caller) -> dict[str, str]:
        """Return the environment of what an init process starts. It may hold anything."""
        self._administering(caller, "read the environment")
        return self._machine.environ()

    def variable(self, name: str, caller: Caller) -> str:
        """Return one variable of that environment."""
        self._administering(caller, "read the environment")
        return self._machine.variable(name)

    async def set_variable(self, name: str, value: str, caller: Caller) -> None:
        """Set a variable of that environment."""
        self._administering(caller, "change the environment")
        await self._machine.set_variable(name, value)

    async def unset_variable(self, name: str, caller: Caller) -> None:
        """Remove a variable of that environment."""
        self._administering(caller, "change the environment")
        await self._machine.unset_variable(name)

    # --- the instance

    def about(self, caller: Caller) -> About:
        """Return the facts about this process."""
        self.admit(caller)
        return self._about

    def longest_hold(self, caller: Caller) -> Hold:
        """Return for how long the event loop was held at most since the start, and by whom.

        A task may have the name of a component, so it is named to those alone who may know of all.
        """
        self.admit(caller)
        hold = self._hooks.longest_hold()
        return hold if caller.trusted else replace(hold, task="")

    def logins(self, caller: Caller) -> Counts:
        """Return how many have logged in since the start, and how many have tried in vain."""
        self.admit(caller)
        return self.identities.counts

    async def shutdown(self, caller: Caller) -> None:
        """Bring everything down in order and end. Asked twice is asked once."""
        self._administering(caller, "shut piesd down")
        self._ending("shut piesd down")
        self._runner.post(Shutdown(caller.name, 0))
        await self._runner.handled()

    async def reexec(self, caller: Caller) -> None:
        """Bring everything down in order, then execute this program again.

        Raises:
            ShuttingDown: it is going down already, to stay down.
        """
        self._administering(caller, "restart piesd")
        self._ending("restart piesd")
        if self._runner.engine.stage in GOING_DOWN:
            raise ShuttingDown("cannot restart piesd: it is shutting down")
        self._hooks.reexec()
        self._runner.post(Shutdown(f"{caller.name}, to be executed anew", 0))
        await self._runner.handled()

    async def upgrade(self, caller: Caller) -> None:
        """Let the program on disk take over in our place; no component notices.

        Raises:
            CannotUpgrade: it does not; everything stays as it is.
            ShuttingDown: piesd is going down.
        """
        self._administering(caller, "execute piesd anew")
        if self._runner.engine.stage in GOING_DOWN:
            raise ShuttingDown("cannot execute piesd anew: it is shutting down")
        await self._hooks.upgrade()
        self._hooks.hand_over()

    # --- inside

    def _ending(self, what: str) -> None:
        """Refuse what would end an init process. Source: pies.md section 5, shutdown and reboot."""
        if self._hooks.endless:
            raise Forbidden(f"cannot {what}: it is the init process; change the runlevel instead")

    def _looking(self, caller: Caller, what: str) -> View:
        view = self.access.view(caller)
        view.look(what)
        return view

    def _administering(self, caller: Caller, what: str) -> View:
        view = self.access.view(caller)
        view.administer(what)
        return view

    def _readable(self, tag: str, caller: Caller) -> Key:
        """Return the key of the one component that *tag* names and whose output may be read.

        Output may hold anything, so it is for those whom the component obeys.

        Raises:
            Forbidden, NotFound, BadRequest
        """
        view = self.access.view(caller)
        view.order(f"read the output of {tag!r}")
        key = self._one_key(tag, view)
        view.command([key], "read the output of")
        return key

    def _one_key(self, tag: str, view: View) -> Key:
        """Return the key of the one component that *tag* names.

        Raises:
            NotFound, BadRequest: none, or several instances of a template.
        """
        world = self._runner.engine.world
        if tag in world.states and view.sees(tag):
            return tag
        instances = [key for key in keys_of_tag(world, tag, view) if "#" not in key]
        if not instances:
            raise NotFound(tag)
        if len(instances) == 1:
            return instances[0]
        error = BadRequest(f"cannot tell which {tag!r} is meant: there are {len(instances)}")
        error.hint = f"Name one of them, such as {instances[0]!r}."
        raise error
