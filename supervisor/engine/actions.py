"""What the end of a component sets off: exit actions, and the commands that run for them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from supervisor.engine.core import Core
from supervisor.engine.gates import blocked_by
from supervisor.engine.room import lacks_room
from supervisor.engine.shutdown import Ending
from supervisor.engine.world import Command, World
from supervisor.model.component import Component, Environment, ExitAction, Key, Mode, Tag
from supervisor.model.effects import CommandEnded, Mail
from supervisor.model.events import (
    ComponentEvent,
    Exited,
    Release,
    RunCommand,
    SpawnFailed,
    Stop,
)
from supervisor.model.state import Exit, Phase, Stage, State, Wish

MOST_COMMANDS = 100
"""Commands of one component at once; a crash loop must not fill the machine with them."""

STOP_TIMEOUT = 5.0
"""Seconds between the stop signal to a command and its SIGKILL."""

NO_PROGRAM = 127
"""The code of a start in which the program could not be executed, as a shell has it."""


class OwnEnd(Struct, frozen=True):
    """A child of `owner` that nobody asked to end has ended, and there is an action for that."""

    owner: Tag
    action: ExitAction
    how: Exit
    pid: int | None


def own_end(world: World, key: Key, event: ComponentEvent) -> OwnEnd | None:
    """Return what the fact *event* sets off, or None: judged before the machine has taken it."""
    state, spec, link = world.states[key], world.specs[key], world.links.get(key)
    how = _ended(state, event)
    # What was asked to go, for whatever reason, may end as it likes.
    asked = not state.wanted or state.renew or state.removed or state.lowered
    if how is None or asked or isinstance(link, Command) or not world.may_run_now(key):
        return None
    if lacks_room(key, spec, how):
        return None  # It is tried again, and has not ended.
    action = fitting(spec.exit_actions, how)
    if action is None:
        return None
    return OwnEnd(link.owner if link else key, action, how, state.pid)


def _ended(state: State, event: ComponentEvent) -> Exit | None:
    """Return how the present child has ended, if *event* says so.

    A start fails before there is a child, and then nothing has ended. Of an end that nobody has
    seen nobody knows which action fits. The one exception is a
    program that cannot be executed: pies' child ends with 127 there, and so does a shell's.
    """
    match event:
        case Exited(generation, how) if state.phase is Phase.RUNNING and how.stage is None:
            return how if generation == state.generation else None
        case SpawnFailed(generation, Exit(stage="exec") as how) if state.phase is Phase.STARTING:
            return how if generation == state.generation else None
        case _:
            return None


def fitting(actions: Sequence[ExitAction], how: Exit) -> ExitAction | None:
    """Return the first of *actions* for an end like *how*."""
    if how.signal is not None:
        return next((action for action in actions if how.signal in action.signals), None)
    code = how.code if how.code is not None else NO_PROGRAM
    return next((action for action in actions if code in action.codes), None)


class Actions:
    """Carries out exit actions, and runs commands on behalf of components.

    `environment` are the variables that every command gets.
    """

    def __init__(self, core: Core, ending: Ending, environment: Mapping[str, str]) -> None:
        self._core, self._ending = core, ending
        self._environment = dict(environment)

    def copy(self, core: Core, ending: Ending) -> Actions:
        """Return one that does the same for *core*."""
        return Actions(core, ending, self._environment)

    def prepare(self, key: Key, end: OwnEnd) -> None:
        """Do what must come before the end of *key*: one that is disabled is not restarted."""
        if end.action.action == "disable" and key == end.owner:
            self._disable_one(key, end)

    def carry_out(self, end: OwnEnd) -> None:
        """Do what the end has set off: `exec`, then the action, then the notification.

        Source: pies.md section 3.
        """
        # What ends piesd has to be known first: its commands run when everything is down.
        if end.action.action == "disable":
            self._disable(end)
        if end.action.exec:
            self._run(end.owner, "exec", end.action.exec, variables=_variables(end))
        if end.action.notify:
            mail = Mail(end.owner, end.action.notify, end.action.message, end.how)
            self._core.effects.append(mail)
            self._core.world.untried_mails += 1

    def run_command(self, event: RunCommand) -> None:
        """Run a command that somebody else needs."""
        self._run(event.tag, event.name, event.argv, program=event.program, text=event.text)

    def _disable(self, end: OwnEnd) -> None:
        core, world = self._core, self._core.world
        dependents = [
            tag
            for tag in world.graph.all_dependents(end.owner)
            if tag in world.states and world.states[tag].wanted
        ]
        if end.owner in world.states and world.states[end.owner].wanted:
            self._disable_one(end.owner, end)  # A connection has ended its listener.
        for tag in dependents:
            self._disable_one(tag, end)
        more = f", and with it {', '.join(map(repr, dependents))}" if dependents else ""
        was = "was " if end.how.signal is not None else ""
        text = f"{end.owner!r} is disabled{more}, as it {was}{_words(end.how)}"
        core.note(end.owner, "disabled", "warning", text)
        for tag in (end.owner, *dependents):
            if tag in world.specs and world.specs[tag].essential:
                self._ending.begin(f"{tag!r}, which is essential, is disabled", end.how.status_code)

    def _disable_one(self, tag: Tag, end: OwnEnd) -> None:
        """Stop *tag* until somebody asks for it."""
        by, at = f"exit action of {end.owner}: {_words(end.how)}", end.how.at
        self._core.tell(tag, Stop(by, at))
        state = self._core.world.states.get(tag)
        if state is not None:
            self._core.world.put(tag, replace(state, wish=Wish("disable", by, at)))

    def _run(
        self,
        tag: Tag,
        name: str,
        argv: tuple[str, ...],
        *,
        program: str | None = None,
        text: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Make a command entity; it starts at once unless piesd is on its way down."""
        core, world = self._core, self._core.world
        world.commands_ever += 1
        key = f"{tag}#{name}{world.commands_ever}"
        reason = self._no_room(tag)
        if reason:
            message = f"cannot run the command {argv[0]!r} of {tag!r}: {reason}"
            core.note(tag, "dropped", "warning", message)
            core.effects.append(CommandEnded(key, Exit(stage="dropped", message=message)))
            return
        env = {"PIES_COMPONENT": tag, **(variables or {}), **self._environment}
        spec = _command_spec(world.specs.get(tag), tag, argv, program, env)
        link = Command(tag, world.commands_ever, text)
        world.add(key, spec, State(wanted=True, phase=Phase.WAITING, since=core.now), link)
        if blocked_by(world, key) is None:
            core.tell(key, Release())

    def _no_room(self, tag: Tag) -> str:
        world = self._core.world
        if world.stage is Stage.ENDED:
            return "piesd has come to its end"
        if len(world.commands.get(tag, ())) >= MOST_COMMANDS:
            return f"{MOST_COMMANDS} of its commands have not ended yet"
        return ""


