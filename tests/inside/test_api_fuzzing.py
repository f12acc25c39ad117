"""Whatever anybody asks: an answer of the interface comes, none of them a bug, and nothing hangs.

`FUZZ_SECONDS=600 pytest -s tests/inside/test_api_fuzzing.py` goes on for ten minutes.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
import trio
from hypothesis import strategies as st
from trio.testing import MockClock

from asked import ROOT, Answer, Desk, ask, desk
from fuzzing import fuzz
from supervisor.api.peer import Peer
from supervisor.control.identity import Origin
from supervisor.model.component import Component, Mode

COMPONENTS = (
    Component(tag="db", argv=("db",)),
    Component(tag="web:1", argv=("web",), prerequisites=("db",), labels={"tier": "ä"}),
    Component(tag="job", argv=("job",), mode=Mode.ONCE),
)
REFUSALS = (400, 401, 403, 404, 405, 413, 431)
LONGEST = 4000.0
"""Virtual seconds for an answer; nobody may wait for longer than an hour."""

NASTY = (
    *("", "0", "-1", "1", "true", "null", "[]", "{}", '""', "db", "web:1", "job", "nobody"),
    *("²", "٣", "1e400", "NaN", "Infinity", "-0", "9" * 30, "9" * 5000, "0x10", "1_0", " 1 "),
    *("%", "%00", "%zz", "%ff", "..", "../../etc/passwd", "a/b", "//", "\\", "\0", "\x7f"),
    *("\u202e", "\ufeff", "\U0001f600", "'", "' OR 1=1", "<script>", "${x}", "{{7*7}}"),
    *('{"op":"all"}', '{"op":"component","arg":"db"}', '{"op":"component"}', '{"op":[]}'),
    *('{"op":"query","arg":{"a":{"$gt":{}}}}', '{"op":"query","arg":{"$in":[1]}}'),
    *('{"op":"glob","arg":"[["}', '{"op":"label","arg":{"tier":1}}', "[" * 500, '{"a":' * 500),
    *("not " * 200, "http://[", "http://[::1", "http://a:99999", "null", "//", "localhost:x"),
    *("[::1]", "[::ffff:127.0.0.1]", "127.1", "localhost.", "a" * 3000, "Basic", "Basic !!!"),
    *("Bearer ", "Basic OjpE", "Basic /w==", 'W/"x"', '"', "same-origin", "cross-site"),
    *("application/json", "text/plain", "multipart/form-data; boundary=", "TERM", "0.1", "+"),
)
VALUES = st.sampled_from(NASTY) | st.text(max_size=30)
PARAMETERS = (
    *("fields", "exclude-fields", "query", "sort", "max", "offset", "pretty", "wait", "dry-run"),
    *("usage", "tail", "stream", "follow", "since", "selector", "action", "after", "x", ""),
)
HEADERS = (
    *("host", "origin", "sec-fetch-site", "sec-fetch-mode", "content-type", "authorization"),
    *("if-match", "last-event-id", "accept", "accept-encoding", "range", "cookie", "expect"),
    *("x-http-method-override", "content-encoding", "forwarded", "x-forwarded-for"),
)
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "GET2", "-")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | VALUES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["op", "arg", "reload", "keep", "file", "syntax", "action"]) | VALUES,
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
SELECTORS = st.recursive(
    st.sampled_from([True, False, None, {"op": "all"}, {"op": "active"}])
    | st.builds(
        lambda op, arg: {"op": op, "arg": arg},
        st.sampled_from(
            [
                "component",
                "type",
                "mode",
                "status",
                "glob",
                "label",
                "group",
                "query",
                "dependent-of",
            ]
        ),
        JSON,
    ),
    lambda inner: st.builds(
        lambda op, arg: {"op": op, "arg": arg},
        st.sampled_from(["and", "or", "not"]),
        inner | st.lists(inner, max_size=3),
    ),
    max_leaves=5,
)


class Asked(NamedTuple):
    method: str
    target: str
    body: bytes
    headers: dict[str, str]
    stranger: bool


def text_of(value: Any) -> str:
    return json.dumps(value)


def in_a_header(text: str) -> str:
    """Return what the server lets through of a header: no controls, Latin-1 for the rest."""
    return re.sub(r"[^\x20-\x7e\xa0-\xff]", "?", text).strip()


def paths(rules: list[str]) -> st.SearchStrategy[str]:
    """Return paths of our routes, with anything for what varies in them, and others."""

    def filled(rule: str, values: list[str]) -> str:
        left = iter(values)
        return re.sub("<[^>]*>", lambda _: quote(next(left), safe=""), rule)

    values = VALUES | SELECTORS.map(text_of)
    known = st.builds(filled, st.sampled_from(rules), st.lists(values, min_size=3, max_size=3))
    return known | VALUES.map(lambda text: "/" + quote(text, safe="/%"))


def requests(rules: list[str]) -> st.SearchStrategy[Asked]:
    values = VALUES | SELECTORS.map(text_of)
    pair = st.tuples(st.sampled_from(PARAMETERS), values)
    query = st.lists(pair, max_size=3).map(
        lambda pairs: "&".join(f"{name}={quote(value, safe='{}[]:')}" for name, value in pairs)
    ) | values.map(lambda text: quote(text, safe="=&{}[]:,%"))
    body = JSON.map(text_of) | SELECTORS.map(text_of)
    clean = values.map(in_a_header)
    return st.builds(
        lambda method, path, asked, data, headers, stranger: Asked(
            method, f"{path}?{asked}" if asked else path, data, headers, stranger
        ),
        st.sampled_from(METHODS) | st.sampled_from(("GET", "PUT", "POST", "DELETE")),
        paths(rules),
        st.just("") | query,
        st.just(b"") | body.map(str.encode) | st.binary(max_size=40),
        st.dictionaries(st.sampled_from(HEADERS), clean, max_size=3),
        st.booleans(),
    )


async def answered(at: Desk, one: Asked) -> Answer:
    """Return what has come after so long; a stream goes on."""
    answer = Answer()
    peer: Any = Peer(Origin(address="127.0.0.1", port=1), "127.0.0.1") if one.stranger else ROOT
    headers = {name: value.encode().decode("latin-1") for name, value in one.headers.items()}
    with trio.move_on_after(LONGEST):
        await ask(
            at.app, one.method, one.target, one.body, peer=peer, headers=headers, answer=answer
        )
    return answer


def test_no_request_is_answered_with_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def rules() -> list[str]:
        async with desk(COMPONENTS) as at:
            return sorted({rule.rule for rule in at.app.url_map.iter_rules()})

    async def all_of(asked: list[Asked]) -> None:
        async with desk(COMPONENTS) as at:
            for one in asked:
                answer = await answered(at, one)
                assert answer.status, f"no answer: {one}"
                assert answer.status != 500, one
                if one.stranger:
                    assert answer.status in (400, 401, 403, 404, 405, 413, 431), (
                        answer.status,
                        one,
                    )
                assert b"Traceback" not in answer.body
                if "json" in answer.headers.get("content-type", "") and answer.body:
                    json.loads(answer.body)

    def check(asked: list[Asked]) -> None:
        caplog.clear()
        trio.run(all_of, asked, clock=MockClock(autojump_threshold=0))
        assert "a bug" not in caplog.text, caplog.text

    known = trio.run(rules, clock=MockClock(autojump_threshold=0))
    fuzz("the control interface", st.lists(requests(known), min_size=1, max_size=12), check)


@pytest.mark.parametrize(
    ("name", "method", "target", "stranger"),
    [
        ("host", "GET", "/v1/diag/about", True),
        ("origin", "PUT", "/programs?dry-run=true", True),
        ("authorization", "GET", "/programs", True),
        ("content-type", "POST", "/programs?dry-run=true", False),
        ("if-match", "PUT", "/programs", False),
        ("last-event-id", "GET", "/v1/events", False),
    ],
)
async def test_nothing_in_a_header_is_a_bug(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    name: str,
    method: str,
    target: str,
    stranger: bool,
) -> None:
    async with desk(COMPONENTS) as at:
        for value in sorted({in_a_header(text) for text in NASTY}):
            one = Asked(method, target, b"", {name: value}, stranger)
            answer = await answered(at, one)
            assert answer.status not in (0, 500), one
            assert not stranger or answer.status in REFUSALS, one
        assert "a bug" not in caplog.text
