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
        self._missing: dict[Address, None] = {}
        """What could not be opened; the first process tries again later."""
        self.sockets: list[socket.socket] = []
        """What is open, for whoever begins to serve."""
        self.addresses: list[Address] = []
        """Where clients find us."""
        self._closers: list[Callable[[], None]] = []

    def open(self, address: Address) -> socket.socket:
        """Open a control socket.

        Raises:
            AlreadyRunning: somebody listens on that UNIX socket.
            CannotListen: any other reason.
        """
        self._missing[address] = None
        opened = open_control(address)
        del self._missing[address]
        self.sockets.append(opened)
        if address not in self.addresses:
            self.addresses.append(address)
        self._closers.append(closing(opened, address))
        if isinstance(address, UnixAddress):
            self._places[address] = place_of(address.path)
        return opened

    def lost(self) -> list[Address]:
        """Return where a client would not find us: the path is gone, or somebody else's."""
        gone = [each for each, place in self._places.items() if place_of(each.path) != place]
        return [*self._missing, *gone]

    def close(self) -> None:
        """Close all of them, and remove the paths that are still ours."""
        while self._closers:
            self._closers.pop()()
