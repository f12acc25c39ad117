"""Lines as messages of syslog, in the form of RFC 3164."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable
from functools import partial
from typing import Final

from supervisor.runtime.messages import MessageCourier, Origin, Pack, Wire, pieces
from supervisor.system.syslog import MessageSocket, syslog_place

MOST_UDP: Final = 1024
"""Bytes of a message by UDP, header included. Source: RFC 3164 section 4.1."""

MOST_LOCAL: Final = 8000
"""The same on this host, where no RFC rules: rsyslogd takes 8,096, others more."""

LONGEST_TAG: Final = 32
"""Source: RFC 3164 section 4.1.3."""

_MONTHS: Final = [
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
]

_UNFIT_FOR_A_TAG: Final = re.compile(r"[^A-Za-z0-9_./@-]")

_HARMLESS: Final = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != ord("\t")
}


def courier(dev: str) -> MessageCourier:
    """Return what takes lines to the syslog at *dev* (see `SyslogSettings`)."""

    def connect() -> tuple[Wire, Pack]:
        place = syslog_place(dev)
        if isinstance(place, str):
            return MessageSocket(place), partial(packets, host="", most=MOST_LOCAL)
        host = socket.gethostname().split(".", 1)[0]
        return MessageSocket(place), partial(packets, host=host, most=MOST_UDP)

    return MessageCourier(connect)


def packets(
    origin: Origin, at: float, line: bytes, *, host: str = "", most: int = MOST_UDP
) -> Iterable[bytes]:
    """Make the messages of one line: `<PRI>Mmm dd hh:mm:ss [HOST ]TAG[PID]: text`.

    The time is local, as of syslog(3). Each piece of a line that is too long has the same header.

    Source: RFC 3164 section 4.1; on a local socket there is no HOST, because syslog(3) sends none.
    """
    pid = f"[{origin.pid}]" if origin.pid else ""
    whence = f"{host} " if host else ""
    number = origin.facility * 8 + origin.priority
    head = f"<{number}>{_clock(at)} {whence}{program(origin.tag)}{pid}: ".encode()
    return [head + piece for piece in pieces(harmless(line), most - len(head))]


def _clock(at: float) -> str:
    # The day has a blank before it where it has one digit, and months have English names whatever
    # the locale says: strftime promises neither.
    now = time.localtime(at)
    month = _MONTHS[now.tm_mon - 1]
    return f"{month} {now.tm_mday:2} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"


def program(tag: str) -> str:
    """Return the tag of a component as one of syslog's: `web:2` is `web_2`.

    A colon, bracket or blank would end it, and it has 32 characters at most.
    """
    return _UNFIT_FOR_A_TAG.sub("_", tag)[:LONGEST_TAG]


def harmless(line: bytes) -> bytes:
    r"""Return *line* as UTF-8 without anything that moves a cursor: `\x1b` for an escape.

    Tabs stay. What is not UTF-8 is shown in the same way. The carriage return of an ending CR LF
    goes.
    """
    text = line.removesuffix(b"\r").decode("utf-8", "backslashreplace")
    return text.translate(_HARMLESS).encode()
