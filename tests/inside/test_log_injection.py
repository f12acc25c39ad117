"""What others put into our own log stays a part of one line, and steers no terminal."""

from __future__ import annotations

import json
import logging
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.model.plaintext import shown, told_url
from supervisor.model.settings import SyslogSettings
from supervisor.runtime.journal import entries
from supervisor.runtime.ownlog import Format, OwnLine, OwnLog, OwnPlace
from supervisor.runtime.syslog import packets

FORGED = "web\n12:00:00 piesd: shutting down"
HOSTILE = [
    FORGED,
    "web\rpiesd: all is well",
    "\x1b]0;owned\x07\x1b[2J",
    "\x9b31mred\x9c",
    "\u202egnp.exe\u2069\u2066\u061c\u200f",
    "a\u2028b\u2029c\x85d\x0be\x0cf",
    "\x7f\x08\x08\x00",
    "\udcff\udc9b",
    'x" level=error event="y',
    '"}\n{"event":"forged"}',
]
FORMS: list[Format] = ["text", "logfmt", "json"]


def render(form: Format, text: str, kind: Any = "stderr", **more: Any) -> OwnLine:
    lines: list[OwnLine] = []
    handler = OwnLog(form, terminal=False, place=OwnPlace(kind, SyslogSettings(tag="piesd")))
    handler.write = lines.append
    record = logging.LogRecord("x", logging.WARNING, "", 1, "%s: told", (text,), None)
    record.__dict__.update(more)
    handler.emit(record)
    (line,) = lines
    return line


def is_harmless(line: bytes) -> None:
    """Check one line of UTF-8 that nothing in it steers a terminal, or ends it for anybody."""
    text = line.decode()
    assert text.endswith("\n")
    for character in text[:-1]:
        steers = unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs")
        steers |= unicodedata.bidirectional(character) in (
            *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"),
        )
        assert not steers, f"U+{ord(character):04X} in {text!r}"
    assert len(text[:-1].splitlines()) <= 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_stays_one_line_on_a_terminal(form: Format, text: str) -> None:
    is_harmless(render(form, text).text)


@given(st.text(st.characters(exclude_categories=())), st.sampled_from(FORMS))
def test_whatever_the_text(text: str, form: Format) -> None:
    is_harmless(render(form, text, component=text, kind=text).text)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", HOSTILE)
def test_a_collector_is_told_one_message_without_anything_in_it(form: Format, text: str) -> None:
    line = render(form, text, "syslog", component="web")
    is_harmless(line.message)
    origin = OwnPlace("syslog", SyslogSettings(tag="piesd")).origin(line, 1)
    assert len(list(packets(origin, 0.0, line.message[:-1]))) == 1
    (entry,) = entries(origin, 0.0, line.message[:-1])
    assert [field.partition(b"=")[0] for field in entry.splitlines()] == [
        b"MESSAGE",
        b"PRIORITY",
        b"SYSLOG_IDENTIFIER",
        b"PIESD_COMPONENT",
        b"SYSLOG_PID",
    ]


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\udcff" not in text])
def test_a_program_that_reads_json_gets_the_text_itself(text: str) -> None:
    assert json.loads(render("json", text).text)["event"] == f"{text}: told"


@pytest.mark.parametrize("form", FORMS)
def test_no_value_of_logfmt_becomes_another_field(form: Format) -> None:
    line = render("logfmt", 'x" level=error event="y').text.decode()
    assert 'event="x\\" level=error event=\\"y: told"' in line


@pytest.mark.parametrize("kind", ["stderr", "syslog"])
def test_the_text_of_an_exception_forges_no_line_of_ours(kind: Any) -> None:
    try:
        raise ValueError(FORGED + "\x1b[2J\u202e")
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    line = render("text", "x", kind, exc_info=info)
    written = line.text if kind == "stderr" else line.message
    first, *others = written.decode().split("\n")
    assert first.endswith("x: told")
    assert all(each.startswith("  ") for each in others if each)
    for each in others[:-1]:
        is_harmless(each.encode() + b"\n")


def test_what_is_shown_is_written_as_people_know_it() -> None:
    assert shown("\x1b[31m\tä\u202e\n\udcff\x9b") == "\\x1b[31m\\tä\\u202e\\n\\xff\\x9b"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:80/a/b", "http://127.0.0.1:80/a/b"),
        ("http://me:pass@host", "http://host"),
        ("https://me:p@ss@host:1/x@y?token=z@w", "https://host:1/x@y?…"),
        ("http://host?a=b/c@d", "http://host?…"),
        ("http://[::1]:8/?", "http://[::1]:8/?…"),
    ],
)
def test_of_a_url_no_password_is_told(url: str, told: str) -> None:
    assert told_url(url) == told
