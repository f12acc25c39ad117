"""What this machine knows: users, groups, services, files. Each question is asked once."""

from __future__ import annotations

import grp
import os
import pwd
import resource
import socket
import stat
from collections.abc import Callable
from typing import Literal, TypeVar, cast

T = TypeVar("T")

Executable = Literal["fine", "missing", "not executable"]
Secret = Literal["fine", "missing", "unknown", "readable by everybody"]


_CAP_SYS_RESOURCE = 24
"""Source: capabilities(7), <linux/capability.h>."""


class Host:
    """The machine that the configuration is for. Answers are remembered for one reading."""

    def __init__(self) -> None:
        self._answers: dict[tuple[object, str], object] = {}

    def user(self, name: str) -> int | None:
        """Return the uid of a user, or None if there is no such user."""
        return self._ask(_user, name)

    def has_group(self, name: str) -> bool:
        """Return whether there is such a group."""
        return self._ask(_has_group, name)

    def service_port(self, name: str) -> int | None:
        """Return the port of a TCP service, or None if there is no such service."""
        return self._ask(_service_port, name)

    def datagram_port(self, name: str) -> int | None:
        """Return the port of a UDP service, or None if there is no such service."""
        return self._ask(_datagram_port, name)

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return the IP addresses of a host, none if it has none. It may wait for a name server."""
        return self._ask(_addresses, name)

    def hard_limit(self, name: str) -> int | None:
        """Return the most that piesd itself may have of a resource; None is no limit."""
        return self._ask(_hard_limit, name)

    def may_exceed(self) -> bool:
        """Tell whether root may exceed limits here. In a container it mostly may not."""
        return self._ask(_may_exceed, "")

    def last_cpu(self) -> int:
        """Return the number of the last processor that could be there."""
        return self._ask(_last_cpu, "")

    def secret(self, path: str) -> Secret:
        """Tell whether there is a file at *path*, and whether it is kept from others."""
        return self._ask(_secret, path)

    def is_directory(self, path: str) -> bool:
        """Return whether there is a directory at *path*."""
        return self._ask(os.path.isdir, path)

    def executable(self, path: str) -> Executable:
        """Tell whether *path* can be executed."""
        return self._ask(_executable, path)

    def find_program(self, name: str, search_path: str) -> Executable:
        """Tell what *name*, a word without a slash, is along *search_path*."""
        answer: Executable = "missing"
        for directory in search_path.split(os.pathsep):
            found = self.executable(os.path.join(directory or ".", name))
            if found == "fine":
                return found
            if found != "missing":
                answer = found
        return answer

    def _ask(self, question: Callable[[str], T], about: str) -> T:
        key = (question, about)
        if key not in self._answers:
            self._answers[key] = question(about)
        return cast("T", self._answers[key])


def home(uid: int) -> str | None:
    """Return the home directory of *uid*, or None where it has none."""
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return None


def _user(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None


def _has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except (KeyError, ValueError):
        return False
    return True


def _service_port(name: str) -> int | None:
    try:
        return socket.getservbyname(name, "tcp")
    except (OSError, ValueError):
        return None


def _datagram_port(name: str) -> int | None:
    try:
        return socket.getservbyname(name, "udp")
    except (OSError, ValueError):
        return None


def _addresses(name: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # UnicodeError, a ValueError, for a label that is too long.
        return ()
    return tuple(dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in found))


def _hard_limit(name: str) -> int | None:
    number = getattr(resource, f"RLIMIT_{name.upper()}", None)
    hard = resource.RLIM_INFINITY if number is None else resource.getrlimit(number)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def _may_exceed(_: str) -> bool:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            effective = next(int(line[7:], 16) for line in status if line.startswith("CapEff:"))
    except (OSError, StopIteration, ValueError):
        return True  # Then the attempt will tell.
    return bool(effective & (1 << _CAP_SYS_RESOURCE))


def _last_cpu(_: str) -> int:
    return (os.cpu_count() or 1) - 1


def _secret(path: str) -> Secret:
    try:
        mode = os.stat(path).st_mode
    except PermissionError:
        return "unknown"
    except (OSError, ValueError):
        return "missing"
    if stat.S_ISDIR(mode):
        return "missing"
    return "readable by everybody" if mode & stat.S_IROTH else "fine"


def _executable(path: str) -> Executable:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return "missing"
    if not stat.S_ISREG(mode):
        return "missing" if stat.S_ISDIR(mode) else "not executable"
    return "fine" if os.access(path, os.X_OK) else "not executable"
