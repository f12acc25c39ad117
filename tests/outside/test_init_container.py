"""piesd with a configuration as PID 1 of a container: reaping, its end, what it survives."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from init_container import answers, ask, container
from namespaces import inmate, why_not

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "none"),
]


# --- the end


@pytest.mark.parametrize(
    ("command", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -SEGV $$", 139), ("kill $$", 143)]
)
def test_the_code_of_an_essential_component_is_passed_on(
    tmp_path: Path, command: str, code: int
) -> None:
    config = f"""
[component.main]
mode = "once"
essential = true
shell = true
command = "{command}"
[component.other]
command = "sleep 1000000"
"""
    with inmate(container(tmp_path, config)) as one:
        assert one.end() == code


def test_sigterm_stops_everything_in_order_and_within_the_time(tmp_path: Path) -> None:
    config = """
[daemon]
shutdown-timeout = 3
[component.db]
command = "sleep 1000000"
[component.web]
command = "sleep 1000000"
prerequisites = ["db"]
[component.deaf]
shell = true
ready = { fd = 3 }
command = "trap '' TERM; echo >&3; while :; do sleep 1000; done"
prerequisites = ["web"]
stop-timeout = 600
"""
    with inmate(container(tmp_path, config)) as one:
        one.hear("supervises 3 components")
        one.until(
            lambda: all(
                row["status"] == "running" for row in json.loads(ask(tmp_path, "/programs"))
            ),
            "everything",
        )
        one.signal(signal.SIGTERM)
        assert one.end() == 0  # Which waits a while, but not ten minutes.
        places = [one.said.index(f"'{tag}' is down") for tag in ("deaf", "web", "db")]
        assert places == sorted(places)


# --- orphans

MANY = """\
import os, signal, sys
count, gate = sys.argv[1:]
ours = os.getpid()
if os.fork() == 0:
    for _ in range(int(count)):
        if os.fork() == 0:
            os.close(os.open(gate, os.O_RDONLY))
            os._exit(0)
    os._exit(0)
os.wait()
print('made', flush=True)
signal.pause()
"""


def spent(pid: int) -> float:
    """Return the seconds of processor time that a process has used itself."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


@pytest.mark.slow
def test_five_thousand_orphans_are_reaped_while_questions_are_answered(tmp_path: Path) -> None:
    """How long it takes depends on who else is at work here; what it costs does not."""
    count = 5000
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    words = [sys.executable, "-c", MANY, str(count), str(gate)]
    config = f'[component.many]\nmode = "once"\ncommand = {json.dumps(words)}\n'
    with inmate(container(tmp_path, config)) as one:
        one.hear("| made")
        answers(one, tmp_path)
        children = Path(f"/proc/{one.pid}/task/{one.pid}/children")
        assert len(children.read_text().split()) >= count
        before, begun, waits = spent(one.pid), time.monotonic(), []
        os.close(os.open(gate, os.O_WRONLY))  # Whoever waits to read from it goes on.
        while len(children.read_text().split()) > 1:  # All but the leader.
            asked = time.monotonic()
            assert ask(tmp_path, "/instance")
            waits.append(time.monotonic() - asked)
        cost = spent(one.pid) - before
        longest = max(waits, default=0)
        print(f"{time.monotonic() - begun:.2f} s, {cost:.2f} s of CPU, longest {longest:.3f} s")
        assert cost < 1.0 + 0.02 * len(waits)
        one.signal(signal.SIGTERM)
        assert one.end() == 0


# --- what it survives


def test_without_descriptors_it_goes_on_reaping(tmp_path: Path) -> None:
    components = "".join(
        f'[component.c{number}]\ncommand = "sleep 1000000"\n' for number in range(40)
    )
    orphans = f'[component.orphans]\nmode = "once"\ncommand = "{sys.executable} {tmp_path}/o.py"\n'
    (tmp_path / "o.py").write_text(
        "import os\n"
        "for _ in range(300):\n"
        "    if os.fork() == 0:\n"
        "        if os.fork(): os._exit(0)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )
    words = container(tmp_path, orphans + components)
    with inmate(["sh", "-c", 'ulimit -n 80; exec "$@"', "sh", *words]) as one:
        one.hear("cannot")
        one.hear("'orphans' exited with 0")
        first = psutil.Process(one.pid)
        one.until(
            lambda: not [p for p in first.children() if p.status() == psutil.STATUS_ZOMBIE],
            "no zombies",
        )
        one.signal(signal.SIGTERM)
        assert one.end() == 0


def test_a_full_disk_is_survived(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    config = f"""
[component.chatty]
shell = true
stdout = "{tmp_path}/small/log"
command = "seq 1000000; echo >&2 done; exec sleep 1000000"
"""
    script = f'mount -t tmpfs -o size=64k small {tmp_path}/small; exec "$@"'
    with inmate(["sh", "-c", script, "sh", *container(tmp_path, config)]) as one:
        one.hear("| done")
        assert "No space left" in one.said
        one.signal(signal.SIGTERM)
        assert one.end() == 0


@pytest.mark.parametrize("endless", [False, True])
def test_after_a_fault_of_ours_the_first_process_goes_on_reaping(endless: bool) -> None:
    script = f"""
import os
from supervisor.system.firstprocess import keep_watch
if os.fork() == 0:
    for _ in range(100):
        if os.fork() == 0:
            os._exit(0)
    print('made', flush=True)
    os.execvp('sleep', ['sleep', '1000000'])
raise SystemExit(keep_watch(endless={endless}))
"""
    with inmate([sys.executable, "-c", script]) as one:
        one.hear("reaping only")
        one.hear("made")
        first = psutil.Process(one.pid)
        sleeper = one.until(lambda: [p for p in first.children() if p.name() == "sleep"], "a child")
        one.signal(signal.SIGTERM)
        if endless:
            one.hear("is not heeded")
            sleeper[0].kill()
            one.until(lambda: not first.children(), "that everything is reaped")
        else:
            assert one.end() == 70


def test_what_ended_before_the_first_process_looks_is_reaped_too() -> None:
    script = """
import os
from supervisor.system.firstprocess import keep_watch
for _ in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
raise SystemExit(keep_watch(endless=True))
"""
    with inmate([sys.executable, "-c", script]) as one:
        one.hear("reaping only")
        one.until(lambda: not psutil.Process(one.pid).children(), "that everything is reaped")
