"""The listening sockets themselves: opened, kept through a change of hands, closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import trio

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from supervisor.model.component import Address, Component
    from supervisor.system.port import System

KEPT: Final = 60.0
"""Seconds for which sockets stay open that are going to be used again. Until then, who connects
waits; afterwards, whatever was to use them has not come up, and clients are told so."""


class Opened(NamedTuple):
    """A socket, and all in which one may differ from another."""

    fd: int
    address: Address
    backlog: int
    blocking: bool

    def fits(self, address: Address, spec: Component) -> bool:
        """Return whether it is what *spec* would have opened at *address*."""
        wanted = (address, spec.backlog, is_handed_over(spec))
        return (self.address, self.backlog, self.blocking) == wanted


class _Parked(NamedTuple):
    opened: Opened
    until: float


class SocketStock:
    """Opens sockets for components; those put aside are handed out again instead of opened anew."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._parked: dict[Address, _Parked] = {}

    def open(self, spec: Component) -> tuple[Opened, ...]:
        """Return the sockets of *spec*: all or none.

        Raises:
            ListenError: one of them could not be opened.
        """
        found: list[Opened] = []
        try:
            for address in spec.sockets:
                blocking, parked = is_handed_over(spec), self._parked.pop(address, None)
                if parked is not None and not self.leads_to((parked.opened,)):
                    self._close(parked.opened)  # Nobody could come to it any more.
                    parked = None
                if parked is None:
                    fd = self._system.listen(address, spec.backlog, blocking=blocking)
                else:
                    # Those who wait at it stay, whatever else is new.
                    fd = parked.opened.fd
                    self._system.relisten(fd, spec.backlog, blocking=blocking)
                found.append(Opened(fd, address, spec.backlog, blocking))
        except BaseException:
            self.close(found)
            raise
        return tuple(found)

    def take_over(self, spec: Component, found: Iterable[int]) -> tuple[Opened, ...]:
        """Return the sockets of *spec*, which are open as *found*."""
        blocking = is_handed_over(spec)
        for fd in found:
            self._system.relisten(fd, spec.backlog, blocking=blocking)
        return tuple(
            Opened(fd, address, spec.backlog, blocking)
            for fd, address in zip(found, spec.sockets, strict=True)
        )

    def close(self, sockets: Iterable[Opened], keep: Set[Address] = frozenset()) -> None:
        """Close sockets, or put them aside where *keep* says that they are going to be wanted."""
        until = trio.current_time() + KEPT
        for opened in sockets:
            self._system.unwatch(opened.fd)
            self._system.expect_no_more(opened.fd)
            # Of an address that means any free port, several may be open.
            if opened.address in keep and opened.address not in self._parked:
                self._parked[opened.address] = _Parked(opened, until)
            else:
                self._close(opened)

    def everything(self, open_now: Iterable[tuple[Opened, ...]]) -> list[Opened]:
        """Return all that is open, with what is put aside."""
        found = [opened for sockets in open_now for opened in sockets]
        return [*found, *(parked.opened for parked in self._parked.values())]

    def leads_to(self, sockets: Iterable[Opened]) -> bool:
        """Return whether clients find all of *sockets* at their addresses."""
        return all(self._system.leads_to(opened.address, opened.fd) for opened in sockets)

    def deadline(self) -> float:
        """Return when the first of those put aside is to be closed, infinity for never."""
        return min((each.until for each in self._parked.values()), default=float("inf"))

    def close_forgotten(self) -> None:
        """Close what was put aside and that nobody has come for."""
        now = trio.current_time()
        self.close_parked({key for key, parked in self._parked.items() if parked.until <= now})

    def close_parked(self, addresses: Iterable[Address]) -> None:
        """Close what was put aside for *addresses*."""
        for address in addresses:
            parked = self._parked.pop(address, None)
            if parked is not None:
                self._close(parked.opened)

    def _close(self, opened: Opened) -> None:
        self._system.unlisten(opened.fd, opened.address)


def same_place(sockets: tuple[Opened, ...], spec: Component) -> bool:
    """Return whether *sockets* are just what *spec* asks for."""
    return len(sockets) == len(spec.sockets) and all(
        opened.fits(address, spec) for opened, address in zip(sockets, spec.sockets, strict=True)
    )


def is_handed_over(spec: Component) -> bool:
    """Return whether programs accept at the sockets of *spec*, and not we.

    They expect accept(2) to wait; ours must not.
    """
    return spec.owned or not spec.listens
