"""What the init process of a machine does where it cannot supervise: a shell, and another try."""

from __future__ import annotations

import os

from supervisor import __version__
from supervisor.cli.piesd import Options
from supervisor.engine.plan import Plan
from supervisor.model.errors import ConfigRejected
from supervisor.system.firstprocess import say
from supervisor.system.rescue import CONSOLE, SHELLS, rescue
from supervisor.tasks import named_files, read_plan


def environment() -> dict[str, str]:
    """Return the variables that an init process gives to everything. Source: pies.md section 6."""
    return {
        "CONSOLE": os.environ.get("CONSOLE", CONSOLE),
        "INIT_VERSION": f"piesd {__version__}",
        # The kernel gives an init process none; an image of a container knows its own.
        "PATH": os.environ.get("PATH", "/bin:/usr/bin:/sbin:/usr/sbin"),
    }


def before_all() -> None:
    """Run a shell before the boot, as `emergency` asks. Source: init(8) of sysvinit."""
    say("emergency: there is a shell on the console, and the boot comes when it has ended")
    rescue(SHELLS, environ=os.environ | environment())


def until_right(options: Options, why: str) -> Plan:
    """Run a shell on the console until the configuration can be read, and return what it says."""
    say(
        f"there is a shell on the console, as {why}; the configuration is read again "
        "when it has ended, and at SIGHUP or 'telinit q'"
    )
    found: list[Plan] = []

    def again() -> bool:
        try:
            found.append(read_plan(options, named_files(options)))
        except ConfigRejected as rejected:
            for problem in rejected.problems:
                say(str(problem))
        return bool(found)

    rescue(SHELLS, again, environ=os.environ | environment())
    return found[-1]
