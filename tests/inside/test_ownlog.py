"""piesd's own log: one line a record, in the form asked for, whatever is logged."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from supervisor.runtime.ownlog import Format, OwnLog


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
    handler.write = lines.append
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
    handler.write = lines.append
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
