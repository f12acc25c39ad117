"""What each selector matches, and what decided."""

from __future__ import annotations

import pytest

from supervisor.model.description import Description
from supervisor.selectors import (
    And,
    HasTag,
    Or,
    TagGlob,
    compile_selector,
    explain,
    explainer,
    parse_text,
    prerequisites_among,
    tree,
)


def row(tag: str, **fields: object) -> Description:
    base = {"mode": "respawn", "status": "running", "active": True}
    return Description(tag=tag, **(base | fields))  # type: ignore[arg-type]


ROWS = (
    row("db", status="sleeping", labels={"tier": "data"}),
    row("web:1", template="web", labels={"tier": "web", "zone": "a"}, prerequisites=("db",)),
    row("web:2", template="web", labels={"tier": "web", "zone": "b"}, prerequisites=("db",)),
    row("lb", mode="pass-fd", active=False, status="stopped", prerequisites=("web:1", "web:2")),
    row("finger", mode="inetd", status="listener", url="inet+tcp://127.0.0.1:79"),
    row("finger", mode="inetd", pid=12, prerequisites=()),
    row("save", type="command", active=True, status="running"),
    row("web", type="command", mode="once", status="running"),
)
PREREQUISITES = prerequisites_among(ROWS)


def matched(text: str) -> list[str]:
    test = compile_selector(parse_text(text), PREREQUISITES)
    return [row.tag for row in ROWS if test(row)]


EVERYTHING = [row.tag for row in ROWS]


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("all", EVERYTHING),
        ("none", []),
        ("db", ["db"]),
        ("missing", []),
        ("web", ["web:1", "web:2", "web"]),
        ("web:2", ["web:2"]),
        ("finger", ["finger", "finger"]),
        ("type command", ["save", "web"]),
        ("mode respawn", ["db", "web:1", "web:2"]),
        ("mode exec", ["db", "web:1", "web:2"]),
        ("mode pass", ["lb"]),
        ("mode nostartaccept", ["finger", "finger"]),
        ("mode once", []),
        ("active", ["db", "web:1", "web:2", "finger", "finger"]),
        ("status listener", ["finger"]),
        ("status running and type command", ["save", "web"]),
        ("glob web:?", ["web:1", "web:2"]),
        ("glob WEB*", []),
        ("glob [!f]?", ["db", "lb"]),
        ("label tier=web", ["web:1", "web:2"]),
        ("label tier=web,zone=b", ["web:2"]),
        ("label tier=data or label zone=a", ["db", "web:1"]),
        ("label zone=''", []),
        ("prerequisite-of lb", ["db", "web:1", "web:2"]),
        ("prerequisite-of web", ["db"]),
        ("prerequisite-of db", []),
        ("dependent-of db", ["web:1", "web:2", "lb"]),
        ("dependent-of web", ["lb"]),
        ("dependent-of missing", []),
        ("not active", ["lb", "save", "web"]),
        ("not active and not type command and not db", ["lb"]),
        ("and ()", EVERYTHING),
        ("or ()", []),
        ("and (db,)", ["db"]),
        ("or (db,)", ["db"]),
        ("db or lb or finger and status listener", ["db", "lb", "finger"]),
        ("all or db", EVERYTHING),
        ("none or db", ["db"]),
        ("none and db", []),
    ],
)
def test_it_matches(text: str, tags: list[str]) -> None:
    assert matched(text) == tags


@pytest.mark.parametrize(
    ("pattern", "tag", "matches"),
    [
        ("[a-a]", "a", True),
        ("[b-a]", "a", False),
        ("[!b-a]", "a", True),
        ("[]]", "]", True),
        ("[!]]", "]", False),
        ("[", "[", True),
        ("web", "web\n", False),
        ("a|b", "a", False),
        # With a naive translation this one never comes back.
        ("*a" * 40 + "b", "a" * 200, False),
    ],
)
def test_a_pattern_is_a_shell_pattern(pattern: str, tag: str, matches: bool) -> None:
    assert compile_selector(TagGlob(pattern))(row(tag)) is matches


def test_a_cycle_of_prerequisites_does_no_harm() -> None:
    graph = {"a": ("b",), "b": ("c",), "c": ("a", "x")}
    test = compile_selector(parse_text("prerequisite-of a"), graph)
    assert [tag for tag in "abcxy" if test(row(tag))] == ["a", "b", "c", "x"]
    test = compile_selector(parse_text("dependent-of x"), graph)
    assert [tag for tag in "abcxy" if test(row(tag))] == ["a", "b", "c"]


