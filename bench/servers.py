"""Who runs one process for each connection: piesd, the floor, and what else is installed for that.

All do the same with the same program, on a port of the loopback address: no names are looked up,
nothing is logged that they do not log unasked, and no limit is ever reached.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import subjects
from bench.subjects import Subject

PIESD, FLOOR = "piesd", "floor"

TAG = "served"

_ANY = 1_000_000_000


class Server(NamedTuple):
    """One that listens."""

    name: str
    port: int
    subject: Subject


@contextlib.contextmanager
def running(directory: Path, program: list[str], places: Sequence[Path]) -> Iterator[list[Server]]:
    """Start everybody who is there, the floor and piesd first; they end with the block.

    Args:
        program: what runs for each connection, a full path and arguments.
        places: where to look for the others, beside the usual places.
    """
    path = os.pathsep.join([*map(str, places), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    with contextlib.ExitStack() as stack:
        servers = []

        def add(name: str, port: int, command: list[str]) -> None:
            subject = stack.enter_context(Subject(command, directory / f"{name}.txt"))
            servers.append(Server(name, port, subject))

        port = _free_port()
        add(FLOOR, port, subjects.serving_floor(port, program))
        port = _free_port()
        file = _configuration(directory, port, program)
        add(PIESD, port, [sys.executable, "-m", "supervisor", "-c", str(file)])
        for name, command in (
            ("tcpserver", _tcpserver),
            ("xinetd", _xinetd),
            ("inetd", _inetd),
        ):
            if found := shutil.which(name, path=path):
                port = _free_port()
                add(name, port, [found, *command(directory, port, program)])
        yield servers


def _free_port() -> int:
    """Return a port that nobody has; somebody might take it before we do, which is seen then."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _configuration(directory: Path, port: int, program: list[str]) -> Path:
    """Write a configuration in which everything is left as it is by default."""
    lines = [
        *subjects.daemon_lines(directory / "connections"),
        f"[component.{TAG}]",
        f"command = [{', '.join(map(subjects.quoted, program))}]",
        'mode = "inetd"',
        f'socket = "inet://127.0.0.1:{port}"',
    ]
    file = directory / "connections.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def _tcpserver(_directory: Path, port: int, program: list[str]) -> list[str]:
    """Source: tcpserver(1). No names, no ident, no message of its own."""
    return ["-HRq", "-l", "0", "-c", "10000", "-b", "4096", "127.0.0.1", str(port), *program]


def _xinetd(directory: Path, port: int, program: list[str]) -> list[str]:
    """Source: xinetd.conf(5)."""
    file = directory / "xinetd.conf"
    file.write_text(
        f"""service {TAG}
{{
    type = UNLISTED
    socket_type = stream
    protocol = tcp
    bind = 127.0.0.1
    port = {port}
    wait = no
    user = {_user()}
    server = {program[0]}
    server_args = {" ".join(program[1:])}
    instances = UNLIMITED
    per_source = UNLIMITED
    cps = {_ANY} 1
    log_type = FILE {directory / "xinetd.log"}
}}
""".replace("    server_args = \n", "")
    )
    return ["-dontfork", "-f", str(file), "-pidfile", str(directory / "xinetd.pid")]


def _inetd(directory: Path, port: int, program: list[str]) -> list[str]:
    """Source: inetd(8) of OpenBSD, as Debian has it."""
    file = directory / "inetd.conf"
    words = " ".join([program[0], os.path.basename(program[0]), *program[1:]])
    file.write_text(f"127.0.0.1:{port} stream tcp nowait.{_ANY} {_user()} {words}\n")
    return ["-i", "-R", str(_ANY), str(file)]


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
