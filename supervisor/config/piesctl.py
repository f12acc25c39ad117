"""The file `piesctl.conf`, which tells where the instances are. Source: pies.md section 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from supervisor.config.files import contents, reason, shown
from supervisor.config.pies import shapes
from supervisor.config.pies.faults import Faults, Stopped
from supervisor.config.pies.include import Feed
from supervisor.config.pies.options import Reading, Run
from supervisor.config.pies.parser import Statement, parse
from supervisor.config.tables import did_you_mean
from supervisor.model.errors import ConfigRejected, Problem

_CONTACT = ("socket", "source")


class Contact(Struct, frozen=True):
    """The URL of a control socket, and the address to speak to it from; empty where unsaid."""

    socket: str = ""
    source: str = ""


class Contacts(Struct, frozen=True):
    """What the file says: of all instances, and of those that it names."""

    common: Contact = Contact()
    instances: Mapping[str, Contact] = {}

    def of(self, instance: str) -> Contact:
        """Return what is said of *instance*; its own statements come before those of all."""
        own = self.instances.get(instance, Contact())
        return Contact(own.socket or self.common.socket, own.source or self.common.source)


def read_contacts(path: str, run: Run | None) -> Contacts:
    """Read the file.

    Args:
        run: runs the preprocessor, as for `supervisor.config.load.load`.

    Raises:
        OSError: it cannot be read.
        ConfigRejected: with everything that is wrong with it.
    """
    data, _ = contents(path)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigRejected([Problem(shown(path), line, "", "is not UTF-8")]) from None
    return contacts_of(text, path, run)


def contacts_of(text: str, path: str, run: Run | None) -> Contacts:
    """Return what *text*, the contents of the file *path*, says.

    Raises:
        ConfigRejected: with everything that is wrong with it.
    """
    problems: list[Problem] = []
    faults = Faults(problems)
    try:
        tokens = Feed(faults, Reading(run=run)).tokens(text, path)
        contacts = _contacts(parse(tokens, shown(path), faults), problems)
    except Stopped:
        contacts = Contacts()
    if any(not problem.warning for problem in problems):
        raise ConfigRejected(sorted(set(problems)))
    return contacts


def _contacts(statements: Sequence[Statement], problems: list[Problem]) -> Contacts:
    instances: dict[str, Contact] = {}
    common: list[Statement] = []
    for statement in statements:
        if statement.keyword != "instance":
            common.append(statement)
        elif statement.body is None or len(statement.values) != 1 or not statement.values[0].text:
            problems.append(shapes.problem(statement, "must be: instance NAME { … }"))
        else:
            name = statement.values[0].text
            instances[name] = _contact(statement.body, problems, _CONTACT)
    return Contacts(_contact(common, problems, (*_CONTACT, "instance")), instances)


def _contact(
    statements: Sequence[Statement], problems: list[Problem], known: Sequence[str]
) -> Contact:
    given: dict[str, str] = {}
    for statement in statements:
        if statement.keyword not in _CONTACT:
            what = f"unknown statement{did_you_mean(statement.keyword, known)}"
            problems.append(shapes.problem(statement, what))
        elif (node := shapes.text(statement, problems)) is not None:
            given[statement.keyword] = str(node.value)
    return Contact(**given)


def why_unreadable(path: str, error: OSError | ValueError) -> str:
    """Return why the file cannot be read, for a message."""
    return f"{shown(path)}: {reason(error)}"
