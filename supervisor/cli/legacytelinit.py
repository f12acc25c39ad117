"""The command line of `piesd -T`, which speaks to an init process as sysvinit's telinit does."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

USAGE_ERROR = 2

LEVELS = "0123456789SsabcABCQq"

_OPTIONS = ("-T", "--telinit")


class Telinit(NamedTuple):
    """What is to be told to the init process. `level` may be empty if there are `variables`."""

    level: str
    sleeptime: int
    variables: tuple[str, ...]
    path: str | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.format_usage()}{self.prog}: {message}\n")


def is_meant(argv: Sequence[str], command: str, pid: int) -> bool:
    """Tell whether *argv* is such a command line; its options mean other things elsewhere.

    A *command* that is called `init` or `telinit` is that too, unless it is PID 1: sysvinit's
    shutdown executes `/sbin/init LEVEL`.
    """
    if argv and argv[0] in _OPTIONS:
        return True
    return pid != 1 and (is_init(command) or command.rpartition("/")[2] == "telinit")


def is_init(command: str) -> bool:
    """Tell whether *command* is called as the kernel calls an init process."""
    return command.rpartition("/")[2] == "init"


def parse(argv: Sequence[str]) -> Telinit:
    """Read the words after the name of the command.

    Raises:
        SystemExit: 2 with the usage on standard error; 0 after --help.
    """
    parser = _Parser(
        prog="piesd -T",
        usage="piesd -T [-t SECONDS] [-e NAME[=VALUE]]… [LEVEL]",
        description="Tell the init process of this machine to change its runlevel.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "-t",
        "--timeout",
        metavar="SECONDS",
        type=int,
        default=5,
        help="the seconds between SIGTERM and SIGKILL: 5",
    )
    parser.add_argument(
        "-e",
        "--environment",
        metavar="NAME[=VALUE]",
        action="append",
        default=[],
        help="set a variable of what init starts, or remove it; may be given several times",
    )
    parser.add_argument("--initctl", metavar="PATH", help="the FIFO: /run/initctl, /dev/initctl")
    parser.add_argument(
        "level", metavar="LEVEL", nargs="?", default="", help="0 to 9, S, a, b, c; q: reload"
    )
    given = parser.parse_args([word for word in argv if word not in _OPTIONS])
    if not given.level and not given.environment:
        parser.error("which runlevel?")
    if given.level and (len(given.level) != 1 or given.level not in LEVELS):
        parser.error(f"no such runlevel: {given.level}; it is one of 0 to 9, S, a, b, c and q")
    if given.timeout < 0:
        parser.error("-t needs a number of seconds")
    for variable in given.environment:
        if not variable.partition("=")[0]:
            parser.error(f"-e needs the name of a variable, not {variable!r}")
    return Telinit(given.level, given.timeout, tuple(given.environment), given.initctl)
