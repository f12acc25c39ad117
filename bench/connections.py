"""How fast connections get a process each: from piesd, the floor, and others of that trade.

All of them run all the time and have their turn in each repetition, so that a minute in which the
machine is busy is not the minute of one of them.
"""

from __future__ import annotations

import select
import socket
import statistics
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import procfs
from bench.child import TIMESPEC, UNTIMED, Late, make_server
from bench.measure import Figures, Progress, percentile
from bench.servers import FLOOR, PIESD, Server, running

AT_ONCE = 16
"""Clients in the second half of a repetition."""

MODEL = "xinetd"
"""Whose rate piesd is to reach."""

EXEC = 0.0005
"""Seconds from `connect` to the program, beyond the floor's, that are aimed at."""

_PATIENCE = 30.0

# A client that has seen the end resets the connection: no port is kept for the time to come.
_RESET = struct.pack("ii", 1, 0)

Found = dict[str, list[Figures]]
"""What was measured of each server, for each repetition."""


def measure(
    directory: Path, repeat: int, seconds: float, places: Sequence[Path], progress: Progress
) -> Found:
    """Measure everybody *repeat* times, with one client and with many, for *seconds* each."""
    with running(directory, make_server(directory), places) as servers:
        for server in servers:
            _wait_for(server)
        found: Found = {server.name: [] for server in servers}
        for number in range(repeat):
            for server in servers:
                progress(f"{number + 1} of {repeat}: {server.name}")
                found[server.name].append(_turn(server, seconds))
        return found


def _wait_for(server: Server) -> None:
    """Return when *server* serves.

    Raises:
        Late: it does not.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            _one_by_one(server, 0.1)
            return
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise Late(f"{server.name} does not listen") from None
            time.sleep(0.01)


def _turn(server: Server, seconds: float) -> Figures:
    before = procfs.cpu_seconds(server.subject.pid)
    begun = time.monotonic()
    times = _one_by_one(server, seconds)
    rate = len(times) / (time.monotonic() - begun)
    count, took = _many(server, AT_ONCE, seconds)
    used = procfs.cpu_seconds(server.subject.pid) - before
    return {
        "rate": rate,
        "rate_many": count / took,
        "exec": statistics.median(times),
        "exec_p99": percentile(times, 0.99),
        "cpu": used / (len(times) + count),
    }


# --- clients


def _connection(server: Server) -> socket.socket:
    client = socket.socket()
    client.settimeout(_PATIENCE)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    client.connect(("127.0.0.1", server.port))
    return client


def _one_by_one(server: Server, seconds: float) -> list[float]:
    """Connect again and again, each time after the last process has ended.

    Returns:
        The seconds from each `connect` to the first instruction of its process.
    """
    times: list[float] = []
    end = time.monotonic() + seconds
    while (begun := time.monotonic()) < end:
        with _connection(server) as client:
            said, heard = b"", 0.0
            while data := client.recv(64):
                said += data
                heard = time.monotonic()
        times.append(_begun_at(server, said, heard) - begun)
    return times


def _begun_at(server: Server, said: bytes, heard: float) -> float:
    """Return when the program began that has *said* that; where it does not know, when we *heard*.

    Raises:
        Late: nobody has served us.
    """
    if said == UNTIMED:
        return heard
    if len(said) != TIMESPEC.size:
        raise Late(f"{server.name} closed a connection without serving it")
    seconds, nanoseconds = TIMESPEC.unpack(said)
    return float(seconds + nanoseconds / 1e9)


def _many(server: Server, clients: int, seconds: float) -> tuple[int, float]:
    """Have so many connections at a time; return how many there were, and the seconds it took."""
    poll = select.epoll()
    live: dict[int, tuple[socket.socket, bytes]] = {}

    def begin() -> None:
        client = _connection(server)
        live[client.fileno()] = client, b""
        poll.register(client, select.EPOLLIN)

    count, begun = 0, time.monotonic()
    try:
        for _ in range(clients):
            begin()
        while live:
            ready = poll.poll(_PATIENCE)
            if not ready:
                raise Late(f"{server.name} left {len(live)} clients alone")
            for fd, _ in ready:
                client, said = live[fd]
                if data := client.recv(64):
                    live[fd] = client, said + data
                    continue
                _begun_at(server, said, 0.0)
                del live[fd]
                client.close()
                count += 1
                if time.monotonic() - begun < seconds:
                    begin()
        return count, time.monotonic() - begun
    finally:
        poll.close()
        for client, _ in live.values():
            client.close()


# --- what people read


class Row(NamedTuple):
    """One line of the table."""

    name: str
    text: str
    unit: str


ROWS = (
    Row("rate", "connections a second, 1 client", "/s"),
    Row("rate_many", f"connections a second, {AT_ONCE} clients", "/s"),
    Row("exec", "connect() to the program, median", "ms"),
    Row("exec_p99", "  99th percentile", "ms"),
    Row("cpu", "CPU of the server for each connection", "ms"),
)


def table(found: Found) -> str:
    """Return the medians as people read them, and whether piesd is where it is to be."""
    lines = [["what", *found]]
    for row in ROWS:
        cells = [_value(_median(each, row.name), row.unit) for each in found.values()]
        lines.append([row.text, *cells])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    shown = ["ONE PROCESS FOR EACH CONNECTION", ""]
    for first, *others in lines:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        shown.append("  ".join((first.ljust(widths[0]), *cells)))
    return "\n".join((*shown, "", *_verdicts(found)))


def _verdicts(found: Found) -> list[str]:
    ours = found[PIESD]
    late = statistics.median(
        [a["exec"] - b["exec"] for a, b in zip(ours, found[FLOOR], strict=True)]
    )
    what = f"connect() to the program, beyond the floor: {_value(late, 'ms')}"
    lines = [f"{what}, ≤ {_value(EXEC, 'ms')} {_verdict(late <= EXEC)}"]
    for name in ("rate", "rate_many") if MODEL in found else ():
        ratio = statistics.median(
            [a[name] / b[name] for a, b in zip(ours, found[MODEL], strict=True)]
        )
        text = next(row.text for row in ROWS if row.name == name)
        lines.append(f"{text}: {ratio:.2f}× {MODEL}'s, ≥ 1× {_verdict(ratio >= 1)}")
    return lines


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def _median(repetitions: list[Figures], name: str) -> float:
    return statistics.median([each[name] for each in repetitions])


def _value(value: float, unit: str) -> str:
    return f"{value * 1000:.2f} ms" if unit == "ms" else f"{value:,.0f}{unit}"
