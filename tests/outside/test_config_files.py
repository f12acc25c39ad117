"""Files, directories, includes and this machine, as they really are."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from supervisor.config.files import LARGEST
from supervisor.config.host import Host
from supervisor.config.load import default_files, load
from supervisor.engine.plan import Plan
from supervisor.model.errors import ConfigRejected, Problem
from supervisor.model.settings import SourceFile

ROOT = Path(__file__).parents[2]
ENVIRON = {"PATH": os.environ["PATH"]}


def load_files(*paths: Path | str | SourceFile, environ: dict[str, str] | None = None) -> Plan:
    files = [path if isinstance(path, SourceFile) else SourceFile(str(path), "") for path in paths]
    return load(files, environ=ENVIRON if environ is None else environ, euid=os.geteuid())


def rejected(*paths: Path | str | SourceFile) -> tuple[Problem, ...]:
    with pytest.raises(ConfigRejected) as caught:
        load_files(*paths)
    return tuple(problem for problem in caught.value.problems if not problem.warning)


def write(path: Path, *tags: str, more: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(more + "".join(f"\n[component.{tag}]\ncommand = 'true'" for tag in tags))
    return path


def tags(plan: Plan) -> list[str]:
    return [component.tag for component in plan.components]


def test_a_directory_is_read_in_sorted_order_and_the_rest_of_it_is_skipped(tmp_path: Path) -> None:
    write(tmp_path / "b.toml", "b")
    write(tmp_path / "a.toml", "a")
    write(tmp_path / "B.toml", "upper")
    write(tmp_path / ".hidden.toml", "hidden")
    write(tmp_path / "a.toml~", "backup")
    write(tmp_path / "README", "readme")
    write(tmp_path / "sub" / "c.toml", "below")
    (tmp_path / "dir.toml").mkdir()
    os.mkfifo(tmp_path / "fifo.toml")
    (tmp_path / "masked.toml").symlink_to("/dev/null")
    (tmp_path / "link.toml").symlink_to(write(tmp_path / "elsewhere" / "x", "linked"))
    (tmp_path / "gone.toml").symlink_to(tmp_path / "nothing")
    plan = load_files(tmp_path)
    assert tags(plan) == ["upper", "a", "b", "linked"]
    (warning,) = plan.warnings
    assert (warning.file, warning.message) == (
        str(tmp_path / "gone.toml"),
        "skipped: No such file or directory",
    )


def test_files_are_read_in_the_order_they_are_named(tmp_path: Path) -> None:
    first, second = write(tmp_path / "z.toml", "z"), write(tmp_path / "d" / "a.toml", "a")
    plan = load_files(first, second.parent)
    assert tags(plan) == ["z", "a"]
    assert plan.files == (SourceFile(str(first), ""), SourceFile(str(second.parent), ""))
    assert plan.components[1].source.file == str(second)


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.toml", "a")
    assert tags(load_files(path, tmp_path, tmp_path / "." / "a.toml")) == ["a"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("noname", "has a name that stands for no syntax; end it in .toml, or use --syntax"),
    ],
)
def test_other_syntaxes_are_known_and_refused(tmp_path: Path, name: str, words: str) -> None:
    path = write(tmp_path / name, "a")
    (problem,) = rejected(path)
    assert (problem.file, problem.line, problem.message) == (str(path), 0, words)


def test_a_conf_file_in_a_directory_is_read_too(tmp_path: Path) -> None:
    write(tmp_path / "a.toml", "a")
    path = write(tmp_path / "b.conf", "b")
    assert {problem.file for problem in rejected(tmp_path)} == {str(path)}


def test_a_syntax_that_is_said_wins_over_the_suffix(tmp_path: Path) -> None:
    path = write(tmp_path / "noname", "a")
    assert tags(load_files(SourceFile(str(path), "toml"))) == ["a"]
    assert rejected(SourceFile(str(path), "inetd"))
    (problem,) = rejected(SourceFile(str(path), "tolm"))
    assert problem.message == "unknown syntax 'tolm'; did you mean 'toml'?"


def test_of_a_directory_only_names_of_the_syntax_that_is_said_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.toml", "a")
    write(tmp_path / "b.conf", "b")
    assert tags(load_files(SourceFile(str(tmp_path), "toml"))) == ["a"]


def test_a_missing_file_is_a_problem_and_does_not_hide_others(tmp_path: Path) -> None:
    bad = write(tmp_path / "a.toml", more="[component.x]\ncomand = 'x'")
    missing = tmp_path / "missing.toml"
    first, second = rejected(missing, bad)
    assert (first.file, first.line) == (str(bad), 2)
    assert str(second) == f"{missing}: cannot read: No such file or directory"


def test_what_is_no_file_is_a_problem_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.toml")
    (problem,) = rejected(tmp_path / "fifo.toml")
    assert problem.message == "cannot read: Not a regular file"
    (problem,) = rejected("a\0b")
    assert "null" in problem.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path / "a.toml", "a").chmod(0)
    (problem,) = rejected(tmp_path)
    assert problem.message == "cannot read: Permission denied"


def test_a_file_that_is_not_utf_8_is_a_problem_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"[component.x]\ncommand = 'true'\n# caf\xe9\n")
    (problem,) = rejected(path, write(tmp_path / "b.toml", "b", more="[defaults]\n"))
    assert (problem.line, problem.message) == (3, "is not UTF-8: byte 0xe9")


def test_a_component_in_a_file_that_is_not_utf_8_is_not_called_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"[component.x]\ncommand = 'true'\n# caf\xe9\n")
    write(tmp_path / "b.toml", more="[component.b]\ncommand = 'true'\nprerequisites = 'x'")
    assert len(rejected(tmp_path)) == 1


def test_windows_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbf[component.x]\r\ncommand = 'true'\r\numask = 1\r\n")
    (problem,) = rejected(path)
    assert (problem.line, problem.key) == (3, "component.x.umask")


def test_a_huge_file_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.touch()
    os.truncate(path, LARGEST + 1)
    (problem,) = rejected(path)
    assert problem.message == "cannot read: Larger than 16 MiB"


def test_a_file_of_null_bytes_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.touch()
    os.truncate(path, 100_000)
    (problem,) = rejected(path)
    assert (problem.line, problem.key) == (1, "")


def test_a_name_that_is_not_utf_8_can_be_printed(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.toml")
    Path(os.fsdecode(path)).write_text("nope = 1")
    (problem,) = rejected(tmp_path)
    assert str(problem).encode().endswith(b"caf\\xe9.toml:1: nope: unknown key")


# --- include


def including(*patterns: str) -> str:
    return f"[daemon]\ninclude = {list(patterns)}\n"


def test_includes_are_relative_to_the_file_that_includes(tmp_path: Path) -> None:
    main = write(tmp_path / "main.toml", "main", more=including("conf.d/*.toml", "more.toml", "d"))
    write(tmp_path / "conf.d" / "b.toml", "b")
    write(tmp_path / "conf.d" / "a.toml", "a", more=including("../deep/x.toml"))
    write(tmp_path / "conf.d" / ".hidden.toml", "hidden")
    write(tmp_path / "conf.d" / "skipped.txt", "skipped")
    write(tmp_path / "deep" / "x.toml", "deep")
    write(tmp_path / "more.toml", "more")
    write(tmp_path / "d" / "in.toml", "in")
    assert tags(load_files(main)) == ["main", "a", "deep", "b", "more", "in"]


def test_a_directory_whose_name_looks_like_a_pattern_is_no_pattern(tmp_path: Path) -> None:
    main = write(tmp_path / "[x]*" / "main.toml", "main", more=including("*.toml"))
    write(tmp_path / "[x]*" / "other.toml", "other")
    assert tags(load_files(main)) == ["main", "other"]


def test_a_full_path_is_included_as_it_is(tmp_path: Path) -> None:
    other = write(tmp_path / "d" / "other.toml", "other")
    main = write(tmp_path / "main.toml", "main", more=including(str(other)))
    assert tags(load_files(main)) == ["main", "other"]


def test_a_file_included_twice_is_read_once(tmp_path: Path) -> None:
    main = write(tmp_path / "main.toml", "main", more=including("a.toml", "*.toml"))
    write(tmp_path / "a.toml", "a")
    assert tags(load_files(main, tmp_path)) == ["main", "a"]


def test_a_pattern_may_match_nothing_and_a_name_may_not(tmp_path: Path) -> None:
    main = write(tmp_path / "main.toml", "main", more=including("none/*.toml"))
    assert tags(load_files(main)) == ["main"]
    main = write(tmp_path / "main.toml", "main", more=including("none.toml"))
    (problem,) = rejected(main)
    assert (problem.file, problem.line, problem.key) == (str(main), 2, "daemon.include[0]")
    missing = tmp_path / "none.toml"
    assert problem.message == f"cannot read {missing}: No such file or directory"


def test_files_that_include_each_other_are_a_problem(tmp_path: Path) -> None:
    a, b, c = (tmp_path / f"{name}.toml" for name in "abc")
    write(a, "a", more=including("b.toml"))
    write(b, "b", more=including("c.toml"))
    write(c, "c", more=including("a.toml", "c.toml"))
    first, second = rejected(a)
    assert (first.file, first.line, first.key) == (str(c), 2, "daemon.include[0]")
    assert first.message == f"includes itself: {a} → {b} → {c} → {a}"
    assert second.message == f"includes itself: {c} → {c}"


def test_a_chain_of_includes_has_an_end(tmp_path: Path) -> None:
    for number in range(50):
        more = including(f"{number + 1}.toml")
        write(tmp_path / f"{number}.toml", f"c{number}", more=more)
    write(tmp_path / "50.toml", "c50")
    (problem,) = rejected(tmp_path / "0.toml")
    assert "more than 32 deep" in problem.message


@pytest.mark.parametrize("value", ["3", "[3]", "''", "{}", '"a\\u0000"'])
def test_an_include_that_is_no_path_is_a_problem(tmp_path: Path, value: str) -> None:
    main = write(tmp_path / "main.toml", "main", more=f"[daemon]\ninclude = {value}\n")
    (problem,) = rejected(main)
    assert problem.line == 2


def test_an_included_file_may_have_another_syntax(tmp_path: Path) -> None:
    main = write(tmp_path / "main.toml", "main", more=including("x.conf"))
    (tmp_path / "x.conf").write_text("component x { command true; }")
    assert tags(load_files(main)) == ["main", "x"]


# --- what is read when nothing is named


def test_the_usual_files_of_root_and_of_everybody_else() -> None:
    root = default_files({"XDG_CONFIG_HOME": "/x"}, 0)
    assert [each.file for each in root] == ["/etc/piesd/piesd.toml", "/etc/piesd/conf.d"]
    own = default_files({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, 1000)
    assert [each.file for each in own] == ["/x/piesd/piesd.toml", "/x/piesd/conf.d"]
    own = default_files({"HOME": "/h"}, 1000)
    assert own[0].file == "/h/.config/piesd/piesd.toml"
    entry = pwd.getpwuid(os.getuid())
    own = default_files({}, entry.pw_uid or 1)
    assert own[0].file.endswith("/.config/piesd/piesd.toml")


def test_the_environment_names_other_files() -> None:
    assert default_files({"PIESD_CONFIG": "/a:b"}, 0) == (SourceFile("/a", ""), SourceFile("b", ""))


def test_one_of_the_usual_files_may_be_missing_but_not_both(tmp_path: Path) -> None:
    environ = {**ENVIRON, "XDG_CONFIG_HOME": str(tmp_path)}
    files = default_files(environ, 1000)

    def usual() -> Plan:
        return load(files, environ=environ, euid=1000)

    with pytest.raises(ConfigRejected) as caught:
        usual()
    assert [problem.file for problem in caught.value.problems] == sorted(
        source.file for source in files
    )
    write(tmp_path / "piesd" / "conf.d" / "a.toml", "a")
    assert tags(usual()) == ["a"]
    write(tmp_path / "piesd" / "piesd.toml", "main", more=including("conf.d/*.toml"))
    plan = usual()
    assert tags(plan) == ["main", "a"]
    assert plan.files == files  # A reload looks at both again.


# --- this machine


def test_the_machine_answers_for_users_groups_services_and_programs(tmp_path: Path) -> None:
    host = Host()
    assert host.user("root") == 0
    assert host.user("no-such-user-here") is None
    assert host.has_group("root")
    assert not host.has_group("no-such-group-here")
    assert host.service_port("no-such-service-here") is None
    assert host.is_directory("/")
    assert not host.is_directory(str(tmp_path / "none"))
    assert host.executable("/bin/sh") == "fine"
    assert host.executable("/") == "missing"
    assert host.executable("/dev/null") == "not executable"
    plain = tmp_path / "plain"
    plain.touch()
    assert host.executable(str(plain)) == "not executable"
    assert host.find_program("plain", f"{tmp_path}") == "not executable"
    assert host.find_program("sh", f"/none:{tmp_path}:/bin") == "fine"
    assert host.find_program("no-such-program", "/bin:/usr/bin") == "missing"


def test_the_machine_is_asked_anew_for_each_reading(tmp_path: Path) -> None:
    main = tmp_path / "a.toml"
    main.write_text(f"[component.x]\ncommand = 'true'\nchdir = '{tmp_path}/new'")
    assert load_files(main).warnings
    (tmp_path / "new").mkdir()
    assert not load_files(main).warnings


def test_a_user_that_does_not_exist_here_is_a_problem(tmp_path: Path) -> None:
    main = write(tmp_path / "a.toml", "x", more="[defaults]\nuser = 'no-such-user-here'\n")
    (problem,) = rejected(main)
    assert problem.message == "there is no user 'no-such-user-here'"


def test_the_samples_have_neither_problems_nor_warnings() -> None:
    plan = load_files(ROOT / "conf.d")
    assert plan.warnings == ()
    assert len(plan.components) >= 8


def test_a_thousand_components_are_read_and_linked(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        "".join(
            f"[component.c{n}]\ncommand = ['sleep', 'inf']\nprerequisites = ['c{n - 1}']\n"
            if n
            else "[component.c0]\ncommand = ['sleep', 'inf']\n"
            for n in range(1000)
        )
    )
    plan = load_files(path)
    assert len(plan.components) == 1000
    assert plan.components[999].prerequisites == ("c998",)
    assert plan.components[999].source.line == 3 * 999  # The first has two lines.
