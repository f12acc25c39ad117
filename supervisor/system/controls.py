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
        self._open: dict[Address, socket.socket] = {}
        self.addresses: list[Address] = []
        """Where clients find us."""
        self._closers: list[Callable[[], None]] = []

    def open(self, address: Address, handed: int | None = None) -> socket.socket:
        """Open a control socket, or go on with one that was *handed* over.

        Raises:
            AlreadyRunning: somebody listens on that UNIX socket.
            CannotListen: any other reason.
        """
        self._missing[address] = None
        opened = open_control(address) if handed is None else socket.socket(fileno=handed)
        del self._missing[address]
        self.sockets.append(opened)
        self._open[address] = opened
        if address not in self.addresses:
            self.addresses.append(address)
        self._closers.append(closing(opened, address))
        if isinstance(address, UnixAddress):
            self._places[address] = place_of(address.path)
        return opened

    def files(self) -> dict[Address, int]:
        """Return the descriptors of what is open; the latest, where one was opened anew."""
        found = {address: opened.fileno() for address, opened in self._open.items()}
        return {address: fd for address, fd in found.items() if fd >= 0}

    def lost(self) -> list[Address]:
        """Return where a client would not find us: the path is gone, or somebody else's."""
        gone = [each for each, place in self._places.items() if place_of(each.path) != place]
        return [*self._missing, *gone]

    def close(self) -> None:
        """Close all of them, and remove the paths that are still ours."""
        while self._closers:
            self._closers.pop()()
