"""The header of the PROXY protocol: whatever comes, and in whatever pieces."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.runtime.proxyheader import LONGEST_V1, BadHeaderError, Client, parse, wanted

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ADDRESSES = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
    st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
)
PORTS = st.integers(0, 65535)


def version_1(
    theirs: IPv4Address | IPv6Address, ours: IPv4Address | IPv6Address, port: int
) -> bytes:
    return f"PROXY TCP{theirs.version} {theirs} {ours} {port} 25\r\n".encode()


def version_2(
    theirs: IPv4Address | IPv6Address, ours: IPv4Address | IPv6Address, port: int, more: bytes = b""
) -> bytes:
    body = theirs.packed + ours.packed + struct.pack(">HH", port, 25) + more
    family = 0x11 if theirs.version == 4 else 0x21
    return SIGNATURE + struct.pack(">BBH", 0x21, family, len(body)) + body


@st.composite
def headers(draw: st.DrawFn) -> tuple[bytes, Client]:
    """Draw a header and whom it means."""
    (theirs, ours), port = draw(ADDRESSES), draw(PORTS)
    kind = draw(st.sampled_from(["1", "2", "unknown", "local", "unix"]))
    known = Client(str(theirs), port)
    more = draw(st.binary(max_size=50))
    match kind:
        case "1":
            return version_1(theirs, ours, port), known
        case "2":
            return version_2(theirs, ours, port, more), known
        case "unknown":
            return b"PROXY UNKNOWN whatever 1 2 3\r\n", Client(None)
        case "local":
            return SIGNATURE + struct.pack(">BBH", 0x20, 0, len(more)) + more, Client(None)
        case _:
            return SIGNATURE + struct.pack(">BBH", 0x21, 0x31, 216) + bytes(216), Client(None)


def receive(data: bytes, cuts: list[int]) -> tuple[Client | None, int]:
    """Receive *data* in pieces, as a connection gives them; return the client and what is taken."""
    header, taken = b"", 0
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    for end in ends:
        there = data[taken:end]
        if not there:
            continue
        count = wanted(header, there)
        assert 0 <= count <= len(there)
        header += there[:count]
        taken += count
        client = parse(header)
        if client is not None:
            return client, taken
        assert count == len(there), "what is left is not read, and nothing more would wake us"
    return None, taken


@given(headers(), st.binary(max_size=60), st.lists(st.integers(0, 300), max_size=20))
def test_a_header_in_any_pieces_is_read_to_its_end_and_not_further(
    header: tuple[bytes, Client], following: bytes, cuts: list[int]
) -> None:
    text, client = header
    assert receive(text + following, cuts) == (client, len(text))


@given(headers(), st.integers(1, 300))
def test_a_header_that_is_cut_off_is_not_complete(header: tuple[bytes, Client], cut: int) -> None:
    text = header[0][:-cut]
    assert receive(text, []) == (None, len(text))


@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=300).map(lambda more: b"PROXY " + more),
        st.binary(max_size=300).map(lambda more: SIGNATURE + more),
    ),
    st.lists(st.integers(0, 300), max_size=20),
)
def test_garbage_is_refused_or_awaited_and_never_read_beyond_a_header(
    data: bytes, cuts: list[int]
) -> None:
    try:
        _, taken = receive(data, cuts)
    except BadHeaderError:
        return
    if data.startswith(b"PROXY "):
        assert taken <= LONGEST_V1
    if data.startswith(SIGNATURE) and len(data) >= 16:
        assert taken <= 16 + int.from_bytes(data[14:16], "big")


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "does not begin"),
        (b"PROXX", "does not begin"),
        (b"\r\n\r\nX", "does not begin"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", "CR LF"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "two addresses"),
        (b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n", "TCP4 or TCP6"),
        (b"PROXY TCP4 1.2.3.400 1.2.3.4 1 2\r\n", "its address"),
        (b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", "another version"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", "its port"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n", "its port"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 \xc2\xb2 2\r\n", "its port"),
        (b"PROXY \r\n", "TCP4 or TCP6"),
        (b"PROXY " + b"x" * LONGEST_V1, "too long"),
        (SIGNATURE + b"\x31\x11\0\x0c" + bytes(12), "another version"),
        (SIGNATURE + b"\x22\x11\0\x0c" + bytes(12), "another version"),
        (SIGNATURE + b"\x21\x11\0\x0b" + bytes(11), "too short"),
        (SIGNATURE + b"\x21\x11\xff\xff", "too long"),
    ],
)
def test_what_is_no_header_is_told(header: bytes, why: str) -> None:
    with pytest.raises(BadHeaderError, match=why):
        receive(header, [])


def test_the_longest_header_of_version_1_is_taken() -> None:
    line = b"PROXY UNKNOWN " + b"f" * (LONGEST_V1 - 16) + b"\r\n"
    assert len(line) == LONGEST_V1
    assert receive(line, []) == (Client(None), LONGEST_V1)
    assert receive(version_1(ip_address("::1"), ip_address("::2"), 7), [3])[0] == Client("::1", 7)
