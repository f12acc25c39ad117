"""Datagrams of strangers: taken with where they come from, and answered from where they went to."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address

from supervisor.system.connections import as_socket, name_of
from supervisor.system.port import Datagram

IP_PKTINFO = 8
"""Source: <bits/in.h>; Python does not have it yet."""

_LARGEST = 65536
_IPV4 = struct.Struct("=i4s4s")
"""struct in_pktinfo: interface, our address, the address in the header. Source: ip(7)."""
_IPV6 = struct.Struct("=16sI")
"""struct in6_pktinfo: address, interface. Source: ipv6(7)."""


def want_destination(opened: socket.socket) -> None:
    """Have a socket for datagrams tell where each of them was sent to."""
    if opened.family == socket.AF_INET:
        opened.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    elif opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)


def receive_from(fd: int) -> Datagram | None:
    """Take one datagram; see `supervisor.system.port.System.receive_from`."""
    with as_socket(fd) as opened:
        try:
            data, extra, _, sender = opened.recvmsg(
                _LARGEST, socket.CMSG_SPACE(_IPV6.size), socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            return None
        if opened.family == socket.AF_UNIX:
            ours = name_of(opened.getsockname()).address
            return Datagram(data, name_of(sender), ours, back=sender)
        ours, to_many = "", False
        for level, kind, value in extra:
            if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                _, own, written = _IPV4.unpack(value)
                ours, to_many = str(IPv4Address(own)), own != written
            elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                address = IPv6Address(_IPV6.unpack(value)[0])
                ours, to_many = str(address), address.is_multicast
        return Datagram(data, name_of(sender), ours, to_many, sender)


def reply(fd: int, asked: Datagram, data: bytes) -> bool:
    """Answer a datagram; see `supervisor.system.port.System.reply`."""
    with as_socket(fd) as opened:
        extra = []
        if opened.family == socket.AF_INET and asked.ours:
            own = _IPV4.pack(0, IPv4Address(asked.ours).packed, bytes(4))
            extra = [(socket.IPPROTO_IP, IP_PKTINFO, own)]
        elif opened.family == socket.AF_INET6 and asked.ours:
            own = _IPV6.pack(IPv6Address(asked.ours).packed, 0)
            extra = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, own)]
        try:
            opened.sendmsg([data], extra, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, asked.back)
        except OSError:
            return False  # It is gone, or its queue is full: datagrams are lost that way.
    return True
