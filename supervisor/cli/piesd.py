"""The command line of the daemon: its own options, and those that GNU pies has."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from msgspec import Struct

from supervisor import __version__
from supervisor.cli.legacytelinit import is_init
from supervisor.config.pies.options import DEFAULT_COMMAND, DEFAULT_INCLUDE, PreprocessOptions
from supervisor.model.settings import SourceFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

USAGE_ERROR = 2

_EPILOG = f"""\
piesd --init -- COMMAND… runs one program as the first process of a container, without any
configuration; piesd --init -- with --help before the -- tells its options.

preprocessor: {DEFAULT_COMMAND}
include path: {":".join(DEFAULT_INCLUDE)}

environment: PIESD_CONFIG (colon separated) stands in for -c, PIESD_INSTANCE for --instance.
Without either, /etc/piesd/piesd.toml and /etc/piesd/conf.d are read (by others than root:
$XDG_CONFIG_HOME/piesd/...); where those are not there, /etc/pies.conf.

Further options of GNU pies are accepted without effect: --source-info, --rate.

exit codes: 0 ended as asked; 2 bad command line; 69 it cannot start, or there is no piesd to
speak to; 78 bad configuration; that of an essential component which ended."""

Task = Literal[
    "run",
    "check",
    "rehearse",
    "preprocess",
    "config-help",
    "dump-depmap",
    "trace-prereq",
    "trace-depend",
    "list-shutdown-sequence",
    "status",
    "stop",
    "reload",
    "restart",
]
"""What the process is to do. All but `run` end soon."""

REMOTE: frozenset[Task] = frozenset({"status", "stop", "reload", "restart"})
"""The tasks that are requests to a piesd that runs already."""

VIEWS: frozenset[Task] = frozenset(
    {"dump-depmap", "trace-prereq", "trace-depend", "list-shutdown-sequence"}
)
"""The tasks that show a configuration from some side."""


class Options(Struct, frozen=True, kw_only=True):
    """What was asked of the daemon.

    `files` are in the order given, each with its syntax (empty: that of its name); none means the
    default files. `instance` and `sockets` come before what the configuration says. `tags` are for
    the tasks that take some.
    """

    task: Task = "run"
    tags: tuple[str, ...] = ()
    files: tuple[SourceFile, ...] = ()
    instance: str | None = None
    sockets: tuple[str, ...] = ()
    preprocessing: PreprocessOptions = PreprocessOptions()
    daemon: bool = False
    stderr: bool = False
    syslog: bool = False
    inetd: bool = False
    """Without any file: `/etc/inetd.conf`."""
    force: bool = False
    adopt: bool = True
    """Go on with what a piesd that was killed has left; else end all of it first."""
    debug: int = 0
    init: bool = False
    """It is to be the first process, whatever its PID."""
    runlevel: str = ""
    """What the kernel's command line says about the first runlevel."""
    emergency: bool = False
    """Whether it asks for a shell before anything else."""


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


