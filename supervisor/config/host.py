"""What this machine knows: users, groups, services, files. Each question is asked once."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable
from typing import Literal, TypeVar, cast

T = TypeVar("T")

Executable = Literal["fine", "missing", "not executable"]


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


def _executable(path: str) -> Executable:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return "missing"
    if not stat.S_ISREG(mode):
        return "missing" if stat.S_ISDIR(mode) else "not executable"
    return "fine" if os.access(path, os.X_OK) else "not executable"
