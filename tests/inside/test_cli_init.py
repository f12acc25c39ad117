"""The command lines of an entrypoint and of telinit: what is meant, and what is refused."""

from __future__ import annotations

import signal

import pytest

from supervisor.cli import legacytelinit, wrapping


@pytest.mark.parametrize(
    ("words", "pid", "meant"),
    [
        ("--init -- sh", 5, True),
        ("--subreaper --group -- sh", 5, True),
        ("-- sh", 1, True),
        ("-- sh", 5, False),
        ("-c x --init", 1, False),
        ("-c x -- y", 1, False),
        ("sh -- --init", 5, False),
        ("", 1, False),
    ],
)
def test_what_is_an_entrypoint(words: str, pid: int, meant: bool) -> None:
    assert wrapping.wraps(words.split(), pid) is meant


def test_an_entrypoint_is_read() -> None:
    words = "--init -g --rewrite 15:SIGQUIT --rewrite hup:0 --shutdown-timeout 0.5 -- sh -c --init"
    given = wrapping.parse(words.split())
    assert given.words == ("sh", "-c", "--init")
    assert given.group
    assert given.rewrite == {signal.SIGTERM: signal.SIGQUIT, signal.SIGHUP: 0}
    assert given.shutdown_timeout == 0.5


@pytest.mark.parametrize(
    ("words", "command", "pid", "meant"),
    [
        ("-T 3", "piesd", 5, True),
        ("--telinit q", "piesd", 5, True),
        ("-t", "piesd", 5, False),
        ("6", "/sbin/init", 5, True),
        ("6", "telinit", 5, True),
        ("6", "/sbin/init", 1, False),
        ("", "piesd", 5, False),
    ],
)
def test_what_is_for_telinit(words: str, command: str, pid: int, meant: bool) -> None:
    assert legacytelinit.is_meant(words.split(), command, pid) is meant


def test_telinit_is_read() -> None:
    given = legacytelinit.parse(["-T", "-t", "9", "-e", "A=1", "-e", "B", "3"])
    assert given == ("3", 9, ("A=1", "B"), None)
    assert legacytelinit.parse(["0"]).level == "0"
    assert legacytelinit.parse(["-T", "--initctl", "/x", "Q"]) == ("Q", 5, (), "/x")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("-T", "which runlevel?"),
        ("-T 10", "no such runlevel: 10"),
        ("-T x", "no such runlevel: x"),
        ("-T -t soon 3", "soon"),
        ("-T -t -1 3", "-t needs a number of seconds"),
        ("-T -e =x 3", "-e needs the name of a variable"),
    ],
)
def test_what_telinit_cannot_mean_is_refused(
    words: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        legacytelinit.parse(words.split())
    assert complaint in capsys.readouterr().err
