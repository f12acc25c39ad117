"""Files that include others, in pies' syntax: real files, and a real m4 where there is one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path

import pytest

from pies_text import plain
from supervisor.config.load import load
from supervisor.config.pies.include import tags_in
from supervisor.config.pies.options import PreprocessOptions, Reading
from supervisor.config.pies.reader import read
from supervisor.config.sources import preprocessed
from supervisor.model.errors import ConfigRejected, Problem
from supervisor.model.settings import SourceFile
from supervisor.system import preprocess

m4 = pytest.mark.skipif(shutil.which("m4") is None, reason="there is no m4 on this machine")


def _write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        path = directory / f"{name}.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory / "main.conf"


def _read(path: Path, reading: Reading | None = None) -> tuple[object, list[Problem]]:
    problems: list[Problem] = []
    root = read(path.read_text(), str(path), problems, reading)
    return (plain(root) if root else None), problems


def _component(tag: str) -> str:
    return f"component {tag} {{ command /bin/true; flags siggroup; }}\n"


def _tags(tree: object) -> list[str]:
    assert isinstance(tree, dict)
    return list(tree["component"])


# --- includes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ['"{0}"', "{0}", "<{0}>", '"{0}"  # why', "{0} "])
def test_an_absolute_path_is_that_file(tmp_path: Path, form: str) -> None:
    _write(tmp_path, other=_component("b"))
    include = form.format(tmp_path / "other.conf")
    main = _write(tmp_path, main=f"{_component('a')}  #include {include}\n{_component('c')}")
    tree, problems = _read(main)
    assert not problems
    assert _tags(tree) == ["a", "b", "c"]


def test_what_is_included_has_its_own_places(tmp_path: Path) -> None:
    _write(tmp_path, other="\numask 999999;\nmode x;\n")
    main = _write(tmp_path, main=f'#include "{tmp_path}/other.conf"\nmode y;\n')
    _, problems = _read(main)
    assert [(os.path.basename(each.file), each.line) for each in problems] == [
        ("other.conf", 3),
        ("main.conf", 2),
    ]


def test_an_include_may_stand_within_a_block(tmp_path: Path) -> None:
    _write(tmp_path, common="chdir /srv;\nuser root;")
    main = _write(
        tmp_path, main=f'component a {{\n#include "{tmp_path}/common.conf"\n command x;\n}}'
    )
    tree, problems = _read(main)
    assert not problems
    assert tree["component"]["a"] == {  # type: ignore[index]  # a table
        "chdir": "/srv",
        "user": "root",
        "command": "x",
        "siggroup": False,
    }


def test_a_pattern_includes_all_matches_in_their_order_and_may_match_nothing(
    tmp_path: Path,
) -> None:
    for name in ("b", "a", "c"):
        _write(tmp_path / "d", **{name: _component(name)})
    main = _write(tmp_path, main=f'#include "{tmp_path}/d/*.conf"\n#include {tmp_path}/none/?.x\n')
    tree, problems = _read(main)
    assert not problems
    assert _tags(tree) == ["a", "b", "c"]


def test_a_missing_file_is_a_problem_at_the_include(tmp_path: Path) -> None:
    main = _write(
        tmp_path, main=f'\n#include "{tmp_path}/none.conf"\n#include "nix"\n#include <nix>\n'
    )
    _, problems = _read(main)
    assert [problem.line for problem in problems] == [2, 3, 4]
    assert "No such file" in problems[0].message
    assert "the current directory" in problems[1].message
    assert "the current directory" not in problems[2].message


def test_a_relative_name_is_found_here_then_on_the_path_then_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, path, beside = (tmp_path / name for name in ("here", "path", "beside"))
    for directory in (here, path, beside):
        _write(directory, x=_component(directory.name))
    main = _write(beside, main='#include "x.conf"\n')
    reading = Reading(options=PreprocessOptions(include=(str(path),)))
    monkeypatch.chdir(here)
    assert _tags(_read(main, reading)[0]) == ["here"]
    (here / "x.conf").unlink()
    assert _tags(_read(main, reading)[0]) == ["path"]
    (path / "x.conf").unlink()
    assert _tags(_read(main, reading)[0]) == ["beside"]


def test_angle_brackets_look_only_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    _write(one, y=_component("one"))
    for directory in (two, tmp_path):
        _write(directory, x=_component(directory.name), y=_component("two"))
    main = _write(tmp_path, main="#include <x.conf>\n#include <y.conf>\n")
    monkeypatch.chdir(tmp_path)
    reading = Reading(options=PreprocessOptions(include=(str(one), str(two))))
    assert _tags(_read(main, reading)[0]) == ["two", "one"]


def test_include_once_skips_what_was_included_before(tmp_path: Path) -> None:
    _write(tmp_path, other='component a { command x; env { set "A=$A."; } }\n')
    once, again = (f'#{word} "{tmp_path}/other.conf"\n' for word in ("include_once", "include"))

    def steps(*lines: str) -> int:
        tree, problems = _read(_write(tmp_path, main="".join(lines)))
        assert not problems
        return len(tree["component"]["a"]["env"])  # type: ignore[index]  # a table

    assert steps(once, once) == 1
    assert steps(again, once) == 1
    assert steps(once, again) == 2


def test_files_that_include_each_other_in_a_circle_are_told(tmp_path: Path) -> None:
    main = _write(
        tmp_path,
        main=f'umask 022;\n#include "{tmp_path}/b.conf"\n',
        b=f'\n\n#include "{tmp_path}/main.conf"\n',
    )
    tree, problems = _read(main)
    (problem,) = problems
    assert (os.path.basename(problem.file), problem.line) == ("b.conf", 3)
    assert "main.conf → " in problem.message
    assert tree == {"daemon": {"umask": "022"}}


def test_a_chain_of_includes_has_an_end(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}").write_text(f'#include "{tmp_path}/{number + 1}"\n')
    _, problems = _read(tmp_path / "0")
    (problem,) = problems
    assert "deep" in problem.message


def test_a_file_that_multiplies_itself_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.config.pies.include.MOST_FILES", 300)
    for number in range(30):
        (tmp_path / f"{number}").write_text(f'#include "{tmp_path}/{number + 1}"\n' * 2)
    (tmp_path / "30").write_text("")
    tree, problems = _read(tmp_path / "0")
    assert tree is None
    assert "more than 300 files" in problems[0].message


def test_what_cannot_be_read_is_a_problem_and_not_an_end(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\n# caf\xe9\ncomponent z { command x; }\n")
    os.mkfifo(tmp_path / "fifo")
    names = ("latin", "fifo", ".")
    lines = "".join(f'#include "{tmp_path}/{name}"\n' for name in names)
    reading = Reading()
    tree, problems = _read(_write(tmp_path, main=f"{lines}umask 022;"), reading)
    assert [problem.line for problem in problems] == [2, 2, 3]
    assert "0xe9" in problems[0].message
    assert tree == {"daemon": {"umask": "022"}}
    assert reading.broken == {"z"}


def test_a_brace_may_be_closed_in_another_file(tmp_path: Path) -> None:
    _write(tmp_path, head="component a {", tail=" command x; }")
    text = f'#include "{tmp_path}/head.conf"\n chdir /y;\n#include "{tmp_path}/tail.conf"\n'
    tree, problems = _read(_write(tmp_path, main=text))
    assert not problems
    assert _tags(tree) == ["a"]


def test_an_inetd_file_becomes_components_of_this_one(tmp_path: Path) -> None:
    line = "finger stream tcp nowait root /usr/sbin/in.fingerd in.fingerd -u\n"
    (tmp_path / "inetd.conf").write_text(line)
    tree, problems = _read(_write(tmp_path, main=f'include-inetd "{tmp_path}/inetd.conf";\n'))
    assert not [problem for problem in problems if not problem.warning]
    assert isinstance(tree, dict)
    (component,) = tree["component"].values()
    assert component["mode"] == "inetd"
    _, problems = _read(_write(tmp_path, main='\ninclude-inetd "/nowhere/inetd.conf";\n'))
    assert [problem.line for problem in problems] == [2]


def test_several_files_of_several_syntaxes_are_one_configuration(tmp_path: Path) -> None:
    _write(
        tmp_path, a='component web { command "/bin/true one"; }\n', b="component web { chdir /; }"
    )
    (tmp_path / "c.toml").write_text('[component.db]\ncommand = "/bin/true"\n')
    files = [SourceFile(str(tmp_path / name), "") for name in ("a.conf", "c.toml", "b.conf")]
    plan = load(files, environ={"PATH": "/bin"}, euid=1000)
    assert [component.tag for component in plan.components] == ["web", "db"]
    assert plan.components[0].chdir == "/"


def test_a_tag_of_pies_and_toml_is_defined_twice(tmp_path: Path) -> None:
    _write(tmp_path, a="component web { command /bin/true; }\n")
    (tmp_path / "c.toml").write_text('[component.web]\ncommand = "/bin/true"\n')
    files = [SourceFile(str(tmp_path / name), "") for name in ("a.conf", "c.toml")]
    with pytest.raises(ConfigRejected) as caught:
        load(files, environ={"PATH": "/bin"}, euid=1000)
    assert "already defined" in caught.value.problems[0].message


def test_the_tags_of_a_text_are_found_whatever_is_wrong_with_it() -> None:
    assert tags_in('component a {\n\tcomponent "b.c" { \n# component x\ncomponents y') == [
        "a",
        "b.c",
    ]


# --- the preprocessor -------------------------------------------------------------------------


def _with_m4(path: Path, **options: object) -> tuple[object, list[Problem]]:
    given = PreprocessOptions(**options)  # type: ignore[arg-type]  # passed through
    return _read(path, Reading(options=given, run=preprocess.run))


@m4
def test_macros_of_m4_are_expanded_and_lines_stay_right(tmp_path: Path) -> None:
    text = "m4_define(`DIR',`/srv')m4_dnl\n\ncomponent a {\n chdir DIR;\n mod x;\n}\n"
    tree, problems = _with_m4(_write(tmp_path, main=text))
    assert isinstance(tree, dict)
    assert tree["component"]["a"]["chdir"] == "/srv"
    assert [(os.path.basename(each.file), each.line) for each in problems] == [("main.conf", 5)]


@m4
def test_defines_of_the_command_line_reach_m4(tmp_path: Path) -> None:
    main = _write(tmp_path, main="component a { chdir DIR; }\nm4_ifdef(`OTHER',`umask 022;')\n")
    tree, problems = _with_m4(main, defines=("DIR=/srv", "OTHER"), undefines=("OTHER",))
    assert not problems
    assert isinstance(tree, dict)
    assert tree["component"]["a"]["chdir"] == "/srv"
    tree, _ = _with_m4(main, defines=("OTHER",))
    assert isinstance(tree, dict)
    assert tree["daemon"] == {"umask": "022"}


@m4
def test_each_file_is_preprocessed_by_its_own_run(tmp_path: Path) -> None:
    _write(tmp_path, other="component b { chdir DIR; }\nm4_define(`X',`y')\n")
    include = f'#include "{tmp_path}/other.conf"'
    text = f"m4_define(`DIR',`/srv')\n{include}\ncomponent X {{ chdir DIR; }}\n"
    tree, problems = _with_m4(_write(tmp_path, main=text))
    assert not problems
    assert isinstance(tree, dict)
    assert {tag: table["chdir"] for tag, table in tree["component"].items()} == {
        "b": "DIR",
        "X": "/srv",
    }


@m4
def test_m4_finds_its_includes_on_the_include_path(tmp_path: Path) -> None:
    (tmp_path / "macros.m4").write_text("m4_define(`DIR',`/srv')m4_dnl\n")
    main = _write(tmp_path, main="m4_include(`macros.m4')\ncomponent a { chdir DIR; }\n")
    tree, problems = _with_m4(main, include=(str(tmp_path),))
    assert not problems
    assert isinstance(tree, dict)
    assert tree["component"]["a"]["chdir"] == "/srv"


@m4
def test_what_m4_complains_about_is_told_at_its_line(tmp_path: Path) -> None:
    tree, problems = _with_m4(_write(tmp_path, main="umask 022;\n\n`never closed\n"))
    assert tree is None
    (problem,) = problems
    assert not problem.warning
    assert os.path.basename(problem.file) == "main.conf"
    assert "end of file in string" in problem.message
    tree, problems = _with_m4(_write(tmp_path, main="\nm4_errprint(`careful')umask 022;\n"))
    assert [problem.warning for problem in problems] == [True]
    assert tree == {"daemon": {"umask": "022"}}


@m4
def test_what_m4_would_not_change_is_what_m4_does_not_change(tmp_path: Path) -> None:
    text = "# `quoted' m4_define\ncomponent a { command \"it's $1 len(x) __file__\"; }\n"
    code, output, _ = preprocess.run(["m4", "-s", "-P"], text.encode())
    assert code == 0
    assert output.decode() == f'#line 1 "stdin"\n{text}'
    _, problems = _read(_write(tmp_path, main=text))  # Nothing can be run, and nothing needs to.
    assert not problems


def test_a_preprocessor_of_ones_own_reads_standard_input(tmp_path: Path) -> None:
    main = _write(tmp_path, main="component a { chdir @DIR@; }\n")
    tree, problems = _with_m4(main, command="sed -e 's,@DIR@,/srv,' --")
    # It gets the options of an include path as well, which this one does not know.
    assert problems
    script = tmp_path / "pre"
    script.write_text("#!/bin/sh\nexec sed -e 's,@DIR@,/srv,'\n")
    script.chmod(0o755)
    tree, problems = _with_m4(main, command=f"{script} -s", defines=("A=1",))
    assert not problems
    assert isinstance(tree, dict)
    assert tree["component"]["a"]["chdir"] == "/srv"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("/nowhere/pre", "there is no such program"),
        ("'unclosed", "No closing quotation"),
        ("", "it is empty"),
        ("false", "failed with code 1"),
        ("printf '\\377'", "not UTF-8"),
    ],
)
def test_a_preprocessor_that_does_not_work_is_a_problem(
    tmp_path: Path, command: str, said: str
) -> None:
    tree, problems = _with_m4(_write(tmp_path, main="umask 022;\n"), command=command)
    assert tree is None
    assert said in problems[0].message


def test_without_preprocessor_the_text_is_read_as_it_is(tmp_path: Path) -> None:
    tree, problems = _with_m4(
        _write(tmp_path, main='component a { command "`x\' m4_y"; }'),
        enabled=False,
        command="false",
    )
    assert not problems
    assert isinstance(tree, dict)
    assert tree["component"]["a"]["command"] == "`x' m4_y"


def test_a_missing_m4_is_told_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    tree, problems = _with_m4(
        _write(tmp_path, main="umask 022;\n\nm4_dnl\ncomponent z { command x; }")
    )
    assert tree is None
    (problem,) = problems
    assert problem.line == 3
    assert "install" in problem.message
    assert "m4" in problem.message


def test_a_preprocessor_that_does_not_end_is_killed() -> None:
    with pytest.raises(TimeoutError):
        preprocess.run(["sh", "-c", "sleep 100 | cat"], b"", timeout=0.2)


def test_a_preprocessor_that_hangs_is_waited_for_once(tmp_path: Path) -> None:
    runs = []

    def hang(words: object, data: bytes) -> tuple[int, bytes, bytes]:
        runs.append(data)
        raise TimeoutError(110, "it did not end within 10 seconds")

    paths = [
        SourceFile(str(_write(tmp_path, **{name: "umask 022;\n"}).with_stem(name)), "")
        for name in "abc"
    ]
    with pytest.raises(ConfigRejected) as caught:
        load(paths, environ={}, euid=1000, preprocessing=PreprocessOptions(command="x"), run=hang)
    assert [os.path.basename(each.file) for each in caught.value.problems] == [
        "a.conf",
        "b.conf",
        "c.conf",
    ]
    assert len(runs) == 1


def test_a_file_that_is_included_again_is_preprocessed_once(tmp_path: Path) -> None:
    runs = []

    def run(words: object, data: bytes) -> tuple[int, bytes, bytes]:
        runs.append(data)
        return 0, data.replace(b"X", b"/srv"), b""

    _write(tmp_path, other="component a { chdir X; }\n")
    main = _write(tmp_path, main=f'#include "{tmp_path}/other.conf"\n' * 3)
    tree, problems = _read(main, Reading(options=PreprocessOptions(command="x"), run=run))
    assert not problems
    assert isinstance(tree, dict)
    assert tree["component"]["a"]["chdir"] == "/srv"
    assert len(runs) == 2


@pytest.mark.parametrize("where", ["1", "2"])
def test_a_preprocessor_that_writes_without_end_is_killed(where: str) -> None:
    with pytest.raises(OSError, match="it wrote more than 16 MiB"):
        preprocess.run(["sh", "-c", f"yes >&{where} | cat"], b"", timeout=60)


@pytest.mark.parametrize("program", ["cat; cat /dev/null", "head -c 1; exit 0", "cat; : >&2"])
def test_a_large_text_goes_through_a_preprocessor(program: str) -> None:
    text = b"x" * 1_000_000
    code, output, said = preprocess.run(["sh", "-c", program], text)
    assert (code, said) == (0, b"")
    assert text.startswith(output)


def test_complaints_without_places_keep_their_order(tmp_path: Path) -> None:
    script = "sh -c '{ echo z unknown; echo stdin:1: bad; echo; echo a: see help; } >&2; exit 2'"
    _, problems = _with_m4(_write(tmp_path, main="umask 022;\n"), command=script)
    assert [each.message for each in problems] == [
        "preprocessor: bad",
        "preprocessor: z unknown a: see help",
    ]


def test_the_code_of_a_preprocessor_is_told_though_somebody_else_reaps_it() -> None:
    def reap(number: int, frame: object) -> None:
        del number, frame
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    before = signal.signal(signal.SIGCHLD, reap)
    try:
        found = preprocess.run(["sh", "-c", "cat; echo no >&2; exit 3"], b"text")
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert found == (3, b"text", b"no\n")


def test_preprocessed_files_are_shown_one_after_the_other(tmp_path: Path) -> None:
    script = tmp_path / "pre"
    script.write_text("#!/bin/sh\nexec tr a-z A-Z\n")
    script.chmod(0o755)
    main = _write(tmp_path, main='x "y"', other="z\n")
    (tmp_path / "c.toml").write_text("a = 1\n")
    names = [str(main), str(tmp_path / "other.conf"), str(tmp_path / "c.toml")]
    problems: list[Problem] = []
    text = preprocessed(
        [SourceFile(name, "") for name in names],
        problems,
        environ={},
        euid=1000,
        preprocessing=PreprocessOptions(command=str(script)),
        run=preprocess.run,
    )
    assert not problems
    assert text == (
        f'#line 1 "{names[0]}"\nX "Y"\n#line 1 "{names[1]}"\nZ\n#line 1 "{names[2]}"\na = 1\n'
    )
