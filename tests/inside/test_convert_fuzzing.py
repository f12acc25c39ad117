"""Whatever a file holds, its reader ends without a crash, and tells a place for what it refuses.

`FUZZ_SECONDS` makes each reader run for so long; the examples of tests/corpus are always tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import strategies as st

from config_text import InventedHost
from fuzzing import fuzz, no_hang
from supervisor.config import inetd, inittab, toml
from supervisor.config.convert import comments, procfile, supervisord, systemd_unit
from supervisor.config.convert.pies_out import print_pies
from supervisor.config.convert.toml_out import print_toml
from supervisor.config.load import make_plan
from supervisor.config.nodes import Plain, plain
from supervisor.config.pies import reader as pies
from supervisor.config.pies.options import PreprocessOptions, Reading
from supervisor.config.sources import Document, Sources
from supervisor.config.tables import Node
from supervisor.model.errors import ConfigRejected, Problem
from supervisor.model.settings import SourceFile

CORPUS = Path(__file__).parent.parent / "corpus"

Reader = Callable[[str, str, list[Problem]], Node | None]


def _supervisord(text: str, file: str, problems: list[Problem]) -> Node | None:
    # Random patterns must not read the files of this machine.
    return supervisord.read(text, file, problems, lambda pattern: [(pattern, "[program:x]\na=b")])


READERS: dict[str, tuple[Reader, Callable[[str], object]]] = {
    "inetd": (inetd.read, comments.of_lines),
    "ini": (_supervisord, comments.of_ini),
    "inittab": (inittab.read, comments.of_lines),
    "procfile": (procfile.read, comments.of_lines),
    "service": (systemd_unit.read, comments.of_ini),
    "toml": (toml.read, comments.of_lines),
}

WORDS = {
    "inetd": [
        *("ftp", "stream", "dgram", "tcp", "udp6", "unix", "wait", "nowait.4", "root.adm", ","),
        *("internal", "tcpmux/+x", "10.0.0.1:", "[::1]:7", "*:", "rpc/tcp", "/bin/prog"),
    ],
    "ini": [
        *("[program:a]", "[group:g]", "[include]", "[supervisord]", "[fcgi-program:f]", "[x", "="),
        *("command=", "numprocs=3", "process_name=%(process_num)02d", "%(ENV_X)s", "%(here)s", "%"),
        *("environment=A=\"1\",B='2'", "user=root", "exitcodes=0,2", "autorestart=true", "files="),
        *("stdout_logfile=", "stdout_logfile_maxbytes=1MB", "priority=-1", "startretries=", " ;"),
        *("programs=a,b", "stopsignal=TERM", "startsecs=3", "redirect_stderr=true", "directory=x"),
    ],
    "inittab": [
        *(
            "id:",
            "a~:",
            ":23:",
            ":S:",
            ":a:",
            "::",
            "respawn:",
            "wait:",
            "initdefault:",
            "sysinit:",
        ),
        *(
            "ondemand:",
            "off:",
            "+/bin/x",
            "@/bin/x",
            "'a b'",
            "${instance}",
            "#pies pragma",
            "stop",
        ),
        *("next pies /x", "debug 3", "\nx:2:once:/bin/x\n"),
    ],
    "procfile": ["web:", "release:", "a b:", "$PORT", "${PORT:-1}", "bin/x", "&&", "A=1"],
    "service": [
        *("[Service]", "[Unit]", "[Install]", "ExecStart=", "ExecStart=@-+!:/bin/x", "%i", "%H"),
        *(
            "Environment=",
            "A=1",
            "Restart=on-failure",
            "RestartSec=",
            "5min 3s",
            "infinity",
            "Type=",
        ),
        *("LimitAS=", "4G:8G", "CPUAffinity=0-3", "KillSignal=", "StandardOutput=append:/x", "$$"),
        *("${X}", "$X", "\\", "\\x20", "\\777", "ConditionPathExists=|!/x", "ExecStartPre=", ";"),
        *(
            "User=",
            "UMask=",
            "Nice=",
            "TimeoutStopSec=",
            "Requires=a.service",
            "ExecStop=",
            "notify",
        ),
        *(
            "SuccessExitStatus=",
            "StartLimitBurst=",
            "KillMode=mixed",
            "WorkingDirectory=",
            "Group=",
        ),
    ],
    "toml": [
        *("[component.a]", "[daemon]", "[[on-exit]]", "[component.a.limits]", "[defaults]", "[x"),
        *("command = ", "= ", '"prog', "['a', 'b']", "{ A = 'b' }", '"""', "'''", "[", "]", "{"),
        *("mode = 'inetd'", "socket = 'inet://[::1]:80'", "prerequisites = 'all'", "instances = 3"),
        *("env = [{ set = 'A=b' }, { clear = true }]", "ready = { tcp = 'x:1', timeout = 1 }"),
        *("on-exit = [{ codes = 1, action = 'disable' }]", "limits = { nofile = 5 }", "true"),
        *("1979-05-27T07:32:00Z", "07:32:00", "0x1F", "1_000", "1e400", "inf", "nan", "-0", "a.b."),
        *("include = ['/nowhere/*']", "umask = '022'", "[acl]", "office = ['allow all']", "99999"),
    ],
}
SIGNS = list("\n\n\n  \t#;=:,\"'\\%$(){}[]<>&|*~\r\0\x02\x1c\u2028é\ufeff0129aZ-_./@+!")


