"""docs/pies-compatibility.md is true: the page, GNU pies and our code have the same names.

What stands in the tables is given to the reader where it can be, and otherwise compared with what
the code knows. Source: pies.md sections 1 to 8, by way of `tests/compatibility_page.py`.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, cast

import click
import pytest
from msgspec.structs import fields

from compatibility_page import IN_WORDS, OURS, OUTCOMES, PAGE, PIES, ROWS, Row, keyword, names, pies
from pies_text import plan_of
from supervisor import obedience
from supervisor.api.app import create_app
from supervisor.cli import legacytelinit, piesd
from supervisor.cli.piesctl import COMMAND
from supervisor.cli.pieslist import flags
from supervisor.config import inittab, keys, later
from supervisor.config.exit_codes import SYSEXITS
from supervisor.config.limits import LETTERS
from supervisor.config.outputs import FACILITIES, PRIORITIES
from supervisor.config.pies import words
from supervisor.config.pies.faults import Faults
from supervisor.config.pies.lexer import Lexer
from supervisor.config.piesctl import Contact, read_contacts
from supervisor.config.sources import known_syntaxes
from supervisor.model.component import Mode
from supervisor.model.description import Description
from supervisor.model.effects import Mail
from supervisor.model.errors import ConfigRejected, Problem
from supervisor.model.state import Exit, Status
from supervisor.runtime import initduties
from supervisor.runtime.mail import Facts, variables
from supervisor.selectors import parse_json, parse_text
from supervisor.selectors.jsonform import OPS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("table", PIES)
def test_a_table_has_a_row_for_everything_that_pies_has(table: str) -> None:
    assert names(table) == pies(table)


def test_no_table_is_left_unchecked() -> None:
    assert {row.table for row in ROWS} == PIES.keys() | IN_WORDS


def test_what_becomes_of_it_is_one_of_four_words_with_a_reason_where_it_is_not_done() -> None:
    for row in ROWS:
        assert row.outcome in OUTCOMES, row
        if row.outcome in ("different", "accepted without effect"):
            assert row.reason.startswith(": "), row
        else:
            assert re.match(r"$|: |; |, see ", row.reason), row


# --- the tests that it names ------------------------------------------------------------------


@functools.cache
def _tests_in(path: Path) -> frozenset[str]:
    return frozenset(re.findall(r"^(?:async )?def (\w+)\(", path.read_text(), re.MULTILINE))


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > len(ROWS)
    for path, test in named:
        assert test in _tests_in(ROOT / path), f"{path}::{test}"
    for row in ROWS:
        assert all(re.fullmatch(r"tests/[\w/]+\.py::test_\w+", each) for each in row.tests), row


# --- what the reader makes of it --------------------------------------------------------------

_PROGRAM = "command /bin/prog; user me;"
_LISTENER = f"{_PROGRAM} mode inetd; socket inet://127.0.0.1:9;"
_PASS = f"{_PROGRAM} mode pass-fd; socket inet://127.0.0.1:9; pass-fd-socket /run/web;"
_BELOW = f"{_PROGRAM} mode inetd; tcpmux-master mux;"
_OTHER = "component other { command /bin/prog; }"
_MASTER = "component mux { mode inetd; socket inet://127.0.0.1:1; flags internal; service tcpmux; }"

_BESIDE: Final[dict[str, str]] = {
    **dict.fromkeys(("socket", "max-instances", "max-rate", "acl"), _LISTENER),
    "max-ip-connections": _LISTENER,
    "max-instances-message": f"{_LISTENER} max-instances 1;",
    "max-ip-connections-message": f"{_LISTENER} max-ip-connections 1;",
    "access-denied-message": f"{_LISTENER} acl {{ deny all; }}",
    **dict.fromkeys(("inetd", "nostartaccept", "accept"), _LISTENER),
    **dict.fromkeys(("flag wait", "flag sockenv"), _LISTENER),
    "flag resolve": f"{_LISTENER} flags sockenv;",
    **dict.fromkeys(("pass", "pass-fd", "pass-fd-timeout", "pass-fd-socket"), _PASS),
    **dict.fromkeys(("tcpmux-master", "flag tcpmux", "flag tcpmuxplus"), _BELOW),
    "socket-type": f"{_PROGRAM} mode inetd; socket unix:///run/web; flags wait;",
    "service": "mode inetd; socket inet://127.0.0.1:9; flags internal;",
    "flag internal": "mode inetd; socket inet://127.0.0.1:9; service echo;",
    "ondemand": f"{_PROGRAM} runlevels a;",
}
"""What a component needs besides, by statement, by mode and by flag."""


def _in_component(item: str, name: str | None = None) -> str:
    beside = _BESIDE.get(keyword(item) if name is None else name, _PROGRAM)
    return f"initdefault 3; {_MASTER} {_OTHER} component web {{ {beside} {item} }}"


def _in_provider(item: str) -> str:
    return f"identity-provider x {{ type pam; {item} }} {_OTHER}"


def _mode(item: str) -> str:
    return _in_component(f"mode {item};", item)


def _flag(item: str) -> str:
    return _in_component(f"flags {item};", f"flag {item}")


def _socket(item: str) -> str:
    wait = "flags wait;" if "udp" in item else ""
    return _in_component(f'{_PROGRAM} mode inetd; socket "{item}"; {wait}', "")


TEXTS: Final[dict[str, Callable[[str], str]]] = {
    "Component statements": _in_component,
    "Modes": _mode,
    "Flags": _flag,
    "Limits": lambda item: _in_component(f"limits {item}5;"),
    "Sockets": _socket,
    "The env block": lambda item: _in_component(f"env {{ {item} }}"),
    "References to variables": lambda item: _in_component(f'env {{ eval "{item}"; }}'),
    "Redirectors": lambda item: _in_component(f"stdout {item};"),
    "Global statements": lambda item: f"user root; {item} {_OTHER}",
    "syslog": lambda item: f"syslog {{ {item} }} {_OTHER}",
    "control": lambda item: f"control {{ {item} }} {_in_provider('')}",
    "Access control lists": lambda item: (
        f"defacl office {{ allow; }} {_in_component(f'list-acl {{ {item} }}')}"
    ),
    "Identity providers": _in_provider,
    "return-code": lambda item: f"return-code 1 {{ notify root; {item} }} {_OTHER}",
    "Codes": lambda item: f"return-code {item} {{ action disable; }} {_OTHER}",
}
"""For the tables whose items stand in files: a file with such an item in it."""


def _problems(text: str) -> tuple[Problem, ...]:
    try:
        return plan_of(text).warnings
    except ConfigRejected as rejected:
        return rejected.problems


def _becomes(text: str) -> str:
    """Return what really becomes of what a file says."""
    problems = _problems(text)
    errors = [each.message for each in problems if not each.warning]
    if errors:
        return "later" if all("not supported yet" in each for each in errors) else "refused"
    without = any("no effect" in each.message for each in problems)
    return "accepted without effect" if without else "done"


def _items(*outcomes: str, refused: bool = False) -> list[Any]:
    return [
        pytest.param(row, item, id=f"{row.table}: {item}")
        for row in ROWS
        if row.table in TEXTS and row.outcome in outcomes
        if row.reason.startswith(": refused for good") is refused
        for item in row.items
    ]


@pytest.mark.parametrize(("row", "item"), _items(*OUTCOMES))
def test_each_statement_is_what_the_page_says(row: Row, item: str, tmp_path: Path) -> None:
    (tmp_path / "inetd.conf").write_text("# none\n")
    text = TEXTS[row.table](item).replace("/etc/inetd.conf", str(tmp_path / "inetd.conf"))
    said = "done" if row.outcome == "different" else row.outcome
    assert _becomes(text) == said, _problems(text)


@pytest.mark.parametrize(("row", "item"), _items("different", refused=True))
def test_what_is_refused_for_good_is_refused(row: Row, item: str) -> None:
    (problem,) = _problems(TEXTS[row.table](item))
    assert _becomes(TEXTS[row.table](item)) == "refused"
    assert re.search("not supported|must be|has no", problem.message), problem


@pytest.mark.parametrize("name", sorted(PIES["Preprocessor and inclusion"].split()))
def test_each_directive_is_one(name: str) -> None:
    (token,) = Lexer(f'{name} "x"\n', "a.conf", Faults([])).tokens()
    assert (token.kind, f"#{token.name}", token.text) == ("directive", name, "x")


def test_each_sysexit_has_the_number_of_its_header() -> None:
    for name, number in SYSEXITS.items():
        assert getattr(os, name) == number, name


# --- what the code knows ----------------------------------------------------------------------


def _kind(name: str) -> Any:
    return keys.COMPONENT_KEYS.by_name[name].kind


def _named_in_source(pattern: str) -> set[str]:
    sources = (ROOT / "supervisor").rglob("*.py")
    return {name for path in sources for name in re.findall(pattern, path.read_text())}


def _message_variables() -> set[str]:
    end = Exit(code=1, message="exited with 1")
    facts = Facts(instance="x", version="1", host="h")
    return set(variables(Mail("web", (), None, end), facts))


KNOWN: Final[dict[str, Callable[[], set[str]]]] = {
    "Syntaxes": lambda: set(known_syntaxes()),
    "Component statements": lambda: set(words.COMPONENT),
    "Modes": lambda: set(_kind("mode").choices) | later.MODES,
    "Flags": lambda: set(_kind("flags").flags),
    "Limits": lambda: {*LETTERS, "P", "L"},
    "Built-in services": lambda: set(keys.SERVICES),
    "The env block": lambda: set(words.ENV),
    "Global statements": lambda: set(words.GLOBAL),
    "syslog": lambda: set(words.SYSLOG),
    "control": lambda: set(words.CONTROL),
    "Access control lists": lambda: set(words.ACL),
    "Identity providers": lambda: set(words.PROVIDER),
    "return-code": lambda: set(words.RETURN_CODE),
    "The environment of exec": lambda: _named_in_source(r'"(PIES_[A-Z_]+)"'),
    "The variables of message": _message_variables,
    "Selectors": lambda: {"null", "false", "true", *OPS},
    "Modes of inittab": lambda: set(inittab.MODES),
    "Signals": lambda: {
        *re.findall(r"signal\.(SIG\w+)", inspect.getsource(obedience)),
        *(number.name for number in initduties.SIGNALS),
    },
}


@pytest.mark.parametrize("table", KNOWN)
def test_what_the_code_knows_is_on_the_page(table: str) -> None:
    known = KNOWN[table]()
    assert names(table) <= known
    assert known - names(table) == OURS.get(table, set())


def test_the_words_without_effect_and_for_later_are_so_on_the_page() -> None:
    page = names("Global statements", "accepted without effect")
    assert page == words.WITHOUT_EFFECT
    assert not names("Component statements", "later")
    assert not names("Global statements", "later")
    assert not later.COMPONENT & words.COMPONENT


def test_the_words_of_syslog_are_known() -> None:
    said = {item for row in ROWS if row.table == "Redirectors" for item in row.items}
    pairs = [item.split()[1].lower().split(".") for item in said if "." in item and "sys" in item]
    assert {facility for facility, _ in pairs} <= set(FACILITIES)
    assert {priority for _, priority in pairs} == set(PRIORITIES)


# --- the control interface --------------------------------------------------------------------

_PLACES = {
    "<key>": "KEY",
    "<path:which>": "LIST",
    "<path:what>": "JSON",
    "<path:tag>": "TAG",
    "<name>": "VAR",
    "<path:assignment>": "VAR",
}


def _requests() -> set[str]:
    found = set()
    for rule in create_app(cast("Any", None)).url_map.iter_rules():
        path = str(rule)
        for place, name in {**_PLACES, "<tag>": "TAG"}.items():
            path = path.replace(place, name)
        if not path.startswith("/v1"):
            methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            found |= {f"{method} {path.rstrip('/')}" for method in methods}
    return found


def test_the_requests_are_those_that_are_answered() -> None:
    assert names("Requests", "done", "different") | OURS["Requests"] == _requests()


def test_each_selector_is_read_and_each_status_is_one() -> None:
    items = [item for row in ROWS if row.table == "Selectors" for item in row.items]
    for item in items:
        parse_json(item)
    asked = {json.loads(item).get("arg") for item in items if '"status"' in item}
    assert asked == {status.value for status in Status}


def test_each_condition_is_read() -> None:
    for row in ROWS:
        if row.table == "Conditions":
            for item in row.items:
                parse_text(item)


def test_the_attributes_of_pies_come_first_in_a_description() -> None:
    known = [each.encode_name for each in fields(Description)]
    assert set(known[: len(names("Attributes"))]) == names("Attributes")


# --- the command lines ------------------------------------------------------------------------


def _leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from _leaves(each, (*path, name))
    else:
        yield " ".join(path)


def _piesctl_options() -> set[str]:
    with click.Context(COMMAND) as context:
        found = {word for option in COMMAND.get_params(context) for word in option.opts}
    return found - {"--help", "-h", "--version"}


def _piesd_options() -> set[str]:
    known = {word for action in piesd._parser()._actions for word in action.option_strings}
    return known | set(legacytelinit._OPTIONS)


def _assert_command_line(table: str, known: set[str]) -> None:
    assert names(table) & known == names(table) - names(table, "later")
    assert known - names(table) == OURS[table]


def test_the_commands_of_piesctl_are_those_of_the_page() -> None:
    _assert_command_line("Commands", set(_leaves(COMMAND)))


def test_what_piesctl_does_not_know_is_later() -> None:
    _assert_command_line("Options", _piesctl_options())


@pytest.mark.parametrize(
    "item", [item for row in ROWS if row.table == "piesctl.conf" for item in row.items]
)
def test_each_statement_of_piesctl_conf_is_read(item: str, tmp_path: Path) -> None:
    (tmp_path / "piesctl.conf").write_text(item)
    contacts = read_contacts(str(tmp_path / "piesctl.conf"), None)
    assert contacts.of("web") != Contact()


def test_what_piesd_does_not_know_is_later() -> None:
    _assert_command_line("Options of piesd", _piesd_options())


def _letters(place: str, *outcomes: str) -> set[str]:
    rows = [row for row in ROWS if row.table == "Letters of list --pies" if place in row.cell]
    return {item for row in rows if row.outcome in outcomes for item in row.items}


def test_the_letters_of_a_listing_are_those_of_the_page() -> None:
    def row(mode: str, status: str) -> dict[str, Any]:
        return {"type": "component", "mode": mode, "status": status, "active": True}

    first = {flags(row(mode.value, "running"))[0] for mode in Mode}
    first.add(flags({"type": "command"})[0])
    assert first == _letters("first", "done") | OURS["Letters of list --pies"]
    second = {flags(row("respawn", status.value))[1] for status in Status}
    second.add(flags({**row("respawn", "stopped"), "active": False})[1])
    assert second == _letters("second", "done")
