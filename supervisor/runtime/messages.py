"""Messages of lines: what belongs to a line beside its text, and how lines become messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from supervisor.system.logfile import CannotWrite

if TYPE_CHECKING:
    from supervisor.model.component import Output, Tag
    from supervisor.model.settings import SyslogSettings
    from supervisor.runtime.followers import StreamName

AT_ONCE: Final = 500
"""Lines in one write; then others take their turn in the worker threads."""

TURN: Final = 0.5
"""Seconds after which a write returns with what went, however slowly the collector takes it."""

FACILITIES: Final = {
    "kern": 0,
    "user": 1,
    "mail": 2,
    "daemon": 3,
    "auth": 4,
    "syslog": 5,
    "lpr": 6,
    "news": 7,
    "uucp": 8,
    "cron": 9,
    "authpriv": 10,
    "ftp": 11,
} | {f"local{number}": 16 + number for number in range(8)}
"""Numbers of the facilities. Source: RFC 3164 section 4.1.1, and syslog(3) for the words."""

PRIORITIES: Final = {
    word: number
    for number, word in enumerate(
        ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
    )
}


class Origin(NamedTuple):
    """Whose lines these are.

    `tag` is who speaks, `component` who it is about: the same for a child, and maybe nobody for
    piesd itself, which has no `stream` either. `pid` is 0 where it is not known.
    """

    tag: str
    component: str = ""
    stream: str = ""
    facility: int = FACILITIES["daemon"]
    priority: int = PRIORITIES["info"]
    pid: int = 0


def origin_of(
    tag: Tag, stream: StreamName, settings: Output, syslog: SyslogSettings, pid: int
) -> Origin:
    """Return whose the lines of that stream are."""
    facility = FACILITIES.get((settings.facility or syslog.facility).lower(), FACILITIES["daemon"])
    word = settings.priority or ("info" if stream == "stdout" else "err")
    priority = PRIORITIES.get(word.lower(), PRIORITIES["info"])
    return Origin(tag, tag, stream, facility, priority, pid)


class Record(NamedTuple):
    """Whole lines of one origin that came together. `at` is Unix time."""

    origin: Origin
    at: float
    lines: bytes


Pack = Callable[[Origin, float, bytes], Iterable[bytes]]
"""Makes the messages of one line; more than one if it is too long for one."""


class Wire(Protocol):
    """A connection to a collector (see `supervisor.system.syslog.MessageSocket`)."""

    def send(self, packet: bytes) -> bool:
        """Send one message; return False if there is no room for it now."""

    def wait(self) -> bool:
        """Return whether there is room after a moment."""

    def close(self) -> None:
        """Close the connection; the next message makes a new one."""


class Courier(Protocol):
    """What takes messages away; every method may block."""

    def write(self, records: Iterable[Record]) -> int:
        """Send as many lines as go now; return their bytes, newlines included.

        Raises:
            CannotWrite: only a part went; it says how much.
            OSError: nothing went.
        """

    def reopen(self) -> None:
        """Connect anew with the next message."""

    def close(self) -> None:
        """Close the connection."""


class MessageCourier:
    """Sends each line as a message of its own, in their order."""

    def __init__(self, connect: Callable[[], tuple[Wire, Pack]]) -> None:
        self._connect = connect
        self._wire: Wire | None = None
        self._pack: Pack
        self._partly: tuple[bytes, int] = b"", 0
        """A long line that went in part, and how many of its messages went."""

    def write(self, records: Iterable[Record]) -> int:
        """Send up to `AT_ONCE` lines; one counts once all of its messages went."""
        done = 0
        left = AT_ONCE
        until = time.monotonic() + TURN
        try:
            if self._wire is None:
                self._wire, self._pack = self._connect()
            for origin, at, lines in records:
                for line in lines.split(b"\n")[:-1]:
                    if not self._line(self._wire, origin, at, line):
                        return done
                    done += len(line) + 1
                    left -= 1
                    if left <= 0 or time.monotonic() > until:
                        return done
        except OSError as error:
            raise CannotWrite(error, done) from None
        return done

    def _line(self, wire: Wire, origin: Origin, at: float, line: bytes) -> bool:
        begun, sent = self._partly
        for index, packet in enumerate(self._pack(origin, at, line)):
            if begun == line and index < sent:
                continue
            self._partly = line, index
            if not (wire.send(packet) or (wire.wait() and wire.send(packet))):
                return False
        self._partly = b"", 0
        return True

    def reopen(self) -> None:
        """Connect anew with the next message; what the place's name means is looked up again."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None


def pieces(text: bytes, most: int) -> Iterable[bytes]:
    """Cut *text* into pieces of *most* bytes at most, none in the middle of a character of UTF-8.

    An empty text is one empty piece.
    """
    begin = 0
    while len(text) - begin > most:
        end = begin + most
        for back in range(4):
            if end - back > begin and text[end - back] & 0xC0 != 0x80:
                end -= back
                break
        yield text[begin:end]
        begin = end
    yield text[begin:]
