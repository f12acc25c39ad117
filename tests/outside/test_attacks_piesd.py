"""A real piesd, and what others find of it: files, secrets, terminals."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from piesd_process import piesd
from places import free_port

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]

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


SECRETS = """
[daemon]
log-level = "debug"
[component.web]
command = ["/bin/sh", "-c", 'test "$PW" && test "$URL" && exec sleep 1000000']
env = {{PW = {{file = "{home}/secret"}}, URL = "db://x:${{PW}}@y"}}
[component.broken]
command = "/nonexistent/program"
env = {{PW = {{file = "{home}/secret"}}}}
[component.words]
command = "/bin/sh -c 'exec sleep 1000000' ${{PW}}"
expandenv = true
env = {{PW = {{file = "{home}/secret"}}}}
[component.late]
command = "sleep 1000000"
ready = {{http = "http://user:{of_url}@127.0.0.1:{port}/?token={of_query}", interval = 0.05}}
[identity-provider.ours]
type = "file"
path = "{home}/users"
"""
OF_FILE, OF_URL, OF_QUERY = "hunter2-of-file", "hunter2-of-url", "hunter2-of-query"
OF_LOGIN, OF_TOKEN = "hunter2-of-login", "hunter2-of-token"


def test_no_secret_is_told_to_anybody(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(OF_FILE)
    (tmp_path / "users").touch(0o600)
    config = SECRETS.format(home=tmp_path, of_url=OF_URL, of_query=OF_QUERY, port=free_port())
    with piesd(tmp_path, config, options=("-x", "9")) as daemon:
        pid = daemon.until_status("web", "running")["PID"]
        daemon.until_status("broken", "sleeping")
        daemon.until_status("words", "running")
        assert OF_FILE in Path(f"/proc/{pid}/environ").read_text(), "its own environment has it"
        basic = b64encode(f"root:{OF_LOGIN}".encode()).decode()
        for shown in (f"Basic {basic}", f"Bearer {OF_TOKEN}"):
            assert daemon.ask("GET", "/programs", headers={"Authorization": shown}).status == 401
        said = {
            path: daemon.ask("GET", path).body
            for path in (
                *("/programs?usage=true", "/instance", "/conf/files", "/alive/late", "/v1/plan"),
                *("/v1/components", "/v1/diag/about", "/v1/diag/why/web", "/v1/diag/why/late"),
                *(
                    "/v1/diag/why/broken",
                    "/v1/components/words",
                    "/v1/components/broken",
                    "/v1/components/late",
                ),
            )
        }
        daemon.write(config.replace("sleep 1000000", "sleep 2000000"))
        said["plan"] = daemon.ask("GET", "/v1/plan").body
        for name in ("cmdline", "environ"):
            said[name] = Path(f"/proc/{daemon.pid}/{name}").read_bytes()
        for tag in ("late", "broken"):
            said[f"why {tag}"] = daemon.piesctl("why", tag).encode()
        ledger = (tmp_path / "run" / "piesd.ledger").read_bytes()
        said["log"] = daemon.log.encode()
    assert OF_FILE.encode() not in ledger
    for where, text in said.items():
        for secret in (OF_FILE, OF_URL, OF_QUERY, OF_LOGIN, OF_TOKEN, basic):
            assert secret.encode() not in text, where


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root's piesd hides its memory")
def test_the_memory_of_a_piesd_that_is_root_is_in_no_core_dump_and_a_components_may_be() -> None:
    code = (
        "import ctypes, subprocess, sys; from supervisor.system.process_setup import *; "
        "prepare_process(); own = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0); "
        "words = [sys.executable, '-c', 'import ctypes; print(ctypes.CDLL(None).prctl(3))']; "
        "print(own, subprocess.run(words, capture_output=True, text=True).stdout)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["0", "1"]
