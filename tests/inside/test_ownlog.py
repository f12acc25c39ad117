"""piesd's own log: one line a record, in the form asked for, whatever is logged."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from supervisor.model.settings import DaemonSettings, SyslogSettings
from supervisor.runtime.messages import PRIORITIES
from supervisor.runtime.ownlog import Format, OwnLine, OwnLog, OwnPlace, own_place


@pytest.fixture
def lines() -> list[bytes]:
    return []


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("ownlog-test")
    logger.propagate = False
    yield logger
    logger.handlers.clear()


def log_to(
    lines: list[bytes], logger: logging.Logger, form: Format, *, terminal: bool = False
) -> None:
    handler = OwnLog(form, terminal=terminal)
    handler.write = lambda line: lines.append(line.text)
    logger.addHandler(handler)


def test_json_is_one_object_a_line_with_component_kind_and_utc(
    lines: list[bytes], logger: logging.Logger
) -> None:
    log_to(lines, logger, "json")
    logger.error("%r died\nbadly", "web", extra={"component": "web", "kind": "exited"})
    assert lines[0].endswith(b"}\n")
    record = json.loads(lines[0])
    assert record["event"] == "'web' died\nbadly"
    assert (record["level"], record["component"], record["kind"]) == ("error", "web", "exited")
    assert record["timestamp"].endswith("Z")


def test_logfmt_keeps_a_record_on_one_line_and_says_the_time_zone(
    lines: list[bytes], logger: logging.Logger
) -> None:
    log_to(lines, logger, "auto")
    logger.warning("two\nlines")
    assert lines[0].count(b"\n") == 1
    assert b'level=warning event="two\\nlines"' in lines[0]
    assert b"Z level" in lines[0]


def test_text_is_for_a_terminal_and_shows_control_characters(
    lines: list[bytes], logger: logging.Logger
) -> None:
    log_to(lines, logger, "auto", terminal=True)
    logger.warning("a program named \x1b[31mred\nnext")
    assert lines[0].endswith(b" piesd: warning: a program named \\x1b[31mred\\nnext\n")


def test_what_cannot_be_rendered_is_said_and_not_raised(lines: list[bytes]) -> None:
    handler = OwnLog("logfmt", terminal=False)
    handler.write = lambda line: lines.append(line.text)
    handler.emit(logging.LogRecord("ownlog-test", 30, "", 1, "%d", ("no number",), None))
    assert b"cannot render a log record of ownlog-test: '%d'" in lines[0]


def test_a_failure_of_ours_carries_its_traceback(
    lines: list[bytes], logger: logging.Logger
) -> None:
    log_to(lines, logger, "json")
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logger.exception("a bug")
    assert "ZeroDivisionError" in json.loads(lines[0])["exception"]


# --- for syslog and the journal

TO_SYSLOG = OwnPlace("syslog", SyslogSettings(facility="local5", tag="pies"), "main")


def collected(form: Format, level: int, text: str, **more: object) -> OwnLine:
    lines: list[OwnLine] = []
    handler = OwnLog(form, terminal=False, place=TO_SYSLOG)
    handler.write = lines.append
    args = (None,) if "%" in text else ()
    record = logging.LogRecord("ownlog-test", level, "", 1, text, args, None)
    record.__dict__.update(more)
    handler.emit(record)
    return lines[0]


def test_a_collector_gets_the_text_alone_and_standard_error_the_whole_line() -> None:
    line = collected("auto", logging.WARNING, "web\nfell asleep", component="web")
    assert line.message == b"web\\nfell asleep\n"
    assert line.text.endswith(b'Z level=warning event="web\\nfell asleep" component=web\n')
    assert line.component == "web"


def test_json_that_was_asked_for_is_json_for_a_collector_too() -> None:
    line = collected("json", logging.INFO, "hello")
    assert json.loads(line.message)["event"] == "hello"


@pytest.mark.parametrize(
    ("level", "word"),
    [(10, "debug"), (20, "info"), (25, "info"), (30, "warning"), (40, "err"), (50, "crit")],
)
def test_each_level_has_its_priority(level: int, word: str) -> None:
    assert collected("auto", level, "hello").priority == PRIORITIES[word]


def test_what_cannot_be_rendered_reaches_a_collector_too() -> None:
    assert (
        collected("auto", 20, "%d %d").message
        == b"cannot render a log record of ownlog-test: '%d %d'\n"
    )


def test_our_tag_is_the_configured_one_and_else_the_name_of_the_instance() -> None:
    line = OwnLine(b"", b"hello\n")
    assert TO_SYSLOG.origin(line, 9)[:1] == ("pies",)
    nameless = TO_SYSLOG._replace(syslog=SyslogSettings())
    assert nameless.origin(line, 9) == ("main", "", "", 3, 6, 9)


def test_standard_error_is_asked_for_before_syslog_and_that_before_the_file() -> None:
    settings = DaemonSettings(
        runtime_directory="/r", state_directory="/s", log_directory="/l", log="journal"
    )
    assert own_place(settings).kind == "journal"
    assert own_place(settings, syslog=True).kind == "syslog"
    assert own_place(settings, syslog=True, stderr=True).kind == "stderr"