def _words(how: Exit) -> str:
    """Return *how* something ended, to stand behind "it"."""
    return f"failed to start: {how.message}" if how.stage else how.message


def _variables(end: OwnEnd) -> dict[str, str]:
    """Return what a command is told about an end. Source: pies.md section 3."""
    variables = {} if end.pid is None else {"PIES_PID": str(end.pid)}
    if end.how.signal is not None:
        variables["PIES_SIGNAL"] = str(end.how.signal)
    else:
        variables["PIES_STATUS"] = str(end.how.status_code)
    return variables


def _command_spec(
    owner: Component | None,
    tag: Tag,
    argv: tuple[str, ...],
    program: str | None,
    env: Mapping[str, str],
) -> Component:
    """Return the command as a component: it prints where its owner does, for the same eyes."""
    own = owner if owner is not None else Component(tag=tag, argv=argv)
    return Component(
        tag=tag,
        mode=Mode.ONCE,
        argv=argv,
        command=shlex.join(argv),
        program=program,
        source=own.source,
        stop_timeout=STOP_TIMEOUT,
        env=Environment(set=dict(env)),
        env_base=own.env_base,
        nullinput=True,
        stdout=own.stdout,
        stderr=own.stderr,
        list_acl=own.list_acl,
        admin_acl=own.admin_acl,
    )
