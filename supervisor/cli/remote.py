"""What `piesd` asks of a piesd that runs already: --status, --stop, --reload, --restart."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used.

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING

from supervisor.cli import pieslist
from supervisor.cli.terminal import clean

if TYPE_CHECKING:
    from supervisor.cli.piesd import Options
    from supervisor.client import Client

EX_UNAVAILABLE = 69


def carry_out(options: Options) -> int:
    """Speak to the running instance as *options* say; return the exit code.

    The instance is found as piesctl finds it; the first `--socket` names it directly.
    """
    from supervisor.client import BadAddress, Client, Refused, Unreachable, find

    try:
        place = find(options.sockets[0] if options.sockets else None, options.instance)
        _ask(Client(place), options)
    except (BadAddress, Refused, Unreachable) as error:
        for line in (str(error), getattr(error, "hint", "")):
            if line:
                print(f"piesd: {clean(line)}", file=sys.stderr)
        return 1 if isinstance(error, Refused) else EX_UNAVAILABLE
    return 0


def _ask(client: Client, options: Options) -> None:
    match options.task:
        case "status":
            now = dt.datetime.now().astimezone()
            for line in pieslist.lines(client.programs(), now):
                print(clean(line))
        case "stop":
            client.shutdown()
        case "reload":
            client.reload()
        case "restart":
            from supervisor.client import Order

            tags = [{"op": "component", "arg": tag} for tag in options.tags]
            client.order(Order("restart", {"op": "or", "arg": tags}))
        case _:
            raise ValueError(options.task)
