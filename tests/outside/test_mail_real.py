"""Letters that really arrive: at an SMTP server, and at a program that stands for sendmail."""

from __future__ import annotations

import os
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import default
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from piesd_process import Piesd
from places import free_port
from running import RealHouse, real_house
from supervisor.model.component import Component, ExitAction, Respawn
from supervisor.model.effects import Mail
from supervisor.model.settings import MailSettings
from supervisor.model.state import Exit
from supervisor.runtime import smtp
from supervisor.runtime.mail import Facts, Letter, write_letter
from supervisor.runtime.outbox import Delivery, Outbox
from supervisor.system.port import System

pytestmark = pytest.mark.real

FACTS = Facts(instance="main", version="1.2", host="localhost")
MESSAGE = "Subject: ${component} ist ausgefallen: müde\n\n.\nEs ${termination} ${retcode}.\n"


class Postbox:
    """What an SMTP server has taken; `refuses` says no to some recipients."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.secret: list[bool] = []
        self.refuses: dict[str, str] = {}
        self.data_answer = "250 OK"
        self.farewell = "221 Bye"
        self.told: Callable[[], None] = lambda: None

    async def handle_RCPT(  # noqa: N802 - aiosmtpd wants this name.
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if self.data_answer.startswith("250"):
            self.envelopes.append(envelope)
            self.secret.append(session.ssl is not None)
        self.told()
        return self.data_answer

    async def handle_QUIT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        return self.farewell


@contextmanager
def postbox(port: int = 0, **more: Any) -> Iterator[tuple[Postbox, int]]:
    """Run an SMTP server in a thread, on this port or on any."""
    box = Postbox()
    controller = Controller(box, hostname="127.0.0.1", port=port or free_port(), **more)
    controller.start()
    try:
        yield box, controller.port
    finally:
        controller.stop()


def letter(*to: str, message: str = MESSAGE) -> Letter:
    mail = Mail("web", to or ("ops@example.org",), message, Exit(code=3))
    written = write_letter(mail, FACTS, name="n1", sender="pies@example.org", at=1.7e9)
    assert written is not None
    return written


def deliver(port: int, one: Letter, timeout: float = 10) -> Delivery:
    return smtp.deliver(f"127.0.0.1:{port}", one, "localhost", timeout)


# --- one try


def test_a_letter_arrives_as_it_was_written() -> None:
    with postbox() as (box, port):
        assert deliver(port, letter("a@example.org", "b@example.org")) == Delivery()
    (envelope,) = box.envelopes
    assert envelope.mail_from == "pies@example.org"
    assert envelope.rcpt_tos == ["a@example.org", "b@example.org"]
    assert isinstance(envelope.content, bytes)
    assert b"\n" not in envelope.content.replace(b"\r\n", b"")
    mail = message_from_bytes(envelope.content, policy=default)
    assert mail["Subject"] == "web ist ausgefallen: müde"
    assert mail.get_content() == ".\r\nEs exited with 3.\r\n"
    assert box.secret == [False]


def test_nobody_at_home_is_trouble_and_no_error() -> None:
    assert deliver(free_port(), letter()) == Delivery(trouble="Connection refused")


def test_a_server_that_says_nothing_is_trouble_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert deliver(silent.getsockname()[1], letter(), 0.05).trouble.endswith("timed out")


def test_a_name_that_nobody_knows_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    assert smtp.deliver("relay", letter(), "localhost").trouble == "Name or service not known"


def test_each_recipient_is_refused_on_its_own() -> None:
    with postbox() as (box, port):
        box.refuses = {"a@example.org": "550 no such user", "b@example.org": "451 later, please"}
        came_of_it = deliver(port, letter("a@example.org", "b@example.org", "c@example.org"))
        assert came_of_it.refused == {"a@example.org": "550 no such user"}
        assert came_of_it.later == {"b@example.org": "451 later, please"}
        assert box.envelopes[0].rcpt_tos == ["c@example.org"]
        only = deliver(port, letter("a@example.org"))
        assert only == Delivery(refused={"a@example.org": "550 no such user"})


@pytest.mark.parametrize(
    ("answer", "refused"), [("554 we take no mail", True), ("452 the disk is full", False)]
)
def test_a_letter_that_is_refused_as_a_whole_is_refused_for_everybody(
    answer: str, refused: bool
) -> None:
    with postbox() as (box, port):
        box.data_answer = answer
        came_of_it = deliver(port, letter())
        who = came_of_it.refused if refused else came_of_it.later
        assert who == {"ops@example.org": answer}


def test_a_server_that_hangs_up_at_one_recipient_has_given_the_letter_to_nobody() -> None:
    with postbox() as (box, port):
        box.refuses = {"a@example.org": "550 no such user", "c@example.org": "421 going down"}
        to = [f"{name}@example.org" for name in "abcd"]
        came_of_it = deliver(port, letter(*to))
        assert came_of_it.refused == {"a@example.org": "550 no such user"}
        assert came_of_it.later == dict.fromkeys(to[1:], "421 going down")
        assert not box.envelopes


@pytest.mark.parametrize("farewell", ["250 so long", "421 I was about to leave", "500 what?"])
def test_how_a_server_takes_leave_makes_no_letter_go_twice(farewell: str) -> None:
    with postbox() as (box, port):
        box.farewell = farewell
        assert deliver(port, letter()) == Delivery()
        assert len(box.envelopes) == 1


def test_tls_is_used_where_it_is_offered_whoever_offers_it() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("elsewhere.example.org").configure_cert(context)
    with postbox(tls_context=context) as (box, port):
        assert deliver(port, letter()) == Delivery()
        assert box.secret == [True]


def test_tls_that_does_not_work_is_done_without() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # It has no certificate.
    with postbox(tls_context=context) as (box, port):
        assert deliver(port, letter()) == Delivery()
        assert box.secret == [False]


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ("relay", ("relay", 25)),
        ("relay:2525", ("relay", 2525)),
        ("[::1]:2525", ("::1", 2525)),
        ("[::1]", ("::1", 25)),
        ("::1", ("::1", 25)),
        ("10.0.0.1:587", ("10.0.0.1", 587)),
    ],
)
def test_what_a_server_may_be_called(server: str, address: tuple[str, int]) -> None:
    assert smtp.address_of(server) == address


# --- with the runner


def failing(tmp_path: Path) -> Component:
    """A component that exits with 78 once, and lives after that."""
    script = f"test -e {tmp_path}/once && exec sleep 1000; touch {tmp_path}/once; exit 78"
    action = ExitAction(codes=(78,), notify=("ops@example.org",), message=MESSAGE)
    return Component(
        tag="web",
        argv=("/bin/sh", "-c", script),
        respawn=Respawn(delay=0),
        exit_actions=(action,),
    )


def outbox(settings: MailSettings, directory: Path, system: System) -> Outbox:
    return Outbox(system, settings, FACTS, str(directory), delays=(0.02, 0.05))


async def test_the_mail_arrives_when_the_server_is_back_and_until_then_nothing_waits(
    tmp_path: Path,
) -> None:
    port = free_port()
    settings = MailSettings(smtp=f"127.0.0.1:{port}")
    make = partial(outbox, settings, tmp_path / "mail")
    arrived = trio.Event()
    token = trio.lowlevel.current_trio_token()
    with trio.fail_after(30):
        async with real_house([failing(tmp_path)], make_outbox=make) as home:
            await home.until(lambda: home.state("web").restarts == 1)
            await home.until(lambda: home.state("web").ready)
            await in_the_spool(tmp_path / "mail", 1)
            with postbox(port) as (box, _):
                box.told = lambda: token.run_sync_soon(arrived.set)
                await arrived.wait()
                await in_the_spool(tmp_path / "mail", 0)
    (envelope,) = box.envelopes
    assert isinstance(envelope.content, bytes)
    mail = message_from_bytes(envelope.content, policy=default)
    assert mail["Subject"] == "web ist ausgefallen: müde"
    assert mail.get_content() == ".\r\nEs exited with 78.\r\n"


async def test_a_letter_survives_a_new_start_of_piesd(tmp_path: Path) -> None:
    port = free_port()
    make = partial(outbox, MailSettings(smtp=f"127.0.0.1:{port}"), tmp_path / "mail")
    with trio.fail_after(30):
        async with real_house([failing(tmp_path)], make_outbox=make) as home:
            await home.until(lambda: home.state("web").restarts == 1)
            assert home.runner.outbox is not None
            await home.runner.outbox.aclose(5)
        assert len(os.listdir(tmp_path / "mail")) == 1
        arrived = trio.Event()
        token = trio.lowlevel.current_trio_token()
        with postbox(port) as (box, _):
            box.told = lambda: token.run_sync_soon(arrived.set)
            async with real_house([], make_outbox=make):
                await arrived.wait()
    assert len(box.envelopes) == 1


async def in_the_spool(directory: Path, count: int) -> None:
    """Wait for that many letters on disk; nobody tells when a worker thread is done with them."""
    while not directory.exists() or len(list(directory.glob("*.json"))) != count:
        await trio.sleep(0.01)


def sendmail(tmp_path: Path, then: str = "exit 0") -> MailSettings:
    """A program that notes its words and its text, each run in files of its own."""
    program = tmp_path / "sendmail"
    program.write_text(
        f"""#!/bin/sh
        n=$(ls {tmp_path}/ran.* 2>/dev/null | wc -l)
        cat > {tmp_path}/text.$n
        printf '%s\\n' "$0" "$PIES_COMPONENT" "$@" > {tmp_path}/words.$n
        touch {tmp_path}/ran.$n
        {then}
        """
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return MailSettings(program=str(program), command_line="sendmail -oi -t")


async def gone(home: RealHouse) -> None:
    box = home.runner.outbox
    assert box is not None
    await home.until(lambda: home.state("web").restarts == 1)
    while box.waiting:
        await trio.sleep(0.01)  # The outbox tells nobody that it is empty.


async def test_a_program_that_stands_for_sendmail_gets_the_text_and_the_recipients(
    tmp_path: Path,
) -> None:
    make = partial(outbox, sendmail(tmp_path), tmp_path / "mail")
    with trio.fail_after(30):
        async with real_house([failing(tmp_path)], make_outbox=make) as home:
            await gone(home)
    assert (tmp_path / "words.0").read_text().split("\n")[1:] == [
        "web",
        "-oi",
        "ops@example.org",
        "",
    ]
    mail = message_from_bytes((tmp_path / "text.0").read_bytes(), policy=default)
    assert mail["To"] == "ops@example.org"
    assert mail.get_content() == ".\nEs exited with 78.\n"


async def test_a_sendmail_that_fails_for_now_is_run_again(tmp_path: Path) -> None:
    settings = sendmail(tmp_path, "test $n = 0 && exit 75; exit 0")
    make = partial(outbox, settings, tmp_path / "mail")
    with trio.fail_after(30):
        async with real_house([failing(tmp_path)], make_outbox=make) as home:
            await gone(home)
    assert (tmp_path / "text.1").read_bytes() == (tmp_path / "text.0").read_bytes()
    assert not (tmp_path / "ran.2").exists()


async def test_a_server_that_does_not_answer_does_not_delay_the_end(tmp_path: Path) -> None:
    with socket.socket() as silent, trio.fail_after(smtp.TIMEOUT / 2):
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = MailSettings(smtp=f"127.0.0.1:{silent.getsockname()[1]}")
        make = partial(outbox, settings, tmp_path / "mail")
        async with real_house([failing(tmp_path)], make_outbox=make) as home:
            await home.until(lambda: home.state("web").restarts == 1)
            knocking, _ = await trio.to_thread.run_sync(silent.accept)
        knocking.close()


# --- with piesd


@pytest.mark.parametrize("by", ["program", "server"])
def test_of_an_essential_component_somebody_is_told_before_the_end_and_once(
    tmp_path: Path, by: str
) -> None:
    program = sendmail(tmp_path).program
    with postbox() as (box, port):
        way = f'program = "{program}"' if by == "program" else f'smtp = "127.0.0.1:{port}"'
        config = f"""
[mail]
{way}

[component.web]
mode = "once"
essential = true
command = ["sh", "-c", "exit 3"]
on-exit = {{ codes = 3, notify = "ops@example.org" }}
"""
        process = Piesd(tmp_path, config)
        try:
            assert process.wait_end() == 3
        finally:
            process.end()
        assert len(box.envelopes) == (by == "server")
        assert len(list(tmp_path.glob("ran.*"))) == (by == "program")
    assert not list((tmp_path / "state" / "mail").rglob("*.json"))