def texts(name: str) -> st.SearchStrategy[str]:
    """Return texts that look somewhat like files of a syntax."""
    pieces = st.one_of(st.sampled_from(WORDS[name]), st.sampled_from(SIGNS), st.text(max_size=3))
    samples = [path.read_text() for path in sorted((CORPUS / name).iterdir())]
    return st.one_of(
        st.lists(pieces, max_size=40).map("".join),
        st.lists(pieces, max_size=40).map(" ".join),
        st.tuples(
            st.sampled_from(samples), st.integers(0, 2000), st.integers(0, 40), st.lists(pieces)
        ).map(lambda cut: f"{cut[0][: cut[1]]}{''.join(cut[3])}{cut[0][cut[1] + cut[2] :]}"),
    )


def check(name: str, text: str) -> None:
    """Read a text, print what comes of it, and read that."""
    read, remarks = READERS[name]
    problems: list[Problem] = []
    root = read(text, f"a@.{name}", problems)
    remarks(text)
    comments.of_pies(text)
    lines = text.count("\n") + 1
    for problem in problems:
        assert problem.file, problem
        own = problem.file == f"a@.{name}"
        assert 1 <= problem.line <= (lines if own else 2), problem
        assert "\n" not in str(problem), problem
    if root is None:
        assert any(not problem.warning for problem in problems)
        return
    check_plan(root, problems)
    if any(not problem.warning for problem in problems):
        return  # Only what is right is printed.
    printed = print_toml(root)
    found: list[Problem] = []
    again = toml.read(printed, "a", found)
    assert found == []
    assert again is not None
    assert without_nan(plain(again)) == without_nan(plain(root))
    reading = Reading(options=PreprocessOptions(enabled=False))
    pies.read(print_pies(root, []), "a", found, reading)


def without_nan(value: Plain) -> Plain:
    """Return *value* with each nan, which equals nothing, as a text."""
    if isinstance(value, dict):
        return {name: without_nan(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return tuple(without_nan(each) for each in value)
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def check_plan(root: Node, problems: list[Problem]) -> None:
    """Build the plan of what was read; everything that is wrong must have a place."""
    told: tuple[Problem, ...] = ()
    try:
        make_plan(
            Sources((Document(root.file, "toml", root),), frozenset()),
            [SourceFile(root.file, "")],
            list(problems),
            environ={"PATH": "/bin"},
            euid=0,
            instance=None,
            sockets=(),
            host=InventedHost(),
        )
    except ConfigRejected as rejected:
        told = rejected.problems
    for problem in told:
        assert problem.message, problem
        assert problem.line >= 1 or problem.warning, problem


@pytest.mark.parametrize("name", list(READERS))
def test_the_examples_that_were_kept_end_well(name: str) -> None:
    for path in sorted((CORPUS / name).iterdir()):
        with no_hang():
            check(name, path.read_text())


@pytest.mark.parametrize("name", list(READERS))
def test_a_random_text_ends_well(name: str) -> None:
    fuzz(name, texts(name), partial(check, name))
