"""Ask the kernel for what only the first process of a machine may have."""

from __future__ import annotations

import ctypes
import fcntl
import os

_CAD_OFF = 0
_KDSIGACCEPT = 0x4B4E  # Source: <linux/kd.h>.
_CONSOLES = ("/dev/tty0", "/dev/console")


def disable_ctrl_alt_del() -> None:
    """Get SIGINT for Ctrl-Alt-Del, instead of having the machine reset.

    Raises:
        OSError: EINVAL in a PID namespace other than the machine's, EPERM without the right.

    Source: reboot(2), LINUX_REBOOT_CMD_CAD_OFF.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.reboot(_CAD_OFF) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def accept_keyboard_signal(number: int) -> None:
    """Get signal *number* when the key combination KeyboardSignal is pressed.

    Raises:
        OSError: there is no console, or none that has a keyboard.

    Source: ioctl_console(2), KDSIGACCEPT.
    """
    failure: OSError | None = None
    for console in _CONSOLES:
        try:
            fd = os.open(console, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            failure = failure or error
            continue
        try:
            fcntl.ioctl(fd, _KDSIGACCEPT, number)
        except OSError as error:
            failure = failure or error
        else:
            return
        finally:
            os.close(fd)
    assert failure is not None
    raise failure
