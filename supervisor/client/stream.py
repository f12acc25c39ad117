"""Server-sent events, read line by line.

Source: HTML Living Standard, section 9.2.6, "Interpreting an event stream".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class Message:
    """One event of a stream: its kind, its number where it has one, and its text."""

    kind: str
    data: str
    id: str = ""


def messages(lines: Iterable[bytes]) -> Iterator[Message]:
    """Yield the events of a stream, given as its lines.

    An event that the stream ends in the middle of is dropped, as the standard says.
    """
    kind, data, number = "", list[str](), ""
    for raw in lines:
        line = raw.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
        if not line:
            if data:
                yield Message(kind or "message", "\n".join(data), number)
            kind, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                kind = value
            case "data":
                data.append(value)
            case "id":
                number = value
            case _:
                pass  # A comment (no field name), which keeps the connection alive, or `retry`.
