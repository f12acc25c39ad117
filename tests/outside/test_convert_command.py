"""`piesctl config convert`: what it prints, says and ends with, and that the result loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from supervisor.cli.codes import Code
from supervisor.cli.piesctl import main
from supervisor.config.load import load
from supervisor.engine.plan import Plan
from supervisor.model.component import Mode
from supervisor.model.settings import SourceFile

CORPUS = Path(__file__).parent.parent / "corpus"

PIES = """\
# What this machine does.
pidfile /run/pies.pid;

/*
 * The web.
 */
component web {
    command "/bin/sleep 100";
    // Who runs it.
    umask 022;
    env { set "A=b c"; }
    return-code (EX_CONFIG, SIGSEGV) {
        action disable;
        notify "root";
        message <<EOT
Subject: ${component}

It failed.
EOT
    }
}
"""


def converted(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, str]:
    """Return what a conversion that comes to an end prints, and what it says beside that."""
    assert main(["config", "convert", str(path), *options]) == Code.DONE
    captured = capsys.readouterr()
    return captured.out, captured.err


def loaded(text: str, directory: Path, name: str = "piesd.toml") -> Plan:
    """Load a configuration from a real file."""
    path = directory / name
    path.write_text(text)
    return load([SourceFile(str(path), "")], environ={"PATH": "/bin"}, euid=1000)


def test_a_pies_conf_becomes_toml_with_its_comments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "pies.conf"
    source.write_text(PIES)
    printed, said = converted(source, capsys)
    assert said == ""
    assert printed == (
        "# What this machine does.\n"
        "[daemon]\n"
        'pidfile = "/run/pies.pid"\n'
        "\n"
        "# The web.\n"
        "[component.web]\n"
        'command = "/bin/sleep 100"\n'
        "# Who runs it.\n"
        'umask = "022"\n'
        'env = [{ set = "A=b c" }]\n'
        "siggroup = false\n"
        "\n"
        "[[component.web.on-exit]]\n"
        'codes = ["EX_CONFIG", "SIGSEGV"]\n'
        'action = "disable"\n'
        'notify = "root"\n'
        'message = """\n'
        "Subject: ${component}\n"
        "\n"
        "It failed.\n"
        '"""\n'
    )


def test_toml_and_pies_syntax_lead_back_to_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "pies.conf"
    source.write_text(PIES)
    first, _ = converted(source, capsys)
    (tmp_path / "a.toml").write_text(first)
    second, said = converted(tmp_path / "a.toml", capsys, "--to", "pies")
    assert said == ""
    ours, theirs = loaded(first, tmp_path), loaded(second, tmp_path, "again.conf")
    assert [component.exit_actions for component in ours.components] == [
        component.exit_actions for component in theirs.components
    ]
    assert ours.components[0].env == theirs.components[0].env


@pytest.mark.parametrize("name", ["ini/supervisord.conf", "procfile/Procfile"])
def test_what_other_programs_have_is_known_by_its_name_and_loads(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / Path(name).name
    text = (CORPUS / name).read_text()
    # This machine has other users.
    source.write_text(text.replace("user=www-data\n", ""))
    printed, said = converted(source, capsys)
    assert said.startswith("piesctl: ")
    assert loaded(printed, tmp_path).components


def test_a_service_unit_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "web.service"
    source.write_text(
        "[Unit]\nDescription=Web\n[Service]\nUser=root\nExecStart=/bin/sleep 9\nRestart=always\n"
    )
    printed, said = converted(source, capsys)
    assert said == ""
    (component,) = loaded(printed, tmp_path).components
    assert (component.tag, component.user, component.mode) == ("web", "root", Mode.RESPAWN)


def test_an_inetd_conf_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "inetd.conf"
    source.write_text("# A shell\n7007 stream tcp nowait root /bin/cat cat -u\n")
    printed, said = converted(source, capsys)
    assert said == ""
    assert printed.startswith("# A shell\n[component.7007]\n")
    assert loaded(printed, tmp_path).components[0].argv == ("cat", "-u")


def test_what_is_left_behind_stands_in_the_toml_and_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "a.service"
    source.write_text("[Service]\nExecStart=/bin/true\nProtectHome=yes\n")
    printed, said = converted(source, capsys)
    line = f"{source}:3: Service.ProtectHome: is not carried over"
    assert f"# {line}\n" in printed
    assert said == f"piesctl: {line.replace(': ', ': warning: ', 1)}\n"


def test_json_has_the_text_and_the_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "Procfile"
    source.write_text("web: true\nnonsense\n")
    assert main(["--json", "config", "convert", str(source)]) == Code.REFUSED
    answer = json.loads(capsys.readouterr().out)
    assert answer["status"] == "ER"
    assert answer["text"] is None
    assert [problem["line"] for problem in answer["problems"]] == [2]


def test_a_file_that_is_wrong_prints_nothing_but_every_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "inetd.conf"
    shutil.copy(CORPUS / "inetd" / "wrong.conf", source)
    assert main(["config", "convert", str(source)]) == Code.REFUSED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) >= 5
    assert all(line.startswith(f"piesctl: {source}:") for line in captured.err.splitlines())


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("missing.toml", None, "cannot read: No such file or directory"),
        ("a.toml", b"a = '\xff'", ":1: is not UTF-8: byte 0xff"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem(
    name: str, data: bytes | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    assert main(["config", "convert", str(tmp_path / name)]) == Code.REFUSED
    assert said in capsys.readouterr().err


def test_a_name_that_tells_nothing_needs_a_syntax(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "web"
    source.write_text("[Service]\nExecStart=/bin/true\n")
    assert main(["config", "convert", str(source)]) == Code.USAGE
    assert "give --syntax, one of inetd, inittab, pies" in capsys.readouterr().err
    assert main(["config", "convert", str(source), "--syntax", "system"]) == Code.USAGE
    assert "did you mean 'systemd'?" in capsys.readouterr().err
    assert "[component.web]" in converted(source, capsys, "--syntax", "systemd")[0]


@pytest.mark.skipif(shutil.which("m4") is None, reason="there is no m4")
def test_a_pies_conf_is_preprocessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "pies.conf"
    source.write_text(
        "m4_define(`SECONDS', `77')m4_dnl\ncomponent a { command \"sleep SECONDS\"; }\n"
    )
    assert 'command = "sleep 77"' in converted(source, capsys)[0]
