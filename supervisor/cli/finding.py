"""Where the daemon is that the command line means: the addresses in files, besides `client.find`.

Source: pies.md section 5, "Finding the socket".
"""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from supervisor.client.errors import BadFile
from supervisor.client.place import (
    InetPlace,
    Place,
    UnixPlace,
    find,
    instance_name,
    is_there,
    parse_url,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from supervisor.config.pies.options import PreprocessOptions
    from supervisor.config.piesctl import Contact
    from supervisor.model.settings import SourceFile

CONTACTS = "/etc/piesctl.conf"
"""Where pies' piesctl looks for addresses."""


def find_daemon(
    url: str | None,
    instance: str | None,
    contacts: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Place:
    """Find the control socket that is meant.

    The first of: *url*; `PIESD_URL`, unless there is an *instance*; what the file *contacts* says
    of the instance; the usual place; where that has nothing, what the configuration says that
    piesd would read.

    Args:
        contacts: a file in the syntax of piesctl.conf, which must then be readable.
        note: is told what is wrong with a configuration that was looked into.

    Raises:
        BadAddress: an address cannot be used, or the instance is no name.
        BadFile: *contacts*, or /etc/piesctl.conf, cannot be used.
    """
    environ = os.environ if environ is None else environ
    if url or (not instance and environ.get("PIESD_URL")):
        return _from(find(url, instance, environ=environ), contacts, instance, environ)
    contact = _contact(contacts, instance_name(instance, environ))
    if contact is not None and contact.socket:
        return _with_source(parse_url(contact.socket), contact.source)
    usual = find(None, instance, environ=environ)
    if not isinstance(usual, UnixPlace) or is_there(usual.path):
        return usual
    source = contact.source if contact is not None else ""
    return _with_source(_configured(usual, instance, environ, note), source)


def _from(
    place: Place, contacts: str | None, instance: str | None, environ: Mapping[str, str]
) -> Place:
    """Add to the address of a TCP socket where it is to be spoken to from."""
    if not isinstance(place, InetPlace):
        return place
    contact = _contact(contacts, instance_name(instance, environ))
    return _with_source(place, contact.source if contact is not None else "")


def _with_source(place: Place, source: str) -> Place:
    return replace(place, source=source) if isinstance(place, InetPlace) else place


def _contact(contacts: str | None, instance: str) -> Contact | None:
    """Return what the file says of the instance; None where there is no file."""
    path = contacts or CONTACTS
    if not contacts and not os.access(path, os.R_OK):
        return None
    from supervisor.config.piesctl import read_contacts, why_unreadable
    from supervisor.model.errors import ConfigRejected
    from supervisor.system import preprocess

    try:
        return read_contacts(path, preprocess.run).of(instance)
    except (OSError, ValueError) as error:
        raise BadFile(f"cannot read {why_unreadable(path, error)}") from error
    except ConfigRejected as rejected:
        lines = "\n".join(str(problem) for problem in rejected.problems)
        raise BadFile(f"cannot use {path}:\n{lines}") from rejected


def _configured(
    usual: Place,
    instance: str | None,
    environ: Mapping[str, str],
    note: Callable[[str], None],
) -> Place:
    """Return a socket of the configuration that we, or else root, would run piesd with."""
    from supervisor.config.load import default_files

    first: Place | None = None
    for euid in dict.fromkeys((os.geteuid(), 0)):
        files = default_files(environ, euid, instance)
        if not any(os.path.exists(each.file) for each in files):
            continue
        place = configured_place(files, instance, environ=environ, euid=euid, note=note)
        if not isinstance(place, UnixPlace) or is_there(place.path):
            return place
        first = first or place
    return first or usual


def configured_place(
    files: Sequence[SourceFile],
    instance: str | None,
    *,
    environ: Mapping[str, str],
    euid: int,
    preprocessing: PreprocessOptions | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Place:
    """Return the control socket of a configuration: the first UNIX socket if there is one.

    Components and their problems are not looked at: an address is wanted, no plan. *note* is told
    of files that cannot be read.
    """
    from supervisor.config.gather import gather
    from supervisor.config.host import Host
    from supervisor.config.settings import build_settings
    from supervisor.config.sources import read_sources
    from supervisor.model.component import UnixAddress
    from supervisor.model.errors import Problem
    from supervisor.system import preprocess

    problems: list[Problem] = []
    sources = read_sources(
        files,
        problems,
        environ=environ,
        euid=euid,
        preprocessing=preprocessing,
        run=preprocess.run,
    )
    for problem in problems:
        if not problem.warning:
            note(str(problem))
    settings = build_settings(
        gather(sources.documents, []),
        Host(),
        [],
        environ=environ,
        euid=euid,
        instance=instance,
        sockets=(),
    )
    sockets = settings.control.sockets
    address = next((each for each in sockets if isinstance(each, UnixAddress)), sockets[0])
    if isinstance(address, UnixAddress):
        return UnixPlace(address.path)
    tls = settings.control.tls is not None
    return InetPlace(_reachable(address.host), address.port, tls)


def _reachable(host: str) -> str:
    """Return how to reach what listens at *host*, which may stand for every address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
