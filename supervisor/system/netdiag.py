"""Ask the kernel about sockets of others: who is connected, and when a byte last went by.

Source: sock_diag(7), <linux/inet_diag.h>, <linux/unix_diag.h>, <linux/tcp.h>.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Final

from supervisor.model.component import Address, InetAddress, UnixAddress
from supervisor.system.port import Flow

_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP = 0x001, 0x300
_TCP_INFO: Final = 2
_UNIX_NAME, _UNIX_QUEUE = 0, 4
_SHOW_NAME, _SHOW_QUEUE = 0x01, 0x10
_NO_COOKIE: Final = 0xFFFFFFFF
_LARGEST: Final = 1 << 16
_PATIENCE: Final = 1.0
"""Seconds; the kernel answers within the call, so this is for a kernel that does not."""

_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT, _LISTEN = 1, 4, 5, 8, 10
_SERVED: Final = (_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT)
_WAITING: Final = frozenset({_ESTABLISHED, _CLOSE_WAIT})
"""The states in which a connection may be one that nobody has accepted yet."""

_HEADER: Final = struct.Struct("=IHHII")
_INET_ANSWER: Final = struct.Struct("=4BHH16s16sIII5I")
_UNIX_ANSWER: Final = struct.Struct("=4BI2I")
_ATTRIBUTE: Final = struct.Struct("=HH")

_TIMES: Final = (44, 52)
"""Where tcp_info has the milliseconds since data was last sent and received."""


def quiet(flow: Flow) -> float | None:
    """Return for how many seconds no byte went either way, None if there is no such connection.

    Raises:
        OSError: the kernel does not tell.
    """
    family = socket.AF_INET6 if ":" in flow.ours.address else socket.AF_INET
    question = _inet_question(family, _ESTABLISHED, flow)
    try:
        for answer in _ask(question, dump=False):
            if _INET_ANSWER.unpack_from(answer)[-1] != flow.inode:
                return None  # Another connection has the same ends by now.
            info = _attribute(answer[_INET_ANSWER.size :], _TCP_INFO)
            if len(info) < _TIMES[-1] + 4:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            times = (struct.unpack_from("=I", info, place)[0] for place in _TIMES)
            quiet: float = min(times) / 1000
            return quiet
    except FileNotFoundError:
        pass
    return None


def connections(address: Address) -> int:
    """Return how many connections there are to a listener, accepted or waiting for that.

    For datagrams there are none.

    Raises:
        OSError: the kernel does not tell.
    """
    if address.kind == "dgram":
        return 0
    if isinstance(address, InetAddress):
        return _inet_connections(address)
    return _unix_connections(address)


def _inet_connections(address: InetAddress) -> int:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    host = socket.inet_pton(family, address.host.partition("%")[0])
    states = sum(1 << state for state in _SERVED)
    count = 0
    for answer in _ask(_inet_question(family, states, port=address.port)):
        _, state, _, _, _, _, source, *_, inode = _INET_ANSWER.unpack_from(answer)
        here = not any(host) or source[: len(host)] == host
        # What nobody holds is either not accepted yet, or given up and only said good-bye to.
        count += here and (bool(inode) or state in _WAITING)
    return count


def _unix_connections(address: UnixAddress) -> int:
    name = os.fsencode(address.path)
    name = b"\0" + name[1:] if address.abstract else name
    states, show = 1 << _ESTABLISHED | 1 << _LISTEN, _SHOW_NAME | _SHOW_QUEUE
    head = struct.pack("=BBHIII", socket.AF_UNIX, 0, 0, states, 0, show)
    count = 0
    for answer in _ask(head + struct.pack("=II", _NO_COOKIE, _NO_COOKIE)):
        attributes = answer[_UNIX_ANSWER.size :]
        # What is accepted has the name of the listener; a path may be written with a zero at its
        # end. What is not accepted yet is shown as the length of the listener's queue alone.
        if _attribute(attributes, _UNIX_NAME) not in (name, name + b"\0"):
            continue
        _, _, state, *_ = _UNIX_ANSWER.unpack_from(answer)
        if state == _LISTEN:
            count += int.from_bytes(_attribute(attributes, _UNIX_QUEUE)[:4], sys.byteorder)
        else:
            count += 1
    return count


def _inet_question(family: int, states: int, flow: Flow | None = None, port: int = 0) -> bytes:
    ends = struct.pack(">HH", port, 0) + bytes(32)
    if flow is not None:
        ours, theirs = (
            socket.inet_pton(family, end.address.partition("%")[0]).ljust(16, b"\0")
            for end in (flow.ours, flow.theirs)
        )
        ends = struct.pack(">HH", flow.ours.port or 0, flow.theirs.port or 0) + ours + theirs
    wanted = 1 << (_TCP_INFO - 1) if flow is not None else 0
    head = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, wanted, states)
    scope = flow.ours.address.partition("%")[2] if flow is not None else ""
    device = socket.if_nametoindex(scope) if scope else 0
    return head + ends + struct.pack("=III", device, _NO_COOKIE, _NO_COOKIE)


def _ask(question: bytes, *, dump: bool = True) -> Iterator[bytes]:
    """Yield what the kernel answers.

    Raises:
        OSError: it says so, or it does not know this kind of question.
    """
    flags = _REQUEST | (_DUMP if dump else 0)
    size = _HEADER.size + len(question)
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, _SOCK_DIAG) as kernel:
        kernel.settimeout(_PATIENCE)
        kernel.send(_HEADER.pack(size, _BY_FAMILY, flags, 1, 0) + question)
        while True:
            data = kernel.recv(_LARGEST)
            while len(data) >= _HEADER.size:
                length, what, _, _, _ = _HEADER.unpack_from(data)
                body = data[_HEADER.size : length]
                if what == _ERROR:
                    number = -struct.unpack_from("=i", body)[0]
                    raise OSError(number, os.strerror(number))
                if what == _DONE:
                    return
                yield body
                if not dump:
                    return
                data = data[(length + 3) & ~3 :]


def _attribute(data: bytes, wanted: int) -> bytes:
    """Return one attribute of an answer, nothing if it is not there."""
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        if kind == wanted:
            return data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
    return b""
