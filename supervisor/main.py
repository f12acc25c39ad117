"""The command `piesd`: do one of its other tasks, or be a daemon, and another one after it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial

from supervisor import salvage
from supervisor.cli.ending import carried_out, prepare_streams
from supervisor.cli.piesd import Options, parse
from supervisor.daemon import Daemon, reason
from supervisor.engine.plan import Plan
from supervisor.executing import EX_UNAVAILABLE, execute_again, hand_over
from supervisor.model.errors import ConfigRejected, SupervisorError
from supervisor.model.plaintext import shown
from supervisor.system import seats
from supervisor.system.detach import close_inherited
from supervisor.system.environment import forget_coercion
from supervisor.system.fdstore import DescriptorStore
from supervisor.system.handover import Handover, Trial
from supervisor.system.process_setup import open_standard_descriptors
from supervisor.tasks import do_other, has_machine, is_machine, named_files, read_plan, refuse


def main(
    argv: Sequence[str] | None = None,
    given: Handover | None = None,
    trial: Trial | None = None,
) -> int:
    """Do what the command line of piesd says, and return its exit code.

    Args:
        argv: the words after the name of the command.
        given: what the program that was here before has handed over.
        trial: is told when we are as good as that.
    """
    forget_coercion(os.environ)  # Before anybody makes a copy of it.
    original_environment = {
        name: value for name, value in os.environ.items() if not name.startswith("LISTEN_")
    }
    store = DescriptorStore.from_environ()  # Before anything else opens or closes a descriptor.
    open_standard_descriptors()  # From the console, for the first process of a system.
    prepare_streams()
    options = parse(sys.argv[1:] if argv is None else argv)
    if options.task != "run":
        return carried_out("piesd", partial(do_other, options))
    if options.emergency:
        salvage.before_all()
    try:
        plan = read_plan(options, named_files(options))
    except ConfigRejected as rejected:
        code = refuse(rejected)
        if not is_machine(options):
            return code
        plan = salvage.until_right(options, "its configuration is wrong")
    if options.daemon:
        close_inherited()
    seats.reserve()  # Before anything else of ours could sit there for good.
    while True:
        try:
            daemon = Daemon(options, plan, store, original_environment, given, trial)
            code = daemon.run()
        except (SupervisorError, OSError) as error:
            print(f"piesd: {shown(reason(error))}", file=sys.stderr)
            if not has_machine(options, plan):
                return EX_UNAVAILABLE
            plan = salvage.until_right(options, "it cannot start")
            continue
        if daemon.successor is not None:
            given, trial = hand_over(original_environment, daemon.setup, daemon.successor), None
            continue  # It could not be executed.
        if not daemon.again:
            return code
        code = execute_again(original_environment, daemon.setup)
        if not daemon.first:
            return code
        # The first process goes on as it is: what is new in its program is not worth its end.
        plan = _plan_anew(options, plan)


def _plan_anew(options: Options, plan: Plan) -> Plan:
    try:
        return read_plan(options, named_files(options))
    except ConfigRejected as rejected:
        refuse(rejected)
        return plan
