"""The floor: the least that a Python program has to do to keep children alive, or to answer.

It runs by its path, with nothing but the standard library, so that its start and its memory are
those of a bare interpreter.

    floor.py keep COUNT COMMAND…   keep that many children alive; SIGTERM ends them and it
    floor.py answer SOCKET FILE    send FILE whenever a request arrives
    floor.py serve PORT COMMAND…   run one process for each connection, with that as its 0 and 1
    floor.py reap COMMAND…         run that, and reap it and every orphan
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36

_WAITED = {signal.SIGCHLD, signal.SIGTERM}


def keep(count: int, command: list[str]) -> None:
    """Keep *count* children alive until SIGTERM, then end them."""

    def spawn() -> int:
        return os.posix_spawn(command[0], command, os.environ, setsid=True, setsigmask=[])

    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    children = {spawn() for _ in range(count)}
    while signal.sigwait(_WAITED) == signal.SIGCHLD:
        for pid in _ended():
            children.discard(pid)
            children.add(spawn())
    for pid in children:
        os.kill(pid, signal.SIGTERM)
    while children:
        children.difference_update(_ended())
        if children:
            signal.sigwait({signal.SIGCHLD})


def _ended() -> list[int]:
    """Reap everything that has ended."""
    pids: list[int] = []
    while True:
        try:
            pid, _, _ = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return pids
        if pid == 0:
            return pids
        pids.append(pid)


def answer(path: str, file: str) -> None:
    """Send the content of *file* for every request on one connection after another."""
    content = Path(file).read_bytes()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    while True:
        connection, _ = listening.accept()
        with connection:
            request = b""
            while some := connection.recv(65536):
                request += some
                if request.endswith(b"\r\n\r\n"):
                    request = b""
                    connection.sendall(content)


def serve(port: int, command: list[str]) -> None:
    """Run *command* for every connection to *port* of the loopback address."""
    listening = socket.create_server(("127.0.0.1", port), backlog=4096)
    while True:
        connection, _ = listening.accept()
        with connection:
            fd = connection.fileno()
            actions = [(os.POSIX_SPAWN_DUP2, fd, 0), (os.POSIX_SPAWN_DUP2, fd, 1)]
            os.posix_spawn(command[0], command, os.environ, setsid=True, file_actions=actions)
        _ended()


def reap(command: list[str]) -> None:
    """Run *command*, and reap whatever ends."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    first = os.posix_spawn(command[0], command, os.environ, setsid=True, setsigmask=[])
    while signal.sigwait(_WAITED) == signal.SIGCHLD:
        _ended()
    os.kill(first, signal.SIGTERM)


if __name__ == "__main__":
    match sys.argv[1]:
        case "keep":
            keep(int(sys.argv[2]), sys.argv[3:])
        case "answer":
            answer(sys.argv[2], sys.argv[3])
        case "serve":
            serve(int(sys.argv[2]), sys.argv[3:])
        case _:
            reap(sys.argv[2:])
