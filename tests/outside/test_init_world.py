"""piesd as PID 1 of worlds in which something is missing: it works, and says what it lacks."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest

from namespaces import PIESD, ROOT, inmate, why_not

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "none"),
]

MISSING = ("", "no-proc", "no-run", "no-console", "no-dev")
WHO = ("root", "nobody")
ROOTS = ("writable", "readonly")

OTHER = """\
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print('other' + sys.stdin.read(), flush=True)
os.write(3, b'.\\n')
signal.sigwait([signal.SIGTERM])
print('other ends')
"""

CONFIG = f"""
[component.main]
mode = "once"
essential = true
shell = true
prerequisites = ["other"]
command = "echo main; exit 3"
[component.other]
nullinput = true
ready = {{ fd = 3 }}
command = ["{sys.executable}", "-c", {json.dumps(OTHER)}]
"""

NOTICES = {
    "no-proc": "there is no /proc of this PID namespace",
    "no-dev": "there is no /dev/null",
    "readonly": "going on without a runtime directory",
}

matrix = pytest.mark.parametrize(
    ("missing", "who", "root"), list(itertools.product(MISSING, WHO, ROOTS))
)


def world(tmp_path: Path, *wanted: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return what executes the command behind it in such a world, and its variables."""
    paths = [str(ROOT), sys.base_prefix]
    if not Path(sys.prefix).is_relative_to(ROOT):
        paths.append(sys.prefix)
    words = (str(ROOT / "tests" / "world.sh"), *(word for word in wanted if word), "--")
    return words, {"WORLD_FILES": str(tmp_path), "WORLD_PATHS": " ".join(paths)}


@matrix
def test_an_entrypoint_needs_nothing(tmp_path: Path, missing: str, who: str, root: str) -> None:
    words, environ = world(tmp_path, missing, who, root)
    script = "setsid -f true; echo hello; exit 7"
    with inmate(
        [*words, *PIESD, "--init", "--", "sh", "-c", script], environ=environ, proc=False
    ) as one:
        assert one.end() == 7
        assert one.said == "hello"


@matrix
def test_a_container_needs_nothing_but_its_configuration(
    tmp_path: Path, missing: str, who: str, root: str
) -> None:
    tmp_path.chmod(0o755)  # Nobody is to read it.
    (tmp_path / "piesd.toml").write_text(CONFIG)
    words, environ = world(tmp_path, missing, who, root)
    with inmate([*words, *PIESD, "-c", "/world/piesd.toml"], environ=environ, proc=False) as one:
        assert one.end() == 3, one.said
    lines = [line.partition("| ")[2] for line in one.lines if "| " in line]
    assert {"main", "other", "other ends"} <= set(lines)
    assert "Traceback" not in one.said
    for circumstance in (missing, root):
        if notice := NOTICES.get(circumstance):
            assert notice in one.said
    if {missing, root} & {"", "no-console"} and root == "writable":
        assert "going on without" not in one.said
