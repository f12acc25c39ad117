"""What `piesd` asks of a piesd that runs already: --status, --stop, --reload, --restart."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used.

from __future__ import annotations

import datetime as dt
import os
import sys
from typing import TYPE_CHECKING

from supervisor.cli import pieslist
from supervisor.cli.terminal import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supervisor.cli.piesd import Options
    from supervisor.client import Client, Place
    from supervisor.model.settings import SourceFile

EX_UNAVAILABLE = 69


def carry_out(options: Options, files: Sequence[SourceFile]) -> int:
    """Speak to the running instance as *options* say; return the exit code.

    Args:
        files: the configuration that it runs with, if that was given: it has the socket, unless
            `--socket` says it. Without both, the instance is found as piesctl finds it.
    """
    from supervisor.client import Client, ClientError, Refused

    try:
        return _ask(Client(_place(options, files)), options)
    except ClientError as error:
        _complain(*str(error).splitlines(), error.hint.replace("--url", "--socket"))
        return 1 if isinstance(error, Refused) else EX_UNAVAILABLE


def _complain(*lines: str) -> None:
    for line in filter(None, lines):
        print(f"piesd: {clean(line)}", file=sys.stderr)


def _place(options: Options, files: Sequence[SourceFile]) -> Place:
    from supervisor.cli.finding import configured_place, find_daemon

    if files and not options.sockets:
        return configured_place(
            files,
            options.instance,
            environ=os.environ,
            euid=os.geteuid(),
            preprocessing=options.preprocessing,
            note=_complain,
        )
    url = options.sockets[0] if options.sockets else None
    return find_daemon(url, options.instance, note=_complain)


def _ask(client: Client, options: Options) -> int:
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
            unknown = [
                tag
                for tag, selector in zip(options.tags, tags, strict=True)
                if not client.programs(selector, fields=("tag",))
            ]
            if unknown:
                names = ", ".join(unknown)
                _complain(f"cannot restart {names}: there is no such component; nothing is done")
                return 1
            client.order(Order("restart", {"op": "or", "arg": tags}))
        case _:
            raise ValueError(options.task)
    return 0
