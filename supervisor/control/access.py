"""What a caller may see and do: the rules of access, applied to what is supervised now."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

from msgspec import UNSET, Struct
from msgspec.structs import replace

from supervisor.engine.gates import blocked_by
from supervisor.model.access import Acl, Rule, Subject, allows
from supervisor.model.description import BlockView
from supervisor.model.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supervisor.control.identity import Caller, Rights
    from supervisor.engine.graph import Graph
    from supervisor.engine.world import World
    from supervisor.model.component import Component, Key, Tag
    from supervisor.model.description import Description
    from supervisor.model.settings import ControlSettings
    from supervisor.model.state import Block
    from supervisor.runtime.runner import Runner

Standing = Literal["denied", "by component", "granted"]
"""What `user-acl` says: nothing, what components themselves allow, or all that they do not deny."""

_KEPT = 64
"""Callers whose view is kept: who polls does not have all rules gone through each time."""

_QUOTED = re.compile(r"'([^']+)'")
_ACTION = re.compile(r"(exit action of )(\S+?)(?=:?(?:\s|$))")
_SOMETHING = "another component"

_WITHOUT_NAMES = {
    "prerequisite": ("prerequisites are not up", "something that it needs is not up"),
    "startup": ("startup components come first", "startup components come first"),
    "dependents": ("its dependents stop first", "its dependents stop first"),
    "boot": ("what boots the machine comes first", "what boots the machine comes first"),
    "wait": ("what stands before it comes first", "what stands before it comes first"),
    "runlevel-change": (
        "what leaves the runlevel stops first",
        "what leaves the runlevel stops first",
    ),
    "max-instances": ("too many instances are live", "too many instances are live"),
}
"""What to say of a block instead: before the names that are left, and where none is left."""


# --- the decisions


def grants(acl: Acl | None, subject: Subject) -> bool:
    """Return whether a rule of *acl* lets *subject* pass; that none forbids it is not enough."""
    return acl is not None and allows(Acl((*acl.rules, Rule(allow=False))), subject)


def hopeless(acl: Acl | None, address: str) -> bool:
    """Return whether *acl* lets nobody in from *address*, whoever it is.

    A rule that looks into another list may match or not, so it proves nothing.
    """
    for rule in acl.rules if acl is not None else ():
        anybody = replace(rule, allow=False, who="all", also=())
        if allows(Acl((anybody,)), Subject(address=address)):
            continue  # It is about other addresses.
        if rule.allow:
            return False
        if rule.who == "all" and not rule.also:
            return True
    return False


def may_connect(settings: ControlSettings, caller: Caller) -> bool:
    """Return whether `acl` lets *caller* in."""
    return caller.subject is None or allows(settings.acl, caller.subject)


def may_administer(settings: ControlSettings, caller: Caller) -> bool:
    """Return whether *caller* may deal with the instance and its configuration."""
    if caller.subject is None or caller.rights == "list":
        return caller.rights == "admin"
    if caller.rights == "admin":
        return allows(settings.admin_acl, caller.subject)
    return caller.by_rules and grants(settings.admin_acl, caller.subject)


def standing(settings: ControlSettings, caller: Caller) -> Standing:
    """Return what *caller* may do with components, before the components are asked."""
    if caller.rights == "none" and not caller.by_rules:
        return "denied"
    subject = caller.subject
    if subject is None:
        return "granted"
    if not allows(settings.user_acl, subject):
        return "denied"
    if caller.rights != "none":
        return "granted"
    granted = grants(settings.user_acl, subject) or grants(settings.admin_acl, subject)
    return "granted" if granted else "by component"


def sees(how: Standing, caller: Caller, spec: Component) -> bool:
    """Return whether somebody of this standing may know that *spec* exists."""
    subject = caller.subject
    if how == "denied" or subject is None:
        return how != "denied"
    if how == "granted":
        return allows(spec.list_acl, subject)
    return grants(spec.list_acl, subject) or (
        allows(spec.list_acl, subject) and grants(spec.admin_acl, subject)
    )


def controls(how: Standing, caller: Caller, spec: Component) -> bool:
    """Return whether somebody of this standing may give orders to *spec* and read its output."""
    if caller.rights == "list" or not sees(how, caller, spec):
        return False
    if caller.subject is None:
        return caller.rights == "admin"
    if how == "granted":
        return allows(spec.admin_acl, caller.subject)
    return grants(spec.admin_acl, caller.subject)


# --- what follows from them for one caller


class _Reach(Struct, frozen=True):
    """The tags that somebody does not see, and those seen that obey somebody else only."""

    settings: ControlSettings
    graph: Graph
    standing: Standing
    hidden: frozenset[Tag]
    barred: frozenset[Tag]
    some: bool
    """There is something to see."""


class Access:
    """Goes through the rules for each caller, and again when rules or components have changed."""

    def __init__(self, runner: Runner, settings: ControlSettings) -> None:
        self._runner = runner
        self.settings = settings
        self._known: OrderedDict[tuple[Rights, Subject | None], _Reach] = OrderedDict()

    def view(self, caller: Caller) -> View:
        """Return what *caller* may see and do now."""
        return View(caller, self._reach(caller), self._runner.engine.world)

    def _reach(self, caller: Caller) -> _Reach:
        who = (caller.rights, caller.subject)
        world, known = self._runner.engine.world, self._known.get(who)
        # Whenever a specification changes, the graph is made anew.
        if known is None or known.graph is not world.graph or known.settings is not self.settings:
            known = _go_through(self.settings, caller, world)
            self._known[who] = known
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(who)
        return known


def _go_through(settings: ControlSettings, caller: Caller, world: World) -> _Reach:
    how = standing(settings, caller)
    hidden: set[Tag] = set()
    barred: set[Tag] = set()
    some = False
    known: dict[tuple[int, int], tuple[bool, bool]] = {}
    for tag, spec in world.specs.items():
        if "#" in tag:
            continue
        lists = (id(spec.list_acl), id(spec.admin_acl))  # A named list is often that of many.
        if lists not in known:
            known[lists] = sees(how, caller, spec), controls(how, caller, spec)
        seen, obeyed = known[lists]
        some = some or seen
        if not seen:
            hidden.add(tag)
        elif not obeyed:
            barred.add(tag)
    return _Reach(settings, world.graph, how, frozenset(hidden), frozenset(barred), some)


class View:
    """The world as one caller may know it. Good for one request: the next may get another."""

    def __init__(self, caller: Caller, reach: _Reach, world: World) -> None:
        self.caller = caller
        self._reach, self._world = reach, world
        self.hidden = reach.hidden
        """The tags of components that do not exist for this caller."""

    # --- questions before anything is looked at

    def admit(self) -> None:
        """Return if the caller may ask anything at all.

        Raises:
            Forbidden
        """
        if not may_connect(self._reach.settings, self.caller):
            raise _refused(self.caller, "use this socket", "The rules of acl say so.")
        if not may_administer(self._reach.settings, self.caller):
            self.look("use this socket")

    def look(self, what: str) -> None:
        """Return if the caller may see anything.

        Raises:
            Forbidden: it may not. *what* completes "cannot …".
        """
        how = self._reach.standing
        if how == "granted" or (how == "by component" and self._reach.some):
            return
        raise _refused(self.caller, what, _hint(self.caller))

    def order(self, what: str) -> None:
        """Return if there may be components that obey the caller.

        Raises:
            Forbidden
        """
        if self.caller.rights == "list":
            raise _refused(self.caller, what, _hint(self.caller))
        self.look(what)

    def administer(self, what: str) -> None:
        """Return if the caller may deal with the instance and its configuration.

        Raises:
            Forbidden
        """
        if not may_administer(self._reach.settings, self.caller):
            raise _refused(self.caller, what, _hint(self.caller, "admin-acl"))

    def command(self, keys: Sequence[Key], what: str) -> None:
        """Return if all of *keys*, which the caller sees, obey it.

        Raises:
            Forbidden: it names those that do not.
        """
        barred = dict.fromkeys(tag for key in keys if (tag := tag_of(key)) in self._reach.barred)
        if barred:
            names = ", ".join(barred)
            error = Forbidden(f"cannot {what} {names}: {self.caller.name} has no right to it")
            error.hint = "Nothing was done."
            raise error

    # --- what there is

    def sees(self, key: Key) -> bool:
        """Return whether *key* exists for the caller, if it exists."""
        tag = tag_of(key)
        if tag == key or tag in self._world.specs:
            return tag not in self.hidden
        # A command that has outlived its component: from whom that was hidden is forgotten.
        return self.caller.trusted and tag not in self.hidden

    def would_see(self, spec: Component) -> bool:
        """Return whether the caller may know of *spec*, which need not be supervised now."""
        return sees(self._reach.standing, self.caller, spec)

    def prerequisites(self) -> Mapping[Tag, Sequence[Tag]]:
        """Return who needs whom, as far as the caller may know."""
        prerequisites = self._world.graph.prerequisites
        if not self.hidden:
            return prerequisites
        return {
            tag: [each for each in needs if each not in self.hidden]
            for tag, needs in prerequisites.items()
            if tag not in self.hidden
        }

    def row(self, key: Key, row: Description) -> Description:
        """Return *row*, which describes *key*, without the names of what the caller cannot see."""
        if not self.hidden:
            return row
        block = row.blocked_by
        if block is not None:
            block = self.block(blocked_by(self._world, key), block)
        wish = row.wish
        if wish is not UNSET:
            wish = {**wish, "by": self.text(wish["by"])}
        return replace(
            row,
            prerequisites=self.seen(row.prerequisites),
            dependents=self.seen(row.dependents),
            blocked_by=block,
            wish=wish,
        )

    def seen(self, tags: Sequence[Tag]) -> tuple[Tag, ...]:
        """Return those of *tags* that the caller sees."""
        return tuple(tag for tag in tags if tag not in self.hidden)

    def block(self, block: Block | None, shown: BlockView) -> BlockView:
        """Return *shown*, which is how people see *block*, for the caller."""
        if block is None or block.type != shown.type or self.hidden.isdisjoint(block.tags):
            return replace(shown, message=self.text(shown.message))
        # Neither who it is nor until when: that is the other's affair.
        return BlockView(type=shown.type, message=self.message(block))

    def message(self, block: Block) -> str:
        """Return the message of *block* for the caller."""
        if self.hidden.isdisjoint(block.tags):
            return self.text(block.message)
        begin, alone = _WITHOUT_NAMES.get(block.type, ("it waits", "it waits"))
        left = self.seen(block.tags)
        return f"{begin}: {', '.join(left)}" if left else alone

    def text(self, text: str) -> str:
        """Return *text* of ours without the names of what the caller cannot see.

        Our texts quote the names of components, but for those of exit actions.
        """
        if not self.hidden:
            return text
        text = _QUOTED.sub(lambda found: self._name(found[0], found[1]), text)
        return _ACTION.sub(lambda found: found[1] + self._name(found[2], found[2]), text)

    def _name(self, whole: str, tag: str) -> str:
        return _SOMETHING if tag_of(tag) in self.hidden else whole


def tag_of(key: Key) -> Tag:
    """Return the tag of the component that *key* is, or is a connection or command of."""
    return key.partition("#")[0]


def _refused(caller: Caller, what: str, hint: str) -> Forbidden:
    error = Forbidden(f"cannot {what}: {caller.name} has no right to it")
    error.hint = hint
    return error


def _hint(caller: Caller, acl: str = "user-acl") -> str:
    subject = caller.subject
    if caller.rights == "list":
        return "On this socket anybody may look, and nobody may change anything."
    if caller.rights == "admin":
        return f"The rules of {acl} say so."
    if subject is None or not caller.by_rules:
        return "Only root and the user that piesd runs as may use this socket."
    trusted = "Only root and the user that piesd runs as may use this socket, and"
    others = f"whom rules of {acl} in [control] let in."
    return f"{trusted} {others}" if subject.address.startswith("/") else f"It is for those {others}"
