"""The command line of the daemon."""

from __future__ import annotations

import pytest

from supervisor import __version__
from supervisor.cli.piesd import Options, parse
from supervisor.config.pies.options import PreprocessOptions
from supervisor.model.settings import SourceFile

_PREPROCESSING = PreprocessOptions(defines=("A=1", "B"), undefines=("C",), include=("/x",))


@pytest.mark.parametrize(
    ("line", "environ", "options"),
    [
        ("", {}, Options()),
        ("-c a.toml", {}, Options(files=(SourceFile("a.toml", ""),))),
        ("--init", {}, Options(init=True)),
        ("--init quiet 3 single", {}, Options(init=True, runlevel="S")),
        ("--init s ro 4", {}, Options(init=True, runlevel="4")),
        ("--init emergency quiet", {}, Options(init=True, emergency=True)),
        ("--init -b single", {}, Options(init=True, runlevel="S", emergency=True)),
        (
            "-c a --syntax toml -c b --config c --syntax pies -c d",
            {},
            Options(
                files=(
                    SourceFile("a", ""),
                    SourceFile("b", "toml"),
                    SourceFile("c", "toml"),
                    SourceFile("d", "pies"),
                )
            ),
        ),
        ("", {"PIESD_CONFIG": "a::b"}, Options(files=(SourceFile("a", ""), SourceFile("b", "")))),
        ("--syntax toml", {"PIESD_CONFIG": "a"}, Options(files=(SourceFile("a", "toml"),))),
        ("-c x", {"PIESD_CONFIG": "a"}, Options(files=(SourceFile("x", ""),))),
        ("--instance web", {"PIESD_INSTANCE": "db"}, Options(instance="web")),
        ("", {"PIESD_INSTANCE": "db"}, Options(instance="db")),
        ("", {"PIESD_INSTANCE": ""}, Options()),
        ("--socket unix:///a --socket b", {}, Options(sockets=("unix:///a", "b"))),
        ("--check", {}, Options(task="check")),
        ("--lint", {}, Options(task="check")),
        ("-t", {}, Options(task="check")),
        ("-E -c x", {}, Options(task="preprocess", files=(SourceFile("x", ""),))),
        ("--status", {}, Options(task="status")),
        ("-S", {}, Options(task="stop")),
        ("--hup", {}, Options(task="reload")),
        ("--restart web db", {}, Options(task="restart", tags=("web", "db"))),
        ("--restart-component web", {}, Options(task="restart", tags=("web",))),
        (
            "-R web -c x db",
            {},
            Options(task="restart", tags=("web", "db"), files=(SourceFile("x", ""),)),
        ),
        ("--trace-prereq", {}, Options(task="trace-prereq")),
        ("--trace-depend web", {}, Options(task="trace-depend", tags=("web",))),
        ("-DA=1 -D B -U C -I /x", {}, Options(preprocessing=_PREPROCESSING)),
        (
            "--preprocessor=xenv --no-include",
            {},
            Options(preprocessing=PreprocessOptions(command="xenv", default_include=False)),
        ),
        ("--no-preprocessor", {}, Options(preprocessing=PreprocessOptions(enabled=False))),
        ("--force --syslog -x2", {}, Options(force=True, syslog=True, debug=2)),
        ("--inetd --source-info --rate 3", {}, Options(inetd=True)),
        ("--daemon", {}, Options(daemon=True)),
        ("--foreground --stderr", {}, Options(stderr=True)),
    ],
    ids=str,
)
def test_a_command_line_is_read(line: str, environ: dict[str, str], options: Options) -> None:
    assert parse(line.split(), environ) == options


@pytest.mark.parametrize(
    "line",
    [
        "--unknown",
        "stray",
        "-c",
        "--inst web",
        "--daemon --foreground",
        "-c a --syntax toml",
        "-x many",
        "--restart",
        "--status web",
        "--status --stop",
        "--stderr --syslog",
    ],
)
def test_what_is_not_understood_ends_with_2_and_the_usage(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(line.split(), {})
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    assert err.startswith("usage: piesd ")


def test_version_and_help_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    for option, text in (("--version", f"piesd {__version__}\n"), ("--help", "usage: piesd")):
        with pytest.raises(SystemExit) as ended:
            parse([option], {})
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith(text)
