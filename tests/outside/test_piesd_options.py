"""The options and commands that scripts for pies use, carried out. Source: pies.md 5 and 8."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from piesd_process import PATIENCE, Piesd, piesd
from supervisor.cli.piesd import parse
from supervisor.config.pies import words
from supervisor.main import main
from supervisor.model.settings import SourceFile
from supervisor.tasks import named_files

CONFIG = """
component db { command "/bin/sleep 1000000"; }
component web { command "/bin/sleep 1000000"; prerequisites db; }
component bye { mode shutdown; command /bin/true; }
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Carry out a command line of piesd; return its exit code and what it printed."""

    def carry_out(*line: str) -> tuple[int, str, str]:
        try:
            code = main(line)
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *capsys.readouterr()

    return carry_out


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "pies.conf"
    path.write_text(CONFIG)
    return str(path)


# --- options that need no running piesd


def test_the_summary_of_directives_has_every_statement(run: Run) -> None:
    code, out, _ = run("--config-help")
    assert code == 0
    assert set(out.split()) >= words.GLOBAL | words.COMPONENT | words.CONTROL | words.RETURN_CODE
    idle = out.split("Of these without effect", 1)[1].split("In TOML")[0]
    assert set(idle.split()) == words.WITHOUT_EFFECT | {"idle-timeout"}


def test_the_preprocessed_file_is_printed(run: Run, config: str) -> None:
    code, out, _ = run("-E", "--no-include", "--preprocessor", "sed s/db/data/", "-c", config)
    assert code == 0
    assert "component data {" in out
    assert "prerequisites data;" in out


def test_without_a_file_inetd_stands_for_its_usual_one() -> None:
    assert named_files(parse(["--inetd"], {})) == (SourceFile("/etc/inetd.conf", "inetd"),)
    assert named_files(parse(["-i", "-c", "x"], {})) == (SourceFile("x", ""),)


def test_an_init_process_reads_the_files_of_init(monkeypatch: pytest.MonkeyPatch) -> None:
    inittab, native = (SourceFile("/etc/inittab", "inittab"), SourceFile("/etc/pies.init", "pies"))
    for there in ((inittab, native), (inittab,), (native,)):
        names = {each.file for each in there}
        monkeypatch.setattr("os.path.lexists", names.__contains__)
        assert named_files(parse(["--init"], {})) == there
        assert named_files(parse(["--init", "-c", "x"], {})) == (SourceFile("x", ""),)


def test_the_help_names_preprocessor_and_include_path(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert "m4 -s -P" in out
    assert "/usr/share/pies/include" in out


def test_the_usage_is_short(run: Run) -> None:
    code, out, _ = run("--usage")
    assert code == 0
    assert out.startswith("usage: piesd ")
    assert "exit codes" not in out


def test_a_check_ends_with_78_if_there_is_a_problem(run: Run, config: str) -> None:
    assert run("-t", "-c", config) == (0, "", "")
    Path(config).write_text(f"{CONFIG}\ncomponnt x {{ command a; }}\n")
    code, _, err = run("--lint", "-c", config)
    assert code == 78
    assert err.startswith(f"{config}:6: ")
    assert "did you mean 'component'?" in err


def test_a_syntax_for_later_is_refused(run: Run, config: str) -> None:
    code, _, err = run("-t", "--syntax=meta1", "-c", config)
    assert code == 78
    assert "the meta1 syntax is not supported yet" in err


def test_a_configuration_is_shown_from_its_sides(run: Run, config: str) -> None:
    shown = {
        option: run(option, "-c", config)[1]
        for option in (
            *("--dump-depmap", "--trace-prereq", "--dump-prereq", "--trace-depend"),
            "--list-shutdown-sequence",
        )
    }
    assert "0: db" in shown["--dump-depmap"]
    assert "web: db" in shown["--trace-prereq"].splitlines()
    assert shown["--dump-prereq"] == shown["--trace-prereq"]
    assert "db: web" in shown["--trace-depend"].splitlines()
    assert shown["--list-shutdown-sequence"].splitlines() == [
        "0: web",
        "1: db",
        "2: bye (started then)",
    ]
    code, out, err = run("--trace-depend", "nobody", "-c", config)
    assert (code, out) == (1, "")
    assert "there is no component 'nobody'" in err


# --- a running piesd


def _another(socket: Path, *options: str) -> str:
    """Run a second piesd that speaks to the one with this socket."""
    done = subprocess.run(
        [sys.executable, "-m", "supervisor", "--socket", f"unix://{socket}", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _pids(daemon: Piesd) -> dict[str, int]:
    return {
        tag: daemon.until_status(tag, "running").get("PID", 0)
        for tag in (row["tag"] for row in daemon.rows())
        if tag != "bye"
    }


@pytest.mark.real
def test_another_piesd_is_asked_and_steered(tmp_path: Path, config: str) -> None:
    with piesd(tmp_path, "", options=("-c", config)) as daemon:
        before = _pids(daemon)
        status = _another(daemon.socket, "--status").splitlines()
        assert f"db  CR {before['db']} /bin/sleep 1000000" in status
        assert f"web CR {before['web']} /bin/sleep 1000000" in status
        assert any(re.fullmatch(r"bye H- N/A .*", line) for line in status)

        _another(daemon.socket, "--restart", "web")
        daemon.until(lambda: daemon.row("web").get("PID") not in (None, before["web"]))
        assert daemon.row("db")["PID"] == before["db"]

        Path(config).write_text(CONFIG.replace("component bye", "component late"))
        _another(daemon.socket, "--reload")
        daemon.until(lambda: daemon.rows("late"), "late is known")

        _another(daemon.socket, "--stop")
        assert daemon.wait_end() == 0


@pytest.mark.real
@pytest.mark.parametrize("options", [(), ("-x1",)])
def test_debugging_tells_more(tmp_path: Path, options: tuple[str, ...]) -> None:
    fifo, config = tmp_path / "fifo", tmp_path / "pies.conf"
    os.mkfifo(fifo)
    # Without a marker and in a session of its own it is a stranger, which is of no interest.
    stranger = f"env -i setsid /bin/sh -c 'echo here; read -r x < {fifo}'"
    config.write_text(
        f"""component a {{ flags shell; command "({stranger} &); exec sleep 1000000"; }}"""
    )
    with piesd(tmp_path, "", options=("-c", str(config), *options)) as daemon:
        daemon.until(lambda: b"here" in daemon.ask("GET", "/v1/components/a/log").body)
        assert daemon.order("DELETE", True).json == {"status": "OK"}
        fifo.write_text("go\n")
    assert ("belongs to no component" in daemon.log) is bool(options)


# --- piesctl


@pytest.mark.real
def test_the_list_of_files_is_steered_as_in_pies(tmp_path: Path, config: str) -> None:
    with piesd(tmp_path, "") as daemon:
        (own,) = daemon.piesctl("config", "file", "list").splitlines()
        assert own.split()[0] == str(daemon.config)
        daemon.piesctl("config", "file", "add", "pies", config)
        assert daemon.piesctl("config", "file", "list").splitlines() == [own, f"{config}  pies"]
        assert daemon.rows() == []
        daemon.piesctl("config", "reload")
        assert _pids(daemon).keys() == {"db", "web"}
        for verb in ("del", "delete"):
            daemon.piesctl("config", "file", verb, config)
            assert daemon.piesctl("config", "file", "list").splitlines() == [own]
            daemon.piesctl("config", "file", "add", "pies", config)
        assert daemon.piesctl("config", "file", "clear") == "file list cleared\n"
        assert daemon.piesctl("config", "file", "list") == ""


@pytest.mark.real
def test_help_is_a_command_too(tmp_path: Path) -> None:
    with piesd(tmp_path, "") as daemon:
        assert "restart" in daemon.piesctl("help")
        assert "config file add" in daemon.piesctl("help", "config", "file", "add")
