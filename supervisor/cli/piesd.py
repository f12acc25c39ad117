"""The command line of the daemon."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec import Struct

from supervisor import __version__
from supervisor.model.settings import SourceFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

USAGE_ERROR = 2

_EPILOG = """\
environment: PIESD_CONFIG (colon separated) stands in for -c, PIESD_INSTANCE for --instance.
Without either, /etc/piesd/piesd.toml and /etc/piesd/conf.d are read (by others than root:
$XDG_CONFIG_HOME/piesd/...).

exit codes: 0 ended as asked; 2 bad command line; 78 bad configuration; that of an essential
component which ended."""


class Options(Struct, frozen=True, kw_only=True):
    """What was asked of the daemon.

    `files` are in the order given, each with its syntax (empty: that of its name); none means the
    default files. `instance` and `sockets` come before what the configuration says.
    """

    files: tuple[SourceFile, ...] = ()
    instance: str | None = None
    sockets: tuple[str, ...] = ()
    check: bool = False
    daemon: bool = False
    stderr: bool = False


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.format_usage()}{self.prog}: {message}\n")


class _File(argparse.Action):
    """Keep a file together with the syntax that was given before it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        del parser, option_string
        namespace.files = (*namespace.files, SourceFile(str(values), namespace.syntax))


def parse(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Options:
    """Read the words after the name of the command.

    Raises:
        SystemExit: 2 with the usage on standard error; 0 after --help and --version.
    """
    environ = os.environ if environ is None else environ
    parser = _parser()
    given = parser.parse_args(list(argv))
    if given.files and given.syntax != given.files[-1].syntax:
        parser.error("--syntax stands before the -c that it is for")
    files = given.files or tuple(
        SourceFile(path, given.syntax)
        for path in environ.get("PIESD_CONFIG", "").split(os.pathsep)
        if path
    )
    return Options(
        files=files,
        instance=given.instance or environ.get("PIESD_INSTANCE") or None,
        sockets=tuple(given.sockets),
        check=given.check,
        daemon=given.daemon,
        stderr=given.stderr,
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="piesd",
        description="Supervise the processes that the configuration describes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # A script that abbreviates breaks when an option is added.
    )
    parser.set_defaults(files=())
    parser.add_argument(
        "-c",
        "--config",
        metavar="PATH",
        action=_File,
        help="a file or directory to read; may be given several times",
    )
    parser.add_argument(
        "--syntax",
        metavar="NAME",
        default="",
        help="how the following -c are written, whatever their names say: toml",
    )
    parser.add_argument("--instance", metavar="NAME", help="the name in sockets and logs: piesd")
    parser.add_argument(
        "--socket",
        metavar="URL",
        dest="sockets",
        action="append",
        default=[],
        help="listen for orders here: unix:///PATH, inet://HOST:PORT; may be given several times",
    )
    parser.add_argument(
        "--check",
        "--lint",
        action="store_true",
        help="report every problem of the configuration and exit: 78 if there is one, else 0",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--daemon", action="store_true", help="detach and work in the background")
    where.add_argument(
        "--foreground", action="store_true", help="stay in the foreground, which is the default"
    )
    parser.add_argument("--stderr", action="store_true", help="write our own log to standard error")
    parser.add_argument("--version", action="version", version=f"piesd {__version__}")
    return parser
