"""The benchmark measures what it says and leaves nothing behind. Nothing is timed here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from bench.report import ROWS

ROOT = Path(__file__).resolve().parents[2]


def start(home: Path, *words: str) -> subprocess.Popen[str]:
    """Start a short benchmark whose every file is below *home*."""
    command = [sys.executable, "-m", "bench", "--results", str(home / "results"), *words]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(directory: Path) -> list[str]:
    """Return the command lines that name *directory*."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes()
        except OSError:
            continue
        if os.fsencode(directory / "piesd-bench-") in line:
            found.append(line.decode(errors="replace"))
    return found


def test_a_short_benchmark_measures_everything_and_leaves_only_its_result(home: Path) -> None:
    few = ("--components", "3", "--orphans", "20", "--connect", "0.1")
    bench = start(home, *few, "--repeat", "1", "--idle", "0.1")
    out, error = bench.communicate(timeout=120)
    assert (bench.returncode, error) == (0, ""), error
    (result,) = (home / "results").iterdir()
    measured = json.loads(result.read_text())
    figures = {*measured["components"]["3"], *measured["orphans"]["20"]}
    assert figures == {row.name for row in ROWS}
    assert measured["connections"].keys() >= {"floor", "piesd"}
    assert all(row.text.strip() in out for row in ROWS)
    assert [path.name for path in home.iterdir()] == ["results"]
    assert not processes_of(home)


def test_a_benchmark_that_is_interrupted_leaves_nothing_behind(home: Path) -> None:
    bench = start(home, "--components", "20", "--repeat", "100")
    assert bench.stdout is not None
    bench.stdout.readline()  # The heading: from then on there may be children.
    bench.send_signal(signal.SIGINT)
    _, error = bench.communicate(timeout=60)
    assert (bench.returncode, error) == (130, "\nbench: interrupted\n")
    assert not list(home.iterdir())
    assert not processes_of(home)