def test_a_long_chain_of_prerequisites_is_followed_to_its_end() -> None:
    graph = {str(n): (str(n + 1),) for n in range(5000)}
    assert compile_selector(parse_text("prerequisite-of 0"), graph)(row("5000"))
    assert compile_selector(parse_text("dependent-of 5000"), graph)(row("0"))


def test_the_prerequisites_are_read_once() -> None:
    graph = {"a": ("b",)}
    test = compile_selector(parse_text("prerequisite-of a"), graph)
    graph["a"] = ("c",)
    assert test(row("b"))
    assert not test(row("c"))


def test_a_long_disjunction_of_tags_is_one_lookup() -> None:
    looked = []

    class Tag(str):
        __slots__ = ()

        def __hash__(self) -> int:
            looked.append(self)
            return super().__hash__()

        def __eq__(self, other: object) -> bool:
            return super().__eq__(other)

    test = compile_selector(Or(tuple(HasTag(str(n)) for n in range(1000))))
    assert test(row(Tag("999")))
    assert len(looked) == 1


def decided(text: str, description: Description) -> list[tuple[str, str, bool, str]]:
    verdict = explain(parse_text(text), description, PREREQUISITES).verdict
    assert verdict is not None
    return [(d.path, d.leaf, d.matches, d.because) for d in verdict.decided_by]


DB, WEB, LB, SAVE = ROWS[0], ROWS[1], ROWS[3], ROWS[6]


@pytest.mark.parametrize(
    ("text", "description", "decisions"),
    [
        ("all", DB, [("$", "all", True, "'all' says so")]),
        ("web", WEB, [("$", "component web", True, "it is an instance of 'web'")]),
        ("web", DB, [("$", "component web", False, "its tag is 'db'")]),
        ("glob w*", WEB, [("$", "glob w*", True, "its tag is 'web:1'")]),
        ("type command", DB, [("$", "type command", False, "its type is 'component'")]),
        ("mode once", DB, [("$", "mode once", False, "its mode is 'respawn'")]),
        ("mode respawn", SAVE, [("$", "mode respawn", False, "its type is 'command'")]),
        ("active", DB, [("$", "active", True, "it is active")]),
        ("active", LB, [("$", "active", False, "it is not active")]),
        ("active", SAVE, [("$", "active", False, "its type is 'command'")]),
        ("status running", DB, [("$", "status running", False, "its status is 'sleeping'")]),
        ("label zone=a", DB, [("$", "label zone=a", False, "it has no label 'zone'")]),
        ("label zone=b", WEB, [("$", "label zone=b", False, "its label 'zone' is 'a'")]),
        ("label zone=a", WEB, [("$", "label zone=a", True, "its label 'zone' is 'a'")]),
        (
            "prerequisite-of lb",
            DB,
            [("$", "prerequisite-of lb", True, "'db' is a prerequisite of 'lb'")],
        ),
        (
            "not dependent-of lb",
            DB,
            [("$.arg", "dependent-of lb", False, "'db' is not a dependent of 'lb'")],
        ),
        (
            "active and (not status running or lb) and mode once",
            WEB,
            [
                ("$.arg[1].arg[0].arg", "status running", True, "its status is 'running'"),
                ("$.arg[1].arg[1]", "component lb", False, "its tag is 'web:1'"),
            ],
        ),
        ("lb or active", DB, [("$.arg[1]", "active", True, "it is active")]),
        ("and ()", DB, []),
    ],
)
def test_the_leaves_that_decided_are_named(
    text: str, description: Description, decisions: list[tuple[str, str, bool, str]]
) -> None:
    assert decided(text, description) == decisions


def test_an_explanation_shows_all_forms() -> None:
    shown = explain(parse_text("active and not (web or label a=b)"))
    assert shown.json == {
        "op": "and",
        "arg": [
            {"op": "active"},
            {
                "op": "not",
                "arg": {
                    "op": "or",
                    "arg": [{"op": "component", "arg": "web"}, {"op": "label", "arg": {"a": "b"}}],
                },
            },
        ],
    }
    assert shown.text == "active and not (component web or label a=b)"
    assert shown.tree.splitlines() == [
        "and",
        "├─ active",
        "└─ not",
        "   └─ or",
        "      ├─ component web",
        "      └─ label a=b",
    ]
    assert shown.verdict is None


def test_the_drawing_says_what_an_empty_list_means() -> None:
    assert tree(Or((And(()), Or(())))).splitlines() == [
        "or",
        "├─ and (of nothing: everything)",
        "└─ or (of nothing: nothing)",
    ]


def test_one_explainer_serves_many_descriptions() -> None:
    verdict = explainer(parse_text("dependent-of db"), PREREQUISITES)
    assert [row.tag for row in ROWS if verdict(row).matches] == ["web:1", "web:2", "lb"]
