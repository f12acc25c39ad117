"""Where tests put things, so that they meet neither each other nor anything of the machine."""

from __future__ import annotations

import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LEAST, _SHARES = 10_000, 16
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _SHARES


def free_port(host: str = "127.0.0.1", kind: int = socket.SOCK_STREAM) -> int:
    """Return a port that nobody listens on, and that nobody else is given before it is used.

    What the kernel chooses it may choose for others, too, as soon as the probe is closed. So
    this is a port below those that it gives away by itself, out of the share of this worker.
    """
    most = int(_RANGE.read_text(encoding="ascii").split()[0]) // _SHARES
    if most - _LEAST // _SHARES < 100:  # The kernel gives away nearly everything here.
        return _bound(host, kind, 0)
    for _ in range(100):
        number = random.randrange(_LEAST // _SHARES, most) * _SHARES + _WORKER
        try:
            return _bound(host, kind, number)
        except OSError:
            continue
    raise AssertionError("a hundred ports were all taken")


def _bound(host: str, kind: int, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        probe.bind((host, port))
        return int(probe.getsockname()[1])


@contextmanager
def public_directory() -> Iterator[Path]:
    """Give a directory that other users may enter.

    Pytest's own is not, and each run that starts meanwhile closes what lies above it again.
    """
    with tempfile.TemporaryDirectory(prefix="piesd-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