class _Usage(argparse.Action):
    """Print the usage and end, as pies does."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        del namespace, values, option_string
        parser.print_usage()
        parser.exit(0)


def parse(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Options:
    """Read the words after the name of the command.

    Raises:
        SystemExit: 2 with the usage on standard error; 0 after --help and --version.
    """
    environ = os.environ if environ is None else environ
    parser = _parser()
    given, unknown = parser.parse_known_intermixed_args(list(argv))
    called_init = os.getpid() == 1 and is_init(sys.argv[0])
    if unknown and (called_init or given.task == "rehearse"):
        # Whoever boots a machine may have meant the kernel, or another init.
        print(f"piesd: ignored on the command line: {' '.join(unknown)}", file=sys.stderr)
    elif unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if given.files and given.syntax != given.files[-1].syntax:
        parser.error("--syntax stands before the -c that it is for")
    level, emergency = "", given.emergency
    if given.task in ("run", "rehearse") and (given.init or os.getpid() == 1):
        # The kernel passes on every word that it does not know; most are for nobody here.
        level, emergency = _level(given.tags), emergency or "emergency" in given.tags
        given.tags = []
    elif emergency:
        parser.error("-b is for an init process: see --init")
    if given.tags and given.task not in ("restart", "trace-prereq", "trace-depend"):
        parser.error(f"unrecognized arguments: {' '.join(given.tags)}")
    if given.task == "restart" and not given.tags:
        parser.error("--restart needs the tags of components")
    files = given.files or tuple(
        SourceFile(path, given.syntax)
        for path in environ.get("PIESD_CONFIG", "").split(os.pathsep)
        if path
    )
    return Options(
        task=given.task,
        tags=tuple(given.tags),
        files=files,
        instance=given.instance or environ.get("PIESD_INSTANCE") or None,
        sockets=tuple(given.sockets),
        preprocessing=PreprocessOptions(
            command=given.preprocessor,
            enabled=given.preprocess,
            defines=tuple(given.defines),
            undefines=tuple(given.undefines),
            include=tuple(given.include),
            default_include=given.default_include,
        ),
        daemon=given.daemon,
        stderr=given.stderr,
        syslog=given.syslog,
        inetd=given.inetd,
        force=given.force,
        adopt=given.adopt == "yes",
        debug=given.debug,
        init=given.init,
        runlevel=level,
        emergency=emergency,
    )


def _level(words: Sequence[str]) -> str:
    """Return the runlevel that words on the command line of the kernel ask for; the last counts.

    Source: init(8) of sysvinit.
    """
    levels = {**{str(digit): str(digit) for digit in range(10)}, "s": "S"}
    levels["single"] = "S"
    return next((levels[each.lower()] for each in reversed(words) if each.lower() in levels), "")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="piesd",
        description="Supervise the processes that the configuration describes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # A script that abbreviates breaks when an option is added.
    )
    parser.set_defaults(files=(), task="run")
    parser.add_argument("tags", metavar="TAG", nargs="*", help=argparse.SUPPRESS)
    _add_files(parser)
    _add_preprocessing(parser)
    _add_running(parser)
    _add_tasks(parser)
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to supervise")
    group.add_argument(
        "-c",
        "--config",
        "--config-file",
        metavar="PATH",
        action=_File,
        help="a file or directory to read; may be given several times",
    )
    group.add_argument(
        "--syntax",
        metavar="NAME",
        default="",
        help="how the following -c are written, whatever their names say: "
        "toml, pies, inetd, inittab",
    )
    group.add_argument(
        "-i", "--inetd", action="store_true", help="without -c, read /etc/inetd.conf"
    )
    group.add_argument("--instance", metavar="NAME", help="the name in sockets and logs: piesd")
    group.add_argument(
        "--socket",
        metavar="URL",
        dest="sockets",
        action="append",
        default=[],
        help="listen for orders here: unix:///PATH, inet://HOST:PORT; may be given several times",
    )


def _add_preprocessing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files in the syntax of pies")

    def several(short: str, *more: str, dest: str, metavar: str, help: str) -> None:  # noqa: A002
        group.add_argument(
            short, *more, dest=dest, metavar=metavar, action="append", default=[], help=help
        )

    several("-D", "--define", dest="defines", metavar="SYM[=VALUE]", help="define a macro")
    several("-U", "--undefine", dest="undefines", metavar="SYM", help="undefine a macro")
    several(
        "-I", "--include-directory", dest="include", metavar="DIR", help="look for includes here"
    )
    group.add_argument(
        "--preprocessor", metavar="COMMAND", help="instead of 'm4 -s -P'; reads standard input"
    )
    group.add_argument(
        "--no-preprocessor",
        dest="preprocess",
        action="store_false",
        help="read the files as they are",
    )
    group.add_argument(
        "--no-include",
        dest="default_include",
        action="store_false",
        help="look for includes in the directories of -I alone",
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to run")
    where = group.add_mutually_exclusive_group()
    where.add_argument("--daemon", action="store_true", help="detach and work in the background")
    where.add_argument(
        "--foreground", action="store_true", help="stay in the foreground, which is the default"
    )
    where.add_argument(
        "--init", action="store_true", help="be an init process, as piesd is with PID 1"
    )
    group.add_argument(
        "-b",
        dest="emergency",
        action="store_true",
        help="as init, run a shell before anything else; so does the word emergency",
    )
    log = group.add_mutually_exclusive_group()
    log.add_argument("--stderr", action="store_true", help="write our own log to standard error")
    log.add_argument("--syslog", action="store_true", help="write our own log to syslog")
    group.add_argument(
        "--force", action="store_true", help="start even if the pid file names a live process"
    )
    group.add_argument(
        "--adopt",
        choices=("yes", "no"),
        default="yes",
        help="what to do with components that a piesd that was killed has left: "
        "go on with them (yes), or stop them first (no)",
    )
    group.add_argument(
        "-x", "--debug", metavar="LEVEL", type=int, default=0, help="1 and more: log every detail"
    )
    group.add_argument("--source-info", action="store_true", help=argparse.SUPPRESS)
    group.add_argument("--rate", metavar="N", help=argparse.SUPPRESS)


def _add_tasks(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("instead of running").add_mutually_exclusive_group()

    def task(name: Task, *options: str, help: str) -> None:  # noqa: A002
        group.add_argument(*options, dest="task", action="store_const", const=name, help=help)

    task(
        "check",
        "-t",
        "--check",
        "--lint",
        help="report every problem of the configuration: exit code 78 if there is one, else 0",
    )
    task("preprocess", "-E", help="print the files as the preprocessor leaves them")
    task("config-help", "--config-help", help="print a summary of all configuration directives")
    task("dump-depmap", "--dump-depmap", help="print who needs whom, as a matrix")
    task(
        "trace-prereq",
        "--trace-prereq",
        "--dump-prereq",
        help="print what each component (or each TAG) needs, directly and indirectly",
    )
    task("trace-depend", "--trace-depend", help="print what needs each component (or each TAG)")
    task(
        "list-shutdown-sequence",
        "--list-shutdown-sequence",
        help="print in which order components go down",
    )
    task("rehearse", "--rehearse-takeover", help=argparse.SUPPRESS)
    task("status", "-s", "--status", help="list the components of the running piesd")
    task("stop", "-S", "--stop", help="shut the running piesd down")
    task("reload", "-r", "--reload", "--hup", help="make the running piesd read its files again")
    task(
        "restart",
        "-R",
        "--restart",
        "--restart-component",
        help="restart the components TAG… of the running piesd",
    )
    group.add_argument("--usage", nargs=0, action=_Usage, help="print a short usage and exit")
    group.add_argument(
        "-V", "--version", action="version", version=f"piesd {__version__}", help="print it"
    )
