"""What the kernel knows of a process: time, wake-ups, memory, children."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PR_SET_CHILD_SUBREAPER = 36


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, its ended children not counted."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICK


def wake_ups(pid: int) -> dict[str, int]:
    """Return how often each thread of a process went to sleep by itself so far."""
    counts = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # It may have ended meanwhile.
            for line in (thread / "status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches:"):
                    counts[thread.name] = int(line.split()[1])
    return counts


def woken(before: dict[str, int], after: dict[str, int]) -> int:
    """Return how many times that was between two looks; a thread that has ended counts as one."""
    ended = len(before.keys() - after.keys())
    return ended + sum(count - before.get(thread, 0) for thread, count in after.items())


def memory(pid: int) -> tuple[float, float]:
    """Return PSS and RSS in MiB. PSS counts what n processes share as one nth of it."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size, *_ = line.split()
        sizes[name] = int(size) / 1024
    return sizes["Pss:"], sizes["Rss:"]


def become_subreaper() -> None:
    """Have orphans become our children, so that none survives us, whatever its parent does."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants() -> int:
    """Kill and reap everything below us; return how many that were."""
    count = 0
    while pids := _children():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        count += len(pids)
    return count


def _children() -> list[int]:
    """Return our children. Not from the `children` files, which not every kernel has."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                words = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if int(words[1]) == os.getpid():
                    found.append(int(entry))
    return found
