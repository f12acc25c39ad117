"""What the command `piesd` does beside supervising: check, show, print, ask another one."""

# ruff: noqa: PLC0415  What only a few tasks need is not loaded when piesd starts to supervise.

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from supervisor.cli.legacytelinit import is_init
from supervisor.cli.piesd import Options, Task
from supervisor.config.load import default_files, load
from supervisor.model.errors import ConfigRejected, SupervisorError
from supervisor.model.plaintext import shown
from supervisor.model.settings import SourceFile
from supervisor.system import preprocess

if TYPE_CHECKING:
    from supervisor.engine.plan import Plan
    from supervisor.model.errors import Problem

EX_CONFIG = 78
"""The exit code for a configuration with problems. Source: sysexits(3)."""

INETD_CONF = "/etc/inetd.conf"
INIT_FILES = (SourceFile("/etc/inittab", "inittab"), SourceFile("/etc/pies.init", "pies"))
"""What an init process reads if nothing else is named."""


def named_files(options: Options) -> tuple[SourceFile, ...]:
    """Return the files that the command line names, or those that are read without any."""
    if options.files:
        return options.files
    if options.inetd:
        return (SourceFile(INETD_CONF, "inetd"),)
    if is_first(options):
        # Source: pies.md section 6; either or both may be missing.
        found = tuple(each for each in INIT_FILES if os.path.lexists(each.file))
        if found:
            return found
    return default_files(os.environ, os.geteuid(), options.instance)


def is_first(options: Options) -> bool:
    """Tell whether this is the first process of a system or container, or behaves like one."""
    return options.init or os.getpid() == 1


def is_machine(options: Options) -> bool:
    """Tell whether this is to be an init process before any configuration could be read.

    It is PID 1, and was told so, is called `init` as the kernel calls it, or reads an inittab.
    """
    if os.getpid() != 1:
        return False
    return is_init(sys.argv[0]) or options.init or _has_inittab(named_files(options))


def _has_inittab(files: Sequence[SourceFile]) -> bool:
    return any(
        each.syntax == "inittab" or os.path.basename(each.file) == "inittab" or each in INIT_FILES
        for each in files
    )


def has_machine(options: Options, plan: Plan) -> bool:
    """Tell whether this is the init process of a machine, or of a container that is like one.

    It is PID 1, and was told so or has an inittab or a runlevel; what else is PID 1 supervises a
    container, whose end is its own.
    """
    if os.getpid() != 1:
        return False
    return is_machine(options) or _has_inittab(plan.files) or bool(plan.daemon.runlevel)


def read_plan(options: Options, files: Sequence[SourceFile], euid: int | None = None) -> Plan:
    """Read *files* as the command line says. It may block.

    Args:
        euid: the effective user that piesd began as; the present one if None.

    Raises:
        ConfigRejected: with every problem.
    """
    return load(
        files,
        environ=os.environ,
        euid=os.geteuid() if euid is None else euid,
        instance=options.instance,
        sockets=options.sockets,
        preprocessing=options.preprocessing,
        run=preprocess.run,
        init=is_first(options),
    )


def refuse(rejected: ConfigRejected) -> int:
    """Print every problem; return the exit code."""
    for problem in rejected.problems:
        print(shown(str(problem)), file=sys.stderr)
    return EX_CONFIG


def do_other(options: Options) -> int:
    """Do what *options* ask for instead of supervising; return the exit code."""
    if options.task in OTHER_TASKS:
        return OTHER_TASKS[options.task](options)
    try:
        plan = read_plan(options, named_files(options))
    except ConfigRejected as rejected:
        return refuse(rejected)
    return _show_plan(plan, options)


def _show_plan(plan: Plan, options: Options) -> int:
    """Print what *options* want to see of a configuration without problems."""
    for warning in plan.warnings:
        print(shown(str(warning)), file=sys.stderr)
    if options.task == "check":
        return 0
    from supervisor.cli.viewing import show

    return show(plan, options)


def _rehearse(options: Options) -> int:
    """Tell by the exit code whether a piesd that takes over now would find nothing to do."""
    from supervisor.survival import Survival
    from supervisor.upgrade import rehearse

    try:
        plan = read_plan(options, named_files(options))
        survival = Survival(plan.daemon.runtime_directory, plan.daemon.instance)
    except ConfigRejected as rejected:
        return refuse(rejected)
    except SupervisorError as error:
        print(shown(str(error)), file=sys.stderr)
        return EX_CONFIG
    effects = rehearse(survival.left, plan)
    if not effects:
        return 0
    keys = sorted({str(getattr(effect, "key", "")) for effect in effects} - {""})
    what = f" ({', '.join(keys[:5])}{' …' if len(keys) > 5 else ''})" if keys else ""
    print(f"the files say something else than what runs{what}: reload them first", file=sys.stderr)
    return EX_CONFIG


def _preprocess(options: Options) -> int:
    from supervisor.config.sources import preprocessed

    problems: list[Problem] = []
    text = preprocessed(
        named_files(options),
        problems,
        environ=os.environ,
        euid=os.geteuid(),
        preprocessing=options.preprocessing,
        run=preprocess.run,
    )
    sys.stdout.write(text)
    for problem in problems:
        print(shown(str(problem)), file=sys.stderr)
    return EX_CONFIG if any(not problem.warning for problem in problems) else 0


def _config_help(options: Options) -> int:
    del options
    from supervisor.cli.confighelp import lines

    for line in lines():
        print(shown(line))
    return 0


def _ask_another(options: Options) -> int:
    from supervisor.cli.remote import carry_out

    # Only files that somebody has named: the usual ones are looked at where nothing runs at the
    # usual place.
    named = options.files or options.inetd
    return carry_out(options, named_files(options) if named else ())


OTHER_TASKS: Mapping[Task, Callable[[Options], int]] = {
    "rehearse": _rehearse,
    "preprocess": _preprocess,
    "config-help": _config_help,
    "status": _ask_another,
    "stop": _ask_another,
    "reload": _ask_another,
    "restart": _ask_another,
}
"""The tasks that need no plan."""
