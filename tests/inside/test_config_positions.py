"""Whatever form a TOML document has, every key and element is known with its line."""

from __future__ import annotations

import contextlib
import tomllib
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config import toml
from supervisor.config.positions import positions
from supervisor.config.tables import Node, dotted
from supervisor.model.errors import Problem


def lines_of(text: str) -> dict[str, int]:
    """Return the line of every key and element of *text*."""
    found: dict[str, int] = {}

    def walk(node: Node) -> None:
        found[node.key] = node.line
        for each in node.table.values():
            walk(each)
        for item in node.value if isinstance(node.value, tuple) else ():
            walk(item)

    problems: list[Problem] = []
    root = toml.read(text, "x", problems)
    assert root is not None, problems
    walk(root)
    return found


def test_keys_of_every_form_have_their_lines() -> None:
    text = dedent(
        """\
        # a comment with "quotes" and [brackets]
        top = 1
        a.b.c = "dotted"
        "quoted key" = 'x'
        'literal.key' = "x"
        "esc\\u0061ped\\"" = 1
        [table]   # comment
        x = { y = 1, z = { deep = "}" } }
        list = [
          "one",  # ], "
          [2,
           3], { four = 4,   five = 5 },
        ]
        text = '''
        [not.a.header]
        k = "v"
        '''
        other = \"\"\"
        x = 1 \\
        "" quoted \"\"\"\"\"
        when = 1979-05-27 07:32:00
        after = true
        [table.sub]
        q = 1
        [[many]]
        n = 1
        [many.inner]
        i = 1
        [[many]]
        n = 2
        [ spaced . "out" ]
        s = -1.5e3
        [later.below]
        [later]
        """
    )
    expected = {
        "": 1,
        "top": 2,
        "a": 3,
        "a.b.c": 3,
        '"quoted key"': 4,
        '"literal.key"': 5,
        '"escaped\\""': 6,
        "table": 7,
        "table.x": 8,
        "table.x.z.deep": 8,
        "table.list": 9,
        "table.list[0]": 10,
        "table.list[1]": 11,
        "table.list[1][0]": 11,
        "table.list[1][1]": 12,
        "table.list[2]": 12,
        "table.list[2].five": 12,
        "table.text": 14,
        "table.other": 18,
        "table.when": 21,
        "table.after": 22,
        "table.sub": 23,
        "table.sub.q": 24,
        "many[0]": 25,
        "many[0].n": 26,
        "many[0].inner": 27,
        "many[0].inner.i": 28,
        "many[1]": 29,
        "many[1].n": 30,
        "spaced.out": 31,
        "spaced.out.s": 32,
        "later.below": 33,
        "later": 34,
    }
    found = lines_of(text)
    assert {key: found.get(key) for key in expected} == expected


def test_windows_line_ends_count_once_and_a_byte_order_mark_is_nothing() -> None:
    text = "\ufeffa = 1\r\nb = '''\r\nx\r\n'''\r\nc = 3\r\n"
    assert lines_of(text) == {"": 1, "a": 1, "b": 2, "c": 5}


# --- documents of every form, written by a strategy that counts its lines

Written = tuple[str, list[tuple[str, int]]]
"""Some text, and for each path in it (`.name` or `[n]` after each other) the lines before it."""

WORDS = st.text(alphabet="abcdefXYZ019_-", min_size=1, max_size=6)
AWKWARD = st.sampled_from(["]", "}", "#", "=", ",", '"', "'", "[x]", "a = 1", "\\", "é", " "])
CONTENT = st.lists(st.one_of(WORDS, AWKWARD), max_size=4).map("".join)


def basic(content: str) -> str:
    escaped = content.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@st.composite
def scalars(draw: st.DrawFn) -> str:
    content = draw(CONTENT)
    plain = content.replace("'", "")
    return draw(
        st.sampled_from(
            [
                basic(content),
                f"'{plain}'",
                f"'''\n{plain}\n{plain}'''",
                f"'''{plain}'x'''''",
                '"""\n' + basic(content)[1:-1] + '\nx ""\\"\n"""',
                '"""a\\\n   b"""""',
                '""',
                '""""""',
                "12_000",
                "0xFF",
                "-1.5e-3",
                "inf",
                "true",
                "07:32:00",
                "1979-05-27T07:32:00Z",
                "1979-05-27 07:32:00.5",
            ]
        )
    )


BLANKS = st.sampled_from(["", " ", "\t", "  "])
GAPS = st.sampled_from(["", " ", "\n", " # ],}\n", "\n\n\t", "#\n#\n"])


