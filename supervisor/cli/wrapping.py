"""The command line of `piesd --init -- COMMAND…`: one program and how it is treated."""

from __future__ import annotations

import argparse
import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

USAGE_ERROR = 2

FORMS = ("--init", "--subreaper")

_EPILOG = """\
The program keeps the standard streams, the descriptors and the environment as they are. Its exit
code becomes ours (128+n after signal n); 127: it is not there; 126: it cannot be executed."""


@dataclass(frozen=True)
class Wrapping:
    """One program to run as the first process of a container does."""

    words: tuple[str, ...]
    group: bool = False
    rewrite: Mapping[int, int] = field(default_factory=dict)
    shutdown_timeout: float = 5.0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.format_usage()}{self.prog}: {message}\n")


def wraps(argv: Sequence[str], pid: int) -> bool:
    """Tell whether *argv* names a program to run, for a piesd with this *pid*.

    `--` and words behind it are enough for PID 1; others say `--init` or `--subreaper` before it.
    """
    if "--" not in argv:
        return False
    options = argv[: argv.index("--")]
    return any(form in options for form in FORMS) or (pid == 1 and not options)


def parse(argv: Sequence[str]) -> Wrapping:
    """Read the words after the name of the command.

    Raises:
        SystemExit: 2 with the usage on standard error; 0 after --help.
    """
    border = argv.index("--")
    parser = _Parser(
        prog="piesd",
        usage="piesd {--init|--subreaper} [OPTION]… -- COMMAND [WORD]…",
        description="Run one program as the first process of a container.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--init", action="store_true", help="the form for PID 1, its default")
    parser.add_argument(
        "--subreaper", action="store_true", help="the same elsewhere: orphans become our children"
    )
    parser.add_argument(
        "-g",
        "--group",
        action="store_true",
        help="forward signals to the program's process group, not to the program alone",
    )
    parser.add_argument(
        "--rewrite",
        metavar="FROM:TO",
        type=_pair,
        action="append",
        default=[],
        help="forward another signal than the one that came; 0: none; may be given several times",
    )
    parser.add_argument(
        "--shutdown-timeout",
        metavar="SECONDS",
        type=_seconds,
        default=5.0,
        help="how long what the program leaves behind has between SIGTERM and SIGKILL: 5",
    )
    if any(word.partition("=")[0] == "--socket" for word in argv[:border]):
        parser.error("--socket needs a configuration: one program alone has no control interface")
    given = parser.parse_args(argv[:border])
    words = tuple(argv[border + 1 :])
    if not words or not words[0]:
        parser.error("there is no command behind --")
    return Wrapping(words, given.group, dict(given.rewrite), given.shutdown_timeout)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (0 <= seconds < math.inf):
        raise ValueError(text)
    return seconds


def _pair(text: str) -> tuple[int, int]:
    first, _, second = text.partition(":")
    return _signal(first), 0 if second == "0" else _signal(second)


def _signal(text: str) -> int:
    """Return the number of a signal given as number or name, with or without `SIG`."""
    if text.isdigit():
        return int(signal.Signals(int(text)))
    name = text.upper()
    try:
        return int(signal.Signals[name if name.startswith("SIG") else f"SIG{name}"])
    except KeyError:
        raise ValueError(text) from None
