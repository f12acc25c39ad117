"""Open, accept on and remove listening sockets, for components and for control."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat
import struct
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple, TypeGuard

from supervisor.model.component import Address, InetAddress, UnixAddress
from supervisor.model.errors import AlreadyRunning, CannotListen
from supervisor.system.asking import want_destination
from supervisor.system.connections import as_socket
from supervisor.system.footpath import Misled, open_directory, ours_alone, parent_of
from supervisor.system.port import Connection, ListenError
from supervisor.system.users import NoIdentity, find_group, find_user

BACKLOG = 4096
"""Connections that may wait, where nothing is said; the system may allow fewer."""

KINDS = {
    "stream": socket.SOCK_STREAM,
    "dgram": socket.SOCK_DGRAM,
    "seqpacket": socket.SOCK_SEQPACKET,
}
"""The types of sockets by their names in the configuration."""

LONGEST_PATH = 107
"""Bytes of sun_path without the zero at its end, unix(7)."""

_PASSING = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.EPERM,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
    }
)
"""Errors of one connection that accept(2) hands to us: that client is gone, others are not."""


class Place(NamedTuple):
    """Which file a path leads to."""

    device: int
    inode: int


class Listeners:
    """The listening sockets we hold, and which UNIX paths are really ours."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._places: dict[int, Place] = {}

    def listen(self, address: Address, backlog: int = BACKLOG, *, blocking: bool = False) -> int:
        """Open a listener; see `supervisor.system.port.System.listen`.

        Raises:
            ListenError: with the stage, the error and a message.
        """
        opened = open_listener(address, backlog=backlog)
        opened.setblocking(blocking)
        if not blocking and opened.type == socket.SOCK_DGRAM:
            want_destination(opened)
        fd = opened.fileno()
        self._sockets[fd] = opened
        if is_file(address) and (place := place_of(address.path)):
            self._places[fd] = place
        return fd

    def take_over(self, fd: int, address: Address) -> bool:
        """Hold *fd*, which somebody else has opened, if it is a socket at *address*."""
        try:
            opened = socket.socket(fileno=fd)
        except OSError:
            return False  # It is no socket at all.
        if not _is_at(opened, address):
            opened.detach()
            return False
        self._sockets[fd] = opened
        if is_file(address) and (place := place_of(address.path)):
            self._places[fd] = place
        return True

    def relisten(self, fd: int, backlog: int, *, blocking: bool) -> None:
        """Change what can be changed of a listener; see `supervisor.system.port.System.relisten`.

        Source: listen(2) may be called again; the new backlog holds from then on.
        """
        opened = self._sockets[fd]
        _listen(opened, backlog)
        opened.setblocking(blocking)

    def leads_to(self, address: Address, fd: int) -> bool:
        """Return whether *address* is that of *fd*; see `system.port.System.leads_to`."""
        return not is_file(address) or place_of(address.path) == self._places.get(fd)

    def unlisten(self, fd: int, address: Address) -> None:
        """Close a listener; remove its path unless somebody has put something else there."""
        place = self._places.pop(fd, None)
        opened = self._sockets.pop(fd, None)
        if opened is not None:
            opened.close()
        if is_file(address) and place is not None:
            remove_socket(address.path, place)

    def accept(self, fd: int) -> Connection | None:
        """Accept one connection, or return None when there is none.

        Raises:
            OSError: of our own making, as EMFILE.
        """
        opened = self._sockets[fd]
        try:
            # What socket.accept itself calls. A socket object for each connection, of which nobody
            # needs more than the number, costs three times as much as the system call.
            # It is as old as Python 3, and not among the types. accept4 does not pass O_NONBLOCK
            # on: the connection is blocking, as programs expect their stdin.
            accepted, name = opened._accept()  # type: ignore[attr-defined]  # noqa: SLF001
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _PASSING:
                return None
            raise
        if isinstance(name, tuple) and len(name) >= 2:
            return Connection(accepted, host_and_port(name), str(name[0]))
        try:
            return _local_connection(accepted)
        except (OSError, MemoryError):
            os.close(accepted)  # Else its client would wait for ever.
            raise

    def dispose(self) -> None:
        """Close all of them and leave their paths."""
        for opened in self._sockets.values():
            opened.close()
        self._sockets.clear()
        self._places.clear()


