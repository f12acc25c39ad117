"""Whatever the text, the reader of pies' syntax ends with tables or with problems that have places.

A few hundred texts are tried each time; `FUZZ_SECONDS=300` goes on for that long.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import strategies as st

from config_text import InventedHost
from fuzzing import SECONDS, fuzz, no_hang
from supervisor.config.load import make_plan
from supervisor.config.pies import words
from supervisor.config.pies.options import PreprocessOptions, Reading
from supervisor.config.pies.reader import read
from supervisor.config.sources import Document, Sources
from supervisor.model.errors import ConfigRejected, Problem
from supervisor.model.settings import SourceFile

TESTS = Path(__file__).resolve().parents[1]
CORPUS = sorted([*TESTS.glob("corpus/pies/*.conf"), *TESTS.glob("pies_samples/*.conf")])


def _check(text: str) -> None:
    """Read *text* and build its plan; everything that is wrong must have a place."""
    problems: list[Problem] = []
    reading = Reading(options=PreprocessOptions(enabled=False, default_include=False))
    root = read(text, "pies.conf", problems, reading)
    assert root is not None or any(not problem.warning for problem in problems)
    documents = (Document("pies.conf", "pies", root),) if root is not None else ()
    try:
        plan = make_plan(
            Sources(documents, frozenset(reading.broken)),
            [SourceFile("pies.conf", "pies")],
            problems,
            environ={"PATH": "/bin"},
            euid=0,
            instance=None,
            sockets=(),
            host=InventedHost(),
        )
        told = plan.warnings
    except ConfigRejected as rejected:
        told = rejected.problems
    for problem in told:
        assert problem.message, problem
        assert len(str(problem)) < 3000, problem
        if not problem.warning:
            assert problem.line >= 1, problem


@pytest.mark.parametrize("file", CORPUS, ids=lambda path: path.stem)
def test_each_text_of_the_corpus_ends_in_tables_or_problems_with_places(file: Path) -> None:
    text = file.read_bytes().decode()
    _check(text)
    # What breaks off anywhere is no worse.
    for cut in range(0, len(text), max(1, len(text) // 25)):
        _check(text[:cut])


# --- texts that are nearly right --------------------------------------------------------------

_PLACES = st.sampled_from(["", " ", "\n", "\t", "# x\n", "/* x */", "// x\n", "\\\n", "\r\n"])
_KEYWORDS = st.sampled_from(sorted(words.KEYWORDS | words.ENV | words.ACL))
_WORD_LIST = """
    respawn exec startup inetd none all a b c yes no 0 1 022 999 /bin/prog / file syslog daemon.err
    err system pam EX_OK SIGTERM SIG+15 SIG+99 T10 N-1 L from authenticated group user acl ::1
    10.0.0.0/8 unix:///s inet://127.0.0.1:80 shell siggroup internal disable * -
    99999999999999999999
