"""docs/selectors.md is right: every selector in it is read, and every message is what is said."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.model.errors import BadSelector
from supervisor.selectors import Selector, parse_json, parse_text, to_json
from supervisor.selectors.jsonform import OPS
from supervisor.selectors.words import RESERVED

PAGE = (Path(__file__).parents[2] / "docs" / "selectors.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def rows(heading: str) -> list[list[str]]:
    """Return what stands in backquotes in the cells of the first table below *heading*."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = [line for line in section.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in table]


def commands() -> list[list[str]]:
    text = "".join(blocks("console")).replace("\\\n", " ")
    return [shlex.split(line.removeprefix("$ ")) for line in text.splitlines()]


def read(source: str) -> Selector:
    return parse_json(source) if source.startswith("{") else parse_text(source)


def ops(value: object) -> Iterator[str]:
    match value:
        case {"op": str(op), **rest}:
            yield op
            yield from ops(rest.get("arg"))
        case [*parts]:
            for part in parts:
                yield from ops(part)
        case bool():
            yield "all" if value else "none"
        case _:
            pass


def test_both_forms_in_the_table_say_the_same() -> None:
    for text, json, *_ in rows("What can be asked"):
        assert parse_text(text) == parse_json(json), text


def test_the_table_shows_every_op() -> None:
    table = rows("What can be asked")
    shown = {op for _, json, *_ in table for op in ops(to_json(parse_json(json)))}
    assert shown | {"tag"} >= set(OPS)
    assert {word for text, *_ in table for word in text.split()} >= RESERVED - {"group", "query"}


def test_every_example_in_text_is_read() -> None:
    lines = "".join(blocks("selector")).splitlines()
    assert len(lines) > 10
    for line in lines:
        parse_text(line)


def test_every_example_in_json_is_read() -> None:
    lines = "".join(blocks("json")).splitlines()
    assert len(lines) > 4
    for line in lines:
        parse_json(line)


def test_every_selector_on_a_command_line_is_read() -> None:
    seen = set()
    for name, *args in commands():
        seen.add(name)
        if name == "piesctl":
            parse_text(" ".join(args[1:]))
        else:
            parse_json(args[args.index("--data-urlencode") + 1].removeprefix("selector="))
    assert seen == {"piesctl", "curl"}


def test_every_refusal_reads_as_the_page_says() -> None:
    table = rows("When it is refused")
    assert len(table) > 4
    for selector, message in table:
        with pytest.raises(BadSelector) as refused:
            read(selector)
        assert str(refused.value) == message
