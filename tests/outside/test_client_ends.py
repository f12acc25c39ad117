"""How piesctl and piesd end when their answer cannot be written, or makes no sense."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from canned_piesd import CannedPiesd, canned_piesd
from piesd_process import PATIENCE
from supervisor.cli.codes import Code

pytestmark = pytest.mark.real

PIESCTL = f"{sys.executable} -m supervisor.cli.piesctl"
PIESD = f"{sys.executable} -m supervisor"
ROWS = [{"tag": "web", "status": "running", "command": "x"}]


@pytest.fixture
def canned(tmp_path: Path) -> Iterator[CannedPiesd]:
    with canned_piesd(tmp_path / "piesd.ctl") as canned:
        canned.on("GET /programs", ROWS)
        yield canned


def _shell(command: str, redirection: str = "", url: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command; what stands for a reader has gone before it begins."""
    return subprocess.run(
        ["bash", "-c", f"exec {redirection}; wait $!; {command}"],
        # Python's own unbuffered output forgets what a reader that goes has not taken.
        env={**os.environ, "PIESD_URL": url, "PYTHONUNBUFFERED": ""},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("options", ["", "--json"])
@pytest.mark.parametrize(
    ("redirection", "code", "told"),
    [
        (">&-", Code.DONE, ""),
        (">&- 2>&- <&-", Code.DONE, ""),
        ("2>&-", Code.DONE, ""),
        (">/dev/full", Code.UNWRITTEN, "piesctl: cannot write the answer: No space left on device"),
        (">/dev/full 2>&1", Code.UNWRITTEN, ""),
        ("> >(true)", Code.UNREAD, ""),
    ],
)
def test_piesctl_without_a_place_for_its_answer_ends_with_a_code_and_no_traceback(
    canned: CannedPiesd, options: str, redirection: str, code: int, told: str
) -> None:
    ended = _shell(f"{PIESCTL} {options} list", redirection, canned.url)
    assert (ended.returncode, ended.stderr.strip()) == (code, told)


def test_a_usage_error_keeps_its_code_where_nobody_can_be_told() -> None:
    assert _shell(f"{PIESCTL} nonsense", "2>&-").returncode == Code.USAGE


@pytest.mark.parametrize(
    ("redirection", "code", "told"),
    [
        (">/dev/full", 74, "piesd: cannot write the answer: No space left on device\n"),
        (">/dev/full 2>&1", 74, ""),
        (">&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
        ("> >(true)", 141, ""),
    ],
)
def test_piesd_without_a_place_for_its_answer_ends_with_a_code_and_no_traceback(
    redirection: str, code: int, told: str
) -> None:
    ended = _shell(f"{PIESD} --config-help", redirection)
    assert (ended.returncode, ended.stderr) == (code, told)


@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1"])
def test_what_an_encoding_has_no_sign_for_is_written_out(encoding: str) -> None:
    for line in (f"{PIESD} --help", f"{PIESCTL} log --help"):
        ended = _shell(f"PYTHONIOENCODING={encoding} {line}")
        assert (ended.returncode, ended.stderr) == (0, "")
    assert "\\u2026" in _shell(f"PYTHONIOENCODING={encoding} {PIESD} --help").stdout


# --- words that make no sense


@pytest.mark.parametrize("verb", ["why", "alive", "log"])
def test_a_tag_that_is_not_utf_8_is_one_that_piesd_does_not_know(
    canned: CannedPiesd, verb: str
) -> None:
    ended = _shell(f"{PIESCTL} {verb} $'caf\\xe9'", url=canned.url)
    assert ended.returncode == Code.REFUSED
    assert "Traceback" not in ended.stderr
    assert "caf%E9" in canned.asked[0].target


@pytest.mark.parametrize("verb", ["why", "alive", "log"])
def test_an_empty_tag_is_a_usage_error(canned: CannedPiesd, verb: str) -> None:
    ended = _shell(f"{PIESCTL} {verb} ''", url=canned.url)
    assert ended.returncode == Code.USAGE
    assert "TAG" in ended.stderr
    assert not canned.asked