@st.composite
def keys_of_table(draw: st.DrawFn, name: str) -> str:
    """Return *name* as a key, in one of the ways to write it."""
    forms = [basic(name)]
    if "'" not in name:
        forms.append(f"'{name}'")
    if name.isascii() and name.replace("_", "").replace("-", "").isalnum():
        forms += [name, name]
    if name[0].isascii():
        forms.append('"' + f"\\u{ord(name[0]):04x}" + basic(name[1:])[1:])
    return draw(st.sampled_from(forms))


@st.composite
def values(draw: st.DrawFn, depth: int = 3) -> Written:
    form = draw(st.sampled_from(["scalar", "scalar", "list", "table"] if depth else ["scalar"]))
    if form == "scalar":
        return draw(scalars()), []
    text, places = ("[", []) if form == "list" else ("{", [])
    names = draw(st.lists(CONTENT.filter(bool), max_size=3, unique=True))
    for number, name in enumerate(names):
        gap = draw(GAPS) if form == "list" else draw(BLANKS)
        text += ("," if number else "") + gap
        if form == "table":
            step = f".{name}"
            places.append((step, text.count("\n")))
            text += draw(keys_of_table(name)) + draw(BLANKS) + "=" + draw(BLANKS)
        else:
            step = f"[{number}]"
            places.append((step, text.count("\n")))
        inner, below = draw(values(depth - 1))
        places += [(step + path, line + text.count("\n")) for path, line in below]
        text += inner + draw(BLANKS)
    if form == "list":
        text += draw(GAPS)
    return text + ("]" if form == "list" else "}"), places


@st.composite
def documents(draw: st.DrawFn) -> Written:
    text, places = "", []

    def pairs(prefix: str) -> None:
        nonlocal text
        for name in draw(st.lists(CONTENT.filter(bool), max_size=3, unique=True)):
            text += draw(st.sampled_from(["", "\n", "# [x]\n", "\t", "\n\n"]))
            parent = draw(st.sampled_from(["", "p"]))  # p.name: a dotted key
            path = f"{prefix}.{name}"
            if parent:
                parent = f"p{len(text)}"
                path = f"{prefix}.{parent}.{name}"
                text += f"{parent} . "
            start = text.count("\n")
            value, below = draw(values())
            head = draw(keys_of_table(name)) + draw(BLANKS) + "=" + draw(BLANKS)
            text += head + value + draw(st.sampled_from(["", " ", " # c"])) + "\n"
            places.append((path, start))
            places.extend((path + inner, start + line) for inner, line in below)

    pairs("")
    for number, name in enumerate(draw(st.lists(CONTENT.filter(bool), max_size=3))):
        table = f"{name}{number}"
        key = draw(keys_of_table(table))
        for each in range(draw(st.integers(1, 2)) if draw(st.booleans()) else 0):
            places.append((f".t{number}.{table}[{each}]", text.count("\n")))
            text += f"[[ t{number} .{key}]]\n"
            pairs(f".t{number}.{table}[{each}]")
        places.append((f".s{number}.{table}", text.count("\n")))
        text += f"[s{number}.{key} ] # c\n"
        pairs(f".s{number}.{table}")
    return text, places


def flattened(node: Node, path: str, into: dict[str, int]) -> None:
    into[path] = node.line
    if isinstance(node.value, dict):
        for name, member in node.value.items():
            flattened(member, f"{path}.{name}", into)
    elif isinstance(node.value, tuple):
        for number, item in enumerate(node.value):
            flattened(item, f"{path}[{number}]", into)


@pytest.mark.slow
@given(documents())
def test_every_line_of_a_written_document_is_found(written: Written) -> None:
    text, places = written
    tomllib.loads(text)  # The strategy writes TOML, or the test is worth nothing.
    root = toml.read(text, "x", [])
    assert root is not None
    found: dict[str, int] = {}
    flattened(root, "", found)
    for path, lines_before in places:
        assert found[path] == lines_before + 1, path


@given(st.text(alphabet="ab.=[]{}'\"#\\ \n,1", max_size=60))
def test_the_scanner_ends_whatever_it_is_given(text: str) -> None:
    # A key with a wrong escape is an error; it is only called with right ones.
    with contextlib.suppress(tomllib.TOMLDecodeError):
        positions(text)


def test_keys_print_as_they_would_be_written() -> None:
    assert dotted("", "a-b_1") == "a-b_1"
    assert dotted("a", "b c") == 'a."b c"'
    assert dotted("a", 'q"\\') == 'a."q\\"\\\\"'
    assert dotted("a", "\n\U0001f4a9\x7f") == 'a."\\u000A\U0001f4a9\\u007F"'
