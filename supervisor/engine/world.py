"""All entities together: their states, and the counts between neighbours that the rules use.

The counts are kept as states change, so that no rule ever looks at all neighbours: with one
prerequisite of a thousand dependents that would be a thousand times a thousand looks.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from copy import copy

from msgspec import Struct
from msgspec.structs import replace

from supervisor.engine.graph import Graph
from supervisor.engine.modes import APART, BOOTING, ONE_RUN, WAITED, belongs
from supervisor.engine.slots import Slots
from supervisor.model.component import Address, Component, InetAddress, Key, Mode, Tag
from supervisor.model.state import Phase, Stage, State


class Connection(Struct, frozen=True, tag="connection"):
    """What makes an entity a connection: its listener, the accepted socket and the client."""

    owner: Tag
    number: int
    peer: str
    address: str = ""


class Command(Struct, frozen=True, tag="command"):
    """What makes an entity a command: on whose behalf it runs, and what it reads.

    Its owner may be gone, or never have been there.
    """

    owner: Tag
    number: int
    text: str | None = None


GOING_DOWN = frozenset({Stage.STOPPING, Stage.LAST, Stage.ENDED})
"""The stages of the shutdown."""

Link = Connection | Command
"""What makes an entity a part of a component, and not a component itself."""


def excludes_others(address: Address) -> bool:
    """Return whether only one can have *address*: port 0 means any that is free."""
    return not isinstance(address, InetAddress) or address.port != 0


def has_instance_limit(spec: Component) -> bool:
    """Return whether *spec* is an instance of a template of which only some may be live at once.

    For a listener, `max_instances` is about its connections.
    """
    return spec.template is not None and spec.max_instances is not None and not spec.listens


class World:
    """States by key. Change a state by `put` alone; `dirty` collects whom that concerns."""

    def __init__(self) -> None:  # noqa: PLR0915 - It is a list of fields.
        self.stage = Stage.NEW
        self.specs: dict[Key, Component] = {}
        self.states: dict[Key, State] = {}
        self.links: dict[Key, Link] = {}
        self.connections: dict[Tag, dict[Key, None]] = {}
        self.clients: dict[tuple[Tag, str], int] = {}
        """For each listener and address of a client, how many connections there are."""
        self.commands: dict[Tag, dict[Key, None]] = {}
        self.commands_ever: int = 0
        """How many commands there ever were: the number of the latest."""
        self.untried_mails = 0
        """How many mails were asked for and have not been tried once."""
        self.graph = Graph({})
        self.dirty: set[Key] = set()
        self.changed: set[Key] = set()
        self.live_dependents: dict[Tag, int] = {}
        self.unmet: dict[Key, int] = {}
        self.live = 0
        """How many entities are live now."""
        self.crowded: dict[Key, str] = {}
        """For whose start the system had no room, and what it said."""
        self.slots = Slots()
        """Who is on the way up, and who waits for that."""
        self.siblings: dict[Tag, tuple[Tag, ...]] = {}
        """For each template of which only some may be live at once, its instances."""
        self.live_instances: dict[Tag, int] = {}
        """For each of these templates, how many instances are live."""
        self.startup: tuple[Tag, ...] = ()
        """The startup components."""
        self.unstarted = 0
        """How many startup components are live or waiting."""
        self.runlevel = ""
        """The runlevel: empty where runlevels are not used, `N` before the first."""
        self.previous_runlevel = "N"
        """The runlevel before, `N` if there was none."""
        self.boot_state = ""
        """Where an init process is: `sysinit`, `boot`, `single` or `normal`; empty for others."""
        self.initdefault = ""
        """The runlevel that is entered first, as far as that is configured."""
        self.booted = False
        """Whether the boot of the machine is over, or under way."""
        self.init = False
        """Whether piesd is an init process."""
        self.environ: dict[str, str] = {}
        """What an init process gives to all that it starts, beside the runlevels."""
        self.by_hand: set[Tag] = set()
        """What people have started outside of its runlevels since these changed last."""
        self.leaving: dict[Tag, None] = {}
        """What the latest change of the runlevel has to bring down."""
        self.waited: tuple[Tag, ...] = ()
        """The components whose end is waited for by what stands after them."""
        self.heirs: dict[Tag, Tag] = {}
        """For listeners that are not configured any more: who has their address now, and serves
        whoever had come to them."""
        self.holdings: dict[Tag, tuple[Address, ...]] = {}
        """The addresses that each has, or is about to have."""
        self.occupied: dict[str, Tag] = {}
        """Who has an address, by its URL."""
        self.claims: dict[str, tuple[Tag, ...]] = {}
        """Who is configured to have an address."""
        self._deadlines: list[tuple[float, Key]] = []
        self._servers: dict[Tag, tuple[Component, Component]] = {}
        """What serves the connections of each listener, and what the listener was then."""

    def copy(self) -> World:
        """Return a world of the same states that shares nothing that changes."""
        double = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict | set | list):
                setattr(double, name, value.copy())
        double.slots = self.slots.copy()
        double.connections = {tag: dict(keys) for tag, keys in self.connections.items()}
        double.commands = {tag: dict(keys) for tag, keys in self.commands.items()}
        return double

    # --- questions

    def ordered(self) -> Iterator[Key]:
        """Yield every key in the order of the configuration, with what belongs to each."""
        for tag in self.graph.index:
            if tag in self.states:
                yield from self._family(tag)
        for tag, state in self.states.items():
            # Components that are no longer configured, but not down yet.
            if tag not in self.graph.index and tag not in self.links and state.removed:
                yield from self._family(tag)
        for tag, keys in self.commands.items():
            if tag not in self.states:
                yield from keys

    def _family(self, tag: Tag) -> Iterator[Key]:
        yield tag
        yield from self.connections.get(tag, ())
        yield from self.commands.get(tag, ())

    def position(self, key: Key) -> tuple[int, int, int]:
        """Return the place of *key* in that order."""
        link = self.links.get(key)
        index = self.graph.index.get(link.owner if link else key, len(self.graph.index))
        match link:
            case None:
                return index, 0, 0
            case Connection():
                return index, 1, link.number
            case Command():
                return index, 2, link.number

    def is_component(self, key: Key) -> bool:
        """Return whether *key* is a component, and no connection or command of one."""
        return key not in self.links

    def is_kept(self, tag: Tag) -> bool:
        """Return whether something of *tag* exists in the operating system, and is wanted.

        Somebody may have stopped what is going down: then it is not for a reload to bring it back.
        """
        state = self.states.get(tag)
        return state is not None and state.live and state.wanted

    def is_put_off(self, tag: Tag) -> bool:
        """Return whether *tag* is known and, though wanted, not tried at present."""
        return tag in self.states and self.states[tag].put_off

    def up(self, tag: Tag) -> bool:
        """Return whether *tag* is what a dependent needs.

        What runs once has done its work when it has ended with code 0, the rest is up while it
        listens, or runs and is ready.
        """
        state = self.states.get(tag)
        if state is None:
            return False
        if state.phase is Phase.FINISHED:
            return state.last_exit is not None and state.last_exit.ok
        if self.specs[tag].mode in ONE_RUN:
            return False
        return state.ready and state.phase in (Phase.RUNNING, Phase.LISTENING)

    def available(self, tag: Tag) -> bool:
        """Return whether *tag* is up and going to stay so as far as we know."""
        if not self.up(tag):
            return False
        if self.states[tag].phase is Phase.FINISHED:
            return not self.states[tag].removed
        return not self.should_be_down(tag)

    def should_be_down(self, key: Key) -> bool:
        """Return whether *key*, if it is live, has to go down, for whatever reason."""
        state = self.states[key]
        if not state.wanted or state.renew or state.removed or self.unmet.get(key, 0):
            return True
        if self.runlevel and self.outside(key):
            return True
        link = self.links.get(key)
        if isinstance(link, Command) or self.specs[key].mode is Mode.SHUTDOWN:
            return not self.may_run_now(key)
        if self.stage in GOING_DOWN:
            return True
        return link is not None and self._goes_with(link.owner)

    def _goes_with(self, owner: Tag) -> bool:
        """Return whether the connections of *owner* have to go down because of it.

        A listener that is opened anew, or has been given to somebody else, does not take along
        those whom it serves; a server that has the listener itself goes with it.
        """
        state = self.states.get(owner)
        if state is None or (self.specs[owner].owned and self.should_be_down(owner)):
            return True
        if owner in self.heirs:
            return False
        gone = not state.wanted or state.removed or not self.specs[owner].listens
        return gone or self.outside(owner)

    def outside(self, key: Key) -> bool:
        """Return whether *key* does not belong to the present runlevel, if there is one."""
        if self.runlevel in ("", "N") or key in self.links or key in self.by_hand:
            return False
        spec = self.specs[key]
        if self.boot_state == "boot":
            # The single user has left, and the machine boots before it goes further.
            return spec.mode not in BOOTING and spec.mode not in APART
        return not belongs(spec, self.runlevel)

    def is_full(self, tag: Tag) -> bool:
        """Return whether as many instances of the template of *tag* are live as may be."""
        spec = self.specs[tag]
        if not has_instance_limit(spec) or spec.template is None or spec.max_instances is None:
            return False
        return self.live_instances.get(spec.template, 0) >= spec.max_instances

    def may_run_now(self, key: Key) -> bool:
        """Return whether the stage lets *key* run.

        What is run on behalf of the dead during the shutdown, such as a mailer, waits until
        everything is down, and then has the time of the shutdown components.
        """
        if isinstance(self.links.get(key), Command):
            return self.stage not in (Stage.STOPPING, Stage.ENDED)
        if self.specs[key].mode is Mode.SHUTDOWN:
            return self.stage is Stage.LAST
        return self.stage in (Stage.STARTUP, Stage.NORMAL)

    def server(self, tag: Tag) -> Component:
        """Return what serves a connection of *tag*: one for all of them, until *tag* changes."""
        spec = self.specs[tag]
        listener, server = self._servers.get(tag, (None, spec))
        if listener is not spec:
            # Of what the component asks for, this belongs to the listener.
            server = replace(
                spec,
                mode=Mode.ONCE,
                sockets=(),
                acl=None,
                essential=False,
                required=False,
                max_instances=None,
                start_condition=(),
                ready=None,
                health=None,
                watchdog=0.0,
            )
            self._servers[tag] = spec, server
        return server

    def starting_up(self) -> tuple[Tag, ...]:
        """Return the startup components that run, or wait to."""
        if not self.unstarted:
            return ()
        return tuple(
            tag
            for tag in self.startup
            if tag in self.states and self._unstarted(tag, self.states[tag])
        )

    def starting(self) -> Iterator[Key]:
        """Yield what is being started, or opened, now."""
        return (key for key, state in self.states.items() if state.phase is Phase.STARTING)

    def deadline(self) -> float | None:
        """Return the earliest deadline of any state, or None."""
        while self._deadlines:
            due, key = self._deadlines[0]
            state = self.states.get(key)
            if state is not None and state.deadline == due:
                return due
            heapq.heappop(self._deadlines)
        return None

    def due(self, now: float) -> list[Key]:
        """Return, in the order of their times, whose deadlines have come; each is told once."""
        found: dict[Key, None] = {}
        while self._deadlines and self._deadlines[0][0] <= now:
            due, key = heapq.heappop(self._deadlines)
            state = self.states.get(key)
            if state is not None and state.deadline == due:
                found[key] = None
        return list(found)

    # --- changes

    def put(self, key: Key, state: State) -> None:
        """Let *state* be the state of *key*, and bring the counts of its neighbours up to date."""
        old = self.states.get(key)
        if old == state:
            return
        was_live = old is not None and old.live
        was_available = old is not None and key not in self.links and self.available(key)
        was_unstarted = old is not None and self._unstarted(key, old)
        self.states[key] = state
        self.dirty.add(key)
        self.changed.add(key)
        if state.deadline is not None and (old is None or old.deadline != state.deadline):
            heapq.heappush(self._deadlines, (state.deadline, key))
        if state.live != was_live:
            self._count_live(key, 1 if state.live else -1)
        self.unstarted += self._unstarted(key, state) - was_unstarted
        if key not in self.links:
            self.slots.count(key, self.specs[key], state)
            if state.room is not None:
                self.crowded[key] = state.room.message
            elif self.crowded:
                self.crowded.pop(key, None)
            self._spread(key, was_available)
            if old is None or _matters(old) != _matters(state):
                self.dirty.update(self.connections.get(key, ()))

    def forget(self, key: Key) -> None:
        """Drop *key*, which is down, and everything kept for it."""
        if self.states[key].live:
            self._count_live(key, -1)
        self.unstarted -= self._unstarted(key, self.states[key])
        was_available = key not in self.links and self.available(key)
        del self.states[key], self.specs[key]
        self._servers.pop(key, None)
        self.slots.forget(key)
        self.crowded.pop(key, None)
        self.unmet.pop(key, None)
        self.by_hand.discard(key)
        self.dirty.discard(key)
        self.changed.add(key)
        link = self.links.pop(key, None)
        if link is not None:
            parts = self._parts(link)
            parts[link.owner].pop(key, None)
            if not parts[link.owner]:
                del parts[link.owner]
            self._count_client(link, -1)
            return
        if was_available:
            self._count_unmet(key, 1)

    def add(self, key: Key, spec: Component, state: State, link: Link | None = None) -> None:
        """Add an entity; a component only together with a new graph (`rebuild`)."""
        self.specs[key] = spec
        if link is not None:
            self.link(key, link)
        self.unmet[key] = sum(not self.available(tag) for tag in spec.prerequisites)
        self.put(key, state)

    def link(self, key: Key, link: Link) -> None:
        """Note that *key* is a part of a component."""
        self.links[key] = link
        self._parts(link).setdefault(link.owner, {})[key] = None
        self._count_client(link, 1)

    def expect_deadlines(self) -> None:
        """Expect the deadlines of all states, after these were set by other means than `put`."""
        pairs = ((state.deadline, key) for key, state in self.states.items())
        self._deadlines = [(due, key) for due, key in pairs if due is not None]
        heapq.heapify(self._deadlines)

    def occupy(self, tag: Tag, sockets: tuple[Address, ...]) -> None:
        """Note that *tag* is about to have these addresses."""
        if tag in self.holdings or not sockets:
            return
        self.holdings[tag] = sockets
        self.occupied.update((each.url, tag) for each in sockets if excludes_others(each))

    def vacate(self, tag: Tag) -> tuple[Address, ...]:
        """Note that *tag* has no address any more, let those look who wait for one; return them."""
        held = self.holdings.pop(tag, ())
        for address in held:
            if self.occupied.get(address.url) == tag:
                del self.occupied[address.url]
                waiting = [each for each in self.claims.get(address.url, ()) if each != tag]
                self.dirty.update(waiting)
                self.changed.update(waiting)
        return held

    def rebuild(self) -> None:
        """Take up the prerequisites of the present specs, in their present order."""
        components = {
            key: spec.prerequisites
            for key, spec in self.specs.items()
            if key not in self.links and not (key in self.states and self.states[key].removed)
        }
        self.graph = Graph(components)
        for key, link in self.links.items():
            if isinstance(link, Connection):
                # It needs what its listener needs, also after that has changed.
                needs = components.get(link.owner, self.specs[key].prerequisites)
                self.specs[key] = replace(self.specs[key], prerequisites=needs)
        self._gather_siblings()
        self._gather_claims()
        self.live_dependents = {}
        self.live_instances = {}
        self.live = 0
        self.slots.clear()
        self.crowded = {
            key: state.room.message for key, state in self.states.items() if state.room is not None
        }
        for key, state in self.states.items():
            if state.live:
                self._count_live(key, 1)
            if key not in self.links:
                self.slots.count(key, self.specs[key], state)
        self._recount_unmet()
        self.startup = tuple(tag for tag in components if self.specs[tag].mode is Mode.STARTUP)
        self.unstarted = sum(self._unstarted(key, state) for key, state in self.states.items())
        self.waited = tuple(tag for tag in components if self.specs[tag].mode in WAITED)
        self.dirty.update(self.states)

    def enter(self, stage: Stage) -> None:
        """Enter *stage*: everything has to be looked at again."""
        self.stage = stage
        self.look_again()

    def look_again(self) -> None:
        """Look at everything again, as something that concerns all has changed."""
        self._recount_unmet()
        self.dirty.update(self.states)
        self.changed.update(self.states)

    # --- the counts

    def _unstarted(self, key: Key, state: State) -> bool:
        if self.specs[key].mode is not Mode.STARTUP:
            return False
        return state.live or state.phase is Phase.WAITING

    def _parts(self, link: Link) -> dict[Tag, dict[Key, None]]:
        return self.connections if isinstance(link, Connection) else self.commands

    def _count_client(self, link: Link, by: int) -> None:
        """Count a connection for its address, if it comes from one."""
        if not isinstance(link, Connection) or not link.address:
            return
        client = link.owner, link.address
        count = self.clients.get(client, 0) + by
        if count:
            self.clients[client] = count
        else:
            del self.clients[client]

    def _gather_siblings(self) -> None:
        siblings: dict[Tag, list[Tag]] = {}
        limited: set[Tag] = set()
        for key, spec in self.specs.items():
            if spec.template is not None and key not in self.links:
                siblings.setdefault(spec.template, []).append(key)
                if has_instance_limit(spec):
                    limited.add(spec.template)
        self.siblings = {template: tuple(siblings[template]) for template in limited}

    def _gather_claims(self) -> None:
        claims: dict[str, list[Tag]] = {}
        for tag, spec in self.specs.items():
            for address in spec.sockets:
                claims.setdefault(address.url, []).append(tag)
        self.claims = {url: tuple(tags) for url, tags in claims.items()}

    def _count_live(self, key: Key, by: int) -> None:
        self.live += by
        template = self.specs[key].template
        if template is not None and template in self.siblings and key not in self.links:
            self._count_instance(template, by)
        for tag in self.specs[key].prerequisites:
            count = self.live_dependents.get(tag, 0) + by
            self.live_dependents[tag] = count
            if not count and tag in self.states:
                self.dirty.add(tag)

    def _count_instance(self, template: Tag, by: int) -> None:
        """Count a live instance; where that frees a slot, let those look who wait for one."""
        count = self.live_instances.get(template, 0) + by
        self.live_instances[template] = count
        if by > 0:
            return
        for tag in self.siblings[template]:
            state = self.states.get(tag)
            most = self.specs[tag].max_instances if state is not None else None
            if state is not None and state.phase is Phase.WAITING and most == count + 1:
                self.dirty.add(tag)
                self.changed.add(tag)

    def _count_unmet(self, tag: Tag, by: int) -> None:
        """Tell the dependents of *tag* that it became (un)available; go on where that matters."""
        pending = [(tag, by)]
        while pending:
            tag, by = pending.pop()
            for dependent in self._needing(tag):
                before = self.available(dependent) if dependent not in self.links else False
                self.unmet[dependent] += by
                self.dirty.add(dependent)
                self.changed.add(dependent)
                if dependent in self.links:
                    continue
                after = self.available(dependent)
                if after != before:
                    pending.append((dependent, -1 if after else 1))
                    self.dirty.update(self.connections.get(dependent, ()))

    def _needing(self, tag: Tag) -> Iterator[Key]:
        for dependent in self.graph.dependents.get(tag, ()):
            if dependent in self.states:
                yield dependent
                yield from self.connections.get(dependent, ())

    def _spread(self, key: Key, was_available: bool) -> None:
        """After a change of *key*: let its dependents know what matters to them."""
        available = self.available(key)
        if available != was_available:
            self._count_unmet(key, -1 if available else 1)

    def _recount_unmet(self) -> None:
        """Count what each entity lacks, prerequisites first, as availability passes upwards."""
        order = sorted(self.states, key=lambda key: self.graph.depth.get(key, 1 << 30))
        self.unmet = dict.fromkeys(self.states, 0)
        for key in order:
            spec = self.specs[key]
            self.unmet[key] = sum(not self.available(tag) for tag in spec.prerequisites)


def _matters(state: State) -> tuple[object, ...]:
    """Return what of a listener's state matters to its connections."""
    return state.phase, state.wanted, state.renew, state.removed, state.throttled
