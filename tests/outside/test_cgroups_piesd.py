"""piesd with control groups: what hides is found also by the next one, and limits are explained."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from piesd_process import alive, heir, piesd
from supervisor.system.cgroups import Groups, find_groups

pytestmark = pytest.mark.real

# It forgets everything by which it could be known: its environment, session, group and parents.
HIDES = """
[component.hides]
shell = true
command = '''
env -i setsid sh -c '(env -i setsid sleep 1000 >/dev/null 2>&1 & echo $! >"$1")' sh {file}
exec sleep 1000
'''
stop-timeout = 1
"""


@pytest.fixture(autouse=True)
def base() -> Iterator[Path]:
    """Yield where groups can be made."""
    found = find_groups("probe", secrets.token_hex(8))
    if not isinstance(found, Groups):
        pytest.skip(f"no control groups: {found.why}")
    found.dispose()
    with heir():
        yield Path(found._base)


def test_nothing_that_hides_outlives_a_stop_even_if_piesd_was_killed(
    tmp_path: Path, base: Path
) -> None:
    file = tmp_path / "hidden"
    name = f"t{secrets.token_hex(4)}"  # Of our groups, to find them.
    config = '[daemon]\ninstance = "{name}"\ncgroups = "all"\n'
    with piesd(tmp_path, config.format(name=name) + HIDES.format(file=file)) as daemon:
        daemon.until(lambda: file.exists() and file.read_text().endswith("\n"))
        hidden = int(file.read_text())
        assert "its processes are found by cgroup" in daemon.piesctl("why", "hides")
        daemon.kill()
        daemon.again()
        assert alive(hidden)
        os.kill(daemon.row("hides")["PID"], signal.SIGSTOP)  # It does not even hear of it.
        daemon.order("DELETE", {"op": "tag", "arg": "hides"})
        daemon.until_status("hides", "stopped")
        assert not alive(hidden)
        assert list(base.glob(f"piesd:{name}:*/hides/main"))
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_end() == 0
    assert not list(base.glob(f"piesd:{name}:*"))


def test_without_limits_there_are_no_groups_unless_they_are_asked_for(
    tmp_path: Path, base: Path
) -> None:
    name = f"t{secrets.token_hex(4)}"
    config = f'[daemon]\ninstance = "{name}"\n'
    config += '[component.a]\ncommand = "sleep 1000"\n'
    limited = config + '[component.b]\ncommand = "sleep 1001"\ncgroup = { pids-max = 50 }\n'
    with piesd(tmp_path, config) as daemon:
        daemon.until_status("a", "running")
        assert "found by process group" in daemon.piesctl("why", "a")
        assert not list(base.glob(f"piesd:{name}:*"))
        daemon.write(limited)
        daemon.piesctl("config", "reload")
        daemon.until_status("b", "running")
        assert "found by process group" in daemon.piesctl("why", "a")
        assert "found by cgroup" in daemon.piesctl("why", "b")
        daemon.order("DELETE", True)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait_end() == 0
    assert not list(base.glob(f"piesd:{name}:*"))


def test_limits_that_cannot_be_had_are_explained_and_do_not_keep_it_from_starting(
    tmp_path: Path, base: Path
) -> None:
    if "pids" in (base / "cgroup.controllers").read_text():
        pytest.skip("here the controller is there")
    config = '[component.web]\ncommand = "sleep 1000"\ncgroup = { pids-max = 50 }\n'
    with piesd(tmp_path, config) as daemon:
        daemon.until_status("web", "running")
        why = daemon.piesctl("why", "web")
        assert "limits of its group are not in force: there is no controller 'pids'" in why
        assert daemon.log.count("not in force") == 1
        pid = daemon.row("web")["PID"]
        daemon.write(config.replace("50", "60"))
        daemon.piesctl("config", "reload")
        assert daemon.row("web")["PID"] == pid  # Other limits are no reason for another child.
