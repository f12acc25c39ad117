"""Clients who come and ask all the time, and none of whom is to be turned away."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from piesd_process import Piesd


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(str(path))
    return client


class Crowd:
    """Clients who come all the time, each of whom wants to be served."""

    def __init__(self, daemon: Piesd, path: Path) -> None:
        self._daemon, self._path = daemon, path
        self._over = threading.Event()
        self.served = self.asked = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=each) for each in (self._come, self._ask)]
        for thread in self._threads:
            thread.start()

    def _come(self) -> None:
        while not self._over.is_set():
            try:
                with connect(self._path) as client:
                    client.sendall(b"x")
                    assert client.recv(1) == b"x"
                    self.served += 1
            except Exception as error:  # noqa: BLE001 - Whatever it is, it is told.
                self.failures.append(f"served: {error!r}")

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                assert self._daemon.ask("GET", "/programs/a").status == 200
                self.asked += 1
            except Exception as error:  # noqa: BLE001 - Whatever it is, it is told.
                self.failures.append(f"asked: {error!r}")

    def goes_on(self, served: int, asked: int) -> bool:
        """Return whether more of them were served since, and more answers came."""
        return self.served > served + 5 and self.asked > asked + 5

    def leave(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
