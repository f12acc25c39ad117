"""Send a signal to exactly the process that is meant, and name signals."""

from __future__ import annotations

import errno
import logging
import os
import signal

from supervisor.system.pidfds import send, send_to_group
from supervisor.system.proctable import ProcessInfo, read_process

log = logging.getLogger(__name__)


def signal_name(number: int) -> str:
    """Return `SIGTERM` for 15, `SIGRTMIN+3` for 37, `signal 99` for what has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        if signal.SIGRTMIN < number < signal.SIGRTMAX:
            return f"SIGRTMIN+{number - signal.SIGRTMIN}"
        return f"signal {number}"


def send_signal(info: ProcessInfo, signum: int) -> bool:
    """Signal the process that *info* describes; return whether it got it.

    A number says nothing about who has it now. A descriptor of the process does, once the start
    time has shown that it was opened for the right one.
    """
    fd = -1
    try:
        try:
            fd = os.pidfd_open(info.pid)
        except OSError as error:
            if error.errno == errno.ESRCH:
                return False
            # Without descriptors (ENOSYS, EMFILE) the check below is nearly as good.
        now = read_process(info.pid)
        if now is None or now.started != info.started:
            return False
        if fd < 0:
            os.kill(info.pid, signum)
        else:
            signal.pidfd_send_signal(fd, signum)
    except ProcessLookupError:
        return False
    except PermissionError:
        log.debug("no right to signal process %d", info.pid)
        return False
    finally:
        if fd >= 0:
            os.close(fd)
    return True


def signal_group(leader: int, signum: int) -> bool:
    """Signal the process group of our child *leader*, which must not be reaped yet.

    Nobody but us reaps, so its number means nobody else.
    """
    try:
        os.killpg(leader, signum)
    except ProcessLookupError:
        try:  # It was forked but has no session of its own yet.
            os.kill(leader, signum)
        except OSError:
            return False
    except PermissionError as error:
        log.warning("cannot signal the process group %d: %s", leader, error.strerror)
        return False
    return True


def signal_leader(leader: int, signum: int) -> bool:
    """Signal our child *leader* alone, which must not be reaped yet."""
    try:
        os.kill(leader, signum)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        log.warning("cannot signal process %d: %s", leader, error.strerror)
        return False
    return True


def signal_foster(fd: int, leader: int, signum: int, *, group: bool) -> bool:
    """Signal the process of which *fd* is a descriptor, or the process group that it leads."""
    try:
        return send_to_group(fd, leader, signum) if group else send(fd, signum)
    except PermissionError as error:
        log.warning("cannot signal process %d: %s", leader, error.strerror)
        return False