def _is_at(opened: socket.socket, address: Address) -> bool:
    """Return whether a socket waits for clients at *address*."""
    try:
        if opened.type != KINDS[address.kind]:
            return False
        if address.kind != "dgram" and not opened.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        ):
            return False
        name = opened.getsockname()
    except OSError:
        return False
    if isinstance(address, InetAddress):
        if opened.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        same = ipaddress.ip_address(name[0]) == ipaddress.ip_address(address.host)
        return same and address.port in (0, name[1])
    if opened.family != socket.AF_UNIX:
        return False
    shown = "@" + name[1:].decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    return bool(shown == address.path)


def peer_credentials(connected: socket.socket) -> tuple[int, int, int]:
    """Return pid, uid and gid of the process at the other end of a UNIX socket.

    Source: SO_PEERCRED in unix(7): as they were when it connected.
    """
    data = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", data)
    return pid, uid, gid


def open_control(address: Address, *, default_mode: int = 0o600) -> socket.socket:
    """Open a control socket; the directory of a UNIX one is made if it is missing.

    Raises:
        AlreadyRunning: somebody listens on that UNIX socket.
        CannotListen: any other reason.
    """
    try:
        if isinstance(address, UnixAddress):
            make_directory(os.path.dirname(address.path))
        return open_listener(address, default_mode=default_mode)
    except ListenError as error:
        live = isinstance(address, UnixAddress) and error.error.errno == errno.EADDRINUSE
        kind = AlreadyRunning if live else CannotListen
        raise kind(f"cannot open the control socket: {error.message}") from error
    except OSError as error:
        raise CannotListen(
            f"cannot open the control socket: mkdir {error.filename}: {error.strerror}"
        ) from error


def closing(control: socket.socket, address: Address) -> Callable[[], None]:
    """Return what closes *control*, just opened, and removes its path if that is still ours."""
    place = place_of(address.path) if is_file(address) else None

    def close() -> None:
        control.close()
        if isinstance(address, UnixAddress) and place is not None:
            remove_socket(address.path, place)

    return close


def make_directory(path: str) -> bool:
    """Make *path* and what is missing above it: for ourselves alone, or for all below /run.

    Returns whether there was something to make.

    Raises:
        OSError: it cannot be made.
    """
    if not path or os.path.isdir(path):
        return False
    path = path.rstrip("/") or "/"
    public = os.geteuid() == 0 and os.path.abspath(path).startswith(("/run/", "/var/run/"))
    make_directory(os.path.dirname(path))
    with parent_of(path) as (directory, name):
        try:
            os.mkdir(name, 0o700, dir_fd=directory)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
            return False
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        if public:
            _open_to_all(name, directory)
    return True


