"""An outbox at work for tests: a server that answers as it is told, and no engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import trio.testing

from fake_system import FakeSystem
from supervisor.model.effects import Mail
from supervisor.model.events import MailTried, Order, RunCommand
from supervisor.model.settings import MailSettings
from supervisor.model.state import Exit
from supervisor.runtime.mail import Facts, Letter
from supervisor.runtime.outbox import Delivery, Outbox

FACTS = Facts(instance="main", version="1.2", host="web1")
BY_SMTP = MailSettings(smtp="relay:25")
BY_PROGRAM = MailSettings(program="/usr/sbin/sendmail", command_line="sendmail -oi -t")
DOWN = Delivery(trouble="Connection refused")


class Server:
    """What an SMTP server would answer: the last answer stands for all that follow."""

    def __init__(self, *answers: Delivery) -> None:
        self.answers = list(answers)
        self.tries: list[tuple[float, Letter]] = []

    async def __call__(self, server: str, letter: Letter, host: str) -> Delivery:
        assert (server, host) == ("relay:25", "web1")
        self.tries.append((trio.current_time(), letter))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @property
    def tags(self) -> list[str]:
        return [letter.tag for _, letter in self.tries]


class SlowServer(Server):
    """One that takes so many seconds for each letter."""

    def __init__(self, seconds: float) -> None:
        super().__init__(Delivery())
        self.seconds = seconds

    async def __call__(self, server: str, letter: Letter, host: str) -> Delivery:
        await trio.sleep(self.seconds)
        return await super().__call__(server, letter, host)


class Post:
    """An outbox at work, and what it had the engine do."""

    def __init__(self, outbox: Outbox, system: FakeSystem) -> None:
        self.outbox, self.system = outbox, system
        self.posted: list[RunCommand | Order | MailTried] = []
        outbox.attach(self.posted.append)

    async def send(self, tag: str = "web", *to: str) -> None:
        end = Exit(code=1, message="exited with 1", at=self.system.wall())
        self.outbox.send(Mail(tag, to or ("ops@example.org",), None, end))
        await trio.testing.wait_all_tasks_blocked()

    async def end(self, key: str, code: int = 0) -> None:
        self.outbox.command_ended(key, Exit(code=code, message=f"exited with {code}"))
        await trio.testing.wait_all_tasks_blocked()

    @property
    def runs(self) -> list[RunCommand]:
        return [event for event in self.posted if isinstance(event, RunCommand)]


@asynccontextmanager
async def post(
    server: Server | None,
    directory: Path | None = None,
    settings: MailSettings = BY_SMTP,
    *,
    jump: float = 0.0,
) -> AsyncIterator[Post]:
    """Run an outbox; by its clock it is *jump* seconds later."""
    system = FakeSystem()
    system.epoch += jump
    outbox = Outbox(
        system, settings, FACTS, None if directory is None else str(directory), deliver=server
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.serve)
        await trio.testing.wait_all_tasks_blocked()
        yield Post(outbox, system)
        nursery.cancel_scope.cancel()
