"""piesctl and a real piesd, from the start to the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from supervisor.cli.codes import Code

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
SCHEMA = json.loads((ROOT / "supervisor/cli/output.schema.json").read_text())

CONFIGURATION = """
[component.db]
command = ["sleep", "1000"]

[component.web]
command = ["sleep", "1000"]
prerequisites = ["db"]
instances = 2
labels = { tier = "web" }

[component.talk]
command = "echo hello; exec sleep 1000"
shell = true
stdout = "null"
"""


class Piesd:
    """A daemon of its own, and piesctl pointed at it."""

    def __init__(self, directory: Path) -> None:
        self.file, self.socket = directory / "piesd.toml", directory / "piesd.ctl"
        self.file.write_text(CONFIGURATION)
        self._environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        self._environ |= {"XDG_RUNTIME_DIR": str(directory), "HOME": str(directory)}
        self._environ["PIESD_URL"] = f"unix://{self.socket}"
        words = ["-c", str(self.file), "--instance", f"clienttest-{os.getpid()}"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "supervisor", *words, "--socket", f"unix://{self.socket}"],
            stderr=subprocess.PIPE,
            env=self._environ,
            cwd=ROOT,
            text=True,
        )
        assert self.process.stderr is not None
        assert any("supervises" in line for line in self.process.stderr)

    def __call__(self, line: str, code: int = Code.DONE) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.cli.piesctl", *line.split()],
            capture_output=True,
            env=self._environ,
            cwd=ROOT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, (line, done.stdout, done.stderr)
        return done.stdout + done.stderr


@pytest.fixture
def piesd(tmp_path: Path) -> Iterator[Piesd]:
    piesd = Piesd(tmp_path)
    try:
        yield piesd
    finally:
        piesd.process.terminate()
        piesd.process.communicate(timeout=PATIENCE)


def test_a_working_day(piesd: Piesd) -> None:
    piesd("start all --wait 30")
    assert len(piesd("list status running").splitlines()) == 5
    assert piesd("alive web:1") == "web:1: up\n"
    assert piesd("alive nobody", Code.REFUSED) == "nobody: unknown\n"

    rehearsed = piesd("restart db --dry-run")
    token = rehearsed.splitlines()[-1].removeprefix("token: ")
    assert [line.split()[:2] for line in rehearsed.splitlines()[1:-1]] == [
        ["stop", "web:1"],
        ["stop", "web:2"],
        ["stop", "db"],
        ["start", "db"],
        ["start", "web:1"],
        ["start", "web:2"],
    ]
    assert piesd(f"restart db --if-match {token} --wait 30") == "restart: db\n"
    assert "Rehearse it again" in piesd(f"restart db --if-match {token}", Code.REFUSED)

    piesd("stop label tier=web --wait 30")
    assert "it was stopped by" in piesd("why web:1")
    assert piesd("signal 0x", Code.USAGE)
    piesd("signal USR1 glob t*")
    piesd("reset all")
    assert piesd("explain not status running").count(" yes ") >= 2
    assert "started" in piesd("events")
    assert str(piesd.file) in piesd("config files")


def test_the_configuration_is_previewed_and_applied(piesd: Piesd) -> None:
    piesd("start all --wait 30")
    assert piesd("config plan") == "nothing changes\n"
    piesd.file.write_text(CONFIGURATION.replace('"1000"', '"1001"', 1).replace("es = 2", "es = 3"))
    plan = piesd("config plan")
    assert [line.split()[:2] for line in plan.splitlines()[1:]] == [
        ["restart", "db"],
        ["start", "web:3"],
    ]
    assert "piesctl config plan" in piesd("restart db --wait 30", Code.OUTDATED)
    piesd("config reload --dry-run --max-restarts 0", Code.REFUSED)
    piesd("config reload --max-restarts 0", Code.REFUSED)
    piesd("config reload --dry-run")
    assert piesd("config plan") == plan
    piesd("config reload")
    assert piesd("config plan") == "nothing changes\n"
    piesd.file.write_text(CONFIGURATION + "\n[component.x]\ncomand = 'y'\n")
    assert "did you mean 'command'?" in piesd("config reload", Code.REFUSED)
    assert "did you mean 'command'?" in piesd(f"config check {piesd.file}", Code.REFUSED)


def test_real_answers_are_as_the_schema_says(piesd: Piesd) -> None:
    piesd("start all --wait 30")
    for line in (
        *("id", "list", "list --usage", "top", "why web:1", "alive db", "log talk", "events"),
        *("explain active", "start db", "stop web", "restart db --dry-run", "reset all"),
        *("config plan", "config reload", "config files", "reboot"),
    ):
        words = line.split()
        name = " ".join(words[:2]) if words[0] == "config" else words[0]
        for answer in piesd(f"--json {line}").splitlines():
            jsonschema.validate(json.loads(answer), {**SCHEMA, "$ref": f"#/$defs/{name}"})


def test_shutdown_ends_it_and_the_next_question_finds_nobody(piesd: Piesd) -> None:
    assert piesd("shutdown") == "piesd is shutting down\n"
    assert piesd.process.wait(PATIENCE) == 0
    assert "piesd is not running" in piesd("list", Code.UNREACHABLE)
