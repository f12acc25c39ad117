"""Where a daemon is: the address of its control socket, and how to find it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from supervisor.client.errors import BadAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_INSTANCE = "piesd"
SYSTEM_DIRECTORY = "/run/piesd"


@dataclass(frozen=True, slots=True)
class UnixPlace:
    """A UNIX socket, by its full path."""

    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"


@dataclass(frozen=True, slots=True)
class InetPlace:
    """A TCP socket, and whether TLS is spoken there."""

    host: str
    port: int
    tls: bool = False
    source: str = ""
    """The address to speak from; empty: what the system takes."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


Place = UnixPlace | InetPlace


def parse_url(url: str) -> Place:
    """Read `unix:///PATH`, a full path, `http://HOST[:PORT]` or `https://HOST[:PORT]`.

    The forms in which piesd's configuration and its log write a socket are read too
    (`inet://HOST:PORT`, `inet+tcp://…`, `local:///PATH`, `file:///PATH`, and `;mode=…;group=…`
    after a path), so that an address can be copied from there.

    Raises:
        BadAddress: it is none of these.
    """
    if url.startswith("/"):
        return UnixPlace(url)
    scheme, colon, rest = url.partition(":")
    if not colon:
        raise BadAddress(url, "it has no scheme")
    match scheme.lower():
        case "unix" | "local" | "file":
            return UnixPlace(_unix_path(url, rest))
        case "http" | "inet" | "inet+tcp" | "inet6" | "inet6+tcp":
            return _inet_place(url)
        case "https":
            return _inet_place(url, tls=True)
        case _:
            raise BadAddress(url, f"the scheme {scheme!r} is unknown")


def _unix_path(url: str, rest: str) -> str:
    path = unquote(rest.removeprefix("//").partition(";")[0])
    if not path.startswith("/"):
        raise BadAddress(url, "the path must be a full one, as in unix:///run/piesd/piesd.ctl")
    return path


def _inet_place(url: str, *, tls: bool = False) -> InetPlace:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise BadAddress(url, str(exc)) from exc
    if not host:
        raise BadAddress(url, "it names no host")
    if parts.username is not None:
        # It would stand in the history of the shell, and in every list of processes.
        raise BadAddress(url, "names and passwords do not belong into an address")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise BadAddress(url, "there is something after the port")
    usual = 443 if tls else 80
    return InetPlace(host, usual if port is None else port, tls)


def socket_path(instance: str, environ: Mapping[str, str], uid: int) -> str:
    """Return where an instance of this user has its control socket by default."""
    if uid == 0:
        return f"{SYSTEM_DIRECTORY}/{instance}.ctl"
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        return f"{runtime}/piesd/{instance}.ctl"
    return f"/tmp/piesd-{uid}/{instance}.ctl"


def is_there(path: str) -> bool:
    """Return whether there is something at *path*, or may be."""
    try:
        os.lstat(path)
    except PermissionError:
        return True  # Connecting will tell which right is missing, which helps more than silence.
    except OSError:
        return False
    return True


def instance_name(instance: str | None, environ: Mapping[str, str]) -> str:
    """Return the name of the instance: *instance*, else what the environment says, else `piesd`.

    Raises:
        BadAddress: it is no name.
    """
    name = instance or environ.get("PIESD_INSTANCE") or DEFAULT_INSTANCE
    if "/" in name or "\0" in name:
        raise BadAddress(name, "an instance is a plain name")
    return name


def find(
    url: str | None = None,
    instance: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    uid: int | None = None,
    exists: Callable[[str], bool] = is_there,
) -> Place:
    """Find the control socket: the first of *url*, *instance*, the environment and the default.

    The environment is `PIESD_URL`, then `PIESD_INSTANCE`. An instance of the user's own comes
    before that of the system, which is taken only where the user has none.

    Raises:
        BadAddress: a URL cannot be used, or the instance is no name.
    """
    environ = os.environ if environ is None else environ
    uid = os.getuid() if uid is None else uid
    if url:
        return parse_url(url)
    if not instance and (from_environment := environ.get("PIESD_URL")):
        return parse_url(from_environment)
    name = instance_name(instance, environ)
    own = socket_path(name, environ, uid)
    system = f"{SYSTEM_DIRECTORY}/{name}.ctl"
    if own != system and not exists(own) and exists(system):
        return UnixPlace(system)
    if own != system:
        _be_sure(os.path.dirname(own), uid)
    return UnixPlace(own)


def _be_sure(directory: str, uid: int) -> None:
    """Refuse our own directory if somebody else has made it: anybody may, below /tmp.

    Whoever did could answer for piesd, and be told passwords. Where an address was given, or that
    of the system is used, it is not for us to say whose it should be.

    Raises:
        BadAddress: it, or a link of that name, is somebody else's.
    """
    try:
        owner = os.lstat(directory).st_uid
    except OSError:
        return  # Then there is nothing to be found, and that is told.
    if owner not in (0, uid):
        what = f"{directory} belongs to uid {owner}, who could stand in for piesd"
        raise BadAddress(f"unix://{directory}", what)


def neighbours(path: str) -> list[str]:
    """Return the names of the instances whose sockets are beside *path*."""
    directory = os.path.dirname(path)
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    return [
        name.removesuffix(".ctl")
        for name in names
        if name.endswith(".ctl") and _is_socket(os.path.join(directory, name))
    ]


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
