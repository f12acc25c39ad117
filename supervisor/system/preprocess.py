"""Run a preprocessor for configuration files: text in, text and complaints out."""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence

LONGEST = 10.0
"""Seconds until a preprocessor is given up."""

MOST_OUTPUT = 16 * 1024 * 1024
"""Bytes of its output, and of what it complains about. A configuration has no more."""

_REPORT = '"$@"; printf "\\n%d" "$?" >&2'
"""Runs a command and writes its code behind everything else that it says on standard error."""


def run(words: Sequence[str], data: bytes, *, timeout: float = LONGEST) -> tuple[int, bytes, bytes]:
    """Run a program with *data* on its standard input; for a worker thread, as it blocks.

    Returns its code, its output, and what it wrote to standard error.

    Raises:
        OSError: it cannot be started, or writes too much. FileNotFoundError: there is no such
            program.
        TimeoutError: it did not end in time. As with too much output, it was killed with all that
            it had started.
    """
    program = words[0]
    if shutil.which(program) is None:
        raise FileNotFoundError(2, "No such file or directory", program)
    # The reaper of the daemon may take the end of our child away, and its code with it. So the
    # code comes from a shell, on a way that nobody else reads.
    process = subprocess.Popen(
        ["/bin/sh", "-c", _REPORT, "sh", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )
    try:
        output, said = _exchange(process, data, timeout)
    except OSError:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        _close(process)
    complaints, _, code = said.rpartition(b"\n")
    if not code.isdigit():
        raise OSError(4, "it was killed before it ended")
    return int(code), output, complaints


def _exchange(process: subprocess.Popen[bytes], data: bytes, timeout: float) -> tuple[bytes, bytes]:
    """Write *data* to a child, and read its output and complaints until both are closed.

    Raises:
        OSError: it writes too much.
        TimeoutError: it goes on for longer.
    """
    end = time.monotonic() + timeout
    rest = memoryview(data)
    output, said = bytearray(), bytearray()
    with selectors.DefaultSelector() as open_ends:
        # The child may want to be read before it reads on: so no end is waited for alone.
        for stream, buffer in (
            (process.stdin, None),
            (process.stdout, output),
            (process.stderr, said),
        ):
            event = selectors.EVENT_WRITE if buffer is None else selectors.EVENT_READ
            if stream is not None:
                open_ends.register(stream, event, (stream, buffer))
        while open_ends.get_map():
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(110, f"it did not end within {timeout:g} seconds")
            for key, _ in open_ends.select(left):
                stream, buffer = key.data
                if buffer is None:
                    rest = rest[_written(key.fd, rest) :]
                    more = bool(rest)
                else:
                    piece = os.read(key.fd, 1 << 16)
                    buffer += piece
                    more = bool(piece)
                    if len(buffer) > MOST_OUTPUT:
                        raise OSError(27, f"it wrote more than {MOST_OUTPUT >> 20} MiB")
                if not more:
                    open_ends.unregister(stream)
                    stream.close()
    return bytes(output), bytes(said)


def _written(descriptor: int, data: memoryview) -> int:
    """Write as much as a pipe takes without waiting; all of it goes to one that is closed."""
    try:
        return os.write(descriptor, data[: select.PIPE_BUF])
    except BrokenPipeError:
        return len(data)


def _close(process: subprocess.Popen[bytes]) -> None:
    """Let go of the child; its pipes may still be held open by what it has started."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()
