"""A control with rules about who may do what, users that are made up, and ways to ask as them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from msgspec.structs import replace

from asked import ABOUT, Desk, Disk, plan_of
from running import House, house
from supervisor.config.passwords import Cost, Entry, hash_password, hash_token
from supervisor.control.about import Hooks
from supervisor.control.control import Control
from supervisor.control.identity import Caller, Identities
from supervisor.model.access import Acl, Rule, Subject
from supervisor.model.component import Component
from supervisor.model.settings import ControlSettings, SourceFile

SOCKET = "/run/x/x.ctl"
CHEAP = Cost(rounds=1, memory=8, threads=1)
"""What trying a password costs in tests: next to nothing."""

DENY = Rule(allow=False)


async def inline(job: Callable[..., Any], *args: Any) -> Any:
    """Run a job that may block right here: a virtual clock takes threads for idleness."""
    await trio.lowlevel.checkpoint()
    return job(*args)


def let(*names: str) -> Rule:
    """A rule that lets these users in."""
    return Rule(allow=True, who="user", names=names)


def only(*names: str) -> Acl:
    """A list that lets these users in and nobody else."""
    return Acl((let(*names), DENY))


def user(name: str, *groups: str, address: str = SOCKET) -> Caller:
    """Somebody who has no rights but those that rules give."""
    subject = Subject(user=name, groups=frozenset(groups), address=address)
    return Caller(f"user {name}", "none", subject)


def administrator(name: str = "root") -> Caller:
    """Somebody whom piesd trusts, unless rules forbid."""
    return Caller(f"uid 0 ({name})", "admin", Subject(user=name, address=SOCKET))


def anonymous(rights: Any, address: str = "127.0.0.1") -> Caller:
    """A stranger on loopback."""
    return Caller(f"anonymous at {address}:1", rights, Subject(address=address))


def line(name: str, password: str, *groups: str) -> Entry:
    """A line of a file of passwords, quickly tried."""
    return Entry(name, hash_password(password, CHEAP), groups)


def token_line(name: str, token: str, *groups: str) -> Entry:
    """A line with a token."""
    return Entry(name, hash_token(token), groups)


def basic(name: str, password: str) -> str:
    """The header that carries a name and a password."""
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


class Users:
    """The users of a machine that is made up. `asked` is who was asked for."""

    def __init__(
        self,
        numbers: Mapping[int, tuple[str, frozenset[str]]] | None = None,
        passwords: Mapping[str, str] | None = None,
    ) -> None:
        self.numbers, self.passwords = dict(numbers or {}), dict(passwords or {})
        self.asked: list[object] = []

    def of_uid(self, uid: int) -> tuple[str, frozenset[str]] | None:
        self.asked.append(uid)
        return self.numbers.get(uid)

    def groups(self, user: str) -> frozenset[str]:
        return next((groups for name, groups in self.numbers.values() if name == user), frozenset())

    def check_system(self, user: str, password: str) -> bool:
        self.asked.append(("system", user))
        return self.passwords.get(user) == password

    def check_pam(self, service: str, user: str, password: str) -> bool:
        self.asked.append((service, user))
        if service == "broken":
            raise OSError("there is no PAM")
        return self.passwords.get(user) == password


@asynccontextmanager
async def guarded(
    components: Sequence[Component],
    prepare: Callable[[House], None] = lambda _: None,
    *,
    users: Users | None = None,
    files: Sequence[SourceFile] = (),
    hooks: Hooks | None = None,
    **settings: Any,
) -> AsyncIterator[Desk]:
    """Run *components*, and a control with these *settings* of access."""
    async with house(components, prepare) as home:
        plan = plan_of(*components, files=files)
        plan = replace(plan, control=replace(plan.control, **settings))
        disk = Disk(plan)
        control = Control(
            home.runner,
            plan=plan,
            load=disk.load,
            about=ABOUT,
            hooks=hooks or Hooks(),
            identities=Identities(plan.control, accounts=users, blocking=inline, uid=1000),
        )
        yield Desk(home, control, disk, [])


def settings(**values: Any) -> ControlSettings:
    """Settings of control, without a socket."""
    return ControlSettings(sockets=(), **values)
