"""The outbox: nobody waits for it, nothing is lost, and no server is pestered."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from posting import BY_PROGRAM, BY_SMTP, DOWN, Server, post
from supervisor.model.effects import Mail
from supervisor.model.events import Order
from supervisor.model.settings import MailSettings
from supervisor.model.state import Exit
from supervisor.runtime import mail
from supervisor.runtime import outbox as module
from supervisor.runtime.mail import Letter
from supervisor.runtime.outbox import DELAYS, LIMIT, MAILER_LIMIT, Delivery


async def test_a_letter_goes_at_once(autojump_clock: trio.testing.MockClock) -> None:
    server = Server(Delivery())
    with trio.fail_after(60):
        async with post(server) as at:
            await at.send()
            assert server.tags == ["web"]
            assert at.outbox.waiting == 0


async def test_a_server_that_is_down_is_tried_less_and_less_and_then_every_quarter_of_an_hour(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server = Server(*[DOWN] * 8, Delivery())
    with trio.fail_after(10_000):
        async with post(server) as at:
            begun = trio.current_time()
            await at.send()
            await trio.sleep(6000)
            minutes = [round((when - begun) / 60) for when, _ in server.tries]
            assert minutes == [0, 1, 3, 8, 18, 33, 48, 63, 78]
            assert at.outbox.waiting == 0


async def test_when_the_server_is_back_everything_goes_at_once_and_nothing_twice(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server = Server(DOWN, Delivery())
    with trio.fail_after(1000):
        async with post(server) as at:
            for tag in ("a", "b", "c"):
                await at.send(tag)
            assert server.tags == ["a"]
            await trio.sleep(DELAYS[0] + 1)
            assert sorted(server.tags[1:]) == ["a", "b", "c"]
            assert at.outbox.waiting == 0


async def test_a_letter_that_the_server_cannot_bear_does_not_keep_the_others_in(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Allergic(Server):
        async def __call__(self, server: str, letter: Letter, host: str) -> Delivery:
            await super().__call__(server, letter, host)
            return DOWN if letter.tag == "poison" else Delivery()

    server = Allergic(Delivery())
    with trio.fail_after(10_000):
        async with post(server) as at:
            await at.send("poison")
            await at.send("b")
            await at.send("c")
            await trio.sleep(3000)
            assert at.outbox.waiting == 1
            assert {"b", "c"} < set(server.tags)


async def test_who_is_refused_for_good_is_told_in_the_log_and_not_tried_again(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(Delivery(refused={"x@example.org": "550 no such user"}))
    with trio.fail_after(10_000):
        async with post(server) as at:
            await at.send("web", "x@example.org", "y@example.org")
            await trio.sleep(5000)
            assert len(server.tries) == 1
            assert "to x@example.org, ever: 550 no such user" in caplog.text


async def test_only_those_who_did_not_get_it_are_tried_again(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    server = Server(Delivery(later={"y@example.org": "451 greylisted"}), Delivery())
    with trio.fail_after(1000):
        async with post(server, tmp_path / "mail") as at:
            await at.send("web", "x@example.org", "y@example.org")
            assert '"to":["y@example.org"]' in next((tmp_path / "mail").iterdir()).read_text()
            await at.send("other")
            assert server.tags == ["web", "other"]
            await trio.sleep(DELAYS[0] + 1)
            assert server.tries[-1][1].to == ("y@example.org",)
            assert at.outbox.waiting == 0


async def test_after_five_days_a_letter_is_given_up(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    server = Server(DOWN)
    with trio.fail_after(10 * 86400):
        async with post(server, tmp_path) as at:
            await at.send()
            await trio.sleep(5 * 86400 - 1000)
            assert at.outbox.waiting == 1
            await trio.sleep(2000)
            assert at.outbox.waiting == 0
            assert "giving up a mail about 'web' to ops@example.org after 5 days" in caplog.text
            assert not os.listdir(tmp_path)


async def test_of_too_many_the_oldest_are_kept_and_the_rest_is_counted(
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    server = Server(DOWN, Delivery())
    with trio.fail_after(1000):
        async with post(server) as at:
            for tag in ("a", "b", "c", "d", "e"):
                await at.send(tag)
            assert (at.outbox.waiting, at.outbox.dropped) == (3, 2)
            await trio.sleep(DELAYS[0] + 1)
            assert set(server.tags) == {"a", "b", "c"}
            await at.send("f")
            assert caplog.text.count("new ones are dropped until there is room") == 1
            assert "2 mails were dropped: too many waited" in caplog.text


# --- by a program


async def test_the_mailer_gets_text_and_recipients_and_takes_none_from_the_headers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with post(None, settings=BY_PROGRAM) as at:
            await at.send("web", "a@example.org", "b@example.org")
            (run,) = at.runs
            assert (run.tag, run.name, run.program) == ("web", "mailer", "/usr/sbin/sendmail")
            assert run.argv == ("sendmail", "-oi", "a@example.org", "b@example.org")
            assert run.text is not None
            assert "To: a@example.org, b@example.org\n" in run.text
            at.outbox.command_begun("web#mailer1")
            await at.end("web#exec1", 1)
            assert at.outbox.waiting == 1
            await at.end("web#mailer1")
            assert at.outbox.waiting == 0


async def test_a_mailer_of_another_kind_keeps_all_its_words(
    autojump_clock: trio.testing.MockClock,
) -> None:
    own = MailSettings(program="/usr/local/bin/tell", command_line="tell -t 'the team'")
    with trio.fail_after(60):
        async with post(None, settings=own) as at:
            await at.send()
            assert at.runs[0].argv == ("tell", "-t", "the team", "ops@example.org")


async def test_what_is_called_sendmail_is_one_whatever_the_program_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    relay = MailSettings(program="/usr/sbin/exim4", command_line="sendmail -oi -t")
    with trio.fail_after(60):
        async with post(None, settings=relay) as at:
            await at.send()
            assert at.runs[0].argv == ("sendmail", "-oi", "ops@example.org")


async def test_one_mailer_runs_at_a_time_and_one_that_failed_is_run_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(1000):
        async with post(None, settings=BY_PROGRAM) as at:
            await at.send("a")
            await at.send("b")
            assert [run.tag for run in at.runs] == ["a"]
            await at.end("a#mailer1", 75)
            assert [run.tag for run in at.runs] == ["a", "b"]
            await at.end("b#mailer2")
            await trio.sleep(DELAYS[0] + 1)
            assert [run.tag for run in at.runs] == ["a", "b", "a"]
            await at.end("a#mailer3")
            assert at.outbox.waiting == 0


async def test_a_mailer_that_cannot_be_started_is_a_try_in_vain(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(60):
        async with post(None, settings=BY_PROGRAM) as at:
            await at.send()
            missing = Exit(stage="exec", errno=2, message="exec /usr/sbin/sendmail: No such file")
            at.outbox.command_ended("web#mailer1", missing)
            await trio.testing.wait_all_tasks_blocked()
            assert at.outbox.waiting == 1
            assert "/usr/sbin/sendmail: exec /usr/sbin/sendmail: No such file" in caplog.text


async def test_a_mailer_that_hangs_is_stopped_and_the_next_letter_goes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(1000):
        async with post(None, settings=BY_PROGRAM) as at:
            await at.send("a")
            at.outbox.command_begun("a#mailer1")
            await at.send("b")
            await trio.sleep(MAILER_LIMIT + 1)
            stop = at.posted[1]
            assert isinstance(stop, Order)
            assert (stop.action, stop.keys) == ("stop", ("a#mailer1",))
            at.outbox.command_ended("a#mailer1", Exit(signal=15, message="killed by SIGTERM"))
            await trio.testing.wait_all_tasks_blocked()
            assert [run.tag for run in at.runs] == ["a", "b"]


# --- the rest


async def test_a_server_that_never_answers_is_trouble_after_a_while(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Silent(Server):
        async def __call__(self, server: str, letter: Letter, host: str) -> Delivery:
            await super().__call__(server, letter, host)
            if len(self.tries) == 1:
                await trio.sleep_forever()
            return Delivery()

    server = Silent(Delivery())
    with trio.fail_after(1000):
        async with post(server) as at:
            await at.send()
            await trio.sleep(LIMIT + 1)
            assert "it takes longer than 600 s" in caplog.text
            await trio.sleep(DELAYS[0])
            assert at.outbox.waiting == 0


async def test_a_clock_that_jumps_loses_no_letter(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server = Server(DOWN, DOWN, Delivery())
    with trio.fail_after(1000):
        async with post(server) as at:
            await at.send()
            at.system.epoch += 10 * 86400
            await trio.sleep(DELAYS[0] + DELAYS[1] + 1)
            assert len(server.tries) == 3
            assert at.outbox.waiting == 0


async def test_a_command_line_with_a_lone_quotation_mark_still_has_words(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with post(None, settings=MailSettings(command_line="sendmail -F 'pies")) as at:
            await at.send()
            assert at.runs[0].argv == ("sendmail", "-F", "'pies", "ops@example.org")


async def test_new_settings_are_tried_at_once(autojump_clock: trio.testing.MockClock) -> None:
    server = Server(DOWN, Delivery())
    with trio.fail_after(60):
        async with post(server) as at:
            await at.send()
            at.outbox.retune(BY_SMTP)
            await trio.testing.wait_all_tasks_blocked()
            assert len(server.tries) == 1
            at.outbox.retune(replace(BY_SMTP, sender="pies@example.org"))
            await trio.testing.wait_all_tasks_blocked()
            assert len(server.tries) == 2


async def test_a_bug_in_a_try_costs_only_that_try(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Buggy(Server):
        async def __call__(self, server: str, letter: Letter, host: str) -> Delivery:
            await super().__call__(server, letter, host)
            if len(self.tries) == 1:
                raise ZeroDivisionError
            return Delivery()

    server = Buggy(Delivery())
    with trio.fail_after(1000):
        async with post(server) as at:
            await at.send()
            assert "this is a bug in piesd" in caplog.text
            await trio.sleep(DELAYS[0] + 1)
            assert at.outbox.waiting == 0


async def test_a_letter_that_cannot_be_written_costs_no_other(
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = mail.write_letter

    def buggy(about: Mail, *args: Any, **more: Any) -> Letter | None:
        if about.tag == "a":
            raise ZeroDivisionError
        return write(about, *args, **more)

    monkeypatch.setattr(module, "write_letter", buggy)
    server = Server(Delivery())
    with trio.fail_after(60):
        async with post(server) as at:
            await at.send("a")
            await at.send("b")
            assert server.tags == ["b"]
            assert at.outbox.waiting == 0
            assert "cannot write a mail" in caplog.text
