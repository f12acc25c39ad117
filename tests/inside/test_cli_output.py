"""How piesctl writes figures, tables and text from elsewhere, and which code it ends with."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from supervisor.cli import codes, listing
from supervisor.cli.codes import Code
from supervisor.cli.figures import clock, duration, size, word
from supervisor.cli.table import Cell, Column, plain, rich_table, show
from supervisor.cli.terminal import Screen, clean, clean_line, wants_colour
from supervisor.client.errors import (
    BadAddress,
    BadFile,
    ClientError,
    NotSettled,
    Refused,
    Unreachable,
)
from supervisor.client.stream import Message, messages


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.9, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (86399, "23h59m"),
        (86400, "1d00h"),
        (1_000_000, "11d13h"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, ""), (0, "0B"), (999, "999B"), (1000, "1.0K"), (50 * 2**20, "50M"), (2**60, "1024P")],
)
def test_a_size_is_short(count: int | None, text: str) -> None:
    assert size(count) == text


def test_what_is_no_time_is_shown_as_it_is() -> None:
    assert clock("yesterday") == "yesterday"
    assert clock(None) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (0, "0"),
        (["a", 1], "a 1"),
        ({"a": 1}, '{"a": 1}'),
        ([[]], "[[]]"),
    ],
)
def test_every_json_value_can_be_a_cell(value: object, text: str) -> None:
    assert word(value) == text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain ünïcode ✓", "plain ünïcode ✓"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x00\x7f", "\\x00\\x7f"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202egnp", "\\u202egnp"),
        ("\u2028", "\\u2028"),
        (b"\xff".decode("utf-8", "surrogateescape"), "\\xff"),
        ("\ud800", "\\ud800"),
    ],
    ids=ascii,
)
def test_what_could_steer_a_terminal_is_written_out(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned
    assert cleaned.encode()


def test_a_log_line_loses_its_colours_and_keeps_its_tabs() -> None:
    assert clean_line("\x1b[1;31mred\x1b[0m\tx\x1b[2J") == "red\tx\\x1b[2J"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "colour"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
    ids=str,
)
def test_colours_are_for_terminals_whose_users_want_them(
    environ: dict[str, str], colour: bool
) -> None:
    assert wants_colour(_Terminal(), environ) is colour
    assert wants_colour(io.StringIO(), environ) is False


COLUMNS = [Column("TAG"), Column("COUNT", right=True), Column("COMMAND")]
ROWS = [
    [Cell("web", "bold"), Cell("7"), Cell("httpd " + "-x " * 40)],
    [Cell("[red]db[/red]"), Cell(""), Cell("\x1b[31mred\x1b[0m")],
]


def test_a_plain_table_is_aligned_and_whole() -> None:
    lines = plain(COLUMNS, ROWS)
    assert lines[0] == "TAG            COUNT  COMMAND"
    assert lines[1] == "web                7  httpd " + "-x " * 39 + "-x"
    assert lines[2] == "[red]db[/red]      -  \\x1b[31mred\\x1b[0m"


@pytest.mark.parametrize(("columns", "cut"), [("20", False), ("80", True)])
def test_a_terminal_too_narrow_for_the_columns_gets_whole_lines(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    columns: str,
    cut: bool,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    screen = Screen()
    screen.terminal = True
    titles = ["TAG", "STATUS", "PID/URL", "UPTIME", "COMMAND"]
    row = [Cell("web"), Cell("running"), Cell("4711"), Cell("5s"), Cell("httpd " + "-x " * 40)]
    show(screen, [Column(title) for title in titles], [row])
    out = capsys.readouterr().out
    assert all(word in out for word in ("TAG", "web", "running", "4711"))
    assert ("…" in out) is cut


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_table_on_a_terminal_is_cut_to_its_width_at_the_last_column(width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, no_color=True, highlight=False)
    console.print(rich_table(COLUMNS, ROWS, width))
    text = out.getvalue()
    assert all(len(clean_line(line)) <= width for line in text.splitlines())
    assert "…" in text
    if width >= 40:
        assert len(text.splitlines()) == 3
        assert "[red]db[/red]" in text
        assert "\x1b[31m" not in text


def test_on_a_terminal_the_widest_column_breaks_its_lines_and_no_other() -> None:
    titles = ["TAG", "LEVELS", "STATUS", "PID/URL", "UPTIME", "RESTARTS", "WHY", "COMMAND"]
    url = "inet+tcp://127.0.0.1:8075"
    rows = [
        ["power-fails-wait", "2345", "listener", url, "5s", "0", "", "tr a-z A-Z"],
        ["flaky", "", "sleeping", "", "", "3", "it waits for many things " * 4, "echo what; exit"],
    ]
    out = io.StringIO()
    table = rich_table([Column(title) for title in titles], [list(map(Cell, r)) for r in rows], 110)
    Console(file=out, width=110).print(table)
    lines = out.getvalue().splitlines()
    assert url in lines[1]
    assert all(len(line) <= 110 for line in lines)
    assert out.getvalue().count("things") == 4


def test_a_table_without_rows_is_its_head() -> None:
    assert plain(COLUMNS, []) == ["TAG  COUNT  COMMAND"]
    out = io.StringIO()
    Console(file=out, width=40).print(rich_table(COLUMNS, [], 40))
    assert out.getvalue().split() == ["TAG", "COUNT", "COMMAND"]


@pytest.mark.parametrize(
    ("description", "text"),
    [
        ({"status": "running", "ready": True}, ""),
        ({"status": "running", "ready": False}, "not ready yet"),
        ({"status": "running", "peer": "10.0.0.1:5"}, "serves 10.0.0.1:5"),
        (
            {"status": "stopped", "blocked-by": {"message": "it was stopped by bo"}},
            "was stopped by bo",
        ),
        (
            {
                "blocked-by": {"message": "it sleeps"},
                "wakeup-time": 61,
                "last-exit": {"message": "x"},
            },
            "sleeps (1m01s left)",
        ),
        ({"status": "finished", "last-exit": {"message": "exited with 0"}}, "last: exited with 0"),
    ],
    ids=str,
)
def test_a_row_says_the_most_important_thing_about_a_component(
    description: listing.Description, text: str
) -> None:
    assert listing.notes(description) == text


def test_a_listener_of_several_sockets_says_how_many_more_there_are() -> None:
    several = {"tag": "x", "URL": "inet+tcp://*:1", "sockets": ["inet+tcp://*:1", "unix:///s"]}
    assert Cell("inet+tcp://*:1 and 1 more") in listing.row(several, usage=False)


def test_a_row_fits_the_columns_and_survives_a_daemon_that_says_little() -> None:
    for usage in (False, True):
        row = listing.row({"tag": "x"}, usage=usage)
        assert len(row) == len(listing.columns(usage=usage))


def _subclasses(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(_subclasses(each) for each in kind.__subclasses__()))


def test_every_error_of_the_client_has_an_exit_code() -> None:
    made = {
        BadAddress("x", "y"): Code.USAGE,
        BadFile("x"): Code.USAGE,
        Unreachable("not-running", "x"): Code.UNREACHABLE,
        NotSettled("x"): Code.NOT_SETTLED,
        Refused(400, "x", "y"): Code.REFUSED,
    }
    assert {type(error) for error in made} == _subclasses(ClientError) - {ClientError}
    for error, code in made.items():
        assert codes.for_error(error) is code
    assert codes.for_error(ValueError()) is Code.BUG


def test_the_exit_codes_are_those_that_scripts_know() -> None:
    assert {code.name: code.value for code in Code} == {
        "DONE": 0,
        "REFUSED": 1,
        "USAGE": 2,
        "UNREACHABLE": 3,
        "NOT_SETTLED": 4,
        "OUTDATED": 5,
        "BUG": 70,
        "UNWRITTEN": 74,
        "INTERRUPTED": 130,
        "UNREAD": 141,
    }


def test_server_sent_events_are_read_as_the_standard_says() -> None:
    stream = (
        b": comment\n\nid: 1\nevent: started\ndata: a\ndata:b\n\r\n"
        b"data\n\nretry: 5\nevent: x\n\ndata: cut"
    )
    assert list(messages(stream.splitlines(keepends=True))) == [
        Message("started", "a\nb", "1"),
        Message("message", "", "1"),
    ]
