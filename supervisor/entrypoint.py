"""The command `piesd`: hand small things to small code, and everything else to the daemon.

A container's entrypoint is to run its program now; the event loop and the readers of configuration
take a multiple of the time that this needs, so they are imported only where they are used.
"""

# ruff: noqa: PLC0415  See above.

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.cli.legacytelinit import Telinit
    from supervisor.cli.wrapping import Wrapping
    from supervisor.system.handover import Handover, Trial

EX_UNAVAILABLE = 69
"""The exit code when there is nobody to speak to. Source: sysexits(3)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line of piesd says, and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if "--" in argv:
        from supervisor.cli import wrapping

        if wrapping.wraps(argv, os.getpid()):
            return _wrap(wrapping.parse(argv))
    from supervisor.cli import legacytelinit

    if legacytelinit.is_meant(argv, sys.argv[0], os.getpid()):
        return _tell_init(legacytelinit.parse(argv))
    endless = os.getpid() == 1 and ("--init" in argv or legacytelinit.is_init(sys.argv[0]))
    try:
        if endless:
            _leave_interrupts()
        from supervisor.system import handover

        given = handover.taken(os.environ)
        trial = None if given is None else handover.Trial(given, os.environ)
        with contextlib.nullcontext() if trial is None else trial.under_way():
            return _supervise(argv, given, trial)
    except (Exception, SystemExit) as error:
        import traceback

        # A container may end by a command line that cannot be understood; not so a machine.
        meant = isinstance(error, SystemExit) and not (endless and error.code)
        if os.getpid() != 1 and isinstance(error, (OSError, ImportError, MemoryError)):
            from supervisor.system.shortage import why

            print(f"piesd: cannot start: {why(error)}", file=sys.stderr)
            return EX_UNAVAILABLE
        if os.getpid() != 1 or meant:
            raise
        told = isinstance(error, SystemExit)
        return _stay("" if told else traceback.format_exc(), endless=endless)


def _supervise(argv: Sequence[str], given: Handover | None, trial: Trial | None) -> int:
    _import_trio()
    from supervisor.main import main as supervise

    return supervise(argv, given, trial)


def _leave_interrupts() -> None:
    """Ignore SIGINT until it means Ctrl-Alt-Del: Python would make it the end of us."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _stay(fault: str, *, endless: bool) -> int:
    """Be a first process that reaps, after a fault of ours before anything was supervised.

    The init process of a machine has a shell on the console; when that ends, all begins anew.
    """
    from supervisor.system import firstprocess, rescue

    if fault:
        firstprocess.say(fault)
    if endless:
        firstprocess.say("there is a shell on the console; when it has ended, piesd begins anew")
        rescue.rescue(rescue.SHELLS, environ=os.environ)
        with contextlib.suppress(OSError):
            os.execv(sys.executable, sys.orig_argv)
    return firstprocess.keep_watch(endless=endless)


def _tell_init(given: Telinit) -> int:
    from supervisor.system import initctl

    requests = []
    if given.variables:
        requests.append(initctl.Request(initctl.SETENV, variables=given.variables))
    if given.level:
        requests.append(initctl.Request(initctl.RUNLVL, given.level, given.sleeptime))
    try:
        initctl.send(tuple(requests), given.path)
    except ValueError as error:
        print(f"piesd: cannot tell init: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno == errno.ENXIO:
            why = "no init process listens there"
        print(f"piesd: cannot tell init: {error.filename}: {why}", file=sys.stderr)
        return EX_UNAVAILABLE
    return 0


def _import_trio() -> None:
    """Import trio without the programs that it has ctypes run to find the C library's threads.

    These are ldconfig and, where that does not know, a compiler: they take longer than everything
    else, want a directory for temporary files, and make /dev/null a file where there is none.
    """
    import ctypes.util

    ask = ctypes.util.find_library
    ctypes.util.find_library = lambda name: "libpthread.so.0" if name == "pthread" else ask(name)
    try:
        import trio
    finally:
        ctypes.util.find_library = ask
    del trio


def _wrap(given: Wrapping) -> int:
    from supervisor.system import firstprocess

    manners = firstprocess.Manners(given.group, given.rewrite, given.shutdown_timeout)
    return firstprocess.run(given.words, manners)
