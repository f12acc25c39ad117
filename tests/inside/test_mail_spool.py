"""Letters on disk: what is not sent is there, whatever happens to piesd and to the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from posting import DOWN, Server, SlowServer, post
from supervisor.runtime.outbox import DELAYS, FAREWELL, LIMIT, Delivery
from supervisor.runtime.spool import AGAIN, _write


async def test_what_waits_is_on_disk_for_us_alone_and_goes_with_the_letter(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    spool = tmp_path / "state" / "mail"
    server = Server(DOWN, Delivery())
    with trio.fail_after(1000):
        async with post(server, spool) as at:
            assert not spool.exists()
            await at.send()
            (file,) = spool.iterdir()
            assert (file.stat().st_mode & 0o777, spool.stat().st_mode & 0o777) == (0o600, 0o700)
            await trio.sleep(DELAYS[0] + 1)
            assert not list(spool.iterdir())


async def test_a_new_piesd_sends_what_the_old_one_could_not(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    with trio.fail_after(1000):
        async with post(Server(DOWN), tmp_path) as at:
            await at.send("first")
            await at.send("second")
            await at.outbox.aclose(1)
        server = Server(Delivery())
        async with post(server, tmp_path) as at:
            assert server.tags == ["first", "second"]
        assert not list(tmp_path.iterdir())


async def test_a_file_that_is_no_letter_is_told_and_left_alone(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "half.json.new").write_text("{")
    (tmp_path / "README").write_text("mine")
    with trio.fail_after(60):
        async with post(Server(Delivery()), tmp_path) as at:
            await at.send()
            assert at.outbox.waiting == 0
    assert sorted(os.listdir(tmp_path)) == ["README", "broken.json"]
    assert "cannot read the mail in" in caplog.text


async def test_a_disk_that_is_full_costs_no_letter_and_is_told_once(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mail").write_text("in the way")
    server = Server(DOWN, Delivery())
    with trio.fail_after(1000):
        async with post(server, tmp_path / "mail") as at:
            await at.send("a")
            await at.send("b")
            assert caplog.text.count("cannot keep mail on disk") == 1
            await trio.sleep(DELAYS[0] + 1)
            assert at.outbox.waiting == 0


async def test_a_disk_that_has_room_again_gets_what_it_could_not_take(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "mail").write_text("in the way")
    with trio.fail_after(1000):
        async with post(Server(DOWN), tmp_path / "mail") as at:
            await at.send("a")
            await at.send("b")
            (tmp_path / "mail").unlink()
            await trio.sleep(AGAIN + 1)
            assert len(os.listdir(tmp_path / "mail")) == 2
            assert "mail can be kept on disk again" in caplog.text


async def test_the_end_tries_once_more_to_keep_letters_and_tells_which_are_lost(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mail").write_text("in the way")
    with trio.fail_after(1000):
        async with post(Server(DOWN), tmp_path / "mail") as at:
            await at.send("a")
            await at.outbox.aclose(10)
            assert "1 mails are lost" in caplog.text
            caplog.clear()
            (tmp_path / "mail").unlink()
            await at.outbox.aclose(10)
            assert len(os.listdir(tmp_path / "mail")) == 1
            assert not caplog.text


async def test_nothing_in_the_spool_keeps_the_letters_from_being_sent_once(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mail = tmp_path / "mail"
    async with post(Server(DOWN), mail) as at:
        await at.send("a")
    (letter,) = mail.iterdir()
    letter.rename(mail / "renamed.json")
    os.mkfifo(mail / "fifo.json")
    (mail / "link.json").symlink_to(tmp_path / "elsewhere")
    (mail / "directory.json").mkdir()
    server = Server(Delivery())
    with trio.fail_after(1000):
        async with post(server, mail):
            assert server.tags == ["a"]
    assert sorted(os.listdir(mail)) == ["directory.json", "fifo.json", "link.json"]
    assert caplog.text.count("it stays there") == 3


@pytest.mark.parametrize(("jump", "kept"), [(4 * 86400, True), (6 * 86400, False), (1e9, True)])
async def test_what_an_old_piesd_left_is_tried_once_and_given_up_by_its_age(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, jump: float, kept: bool
) -> None:
    with trio.fail_after(1000):
        async with post(Server(DOWN), tmp_path) as at:
            await at.send()
        server = Server(DOWN)
        async with post(server, tmp_path, jump=jump) as at:
            assert len(server.tries) == 1
            assert at.outbox.waiting == kept


async def test_the_end_waits_until_everything_is_on_disk(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    with trio.fail_after(60):
        async with post(Server(DOWN), tmp_path) as at:
            gate = trio.Event()

            async def slow(job: Callable[..., Any], *args: Any, **more: Any) -> Any:
                await gate.wait()
                return job(*args, **more)

            at.system.blocking = slow  # type: ignore[method-assign]  # a busy disk
            await at.send()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(at.outbox.aclose, 10)
                await trio.testing.wait_all_tasks_blocked()
                assert not os.listdir(tmp_path)
                gate.set()
            assert len(os.listdir(tmp_path)) == 1


async def test_the_end_waits_for_what_a_server_is_about_to_take(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    server = SlowServer(FAREWELL / 3)
    with trio.fail_after(60):
        async with post(server, tmp_path) as at:
            await at.send("a")
            await at.send("b")
            await at.outbox.aclose(10)
            assert server.tags == ["a", "b"]
            assert not os.listdir(tmp_path)


async def test_a_server_that_keeps_silent_delays_the_end_by_a_moment_only(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    with trio.fail_after(60):
        async with post(SlowServer(LIMIT), tmp_path) as at:
            await at.send("a")
            begun = trio.current_time()
            await at.outbox.aclose(10)
            assert trio.current_time() - begun == pytest.approx(FAREWELL)
            assert len(os.listdir(tmp_path)) == 1
        async with post(Server(DOWN), tmp_path) as at:
            begun = trio.current_time()
            await at.outbox.aclose(10)
            assert trio.current_time() == begun


async def test_its_directories_are_for_us_alone_whatever_the_umask(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    spool = tmp_path / "var" / "state" / "mail"
    before = os.umask(0)
    try:
        with trio.fail_after(1000):
            async with post(Server(DOWN), spool) as at:
                await at.send()
                for made in (spool, spool.parent, spool.parent.parent):
                    assert made.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


def test_no_letter_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "a.json.new").symlink_to(tmp_path / "precious")
    _write(str(tmp_path / "a.json"), b"letter")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "a.json").read_bytes() == b"letter"


async def test_a_directory_in_which_others_could_put_letters_is_not_used(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o777)
    server = Server(Delivery())
    with trio.fail_after(60):
        async with post(server, tmp_path) as at:
            await at.send()
    assert not list(tmp_path.iterdir())
    assert "everybody may write to it" in caplog.text
    assert "state-directory" in caplog.text