def _open_to_all(name: str, directory: int) -> None:
    """Let others into a directory that we have just made, whatever our umask says."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=directory)
    try:
        os.fchmod(fd, 0o755)
    finally:
        os.close(fd)


def check_directory(path: str, uids: Collection[int], setting: str = "runtime-directory") -> None:
    """Refuse a directory in which somebody else could put other files in the place of ours.

    Args:
        uids: who may own it, beside root.
        setting: by which it, or one above it, is named in the configuration.

    Raises:
        OSError: with the reason.
    """
    hint = f"mend that, or name another one as '{setting}' in [daemon]"
    try:
        fd = open_directory(path)
    except Misled as error:
        raise PermissionError(errno.EPERM, f"{error.strerror}; {hint}", path) from None
    try:
        status = os.fstat(fd)
    finally:
        os.close(fd)
    if status.st_uid not in {0, *uids}:
        reason = f"it belongs to uid {status.st_uid}, who could take our place in it"
    elif status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        reason = "everybody may write to it, and could take our place in it"
    else:
        return
    raise PermissionError(errno.EPERM, f"{reason}; {hint}", path)


def is_for_one(directory: str, instance: str) -> bool:
    """Tell whether there is nothing in *directory* but what piesd makes for *instance*."""
    return all(name.startswith(f"{instance}.") for name in os.listdir(directory))


def is_file(address: Address) -> TypeGuard[UnixAddress]:
    """Return whether the socket at *address* is a file."""
    return isinstance(address, UnixAddress) and not address.abstract


def open_listener(
    address: Address, *, default_mode: int | None = None, backlog: int = BACKLOG
) -> socket.socket:
    """Return a non-blocking, close-on-exec socket that listens or takes datagrams.

    Raises:
        ListenError: with the stage, the error and a message.
    """
    if isinstance(address, InetAddress):
        return _open_inet(address, backlog)
    if address.abstract:
        return _open_abstract(address, backlog)
    return _open_unix(address, default_mode, backlog)


def _listen(opened: socket.socket, backlog: int) -> None:
    if opened.type != socket.SOCK_DGRAM:
        opened.listen(backlog)


def _open_abstract(address: UnixAddress, backlog: int) -> socket.socket:
    stage, opened = "socket", None
    try:
        opened = socket.socket(socket.AF_UNIX, KINDS[address.kind])
        opened.setblocking(False)
        stage = "bind"
        opened.bind(b"\0" + os.fsencode(address.path[1:]))
        stage = "listen"
        _listen(opened, backlog)
    except (OSError, ValueError) as error:
        raise _failed(opened, stage, address, error) from None
    return opened


def _open_inet(address: InetAddress, backlog: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    stage, opened = "socket", None
    try:
        opened = socket.socket(family, KINDS[address.kind])
        opened.setblocking(False)
        if address.protocol == "tcp":
            # After a restart the connections of our predecessor must not keep us from the port.
            # For datagrams this would let several have the same one.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Else [::] would take the port of 0.0.0.0 too, and two components would clash.
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        stage = "bind"
        opened.bind((address.host, address.port))
        stage = "listen"
        _listen(opened, backlog)
    except (OSError, OverflowError) as error:
        raise _failed(opened, stage, address, error) from None
    return opened


def _open_unix(address: UnixAddress, default_mode: int | None, backlog: int) -> socket.socket:
    path, mode = address.path, default_mode if address.mode is None else address.mode
    stage, opened, place = "bind", None, None
    try:
        uid, gid = _owner(address)
        if len(os.fsencode(path)) > LONGEST_PATH:
            raise OSError(errno.ENAMETOOLONG, f"a socket's path has {LONGEST_PATH} bytes at most")
        _remove_stale(path)
        stage = "socket"
        opened = socket.socket(socket.AF_UNIX, KINDS[address.kind])
        opened.setblocking(False)
        if mode is not None:
            # The file gets the mode of the descriptor, less our umask: it is never wider than
            # asked for. Nobody can connect before `listen` below.
            os.fchmod(opened.fileno(), mode)
        stage = "bind"
        opened.bind(path)
        with _bound(path) as (place, itself):
            if uid != -1 or gid != -1:
                stage = "chown"
                os.chown(itself, uid, gid)
            if mode is not None:
                stage = "chmod"
                os.chmod(itself, mode)
        stage = "listen"
        _listen(opened, backlog)
    except NoIdentity as error:
        reason = error.message.partition(": ")
        raise _failed(opened, "user", address, OSError(error.number, "".join(reason))) from None
    except (OSError, ValueError) as error:
        if place is not None:
            remove_socket(path, place)
        raise _failed(opened, stage, address, error) from None
    return opened


@contextlib.contextmanager
def _bound(path: str) -> Iterator[tuple[Place, str]]:
    """Give what was just bound at *path*, and a name that leads to it and to nothing else.

    Where others may write to the directory, they may have replaced it meanwhile by a link to what
    they would like to have the mode or the owner of our socket.

    Raises:
        OSError: they have.
    """
    with parent_of(path) as (directory, name):
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            status = os.fstat(fd)
            alone = stat.S_ISSOCK(status.st_mode) and status.st_nlink == 1
            if not ours_alone(os.fstat(directory)) and not (
                alone and status.st_uid == os.geteuid()
            ):
                raise OSError(errno.EPERM, "somebody else has put something in its place")
            # fchmod(2) takes no descriptor that was opened only for its place.
            itself = f"/proc/self/fd/{fd}"
            if ours_alone(os.fstat(directory)) and not os.path.exists(itself):
                itself = path  # There is no /proc, and nobody to be afraid of.
            yield Place(status.st_dev, status.st_ino), itself
        finally:
            os.close(fd)


def _failed(
    opened: socket.socket | None, stage: str, address: Address, error: Exception
) -> ListenError:
    if opened is not None:
        opened.close()
    if not isinstance(error, OSError):
        error = OSError(errno.EINVAL, str(error))
    reason = error.strerror or str(error)
    return ListenError(stage, error, f"{stage} {address.url}: {reason}")


def _owner(address: UnixAddress) -> tuple[int, int]:
    """Return the uid and gid the socket is to have, -1 for what is not said."""
    uid = -1 if address.user is None else find_user(address.user).pw_uid
    gid = -1 if address.group is None else find_group(address.group)
    return uid, gid


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on; say what is in the way otherwise.

    Raises:
        OSError: EADDRINUSE, or EEXIST for something that is no socket.
    """
    try:
        with parent_of(path) as (directory, name):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise OSError(errno.EEXIST, "exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            try:
                probe.connect(path)
            except OSError as error:
                if error.errno != errno.EPROTOTYPE:
                    raise
                _probe_other_kinds(path)
        except ConnectionRefusedError:
            remove_socket(path, Place(status.st_dev, status.st_ino))
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass  # Its backlog is full: somebody is very much there.
        except OSError as error:
            raise OSError(errno.EADDRINUSE, f"cannot tell whether it is in use: {error}") from None
    raise OSError(errno.EADDRINUSE, "is in use by another process")


def _probe_other_kinds(path: str) -> None:
    """Connect to a socket that is none for streams.

    Raises:
        OSError: as connect(2) gives it; EPROTOTYPE if it is of no kind that we know.
    """
    for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as probe:
            probe.setblocking(False)
            try:
                probe.connect(path)
            except OSError as error:
                if error.errno == errno.EPROTOTYPE:
                    continue
                raise
            return
    raise OSError(errno.EPROTOTYPE, os.strerror(errno.EPROTOTYPE))


def remove_socket(path: str, place: tuple[int, int]) -> None:
    """Unlink *path* if it is still the file that *place* (device, inode) means."""
    # The directory may be read-only by now, or gone, or somebody was faster.
    with contextlib.suppress(OSError), parent_of(path) as (directory, name):
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if (status.st_dev, status.st_ino) == tuple(place):
            os.unlink(name, dir_fd=directory)


def place_of(path: str) -> Place | None:
    """Return what is at *path*, a link as such; None if there is nothing, or it cannot be told."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return Place(status.st_dev, status.st_ino)


def _local_connection(fd: int) -> Connection:
    """Return a connection of this machine, which has no address but that of the listener."""
    with as_socket(fd) as accepted:
        if accepted.family != socket.AF_UNIX:
            return Connection(fd, "")
        there = _text_of(accepted.getsockname())
        try:
            pid, uid, _ = peer_credentials(accepted)
        except OSError:
            return Connection(fd, "", there)
        return Connection(fd, f"uid={uid} pid={pid}", there, uid)


def host_and_port(name: tuple[object, ...]) -> str:
    """Return the name of an IP socket as people write it."""
    host = f"[{name[0]}]" if ":" in str(name[0]) else name[0]
    return f"{host}:{name[1]}"


def _text_of(path: str | bytes) -> str:
    """Return the path of a UNIX socket; of an abstract one with `@`."""
    text = os.fsdecode(path)
    return f"@{text[1:]}" if text.startswith("\0") else text
