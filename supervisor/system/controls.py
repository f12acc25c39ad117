"""The control sockets of a daemon: opened at its start, and anew where a path has gone since."""

from __future__ import annotations

import socket
from collections.abc import Callable

from supervisor.model.component import Address, UnixAddress
from supervisor.system.sockets import Place, closing, open_control, place_of


class ControlSockets:
    """What was opened, and which paths lead to it."""

    def __init__(self) -> None:
        self._places: dict[UnixAddress, Place | None] = {}
        self._closers: list[Callable[[], None]] = []

    def open(self, address: Address) -> socket.socket:
        """Open a control socket.

        Raises:
            AlreadyRunning: somebody listens on that UNIX socket.
            CannotListen: any other reason.
        """
        opened = open_control(address)
        self._closers.append(closing(opened, address))
        if isinstance(address, UnixAddress):
            self._places[address] = place_of(address.path)
        return opened

    def lost(self) -> list[UnixAddress]:
        """Return where a client would no longer find us: the path is gone, or somebody else's."""
        return [each for each, place in self._places.items() if place_of(each.path) != place]

    def close(self) -> None:
        """Close all of them, and remove the paths that are still ours."""
        while self._closers:
            self._closers.pop()()
