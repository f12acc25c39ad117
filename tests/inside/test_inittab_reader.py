"""What the lines of inittab become, and what is said about those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from config_text import InventedHost
from supervisor.config import inittab
from supervisor.config.convert import convert
from supervisor.config.load import load, make_plan
from supervisor.config.nodes import plain
from supervisor.config.sources import Document, Sources
from supervisor.engine.plan import Plan
from supervisor.model.component import Component, Mode
from supervisor.model.errors import ConfigRejected, Problem
from supervisor.model.settings import SourceFile

CORPUS = Path(__file__).parent.parent / "corpus" / "inittab"


def tables(text: str) -> dict[str, object]:
    """Return the components of a file without faults."""
    problems: list[Problem] = []
    root = inittab.read(text, "inittab", problems)
    assert problems == []
    assert root is not None
    found = plain(root)
    assert isinstance(found, dict)
    components = found.get("component", {})
    assert isinstance(components, dict)
    return components


def table(line: str) -> object:
    (found,) = tables(line).values()
    return found


def plan(text: str, *, init: bool = False, file: str = "inittab", syntax: str = "inittab") -> Plan:
    """Build the plan of a file, on an invented machine."""
    problems: list[Problem] = []
    root = inittab.read(text, file, problems)
    assert root is not None
    return make_plan(
        Sources((Document(file, syntax, root),), frozenset()),
        [SourceFile(file, syntax)],
        problems,
        environ={"PATH": "/bin"},
        euid=0,
        instance=None,
        sockets=(),
        host=InventedHost(),
        init=init,
    )


def warned(text: str, *, init: bool = False) -> list[tuple[int, str]]:
    """Return line and message of what is warned about."""
    return [(problem.line, problem.message) for problem in plan(text, init=init).warnings]


def test_a_line_is_a_component_that_runs_in_its_levels() -> None:
    made = plan("id:2:initdefault:\n c1 : 12s : respawn : /bin/prog -l  tty1\n")
    (component,) = made.components
    assert (component.tag, component.mode, component.runlevels) == ("c1", Mode.RESPAWN, "12S")
    assert component.argv == ("/bin/prog", "-l", "tty1")
    assert component.source.line == 2
    assert made.daemon.runlevel == "2"
    assert made.warnings == ()


def test_every_mode_is_known() -> None:
    modes = [mode for mode in inittab.MODES if mode not in ("off", "initdefault")]
    lines = [f"x{number}:2a:{mode}:/bin/prog" for number, mode in enumerate(modes)]
    made = plan("\n".join(["id:2:initdefault:", *lines]))
    assert [component.mode.value for component in made.components] == modes
    without = {component.mode for component in made.components if component.runlevels is None}
    assert without == {Mode.SYSINIT, Mode.BOOT, Mode.BOOTWAIT}


def test_without_levels_a_line_is_for_0_to_9() -> None:
    assert table("x::respawn:/bin/a") == {
        "mode": "respawn",
        "runlevels": "0123456789",
        "command": ("/bin/a",),
    }
    assert table("x::ondemand:/bin/a") == {
        "mode": "ondemand",
        "runlevels": "abc",
        "command": ("/bin/a",),
    }


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("/etc/rc  2\tnow", ("/etc/rc", "2", "now")),
        ("+/sbin/getty tty1", ("/sbin/getty", "tty1")),
        ("/bin/a: b", ("/bin/a:", "b")),
        ("/etc/rc > /dev/null", ("/bin/sh", "-c", "exec /etc/rc > /dev/null")),
        ("echo 'a b' ${instance}", ("/bin/sh", "-c", "exec echo 'a b' ${instance}")),
        ("+ echo $HOME", ("/bin/sh", "-c", "exec echo $HOME")),
        ("@/bin/odd 'a'", ("/bin/odd", "'a'")),
    ],
)
def test_a_command_is_run_as_sysvinit_runs_it(command: str, argv: tuple[str, ...]) -> None:
    (component,) = plan(f"id:2:initdefault:\nx:2:once:{command}").components
    assert component.argv == argv


def test_a_plus_before_the_command_keeps_it_out_of_utmp() -> None:
    lines = "id:2:initdefault:\na:2:respawn:/bin/a\nb:2:respawn:+ @/bin/b x"
    loud, silent = plan(lines).components
    assert (loud.utmp, silent.utmp, silent.argv) == (True, False, ("/bin/b", "x"))


def test_comments_blank_lines_and_lines_that_are_off_are_passed_over() -> None:
    assert tables("# x\n\n  # y:2:respawn:/z\r\na:2:off:/bin/a\n#pies is nice\n") == {}


def test_of_several_default_levels_the_highest_counts() -> None:
    assert plan("id:135:initdefault:\na:1:once:/bin/prog").daemon.runlevel == "5"
    assert plan("id:3s:initdefault:\na:1:once:/bin/prog").daemon.runlevel == "S"


def test_an_id_that_is_no_tag_becomes_one() -> None:
    assert list(tables("a~b:2:once:/bin/a\n.x:2:once:/bin/b\n")) == ["a-b", "x"]


def test_twenty_faults_are_twenty_problems_with_their_lines() -> None:
    text = (CORPUS / "wrong").read_text()
    problems: list[Problem] = []
    inittab.read(text, "inittab", problems)
    expected = {
        1: "a line is ID:RUNLEVELS:MODE:COMMAND, and this one lacks RUNLEVELS and MODE",
        2: "and this one lacks MODE and COMMAND",
        3: "must be one of respawn, wait, once",
        4: "did you mean 'respawn'?",
        5: "'x' is no runlevel: they are 0 to 9, S, and a, b and c",
        6: "the id is missing in ':2:respawn:/bin/c'",
        7: "the command is missing: mode respawn needs one",
        8: "the command is missing: mode respawn needs one",
        10: "is already defined at inittab:9",
        11: "would ask on the console; piesd cannot",
        12: "'a' starts what is on demand: it is no runlevel",
        14: "the runlevel is already set at inittab:13",
        15: "a pragma is missing: debug, next or stop",
        16: "unknown pragma 'nxt'; did you mean 'next'?",
        17: "a pragma 'next' has a syntax and a file",
        18: "a pragma 'debug' has one number",
        19: "a pragma 'stop' stands alone",
        20: "must not contain a null character",
    }
    found = [(problem.line, problem.message) for problem in problems]
    # Line 3 has two: its mode, and its runlevel.
    assert sorted({line for line, _ in found}) == list(expected)
    assert len(found) == 19
    for line, words in expected.items():
        assert any(line == at and words in message for at, message in found), (line, words)


# --- pragmas


def files(tmp_path: Path, **texts: str) -> list[Component]:
    """Load inittab, and afterwards extra.toml, of these *texts*."""
    for name, text in texts.items():
        (tmp_path / name.replace("_", ".")).write_text(text)
    loaded = load(
        [
            SourceFile(str(tmp_path / "inittab"), ""),
            SourceFile(str(tmp_path / "extra.toml"), "toml"),
        ],
        environ={"PATH": "/bin"},
        euid=0,
        host=InventedHost(),
    )
    return list(loaded.components)


def test_a_pragma_names_the_next_file_and_its_syntax(tmp_path: Path) -> None:
    made = files(
        tmp_path,
        inittab="id:2:initdefault:\n#pies pragma next toml more\na:2:once:/bin/prog\n",
        more="[component.b]\ncommand = '/bin/prog'\n",
        extra_toml="[component.c]\ncommand = '/bin/prog'\n",
    )
    assert [component.tag for component in made] == ["a", "b", "c"]


def test_a_pragma_ends_the_reading_after_its_file(tmp_path: Path) -> None:
    made = files(
        tmp_path,
        inittab="id:2:initdefault:\n#pies pragma stop\na:2:once:/bin/prog\n",
        extra_toml="this is not even TOML",
    )
    assert [component.tag for component in made] == ["a"]


def test_the_next_file_is_refused_at_the_line_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigRejected) as caught:
        files(
            tmp_path,
            inittab="\n#pies pragma next meta1 /etc/meta1\n#pies pragma next toml missing\n",
            extra_toml="[component.c]\ncommand = '/bin/prog'\n",
        )
    first, second = caught.value.problems
    assert (first.line, first.key) == (2, "next")
    assert "the meta1 syntax is not supported yet" in first.message
    assert (second.line, second.key) == (3, "next")
    assert "No such file" in second.message


def test_a_pragma_about_debugging_is_a_warning() -> None:
    assert warned("id:2:initdefault:\n#pies pragma debug 3\na:2:once:/bin/prog\n") == [
        (2, "has no effect here: see --debug and 'log-level'")
    ]


def test_a_conversion_tells_that_the_next_file_is_left_out() -> None:
    text = "#pies pragma next pies /etc/pies.init\na:2:once:/bin/prog\n"
    printed, problems = convert(text, "inittab", "inittab")
    assert [(problem.line, problem.key) for problem in problems] == [(1, "next")]
    assert "[component.a]" in printed


# --- runlevels in any syntax


def test_what_never_runs_and_what_has_no_effect_is_warned_about() -> None:
    text = "a:2:respawn:/bin/prog\nb::sysinit:/bin/prog\nc:a:ondemand:/bin/prog\n"
    assert warned(text) == [
        (1, "has no effect: [daemon] has no 'runlevel'"),
        (
            2,
            "a component of mode sysinit never runs: piesd is no init process here, and "
            "[daemon] has no 'runlevel'",
        ),
        (
            3,
            "a component of mode ondemand never runs: piesd is no init process here, and "
            "[daemon] has no 'runlevel'",
        ),
    ]
    assert warned(f"id:2:initdefault:\n{text}") == []
    assert warned(text, init=True) == []


def test_on_demand_needs_a_letter_and_others_have_none() -> None:
    with pytest.raises(ConfigRejected) as caught:
        plan("id:2:initdefault:\nx:23:ondemand:/bin/prog")
    (problem,) = caught.value.problems
    assert (problem.line, problem.message) == (
        2,
        "mode ondemand needs 'runlevels' with a, b or c in it",
    )
    found = warned("id:2:initdefault:\nx:2a:respawn:/bin/prog")
    assert found == [(2, "a has no effect: that is for mode ondemand")]


# --- the single user


def shell(text: str, *, init: bool = True) -> Component | None:
    return next((one for one in plan(text, init=init).components if one.runlevels == "S"), None)


def test_an_init_process_has_a_shell_for_a_single_user_where_none_is_configured() -> None:
    found = shell("id:2:initdefault:\na:2:once:/bin/prog")
    assert found is not None
    assert (found.tag, found.mode, found.argv[0]) == ("single-user", Mode.WAIT, "/bin/sh")
    again = shell("id:S:initdefault:\nsingle-user:2:once:/bin/prog")
    assert again is not None
    assert (again.tag, again.mode) == ("single-user.", Mode.RESPAWN)
    assert shell("id:2:initdefault:\na:2:once:/bin/prog", init=False) is None
    own = shell("id:2:initdefault:\na:S:once:/bin/prog")
    assert own is not None
    assert own.tag == "a"
