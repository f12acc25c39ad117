"""A real piesd, and what others find of it: files, secrets, terminals."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from piesd_process import piesd

pytestmark = pytest.mark.real

EVERYTHING = """
[daemon]
pidfile = "{home}/pid/piesd.pid"
[component.web]
command = ["/bin/sh", "-c", "echo hello; exec sleep 1000000"]
stdout = "web.log"
ready = {{notify = true, timeout = 1000000}}
[component.door]
mode = "inetd"
command = "cat"
socket = "unix://{home}/door;mode=0660"
"""


@pytest.mark.parametrize("umask", ["0", "077"])
def test_whatever_the_umask_files_are_as_private_as_they_should_be(
    tmp_path: Path, umask: str
) -> None:
    wrapper = ("/bin/sh", "-c", f'umask {umask}; exec "$@"', "-")
    config = EVERYTHING.format(home=tmp_path)
    with piesd(tmp_path, config, wrapper=wrapper) as daemon:
        daemon.until_status("door", "listener")
        daemon.until((tmp_path / "log" / "web.log").exists)
        modes = {
            str(path.relative_to(tmp_path)): stat.S_IMODE(path.lstat().st_mode)
            for path in tmp_path.rglob("*")
        }
    ours = {name: modes[name] for name in modes if name.startswith(("run", "log", "state", "pid"))}
    notify = [name for name in ours if ours[name] == 0o666]
    assert len(notify) == 1, "a component may be anybody; the kernel says who writes"
    del ours[notify[0]]
    assert ours.pop("pid/piesd.pid") == 0o644 & ~int(umask, 8)
    assert ours.pop("log/web.log") == 0o640 & ~int(umask, 8)
    assert ours == {
        "log": 0o700,
        "pid": 0o700,
        "run": 0o700,
        "run/piesd.ctl": 0o600,
        "run/piesd.ledger": 0o600,
        "run/piesd.lock": 0o600,
    }
    assert modes["door"] == 0o660
