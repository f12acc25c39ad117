"""Leave the terminal: the parent waits until the daemon is ready, and tells how it went."""

from __future__ import annotations

import contextlib
import os
import sys

from supervisor.system.footpath import open_for_appending


class Detached:
    """The daemon's end of the line to the process that was started by hand."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def ready(self) -> None:
        """Let the parent end with 0."""
        self._say(b"+")

    def failed(self, reason: str) -> None:
        """Let the parent print *reason* and end with another code."""
        self._say(reason.encode("utf-8", "backslashreplace"))

    def _say(self, word: bytes) -> None:
        if self._fd < 0:
            return
        # A parent that was killed while it waited need not be told.
        with contextlib.suppress(OSError):
            os.write(self._fd, word)
        os.close(self._fd)
        self._fd = -1


def detach(log_path: str) -> Detached:
    """Go on in a process of its own session, without a terminal; the caller's process ends here.

    Standard input becomes /dev/null, standard output and error append to *log_path*. Call it
    before there are threads, locks or descriptors that matter.

    Raises:
        OSError: the log cannot be opened.
    """
    log = open_log(log_path)
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        _wait_and_exit(reader)
    os.close(reader)
    os.setsid()
    if os.fork():
        os._exit(0)  # A session leader could get a terminal again by opening one.
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    for fd in (null, log):
        if fd > 2:
            os.close(fd)
    return Detached(writer)


def open_log(path: str) -> int:
    """Open the log of a piesd without a terminal: a file, or a FIFO that somebody reads.

    Raises:
        OSError: it cannot be opened.
    """
    fd = open_for_appending(path, 0o640)
    os.set_blocking(fd, True)  # Writers of standard error do not expect anything else.
    return fd


def close_inherited() -> None:
    """Close what we were started with beyond the standard descriptors.

    Whoever waits for the end of such a pipe (ssh, a build) would wait as long as we run. What
    Python opened for us is told by its mark: it is not to be inherited. Source: daemon(7).
    """
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        # The directory itself is among them, and closed by now.
        with contextlib.suppress(OSError):
            if number > 2 and os.get_inheritable(number):
                os.close(number)


def _wait_and_exit(reader: int) -> None:
    """Wait for the daemon's word, print it if it is bad news, and end."""
    said = b""
    while block := os.read(reader, 4096):
        said += block
    if said == b"+":
        os._exit(0)
    reason = said.decode("utf-8", "replace") or "piesd: cannot start; its log tells why"
    sys.stderr.write(f"{reason}\n")
    sys.stderr.flush()
    os._exit(69)
