"""systemd accepts the units that we ship, and they say what supervising needs."""

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = {"system": ROOT / "systemd/piesd.service", "user": ROOT / "systemd/piesd-user.service"}

# What would be inherited by every component and keep some of them from working.
BREAKS_COMPONENTS = {
    "DynamicUser",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NoNewPrivileges",
    "OOMScoreAdjust",
    "PrivateDevices",
    "PrivateNetwork",
    "PrivateTmp",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectProc",
    "ProtectSystem",
    "RestrictNamespaces",
    "RestrictSUIDSGID",
    "SystemCallFilter",
    "User",
}


def settings_of(unit: Path) -> dict[str, str]:
    """Return the settings of *unit*; none of ours stands in two sections."""
    lines = unit.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))


def complaints(unit: Path, manager: str, scratch: Path) -> str:
    """Return what `systemd-analyze verify` says against *unit*."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    # verify looks for the program, which is not installed where tests run. It also reads the units
    # around ours, so it needs a runtime directory, and complains about those of others: -no.
    text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text())
    copy = scratch / unit.name
    copy.write_text(text)
    done = subprocess.run(
        [analyze, "verify", f"--{manager}", "--man=no", "--recursive-errors=no", str(copy)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(scratch), "SYSTEMD_COLORS": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    # A key that systemd does not know is a line on stderr and no failure.
    said = [line for line in done.stderr.splitlines() if unit.name in line]
    if done.returncode != 0:
        said.append(f"exit {done.returncode}: {done.stderr}")
    return "\n".join(said)


@pytest.mark.real
@pytest.mark.parametrize("manager", UNITS)
def test_systemd_accepts_the_unit(manager: str, tmp_path: Path) -> None:
    assert complaints(UNITS[manager], manager, tmp_path) == ""


@pytest.mark.real
def test_a_misspelled_key_would_be_noticed(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.service"
    wrong.write_text(UNITS["system"].read_text().replace("WatchdogSec=", "WatchdogSecs="))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert "WatchdogSecs" in complaints(wrong, "system", scratch)


@pytest.mark.parametrize("manager", UNITS)
def test_the_unit_says_what_supervising_needs(manager: str) -> None:
    settings = settings_of(UNITS[manager])
    expected = {
        "Type": "notify",
        "NotifyAccess": "main",
        "ExecReload": "/bin/kill -HUP $MAINPID",
        "WatchdogSec": "30",
        "Restart": "on-failure",
        "RestartPreventExitStatus": "78",
        "KillMode": "process",
        "Delegate": "yes",
        "OOMPolicy": "continue",
        "TasksMax": "infinity",
        "RuntimeDirectory": "piesd",
        "RuntimeDirectoryPreserve": "yes",
    }
    assert {key: settings.get(key) for key in expected} == expected


@pytest.mark.parametrize("control", ["/.control", ""])
@pytest.mark.parametrize("manager", UNITS)
def test_a_killed_piesd_leaves_no_controllers_that_keep_the_next_one_out(
    manager: str, control: str, tmp_path: Path
) -> None:
    """Done to plain files, which get each order for themselves."""
    unit = tmp_path / "groups/a.slice/piesd.service"
    ours, slices = unit / "piesd:main:1f", unit.parent
    ours.mkdir(parents=True)
    for group in (slices, unit, ours):
        (group / "cgroup.subtree_control").write_text("memory pids\n")
    (tmp_path / "own").write_text(f"1:name=systemd:/x\n0::/a.slice/piesd.service{control}\n")
    line = settings_of(UNITS[manager])["ExecStopPost"].replace("$$", "$").replace("%%", "%")
    line = line.replace("/sys/fs/cgroup", f"{tmp_path}/groups")
    line = line.replace("/proc/self/cgroup", f"{tmp_path}/own")
    assert line.startswith("-/")
    subprocess.run(shlex.split(line[1:]), check=True, timeout=60)
    assert (ours / "cgroup.subtree_control").read_text() == "-pids\n"
    assert (unit / "cgroup.subtree_control").read_text() == "-pids\n"
    assert (slices / "cgroup.subtree_control").read_text() == "memory pids\n"


@pytest.mark.parametrize("manager", UNITS)
def test_the_unit_hardens_nothing_that_components_need(manager: str) -> None:
    assert not BREAKS_COMPONENTS & settings_of(UNITS[manager]).keys()


@pytest.mark.parametrize("manager", UNITS)
def test_the_unit_starts_a_command_that_the_project_installs(manager: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    program = settings_of(UNITS[manager])["ExecStart"].split()[0]
    assert Path(program).name in project["scripts"]
