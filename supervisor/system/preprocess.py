"""Run a preprocessor for configuration files: text in, text and complaints out."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence

LONGEST = 10.0
"""Seconds until a preprocessor is given up."""

_REPORT = '"$@"; printf "\\n%d" "$?" >&2'
"""Runs a command and writes its code behind everything else that it says on standard error."""


def run(words: Sequence[str], data: bytes, *, timeout: float = LONGEST) -> tuple[int, bytes, bytes]:
    """Run a program with *data* on its standard input; for a worker thread, as it blocks.

    Returns its code, its output, and what it wrote to standard error.

    Raises:
        OSError: it cannot be started. FileNotFoundError: there is no such program.
        TimeoutError: it did not end in time, and was killed with all that it had started.
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
        start_new_session=True,
    )
    try:
        output, said = process.communicate(data, timeout=timeout)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        raise TimeoutError(110, f"it did not end within {timeout:g} seconds") from None
    finally:
        _close(process)
    complaints, _, code = said.rpartition(b"\n")
    if not code.isdigit():
        raise OSError(4, "it was killed before it ended")
    return int(code), output, complaints


def _close(process: subprocess.Popen[bytes]) -> None:
    """Let go of the child; its pipes may still be held open by what it has started."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()