"""
_WORDS = st.sampled_from(_WORD_LIST.split())
_STRINGS = st.one_of(
    _WORDS.map(lambda word: f'"{word}"'),
    st.text(st.sampled_from('ab \\"$`\n\t{};=#\0é'), max_size=8).map(lambda text: f'"{text}"'),
    st.sampled_from(
        ['"A=b"', '"NAME=$X"', '"${X:=y}"', '"- A PATH B=c D+=:e"', '"T10 N5"', '"64-78"', '""']
    ),
)
_HERE = st.sampled_from(
    [
        "<<EOT\nx\nEOT\n",
        "<<-EOT\n\tx\n\tEOT;",
        '<<"EOT"\n\\w\nEOT\n',
        "<<EOT\n",
        "<<",
        "<<EOT;\nEOT\n",
    ]
)
_SCALARS = st.one_of(_WORDS, _STRINGS, _HERE)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4).map(lambda items: f"({', '.join(items)})"),
    max_leaves=5,
)
_ENDS = st.sampled_from([";", ";", ";", ";", "\n", "", "}", ",", ")"])


def _simple(keyword: str, values: list[str], end: str) -> str:
    return f"{keyword} {' '.join(values)}{end}\n"


_SIMPLE = st.builds(_simple, _KEYWORDS, st.lists(_VALUES, max_size=3), _ENDS)


def _block(keyword: str, label: list[str], body: list[str], end: str) -> str:
    return f"{keyword} {' '.join(label)} {{\n{''.join(body)}{end}\n"


_LINES = st.sampled_from(
    [
        '#line 5 "x"\n',
        "#line 3\n",
        '# 7 "y"\n',
        '#warning "w"\n',
        '#error "e"\n',
        '#abend "a"\n',
        '#include "/nowhere/*.conf"\n',
        '#include_once "/nowhere"\n',
        "#include <nowhere>\n",
    ]
)
_STATEMENTS = st.recursive(
    st.one_of(_SIMPLE, _SIMPLE, _SIMPLE, _LINES),
    lambda inner: st.builds(
        _block,
        st.one_of(
            st.sampled_from([*sorted(words.BLOCKS), "component", "env", "acl", "list-acl"]),
            _KEYWORDS,
        ),
        st.lists(_SCALARS, max_size=2),
        st.lists(inner, max_size=6),
        st.sampled_from(["}", "}", "}", "};", ""]),
    ),
    max_leaves=15,
)
_FILES = st.lists(_STATEMENTS, max_size=6).map("".join)

# --- texts that were right --------------------------------------------------------------------

_TEXTS = [file.read_bytes().decode() for file in CORPUS]


@st.composite
def _mutated(draw: st.DrawFn) -> str:
    """Return a text of the corpus after a few accidents."""
    text = draw(st.sampled_from(_TEXTS))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 20))
        accident = draw(st.sampled_from(["cut", "double", "put", "swap"]))
        piece = text[at : at + length]
        match accident:
            case "cut":
                text = text[:at] + text[at + length :]
            case "double":
                text = text[:at] + piece + text[at:]
            case "put":
                text = (
                    text[:at] + draw(st.one_of(_SCALARS, _PLACES, st.text(max_size=3))) + text[at:]
                )
            case _:
                text = text[:at] + piece[::-1] + text[at + length :]
    return text


_SOUP = st.lists(
    st.one_of(_KEYWORDS, _SCALARS, _PLACES, st.sampled_from("{}();,\"'<=#")), max_size=40
)
_ANY = {
    "files of statements": _FILES,
    "mutated samples": _mutated(),
    "soups of tokens": _SOUP.map(" ".join),
    "soups without blanks": _SOUP.map("".join),
    "any text": st.text(max_size=200),
}


@pytest.mark.parametrize("kind", _ANY)
def test_no_text_makes_the_reader_fail(kind: str) -> None:
    fuzz(f"pies, {kind}", _ANY[kind], _check, seconds=SECONDS / len(_ANY))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        '"' * 1_000_000,
        'a "' + " " * 1_000_000 + "x",
        'a "' + "\\q" * 500_000 + '";',
        "{" * 100_000,
        "a {" * 100_000,
        "a " + "(" * 100_000,
        "<<A\n" * 100_000,
        "/*" * 100_000,
        "\0" * 1_000_000,
        "'" * 100_000,
        "a ='" * 100_000,
        "#error\n" * 100_000,
        'a "b\n' * 100_000,
        "\\" * 1_000_000,
        'component a { env "' + "- " * 500_000 + '"; }',
        '#include "' + "a/" * 500_000 + '"',
        'env { set "A=b"; }\n' * 50_000,
        'component a { command x; env { set "A=b"; } flags shell; }\n' * 20_000,
        "component a { command x;" + 'env { set "A=b"; }\n' * 50_000 + "}",
        'component a { command "' + "x" * 1_000_000 + '"; }',
    ],
    ids=range(20),
)
def test_a_large_text_of_garbage_is_given_up_soon(text: str) -> None:
    with no_hang():
        _check(text)


@pytest.mark.slow
def test_a_thousand_components_are_read_in_a_moment() -> None:
    one = """component web{0} {{
        command "/bin/prog {0}";
        prerequisites (web0, web1);
        flags (precious, nullinput);
        env {{ set "A=b"; unset C; }}
        stderr file "/var/log/web{0}.log";
        return-code (EX_CONFIG, 1) {{ action disable; notify root; }}
    }}
    """
    text = "".join(one.format(number) for number in range(1000))
    problems: list[Problem] = []
    started = time.process_time()
    root = read(text, "pies.conf", problems)
    assert time.process_time() - started < 5  # Half a second, on a machine that is not busy.
    assert root is not None
    assert not problems
    assert len(root.table["component"].table) == 1000
