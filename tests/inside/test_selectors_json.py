"""The JSON form of selectors is read strictly, and a fault is named by its path."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from supervisor.model.errors import BadSelector
from supervisor.selectors import (
    MAX_BYTES,
    MAX_LEVELS,
    All,
    And,
    HasLabels,
    HasMode,
    HasTag,
    Nothing,
    Or,
    Selector,
    from_json,
    parse_json,
    to_json,
)
from supervisor.selectors.words import MODES


def refused(source: bytes | str) -> tuple[str, str]:
    with pytest.raises(BadSelector) as caught:
        parse_json(source)
    return caught.value.where, caught.value.what


def negations(levels: int) -> str:
    return '{"op":"not","arg":' * (levels - 1) + "true" + "}" * (levels - 1)


def conjunctions(levels: int) -> str:
    return '{"op":"and","arg":[' * (levels - 1) + "true" + "]}" * (levels - 1)


@pytest.mark.parametrize(
    ("source", "selector"),
    [
        ("true", All()),
        ("false", Nothing()),
        ("null", Nothing()),
        ('{"op":"all"}', All()),
        ('{"op":"none"}', Nothing()),
        (' {"arg" : "web", "op" : "component"}\n', HasTag("web")),
        ('{"op":"tag","arg":"web"}', HasTag("web")),
        ('{"op":"component","arg":""}', HasTag("")),
        (b'{"op":"component","arg":"gr\xc3\xbcn"}', HasTag("grün")),
        ('{"op":"and","arg":[]}', And(())),
        ('{"op":"or","arg":[null]}', Or((Nothing(),))),
        ('{"op":"label","arg":{"b":"1","a":"2"}}', HasLabels((("a", "2"), ("b", "1")))),
    ],
)
def test_what_is_right_is_read(source: bytes | str, selector: Selector) -> None:
    assert parse_json(source) == selector


@pytest.mark.parametrize(
    ("source", "where", "what"),
    [
        ("", "column 1", "not JSON"),
        ("tru", "column 1", "not JSON"),
        ("true true", "column 6", "not JSON: Extra data"),
        ('{"op":"all"', "column 12", "not JSON"),
        (b'{"op":"gr\xc3\xbc\xff"}', "column 11", "not UTF-8"),
        ('"\ud800"', "column 2", "not UTF-8"),
        ("1", "$", "expected a selector (true, false, null or an object), found a number"),
        ("0", "$", "found a number"),
        ("NaN", "$", "found a number"),
        ("9" * 5000, "$", "found a number"),
        ('"web"', "$", 'found the string "web"'),
        ("[true]", "$", "found an array"),
        ("{}", "$", 'the member "op" is missing'),
        ('{"op":null}', "$.op", "expected a string, found null"),
        ('{"op":"tga","arg":"web"}', "$.op", 'unknown op "tga"; did you mean "tag"?'),
        ('{"op":"AND","arg":[]}', "$.op", "known: all, none, active,"),
        ('{"op":"group","arg":"web"}', "$.op", '"group" is not supported yet'),
        ('{"op":"query","arg":{}}', "$.op", '"query" is not supported yet'),
        ('{"op":"component"}', "$", '"component" needs the member "arg"'),
        ('{"op":"component","arg":1}', "$.arg", "expected a string, found a number"),
        ('{"op":"component","arg":["a"]}', "$.arg", "expected a string, found an array"),
        ('{"op":"component","arg":"\\ud800"}', "$.arg", "half a character"),
        ('{"op":"all","arg":null}', "$.arg", '"all" takes no argument'),
        ('{"op":"active","arg":true}', "$.arg", '"active" takes no argument'),
        ('{"op":"tag","agr":"web"}', "$.agr", 'unknown member "agr"; did you mean "arg"?'),
        ('{"op":"tag","arg":"web","a b":1}', '$["a b"]', 'unknown member "a b"'),
        ('{"op":"tag","op":"tag","arg":"web"}', "$.op", "there twice"),
        ('{"op":"tag","arg":"web","arg":"web"}', "$.arg", "there twice"),
        ('{"op":"type","arg":"service"}', "$.arg", "known: component, command"),
        ('{"op":"status","arg":"runing"}', "$.arg", 'did you mean "running"? known: stopped'),
        ('{"op":"mode","arg":"pass_fd"}', "$.arg", 'did you mean "pass-fd"? known: respawn, exec'),
        ('{"op":"not","arg":5}', "$.arg", "found a number"),
        ('{"op":"not","arg":[true]}', "$.arg", "found an array"),
        ('{"op":"and","arg":true}', "$.arg", "expected an array of selectors, found true"),
        ('{"op":"or","arg":[true,{"op":"x"}]}', "$.arg[1].op", 'unknown op "x"'),
        ('{"op":"and","arg":[{"op":"not","arg":7}]}', "$.arg[0].arg", "found a number"),
        ('{"op":"label","arg":"a=b"}', "$.arg", "expected an object of labels"),
        ('{"op":"label","arg":{}}', "$.arg", "expected at least one label"),
        ('{"op":"label","arg":{"a":1}}', "$.arg.a", "expected a string, found a number"),
        ('{"op":"label","arg":{"a b":null}}', '$.arg["a b"]', "expected a string, found null"),
        ('{"op":"label","arg":{"a":"1","a":"2"}}', "$.arg.a", "there twice"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(
    source: bytes | str, where: str, what: str
) -> None:
    assert refused(source)[0] == where
    assert what in refused(source)[1]


def test_decoded_json_is_read_like_its_text() -> None:
    source = '{"op":"and","arg":[true,{"op":"label","arg":{"tier":"web"}}]}'
    assert from_json(json.loads(source)) == parse_json(source)
    with pytest.raises(BadSelector) as caught:
        from_json({"op": "not", "arg": {3: 4}})
    assert caught.value.where == "$.arg"


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_pies_is_known(mode: str) -> None:
    assert parse_json(json.dumps({"op": "mode", "arg": mode})) == HasMode(mode)


def test_what_pies_reads_is_written_as_pies_writes_it() -> None:
    assert to_json(parse_json('{"op":"or","arg":[{"op":"all"},{"op":"none"},null]}')) == {
        "op": "or",
        "arg": [True, False, False],
    }


@pytest.mark.parametrize("nested", [negations, conjunctions])
def test_64_levels_are_read(nested: Callable[[int], str]) -> None:
    parse_json(nested(MAX_LEVELS))


@pytest.mark.parametrize(
    ("source", "where"),
    [(negations(65), "$" + ".arg" * 64), (conjunctions(65), "$" + ".arg[0]" * 64)],
    ids=["negations", "conjunctions"],
)
def test_65_levels_are_refused_where_the_65th_begins(source: str, where: str) -> None:
    assert refused(source) == (where, "more than 64 levels")
    with pytest.raises(BadSelector):
        from_json(json.loads(source))


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"op":"not","arg":'])
def test_thousands_of_levels_are_refused_with_a_position(opening: str) -> None:
    where, what = refused(opening * (MAX_BYTES // len(opening)))
    assert where == f"column {256 * len(opening) + 1}"
    assert what == "more than 64 levels"


def test_brackets_in_strings_are_no_levels() -> None:
    tag = '[{"\\' * 300
    assert parse_json(json.dumps({"op": "tag", "arg": tag})) == HasTag(tag)


def test_64_kib_are_read_and_a_byte_more_is_refused() -> None:
    fitting = '{"op":"tag","arg":"%s"}' % ("ü" * ((MAX_BYTES - 21) // 2))
    fitting += " " * (MAX_BYTES - len(fitting.encode()))
    parse_json(fitting)
    assert refused(fitting + " ") == ("$", "longer than 65536 bytes")


def test_a_message_stays_short_whatever_the_selector_holds() -> None:
    long = "x" * 60_000
    for source in (
        {"op": long},
        {"op": "mode", "arg": long},
        {"op": "tag", "arg": "web", long: 1},
        {"op": "label", "arg": {long: 1}},
        long,
    ):
        where, what = refused(json.dumps(source))
        assert len(where) + len(what) < 400
