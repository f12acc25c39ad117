"""Lines as entries of systemd's journal, by its native protocol."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from supervisor.runtime.messages import MessageCourier, Origin, Pack, Wire, pieces
from supervisor.system.syslog import MessageSocket

JOURNAL: Final = "/run/systemd/journal/socket"

MOST: Final = 48 * 1024
"""Bytes of one message, the journal's own `LineMax`: an entry then always fits into a datagram."""


def courier(path: str = JOURNAL) -> MessageCourier:
    """Return what takes lines to the journal whose socket is *path*."""

    def connect() -> tuple[Wire, Pack]:
        return MessageSocket(path), entries

    return MessageCourier(connect)


def entries(origin: Origin, _at: float, line: bytes) -> Iterable[bytes]:
    """Make the entries of one line. The journal notes the time itself.

    The text is passed as it is: the journal is safe for every byte, and its readers show what a
    terminal should not get.

    Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL, systemd.journal-fields(7).
    """
    fields = [
        _field("PRIORITY", str(origin.priority).encode()),
        _field("SYSLOG_IDENTIFIER", origin.tag.encode()),
    ]
    if origin.component:
        fields.append(_field("PIESD_COMPONENT", origin.component.encode()))
    if origin.stream:
        fields.append(_field("PIESD_STREAM", origin.stream.encode()))
    if origin.pid:
        fields.append(_field("SYSLOG_PID", str(origin.pid).encode()))
    rest = b"".join(fields)
    return [_field("MESSAGE", piece) + rest for piece in pieces(line.removesuffix(b"\r"), MOST)]


def _field(name: str, value: bytes) -> bytes:
    """Write one field: `NAME=value`, or with its length where a newline is in it."""
    if b"\n" not in value:
        return b"%s=%s\n" % (name.encode(), value)
    return b"%s\n%s%s\n" % (name.encode(), len(value).to_bytes(8, "little"), value)
