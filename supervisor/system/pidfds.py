"""Descriptors of processes: the one way to mean a process that is no child of ours."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import signal
import struct

from supervisor.system.proctable import ProcessInfo, read_process, status_of_zombie

_GET_INFO = 0xC040FF0B
"""_IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info) with the 64 bytes of its first version.

Source: include/uapi/linux/pidfd.h; the exit status since Linux 6.15.
"""

_INFO = struct.Struct("=Q52xi")
_INFO_EXIT = 1 << 3

_PROCESS_GROUP = 1 << 2
"""PIDFD_SIGNAL_PROCESS_GROUP, since Linux 6.9."""

_GETFD = 438
"""The number of pidfd_getfd(2), the same on every architecture. It needs the right to trace."""

_LIBC = ctypes.CDLL(None, use_errno=True)


def open_process(info: ProcessInfo) -> int | None:
    """Return a descriptor of the process that *info* describes, None if that has ended.

    Raises:
        OSError: there are no descriptors left, or the kernel has none of that kind.
    """
    try:
        fd = os.pidfd_open(info.pid)
    except ProcessLookupError:
        return None
    now = read_process(info.pid)
    if now is not None and now.started == info.started and now.alive:
        return fd
    os.close(fd)
    return None


def has_ended(fd: int) -> bool:
    """Return whether the process has ended."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def wait_status(fd: int, pid: int) -> int | None:
    """Return the wait status of the process *pid*, which has ended; None if nobody tells."""
    buffer = _info(fd)
    if buffer is not None:
        mask, status = _INFO.unpack_from(buffer)
        if mask & _INFO_EXIT:
            return int(status)
        # Its parent has not waited for it: the number is still its own.
        return status_of_zombie(pid)
    return None


def tells_status(fd: int) -> bool:
    """Return whether this kernel tells how a process has ended, sooner or later."""
    return _info(fd) is not None


def _info(fd: int) -> bytearray | None:
    buffer = bytearray(64)
    _INFO.pack_into(buffer, 0, _INFO_EXIT, 0)
    try:
        fcntl.ioctl(fd, _GET_INFO, buffer)
    except OSError:
        return None
    return buffer


def copy_of(pid: int, number: int) -> int | None:
    """Return a descriptor (close-on-exec) of what the process *pid* has as its *number*.

    None if it has nothing there, if we have no right to it, or if the kernel has no such call.
    """
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        fd = _LIBC.syscall(_GETFD, process, number, 0)
    finally:
        os.close(process)
    return None if fd < 0 else int(fd)


def send(fd: int, signum: int) -> bool:
    """Signal the process alone; return whether it got it.

    Raises:
        PermissionError: we have no right to.
    """
    try:
        signal.pidfd_send_signal(fd, signum)
    except ProcessLookupError:
        return False
    return True


def send_to_group(fd: int, pid: int, signum: int) -> bool:
    """Signal the process group that the process *pid* leads; return whether it has got it.

    Raises:
        PermissionError: we have no right to.
    """
    try:
        signal.pidfd_send_signal(fd, signum, None, _PROCESS_GROUP)
    except ProcessLookupError:
        return False
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # An older kernel. The number is still its own as long as it lives.
        if has_ended(fd):
            return False
        try:
            os.killpg(pid, signum)
        except ProcessLookupError:
            return False
    return True
