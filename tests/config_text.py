"""Build plans from text, on a machine whose users, directories and programs are invented."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import pytest

from supervisor.config import toml
from supervisor.config.host import Executable, Host, Secret
from supervisor.config.load import make_plan
from supervisor.config.sources import Document, Sources
from supervisor.engine.plan import Plan
from supervisor.model.component import Component
from supervisor.model.errors import ConfigRejected, Problem
from supervisor.model.settings import SourceFile


class InventedHost(Host):
    """A machine with these users, groups, directories and programs; every port has its name."""

    users: Mapping[str, int] = {"root": 0, "me": 1000, "postgres": 70}
    groups = frozenset({"adm", "postgres", "wheel"})
    services: Mapping[str, int] = {"http": 80, "echo": 7, "tcpmux": 1}
    directories = frozenset({"/", "/srv", "/var/log/piesd"})
    programs: Mapping[str, Executable] = {
        "/bin/sh": "fine",
        "/bin/prog": "fine",
        "/bin/data": "not executable",
        "/srv/bin/own": "fine",
        "/usr/sbin/sendmail": "fine",
    }

    hosts: Mapping[str, tuple[str, ...]] = {
        "office.example.org": ("192.0.2.1", "2001:db8::1"),
        "v6.example.org": ("2001:db8::2",),
    }
    secrets: Mapping[str, Secret] = {
        "/etc/secret": "fine",
        "/etc/cert.pem": "readable by everybody",
        "/etc/key.pem": "fine",
        "/etc/open.pem": "readable by everybody",
        "/etc/hidden": "unknown",
    }

    def addresses(self, name: str) -> tuple[str, ...]:
        return self.hosts.get(name, ())

    def datagram_port(self, name: str) -> int | None:
        return {"syslog": 514}.get(name)

    def hard_limit(self, name: str) -> int | None:
        return {"nofile": 4096, "core": 0}.get(name)

    capable = True

    def may_exceed(self) -> bool:
        return self.capable

    def last_cpu(self) -> int:
        return 3

    def secret(self, path: str) -> Secret:
        return self.secrets.get(path, "missing")

    def user(self, name: str) -> int | None:
        return self.users.get(name)

    def has_group(self, name: str) -> bool:
        return name in self.groups

    def service_port(self, name: str) -> int | None:
        return self.services.get(name)

    def is_directory(self, path: str) -> bool:
        return path in self.directories

    def executable(self, path: str) -> Executable:
        return self.programs.get(os.path.normpath(path), "missing")


def plan_of(
    *texts: str,
    environ: Mapping[str, str] | None = None,
    euid: int = 0,
    instance: str | None = None,
    sockets: Sequence[str] = (),
) -> Plan:
    """Build the plan of files named `a.toml`, `b.toml` … with these texts."""
    problems: list[Problem] = []
    documents = []
    broken: set[str] = set()
    for name, text in zip("abcdefgh", texts, strict=False):
        root = toml.read(text, f"{name}.toml", problems)
        if problems:
            broken.update(toml.headers(text))
        if root is not None:
            documents.append(Document(f"{name}.toml", "toml", root))
    return make_plan(
        Sources(tuple(documents), frozenset(broken)),
        [SourceFile("a.toml", "")],
        problems,
        environ={"PATH": "/bin"} if environ is None else environ,
        euid=euid,
        instance=instance,
        sockets=sockets,
        host=InventedHost(),
    )


def problems_of(*texts: str, **options: object) -> tuple[Problem, ...]:
    """Return what is wrong with these files, warnings included."""
    with pytest.raises(ConfigRejected) as caught:
        plan_of(*texts, **options)  # type: ignore[arg-type]  # passed through
    return caught.value.problems


def component_of(text: str) -> Component:
    """Return the only component of the plan."""
    (component,) = plan_of(text).components
    return component
