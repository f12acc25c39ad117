"""Find out what the power daemon means by SIGPWR: it has written that to a file."""

from __future__ import annotations

import contextlib
import os
from typing import Literal

PATHS = ("/run/powerstatus", "/var/run/powerstatus", "/etc/powerstatus")

Power = Literal["powerfail", "powerfailnow", "powerok"]


def read_power_status(paths: tuple[str, ...] = PATHS) -> Power:
    """Return what has happened, and remove the file that says so.

    `O` is for OK, `L` for a battery that is nearly empty; anything else, or no file, means that the
    power fails. Source: init(8) of sysvinit.
    """
    for path in paths:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            said = os.read(fd, 1)
        except OSError:
            said = b""
        finally:
            os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(path)
        return "powerok" if said == b"O" else "powerfailnow" if said == b"L" else "powerfail"
    return "powerfail"
